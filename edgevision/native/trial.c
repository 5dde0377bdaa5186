/* Runs two kernels in turn and tells their times: the process in which `edgevision tune` measures. It reads one command a line and
 * answers each with one JSON object on stdout.
 *
 *     trial THREADS WEIGHTS_BYTES WRITTEN_BYTES WORKSPACE_BYTES [CORES [LINE...]]
 *
 * The lines are arguments, or come on stdin, one answer at a time. CORES is 4,5 or - for any. Built with EV_TRIAL_STATIC the kernels
 * are linked into it, in the table trial_kernels, and the program needs no dynamic linker: devices get that one.
 *
 *     load SLOT LIMIT_S LIBRARY N      N lines follow, one an argument: ROLE CODE BITS OFFSET FILE NDIM EXTENT...
 *                                      (ROLE: a activation, c constant, both read from FILE; o output, s scratch: FILE is -)
 *                                      LIBRARY is a place in the table where kernels are linked in
 *     outputs SLOT LIMIT_S FILE        run once on dirty memory, write the outputs to FILE
 *     check SLOT LIMIT_S FILE          run once on dirty memory, compare with the outputs in FILE: {"guarded": B, "error": X}, X null
 *                                      where no figure says how different they are
 *     compare LIMIT_S BLOCKS           the slots 0 1 1 0, BLOCKS times: {"a": [ns...], "b": [ns...]}, two samples a block
 *     confirm LIMIT_S BLOCKS PERCENT   the same, but no samples where the comparison before had a median ratio b/a above PERCENT
 *     sample SLOT LIMIT_S              run once as compare does: {"ns": N}
 *     promote LIMIT_S                  what is in slot 1 is now in slot 0
 *
 * A candidate that crashes ends this process by its signal, one that takes longer than LIMIT_S by SIGALRM.
 * Before each sample the threads read WEIGHTS_BYTES together, each writes WRITTEN_BYTES of its own, and then the activations are
 * read: a layer of a network finds its results cold, its weights as far away as those of all layers push them, and warm what the
 * layer before it has just written.
 * A run stands between two marks, at which cost_plugin.c begins a new phase.
 */
#include "cold_caches.h"
#include "difference.h"
#include "mark.h"
#include "tvm_calls.c"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

enum { MOST_ARGUMENTS = 64, MOST_AXES = 8, MOST_PATH = 4096, MOST_BLOCKS = 4096, DIRT = 0xFF, GUARD = 0xA5, GUARD_BYTES = 256 };
enum { HUGE_PAGE_BYTES = 2 << 20 };
enum { DEVICE_CPU = 1, TYPE_DLTENSOR = 7, EXIT_USAGE = 2, EXIT_DEVICE = 4 };

typedef struct {
    char role;
    uint8_t code, bits;
    size_t bytes;
    unsigned char *at;
    int64_t shape[MOST_AXES], strides[MOST_AXES];
} argument;

typedef struct {
    void *library;
    ev_kernel kernel;
    int n_arguments;
    argument arguments[MOST_ARGUMENTS];
    ev_dl_tensor tensors[MOST_ARGUMENTS];
    ev_any values[MOST_ARGUMENTS];
    unsigned char *memory;
    size_t memory_bytes;
} slot;

static ev_team team;
static slot slots[2];
static ev_cold_caches caches;
static char **lines; /* those that are arguments; NULL where they come on stdin */
static double last_ratio;

#ifdef EV_TRIAL_STATIC
extern const ev_kernel trial_kernels[];
extern const int trial_n_kernels;
#endif

static _Noreturn void fail(const char *what, const char *why) {
    fprintf(stderr, "%s%s%s\n", what, *why ? ": " : "", why);
    exit(EXIT_DEVICE);
}

static size_t whole_pages(size_t bytes) { return (bytes / HUGE_PAGE_BYTES + 1) * HUGE_PAGE_BYTES; }

/* In huge pages where the system has them, as a session's memory is: in small ones a candidate that reaches far is slower than it
 * is in a network. */
static void *reserve(size_t bytes) {
    const size_t whole = whole_pages(bytes);
    unsigned char *memory =
        mmap(NULL, whole + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) fail("no memory for a trial", strerror(errno));
    unsigned char *const start = memory + HUGE_PAGE_BYTES - (uintptr_t)memory % HUGE_PAGE_BYTES;
    munmap(memory, (size_t)(start - memory));
    munmap(start + whole, (size_t)(memory + HUGE_PAGE_BYTES - start));
    ev_advise_huge_pages(start, whole);
    return start;
}

