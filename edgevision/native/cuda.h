/* CUDA's driver interface as far as it is used here, without its headers and without linking to it: the driver's library is opened
 * at run time.
 *
 * Names, types and numbers are those of NVIDIA's cuda.h (CUDA Driver API reference); functions that got a second version are called
 * by their first name here and found by the second. All of them exist since CUDA 11.4. */
#ifndef EV_CUDA_H
#define EV_CUDA_H

#include "edgevision.h"

typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;

typedef enum { CUDA_SUCCESS = 0, CUDA_ERROR_OUT_OF_MEMORY = 2, CUDA_ERROR_NO_DEVICE = 100 } CUresult;

enum {
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
    CU_JIT_ERROR_LOG_BUFFER = 5,
    CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 6,
    CU_STREAM_NON_BLOCKING = 1,
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1,
    CU_EVENT_DEFAULT = 0
};

/* X(name, symbol, parameters); every one returns a CUresult */
#define EV_CUDA_FUNCTIONS(X) \
    X(cuDriverGetVersion, cuDriverGetVersion, (int *)) \
    X(cuInit, cuInit, (unsigned)) \
    X(cuGetErrorName, cuGetErrorName, (CUresult, const char **)) \
    X(cuGetErrorString, cuGetErrorString, (CUresult, const char **)) \
    X(cuDeviceGetCount, cuDeviceGetCount, (int *)) \
    X(cuDeviceGet, cuDeviceGet, (CUdevice *, int)) \
    X(cuDeviceGetName, cuDeviceGetName, (char *, int, CUdevice)) \
    X(cuDeviceGetAttribute, cuDeviceGetAttribute, (int *, int, CUdevice)) \
    X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice)) \
    X(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, (CUdevice)) \
    X(cuCtxPushCurrent, cuCtxPushCurrent_v2, (CUcontext)) \
    X(cuCtxPopCurrent, cuCtxPopCurrent_v2, (CUcontext *)) \
    X(cuModuleLoadDataEx, cuModuleLoadDataEx, (CUmodule *, const void *, unsigned, int *, void **)) \
    X(cuModuleGetFunction, cuModuleGetFunction, (CUfunction *, CUmodule, const char *)) \
    X(cuModuleUnload, cuModuleUnload, (CUmodule)) \
    X(cuMemAlloc, cuMemAlloc_v2, (CUdeviceptr *, size_t)) \
    X(cuMemFree, cuMemFree_v2, (CUdeviceptr)) \
    X(cuMemHostAlloc, cuMemHostAlloc, (void **, size_t, unsigned)) \
    X(cuMemFreeHost, cuMemFreeHost, (void *)) \
    X(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, (CUdeviceptr, const void *, size_t, CUstream)) \
    X(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, (void *, CUdeviceptr, size_t, CUstream)) \
    X(cuStreamCreate, cuStreamCreate, (CUstream *, unsigned)) \
    X(cuStreamDestroy, cuStreamDestroy_v2, (CUstream)) \
    X(cuStreamSynchronize, cuStreamSynchronize, (CUstream)) \
    X(cuStreamBeginCapture, cuStreamBeginCapture_v2, (CUstream, int)) \
    X(cuStreamEndCapture, cuStreamEndCapture, (CUstream, CUgraph *)) \
    X(cuGraphInstantiate, cuGraphInstantiateWithFlags, (CUgraphExec *, CUgraph, unsigned long long)) \
    X(cuGraphLaunch, cuGraphLaunch, (CUgraphExec, CUstream)) \
    X(cuGraphExecDestroy, cuGraphExecDestroy, (CUgraphExec)) \
    X(cuGraphDestroy, cuGraphDestroy, (CUgraph)) \
    X(cuLaunchKernel, cuLaunchKernel, (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, \
                                       void **, void **)) \
    X(cuEventCreate, cuEventCreate, (CUevent *, unsigned)) \
    X(cuEventDestroy, cuEventDestroy_v2, (CUevent)) \
    X(cuEventRecord, cuEventRecord, (CUevent, CUstream)) \
    X(cuEventElapsedTime, cuEventElapsedTime, (float *, CUevent, CUevent))

typedef struct {
#define EV_CUDA_MEMBER(name, symbol, parameters) CUresult (*name) parameters;
    EV_CUDA_FUNCTIONS(EV_CUDA_MEMBER)
#undef EV_CUDA_MEMBER
} ev_cuda;

/* Finds the functions and initializes the driver, if it is at least CUDA `least` (1000 * major + 10 * minor); EV_NO_DEVICE where it
 * is not, or where there is none. The library stays open for the life of the process: the driver starts threads. */
__attribute__((visibility("hidden"))) int ev_cuda_open(ev_cuda *cuda, int least, ev_error *error);

/* Fills *error with "WHAT WHICH: CUDA_ERROR_... (719): unspecified launch failure". */
__attribute__((visibility("hidden"))) int ev_cuda_failed(
    const ev_cuda *cuda, ev_error *error, ev_status code, const char *what, const char *which, CUresult status
);

/* EV_NO_DEVICE with both versions: the driver's is `has`, `needs` is what the model's kernels need. */
__attribute__((visibility("hidden"))) int ev_cuda_too_old(ev_error *error, int has, int needs, const char *why);

/* What a failure to create an object means to the caller. */
static inline ev_status ev_cuda_kind_of(CUresult status) {
    return status == CUDA_ERROR_OUT_OF_MEMORY ? EV_NO_MEMORY : EV_NO_DEVICE;
}

#endif
