/* A stand-in for a compiled network, written by hand: y = SCALE * x + k[0] (float32), total = k[0] + k[1] (int64). */
#include "edgevision.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef SCALE
#define SCALE 2.0f
#endif
#ifndef FAKE_ABI
#define FAKE_ABI EV_ABI
#endif
#ifndef API_BYTES
#define API_BYTES sizeof(ev_api)
#endif
#define COUNT 60
#define STEPS 2

#ifdef CONSTANTS /* how many; each adds 1 less than it is to a value */
static const float constants[CONSTANTS] = {[0 ... CONSTANTS - 1] = 1.5f};
#define ADDED(i) (((const volatile float *)constants)[(i) * (CONSTANTS / COUNT)] - 1)
#else
#define ADDED(i) 0
#endif
#ifdef CONSTRUCTED /* while it is loaded, it looks at its constants */
static float seen;
__attribute__((constructor)) static void look(void) { seen = ADDED(COUNT - 1); }
#else
#define seen 0
#endif

struct ev_session {
    atomic_int busy;
    int timed, ran, threads;
    float arena[COUNT];
};

static const ev_tensor inputs[] = {
    {"x", "NCHW", EV_FLOAT32, 4, {1, 3, 4, 5}, COUNT * sizeof(float)},
    {"k", "", EV_INT64, 1, {2}, 2 * sizeof(int64_t)},
};
static const ev_tensor outputs[] = {
    {"y", "NCHW", EV_FLOAT32, 4, {1, 3, 4, 5}, COUNT * sizeof(float)},
    {"total", "", EV_INT64, 0, {0}, sizeof(int64_t)},
};
static const ev_model model = {
    sizeof(ev_model), EV_ABI, "fake", "native", "0.1.0", "ab12", 2, 2, inputs, outputs, 8, sizeof(struct ev_session), STEPS,
};

static int fail(ev_error *error, int code, const char *text)
{
    if (error) {
        error->code = code;
        snprintf(error->text, sizeof error->text, "%s", text);
    }
    return code;
}

static const ev_model *describe(void) { return &model; }

static int create(const ev_options *options, ev_session **session, ev_error *error)
{
    if (options && options->threads > 64)
        return fail(error, EV_NO_THREADS, "the system refused to start 65 threads");
    if (options && options->cores && options->cores[0] > 1000)
        return fail(error, EV_INVALID, "there is no core 1001");
    *session = calloc(1, sizeof **session);
    if (!*session)
        return fail(error, EV_NO_MEMORY, "out of memory");
    (*session)->threads = options && options->threads ? options->threads : 4;
    return EV_OK;
}

static int run(ev_session *session, const void *const *in, void *const *out, ev_error *error)
{
    int64_t k[2];
    float *const arena = session->arena;
    if (atomic_exchange(&session->busy, 1))
        return fail(error, EV_BUSY, "this session is already running");
#ifdef CRASH
    abort();
#endif
#ifdef KERNEL_FAILS
    return fail(error, EV_KERNEL, "kernel conv_1 failed");
#endif
    memcpy(k, in[1], sizeof k);
    for (int repeat = 0; repeat < 200; repeat++) { /* long enough that unguarded callers would meet */
        memcpy(arena, in[0], sizeof session->arena);
        for (int i = 0; i < COUNT; i++)
            arena[i] = SCALE * arena[i] + (float)k[0] + ADDED(i) + seen;
    }
#ifdef SPOILED
    arena[7] = SPOILED;
#endif
    memcpy(out[0], arena, sizeof session->arena);
    k[0] += k[1];
    memcpy(out[1], k, sizeof k[0]);
    session->ran = session->timed;
    atomic_store(&session->busy, 0);
    return EV_OK;
}

static int profile(ev_session *session, ev_step *steps, size_t capacity, size_t *count, ev_error *error)
{
    static const ev_step known[STEPS] = {{"scale", 1500}, {"add", 500}};
    (void)error;
    session->timed = 1;
    *count = session->ran ? STEPS : 0;
    for (size_t i = 0; i < *count && i < capacity; i++)
        steps[i] = known[i];
    return EV_OK;
}

static void destroy(ev_session *session) { free(session); }

static int32_t threads(const ev_session *session) { return session->threads; }

static int32_t processor(const ev_session *session, ev_error *why)
{
    (void)session;
    *why = (ev_error){0};
    return EV_CPU;
}

static const ev_api api = {API_BYTES, describe, create, run, profile, destroy, threads, processor};

const ev_api *ev_get_api(uint32_t abi) { return abi == FAKE_ABI ? &api : NULL; }
