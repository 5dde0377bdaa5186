/* Runs a compiled network and prints what was measured as one JSON object: {"abi", "name", "target", "model_sha256", "threads",
 * "warmup", "create_ns", "first_run_ns", "samples_ns": [...], "waited_ns": [...], "threads_ran_ns", "threads_waited_ns", "elapsed_ns",
 * "asleep_ns", "steps": [{"name", "ns"}], "processor": "cpu" or "gpu", "fell_back": why the CPU took over, "peak_rss_bytes"}.
 *
 * "waited_ns": for how long of each sample, or of the microseconds since the one before, the calling thread was ready to run while
 * others ran on its core; the two sums are those of all threads over all samples, "elapsed_ns" is the time that these took together,
 * "asleep_ns" for how long the device was suspended meanwhile. Empty, or null, where the system does not say.
 *
 * One source, two programs: linked with the network's own object code (then static, with nothing to install, or for a GPU dynamic),
 * or, with EV_BENCH_DLOPEN defined, a runner whose first argument is the .so. Needs no /tmp, no locale and no /proc.
 */
#include "program_os.h" /* first: it chooses which functions system headers declare */

#include "edgevision.h"
#include "mark.h"
#include "random_tensor.h"
#include "waiting.h"

#ifdef EV_BENCH_DLOPEN
#include <dlfcn.h>
#define USAGE_MODEL " MODEL.so"
#define USAGE_OWN_PAGES ""
#else
#include "own_pages.h"
#define USAGE_OWN_PAGES " [--own-pages]"
#define USAGE_MODEL ""
#endif

enum { EXIT_USAGE = 2, EXIT_DEVICE = 4 };
enum { PROFILED_RUNS = 9, MOST_FILES = 64, MOST_SAMPLES = 1000000 };

typedef struct {
    const char *model_path, *program;
    int32_t threads, n_cores, cores[EV_MAX_THREADS], fallback;
    long runs, warmup;
    uint64_t seed;
    double min_seconds;
    bool profile, own_pages;
    int n_inputs, n_outputs;
    const char *inputs[MOST_FILES], *outputs[MOST_FILES];
} arguments;

static _Noreturn void fail(int code, const char *what, const char *which, const char *why) {
    fprintf(stderr, "%s%s%s%s%s\n", what, *which ? " " : "", which, *why ? ": " : "", why);
    exit(code);
}

/* --- arguments -------------------------------------------------------------------------------------------------------- */

static _Noreturn void usage(const char *program, const char *complaint, const char *which) {
    fprintf(stderr, "%s%s%s; usage: %s" USAGE_MODEL " [--threads N] [--cores 0,1] [--runs N] [--warmup N] [--min-seconds S] "
            "[--input FILE]... [--output FILE]... [--profile] [--seed N] [--fallback never|if-needed|always]" USAGE_OWN_PAGES "\n", complaint, *which ? " " : "", which, program);
    exit(EXIT_USAGE);
}

static long whole(const arguments *args, const char *option, const char *text, long least, long most) {
    char *end;
    errno = 0;
    const long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < least || value > most) usage(args->program, "not a number in range for", option);
    return value;
}

static double seconds(const arguments *args, const char *text) {
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0) || value > 3600) usage(args->program, "not a number in range for", "--min-seconds");
    return value;
}

static void read_cores(arguments *args, char *list) {
    for (char *rest = list, *item; (item = strtok_r(rest, ",", &rest));) {
        if (args->n_cores == EV_MAX_THREADS) usage(args->program, "too many cores in", "--cores");
        args->cores[args->n_cores++] = (int32_t)whole(args, "--cores", item, 0, INT32_MAX);
    }
    if (args->n_cores == 0) usage(args->program, "no core in", "--cores");
}

static void add_file(const arguments *args, const char **files, int *count, const char *path) {
    if (*count == MOST_FILES) usage(args->program, "too many files", "");
    files[(*count)++] = path;
}

static int32_t fallback_called(const arguments *args, const char *name) {
    static const char *const NAMES[] = {"never", "if-needed", "always"};
    for (int32_t i = EV_FALLBACK_NEVER; i <= EV_FALLBACK_ALWAYS; i++) {
        if (!strcmp(name, NAMES[i])) return i;
    }
    usage(args->program, "not one of never, if-needed and always:", name);
}

