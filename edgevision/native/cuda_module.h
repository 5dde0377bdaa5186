/* The GPU that a CUDA artifact runs on, and its kernels there. */
#ifndef EV_CUDA_MODULE_H
#define EV_CUDA_MODULE_H

#include "cuda.h"

#include <stdbool.h>

/* What the generated driver of a CUDA artifact adds to the launches: the kernels' code. */
typedef struct {
    const unsigned char *binary; /* a cubin for `major`.`minor` alone */
    const unsigned char *ptx;    /* text, closed by a zero byte, for every later compute capability */
    int32_t major, minor;
    int32_t binary_driver, ptx_driver; /* the oldest drivers that take them: 1000 * major + 10 * minor of CUDA */
} ev_cuda_code;

extern const ev_cuda_code ev_the_cuda_code __attribute__((visibility("hidden")));

typedef struct {
    CUdevice device;
    bool exact; /* its compute capability is the code's own: it runs the binary, not the PTX */
} ev_cuda_device;

/* The first device of the code's own compute capability, else the first of a later one; EV_NO_DEVICE where there is none. */
__attribute__((visibility("hidden"))) int ev_cuda_find_device(const ev_cuda *cuda, ev_cuda_device *found, ev_error *error);

/* The kernels, in the current context of `device`. */
__attribute__((visibility("hidden"))) int ev_cuda_load(
    const ev_cuda *cuda, const ev_cuda_device *device, CUmodule *module, ev_error *error
);

#endif