static void release(void *memory, size_t bytes) { munmap(memory, whole_pages(bytes)); }

/* --- commands --------------------------------------------------------------------------------------------------------- */

static char *line(void) {
    static char text[2 * MOST_PATH];
    if (lines) {
        if (!*lines) exit(0);
        snprintf(text, sizeof text, "%s", *lines++);
        return text;
    }
    if (!fgets(text, sizeof text, stdin)) exit(0);
    text[strcspn(text, "\n")] = 0;
    return text;
}

static const char *word(char **rest) {
    char *found = strsep(rest, "\t");
    if (!found) fail("a command ends early", "");
    return found;
}

static long long number(char **rest) { return strtoll(word(rest), NULL, 10); }

static slot *slot_of(char **rest) { return &slots[number(rest) != 0]; }

static void limit(char **rest) { alarm((unsigned)number(rest)); }

/* --- loading ---------------------------------------------------------------------------------------------------------- */

static void read_into(const char *path, long long offset, unsigned char *to, size_t bytes) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, (long)offset, SEEK_SET) || fread(to, 1, bytes, file) != bytes) fail(path, "cannot be read");
    fclose(file);
}

static void unload(slot *s) {
    if (s->memory) release(s->memory, s->memory_bytes);
    if (s->library) dlclose(s->library);
    *s = (slot){0};
}

typedef struct {
    long long offset;
    char path[MOST_PATH];
} origin;

static void read_argument(slot *s, int i, origin *from) {
    char *rest = line();
    argument *a = &s->arguments[i];
    a->role = *word(&rest);
    const uint8_t code = a->code = (uint8_t)number(&rest), bits = a->bits = (uint8_t)number(&rest);
    from->offset = number(&rest);
    snprintf(from->path, sizeof from->path, "%s", word(&rest));
    const int ndim = (int)number(&rest);
    if (ndim > MOST_AXES) fail("too many axes", "");
    a->bytes = bits / 8;
    for (int d = 0; d < ndim; d++) a->shape[d] = number(&rest);
    for (int d = ndim - 1; d >= 0; d--) {
        a->strides[d] = (int64_t)(a->bytes / (bits / 8));
        a->bytes *= (size_t)a->shape[d];
    }
    s->tensors[i] = (ev_dl_tensor){.device = {DEVICE_CPU, 0}, .ndim = ndim, .dtype = {code, bits, 1}, .shape = a->shape, .strides = a->strides};
    s->values[i] = (ev_any){.type_index = TYPE_DLTENSOR, .value.v_ptr = &s->tensors[i]};
}

static size_t room(const argument *a) { return (a->bytes + GUARD_BYTES + EV_LINE - 1) / EV_LINE * EV_LINE; }

static void place(slot *s, const origin *from) {
    for (int i = 0; i < s->n_arguments; i++) s->memory_bytes += room(&s->arguments[i]);
    s->memory = reserve(s->memory_bytes);
    unsigned char *next = s->memory;
    for (int i = 0; i < s->n_arguments; i++) {
        argument *a = &s->arguments[i];
        a->at = s->tensors[i].data = next;
        next += room(a);
        if (a->role == 'a' || a->role == 'c') read_into(from[i].path, from[i].offset, a->at, a->bytes);
        else memset(a->at, DIRT, a->bytes);
        memset(a->at + a->bytes, GUARD, GUARD_BYTES);
    }
}

#ifdef EV_TRIAL_STATIC
static void open_kernel(slot *s, const char *place) {
    const long at = strtol(place, NULL, 10);
    if (at < 0 || at >= trial_n_kernels) fail(place, "no such kernel");
    s->kernel = trial_kernels[at];
}
#else
/* What TVM's own loader does: the object holds these pointers, empty. */
static void fill_pointer(void *library, const char *name, void *function) {
    void **place = dlsym(library, name);
    if (place) memcpy(place, &function, sizeof function);
}

static void open_kernel(slot *s, const char *path) {
    s->library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (!s->library) fail(path, dlerror());
    void *found = dlsym(s->library, "__tvm_ffi_kernel");
    if (!found) fail(path, "it holds no kernel");
    memcpy(&s->kernel, &found, sizeof found);
    fill_pointer(s->library, "__TVMBackendAllocWorkspace", (void *)alloc_workspace);
    fill_pointer(s->library, "__TVMBackendFreeWorkspace", (void *)free_workspace);
    fill_pointer(s->library, "__TVMBackendParallelLaunch", (void *)parallel_launch);
}
#endif

