/* How this thread's float instructions round, and whether they flush denormals to zero. A program may have set it (a library built
 * with -ffast-math does so by being loaded), and a worker has what its creator had: left alone, results would depend on which
 * thread computed them. */
#ifndef EV_FLOAT_MODE_H
#define EV_FLOAT_MODE_H

#include <stdint.h>

static inline uint64_t ev_float_mode_get(void) {
    uint64_t mode = 0;
#if defined(__x86_64__)
    mode = __builtin_ia32_stmxcsr();
#elif defined(__aarch64__)
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
#elif defined(__arm__)
    uint32_t low;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(low));
    mode = low;
#endif
    return mode;
}

static inline void ev_float_mode_set(uint64_t mode) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((uint32_t)mode);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" ::"r"(mode) : "memory");
#elif defined(__arm__)
    __asm__ volatile("vmsr fpscr, %0" ::"r"((uint32_t)mode) : "memory");
#endif
}

/* IEEE 754's default: to nearest, denormals kept, no traps. Returns the mode before. */
static inline uint64_t ev_float_mode_default(void) {
    const uint64_t before = ev_float_mode_get();
#if defined(__x86_64__)
    ev_float_mode_set(0x1F80);
#else
    ev_float_mode_set(0);
#endif
    return before;
}

#endif
