/* Sessions on an OpenCL device: the C interface of edgevision.h over the one network of ev_the_launch_plan.
 *
 * A session owns a context, two buffers (arena and weights) that kernels see in parts, a program, and one kernel object a launch
 * with its arguments set once: a run brings the inputs in, queues every launch in order and waits once, for the outputs. */
#include "calls.h"
#include "opencl.h"
#include "opencl_plan.h"
#include "opencl_program.h"
#include "opencl_transfer.h"

enum { MOST_PLATFORMS = 16, MOST_DEVICES = 16 };

struct ev_session {
    ev_opencl cl;
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
    cl_mem arena, weights;
    cl_program program;
    cl_mem *regions;    /* one a region of the plan */
    cl_kernel *kernels; /* one a step */
    cl_event *events;   /* likewise; only while a timed run is under way */
    void **mapped;      /* one an output; only while a run is under way */
    uint64_t *step_ns;
    long process_id;
    _Atomic uint32_t busy;
    bool shared; /* the device computes in the host's memory */
    bool timing; /* asked for: the queue takes times */
    bool timed;  /* step_ns holds a run */
};

/* --- the device ------------------------------------------------------------------------------------------------------- */

/* The first GPU of any platform, else the first accelerator, else the first CPU. */
static int find_device(ev_session *session, ev_error *error) {
    static const cl_bitfield KINDS[] = {CL_DEVICE_TYPE_GPU, CL_DEVICE_TYPE_ACCELERATOR, CL_DEVICE_TYPE_CPU};
    cl_platform_id platforms[MOST_PLATFORMS];
    cl_uint n_platforms = 0;
    const cl_int status = session->cl.clGetPlatformIDs(MOST_PLATFORMS, platforms, &n_platforms);
    if (status != CL_SUCCESS || n_platforms == 0) {
        return ev_fail(error, EV_NO_DEVICE, "OpenCL is here, but no driver of a device: install one (Debian, for the CPU: pocl-opencl-icd)");
    }
    if (n_platforms > MOST_PLATFORMS) n_platforms = MOST_PLATFORMS;
    for (size_t kind = 0; kind < sizeof KINDS / sizeof KINDS[0]; kind++) {
        for (cl_uint i = 0; i < n_platforms; i++) {
            cl_device_id devices[MOST_DEVICES];
            cl_uint count = 0;
            if (session->cl.clGetDeviceIDs(platforms[i], KINDS[kind], MOST_DEVICES, devices, &count) == CL_SUCCESS && count > 0) {
                session->device = devices[0];
                return EV_OK;
            }
        }
    }
    return ev_fail(error, EV_NO_DEVICE, "OpenCL's drivers offer no device");
}

static uint64_t limit_of(const ev_session *session, cl_uint which, size_t bytes) {
    uint64_t value = 0;
    uint32_t narrow = 0;
    void *into = bytes == sizeof narrow ? (void *)&narrow : (void *)&value;
    if (session->cl.clGetDeviceInfo(session->device, which, bytes, into, NULL) != CL_SUCCESS) return 0;
    return bytes == sizeof narrow ? narrow : value;
}

static int too_small(const ev_session *session, const char *what, uint64_t has, uint64_t needs, ev_error *error) {
    char name[64] = {0};
    session->cl.clGetDeviceInfo(session->device, CL_DEVICE_NAME, sizeof name - 1, name, NULL);
    return ev_fail(error, EV_NO_DEVICE, "device ", name[0] ? name : "of OpenCL", " ", what, " ", ev_decimal_of(has).digits, ", ",
                   ev_the_launch_plan.model->name, " needs ", ev_decimal_of(needs).digits);
}

static int check_device(const ev_session *session, ev_error *error) {
    const ev_launch_plan *plan = &ev_the_launch_plan;
    const uint64_t group = limit_of(session, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof(size_t));
    const uint64_t bits = limit_of(session, CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof(uint32_t));
    const uint64_t most = limit_of(session, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof(uint64_t));
    const uint64_t larger = plan->model->arena_bytes > plan->weight_bytes ? plan->model->arena_bytes : plan->weight_bytes;
    if (group < plan->most_group_size) return too_small(session, "allows work groups of", group, plan->most_group_size, error);
    if (bits / 8 > plan->alignment_bytes) return too_small(session, "wants buffers aligned to", bits / 8, plan->alignment_bytes, error);
    if (most < larger) return too_small(session, "allows buffers of", most, larger, error);
    return EV_OK;
}

