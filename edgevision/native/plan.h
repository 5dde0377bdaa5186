/* The contract between the generated driver (one `ev_plan`, all constants) and the runtime that executes it. Internal. */
#ifndef EV_PLAN_H
#define EV_PLAN_H

#include "runtime.h"

/* What TVM's generated code takes: tvm_ffi's TVMFFIAny and DLPack's DLTensor, reduced to the fields it reads. */
typedef struct {
    int32_t device_type, device_id;
} ev_dl_device;

typedef struct {
    uint8_t code, bits; /* code: 0 int, 1 uint, 2 float, 6 bool */
    uint16_t lanes;
} ev_dl_dtype;

typedef struct {
    void *data;
    ev_dl_device device;
    int32_t ndim;
    ev_dl_dtype dtype;
    const int64_t *shape;
    const int64_t *strides; /* never NULL: dense row-major */
    uint64_t byte_offset;
} ev_dl_tensor;

typedef struct {
    int32_t type_index; /* 7: a DLTensor pointer */
    uint32_t zero_padding;
    union {
        int64_t v_int64;
        double v_float64;
        void *v_ptr;
    } value;
} ev_any;

typedef int32_t (*ev_kernel)(void *self, ev_any *args, int32_t n_args, ev_any *result);

/* What TVM calls for a parallel loop: every task of 0..num_task-1 once. */
typedef struct {
    void *sync_handle;
    int32_t num_task;
} ev_parallel_env;
typedef int (*ev_parallel_body)(int task_id, ev_parallel_env *env, void *closure);

typedef enum { EV_IN_ARENA = 0, EV_IN_WEIGHTS = 1, EV_IN_TRANSFORMED = 2 } ev_place;

/* One tensor argument. Inputs and outputs of the model are staged in the arena like every other activation, so that kernels see
 * 64-byte aligned memory whatever the caller passes. */
typedef struct {
    int32_t place;   /* an ev_place */
    uint64_t offset; /* bytes from the start of the arena or of weights; a multiple of 64 */
    int32_t ndim;
    ev_dl_dtype dtype;
    const int64_t *shape, *strides;
} ev_operand;

typedef struct {
    const char *name;
    ev_kernel kernel;
    int32_t first_operand, n_operands; /* a range of ev_plan.operands: inputs first, outputs last */
} ev_plan_step;

/* Filters [taps][taps][ci][groups * channels] at `from` of the weights become U = G g G^T at `to` of the transformed weights, in the order
 * [group][block][point][inputs][block's channels]: of each group, ci input channels filled up with zeros to `inputs`, `channels`
 * output channels to `filled`, `block` of these a block. All float32. */
typedef struct {
    uint64_t from, to;    /* bytes; multiples of 64 */
    const double *matrix; /* G [points of an axis][taps] */
    int64_t ci, inputs, groups, channels, filled, block;
    int32_t points, taps;
} ev_filters;

typedef struct {
    const ev_model *model;
    const unsigned char *weights; /* 64-byte aligned */
    const ev_operand *operands;
    int32_t n_operands;
    const ev_plan_step *steps;
    int32_t n_steps;
    const uint64_t *input_offsets;  /* of each model input's staging place in the arena */
    const uint64_t *output_offsets; /* likewise */
    size_t workspace_bytes; /* per thread: most that one kernel's nested AllocWorkspace calls take, 64-byte rounding included */
    int32_t default_threads;     /* what the model was compiled for */
    /* NULL-terminated; NULL: none. LLVM's names without the sign ("avx2", "dotprod"), out of those in cpu.c: an artifact that asks
     * for a name that is not there refuses to start. */
    const char *const *required_features;
    const ev_filters *transforms; /* done when the first session is created */
    int32_t n_transforms;
    uint64_t transformed_bytes;
} ev_plan;

/* Defined by the generated driver; everything the runtime knows about the network. Hidden visibility. */
extern const ev_plan ev_the_plan __attribute__((visibility("hidden")));

#endif
