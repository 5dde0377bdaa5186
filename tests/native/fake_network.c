/* A network written by hand in the form that the generated driver and TVM's objects have, small enough to compute by heart.
 *
 *   image uint8 [1, H, W, 3], gain float32 [], nothing float32 [0, 4]
 *   smooth[y, x, c] = gain * (image[y-1, x, c] + 2 * image[y, x, c] + image[y+1, x, c])          rows outside count as 0
 *   scores[k]       = sum over y, x, c of smooth[y, x, c] * W[k, (y + x + c) % PERIOD]            float32 [1, CLASSES]
 *   bright          = how many image values are above 127                                        int64 []
 *   nothing         -> nothing                                                                   float32 [0, 4]
 *
 * With FAKE_IMAGE_ONLY the image is the only input and gain is 1; with FAKE_ONE_OUTPUT the scores are the only output. With FAKE_FLOAT_NCHW the image is float32 [1, 3, H, W], normalised with
 * ImageNet's mean and standard deviation, which the network undoes.
 *
 * With FAKE_FILTERS, W is made when the library is loaded, by a transform that changes nothing.
 *
 * -D: FAKE_NAME (a word), FAKE_SEED (changes W), FAKE_H, FAKE_W, FAKE_CLASSES, FAKE_FEATURES (a list of strings), FAKE_ARENA_BYTES,
 * FAKE_WORKSPACE_BYTES, FAKE_TRANSFORMED_BYTES; FAKE_LAYOUT and FAKE_SCORES_DTYPE only change what is said. Some gains make a kernel misbehave: see `scores`.
 */
#include "os.h"

#include "plan.h"

#ifndef FAKE_NAME
#define FAKE_NAME alpha
#endif
#ifndef FAKE_SEED
#define FAKE_SEED 1
#endif
#ifndef FAKE_H
#define FAKE_H 24
#endif
#ifndef FAKE_W
#define FAKE_W 20
#endif
#ifndef FAKE_SCORES_DTYPE
#define FAKE_SCORES_DTYPE EV_FLOAT32
#endif
#ifndef FAKE_CLASSES
#define FAKE_CLASSES 10
#endif
#define TEXT_OF(word) #word
#define TEXT(word) TEXT_OF(word)
#define GLUED(a, b) a##b
#define GLUE(a, b) GLUED(a, b)

#ifdef FAKE_FLOAT_NCHW
#define IMAGE_TYPE float
#else
#define IMAGE_TYPE unsigned char
#endif

enum { ROW = FAKE_W * 3, VALUES = FAKE_H * ROW, PERIOD = 16 };
enum { RAISE_GAIN = -1, GREEDY_GAIN = -2, SLOW_GAIN = -3, DISORDER_GAIN = -4, MUTE_GAIN = -5, NESTED_GAIN = -6 };
enum { SLOW_NS = 60000000, MOST_NESTED = 32 };

/* --- what TVM's objects bring along: weak slots, and calls through them ----------------------------------------------- */

__attribute__((weak)) void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int);
__attribute__((weak)) int (*__TVMBackendFreeWorkspace)(int, int, void *);
__attribute__((weak)) int (*__TVMBackendParallelLaunch)(ev_parallel_body, void *, int);
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count);
void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message);

static void *tensor_of(const ev_any *argument) { return ((ev_dl_tensor *)argument->value.v_ptr)->data; }

/* Value i of the image, counted in NHWC: 0..255. */
static float pixel(const IMAGE_TYPE *image, int32_t i) {
#ifdef FAKE_FLOAT_NCHW
    static const float MEAN[] = {0.485f, 0.456f, 0.406f}, STD[] = {0.229f, 0.224f, 0.225f};
    return (image[i % 3 * (FAKE_H * FAKE_W) + i / 3] * STD[i % 3] + MEAN[i % 3]) * 255;
#else
    return image[i];
#endif
}

typedef struct {
    const void *from;
    const float *weights;
    void *to;
    float gain;
} closure;

/* The chunk of `extent` that TVM's generated lambda computes. */
static int32_t chunk_begin(int32_t extent, int task, const ev_parallel_env *env) {
    const int32_t begin = (extent + env->num_task - 1) / env->num_task * task;
    return begin < extent ? begin : extent;
}

/* --- smooth: a workspace of the caller's, one of each task's, and a parallel loop inside a task ------------------------- */

