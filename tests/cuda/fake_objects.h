/* What the fake driver made: objects that know whether they live, blocks of memory, and calls that are asked to fail. */
#ifndef FAKE_OBJECTS_H
#define FAKE_OBJECTS_H

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

/* Ten times the compute capability of a device; -1: there is no such device. */
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

#endif
