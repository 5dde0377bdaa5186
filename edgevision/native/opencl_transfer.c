#include "opencl_transfer.h"

#include "opencl_plan.h"
#include "opencl_program.h"
#include "os.h"

bool ev_cl_shares_memory(const ev_opencl *cl, cl_device_id device) {
    cl_bool unified = 0;
    return cl->clGetDeviceInfo(device, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof unified, &unified, NULL) == CL_SUCCESS && unified;
}

static int input_refused(int32_t i, cl_int status, ev_error *error) {
    return cl_failed(error, EV_KERNEL, "the device did not take input ", ev_the_launch_plan.model->inputs[i].name, status);
}

static int output_refused(int32_t i, cl_int status, ev_error *error) {
    return cl_failed(error, EV_KERNEL, "the device did not give output ", ev_the_launch_plan.model->outputs[i].name, status);
}

static cl_int map(const ev_cl_transfer *t, bool wait, cl_bitfield how, uint64_t offset, size_t bytes, void **mapped) {
    cl_int status = CL_SUCCESS;
    *mapped = t->cl->clEnqueueMapBuffer(t->queue, t->arena, wait, how, (size_t)offset, bytes, 0, NULL, NULL, &status);
    return *mapped || status != CL_SUCCESS ? status : CL_OUT_OF_RESOURCES;
}

static cl_int unmap(const ev_cl_transfer *t, void *mapped) {
    return t->cl->clEnqueueUnmapMemObject(t->queue, t->arena, mapped, 0, NULL, NULL);
}

/* Waits for no kernel: between runs the queue is empty. */
static cl_int put(const ev_cl_transfer *t, uint64_t offset, size_t bytes, const void *from) {
    void *to;
    if (!t->shared) return t->cl->clEnqueueWriteBuffer(t->queue, t->arena, 0, (size_t)offset, bytes, from, 0, NULL, NULL);
    const cl_int status = map(t, true, CL_MAP_WRITE_INVALIDATE_REGION, offset, bytes, &to);
    if (status != CL_SUCCESS) return status;
    memcpy(to, from, bytes);
    return unmap(t, to);
}

int ev_cl_queue_inputs(const ev_cl_transfer *t, const void *const *inputs, ev_error *error) {
    const ev_launch_plan *plan = &ev_the_launch_plan;
    for (int32_t i = 0; i < plan->model->n_inputs; i++) {
        const size_t bytes = plan->model->inputs[i].bytes;
        const cl_int status = bytes ? put(t, plan->input_offsets[i], bytes, inputs[i]) : CL_SUCCESS;
        if (status != CL_SUCCESS) return input_refused(i, status, error);
    }
    return EV_OK;
}

int ev_cl_queue_outputs(const ev_cl_transfer *t, void *const *outputs, ev_error *error) {
    const ev_launch_plan *plan = &ev_the_launch_plan;
    for (int32_t i = 0; i < plan->model->n_outputs; i++) {
        const size_t bytes = plan->model->outputs[i].bytes, offset = (size_t)plan->output_offsets[i];
        cl_int status = CL_SUCCESS;
        if (!bytes) continue;
        if (t->shared) status = map(t, false, CL_MAP_READ, offset, bytes, &t->mapped[i]);
        else status = t->cl->clEnqueueReadBuffer(t->queue, t->arena, 0, offset, bytes, outputs[i], 0, NULL, NULL);
        if (status != CL_SUCCESS) return output_refused(i, status, error);
    }
    return EV_OK;
}

int ev_cl_take_outputs(const ev_cl_transfer *t, void *const *outputs, bool wanted, ev_error *error) {
    const ev_model *model = ev_the_launch_plan.model;
    int result = EV_OK;
    for (int32_t i = 0; t->shared && i < model->n_outputs; i++) {
        if (!t->mapped[i]) continue;
        if (wanted) memcpy(outputs[i], t->mapped[i], model->outputs[i].bytes);
        const cl_int status = unmap(t, t->mapped[i]);
        t->mapped[i] = NULL;
        if (status != CL_SUCCESS && result == EV_OK) result = output_refused(i, status, wanted ? error : NULL);
    }
    return result;
}