static void load(char **rest) {
    static origin from[MOST_ARGUMENTS];
    static char path[MOST_PATH];
    slot *s = slot_of(rest);
    limit(rest);
    unload(s);
    snprintf(path, sizeof path, "%s", word(rest));
    s->n_arguments = (int)number(rest);
    if (s->n_arguments > MOST_ARGUMENTS) fail("too many arguments", "");
    for (int i = 0; i < s->n_arguments; i++) read_argument(s, i, &from[i]);
    place(s, from);
    open_kernel(s, path);
    printf("{}\n");
}

/* --- running ---------------------------------------------------------------------------------------------------------- */

static void cool(const slot *s) {
    ev_cool(&caches);
    for (int i = 0; i < s->n_arguments; i++) {
        if (s->arguments[i].role == 'a') ev_read_lines(s->arguments[i].at, s->arguments[i].bytes);
    }
}

static uint64_t run_once(slot *s) {
    ev_any result = {0};
    ev_mark();
    const uint64_t before = ev_now_ns();
    const int32_t status = s->kernel(NULL, s->values, s->n_arguments, &result);
    const uint64_t took = ev_now_ns() - before;
    ev_mark();
    if (status != 0) fail("the kernel refused its arguments", ev_team_failure(&team) ? ev_team_failure(&team) : "");
    return took;
}

static uint64_t sample(slot *s) {
    cool(s);
    return run_once(s);
}

static void sample_one(char **rest) {
    slot *s = slot_of(rest);
    limit(rest);
    printf("{\"ns\": %llu}\n", (unsigned long long)sample(s));
}

