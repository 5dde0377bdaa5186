/* The contract between the generated driver of a device's artifact and the session that runs it: which kernels, over which grids,
 * on which parts of which buffers. Internal. */
#ifndef EV_LAUNCH_PLAN_H
#define EV_LAUNCH_PLAN_H

#include "runtime.h"

typedef enum { EV_ON_ARENA = 0, EV_ON_WEIGHTS = 1 } ev_region_place;

/* A range of the arena or of the weights, on the device, that kernels see. */
typedef struct {
    int32_t place;   /* an ev_region_place */
    uint64_t offset; /* bytes; a multiple of ev_launch_plan.alignment_bytes */
    uint64_t bytes;
} ev_region;

typedef struct {
    const char *name;   /* of the fused operator */
    const char *kernel; /* in the device's code */
    int32_t first_argument, n_arguments; /* a range of ev_launch_plan.arguments */
    uint32_t groups, group_size;         /* work groups, and work items in each */
} ev_launch;

typedef struct {
    const ev_model *model;
    const unsigned char *weights;
    uint64_t weight_bytes; /* that the device reads; a CPU version's may follow */
    const ev_region *regions;
    int32_t n_regions;
    const int32_t *arguments; /* numbers of regions, in the kernels' order */
    const ev_launch *steps;
    int32_t n_steps;
    const uint64_t *input_offsets;  /* of each model input in the arena */
    const uint64_t *output_offsets; /* likewise */
    uint32_t alignment_bytes;       /* of all regions */
    uint32_t most_group_size;       /* of all steps */
} ev_launch_plan;

extern const ev_launch_plan ev_the_launch_plan __attribute__((visibility("hidden")));

#endif
