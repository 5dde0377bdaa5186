/* A libcuda that checks everything: arguments, sizes, alignments, contexts, lifetimes, releases, and what may be done while a stream
 * is captured. A violation ends the process with status 70 and a line on stderr; at exit a line tells how many objects were made and
 * released, and how often runs were launched as a graph.
 *
 * Nothing that is queued happens before the stream is waited for. Kernels compute nothing, unless $EV_FAKE_CUDA_KERNELS names a library
 * that holds them for the CPU (cpu_kernels.h).
 *
 * $EV_FAKE_CUDA is FUNCTION:N:CODE: the N-th call of FUNCTION fails with CODE; with an L in front of it everything after it fails too, as
 * on a device that is lost; $EV_FAKE_LOST_AT is the number of a call, from which on it is. $EV_FAKE_CUDA_DRIVER is the driver's version, $EV_FAKE_CUDA_DEVICES a list of compute capabilities. */
#include "fake_modules.h"
#include "fake_objects.h"

/* --- driver and devices ----------------------------------------------------------------------------------------------- */

EXPORT int cuDriverGetVersion(int *version) {
    FAIL_IF_ASKED();
    const char *told = getenv("EV_FAKE_CUDA_DRIVER");
    *version = told ? atoi(told) : 12060;
    return 0;
}

EXPORT int cuInit(unsigned flags) {
    EXPECT(flags == 0);
    FAIL_IF_ASKED();
    started = true;
    return 0;
}

EXPORT int cuGetErrorName(int code, const char **name) {
    *name = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 100 ? "CUDA_ERROR_NO_DEVICE" : code == 719 ? "CUDA_ERROR_LAUNCH_FAILED" : NULL;
    return *name ? 0 : 1;
}

EXPORT int cuGetErrorString(int code, const char **text) {
    *text = code == 2 ? "out of memory" : code == 719 ? "unspecified launch failure" : NULL;
    return *text ? 0 : 1;
}

EXPORT int cuDeviceGetCount(int *count) {
    EXPECT(started);
    FAIL_IF_ASKED();
    for (*count = 0; *count < MOST_DEVICES && capability(*count) >= 0; ++*count) {}
    return 0;
}

EXPORT int cuDeviceGet(int *device, int ordinal) {
    EXPECT(started && ordinal >= 0 && capability(ordinal) >= 0);
    FAIL_IF_ASKED();
    *device = ordinal;
    return 0;
}

EXPORT int cuDeviceGetName(char *name, int bytes, int device) {
    EXPECT(started && bytes > 8 && capability(device) >= 0);
    FAIL_IF_ASKED();
    strcpy(name, "fake");
    return 0;
}

EXPORT int cuDeviceGetAttribute(int *value, int which, int device) {
    EXPECT(started && (which == 75 || which == 76));
    FAIL_IF_ASKED();
    *value = which == 75 ? capability(device) / 10 : capability(device) % 10;
    return 0;
}

EXPORT int cuDevicePrimaryCtxRetain(object **into, int device) {
    EXPECT(started && capability(device) >= 0);
    FAIL_IF_ASKED();
    pthread_mutex_lock(&lock);
    if (retained++ == 0) context = calloc(1, sizeof *context), context->magic = MAGIC, context->kind = CONTEXT;
    made[CONTEXT]++;
    pthread_mutex_unlock(&lock);
    *into = context;
    return 0;
}

EXPORT int cuDevicePrimaryCtxRelease_v2(int device) {
    EXPECT(capability(device) >= 0 && retained > 0);
    pthread_mutex_lock(&lock);
    freed[CONTEXT]++;
    if (--retained == 0) context->released = true;
    if (retained == 0 && getenv("EV_FAKE_FREES")) free(context);
    pthread_mutex_unlock(&lock);
    return failing(__func__);
}

EXPORT int cuCtxPushCurrent_v2(object *pushed) {
    EXPECT(depth < MOST_NESTED);
    live(pushed, CONTEXT);
    const int code = lost ? 0 : asked_to_fail(__func__); /* a lost context can still be made current: its objects are released in it */
    if (code) return code;
    stack[depth++] = pushed;
    return 0;
}

EXPORT int cuCtxPopCurrent_v2(object **popped) {
    EXPECT(depth > 0);
    *popped = stack[--depth];
    return 0;
}

/* --- memory ----------------------------------------------------------------------------------------------------------- */