static void print_samples(const char *key, const uint64_t *samples, int count) {
    printf("%s[", key);
    for (int i = 0; i < count; i++) printf("%s%llu", i ? ", " : "", (unsigned long long)samples[i]);
    printf("]");
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median over blocks of the time of b over that of a. */
static double ratio(const uint64_t *a, const uint64_t *b, int blocks) {
    static double ratios[MOST_BLOCKS];
    for (int i = 0; i < blocks; i++) ratios[i] = (double)(b[2 * i] + b[2 * i + 1]) / (double)(a[2 * i] + a[2 * i + 1]);
    qsort(ratios, (size_t)blocks, sizeof *ratios, ascending);
    return (ratios[(blocks - 1) / 2] + ratios[blocks / 2]) / 2;
}

static void compare_blocks(int blocks) {
    static uint64_t a[2 * MOST_BLOCKS], b[2 * MOST_BLOCKS];
    if (blocks < 1 || blocks > MOST_BLOCKS) fail("no such number of blocks", "");
    for (int i = 0; i < blocks; i++) {
        a[2 * i] = sample(&slots[0]);
        b[2 * i] = sample(&slots[1]);
        b[2 * i + 1] = sample(&slots[1]);
        a[2 * i + 1] = sample(&slots[0]);
    }
    last_ratio = ratio(a, b, blocks);
    print_samples("{\"a\": ", a, 2 * blocks);
    print_samples(", \"b\": ", b, 2 * blocks);
    printf("}\n");
}

static void compare(char **rest) {
    limit(rest);
    compare_blocks((int)number(rest));
}

static void confirm(char **rest) {
    limit(rest);
    const int blocks = (int)number(rest);
    if (last_ratio * 100 > (double)number(rest)) printf("{\"a\": [], \"b\": []}\n");
    else compare_blocks(blocks);
}

static bool guarded(const slot *s) {
    for (int i = 0; i < s->n_arguments; i++) {
        const argument *a = &s->arguments[i];
        for (size_t at = 0; at < GUARD_BYTES; at++) {
            if (a->at[a->bytes + at] != GUARD) return false;
        }
    }
    return true;
}

static void run_on_dirt(slot *s) {
    for (int i = 0; i < s->n_arguments; i++) {
        if (s->arguments[i].role == 'o' || s->arguments[i].role == 's') memset(s->arguments[i].at, DIRT, s->arguments[i].bytes);
    }
    run_once(s);
}

static void outputs(char **rest) {
    slot *s = slot_of(rest);
    limit(rest);
    const char *path = word(rest);
    run_on_dirt(s);
    FILE *file = fopen(path, "wb");
    for (int i = 0; file && i < s->n_arguments; i++) {
        if (s->arguments[i].role == 'o') fwrite(s->arguments[i].at, 1, s->arguments[i].bytes, file);
    }
    if (!file || fclose(file)) fail(path, "cannot be written");
    printf("{\"guarded\": %s}\n", guarded(s) ? "true" : "false");
}

static void check(char **rest) {
    slot *s = slot_of(rest);
    limit(rest);
    const char *path = word(rest);
    long long offset = 0;
    double error = 0;
    run_on_dirt(s);
    const bool kept = guarded(s);
    for (int i = 0; i < s->n_arguments; i++) {
        const argument *a = &s->arguments[i];
        if (a->role != 'o') continue;
        if (!ev_differs_by_a_figure(a->code, a->bits)) fail("outputs of this type cannot be compared", "");
        unsigned char *expected = reserve(a->bytes);
        read_into(path, offset, expected, a->bytes);
        error = fmax(error, ev_difference(a->code, a->bits, a->bytes, a->at, expected));
        release(expected, a->bytes);
        offset += (long long)a->bytes;
    }
    printf("{\"guarded\": %s, \"error\": ", kept ? "true" : "false");
    printf(isfinite(error) ? "%.9g}\n" : "null}\n", error);
}

static void promote(char **rest) {
    limit(rest);
    unload(&slots[0]);
    slots[0] = slots[1];
    slots[1] = (slot){0};
    for (int i = 0; i < slots[0].n_arguments; i++) {
        slots[0].tensors[i].shape = slots[0].arguments[i].shape;
        slots[0].tensors[i].strides = slots[0].arguments[i].strides;
        slots[0].values[i].value.v_ptr = &slots[0].tensors[i];
    }
    printf("{}\n");
}

static void obey(char *text) {
    char *rest = text;
    const char *verb = word(&rest);
    if (!strcmp(verb, "load")) load(&rest);
    else if (!strcmp(verb, "outputs")) outputs(&rest);
    else if (!strcmp(verb, "check")) check(&rest);
    else if (!strcmp(verb, "compare")) compare(&rest);
    else if (!strcmp(verb, "confirm")) confirm(&rest);
    else if (!strcmp(verb, "sample")) sample_one(&rest);
    else if (!strcmp(verb, "promote")) promote(&rest);
    else fail("no such command", verb);
    alarm(0);
    fflush(stdout);
}

static int32_t read_cores(char *text, int32_t cores[EV_MAX_THREADS]) {
    int32_t count = 0;
    if (!strcmp(text, "-")) return 0;
    for (char *item; (item = strsep(&text, ",")) && count < EV_MAX_THREADS;) cores[count++] = atoi(item);
    return count;
}

int main(int argc, char **argv) {
    enum { NEEDED = 5 };
    ev_error error;
    int32_t cores[EV_MAX_THREADS];
    if (argc < NEEDED) return EXIT_USAGE;
    const int32_t n_cores = argc > NEEDED ? read_cores(argv[NEEDED], cores) : 0;
    if (argc > NEEDED + 1) lines = &argv[NEEDED + 1];
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* whoever tunes may be killed in the middle of a run */
#ifndef EV_TRIAL_STATIC
    dlopen("libm.so.6", RTLD_NOW | RTLD_GLOBAL); /* kernels call expf and the like */
#endif
    team.n_members = atoi(argv[1]);
    caches.n_members = team.n_members;
    caches.weights_bytes = (size_t)atoll(argv[2]);
    caches.written_bytes = (size_t)atoll(argv[3]);
    team.workspace_bytes = (size_t)atoll(argv[4]);
    caches.weights = memset(reserve(caches.weights_bytes), 1, caches.weights_bytes); /* pages that nobody wrote are one page */
    caches.written = reserve((size_t)team.n_members * caches.written_bytes);
    team.members = reserve((size_t)team.n_members * sizeof *team.members);
    for (int32_t i = 0; i < team.n_members; i++) team.members[i].workspace = reserve(team.workspace_bytes);
    if (ev_team_start(&team, cores, n_cores, &error) != EV_OK) fail("no threads", error.text);
    if (n_cores > 0 && !ev_pin_to(cores[0])) fail("cannot bind to this core", argv[NEEDED]);
    ev_team_enter(&team);
    for (;;) obey(line());
}
