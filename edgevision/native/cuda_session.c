/* Sessions on a CUDA device: the C interface of edgevision.h over the one network of ev_the_launch_plan.
 *
 * A session retains the device's primary context and owns a stream, two allocations on the device (arena and weights), one of pinned
 * memory on the host for inputs and outputs, a module, and a graph of everything that a run does. A run copies the inputs into pinned
 * memory, launches the graph and waits once. Where the driver does not capture a graph, the same is queued piece by piece. */
#include "calls.h"
#include "cuda.h"
#include "cuda_module.h"
#include "launch_plan.h"

enum { STAGING_ALIGNMENT = 64 };

struct ev_session {
    ev_cuda cuda;
    ev_cuda_device device;
    CUcontext context;
    CUmodule module;
    CUstream stream;
    CUgraphExec graph; /* NULL: launches are queued one by one */
    CUdeviceptr arena, weights;
    unsigned char *staging;  /* pinned: the inputs and then the outputs, each at a multiple of STAGING_ALIGNMENT */
    CUdeviceptr *pointers;   /* one a region of the plan */
    CUfunction *functions;   /* one a step */
    void **arguments;        /* one an argument of the plan: where its pointer is */
    CUevent *events;         /* one a step and one before the first; only once timing was asked for */
    uint64_t *step_ns;
    long process_id;
    _Atomic uint32_t busy;
    bool timing; /* asked for: events are there */
    bool timed;  /* step_ns holds a run */
};

static int failed(const ev_session *session, ev_error *error, ev_status code, const char *what, const char *which, CUresult status) {
    return ev_cuda_failed(&session->cuda, error, code, what, which, status);
}

/* --- building a session ----------------------------------------------------------------------------------------------- */

static size_t staged(size_t bytes) { return (bytes + STAGING_ALIGNMENT - 1) / STAGING_ALIGNMENT * STAGING_ALIGNMENT; }

static size_t staging_bytes(void) {
    const ev_model *model = ev_the_launch_plan.model;
    size_t bytes = STAGING_ALIGNMENT; /* a network may have nothing to copy */
    for (int32_t i = 0; i < model->n_inputs; i++) bytes += staged(model->inputs[i].bytes);
    for (int32_t i = 0; i < model->n_outputs; i++) bytes += staged(model->outputs[i].bytes);
    return bytes;
}

static int make_memory(ev_session *session, ev_error *error) {
    const ev_launch_plan *plan = &ev_the_launch_plan;
    const ev_cuda *cuda = &session->cuda;
    void *host = NULL;
    CUresult status = cuda->cuMemAlloc(&session->arena, plan->model->arena_bytes);
    if (status != CUDA_SUCCESS) return failed(session, error, ev_cuda_kind_of(status), "no memory for activations", "", status);
    status = cuda->cuMemHostAlloc(&host, staging_bytes(), 0);
    if (status != CUDA_SUCCESS) return failed(session, error, ev_cuda_kind_of(status), "no pinned memory for inputs and outputs", "", status);
    session->staging = host;
    if (plan->weight_bytes) {
        status = cuda->cuMemAlloc(&session->weights, plan->weight_bytes);
        if (status != CUDA_SUCCESS) return failed(session, error, ev_cuda_kind_of(status), "no memory for weights", "", status);
        /* In the session's own stream, which waits for no other: a copy outside any stream returns before it is done. */
        status = cuda->cuMemcpyHtoDAsync(session->weights, plan->weights, plan->weight_bytes, session->stream);
        if (status == CUDA_SUCCESS) status = cuda->cuStreamSynchronize(session->stream);
        if (status != CUDA_SUCCESS) return failed(session, error, ev_cuda_kind_of(status), "the device did not take the weights", "", status);
    }
    for (int32_t i = 0; i < plan->n_regions; i++) {
        const ev_region *region = &plan->regions[i];
        session->pointers[i] = (region->place == EV_ON_WEIGHTS ? session->weights : session->arena) + region->offset;
    }
    return EV_OK;
}

