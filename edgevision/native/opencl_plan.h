/* What the generated driver of an OpenCL artifact adds to the launches: the kernels' source. Internal. */
#ifndef EV_OPENCL_PLAN_H
#define EV_OPENCL_PLAN_H

#include "launch_plan.h"

typedef struct {
    const unsigned char *text; /* OpenCL C 1.2 */
    size_t bytes;
    const char *build_options;
} ev_cl_source;

extern const ev_cl_source ev_the_cl_source __attribute__((visibility("hidden")));

#endif
