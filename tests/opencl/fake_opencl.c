/* A libOpenCL that computes nothing and checks everything: arguments, sizes, alignments, lifetimes, releases. A violation ends the
 * process with status 70 and a line on stderr; at exit a line tells how many objects were made and how many are left.
 *
 * $EV_FAKE_OPENCL names one way to fail: no-platform, no-device, small-groups, wide-alignment, small-buffers, build, no-context,
 * no-queue, no-memory, no-part, no-program, no-kernel, argument, write, read, unmap, launch, finish, times. $EV_FAKE_UNIFIED has it share
 * the host's memory. $EV_FAKE_LOST_AT is the number of a call, from
 * which on the device is lost: all that could fail does. $EV_FAKE_FREES has it keep nothing of what was released. */
#include "fake_objects.h"

EXPORT cl_int clGetPlatformIDs(cl_uint most, void **into, cl_uint *count) {
    EXPECT(into == NULL || most > 0);
    if (lost() || asked("no-platform")) return -1001;
    if (into) into[0] = &platform_;
    if (count) *count = 1;
    return 0;
}

EXPORT cl_int clGetDeviceIDs(void *platform, uint64_t type, cl_uint most, void **into, cl_uint *count) {
    EXPECT(platform == &platform_ && most > 0 && into);
    if (lost() || asked("no-device") || type != 4) return -1; /* it is a GPU */
    into[0] = &device_;
    if (count) *count = 1;
    return 0;
}

EXPORT cl_int clGetDeviceInfo(void *device, cl_uint which, size_t bytes, void *into, size_t *size) {
    EXPECT(device == &device_ && into);
    if (lost()) return -2;
    uint64_t value;
    size_t wide = 8;
    switch (which) {
        case 0x1004: value = asked("small-groups") ? 1 : 1024, wide = sizeof(size_t); break;
        case 0x1010: value = asked("small-buffers") ? 64 : 1u << 30; break;
        case 0x1019: value = asked("wide-alignment") ? 8 * 4096 : 8 * ALIGNMENT, wide = 4; break;
        case 0x1035: value = getenv("EV_FAKE_UNIFIED") != NULL, wide = 4; break;
        case 0x102B:
        case 0x102D:
        case 0x102F:
            EXPECT(bytes > 16);
            strcpy(into, which == 0x102D && getenv("EV_FAKE_DRIVER") ? getenv("EV_FAKE_DRIVER") : "fake");
            return 0;
        default: return -30;
    }
    EXPECT(bytes == wide);
    memcpy(into, &value, wide);
    if (size) *size = wide;
    return 0;
}

EXPORT void *clCreateContext(const intptr_t *properties, cl_uint count, void *const *devices, void *notify, void *user, cl_int *status) {
    EXPECT(!properties && count == 1 && devices[0] == &device_ && !notify && !user);
    if (lost() || asked("no-context")) return failed(status, -2);
    *status = 0;
    return make(CONTEXT, NULL);
}

EXPORT void *clCreateCommandQueue(void *context, void *device, uint64_t properties, cl_int *status) {
    EXPECT(device == &device_ && (properties & ~2u) == 0);
    if (lost() || asked("no-queue") || (properties && asked("no-timing"))) return failed(status, -6);
    object *queue = make(QUEUE, live(context, CONTEXT));
    queue->times = properties == 2;
    *status = 0;
    return queue;
}

EXPORT void *clCreateBuffer(void *context, uint64_t flags, size_t bytes, void *content, cl_int *status) {
    EXPECT(bytes > 0 && (flags & ~(uint64_t)(READ_ONLY | READ_WRITE | HOST | COPY)) == 0);
    EXPECT((flags & HOST) == 0 || (getenv("EV_FAKE_UNIFIED") && (flags & READ_WRITE)));
    EXPECT((flags & READ_ONLY) == 0 || (flags & READ_WRITE) == 0);
    EXPECT((content != NULL) == ((flags & COPY) != 0));
    if (lost() || asked("no-memory")) return failed(status, -4);
    object *buffer = make(BUFFER, live(context, CONTEXT));
    buffer->bytes = bytes;
    buffer->flags = flags;
    buffer->content = malloc(bytes);
    if (content) memcpy(buffer->content, content, bytes);
    else memset(buffer->content, 0, bytes);
    *status = 0;
    return buffer;
}

