/* CUDA C for the CPU: what a kernel's text takes for granted, and the loops over blocks and threads. A block in which threads wait
 * for each other runs each thread as a fiber; all others run one thread after another. */
#pragma once
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define __global__
#define __launch_bounds__(...)
#define __shared__ static /* one block runs at a time */
#define __device__ static
#define __forceinline__ inline

struct dim { unsigned x; };
static dim blockIdx, threadIdx;

#define VECTOR2(T, NAME) struct NAME { T x, y; }; static inline NAME make_##NAME(T x, T y) { return {x, y}; }
#define VECTOR4(T, NAME) struct alignas(sizeof(T) * 4) NAME { T x, y, z, w; }; \
    static inline NAME make_##NAME(T x, T y, T z, T w) { return {x, y, z, w}; }
VECTOR2(float, float2) VECTOR4(float, float4)
VECTOR2(int, int2) VECTOR4(int, int4)
VECTOR2(unsigned, uint2) VECTOR4(unsigned, uint4)
VECTOR2(unsigned short, ushort2) VECTOR4(unsigned short, ushort4)
VECTOR2(short, short2) VECTOR4(short, short4)
VECTOR2(signed char, char2) VECTOR4(signed char, char4)
VECTOR2(unsigned char, uchar2) VECTOR4(unsigned char, uchar4)
VECTOR2(long long, longlong2) VECTOR4(long long, longlong4)
VECTOR2(double, double2) VECTOR4(double, double4)

struct half {
    _Float16 bits;
    half() = default;
    half(float value) : bits(value) {}
    operator float() const { return bits; }
};
VECTOR2(half, half2) VECTOR4(half, half4)

template <typename A, typename B> static inline auto min(A a, B b) -> decltype(a + b) { return a < b ? a : b; }
template <typename A, typename B> static inline auto max(A a, B b) -> decltype(a + b) { return a > b ? a : b; }
static inline float __int_as_float(int bits) { float value; memcpy(&value, &bits, 4); return value; }
static inline int __float_as_int(float value) { int bits; memcpy(&bits, &value, 4); return bits; }
static inline double __longlong_as_double(long long bits) { double value; memcpy(&value, &bits, 8); return value; }
static inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

/* --- threads of a block ------------------------------------------------------------------------------------------------ */

enum { STACK_BYTES = 128 << 10, MOST_THREADS = 1024 };
static jmp_buf scheduler_, fibers_[MOST_THREADS];
static bool waits_[MOST_THREADS], ended_[MOST_THREADS];
static char *stacks_;
static ucontext_t starter_, fiber_;
static void (*body_)(void *const *);
static void *const *arguments_;

/* The thread sleeps until all others of its block wait too, or have ended. */
static void __syncthreads() {
    waits_[threadIdx.x] = true;
    const unsigned me = threadIdx.x;
    if (_setjmp(fibers_[me]) == 0) _longjmp(scheduler_, 1);
    threadIdx.x = me;
}

static void begin_() {
    body_(arguments_);
    ended_[threadIdx.x] = true;
    _longjmp(scheduler_, 1);
}

static void start_(unsigned thread) {
    getcontext(&fiber_);
    fiber_.uc_stack.ss_sp = stacks_ + (size_t)thread * STACK_BYTES;
    fiber_.uc_stack.ss_size = STACK_BYTES;
    fiber_.uc_link = nullptr;
    makecontext(&fiber_, begin_, 0);
    setcontext(&fiber_);
}

/* Runs every thread up to its next __syncthreads, in the order that `forwards` says; true while some wait. */
static bool round_(unsigned size, bool first, bool forwards) {
    bool any = false;
    for (volatile unsigned i = 0; i < size; i++) {
        const unsigned thread = forwards ? i : size - 1 - i;
        if (ended_[thread]) {
            continue;
        }
        threadIdx.x = thread;
        waits_[thread] = false;
        if (_setjmp(scheduler_) == 0) {
            if (first) start_(thread);
            _longjmp(fibers_[thread], 1);
        }
        any |= waits_[forwards ? i : size - 1 - i];
    }
    return any;
}

static void block_of_fibers_(unsigned size) {
    memset(ended_, 0, sizeof ended_);
    bool first = true, forwards = true;
    while (round_(size, first, forwards)) {
        unsigned ended = 0;
        for (unsigned i = 0; i < size; i++) ended += ended_[i];
        if (ended) {
            fprintf(stderr, "stand-in for CUDA: %u of %u threads ended while others wait for them\n", ended, size);
            _Exit(70);
        }
        first = false;
        forwards = !forwards; /* an order that a missing __syncthreads would show in */
    }
}

static void grid_(unsigned groups, unsigned size, void (*body)(void *const *), void *const *arguments, bool waits) {
    body_ = body;
    arguments_ = arguments;
    if (waits && !stacks_) stacks_ = (char *)malloc((size_t)STACK_BYTES * MOST_THREADS);
    for (blockIdx.x = 0; blockIdx.x < groups; blockIdx.x++) {
        if (waits) {
            block_of_fibers_(size);
        } else {
            for (threadIdx.x = 0; threadIdx.x < size; threadIdx.x++) body(arguments);
        }
    }
}
