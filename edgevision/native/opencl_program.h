/* The network's kernels, compiled for one device; and what a driver's refusal means. */
#ifndef EV_OPENCL_PROGRAM_H
#define EV_OPENCL_PROGRAM_H

#include "failure.h"
#include "opencl.h"

#include <stdbool.h>

/* The kernels of ev_the_cl_source: from `folder` (NULL: no cache) where they were kept for this device and driver, else compiled and
 * kept there. *program may be left behind by a failure; whoever asked releases it. */
__attribute__((visibility("hidden"))) int ev_cl_make_program(
    const ev_opencl *cl, cl_context context, cl_device_id device, const char *folder, cl_program *program, ev_error *error
);

static inline int cl_failed(ev_error *error, ev_status code, const char *what, const char *which, cl_int status) {
    const uint64_t size = (uint64_t)(status < 0 ? -(int64_t)status : status);
    return ev_fail(error, code, what, which, ": ", ev_opencl_status(status), " (", status < 0 ? "-" : "", ev_decimal_of(size).digits, ")");
}

/* What a failure to create an object means to the caller. */
static inline ev_status kind_of(cl_int status) {
    const bool memory = status == CL_MEM_OBJECT_ALLOCATION_FAILURE || status == CL_OUT_OF_HOST_MEMORY || status == CL_OUT_OF_RESOURCES;
    return memory ? EV_NO_MEMORY : EV_NO_DEVICE;
}

#endif