EXPORT void *clCreateSubBuffer(void *whole, uint64_t flags, cl_uint type, const void *region, cl_int *status) {
    object *buffer = live(whole, BUFFER);
    const size_t *place = region;
    EXPECT(buffer->kind == BUFFER && type == 0x1220 && place[1] > 0);
    EXPECT(place[0] % ALIGNMENT == 0 && place[0] + place[1] <= buffer->bytes);
    EXPECT((buffer->flags & READ_ONLY) == 0 || flags == READ_ONLY);
    if (lost() || asked("no-part")) return failed(status, -4);
    object *part = make(PART, buffer);
    part->origin = place[0];
    part->bytes = place[1];
    part->flags = flags;
    *status = 0;
    return part;
}

EXPORT cl_int clReleaseMemObject(void *buffer) { return drop(live(buffer, BUFFER)); }
EXPORT cl_int clReleaseContext(void *context) { return drop(live(context, CONTEXT)); }
EXPORT cl_int clReleaseProgram(void *program) { return drop(live(program, PROGRAM)); }
EXPORT cl_int clReleaseKernel(void *kernel) { return drop(live(kernel, KERNEL)); }
EXPORT cl_int clReleaseEvent(void *event) { return drop(live(event, EVENT)); }

EXPORT cl_int clReleaseCommandQueue(void *queue) {
    EXPECT(live(queue, QUEUE)->pending == 0);
    return drop(queue);
}

EXPORT void *clCreateProgramWithSource(void *context, cl_uint count, const char **texts, const size_t *sizes, cl_int *status) {
    EXPECT(count == 1 && texts[0] && sizes && sizes[0] > 0);
    EXPECT(memchr(texts[0], 0, sizes[0]) == NULL && memchr(texts[0], '\r', sizes[0]) == NULL);
    if (lost() || asked("no-program")) return failed(status, -6);
    object *program = make(PROGRAM, live(context, CONTEXT));
    program->text = strndup(texts[0], sizes[0]);
    *status = 0;
    return program;
}

/* A "binary" is the source behind a mark. */
static const char MARK[] = "fake binary:";

EXPORT cl_int clGetProgramInfo(void *program, cl_uint which, size_t bytes, void *into, size_t *size) {
    const object *o = live(program, PROGRAM);
    const size_t length = sizeof MARK - 1 + strlen(o->text);
    EXPECT(o->built && into && !size);
    if (lost() || asked("no-binary")) return -6;
    if (which == 0x1165) {
        EXPECT(bytes == sizeof(size_t));
        memcpy(into, &length, sizeof length);
        return 0;
    }
    EXPECT(which == 0x1166 && bytes == sizeof(void *));
    unsigned char *place = *(unsigned char **)into;
    memcpy(place, MARK, sizeof MARK - 1);
    memcpy(place + sizeof MARK - 1, o->text, strlen(o->text));
    return 0;
}

EXPORT void *clCreateProgramWithBinary(
    void *context, cl_uint count, void *const *devices, const size_t *sizes, const unsigned char **binaries, cl_int *taken, cl_int *status
) {
    EXPECT(count == 1 && devices[0] == &device_ && sizes[0] > sizeof MARK && taken && status);
    EXPECT(memcmp(binaries[0], MARK, sizeof MARK - 1) == 0);
    *taken = 0;
    *status = 0;
    if (asked("binary-refused")) *taken = *status = -42;
    if (asked("binary-refused")) return NULL;
    if (asked("binary-foreign")) *taken = -42;
    object *program = make(PROGRAM, live(context, CONTEXT));
    program->text = strndup((const char *)binaries[0] + sizeof MARK - 1, sizes[0] - (sizeof MARK - 1));
    program->from_binary = true;
    taken_binaries++;
    return program;
}

