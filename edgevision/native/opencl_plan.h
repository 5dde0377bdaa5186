/* The contract between the generated driver of an OpenCL artifact and opencl_session.c. Internal. */
#ifndef EV_OPENCL_PLAN_H
#define EV_OPENCL_PLAN_H

#include "edgevision.h"

typedef enum { EV_CL_ARENA = 0, EV_CL_WEIGHTS = 1 } ev_cl_place;

/* A range of the arena or of the weights that kernels see as a buffer of its own. */
typedef struct {
    int32_t place;   /* an ev_cl_place */
    uint64_t offset; /* bytes; a multiple of ev_cl_plan.alignment_bytes */
    uint64_t bytes;
} ev_cl_region;

typedef struct {
    const char *name;   /* of the fused operator */
    const char *kernel; /* in the source */
    int32_t first_argument, n_arguments; /* a range of ev_cl_plan.arguments */
    uint32_t groups, group_size;         /* work groups, and work items in each */
} ev_cl_step;

typedef struct {
    const ev_model *model;
    const unsigned char *weights;
    const unsigned char *source; /* OpenCL C 1.2 */
    size_t source_bytes;
    const char *build_options;
    const ev_cl_region *regions;
    int32_t n_regions;
    const int32_t *arguments; /* numbers of regions, in the kernels' order */
    const ev_cl_step *steps;
    int32_t n_steps;
    const uint64_t *input_offsets;  /* of each model input in the arena */
    const uint64_t *output_offsets; /* likewise */
    uint32_t alignment_bytes;       /* of all regions */
    uint32_t most_group_size;       /* of all steps */
} ev_cl_plan;

extern const ev_cl_plan ev_the_cl_plan __attribute__((visibility("hidden")));

__attribute__((visibility("hidden"))) const ev_api *ev_runtime_api(uint32_t abi);

#endif
