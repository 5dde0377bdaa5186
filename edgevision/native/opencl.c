/* Where OpenCL is: opened at run time, by the names that Linux distributions and Android vendors give it. */
#include "opencl.h"

#include "failure.h"
#include "os.h"

#if defined(__ANDROID__)
void *dlopen(const char *name, int mode);
void *dlsym(void *library, const char *name);
enum { RTLD_NOW = 2 }; /* bionic, 64 bits */
#else
#include <dlfcn.h>
#endif

/* An app for Android 12 or later must also declare <uses-native-library android:name="libOpenCL.so" android:required="false"/>. */
static const char *const LIBRARIES[] = {
#if defined(__ANDROID__)
    "libOpenCL.so",
    "libOpenCL-pixel.so",
    "libOpenCL-car.so",
    "/vendor/lib64/libOpenCL.so",
    "/system/vendor/lib64/libOpenCL.so",
    "/system/lib64/libOpenCL.so",
    "/vendor/lib64/egl/libGLES_mali.so", /* Arm's driver is one library */
    "/system/vendor/lib64/egl/libGLES_mali.so",
#else
    "libOpenCL.so.1",
    "libOpenCL.so",
    "libmali.so.1", /* boards with Arm's driver and no ICD loader */
    "libmali.so",
#endif
};

int ev_opencl_open(ev_opencl *cl, ev_error *error) {
    for (size_t i = 0; i < sizeof LIBRARIES / sizeof LIBRARIES[0]; i++) {
        void *library = dlopen(LIBRARIES[i], RTLD_NOW);
        if (!library) continue;
        const char *missing = NULL;
#define EV_OPENCL_FIND(result, name, parameters) \
    *(void **)(&cl->name) = dlsym(library, #name); \
    if (!cl->name && !missing) missing = #name;
        EV_OPENCL_FUNCTIONS(EV_OPENCL_FIND)
#undef EV_OPENCL_FIND
        if (!missing) return EV_OK;
        return ev_fail(error, EV_NO_DEVICE, LIBRARIES[i], " has no ", missing, ": it is no OpenCL 1.2");
    }
    return ev_fail(error, EV_NO_DEVICE, "there is no OpenCL here: ", LIBRARIES[0],
                   " cannot be opened; install the device's driver (Debian, for the CPU: pocl-opencl-icd)");
}

const char *ev_opencl_status(cl_int status) {
    switch (status) {
        case CL_DEVICE_NOT_FOUND: return "CL_DEVICE_NOT_FOUND";
        case CL_DEVICE_NOT_AVAILABLE: return "CL_DEVICE_NOT_AVAILABLE";
        case CL_MEM_OBJECT_ALLOCATION_FAILURE: return "CL_MEM_OBJECT_ALLOCATION_FAILURE";
        case CL_OUT_OF_RESOURCES: return "CL_OUT_OF_RESOURCES";
        case CL_OUT_OF_HOST_MEMORY: return "CL_OUT_OF_HOST_MEMORY";
        case CL_BUILD_PROGRAM_FAILURE: return "CL_BUILD_PROGRAM_FAILURE";
        case CL_PLATFORM_NOT_FOUND_KHR: return "CL_PLATFORM_NOT_FOUND_KHR";
        default: return "CL error";
    }
}
