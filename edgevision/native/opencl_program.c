/* Compiling the network's kernels with the device's own compiler, or taking what it made before. */
#include "opencl_program.h"

#include "opencl_cache.h"
#include "opencl_plan.h"
#include "os.h"

typedef struct {
    const ev_opencl *cl;
    cl_context context;
    cl_device_id device;
    cl_program *program;
} build;

/* The first line of the build log that says something. */
static int build_failed(const build *b, cl_int status, ev_error *error) {
    enum { SHOWN = 160 };
    size_t bytes = 0;
    char *log = NULL;
    if (b->cl->clGetProgramBuildInfo(*b->program, b->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes) == CL_SUCCESS) {
        log = bytes > 0 && bytes < ((size_t)1 << 30) ? malloc(bytes + 1) : NULL;
    }
    if (!log || b->cl->clGetProgramBuildInfo(*b->program, b->device, CL_PROGRAM_BUILD_LOG, bytes, log, NULL) != CL_SUCCESS) {
        free(log);
        return cl_failed(error, EV_NO_DEVICE, "the device's compiler refused the kernels", "", status);
    }
    log[bytes] = 0;
    char *line = log;
    while (*line == '\n' || *line == '\r' || *line == ' ') line++;
    size_t length = 0;
    while (line[length] && line[length] != '\n' && line[length] != '\r' && length < SHOWN) length++;
    line[length] = 0;
    const int code = ev_fail(error, EV_NO_DEVICE, "the device's compiler refused the kernels: ", line[0] ? line : "it gave no reason");
    free(log);
    return code;
}

static ev_cache_key key_of(const build *b) {
    static const cl_uint ASKED[] = {CL_DEVICE_NAME, CL_DEVICE_VERSION, CL_DRIVER_VERSION};
    const ev_cl_source *source = &ev_the_cl_source;
    ev_cache_key key = EV_CACHE_KEY_START;
    for (size_t i = 0; i < sizeof ASKED / sizeof ASKED[0]; i++) {
        char text[256] = {0};
        b->cl->clGetDeviceInfo(b->device, ASKED[i], sizeof text, text, NULL);
        ev_cache_add(&key, text, sizeof text);
    }
    size_t length = 0;
    while (source->build_options[length]) length++;
    ev_cache_add(&key, source->build_options, length);
    ev_cache_add(&key, source->text, source->bytes);
    return key;
}

/* False where there is no compiled program, or the driver does not take it: then it is compiled again. */
static bool take_program(const build *b, const char *folder, const ev_cache_key *key) {
    size_t bytes = 0;
    unsigned char *content = ev_cache_read(folder, key, &bytes);
    if (!content) return false;
    cl_int status = CL_SUCCESS, taken = CL_SUCCESS;
    const unsigned char *binary = content;
    *b->program = b->cl->clCreateProgramWithBinary(b->context, 1, &b->device, &bytes, &binary, &taken, &status);
    free(content);
    if (!*b->program) return false;
    status = b->cl->clBuildProgram(*b->program, 1, &b->device, ev_the_cl_source.build_options, NULL, NULL);
    if (taken == CL_SUCCESS && status == CL_SUCCESS) return true;
    b->cl->clReleaseProgram(*b->program);
    *b->program = NULL;
    return false;
}

static void keep_program(const build *b, const char *folder, const ev_cache_key *key) {
    size_t bytes = 0;
    const cl_int status = b->cl->clGetProgramInfo(*b->program, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL);
    unsigned char *content = status == CL_SUCCESS && bytes > 0 ? malloc(bytes) : NULL;
    if (content && b->cl->clGetProgramInfo(*b->program, CL_PROGRAM_BINARIES, sizeof content, &content, NULL) == CL_SUCCESS) {
        ev_cache_write(folder, key, content, bytes);
    }
    free(content);
}

static int compile_program(const build *b, ev_error *error) {
    const ev_cl_source *source = &ev_the_cl_source;
    const char *text = (const char *)source->text;
    cl_int status = CL_SUCCESS;
    *b->program = b->cl->clCreateProgramWithSource(b->context, 1, &text, &source->bytes, &status);
    if (!*b->program) return cl_failed(error, kind_of(status), "no program", "", status);
    status = b->cl->clBuildProgram(*b->program, 1, &b->device, source->build_options, NULL, NULL);
    return status == CL_SUCCESS ? EV_OK : build_failed(b, status, error);
}

int ev_cl_make_program(
    const ev_opencl *cl, cl_context context, cl_device_id device, const char *folder, cl_program *program, ev_error *error
) {
    const build b = {cl, context, device, program};
    if (!folder) return compile_program(&b, error);
    const ev_cache_key key = key_of(&b);
    if (take_program(&b, folder, &key)) return EV_OK;
    const int status = compile_program(&b, error);
    if (status == EV_OK) keep_program(&b, folder, &key);
    return status;
}