static int find_kernels(ev_session *session, ev_error *error) {
    const ev_launch_plan *plan = &ev_the_launch_plan;
    for (int32_t i = 0; i < plan->n_steps; i++) {
        const ev_launch *step = &plan->steps[i];
        const CUresult status = session->cuda.cuModuleGetFunction(&session->functions[i], session->module, step->kernel);
        if (status != CUDA_SUCCESS) return failed(session, error, EV_NO_DEVICE, "no kernel ", step->kernel, status);
        for (int32_t n = step->first_argument; n < step->first_argument + step->n_arguments; n++) {
            session->arguments[n] = &session->pointers[plan->arguments[n]];
        }
    }
    return EV_OK;
}

/* --- what a run queues ------------------------------------------------------------------------------------------------ */

static int queue_inputs(ev_session *session, ev_error *error) {
    const ev_launch_plan *plan = &ev_the_launch_plan;
    size_t at = 0;
    for (int32_t i = 0; i < plan->model->n_inputs; i++) {
        const ev_tensor *input = &plan->model->inputs[i];
        const CUdeviceptr to = session->arena + plan->input_offsets[i];
        const CUresult status = input->bytes ? session->cuda.cuMemcpyHtoDAsync(to, session->staging + at, input->bytes, session->stream)
                                             : CUDA_SUCCESS;
        if (status != CUDA_SUCCESS) return failed(session, error, EV_KERNEL, "the device did not take input ", input->name, status);
        at += staged(input->bytes);
    }
    return EV_OK;
}

static int queue_steps(ev_session *session, ev_error *error) {
    const ev_launch_plan *plan = &ev_the_launch_plan;
    const ev_cuda *cuda = &session->cuda;
    CUresult status = session->timing ? cuda->cuEventRecord(session->events[0], session->stream) : CUDA_SUCCESS;
    for (int32_t i = 0; status == CUDA_SUCCESS && i < plan->n_steps; i++) {
        const ev_launch *step = &plan->steps[i];
        status = cuda->cuLaunchKernel(session->functions[i], step->groups, 1, 1, step->group_size, 1, 1, 0, session->stream,
                                      &session->arguments[step->first_argument], NULL);
        if (status != CUDA_SUCCESS) return failed(session, error, EV_KERNEL, "the device did not take step ", step->name, status);
        if (session->timing) status = cuda->cuEventRecord(session->events[i + 1], session->stream);
    }
    return status == CUDA_SUCCESS ? EV_OK : failed(session, error, EV_KERNEL, "the device records no time", "", status);
}

static int queue_outputs(ev_session *session, ev_error *error) {
    const ev_launch_plan *plan = &ev_the_launch_plan;
    size_t at = 0;
    for (int32_t i = 0; i < plan->model->n_inputs; i++) at += staged(plan->model->inputs[i].bytes);
    for (int32_t i = 0; i < plan->model->n_outputs; i++) {
        const ev_tensor *output = &plan->model->outputs[i];
        const CUdeviceptr from = session->arena + plan->output_offsets[i];
        const CUresult status = output->bytes ? session->cuda.cuMemcpyDtoHAsync(session->staging + at, from, output->bytes, session->stream)
                                              : CUDA_SUCCESS;
        if (status != CUDA_SUCCESS) return failed(session, error, EV_KERNEL, "the device did not give output ", output->name, status);
        at += staged(output->bytes);
    }
    return EV_OK;
}

static int queue_run(ev_session *session, ev_error *error) {
    int status = queue_inputs(session, error);
    if (status == EV_OK) status = queue_steps(session, error);
    return status == EV_OK ? queue_outputs(session, error) : status;
}

/* The graph of a run; NULL where the driver does not make one, which costs time and nothing else. What is wrong with a launch is
 * said when it is queued without a graph. */
