/* edgevision: the C interface of a compiled network. One header for every artifact; plain C99, usable from C++.
 *
 *   #include "edgevision.h"
 *   const ev_api *api = ev_get_api(EV_ABI);            // or <prefix>_get_api(EV_ABI), or dlsym(handle, "ev_get_api")
 *   ev_options options = {sizeof options};              // zero: the defaults
 *   ev_error error = {0};
 *   ev_session *session;
 *   if (api->create(&options, &session, &error)) { puts(error.text); return 1; }
 *   api->run(session, (const void *const[]){image}, (void *const[]){scores}, &error);
 *   api->destroy(session);
 *
 * Threads: any number of sessions may run at the same time; one session runs once at a time (a second caller gets EV_BUSY).
 * Results are the same bits for any number of threads. `run` allocates nothing. Nothing is written to stdout or stderr.
 */
#ifndef EDGEVISION_H
#define EDGEVISION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EV_ABI 1u
#define EV_MAX_RANK 8
#define EV_MAX_THREADS 64

typedef enum {
    EV_OK = 0,
    EV_INVALID = 1,   /* an argument is null or out of range */
    EV_BUSY = 2,      /* this session is already running */
    EV_NO_MEMORY = 3,
    EV_NO_THREADS = 4, /* the system refused to start a worker thread, or to pin it */
    EV_KERNEL = 5,    /* a kernel reported an error */
    EV_NO_DEVICE = 6  /* the GPU is missing or cannot run the artifact; or the CPU lacks an instruction set that it was compiled for */
} ev_status;

typedef enum { EV_CPU = 0, EV_GPU = 1 } ev_processor;

typedef enum {
    EV_FALLBACK_NEVER = 0,     /* what the GPU cannot do is an error */
    EV_FALLBACK_IF_NEEDED = 1, /* the CPU version computes where the GPU is missing or refused, and from a run on that the GPU fails */
    EV_FALLBACK_ALWAYS = 2     /* the CPU version computes from the start */
} ev_fallback;

typedef enum {
    EV_FLOAT32 = 0, EV_FLOAT64 = 1, EV_FLOAT16 = 2,
    EV_INT8 = 3, EV_INT16 = 4, EV_INT32 = 5, EV_INT64 = 6,
    EV_UINT8 = 7, EV_UINT16 = 8, EV_UINT32 = 9, EV_UINT64 = 10,
    EV_BOOL = 11 /* one byte, 0 or 1 */
} ev_dtype;

typedef struct {
    int32_t code; /* an ev_status */
    char text[256];
} ev_error;

typedef struct {
    const char *name;
    const char *layout; /* "NCHW", "NHWC", or "" where axes have no such meaning */
    int32_t dtype;      /* an ev_dtype */
    int32_t rank;
    int64_t shape[EV_MAX_RANK];
    size_t bytes;
} ev_tensor;

typedef struct {
    size_t struct_size;
    uint32_t abi;
    const char *name;              /* the model's name */
    const char *target;            /* the target's name */
    const char *compiler_version;  /* edgevision's */
    const char *model_sha256;      /* of the file that was compiled */
    int32_t n_inputs, n_outputs;
    const ev_tensor *inputs, *outputs;
    size_t weight_bytes;           /* read-only, inside the library, shared by all sessions and processes */
    size_t arena_bytes;            /* activations, one allocation a session */
    int32_t n_steps;               /* fused operators; of two versions, the one with more */
} ev_model;

typedef struct {
    size_t struct_size;    /* sizeof(ev_options) as the caller was compiled; what a newer header adds must be zero for an older library */
    int32_t threads;       /* 0: one a core this process may use (or one an entry of `cores`), at most what the model was compiled
                              for; capped at EV_MAX_THREADS */
    const int32_t *cores;  /* pin thread i to core cores[i % n_cores]; NULL: leave it to the system. The caller's own thread, which
                              is thread 0, is pinned during run() and restored after it. The array is copied. */
    int32_t n_cores;
    const char *cache_directory; /* of a network for a GPU: an existing folder that keeps its compiled kernels between processes; NULL:
                                    the driver compiles them for every session. A damaged or foreign file there is not used. */
    int32_t fallback; /* of a network for a GPU: an ev_fallback. All but EV_FALLBACK_NEVER need a library that was compiled with
                         --with-cpu-fallback. `threads` and `cores` are the CPU version's. */
} ev_options;

typedef struct {
    const char *name;
    uint64_t nanoseconds; /* in the last profiled run */
} ev_step;

typedef struct ev_session ev_session;

typedef struct ev_api {
    size_t struct_size;
    const ev_model *(*describe)(void);
    int (*create)(const ev_options *options, ev_session **session, ev_error *error); /* options may be NULL */
    /* Buffers may have any alignment; input and output buffers must not overlap. EV_BUSY if the session is already running. */
    int (*run)(ev_session *session, const void *const *inputs, void *const *outputs, ev_error *error);
    /* Time of each fused operator in the session's last run, in order; the first call switches timing on (and returns a count
     * of 0 if no run was timed yet). Fills at most `capacity` entries and sets *count to how many there are. */
    int (*profile)(ev_session *session, ev_step *steps, size_t capacity, size_t *count, ev_error *error);
    /* NULL is allowed; never while the session runs. After a fork only the parent can run the session; the child may destroy its copy. */
    void (*destroy)(ev_session *session);
    int32_t (*threads)(const ev_session *session); /* how many compute one run, the caller's included */
    /* The ev_processor that computed the session's last run, and before the first one that will compute it; `why`, which may be NULL,
     * receives why the CPU version took over (EV_OK and "" if it did not). Never while the session runs. */
    int32_t (*processor)(const ev_session *session, ev_error *why);
} ev_api;

/* NULL if this library does not speak that ABI. A library built with --symbol-prefix P exports P_get_api beside it. */
const ev_api *ev_get_api(uint32_t abi);

#ifdef __cplusplus
}
#endif
#endif
