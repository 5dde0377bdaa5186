/* What the checks of the runtime share. A check returns when what it asserts holds, and ends the process otherwise. */
#ifndef CHECKS_H
#define CHECKS_H

#define _GNU_SOURCE
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "edgevision.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* Of fake_network.c. */
enum { H = 24, W = 20, IMAGE = H * W * 3, CLASSES = 10, STEPS = 3 };
enum { RAISE_GAIN = -1, GREEDY_GAIN = -2, SLOW_GAIN = -3, DISORDER_GAIN = -4, MUTE_GAIN = -5, NESTED_GAIN = -6, SLOW_NS = 60000000 };
static const float GAIN = 0.3f;

#define REQUIRE(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)
#define REQUIRE_FAILURE(call, expected_code, error, expected_text) \
    do { \
        memset(&(error), 0x55, sizeof(error)); \
        REQUIRE((call) == (expected_code)); \
        REQUIRE((error).code == (expected_code)); \
        if (!strstr((error).text, expected_text)) fprintf(stderr, "it says: %s\n", (error).text); \
        REQUIRE(strstr((error).text, expected_text)); \
    } while (0)

/* The two networks, and the library of the first. */
extern const ev_api *alpha, *beta;
extern void *alpha_library;
extern long runs;

typedef struct {
    float scores[CLASSES];
    int64_t bright;
} answer;

/* One run on a fixed image; every buffer lies one byte off every alignment. */
int infer(const ev_api *api, ev_session *session, float gain, answer *result, ev_error *error);
ev_session *make(const ev_api *api, int32_t threads);
bool same(const answer *a, const answer *b);
/* What one thread answers. */
answer expected(const ev_api *api);

double seconds(clockid_t clock);
void pause_ms(long ms);

/* A run that takes SLOW_NS, under way on a thread of its own. */
typedef struct {
    ev_session *session;
    pthread_t thread;
    _Atomic long tid;
    _Atomic bool began, ended;
} slow_run;
void start_slow_run(slow_run *run, ev_session *session);

/* Of this process; the ids of at most `capacity` go to `found`. */
int count_threads(long *found, int capacity);
bool no_more_threads(void);

void check_threads(void);
void check_models_differ(void);
void check_concurrent(void);
void check_busy(void);
void check_failures(void);
void check_arguments(void);
void check_buffers(void);
void check_options_versions(void);
void check_abi(void);
void check_profile(void);
void check_pinning(void);
void check_refused_pin(void);
void check_cycles(void);
void check_idle(void);
void check_oversubscribed(void);
void check_fork(void);
void check_no_memory(void);
void check_no_memory_for_weights(void);
void check_created_together(void);
void check_fork_meanwhile(void);
void check_overflow(void);
void check_no_threads(void);
void check_no_keys(void);
void check_allocates_nothing(void);
void check_refused_feature(void);
void check_float_mode(void);

#endif
