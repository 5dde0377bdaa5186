/* A network of one kernel that copies, as a driver of an OpenCL artifact. */
#include "opencl_plan.h"

static const char SOURCE[] =
    "__kernel __attribute__((reqd_work_group_size(8, 1, 1))) void copy(__global float *a, __global float *b) {"
    " b[get_global_id(0)] = a[get_global_id(0)]; }\n";
static const ev_region regions[] = {{EV_ON_ARENA, 0, 32}, {EV_ON_ARENA, 512, 32}};
static const int32_t arguments[] = {0, 1};
static const ev_launch steps[] = {{"copy", "copy", 0, 2, 1, 8}};
static const ev_tensor inputs[] = {{"x", "", EV_FLOAT32, 1, {8}, 32}};
static const ev_tensor outputs[] = {{"y", "", EV_FLOAT32, 1, {8}, 32}};
static const uint64_t input_offsets[] = {0}, output_offsets[] = {512};
static const ev_model model = {sizeof(ev_model), EV_ABI, "copy", "opencl", "0", "", 1, 1, inputs, outputs, 0, 1024, 1};
const ev_cl_source ev_the_cl_source = {(const unsigned char *)SOURCE, sizeof SOURCE - 1, "-cl-std=CL1.2"};
const ev_launch_plan ev_the_launch_plan = {&model, 0, 0, regions, 2, arguments, steps, 1, input_offsets, output_offsets, 512, 8};
const ev_api *const ev_the_api = &ev_device_api;
