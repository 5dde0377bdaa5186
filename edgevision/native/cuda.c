/* Where CUDA is: the driver's library, opened at run time. */
#include "cuda.h"

#include "failure.h"
#include "launch_plan.h"
#include "os.h"

#include <dlfcn.h>

/* NVIDIA's driver installs the first on desktops and servers; JetPack, WSL and some containers keep it in folders of their own, which
 * are not always in the loader's list. measure/cuda_device.py looks for the same. */
static const char *const LIBRARIES[] = {
    "libcuda.so.1",
    "libcuda.so",
    "/usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1",
    "/usr/lib/aarch64-linux-gnu/tegra/libcuda.so.1",
    "/usr/lib/wsl/lib/libcuda.so.1",
    "/usr/local/nvidia/lib64/libcuda.so.1",
};

int ev_cuda_failed(const ev_cuda *cuda, ev_error *error, ev_status code, const char *what, const char *which, CUresult status) {
    const char *name = NULL, *meaning = NULL;
    cuda->cuGetErrorName(status, &name);
    cuda->cuGetErrorString(status, &meaning);
    return ev_fail(error, code, what, which, ": ", name ? name : "CUDA error", " (", ev_decimal_of((uint64_t)status).digits, ")",
                   meaning ? ": " : "", meaning);
}

int ev_cuda_too_old(ev_error *error, int has, int needs, const char *why) {
    return ev_fail(error, EV_NO_DEVICE, "the driver here is CUDA ", ev_decimal_of((uint64_t)has / 1000).digits, ".",
                   ev_decimal_of((uint64_t)has % 1000 / 10).digits, ", ", ev_the_launch_plan.model->name, " needs ",
                   ev_decimal_of((uint64_t)needs / 1000).digits, ".", ev_decimal_of((uint64_t)needs % 1000 / 10).digits, " or newer", why,
                   ": install a newer driver, or compile with an older NVRTC");
}

static int find_functions(ev_cuda *cuda, ev_error *error) {
    for (size_t i = 0; i < sizeof LIBRARIES / sizeof LIBRARIES[0]; i++) {
        void *library = dlopen(LIBRARIES[i], RTLD_NOW);
        if (!library) continue;
        const char *missing = NULL;
#define EV_CUDA_FIND(name, symbol, parameters) \
    *(void **)(&cuda->name) = dlsym(library, #symbol); \
    if (!cuda->name && !missing) missing = #symbol;
        EV_CUDA_FUNCTIONS(EV_CUDA_FIND)
#undef EV_CUDA_FIND
        if (!missing) return EV_OK;
        return ev_fail(error, EV_NO_DEVICE, LIBRARIES[i], " has no ", missing, ": the driver is older than CUDA 11.4; install a newer one");
    }
    return ev_fail(error, EV_NO_DEVICE, "there is no CUDA here: ", LIBRARIES[0], " cannot be opened; install NVIDIA's driver");
}

int ev_cuda_open(ev_cuda *cuda, int least, ev_error *error) {
    int version = 0;
    if (find_functions(cuda, error) != EV_OK) return EV_NO_DEVICE;
    CUresult status = cuda->cuDriverGetVersion(&version);
    if (status != CUDA_SUCCESS) return ev_cuda_failed(cuda, error, EV_NO_DEVICE, "the driver does not tell its version", "", status);
    if (version < least) return ev_cuda_too_old(error, version, least, "");
    status = cuda->cuInit(0);
    if (status == CUDA_SUCCESS) return EV_OK;
    return ev_cuda_failed(cuda, error, EV_NO_DEVICE, "CUDA's driver is here, but does not start", "", status);
}