static void read_option(arguments *args, const char *option, char *value) {
    if (!value) usage(args->program, "a value must follow", option);
    if (!strcmp(option, "--threads")) args->threads = (int32_t)whole(args, option, value, 0, EV_MAX_THREADS);
    else if (!strcmp(option, "--cores")) read_cores(args, value);
    else if (!strcmp(option, "--runs")) args->runs = whole(args, option, value, 1, MOST_SAMPLES);
    else if (!strcmp(option, "--warmup")) args->warmup = whole(args, option, value, 0, MOST_SAMPLES);
    else if (!strcmp(option, "--min-seconds")) args->min_seconds = seconds(args, value);
    else if (!strcmp(option, "--seed")) args->seed = (uint64_t)whole(args, option, value, 0, INT32_MAX);
    else if (!strcmp(option, "--fallback")) args->fallback = fallback_called(args, value);
    else if (!strcmp(option, "--input")) add_file(args, args->inputs, &args->n_inputs, value);
    else if (!strcmp(option, "--output")) add_file(args, args->outputs, &args->n_outputs, value);
    else usage(args->program, "unknown option", option);
}

static arguments read_arguments(int argc, char **argv) {
    arguments args = {.program = argc > 0 ? argv[0] : "bench", .runs = 10, .warmup = 1};
    int at = 1;
#ifdef EV_BENCH_DLOPEN
    if (argc < 2 || argv[1][0] == '-') usage(args.program, "no library given", "");
    args.model_path = argv[at++];
#endif
    while (at < argc) {
        const char *option = argv[at++];
        if (!strcmp(option, "--profile")) args.profile = true;
#ifndef EV_BENCH_DLOPEN
        else if (!strcmp(option, "--own-pages")) args.own_pages = true;
#endif
        else {
            read_option(&args, option, at < argc ? argv[at] : NULL);
            at++;
        }
    }
    return args;
}

/* --- the network ------------------------------------------------------------------------------------------------------ */

static const ev_api *open_network(const arguments *args) {
    const ev_api *(*get_api)(uint32_t) = ev_get_api;
#ifdef EV_BENCH_DLOPEN
    void *library = dlopen(args->model_path, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail(EXIT_DEVICE, "cannot load", args->model_path, dlerror());
    void *symbol = dlsym(library, "ev_get_api");
    if (!symbol) fail(EXIT_DEVICE, "not an edgevision library", args->model_path, "it has no ev_get_api");
    memcpy(&get_api, &symbol, sizeof get_api);
#else
    (void)args;
#endif
    const ev_api *api = get_api(EV_ABI);
    if (!api) fail(EXIT_DEVICE, "the library speaks another version of the interface", "", "take the bench that was built with it");
    return api;
}

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now = {0};
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

static ev_session *open_session(const ev_api *api, const arguments *args, uint64_t *took_ns) {
    const ev_options options = {
        .struct_size = sizeof options, .threads = args->threads, .cores = args->n_cores ? args->cores : NULL, .n_cores = args->n_cores,
        .fallback = args->fallback};
    ev_session *session;
    ev_error error;
    const uint64_t before = now_ns();
    if (api->create(&options, &session, &error) != EV_OK) fail(EXIT_DEVICE, "no session", "", error.text);
    *took_ns = now_ns() - before;
    return session;
}

static uint64_t run_once(const ev_api *api, ev_session *session, void *const *inputs, void *const *outputs) {
    ev_error error;
    const uint64_t before = now_ns();
    if (api->run(session, (const void *const *)inputs, outputs, &error) != EV_OK) fail(EXIT_DEVICE, "the run failed", "", error.text);
    const uint64_t took = now_ns() - before;
    ev_mark();
    return took;
}

/* --- tensors ---------------------------------------------------------------------------------------------------------- */

static void *allocate(size_t bytes) {
    void *memory = calloc(bytes ? bytes : 1, 1);
    if (!memory) fail(EXIT_DEVICE, "no memory for a tensor", "", "");
    return memory;
}

/* Memory that is not touched until it is used: the system counts only that as resident. */
static uint64_t *reserve(size_t count) {
    uint64_t *memory = malloc(count * sizeof *memory);
    if (!memory) fail(EXIT_DEVICE, "no memory for samples", "", "");
    return memory;
}

static void read_file(const char *path, const ev_tensor *tensor, void *to) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(EXIT_USAGE, "cannot read", path, strerror(errno));
    char expected[160];
    snprintf(expected, sizeof expected, "it must hold the %zu bytes of input %.80s, dense", tensor->bytes, tensor->name);
    if (fread(to, 1, tensor->bytes, file) != tensor->bytes || fgetc(file) != EOF) fail(EXIT_USAGE, "wrong size of", path, expected);
    fclose(file);
}