EXPORT int cuMemAlloc_v2(pointer *into, size_t bytes) {
    NEEDS_CONTEXT();
    FAIL_IF_ASKED();
    pthread_mutex_lock(&lock);
    *into = (pointer)(uintptr_t)allocate(MEMORY, bytes)->memory;
    pthread_mutex_unlock(&lock);
    return 0;
}

EXPORT int cuMemFree_v2(pointer memory) {
    NEEDS_CONTEXT();
    pthread_mutex_lock(&lock);
    release_block((void *)(uintptr_t)memory, MEMORY);
    pthread_mutex_unlock(&lock);
    return failing(__func__);
}

EXPORT int cuMemHostAlloc(void **into, size_t bytes, unsigned flags) {
    NEEDS_CONTEXT();
    EXPECT(flags == 0);
    FAIL_IF_ASKED();
    pthread_mutex_lock(&lock);
    *into = allocate(HOST, bytes)->memory;
    pthread_mutex_unlock(&lock);
    return 0;
}

EXPORT int cuMemFreeHost(void *memory) {
    NEEDS_CONTEXT();
    pthread_mutex_lock(&lock);
    release_block(memory, HOST);
    pthread_mutex_unlock(&lock);
    return failing(__func__);
}

/* --- queueing --------------------------------------------------------------------------------------------------------- */

static void add(object *stream, const node *one) {
    stream->nodes = realloc(stream->nodes, (stream->n_nodes + 1) * sizeof *one);
    stream->nodes[stream->n_nodes++] = *one;
}

static void carry_out(const node *one) {
    switch (one->what) {
        case TO_DEVICE:
            EXPECT(block_of(one->to, MEMORY, one->bytes) && (one->pageable || block_of(one->from, HOST, one->bytes)));
            memcpy(one->to, one->from, one->bytes);
            return;
        case TO_HOST:
            EXPECT(block_of(one->from, MEMORY, one->bytes) && block_of(one->to, HOST, one->bytes));
            memcpy(one->to, one->from, one->bytes);
            return;
        case RECORD: one->subject->at_us = clock_us; return;
        case LAUNCH: break;
    }
    void *arguments[MOST_ARGUMENTS];
    for (int i = 0; i < one->n_arguments; i++) {
        EXPECT(block_of((void *)(uintptr_t)one->arguments[i], MEMORY, 1));
        arguments[i] = (void *)(uintptr_t)one->arguments[i];
    }
    live(one->subject->parent, MODULE);
    if (one->subject->run) one->subject->run(one->groups, one->size, arguments);
    clock_us += 2.5;
}

EXPORT int cuStreamCreate(object **stream, unsigned flags) {
    NEEDS_CONTEXT();
    EXPECT(flags == 1);
    FAIL_IF_ASKED();
    *stream = make(STREAM, NULL);
    return 0;
}

EXPORT int cuStreamDestroy_v2(object *stream) {
    NEEDS_CONTEXT();
    EXPECT(live(stream, STREAM)->n_nodes == 0 && !stream->capturing);
    drop(stream);
    return failing(__func__);
}

EXPORT int cuStreamSynchronize(object *stream) {
    NEEDS_CONTEXT();
    EXPECT(!live(stream, STREAM)->capturing);
    const int code = failing(__func__);
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < stream->n_nodes && !code; i++) carry_out(&stream->nodes[i]);
    stream->n_nodes = 0;
    pthread_mutex_unlock(&lock);
    return code;
}

EXPORT int cuMemcpyHtoDAsync_v2(pointer to, const void *from, size_t bytes, object *stream) {
    NEEDS_CONTEXT();
    EXPECT(bytes > 0 && to % ALIGNMENT == 0 && block_of((void *)(uintptr_t)to, MEMORY, bytes));
    EXPECT(block_of(from, HOST, bytes) || !live(stream, STREAM)->capturing);
    FAIL_IF_ASKED();
    add(live(stream, STREAM), &(node){.what = TO_DEVICE, .to = (void *)(uintptr_t)to, .from = from, .bytes = bytes,
                                     .pageable = !block_of(from, HOST, bytes)});
    return 0;
}

EXPORT int cuMemcpyDtoHAsync_v2(void *to, pointer from, size_t bytes, object *stream) {
    NEEDS_CONTEXT();
    EXPECT(bytes > 0 && from % ALIGNMENT == 0 && block_of((void *)(uintptr_t)from, MEMORY, bytes) && block_of(to, HOST, bytes));
    FAIL_IF_ASKED();
    add(live(stream, STREAM), &(node){.what = TO_HOST, .to = to, .from = (void *)(uintptr_t)from, .bytes = bytes});
    return 0;
}