static CUgraphExec capture(ev_session *session) {
    const ev_cuda *cuda = &session->cuda;
    CUgraph graph = NULL;
    CUgraphExec made = NULL;
    if (cuda->cuStreamBeginCapture(session->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) != CUDA_SUCCESS) return NULL;
    const int queued = queue_run(session, NULL);
    const CUresult status = cuda->cuStreamEndCapture(session->stream, &graph);
    if (status == CUDA_SUCCESS && queued == EV_OK && graph && cuda->cuGraphInstantiate(&made, graph, 0) != CUDA_SUCCESS) made = NULL;
    if (status == CUDA_SUCCESS && graph) cuda->cuGraphDestroy(graph);
    return made;
}

/* --- creating and destroying ------------------------------------------------------------------------------------------ */

static int make_in_context(ev_session *session, ev_error *error) {
    const CUresult reason = session->cuda.cuStreamCreate(&session->stream, CU_STREAM_NON_BLOCKING);
    if (reason != CUDA_SUCCESS) return failed(session, error, ev_cuda_kind_of(reason), "no stream", "", reason);
    int status = ev_cuda_load(&session->cuda, &session->device, &session->module, error);
    if (status == EV_OK) status = make_memory(session, error);
    if (status == EV_OK) status = find_kernels(session, error);
    if (status == EV_OK) session->graph = capture(session);
    return status;
}

static void release_in_context(ev_session *session) {
    const ev_cuda *cuda = &session->cuda;
    for (int32_t i = 0; i <= ev_the_launch_plan.n_steps; i++) {
        if (session->events[i]) cuda->cuEventDestroy(session->events[i]);
    }
    if (session->graph) cuda->cuGraphExecDestroy(session->graph);
    if (session->staging) cuda->cuMemFreeHost(session->staging);
    if (session->weights) cuda->cuMemFree(session->weights);
    if (session->arena) cuda->cuMemFree(session->arena);
    if (session->module) cuda->cuModuleUnload(session->module);
    if (session->stream) cuda->cuStreamDestroy(session->stream);
}

static void release(ev_session *session) {
    CUcontext mine;
    if (!session->context) return;
    if (session->cuda.cuCtxPushCurrent(session->context) == CUDA_SUCCESS) {
        release_in_context(session);
        session->cuda.cuCtxPopCurrent(&mine);
    }
    session->cuda.cuDevicePrimaryCtxRelease(session->device.device);
}

static int make(ev_session *session, const ev_options *options, ev_error *error) {
    (void)options;
    CUcontext mine;
    int status = ev_cuda_open(&session->cuda, ev_the_cuda_code.binary_driver, error);
    if (status == EV_OK) status = ev_cuda_find_device(&session->cuda, &session->device, error);
    if (status != EV_OK) return status;
    CUresult reason = session->cuda.cuDevicePrimaryCtxRetain(&session->context, session->device.device);
    if (reason != CUDA_SUCCESS) {
        session->context = NULL;
        return failed(session, error, ev_cuda_kind_of(reason), "no context on the device", "", reason);
    }
    reason = session->cuda.cuCtxPushCurrent(session->context);
    if (reason != CUDA_SUCCESS) return failed(session, error, EV_NO_DEVICE, "the context is lost", "", reason);
    status = make_in_context(session, error);
    session->cuda.cuCtxPopCurrent(&mine);
    return status;
}

/* The session and its tables in one block, all null. */
static ev_session *allocate(void) {
    const ev_launch_plan *plan = &ev_the_launch_plan;
    const size_t steps = (size_t)plan->n_steps, regions = (size_t)plan->n_regions;
    const ev_launch *last = steps ? &plan->steps[steps - 1] : NULL;
    const size_t arguments = last ? (size_t)(last->first_argument + last->n_arguments) : 0;
    const size_t words = (steps + regions) + (steps + arguments + steps + 1);
    const size_t bytes = sizeof(ev_session) + words * sizeof(uint64_t);
    unsigned char *memory = malloc(bytes);
    if (!memory) return NULL;
    for (size_t i = 0; i < bytes; i++) memory[i] = 0;
    ev_session *session = (ev_session *)(void *)memory;
    session->step_ns = (uint64_t *)(void *)(session + 1);
    session->pointers = (CUdeviceptr *)(void *)(session->step_ns + steps);
    session->functions = (CUfunction *)(void *)(session->pointers + regions);
    session->arguments = (void **)(void *)(session->functions + steps);
    session->events = (CUevent *)(void *)(session->arguments + arguments);
    session->process_id = ev_process_id();
    return session;
}

