/* What one Linux libc declares differently from another, so that no other file here needs to know which it is built for.
 *
 * Android has no headers in the build (there is no NDK), and its .so is also run under glibc by the tests: nothing here shares a
 * type whose layout differs between bionic and glibc. Waiting, affinity and signal masks go to the kernel directly.
 */
#ifndef EV_OS_H
#define EV_OS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__ANDROID__)

#if !defined(__aarch64__)
#error "the Android declarations below are those of arm64"
#endif

void *malloc(size_t bytes);
void free(void *memory);
void *memcpy(void *to, const void *from, size_t bytes);
long syscall(long number, ...);
unsigned long getauxval(unsigned long type);

struct timespec {
    long tv_sec, tv_nsec;
};
int clock_gettime(int clock, struct timespec *time);
#define CLOCK_MONOTONIC 1

typedef long pthread_t;
typedef int pthread_key_t;
/* 56 bytes in bionic, 64 in glibc: room for either. */
typedef union {
    long align;
    char bytes[128];
} pthread_attr_t;
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);
int pthread_join(pthread_t thread, void **result);
int pthread_attr_init(pthread_attr_t *attributes);
int pthread_attr_setstacksize(pthread_attr_t *attributes, size_t bytes);
int pthread_attr_destroy(pthread_attr_t *attributes);
int pthread_key_create(pthread_key_t *key, void (*destructor)(void *));
int pthread_key_delete(pthread_key_t key);
void *pthread_getspecific(pthread_key_t key);
int pthread_setspecific(pthread_key_t key, const void *value);

/* include/uapi/asm-generic/unistd.h */
#define SYS_futex 98
#define SYS_sched_setaffinity 122
#define SYS_sched_getaffinity 123
#define SYS_sched_yield 124
#define SYS_rt_sigprocmask 135
#define SYS_getpid 172
#define SYS_madvise 233

/* Around functions with atomics: clang's default for Android calls compiler-rt for each of them, which -nostdlib leaves out, and zig
 * drops -mno-outline-atomics. */
#define EV_INLINE_ATOMICS_BEGIN \
    _Pragma("clang attribute push(__attribute__((target(\"no-outline-atomics\"))), apply_to = function)")
#define EV_INLINE_ATOMICS_END _Pragma("clang attribute pop")

#else

#define EV_INLINE_ATOMICS_BEGIN
#define EV_INLINE_ATOMICS_END

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if defined(__aarch64__) || defined(__arm__)
#include <sys/auxv.h>
#endif

#endif

static inline uint64_t ev_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline long ev_process_id(void) { return syscall(SYS_getpid); }

/* --- waiting ---------------------------------------------------------------------------------------------------------- */

/* Sleeps while *word is `value`; may also return for no reason. */
static inline void ev_futex_wait(_Atomic uint32_t *word, uint32_t value) {
    enum { FUTEX_WAIT_PRIVATE = 128 };
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static inline void ev_futex_wake(_Atomic uint32_t *word, int32_t at_most) {
    enum { FUTEX_WAKE_PRIVATE = 129 };
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, at_most, NULL, NULL, 0);
}

static inline void ev_yield(void) { syscall(SYS_sched_yield); }

/* A few nanoseconds that leave the core to its other hardware thread. */
static inline void ev_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory"); /* `yield` is a no-op on Cortex-A; an isb costs about 10 ns */
#elif defined(__arm__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

/* --- memory ----------------------------------------------------------------------------------------------------------- */

/* Asks for large pages where the system has them to give: the first touch of 6 MB takes 3 faults instead of 1500. It may refuse. */
static inline void ev_advise_huge_pages(unsigned char *start, size_t bytes) {
    enum { MADV_HUGEPAGE_ = 14, PAGE_BYTES = 4096 }; /* systems with larger pages have huge ones that no arena fills */
    unsigned char *const page = start - (uintptr_t)start % PAGE_BYTES;
    syscall(SYS_madvise, page, (size_t)(start + bytes - page), MADV_HUGEPAGE_);
}

/* --- cores ------------------------------------------------------------------------------------------------------------ */

#define EV_MAX_CORES 8192 /* the kernel's own limit (NR_CPUS on x86-64) */
typedef struct {
    unsigned long words[EV_MAX_CORES / (8 * sizeof(unsigned long))];
} ev_core_set;

/* The cores the calling thread may run on; false if the system does not say. */
static inline bool ev_cores_get(ev_core_set *cores) {
    *cores = (ev_core_set){{0}};
    return syscall(SYS_sched_getaffinity, 0, sizeof *cores, cores) > 0;
}

static inline bool ev_cores_set(const ev_core_set *cores) {
    return syscall(SYS_sched_setaffinity, 0, sizeof *cores, cores) == 0;
}

static inline bool ev_pin_to(int32_t core) {
    const int32_t bits = 8 * (int32_t)sizeof(unsigned long);
    ev_core_set one = {{0}};
    one.words[core / bits] = 1ul << (core % bits);
    return ev_cores_set(&one);
}

static inline int32_t ev_cores_count(const ev_core_set *cores) {
    int32_t count = 0;
    for (size_t i = 0; i < sizeof cores->words / sizeof cores->words[0]; i++) count += __builtin_popcountl(cores->words[i]);
    return count;
}

/* --- signals ---------------------------------------------------------------------------------------------------------- */

/* Blocks what a program may want to handle on its own threads, and returns what was blocked before. Left alone: faults, which
 * belong to the thread that made them, SIGPROF, and 32-34, which the libraries use between their threads (setuid, cancel). */
static inline uint64_t ev_signals_block(void) {
    enum { SIG_BLOCK_ = 0, ILL = 4, TRAP = 5, BUS = 7, FPE = 8, SEGV = 11, PROF = 27 };
    const uint64_t keep = 1ull << (ILL - 1) | 1ull << (TRAP - 1) | 1ull << (BUS - 1) | 1ull << (FPE - 1) | 1ull << (SEGV - 1) |
                          1ull << (PROF - 1) | 7ull << 31;
    const uint64_t block = ~keep;
    uint64_t before = 0;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK_, &block, &before, sizeof block);
    return before;
}

static inline void ev_signals_restore(uint64_t before) {
    enum { SIG_SETMASK_ = 2 };
    syscall(SYS_rt_sigprocmask, SIG_SETMASK_, &before, NULL, sizeof before);
}

#endif