/* --- building a session ----------------------------------------------------------------------------------------------- */

static int make_queue(ev_session *session, bool timing, ev_error *error) {
    cl_int status = CL_SUCCESS;
    session->queue = session->cl.clCreateCommandQueue(session->context, session->device, timing ? CL_QUEUE_PROFILING_ENABLE : 0, &status);
    return session->queue ? EV_OK : cl_failed(error, kind_of(status), "no command queue", "", status);
}

static int make_memory(ev_session *session, ev_error *error) {
    const ev_launch_plan *plan = &ev_the_launch_plan;
    const ev_opencl *cl = &session->cl;
    cl_int status = CL_SUCCESS;
    session->shared = ev_cl_shares_memory(cl, session->device);
    const cl_bitfield kind = CL_MEM_READ_WRITE | (session->shared ? CL_MEM_ALLOC_HOST_PTR : 0);
    session->arena = cl->clCreateBuffer(session->context, kind, plan->model->arena_bytes, NULL, &status);
    if (!session->arena) return cl_failed(error, kind_of(status), "no memory for activations", "", status);
    if (plan->weight_bytes) {
        void *content = (void *)(uintptr_t)plan->weights;
        session->weights = cl->clCreateBuffer(session->context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, plan->weight_bytes,
                                              content, &status);
        if (!session->weights) return cl_failed(error, kind_of(status), "no memory for weights", "", status);
    }
    for (int32_t i = 0; i < plan->n_regions; i++) {
        const ev_region *region = &plan->regions[i];
        const cl_buffer_region place = {(size_t)region->offset, (size_t)region->bytes};
        const bool constant = region->place == EV_ON_WEIGHTS;
        session->regions[i] = cl->clCreateSubBuffer(constant ? session->weights : session->arena,
                                                    constant ? CL_MEM_READ_ONLY : CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION,
                                                    &place, &status);
        if (!session->regions[i]) return cl_failed(error, kind_of(status), "no part of a buffer", "", status);
    }
    return EV_OK;
}

static int make_kernels(ev_session *session, ev_error *error) {
    const ev_launch_plan *plan = &ev_the_launch_plan;
    for (int32_t i = 0; i < plan->n_steps; i++) {
        const ev_launch *step = &plan->steps[i];
        cl_int status = CL_SUCCESS;
        session->kernels[i] = session->cl.clCreateKernel(session->program, step->kernel, &status);
        if (!session->kernels[i]) return cl_failed(error, kind_of(status), "no kernel ", step->kernel, status);
        for (int32_t n = 0; n < step->n_arguments; n++) {
            const cl_mem *region = &session->regions[plan->arguments[step->first_argument + n]];
            status = session->cl.clSetKernelArg(session->kernels[i], (cl_uint)n, sizeof *region, region);
            if (status != CL_SUCCESS) return cl_failed(error, EV_NO_DEVICE, "an argument is refused by kernel ", step->kernel, status);
        }
    }
    return EV_OK;
}

static int make(ev_session *session, const ev_options *options, ev_error *error) {
    int status = ev_opencl_open(&session->cl, error);
    if (status == EV_OK) status = find_device(session, error);
    if (status == EV_OK) status = check_device(session, error);
    if (status != EV_OK) return status;
    cl_int reason = CL_SUCCESS;
    session->context = session->cl.clCreateContext(NULL, 1, &session->device, NULL, NULL, &reason);
    if (!session->context) return cl_failed(error, kind_of(reason), "no context on the device", "", reason);
    status = make_queue(session, false, error);
    if (status == EV_OK) status = make_memory(session, error);
    if (status == EV_OK) status = ev_cl_make_program(&session->cl, session->context, session->device, options->cache_directory, &session->program, error);
    return status == EV_OK ? make_kernels(session, error) : status;
}

static void release(ev_session *session) {
    const ev_launch_plan *plan = &ev_the_launch_plan;
    const ev_opencl *cl = &session->cl;
    for (int32_t i = 0; i < plan->n_steps; i++) {
        if (session->kernels[i]) cl->clReleaseKernel(session->kernels[i]);
    }
    if (session->program) cl->clReleaseProgram(session->program);
    for (int32_t i = 0; i < plan->n_regions; i++) {
        if (session->regions[i]) cl->clReleaseMemObject(session->regions[i]);
    }
    if (session->weights) cl->clReleaseMemObject(session->weights);
    if (session->arena) cl->clReleaseMemObject(session->arena);
    if (session->queue) cl->clReleaseCommandQueue(session->queue);
    if (session->context) cl->clReleaseContext(session->context);
}