/* --- running ---------------------------------------------------------------------------------------------------------- */

/* Times of a run that has ended, from one event to the next: a launch with the gap in front of it. */
static int read_times(ev_session *session, ev_error *error) {
    for (int32_t i = 0; i < ev_the_launch_plan.n_steps; i++) {
        float ms = 0;
        const CUresult status = session->cuda.cuEventElapsedTime(&ms, session->events[i], session->events[i + 1]);
        if (status != CUDA_SUCCESS) return failed(session, error, EV_KERNEL, "the device gave no times", "", status);
        session->step_ns[i] = (uint64_t)((double)ms * 1e6 + 0.5);
    }
    session->timed = true;
    return EV_OK;
}

static int launch(ev_session *session, ev_error *error) {
    if (session->timing || !session->graph) return queue_run(session, error);
    const CUresult status = session->cuda.cuGraphLaunch(session->graph, session->stream);
    return status == CUDA_SUCCESS ? EV_OK : failed(session, error, EV_KERNEL, "the device did not take the run", "", status);
}

static int run_in_context(ev_session *session, const void *const *inputs, void *const *outputs, ev_error *error) {
    const ev_model *model = ev_the_launch_plan.model;
    size_t at = 0;
    session->timed = false;
    for (int32_t i = 0; i < model->n_inputs; i++) {
        if (model->inputs[i].bytes) memcpy(session->staging + at, inputs[i], model->inputs[i].bytes);
        at += staged(model->inputs[i].bytes);
    }
    int status = launch(session, error);
    /* Also after a failure: what was queued before it still reads and writes the session's memory. */
    const CUresult finished = session->cuda.cuStreamSynchronize(session->stream);
    if (status == EV_OK && finished != CUDA_SUCCESS) status = failed(session, error, EV_KERNEL, "the device stopped", "", finished);
    if (status == EV_OK && session->timing) status = read_times(session, error);
    for (int32_t i = 0; status == EV_OK && i < model->n_outputs; i++) {
        if (model->outputs[i].bytes) memcpy(outputs[i], session->staging + at, model->outputs[i].bytes);
        at += staged(model->outputs[i].bytes);
    }
    return status;
}

static int run_claimed(ev_session *session, const void *const *inputs, void *const *outputs, ev_error *error) {
    CUcontext mine;
    const CUresult pushed = session->cuda.cuCtxPushCurrent(session->context);
    if (pushed != CUDA_SUCCESS) return failed(session, error, EV_KERNEL, "the device is lost", "", pushed);
    const int status = run_in_context(session, inputs, outputs, error);
    session->cuda.cuCtxPopCurrent(&mine);
    return status;
}

static int make_events(ev_session *session, ev_error *error) {
    for (int32_t i = 0; i <= ev_the_launch_plan.n_steps; i++) {
        const CUresult status = session->events[i] ? CUDA_SUCCESS : session->cuda.cuEventCreate(&session->events[i], CU_EVENT_DEFAULT);
        if (status != CUDA_SUCCESS) return failed(session, error, ev_cuda_kind_of(status), "no event", "", status);
    }
    session->timing = true;
    return EV_OK;
}

static int start_timing(ev_session *session, ev_error *error) {
    CUcontext mine;
    const CUresult pushed = session->cuda.cuCtxPushCurrent(session->context);
    if (pushed != CUDA_SUCCESS) return failed(session, error, EV_KERNEL, "the device is lost", "", pushed);
    const int status = make_events(session, error);
    session->cuda.cuCtxPopCurrent(&mine);
    return status;
}

#include "device_session.h"
