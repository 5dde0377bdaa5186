/* What an artifact is to a linker: weights from an assembler file, the mathematics library, threads, atomics, one entry. */
#include <stdatomic.h>
#include <stdint.h>

#if defined(__ANDROID__)
double sin(double);
typedef long pthread_t;
int pthread_create(pthread_t *, const void *, void *(*)(void *), void *);
int pthread_join(pthread_t, void **);
#else
#include <math.h>
#include <pthread.h>
#endif

extern const unsigned char toy_weights[];
static _Atomic uint32_t started;

static void *start(void *argument) {
    atomic_fetch_add(&started, 1);
    *(double *)argument += sin(*(double *)argument) * 0;
    return argument;
}

/* Not exported: an ordinary function with the visibility that TVM gives its kernels. */
__attribute__((visibility("default"))) double __tvm_ffi_toy(uint32_t from, uint32_t count, uint32_t step) {
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += toy_weights[from + i * step];
    return sum;
}

__attribute__((visibility("default"))) double toy_get_api(uint32_t from, uint32_t count, uint32_t step) {
    pthread_t thread;
    double sum = __tvm_ffi_toy(from, count, step);
    if (pthread_create(&thread, 0, start, &sum) || pthread_join(thread, 0)) return -1;
    return sum;
}

__attribute__((visibility("default"))) double ev_get_api(uint32_t from, uint32_t count, uint32_t step) {
    return toy_get_api(from, count, step);
}