static void write_file(const char *path, const ev_tensor *tensor, const void *from) {
    FILE *file = fopen(path, "wb");
    if (!file) fail(EXIT_USAGE, "cannot write", path, strerror(errno));
    if (fwrite(from, 1, tensor->bytes, file) != tensor->bytes || fclose(file)) fail(EXIT_USAGE, "cannot write", path, strerror(errno));
}

static void **make_inputs(const ev_model *model, const arguments *args) {
    void **inputs = allocate(sizeof(void *) * (size_t)(model->n_inputs + 1));
    uint64_t state = args->seed;
    if (args->n_inputs && args->n_inputs != model->n_inputs) usage(args->program, "one --input for each input of the model is needed, or none", "");
    for (int32_t i = 0; i < model->n_inputs; i++) {
        inputs[i] = allocate(model->inputs[i].bytes);
        if (args->n_inputs) read_file(args->inputs[i], &model->inputs[i], inputs[i]);
        else fill(&model->inputs[i], inputs[i], &state);
    }
    return inputs;
}

static void **make_outputs(const ev_model *model, const arguments *args) {
    void **outputs = allocate(sizeof(void *) * (size_t)(model->n_outputs + 1));
    if (args->n_outputs > model->n_outputs) usage(args->program, "more --output files than the model has outputs", "");
    for (int32_t i = 0; i < model->n_outputs; i++) outputs[i] = allocate(model->outputs[i].bytes);
    return outputs;
}

/* --- printing --------------------------------------------------------------------------------------------------------- */

static void print_string(const char *text) {
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') printf("\\%c", *text);
        else if ((unsigned char)*text < 0x20) printf("\\u%04x", (unsigned)*text);
        else putchar(*text);
    }
    putchar('"');
}

static int by_size(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The median of each step over some runs of their own, so that the clock's cost is in no sample. */
static void print_steps(const ev_api *api, ev_session *session, void *const *inputs, void *const *outputs) {
    size_t count = 0;
    const size_t capacity = (size_t)api->describe()->n_steps;
    ev_step *steps = allocate(capacity * sizeof *steps);
    uint64_t *times = allocate(capacity * PROFILED_RUNS * sizeof *times);
    ev_error error;
    if (api->profile(session, NULL, 0, &count, &error) != EV_OK) fail(EXIT_DEVICE, "no profile", "", error.text);
    for (size_t run = 0; run < PROFILED_RUNS; run++) {
        run_once(api, session, inputs, outputs);
        if (api->profile(session, steps, capacity, &count, &error) != EV_OK) fail(EXIT_DEVICE, "no profile", "", error.text);
        for (size_t i = 0; i < count; i++) times[i * PROFILED_RUNS + run] = steps[i].nanoseconds;
    }
    for (size_t i = 0; i < count; i++) {
        qsort(&times[i * PROFILED_RUNS], PROFILED_RUNS, sizeof *times, by_size);
        printf("%s{\"name\": ", i ? ", " : "");
        print_string(steps[i].name);
        printf(", \"ns\": %" PRIu64 "}", times[i * PROFILED_RUNS + PROFILED_RUNS / 2]);
    }
    free(steps);
    free(times);
}

/* VmHWM of /proc/self/status, where there is one. */
static void print_peak_rss(void) {
    char line[256];
    unsigned long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmHWM: %lu kB", &kib) == 1) break;
    }
    if (file) fclose(file);
    if (kib) printf("%llu", 1024ull * kib);
    else printf("null");
}

static void print_text(const char *key, const char *text) {
    printf("\"%s\": ", key);
    print_string(text);
    printf(", ");
}

/* --- samples ---------------------------------------------------------------------------------------------------------- */

typedef struct {
    long count;
    uint64_t *ns, *waited_ns;
    schedule threads;
    uint64_t elapsed_ns, asleep_ns;
    bool waiting_known, sleep_known;
} measured;