/* The session and its tables in one block, all null. */
static ev_session *allocate(void) {
    const ev_launch_plan *plan = &ev_the_launch_plan;
    const size_t steps = (size_t)plan->n_steps, regions = (size_t)plan->n_regions, outputs = (size_t)plan->model->n_outputs;
    const size_t bytes = sizeof(ev_session) + steps * sizeof(uint64_t) + (2 * steps + regions + outputs) * sizeof(void *);
    unsigned char *memory = malloc(bytes);
    if (!memory) return NULL;
    for (size_t i = 0; i < bytes; i++) memory[i] = 0;
    ev_session *session = (ev_session *)(void *)memory;
    session->step_ns = (uint64_t *)(void *)(session + 1);
    session->kernels = (cl_kernel *)(void *)(session->step_ns + steps);
    session->events = (cl_event *)(void *)(session->kernels + steps);
    session->regions = (cl_mem *)(void *)(session->events + steps);
    session->mapped = (void **)(void *)(session->regions + regions);
    session->process_id = ev_process_id();
    return session;
}

/* --- running ---------------------------------------------------------------------------------------------------------- */

static int queue_steps(ev_session *session, ev_error *error) {
    const ev_launch_plan *plan = &ev_the_launch_plan;
    for (int32_t i = 0; i < plan->n_steps; i++) {
        const ev_launch *step = &plan->steps[i];
        const size_t local = step->group_size, global = local * step->groups;
        const cl_int status = session->cl.clEnqueueNDRangeKernel(session->queue, session->kernels[i], 1, NULL, &global, &local, 0, NULL,
                                                                 session->timing ? &session->events[i] : NULL);
        if (status != CL_SUCCESS) return cl_failed(error, EV_KERNEL, "the device did not take step ", step->name, status);
    }
    return EV_OK;
}

/* The times of a run that has ended; the events are released whatever came of it. */
static int read_times(ev_session *session, ev_error *error) {
    cl_int failed = CL_SUCCESS;
    for (int32_t i = 0; i < ev_the_launch_plan.n_steps; i++) {
        cl_ulong start = 0, end = 0;
        if (!session->events[i]) continue;
        cl_int status = session->cl.clGetEventProfilingInfo(session->events[i], CL_PROFILING_COMMAND_START, sizeof start, &start, NULL);
        if (status == CL_SUCCESS) {
            status = session->cl.clGetEventProfilingInfo(session->events[i], CL_PROFILING_COMMAND_END, sizeof end, &end, NULL);
        }
        if (status != CL_SUCCESS) failed = status;
        session->step_ns[i] = end - start;
        session->cl.clReleaseEvent(session->events[i]);
        session->events[i] = NULL;
    }
    return failed == CL_SUCCESS ? EV_OK : cl_failed(error, EV_KERNEL, "the device gave no times", "", failed);
}

static int run_claimed(ev_session *session, const void *const *inputs, void *const *outputs, ev_error *error) {
    const ev_cl_transfer transfer = {&session->cl, session->queue, session->arena, session->shared, session->mapped};
    session->timed = false;
    int status = ev_cl_queue_inputs(&transfer, inputs, error);
    if (status == EV_OK) status = queue_steps(session, error);
    if (status == EV_OK) status = ev_cl_queue_outputs(&transfer, outputs, error);
    /* Also after a failure: what was queued before it still reads and writes the caller's memory. */
    const cl_int finished = session->cl.clFinish(session->queue);
    if (status == EV_OK && finished != CL_SUCCESS) status = cl_failed(error, EV_KERNEL, "the device stopped", "", finished);
    const int taken = ev_cl_take_outputs(&transfer, outputs, status == EV_OK, error);
    if (status == EV_OK) status = taken;
    if (session->timing) {
        const int read = read_times(session, status == EV_OK ? error : NULL);
        if (status == EV_OK) status = read;
        session->timed = status == EV_OK;
    }
    return status;
}

/* A queue that takes times, in place of the one that does not. */
static int start_timing(ev_session *session, ev_error *error) {
    const cl_command_queue before = session->queue;
    const int status = make_queue(session, true, error);
    if (status != EV_OK) {
        session->queue = before;
        return status;
    }
    session->cl.clFinish(before); /* mappings end in it */
    session->cl.clReleaseCommandQueue(before);
    session->timing = true;
    return EV_OK;
}

#include "device_session.h"