EXPORT int cuLaunchKernel(
    object *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, object *stream,
    void **parameters, void **extra
) {
    NEEDS_CONTEXT();
    object *f = live(function, FUNCTION);
    live(f->parent, MODULE);
    EXPECT(gx > 0 && gx <= 0x7FFFFFFF && gy == 1 && gz == 1 && bx > 0 && bx <= f->most && by == 1 && bz == 1);
    EXPECT(shared == 0 && parameters && !extra);
    FAIL_IF_ASKED();
    node one = {.what = LAUNCH, .subject = f, .groups = gx, .size = bx, .n_arguments = f->n_arguments};
    for (int i = 0; i < f->n_arguments; i++) {
        one.arguments[i] = *(pointer *)parameters[i];
        EXPECT(one.arguments[i] % ALIGNMENT == 0 && block_of((void *)(uintptr_t)one.arguments[i], MEMORY, 1));
    }
    add(live(stream, STREAM), &one);
    return 0;
}

/* --- graphs ----------------------------------------------------------------------------------------------------------- */

EXPORT int cuStreamBeginCapture_v2(object *stream, int mode) {
    NEEDS_CONTEXT();
    EXPECT(!live(stream, STREAM)->capturing && stream->n_nodes == 0 && mode == 1);
    FAIL_IF_ASKED();
    stream->capturing = true;
    return 0;
}

EXPORT int cuStreamEndCapture(object *stream, object **graph) {
    NEEDS_CONTEXT();
    EXPECT(live(stream, STREAM)->capturing);
    stream->capturing = false;
    const int code = failing(__func__);
    *graph = code ? NULL : make(GRAPH, NULL);
    if (code) free(stream->nodes);
    else (*graph)->nodes = stream->nodes, (*graph)->n_nodes = stream->n_nodes;
    stream->nodes = NULL;
    stream->n_nodes = 0;
    return code;
}

EXPORT int cuGraphInstantiateWithFlags(object **exec, object *graph, unsigned long long flags) {
    NEEDS_CONTEXT();
    live(graph, GRAPH);
    EXPECT(flags == 0);
    FAIL_IF_ASKED();
    *exec = make(EXEC, NULL);
    (*exec)->n_nodes = graph->n_nodes;
    (*exec)->nodes = malloc(graph->n_nodes * sizeof(node));
    memcpy((*exec)->nodes, graph->nodes, graph->n_nodes * sizeof(node));
    return 0;
}

EXPORT int cuGraphLaunch(object *exec, object *stream) {
    NEEDS_CONTEXT();
    live(exec, EXEC);
    EXPECT(!live(stream, STREAM)->capturing);
    FAIL_IF_ASKED();
    graph_launches++;
    for (size_t i = 0; i < exec->n_nodes; i++) add(stream, &exec->nodes[i]);
    return 0;
}

EXPORT int cuGraphExecDestroy(object *exec) {
    NEEDS_CONTEXT();
    drop(live(exec, EXEC));
    return failing(__func__);
}

EXPORT int cuGraphDestroy(object *graph) {
    NEEDS_CONTEXT();
    drop(live(graph, GRAPH));
    return failing(__func__);
}

/* --- events ----------------------------------------------------------------------------------------------------------- */

EXPORT int cuEventCreate(object **event, unsigned flags) {
    NEEDS_CONTEXT();
    EXPECT(flags == 0);
    FAIL_IF_ASKED();
    *event = make(EVENT, NULL);
    (*event)->at_us = -1;
    return 0;
}

EXPORT int cuEventDestroy_v2(object *event) {
    NEEDS_CONTEXT();
    drop(live(event, EVENT));
    return failing(__func__);
}

EXPORT int cuEventRecord(object *event, object *stream) {
    NEEDS_CONTEXT();
    EXPECT(!live(stream, STREAM)->capturing);
    FAIL_IF_ASKED();
    live(event, EVENT)->at_us = -1;
    add(stream, &(node){.what = RECORD, .subject = event});
    return 0;
}

EXPORT int cuEventElapsedTime(float *ms, object *first, object *second) {
    NEEDS_CONTEXT();
    EXPECT(live(first, EVENT)->at_us >= 0 && live(second, EVENT)->at_us >= first->at_us);
    FAIL_IF_ASKED();
    *ms = (float)(second->at_us - first->at_us) / 1000;
    return 0;
}
