/* What the fake driver made: objects that know whether they live, and calls that are asked to fail. */
#ifndef FAKE_OBJECTS_H
#define FAKE_OBJECTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef int32_t cl_int;
typedef uint32_t cl_uint;
typedef uint64_t cl_ulong;

enum { CONTEXT, QUEUE, BUFFER, PART, PROGRAM, KERNEL, EVENT, MAPPING, KINDS };
static const char *const NAMES[] = {"contexts", "queues", "buffers", "parts", "programs", "kernels", "events", "mappings"};
enum { MOST_ARGUMENTS = 32, MOST_MAPPED = 16, ALIGNMENT = 512, READ_ONLY = 4, READ_WRITE = 1, HOST = 16, COPY = 32 };
enum { MAGIC = 0x0C1A0C1A };

typedef struct object {
    uint32_t magic;
    int kind, references;
    struct object *parent;
    size_t origin, bytes; /* of a buffer or part */
    uint64_t flags;
    unsigned char *content;
    char *text; /* of a program; of a kernel: its name */
    bool built, from_binary;
    int n_arguments;
    size_t group;
    struct object *arguments[MOST_ARGUMENTS];
    unsigned char *mapped[MOST_MAPPED]; /* of a buffer: where the host sees parts of it; copies, so that only unmapping writes */
    struct { size_t origin, bytes; bool write; } mappings[MOST_MAPPED];
    int pending;    /* of a queue: transfers of the caller's memory that nobody waited for */
    bool times;     /* of a queue */
} object;

static int alive[KINDS], made[KINDS], taken_binaries, compiled;
static int platform_, device_;
static object *reading; /* the buffer that was mapped last */

static void refuse(const char *function, const char *why) {
    fprintf(stderr, "fake OpenCL: %s: %s\n", function, why);
    fflush(stderr);
    _Exit(70);
}
#define EXPECT(condition) do { if (!(condition)) refuse(__func__, #condition); } while (0)

static bool asked(const char *failure) {
    const char *chosen = getenv("EV_FAKE_OPENCL");
    return chosen && strcmp(chosen, failure) == 0;
}

static bool lost(void) {
    static int calls;
    const char *at = getenv("EV_FAKE_LOST_AT");
    return ++calls >= (at ? atoi(at) : INT32_MAX);
}

__attribute__((destructor)) static void report(void) {
    fprintf(stderr, "fake OpenCL:");
    for (int kind = 0; kind < KINDS; kind++) fprintf(stderr, " %s %d-%d", NAMES[kind], made[kind], made[kind] - alive[kind]);
    fprintf(stderr, "\ncompiled: %d, binaries: %d\n", compiled, taken_binaries);
}

static object *live(void *handle, int kind) {
    object *o = handle;
    EXPECT(o != NULL);
    EXPECT(o->magic == MAGIC && o->references > 0);
    EXPECT(o->kind == kind || (kind == BUFFER && o->kind == PART));
    return o;
}

static object *make(int kind, object *parent) {
    object *o = calloc(1, sizeof *o);
    o->magic = MAGIC;
    o->kind = kind;
    o->references = 1;
    o->parent = parent;
    if (parent) parent->references++;
    alive[kind]++;
    made[kind]++;
    return o;
}

static cl_int drop(object *o) {
    if (--o->references > 0) return 0;
    object *parent = o->parent;
    for (int at = 0; at < MOST_MAPPED; at++) EXPECT(!o->mapped[at]);
    if (reading == o) reading = NULL;
    alive[o->kind]--;
    o->magic = 0xDEAD;
    free(o->content);
    free(o->text);
    if (getenv("EV_FAKE_FREES")) free(o); /* else it stays: a use after its release is noticed */
    if (parent) drop(parent);
    return 0;
}

static object *root(object *o) {
    while (o->parent) o = o->parent;
    return o;
}

static void *failed(cl_int *status, cl_int code) {
    EXPECT(status != NULL);
    *status = code;
    return NULL;
}

#endif
