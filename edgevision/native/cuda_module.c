/* Which GPU runs the network, and which of the two forms of its kernels that GPU takes. */
#include "cuda_module.h"

#include "failure.h"
#include "launch_plan.h"

enum { LOG_BYTES = 4096, SHOWN = 140 };

static CUresult capability_of(const ev_cuda *cuda, CUdevice device, int *major, int *minor) {
    const CUresult status = cuda->cuDeviceGetAttribute(major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
    return status != CUDA_SUCCESS ? status : cuda->cuDeviceGetAttribute(minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
}

static int older(const ev_cuda *cuda, CUdevice device, int major, int minor, ev_error *error) {
    const ev_cuda_code *code = &ev_the_cuda_code;
    char name[64] = {0};
    cuda->cuDeviceGetName(name, (int)sizeof name - 1, device);
    return ev_fail(error, EV_NO_DEVICE, "device ", name[0] ? name : "of CUDA", " has compute capability ", ev_decimal_of((uint64_t)major).digits,
                   ".", ev_decimal_of((uint64_t)minor).digits, ", ", ev_the_launch_plan.model->name, " was compiled for ",
                   ev_decimal_of((uint64_t)code->major).digits, ".", ev_decimal_of((uint64_t)code->minor).digits,
                   " and later: compile for a target of this GPU");
}

int ev_cuda_find_device(const ev_cuda *cuda, ev_cuda_device *found, ev_error *error) {
    const ev_cuda_code *code = &ev_the_cuda_code;
    int count = 0, major = 0, minor = 0;
    bool any = false;
    CUdevice device = 0;
    CUresult status = cuda->cuDeviceGetCount(&count);
    if (status == CUDA_SUCCESS && count == 0) status = CUDA_ERROR_NO_DEVICE;
    for (int i = 0; status == CUDA_SUCCESS && i < count; i++) {
        status = cuda->cuDeviceGet(&device, i);
        if (status == CUDA_SUCCESS) status = capability_of(cuda, device, &major, &minor);
        if (status != CUDA_SUCCESS) break;
        const bool exact = major == code->major && minor == code->minor;
        const bool later = major > code->major || (major == code->major && minor > code->minor);
        if (exact || (later && !any)) *found = (ev_cuda_device){device, exact};
        any |= later;
        if (exact) return EV_OK;
    }
    if (status != CUDA_SUCCESS) return ev_cuda_failed(cuda, error, EV_NO_DEVICE, "CUDA's driver is here, but offers no device", "", status);
    return any ? EV_OK : older(cuda, device, major, minor, error);
}

/* The first line of the driver's log that says something, else the status. */
static int refused(const ev_cuda *cuda, char *log, CUresult status, ev_error *error) {
    size_t length = 0;
    log[LOG_BYTES - 1] = 0;
    while (*log == '\n' || *log == '\r' || *log == ' ') log++;
    while (log[length] && log[length] != '\n' && log[length] != '\r' && length < SHOWN) length++;
    log[length] = 0;
    return ev_cuda_failed(cuda, error, ev_cuda_kind_of(status), length ? "the driver refused the kernels: " : "the driver refused the kernels",
                          log, status);
}

int ev_cuda_load(const ev_cuda *cuda, const ev_cuda_device *device, CUmodule *module, ev_error *error) {
    const ev_cuda_code *code = &ev_the_cuda_code;
    char log[LOG_BYTES] = {0};
    int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    int version = 0;
    if (!device->exact) {
        const CUresult told = cuda->cuDriverGetVersion(&version);
        if (told == CUDA_SUCCESS && version < code->ptx_driver) {
            return ev_cuda_too_old(error, version, code->ptx_driver, " to compile for this GPU");
        }
    }
    const CUresult status = cuda->cuModuleLoadDataEx(module, device->exact ? code->binary : code->ptx, 2, options, values);
    return status == CUDA_SUCCESS ? EV_OK : refused(cuda, log, status, error);
}
