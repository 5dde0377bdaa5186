/* A run's inputs on their way to an OpenCL device, and its outputs on their way back. */
#ifndef EV_OPENCL_TRANSFER_H
#define EV_OPENCL_TRANSFER_H

#include "opencl.h"

#include <stdbool.h>

typedef struct {
    const ev_opencl *cl;
    cl_command_queue queue; /* in order */
    cl_mem arena;
    bool shared;   /* the host reaches the arena itself: its parts are mapped, not copied by the driver */
    void **mapped; /* one an output: where the host sees it during a run */
} ev_cl_transfer;

/* Whether the device computes in the host's memory. */
__attribute__((visibility("hidden"))) bool ev_cl_shares_memory(const ev_opencl *cl, cl_device_id device);

/* Queues the inputs, which must stay until the queue is finished. */
__attribute__((visibility("hidden"))) int ev_cl_queue_inputs(const ev_cl_transfer *transfer, const void *const *inputs, ev_error *error);

/* Queues what brings the outputs back; after a finished queue ev_cl_take_outputs must follow, whatever came of it. */
__attribute__((visibility("hidden"))) int ev_cl_queue_outputs(const ev_cl_transfer *transfer, void *const *outputs, ev_error *error);

/* `wanted` is false after a failure: then nothing is copied, and only mappings end. */
__attribute__((visibility("hidden"))) int ev_cl_take_outputs(
    const ev_cl_transfer *transfer, void *const *outputs, bool wanted, ev_error *error
);

#endif