static int to_float(int task, ev_parallel_env *env, void *argument) {
    const closure *of = argument;
    for (int32_t i = chunk_begin(VALUES, task, env); i < chunk_begin(VALUES, task + 1, env); i++) {
        ((float *)of->to)[i] = pixel(of->from, i);
    }
    return 0;
}

static int scale_row(int task, ev_parallel_env *env, void *argument) {
    const closure *of = argument;
    for (int32_t i = chunk_begin(ROW, task, env); i < chunk_begin(ROW, task + 1, env); i++) {
        ((float *)of->to)[i] = ((const float *)of->from)[i] * of->gain;
    }
    return 0;
}

static int smooth_rows(int task, ev_parallel_env *env, void *argument) {
    const closure *of = argument;
    const float *image = of->from;
    float *sum = __TVMBackendAllocWorkspace(1, 0, ROW * sizeof(float), 2, 32);
    if (!sum) return -1;
    for (int32_t y = chunk_begin(FAKE_H, task, env); y < chunk_begin(FAKE_H, task + 1, env); y++) {
        for (int32_t i = 0; i < ROW; i++) {
            const float above = y > 0 ? image[(y - 1) * ROW + i] : 0, below = y + 1 < FAKE_H ? image[(y + 1) * ROW + i] : 0;
            sum[i] = above + 2 * image[y * ROW + i] + below;
        }
        closure inner = {.from = sum, .to = (float *)of->to + y * ROW, .gain = of->gain};
        if (__TVMBackendParallelLaunch(scale_row, &inner, y % 2 ? 0 : 3)) return -1;
    }
    return __TVMBackendFreeWorkspace(1, 0, sum);
}

static int32_t smooth(void *self, ev_any *args, int32_t n_args, ev_any *result) {
    (void)self, (void)n_args, (void)result;
    float *image = __TVMBackendAllocWorkspace(1, 0, VALUES * sizeof(float), 2, 32);
    if (!image) return -1;
    closure convert = {.from = tensor_of(&args[0]), .to = image};
    if (__TVMBackendParallelLaunch(to_float, &convert, 0)) return -1;
    closure rows = {.from = image, .to = tensor_of(&args[2]), .gain = *(const float *)tensor_of(&args[1])};
    if (__TVMBackendParallelLaunch(smooth_rows, &rows, 0)) return -1;
    return __TVMBackendFreeWorkspace(1, 0, image) ? -1 : 0;
}

/* --- scores: a reduction in each task, more tasks than threads, and the ways to fail ------------------------------------ */

static int misbehave(float gain, int task) {
    if (gain == RAISE_GAIN && task == 3) {
        const char *parts[] = {"class ", "three", " is out of range"};
        TVMFFIErrorSetRaisedFromCStrParts("ValueError", parts, 3);
        return -1;
    }
    if (gain == GREEDY_GAIN) return __TVMBackendAllocWorkspace(1, 0, (uint64_t)1 << 40, 2, 32) ? 0 : -1;
    if (gain == MUTE_GAIN) return -1;
    if (gain == NESTED_GAIN) {
        for (int i = 0; i <= MOST_NESTED; i++) {
            if (!__TVMBackendAllocWorkspace(1, 0, 0, 2, 32)) return i == MOST_NESTED ? -1 : 0;
        }
    }
    if (gain == SLOW_GAIN && task == 0) {
        for (const uint64_t until = ev_now_ns() + SLOW_NS; ev_now_ns() < until;) ev_relax();
    }
    if (gain == DISORDER_GAIN) {
        void *first = __TVMBackendAllocWorkspace(1, 0, 64, 2, 32), *second = __TVMBackendAllocWorkspace(1, 0, 64, 2, 32);
        return first && second && !__TVMBackendFreeWorkspace(1, 0, first) ? 0 : -1;
    }
    return 0;
}

static int score_class(int task, ev_parallel_env *env, void *argument) {
    const closure *of = argument;
    const float *values = of->from;
    if (env->num_task != FAKE_CLASSES) return -1;
    float sum = 0;
    for (int32_t y = 0; y < FAKE_H; y++) {
        for (int32_t i = 0; i < ROW; i++) sum += values[y * ROW + i] * of->weights[task * PERIOD + (y + i / 3 + i % 3) % PERIOD];
    }
    ((float *)of->to)[task] = sum;
    return misbehave(of->gain, task);
}