EXPORT cl_int clBuildProgram(void *program, cl_uint count, void *const *devices, const char *options, void *notify, void *user) {
    object *o = live(program, PROGRAM);
    EXPECT(count == 1 && devices[0] == &device_ && options && strstr(options, "-cl-std=CL1.2") && !notify && !user);
    if (lost() || asked("build") || asked("build-silent")) return -11;
    if (o->from_binary && asked("binary-build")) return -11;
    if (!o->from_binary) compiled++;
    o->built = true;
    return 0;
}

EXPORT cl_int clGetProgramBuildInfo(void *program, void *device, cl_uint which, size_t bytes, void *into, size_t *size) {
    static const char LOG[] = "\nkernels.cl:7:3: error: no such thing\nmore\n";
    live(program, PROGRAM);
    EXPECT(device == &device_ && which == 0x1183);
    if (lost() || asked("build-silent")) return -5;
    EXPECT(!into || bytes >= sizeof LOG);
    if (into) memcpy(into, LOG, sizeof LOG);
    if (size) *size = sizeof LOG;
    return 0;
}

/* The kernel's declaration: "__kernel __attribute__((reqd_work_group_size(N, 1, 1))) void NAME(a, b) {" */
EXPORT void *clCreateKernel(void *program, const char *name, cl_int *status) {
    object *o = live(program, PROGRAM);
    char wanted[512];
    EXPECT(o->built && strlen(name) < 400);
    if (lost() || asked("no-kernel")) return failed(status, -46);
    snprintf(wanted, sizeof wanted, " void %s(", name);
    const char *found = strstr(o->text, wanted);
    EXPECT(found != NULL);
    object *kernel = make(KERNEL, o);
    kernel->n_arguments = 1;
    for (const char *c = found + strlen(wanted); *c != ')'; c++) kernel->n_arguments += *c == ',';
    EXPECT(kernel->n_arguments <= MOST_ARGUMENTS);
    const char *line = found;
    while (line > o->text && line[-1] != '\n') line--;
    const char *group = strstr(line, "reqd_work_group_size(");
    EXPECT(group && group < found);
    kernel->group = strtoul(group + strlen("reqd_work_group_size("), NULL, 10);
    *status = 0;
    return kernel;
}

EXPORT cl_int clSetKernelArg(void *kernel, cl_uint index, size_t bytes, const void *value) {
    object *o = live(kernel, KERNEL);
    EXPECT((int)index < o->n_arguments && bytes == sizeof(void *) && value);
    object *buffer = live(*(void *const *)value, BUFFER);
    EXPECT(root(buffer) == root(o));
    if (lost() || asked("argument")) return -51;
    o->arguments[index] = buffer;
    return 0;
}

static void check_arguments(const object *kernel) {
    for (int i = 0; i < kernel->n_arguments; i++) {
        const object *a = kernel->arguments[i];
        EXPECT(a != NULL);
        EXPECT(a->magic == MAGIC && a->references > 0);
        for (int j = 0; j < i; j++) {
            const object *b = kernel->arguments[j];
            const bool same = a == b, apart = a->origin + a->bytes <= b->origin || b->origin + b->bytes <= a->origin;
            EXPECT(same || a->parent != b->parent || apart); /* the kernels' pointers are restrict */
        }
    }
}

EXPORT cl_int clEnqueueNDRangeKernel(
    void *queue, void *kernel, cl_uint axes, const size_t *offset, const size_t *global, const size_t *local, cl_uint waits,
    const void *list, void **event
) {
    object *q = live(queue, QUEUE), *k = live(kernel, KERNEL);
    EXPECT(root(q) == root(k) && axes == 1 && !offset && waits == 0 && !list);
    EXPECT(global[0] > 0 && local[0] > 0 && global[0] % local[0] == 0 && local[0] == k->group && local[0] <= 1024);
    EXPECT(!event || q->times);
    check_arguments(k);
    EXPECT(alive[MAPPING] == 0); /* kernels and the host take turns */
    if (lost() || asked("launch")) return -5;
    if (event) *event = make(EVENT, q);
    return 0;
}

