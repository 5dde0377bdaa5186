/* A libcuda that checks everything: arguments, sizes, alignments, contexts, lifetimes, releases, and what may be done while a stream
 * is captured. A violation ends the process with status 70 and a line on stderr; at exit a line tells how many objects were made and
 * released, and how often runs were launched as a graph.
 *
 * Nothing that is queued happens before the stream is waited for. Kernels compute nothing, unless $EV_FAKE_CUDA_KERNELS names a library
 * that holds them for the CPU (cpu_kernels.h).
 *
 * $EV_FAKE_CUDA is FUNCTION:N:CODE: the N-th call of FUNCTION fails with CODE; with an L in front of it everything after it fails too, as
 * on a device that is lost; $EV_FAKE_LOST_AT is the number of a call, from which on it is. $EV_FAKE_CUDA_DRIVER is the driver's version, $EV_FAKE_CUDA_DEVICES a list of compute capabilities. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
typedef uint64_t pointer;

enum { CONTEXT, MODULE, FUNCTION, STREAM, MEMORY, HOST, EVENT, GRAPH, EXEC, KINDS };
static const char *const NAMES[] = {"contexts", "modules", "functions", "streams", "buffers", "pinned", "events", "graphs", "execs"};
enum { INVALID_IMAGE = 200 };
enum { MAGIC = 0x0C0DA0DA, ALIGNMENT = 256, MOST_ARGUMENTS = 64, MOST_DEVICES = 4, MOST_BLOCKS = 4096, MOST_NESTED = 8 };

typedef void (*cpu_kernel)(unsigned groups, unsigned size, void *const *arguments);
typedef struct { /* something queued */
    enum { TO_DEVICE, TO_HOST, LAUNCH, RECORD } what;
    struct object *subject;
    unsigned char *to;
    const unsigned char *from;
    size_t bytes;
    bool pageable; /* from memory that is not pinned */
    unsigned groups, size;
    int n_arguments;
    pointer arguments[MOST_ARGUMENTS];
} node;

typedef struct object {
    uint32_t magic;
    int kind;
    bool released, capturing;
    struct object *parent, *functions; /* the functions of a MODULE, each with the one before it */
    unsigned char *memory; /* of MEMORY and HOST */
    size_t bytes;
    const char *image; /* of a MODULE */
    char name[512];    /* of a FUNCTION */
    int n_arguments;
    unsigned most;
    cpu_kernel run;
    node *nodes; /* of a STREAM: not done yet; of GRAPH and EXEC */
    size_t n_nodes;
    double at_us; /* of an EVENT; below 0: not recorded */
} object;

static int made[KINDS], freed[KINDS], graph_launches, retained;
static object *blocks[MOST_BLOCKS], *context;
static int n_blocks;
static bool started, lost;
static double clock_us = 1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread object *stack[MOST_NESTED];
static __thread int depth;

static void refuse(const char *function, const char *why) {
    fprintf(stderr, "fake CUDA: %s: %s\n", function, why);
    fflush(stderr);
    _Exit(70);
}
#define EXPECT(condition) do { if (!(condition)) refuse(__func__, #condition); } while (0)

__attribute__((destructor)) static void report(void) {
    fprintf(stderr, "fake CUDA:");
    for (int kind = 0; kind < KINDS; kind++) fprintf(stderr, " %s %d-%d", NAMES[kind], made[kind], freed[kind]);
    fprintf(stderr, "\ngraph launches: %d\n", graph_launches);
}

/* The code that this call of `function` is told to fail with; 0: none. */
static int asked_to_fail(const char *function) {
    static int calls;
    const char *asked = getenv("EV_FAKE_CUDA");
    if (!asked || !*asked) return 0;
    const bool lasting = *asked == 'L';
    asked += lasting;
    const size_t length = strlen(function);
    if (strncmp(asked, function, length) || asked[length] != ':') return 0;
    char *rest;
    const long wanted = strtol(asked + length + 1, &rest, 10);
    if (++calls != wanted) return 0;
    lost = lasting;
    return atoi(rest + 1);
}

/* The code that this call of `function` fails with; 0: it works. */
static int failing(const char *function) {
    static int calls;
    const char *at = getenv("EV_FAKE_LOST_AT");
    lost |= at && ++calls >= atoi(at);
    return lost ? 719 : asked_to_fail(function);
}
#define FAIL_IF_ASKED() do { const int code_ = failing(__func__); if (code_) return code_; } while (0)
#define NEEDS_CONTEXT() EXPECT(started && depth > 0 && stack[depth - 1] == context && !context->released)

static object *live(void *handle, int kind) {
    object *o = handle;
    EXPECT(o != NULL);
    EXPECT(o->magic == MAGIC && o->kind == kind);
    EXPECT(!o->released);
    return o;
}

static object *make(int kind, object *parent) {
    object *o = calloc(1, sizeof *o);
    o->magic = MAGIC;
    o->kind = kind;
    o->parent = parent;
    made[kind]++;
    return o;
}

/* The object itself stays, so that a use after its release is noticed, unless $EV_FAKE_FREES is there. */
static void drop(object *o) {
    o->released = true;
    free(o->memory);
    o->memory = NULL;
    free(o->nodes);
    o->nodes = NULL;
    freed[o->kind]++;
    if (!getenv("EV_FAKE_FREES")) return;
    for (object *f = o->functions, *before; f; f = before) before = f->functions, free(f);
    free(o);
}