static int32_t scores(void *self, ev_any *args, int32_t n_args, ev_any *result) {
    (void)self, (void)n_args, (void)result;
    closure classes = {.from = tensor_of(&args[0]), .weights = tensor_of(&args[2]), .to = tensor_of(&args[3])};
    classes.gain = *(const float *)tensor_of(&args[1]);
    return __TVMBackendParallelLaunch(score_class, &classes, FAKE_CLASSES) ? -1 : 0;
}

static int32_t bright(void *self, ev_any *args, int32_t n_args, ev_any *result) {
    (void)self, (void)n_args, (void)result;
    const IMAGE_TYPE *image = tensor_of(&args[0]);
    int64_t count = 0;
    for (int32_t i = 0; i < VALUES; i++) count += pixel(image, i) > 127.5f;
    *(int64_t *)tensor_of(&args[1]) = count;
    return 0;
}

/* --- the plan --------------------------------------------------------------------------------------------------------- */

#define ALIGNED(bytes) (((bytes) + 63) / 64 * 64)
enum {
    IMAGE_AT = 0,
    GAIN_AT = IMAGE_AT + ALIGNED(VALUES * sizeof(IMAGE_TYPE)),
    NOTHING_AT = GAIN_AT + 64,
    SMOOTH_AT = NOTHING_AT,
    SCORES_AT = SMOOTH_AT + ALIGNED(VALUES * 4),
    BRIGHT_AT = SCORES_AT + ALIGNED(FAKE_CLASSES * 4),
    ARENA_END = BRIGHT_AT + 64
};
#ifndef FAKE_ARENA_BYTES
#define FAKE_ARENA_BYTES ARENA_END
#endif
#ifndef FAKE_WORKSPACE_BYTES
#define FAKE_WORKSPACE_BYTES (ALIGNED(VALUES * 4) + ALIGNED(ROW * 4))
#endif

#define W(k) ((float)(((k) * 37 + FAKE_SEED * 11) % 23 - 11) / 1000)
#define ROW_OF_WEIGHTS(k) \
    {W((k) * 16), W((k) * 16 + 1), W((k) * 16 + 2), W((k) * 16 + 3), W((k) * 16 + 4), W((k) * 16 + 5), W((k) * 16 + 6), \
     W((k) * 16 + 7), W((k) * 16 + 8), W((k) * 16 + 9), W((k) * 16 + 10), W((k) * 16 + 11), W((k) * 16 + 12), \
     W((k) * 16 + 13), W((k) * 16 + 14), W((k) * 16 + 15)}
static const struct {
    float rows[FAKE_CLASSES][PERIOD], gain;
} WEIGHTS __attribute__((aligned(64))) = {
    {ROW_OF_WEIGHTS(0), ROW_OF_WEIGHTS(1), ROW_OF_WEIGHTS(2), ROW_OF_WEIGHTS(3), ROW_OF_WEIGHTS(4),
     ROW_OF_WEIGHTS(5), ROW_OF_WEIGHTS(6), ROW_OF_WEIGHTS(7), ROW_OF_WEIGHTS(8), ROW_OF_WEIGHTS(9)},
    1,
};
#ifdef FAKE_IMAGE_ONLY
#define GAIN EV_IN_WEIGHTS, FAKE_CLASSES * PERIOD * 4
enum { N_INPUTS = 1 };
#else
#define GAIN EV_IN_ARENA, GAIN_AT
enum { N_INPUTS = 3 };
#endif

#ifdef FAKE_ONE_OUTPUT
enum { N_OUTPUTS = 1 };
#else
enum { N_OUTPUTS = 3 };
#endif