static object *transfer(void *queue, void *buffer, cl_uint blocking, size_t offset, size_t bytes, const void *memory, cl_uint waits) {
    object *q = live(queue, QUEUE), *b = live(buffer, BUFFER);
    EXPECT(root(q) == root(b) && b->kind == BUFFER && memory && bytes > 0 && waits == 0);
    EXPECT(offset % ALIGNMENT == 0 && offset + bytes <= b->bytes);
    if (!blocking) q->pending++;
    return b;
}

EXPORT cl_int clEnqueueWriteBuffer(
    void *queue, void *buffer, cl_uint blocking, size_t offset, size_t bytes, const void *from, cl_uint waits, const void *list,
    void **event
) {
    object *b = transfer(queue, buffer, blocking, offset, bytes, from, waits);
    EXPECT(!list && !event && (b->flags & HOST) == 0);
    if (lost() || asked("write")) return -5;
    memcpy(b->content + offset, from, bytes);
    return 0;
}

EXPORT cl_int clEnqueueReadBuffer(
    void *queue, void *buffer, cl_uint blocking, size_t offset, size_t bytes, void *into, cl_uint waits, const void *list, void **event
) {
    object *b = transfer(queue, buffer, blocking, offset, bytes, into, waits);
    EXPECT(!list && !event && (b->flags & HOST) == 0);
    if (lost() || asked("read")) return -5;
    memcpy(into, b->content + offset, bytes);
    return 0;
}

/* What is mapped for reading holds nothing before the queue is finished; what is mapped for writing holds nothing at all. */
EXPORT void *clEnqueueMapBuffer(
    void *queue, void *buffer, cl_uint blocking, uint64_t flags, size_t offset, size_t bytes, cl_uint waits, const void *list, void **event,
    cl_int *status
) {
    object *b = transfer(queue, buffer, blocking, offset, bytes, buffer, waits);
    EXPECT(!list && !event && (b->flags & HOST) != 0 && (flags == 1 || flags == 4));
    if (lost() || asked(flags == 1 ? "read" : "write")) return failed(status, -5);
    int at = 0;
    while (at < MOST_MAPPED && b->mapped[at]) at++;
    EXPECT(at < MOST_MAPPED);
    b->mapped[at] = malloc(bytes);
    memset(b->mapped[at], 0xFF, bytes);
    b->mappings[at].origin = offset;
    b->mappings[at].bytes = bytes;
    b->mappings[at].write = flags == 4;
    made[MAPPING]++;
    alive[MAPPING]++;
    *status = 0;
    reading = b;
    return b->mapped[at];
}

EXPORT cl_int clEnqueueUnmapMemObject(void *queue, void *buffer, void *mapped, cl_uint waits, const void *list, void **event) {
    object *q = live(queue, QUEUE), *b = live(buffer, BUFFER);
    EXPECT(root(q) == root(b) && waits == 0 && !list && !event);
    int at = 0;
    while (at < MOST_MAPPED && b->mapped[at] != mapped) at++;
    EXPECT(at < MOST_MAPPED);
    if (b->mappings[at].write) memcpy(b->content + b->mappings[at].origin, mapped, b->mappings[at].bytes);
    free(mapped);
    b->mapped[at] = NULL;
    alive[MAPPING]--;
    return lost() || asked("unmap") ? -5 : 0;
}

EXPORT cl_int clFinish(void *queue) {
    for (int at = 0; reading && at < MOST_MAPPED; at++) {
        if (reading->mapped[at]) memcpy(reading->mapped[at], reading->content + reading->mappings[at].origin, reading->mappings[at].bytes);
    }

    live(queue, QUEUE)->pending = 0;
    return lost() || asked("finish") ? -5 : 0;
}

EXPORT cl_int clGetEventProfilingInfo(void *event, cl_uint which, size_t bytes, void *into, size_t *size) {
    const object *e = live(event, EVENT);
    EXPECT(bytes == 8 && (which == 0x1282 || which == 0x1283) && e->parent->pending == 0 && !size);
    if (lost() || asked("times")) return -7;
    const cl_ulong at = which == 0x1283 ? 3500 : 1000;
    memcpy(into, &at, sizeof at);
    return 0;
}