static object *block_of(const void *address, int kind, size_t bytes) {
    const unsigned char *at = address;
    for (int i = 0; i < n_blocks; i++) {
        object *b = blocks[i];
        if (b->kind == kind && !b->released && at >= b->memory && at + bytes <= b->memory + b->bytes) return b;
    }
    return NULL;
}

static object *allocate(int kind, size_t bytes) {
    object *o = make(kind, NULL);
    EXPECT(bytes > 0 && n_blocks < MOST_BLOCKS);
    o->bytes = bytes;
    o->memory = aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    memset(o->memory, 0xFF, bytes);
    blocks[n_blocks++] = o;
    return o;
}

static void release_block(void *address, int kind) {
    for (int i = 0; i < n_blocks; i++) {
        if (blocks[i]->kind == kind && !blocks[i]->released && blocks[i]->memory == address) {
            drop(blocks[i]);
            blocks[i] = blocks[--n_blocks];
            return;
        }
    }
    refuse(__func__, "no such memory, or released before");
}

/* --- driver and devices ----------------------------------------------------------------------------------------------- */

static int capability(int ordinal) {
    const char *list = getenv("EV_FAKE_CUDA_DEVICES");
    if (!list) list = "9.0";
    for (; *list; list++) {
        char *rest;
        const long major = strtol(list, &rest, 10), minor = strtol(rest + 1, &rest, 10);
        if (ordinal-- == 0) return (int)(10 * major + minor);
        if (!*(list = rest)) break;
    }
    return -1;
}

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

/* --- modules ---------------------------------------------------------------------------------------------------------- */

static const Elf64_Shdr *section(const char *image, const char *name) {
    const Elf64_Ehdr *header = (const void *)image;
    const Elf64_Shdr *sections = (const void *)(image + header->e_shoff);
    const char *strings = image + sections[header->e_shstrndx].sh_offset;
    for (int i = 0; i < header->e_shnum; i++) {
        if (!strcmp(strings + sections[i].sh_name, name)) return &sections[i];
    }
    return NULL;
}

EXPORT int cuModuleLoadDataEx(object **module, const char *image, unsigned count, const int *options, void **values) {
    NEEDS_CONTEXT();
    EXPECT(image && count == 2 && options[0] == 5 && options[1] == 6 && values[0] && (uintptr_t)values[1] >= 256);
    const int code = failing(__func__);
    if (code == 209) strcpy(values[0], "\nptxas fatal: no such thing\nmore\n");
    if (code) return code;
    if (!memcmp(image, ELFMAG, SELFMAG)) {
        const Elf64_Ehdr *header = (const void *)image;
        EXPECT((uintptr_t)image % 8 == 0);
        if (header->e_machine != EM_CUDA) return INVALID_IMAGE;
        EXPECT((int)(header->e_flags & 0xFF) == capability(0)); /* a cubin is for one compute capability alone */
    } else if (!strstr(image, ".version") || !strstr(image, ".address_size 64")) {
        return INVALID_IMAGE;
    }
    *module = make(MODULE, NULL);
    (*module)->image = image;
    return 0;
}

EXPORT int cuModuleUnload(object *module) {
    NEEDS_CONTEXT();
    drop(live(module, MODULE));
    return failing(__func__);
}

/* The kernel's parameters behind what every kernel has in its bank of constants: 0x160 bytes, from compute capability 9.0 on 0x210. */
static int arguments_in_cubin(const char *image, const char *name) {
    char wanted[600];
    snprintf(wanted, sizeof wanted, ".nv.constant0.%s", name);
    const Elf64_Shdr *found = section(image, wanted);
    EXPECT(found != NULL);
    const Elf64_Ehdr *header = (const void *)image;
    return (int)(found->sh_size - ((header->e_flags & 0xFF) >= 90 ? 0x210 : 0x160)) / 8;
}

static int arguments_in_ptx(const char *image, const char *name, unsigned *most) {
    char wanted[600];
    int count = 0;
    snprintf(wanted, sizeof wanted, ".entry %s(", name);
    const char *found = strstr(image, wanted);
    EXPECT(found != NULL);
    const char *end = strchr(found, ')'), *body = strchr(found, '{'), *limit = strstr(found, ".maxntid ");
    for (const char *at = found; (at = strstr(at, ".param .u64")) && at < end; at++) count++;
    if (limit && limit < body) *most = (unsigned)strtoul(limit + strlen(".maxntid "), NULL, 10);
    return count;
}

EXPORT int cuModuleGetFunction(object **function, object *module, const char *name) {
    NEEDS_CONTEXT();
    FAIL_IF_ASKED();
    object *m = live(module, MODULE);
    object *f = make(FUNCTION, m);
    f->functions = m->functions;
    m->functions = f;
    freed[FUNCTION]++; /* it goes with its module */
    EXPECT(strlen(name) < sizeof f->name - 8);
    strcpy(f->name, name);
    f->most = 1024;
    f->n_arguments = !memcmp(m->image, ELFMAG, SELFMAG) ? arguments_in_cubin(m->image, name) : arguments_in_ptx(m->image, name, &f->most);
    EXPECT(f->n_arguments > 0 && f->n_arguments <= MOST_ARGUMENTS);
    const char *kernels = getenv("EV_FAKE_CUDA_KERNELS");
    if (kernels) {
        void *library = dlopen(kernels, RTLD_NOW);
        if (!library) refuse(__func__, dlerror());
        char symbol[600];
        snprintf(symbol, sizeof symbol, "%s_on_cpu", name);
        *(void **)&f->run = dlsym(library, symbol);
        EXPECT(f->run != NULL);
    }
    *function = f;
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