static measured measure(const ev_api *api, ev_session *session, const arguments *args, void *const *inputs, void *const *outputs) {
    const int file = open_schedule("/proc/thread-self/schedstat");
    measured got = {.ns = reserve(MOST_SAMPLES), .waited_ns = reserve(MOST_SAMPLES)};
    const schedule threads = read_threads();
    const uint64_t with_sleep = clock_ns(CLOCK_BOOTTIME), start = now_ns(), until = start + (uint64_t)(args->min_seconds * 1e9);
    schedule before = read_schedule(file);
    got.waiting_known = before.known;
    while (got.count < MOST_SAMPLES && (got.count < args->runs || now_ns() < until)) {
        got.ns[got.count] = run_once(api, session, inputs, outputs);
        const schedule after = read_schedule(file);
        got.waited_ns[got.count++] = after.waited_ns - before.waited_ns;
        before = after;
    }
    got.elapsed_ns = now_ns() - start;
    const uint64_t with_sleep_ns = clock_ns(CLOCK_BOOTTIME) - with_sleep;
    got.sleep_known = with_sleep != 0;
    got.asleep_ns = with_sleep_ns > got.elapsed_ns ? with_sleep_ns - got.elapsed_ns : 0;
    const schedule threads_after = read_threads();
    got.threads = (schedule){threads_after.ran_ns - threads.ran_ns, threads_after.waited_ns - threads.waited_ns, threads.known};
    if (file >= 0) close(file);
    return got;
}

static void print_numbers(const char *key, const uint64_t *numbers, long count) {
    printf("\"%s\": [", key);
    for (long i = 0; i < count; i++) printf("%s%" PRIu64, i ? ", " : "", numbers[i]);
    printf("], ");
}

static void print_known(const char *key, bool known, uint64_t number) {
    printf("\"%s\": ", key);
    if (known) printf("%" PRIu64 ", ", number);
    else printf("null, ");
}

static void print_measured(const measured *got) {
    print_numbers("samples_ns", got->ns, got->count);
    print_numbers("waited_ns", got->waited_ns, got->waiting_known ? got->count : 0);
    print_known("threads_ran_ns", got->threads.known, got->threads.ran_ns);
    print_known("threads_waited_ns", got->threads.known, got->threads.waited_ns);
    print_known("elapsed_ns", true, got->elapsed_ns);
    print_known("asleep_ns", got->sleep_known, got->asleep_ns);
}

int main(int argc, char **argv) {
    const arguments args = read_arguments(argc, argv);
#ifndef EV_BENCH_DLOPEN
    if (args.own_pages && !own_pages()) fail(EXIT_DEVICE, "no memory for pages of its own", "", strerror(errno));
#endif
    const ev_api *api = open_network(&args);
    const ev_model *model = api->describe();
    void **inputs = make_inputs(model, &args), **outputs = make_outputs(model, &args);
    uint64_t create_ns;
    ev_session *session = open_session(api, &args, &create_ns);
    const uint64_t first_run_ns = run_once(api, session, inputs, outputs);
    for (long i = 0; i < args.warmup; i++) run_once(api, session, inputs, outputs);
    const measured got = measure(api, session, &args, inputs, outputs);
    for (int i = 0; i < args.n_outputs; i++) write_file(args.outputs[i], &model->outputs[i], outputs[i]);

    printf("{\"abi\": %u, ", (unsigned)model->abi);
    print_text("name", model->name);
    print_text("target", model->target);
    print_text("model_sha256", model->model_sha256);
    printf("\"threads\": %d, \"warmup\": %ld, \"create_ns\": %" PRIu64 ", \"first_run_ns\": %" PRIu64 ", ",
           (int)api->threads(session), args.warmup, create_ns, first_run_ns);
    print_measured(&got);
    printf("\"steps\": [");
    if (args.profile) print_steps(api, session, inputs, outputs);
    printf("], ");
    ev_error why;
    print_text("processor", api->processor(session, &why) == EV_GPU ? "gpu" : "cpu");
    print_text("fell_back", why.text);
    printf("\"peak_rss_bytes\": ");
    print_peak_rss();
    printf("}\n");
    api->destroy(session);
    return fflush(stdout) || ferror(stdout) ? EXIT_DEVICE : 0;
}
