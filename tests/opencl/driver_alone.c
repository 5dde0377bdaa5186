/* driver_alone COUNT SETTLE: what a session of one_kernel.c asks of the driver, COUNT times after SETTLE times, without edgevision. */
#include <dlfcn.h>
#include <stdlib.h>

#include "growth.h"
#include "opencl.h"

static const char SOURCE[] =
    "__kernel __attribute__((reqd_work_group_size(8, 1, 1))) void copy(__global float *a, __global float *b) {"
    " b[get_global_id(0)] = a[get_global_id(0)]; }\n";

static ev_opencl cl;
static cl_int status;

static cl_device_id found_device(void) {
    cl_platform_id platforms[16];
    cl_device_id devices[16];
    cl_uint count = 0;
    cl.clGetPlatformIDs(16, platforms, &count);
    cl.clGetDeviceIDs(platforms[0], CL_DEVICE_TYPE_GPU, 16, devices, &count);
    cl.clGetDeviceIDs(platforms[0], CL_DEVICE_TYPE_ACCELERATOR, 16, devices, &count);
    if (cl.clGetDeviceIDs(platforms[0], CL_DEVICE_TYPE_CPU, 16, devices, &count) != CL_SUCCESS) exit(3);
    return devices[0];
}

static cl_kernel made_kernel(cl_context context, cl_device_id device, cl_program *program) {
    const char *text = SOURCE;
    const size_t bytes = sizeof SOURCE - 1;
    *program = cl.clCreateProgramWithSource(context, 1, &text, &bytes, &status);
    cl.clBuildProgram(*program, 1, &device, "-cl-std=CL1.2", NULL, NULL);
    return cl.clCreateKernel(*program, "copy", &status);
}

static int copies(cl_command_queue queue, cl_mem arena, cl_kernel kernel) {
    float given[8] = {1, 2, 3, 4, 5, 6, 7, 8}, taken_back[8] = {0};
    const size_t items = 8;
    cl.clEnqueueWriteBuffer(queue, arena, 0, 0, sizeof given, given, 0, NULL, NULL);
    cl.clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &items, &items, 0, NULL, NULL);
    cl.clEnqueueReadBuffer(queue, arena, 0, 512, sizeof taken_back, taken_back, 0, NULL, NULL);
    cl.clFinish(queue);
    return taken_back[7] == 8;
}

static int session(void) {
    cl_device_id device = found_device();
    cl_context context = cl.clCreateContext(NULL, 1, &device, NULL, NULL, &status);
    cl_command_queue queue = cl.clCreateCommandQueue(context, device, 0, &status);
    cl_mem arena = cl.clCreateBuffer(context, CL_MEM_READ_WRITE, 1024, NULL, &status), parts[2];
    cl_program program;
    cl_kernel kernel = made_kernel(context, device, &program);
    for (cl_uint i = 0; i < 2; i++) {
        const cl_buffer_region place = {512 * i, 32};
        parts[i] = cl.clCreateSubBuffer(arena, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &place, &status);
        cl.clSetKernelArg(kernel, i, sizeof parts[i], &parts[i]);
    }
    const int right = copies(queue, arena, kernel);
    cl.clReleaseKernel(kernel);
    cl.clReleaseProgram(program);
    for (int i = 0; i < 2; i++) cl.clReleaseMemObject(parts[i]);
    cl.clReleaseMemObject(arena);
    cl.clReleaseCommandQueue(queue);
    cl.clReleaseContext(context);
    return right;
}

int main(int count, char **words) {
    void *library = dlopen("libOpenCL.so.1", RTLD_NOW);
    if (!library || count != 3) return 2;
#define FIND(result, name, parameters) *(void **)(&cl.name) = dlsym(library, #name);
    EV_OPENCL_FUNCTIONS(FIND)
    const int settle = atoi(words[2]);
    taken before = {0};
    for (int i = 0; i < settle + atoi(words[1]); i++) {
        if (i == settle) before = settled();
        if (!session()) return 4;
    }
    print_growth(before);
    return 0;
}