static const int64_t IMAGE_SHAPE[] = {1, FAKE_H, FAKE_W, 3}, IMAGE_STRIDES[] = {VALUES, ROW, 3, 1};
static const int64_t SCORES_SHAPE[] = {1, FAKE_CLASSES}, SCORES_STRIDES[] = {FAKE_CLASSES, 1};
static const int64_t WEIGHTS_SHAPE[] = {FAKE_CLASSES, PERIOD}, WEIGHTS_STRIDES[] = {PERIOD, 1};
static const int64_t SCALAR[] = {1};
#define I64 {0, 64, 1}
#define F32 {2, 32, 1}
#ifdef FAKE_FLOAT_NCHW
#define IMAGE_IS "NCHW", EV_FLOAT32, 4, {1, 3, FAKE_H, FAKE_W}, VALUES * 4
#define IMAGE_DTYPE F32
#else
#ifndef FAKE_LAYOUT
#define FAKE_LAYOUT "NHWC"
#endif
#define IMAGE_IS FAKE_LAYOUT, EV_UINT8, 4, {1, FAKE_H, FAKE_W, 3}, VALUES
#define IMAGE_DTYPE {1, 8, 1}
#endif
#ifdef FAKE_FILTERS
#ifndef FAKE_TRANSFORMED_BYTES
#define FAKE_TRANSFORMED_BYTES (FAKE_CLASSES * PERIOD * 4)
#endif
#define WEIGHTS_IN EV_IN_TRANSFORMED
static const double IDENTITY[] = {1};
static const ev_filters TRANSFORMS[] = {
    {.matrix = IDENTITY, .ci = FAKE_CLASSES, .inputs = FAKE_CLASSES, .groups = 1, .channels = PERIOD, .filled = PERIOD,
     .block = PERIOD, .points = 1, .taps = 1},
};
#else
#define WEIGHTS_IN EV_IN_WEIGHTS
#endif
static const ev_operand OPERANDS[] = {
    {EV_IN_ARENA, IMAGE_AT, 4, IMAGE_DTYPE, IMAGE_SHAPE, IMAGE_STRIDES},
    {GAIN, 0, F32, SCALAR, SCALAR},
    {EV_IN_ARENA, SMOOTH_AT, 4, F32, IMAGE_SHAPE, IMAGE_STRIDES},
    {EV_IN_ARENA, SMOOTH_AT, 4, F32, IMAGE_SHAPE, IMAGE_STRIDES},
    {GAIN, 0, F32, SCALAR, SCALAR},
    {WEIGHTS_IN, 0, 2, F32, WEIGHTS_SHAPE, WEIGHTS_STRIDES},
    {EV_IN_ARENA, SCORES_AT, 2, F32, SCORES_SHAPE, SCORES_STRIDES},
    {EV_IN_ARENA, IMAGE_AT, 4, IMAGE_DTYPE, IMAGE_SHAPE, IMAGE_STRIDES},
    {EV_IN_ARENA, BRIGHT_AT, 0, I64, SCALAR, SCALAR},
};
static const ev_plan_step STEPS[] = {{"smooth", smooth, 0, 3}, {"scores", scores, 3, 4}, {"bright", bright, 7, 2}};
static const uint64_t INPUT_OFFSETS[] = {IMAGE_AT, GAIN_AT, NOTHING_AT}, OUTPUT_OFFSETS[] = {SCORES_AT, BRIGHT_AT, NOTHING_AT};
static const ev_tensor INPUTS[] = {
    {"image", IMAGE_IS},
    {"gain", "", EV_FLOAT32, 0, {0}, 4},
    {"nothing", "", EV_FLOAT32, 2, {0, 4}, 0},
};
static const ev_tensor OUTPUTS[] = {
    {"scores", "", FAKE_SCORES_DTYPE, 2, {1, FAKE_CLASSES}, FAKE_CLASSES * 4},
    {"bright", "", EV_INT64, 0, {0}, 8},
    {"nothing_out", "", EV_FLOAT32, 2, {0, 4}, 0},
};
static const ev_model MODEL = {
    sizeof(ev_model), EV_ABI, TEXT(FAKE_NAME), "fake \"target\"", "0", "00ff", N_INPUTS, N_OUTPUTS, INPUTS, OUTPUTS, sizeof WEIGHTS, FAKE_ARENA_BYTES, 3,
};
#ifdef FAKE_FEATURES
static const char *const FEATURES[] = {FAKE_FEATURES, NULL};
#endif
const ev_plan ev_the_plan = {
    .model = &MODEL,
    .weights = (const unsigned char *)&WEIGHTS,
    .operands = OPERANDS,
    .n_operands = sizeof OPERANDS / sizeof OPERANDS[0],
    .steps = STEPS,
    .n_steps = 3,
    .input_offsets = INPUT_OFFSETS,
    .output_offsets = OUTPUT_OFFSETS,
    .workspace_bytes = FAKE_WORKSPACE_BYTES,
    .default_threads = 4,
#ifdef FAKE_FILTERS
    .transforms = TRANSFORMS,
    .n_transforms = 1,
    .transformed_bytes = FAKE_TRANSFORMED_BYTES,
#endif
#ifdef FAKE_FEATURES
    .required_features = FEATURES,
#endif
};

const ev_api *const ev_the_api = &ev_cpu_api;

__attribute__((visibility("default"))) const ev_api *GLUE(FAKE_NAME, _get_api)(uint32_t abi) { return ev_runtime_api(abi); }
