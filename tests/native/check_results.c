/* What runs give: the same bits for any number of threads, alone or in company; failures; times. */
#include "checks.h"

#include <fenv.h>
#include <stdatomic.h>

/* --- results ---------------------------------------------------------------------------------------------------------- */

void check_threads(void) {
    const answer one = expected(alpha);
    REQUIRE(one.scores[0] != one.scores[1] && one.bright > 0);
    for (int32_t threads = 1; threads <= 8; threads++) {
        ev_session *session = make(alpha, threads);
        for (long i = 0; i < runs; i++) {
            answer now;
            REQUIRE(infer(alpha, session, GAIN, &now, NULL) == EV_OK);
            REQUIRE(same(&now, &one));
        }
        alpha->destroy(session);
    }
}

void check_models_differ(void) {
    const answer a = expected(alpha), b = expected(beta);
    REQUIRE(a.bright == b.bright && memcmp(a.scores, b.scores, sizeof a.scores) != 0);
}

typedef struct {
    const ev_api *api;
    answer wanted;
    int32_t threads;
    pthread_t thread;
} client;

static void *run_many(void *argument) {
    const client *of = argument;
    ev_session *session = make(of->api, of->threads);
    for (long i = 0; i < runs; i++) {
        answer now;
        REQUIRE(infer(of->api, session, GAIN, &now, NULL) == EV_OK);
        REQUIRE(same(&now, &of->wanted));
    }
    of->api->destroy(session);
    return NULL;
}

void check_concurrent(void) {
    client clients[8];
    const answer a = expected(alpha), b = expected(beta);
    for (int i = 0; i < 8; i++) {
        clients[i] = (client){.api = i % 2 ? beta : alpha, .wanted = i % 2 ? b : a, .threads = 1 + i / 2 % 3};
        REQUIRE(pthread_create(&clients[i].thread, NULL, run_many, &clients[i]) == 0);
    }
    for (int i = 0; i < 8; i++) pthread_join(clients[i].thread, NULL);
}

/* --- busy ------------------------------------------------------------------------------------------------------------- */

void check_busy(void) {
    const answer wanted = expected(alpha);
    answer result;
    ev_error error;
    size_t count;
    ev_session *session = make(alpha, 2), *other = make(alpha, 2);
    slow_run slow;
    start_slow_run(&slow, session);
    REQUIRE_FAILURE(infer(alpha, session, GAIN, &result, &error), EV_BUSY, error, "already running");
    REQUIRE_FAILURE(alpha->profile(session, NULL, 0, &count, &error), EV_BUSY, error, "running");
    REQUIRE(infer(alpha, other, GAIN, &result, &error) == EV_OK && same(&result, &wanted));
    REQUIRE(!atomic_load(&slow.ended));
    pthread_join(slow.thread, NULL);
    REQUIRE(infer(alpha, session, GAIN, &result, &error) == EV_OK && same(&result, &wanted));
    alpha->destroy(session);
    alpha->destroy(other);
}

/* --- failures of kernels ---------------------------------------------------------------------------------------------- */

void check_failures(void) {
    const answer wanted = expected(alpha);
    for (int32_t threads = 1; threads <= 4; threads += 3) {
        answer result;
        ev_error error;
        ev_session *session = make(alpha, threads);
        for (int round = 0; round < 40; round++) {
            REQUIRE_FAILURE(infer(alpha, session, RAISE_GAIN, &result, &error), EV_KERNEL, error,
                            "step scores failed: ValueError: class three is out of range");
            REQUIRE_FAILURE(infer(alpha, session, GREEDY_GAIN, &result, &error), EV_KERNEL, error,
                            "step scores failed: a workspace of 1099511627776 bytes does not fit in the ");
            REQUIRE_FAILURE(infer(alpha, session, DISORDER_GAIN, &result, &error), EV_KERNEL, error, "freed out of order");
            REQUIRE_FAILURE(infer(alpha, session, NESTED_GAIN, &result, &error), EV_KERNEL, error, "more than 32 workspaces");
            REQUIRE_FAILURE(infer(alpha, session, MUTE_GAIN, &result, &error), EV_KERNEL, error, "it gave no reason");
            REQUIRE(infer(alpha, session, MUTE_GAIN, &result, NULL) == EV_KERNEL);
            REQUIRE(infer(alpha, session, GAIN, &result, &error) == EV_OK && error.code == EV_OK && !error.text[0]);
            REQUIRE(same(&result, &wanted));
        }
        alpha->destroy(session);
    }
}

/* --- profile ---------------------------------------------------------------------------------------------------------- */

void check_profile(void) {
    ev_session *session = make(alpha, 2);
    ev_step steps[STEPS] = {{0}};
    answer result;
    ev_error error;
    size_t count = 99;
    const answer wanted = expected(alpha);
    REQUIRE(infer(alpha, session, GAIN, &result, &error) == EV_OK);
    REQUIRE(alpha->profile(session, steps, STEPS, &count, &error) == EV_OK && count == 0);
    REQUIRE(infer(alpha, session, GAIN, &result, &error) == EV_OK && same(&result, &wanted));
    REQUIRE(alpha->profile(session, steps, 1, &count, &error) == EV_OK && count == 3 && !steps[1].name);
    REQUIRE(infer(alpha, session, SLOW_GAIN, &result, &error) == EV_OK);
    const double began = seconds(CLOCK_MONOTONIC);
    REQUIRE(infer(alpha, session, SLOW_GAIN, &result, &error) == EV_OK);
    const double took_ns = (seconds(CLOCK_MONOTONIC) - began) * 1e9;
    REQUIRE(alpha->profile(session, steps, STEPS, &count, &error) == EV_OK && count == 3);
    REQUIRE(!strcmp(steps[0].name, "smooth") && !strcmp(steps[1].name, "scores") && !strcmp(steps[2].name, "bright"));
    REQUIRE(steps[1].nanoseconds >= SLOW_NS && steps[0].nanoseconds > 0);
    REQUIRE((double)(steps[0].nanoseconds + steps[1].nanoseconds + steps[2].nanoseconds) <= took_ns);
    REQUIRE(infer(alpha, session, MUTE_GAIN, &result, &error) == EV_KERNEL);
    REQUIRE(alpha->profile(session, steps, STEPS, &count, &error) == EV_OK && count == 0);
    alpha->destroy(session);
}

/* --- rounding ------------------------------------------------------------------------------------------------------------- */

/* Asks the float unit itself: on x86-64 fegetround answers for another one. */
static bool rounds_up(void) {
    volatile float five = 5, three = 3, quotient = five / three;
    return quotient > 1.66666663f; /* the nearest float, which is below 5/3 */
}

/* Neither the mode of the thread that creates nor that of the thread that runs shows in the result, and both keep theirs. */
void check_float_mode(void) {
    const answer wanted = expected(alpha);
    REQUIRE(!rounds_up());
    for (int32_t threads = 1; threads <= 4; threads += 3) {
        answer result;
        REQUIRE(fesetround(FE_UPWARD) == 0);
        REQUIRE(rounds_up());
        ev_session *session = make(alpha, threads);
        for (int i = 0; i < 20; i++) {
            REQUIRE(infer(alpha, session, GAIN, &result, NULL) == EV_OK && same(&result, &wanted));
            REQUIRE(infer(alpha, session, MUTE_GAIN, &result, NULL) == EV_KERNEL && rounds_up());
        }
        alpha->destroy(session);
        fesetround(FE_TONEAREST);
    }
}
