/* Limits of one core: float32 multiply-adds from registers, and a[i] = b[i] + s * c[i] from memory. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef float vec __attribute__((vector_size(4 * LANES)));

enum { CHAINS = 12, STEPS = 1 << 20, TRIALS = 20 }; /* two pipes of latency 4 need eight chains; sixteen registers */
enum { ELEMENTS = 1 << 24 };                        /* 64 MiB an array: beyond any last-level cache of a core */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

static double multiply_adds(float seed) {
  vec sum[CHAINS], a = (vec){0} + seed, b = (vec){0} + (1 - seed);
  double best = 1e9;
  for (int k = 0; k < CHAINS; ++k) sum[k] = a * (float)k;
  for (int trial = 0; trial < TRIALS; ++trial) {
    double start = now();
    for (int step = 0; step < STEPS; ++step) {
#pragma GCC unroll 12
      for (int k = 0; k < CHAINS; ++k) sum[k] = sum[k] * a + b;
      __asm__ volatile("" ::: "memory");
    }
    double took = now() - start;
    if (took < best) best = took;
  }
  vec all = sum[0];
  for (int k = 1; k < CHAINS; ++k) all += sum[k];
  volatile float used = all[0];
  (void)used;
  return 2.0 * LANES * CHAINS * STEPS / best / 1e9;
}

static double triad(float scale) {
  float *a = malloc(4L * ELEMENTS), *b = malloc(4L * ELEMENTS), *c = malloc(4L * ELEMENTS);
  double best = 1e9;
  if (!a || !b || !c) exit(1);
  for (long i = 0; i < ELEMENTS; ++i) a[i] = 0, b[i] = i, c[i] = -i;
  for (int trial = 0; trial < TRIALS; ++trial) {
    double start = now();
    for (long i = 0; i < ELEMENTS; ++i) a[i] = b[i] + scale * c[i];
    __asm__ volatile("" ::"r"(a) : "memory");
    double took = now() - start;
    if (took < best) best = took;
  }
  free(a), free(b), free(c);
  return 3.0 * 4 * ELEMENTS / best / 1e9;
}

int main(int count, char **arguments) {
  float seed = count > 1 ? (float)atof(arguments[1]) : 0.5f;
  printf("{\"multiply_add_gflops\": %.1f, \"triad_gbytes\": %.2f}\n", multiply_adds(seed), triad(seed));
  return 0;
}
