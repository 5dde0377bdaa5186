/* Checks of the runtime through its C interface, on two libraries of fake_network.c: checks NAME ALPHA.so BETA.so RUNS.
 * Exit status 0 and nothing printed: the check holds. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "edgevision.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { H = 24, W = 20, IMAGE = H * W * 3, CLASSES = 10, MOST_STEPS = 8 };
enum { RAISE_GAIN = -1, GREEDY_GAIN = -2, SLOW_GAIN = -3, DISORDER_GAIN = -4, MUTE_GAIN = -5 };

static const ev_api *alpha, *beta;
static void *alpha_library;
static long runs;
static int threads_at_start;

#define REQUIRE(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)
#define REQUIRE_FAILURE(call, expected_code, error, expected_text) \
    do { \
        memset(&(error), 0x55, sizeof(error)); \
        REQUIRE((call) == (expected_code)); \
        REQUIRE((error).code == (expected_code)); \
        if (!strstr((error).text, expected_text)) fprintf(stderr, "it says: %s\n", (error).text); \
        REQUIRE(strstr((error).text, expected_text)); \
    } while (0)

/* --- one inference ---------------------------------------------------------------------------------------------------- */

typedef struct {
    float scores[CLASSES];
    int64_t bright;
} answer;

/* One byte off every alignment, on both sides. */
static int infer(const ev_api *api, ev_session *session, float gain, answer *result, ev_error *error) {
    unsigned char image[IMAGE + 1], gain_bytes[5], scores[sizeof result->scores + 1], bright[9];
    for (int i = 0; i < IMAGE; i++) image[i + 1] = (unsigned char)(i * 31 + i / 7);
    memcpy(gain_bytes + 1, &gain, 4);
    const int status = api->run(session, (const void *const[]){image + 1, gain_bytes + 1, NULL},
                                (void *const[]){scores + 1, bright + 1, NULL}, error);
    memcpy(result->scores, scores + 1, sizeof result->scores);
    memcpy(&result->bright, bright + 1, 8);
    return status;
}

static ev_session *make(const ev_api *api, int32_t threads) {
    const ev_options options = {.struct_size = sizeof options, .threads = threads};
    ev_session *session = NULL;
    ev_error error;
    if (api->create(&options, &session, &error)) fprintf(stderr, "create: %s\n", error.text);
    REQUIRE(session);
    REQUIRE(api->threads(session) == threads);
    return session;
}

static bool same(const answer *a, const answer *b) {
    return !memcmp(a->scores, b->scores, sizeof a->scores) && a->bright == b->bright;
}

static answer expected(const ev_api *api) {
    answer result;
    ev_error error;
    ev_session *session = make(api, 1);
    REQUIRE(infer(api, session, 0.5f, &result, &error) == EV_OK && error.code == EV_OK && !error.text[0]);
    api->destroy(session);
    return result;
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void pause_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

/* --- results ---------------------------------------------------------------------------------------------------------- */

static void check_threads(void) {
    const answer one = expected(alpha);
    REQUIRE(one.scores[0] != one.scores[1] && one.bright > 0);
    for (int32_t threads = 1; threads <= 8; threads++) {
        ev_session *session = make(alpha, threads);
        for (long i = 0; i < runs; i++) {
            answer now;
            REQUIRE(infer(alpha, session, 0.5f, &now, NULL) == EV_OK);
            REQUIRE(same(&now, &one));
        }
        alpha->destroy(session);
    }
}

static void check_models_differ(void) {
    const answer a = expected(alpha), b = expected(beta);
    REQUIRE(a.bright == b.bright && memcmp(a.scores, b.scores, sizeof a.scores) != 0);
}

typedef struct {
    const ev_api *api;
    answer wanted;
    int32_t threads;
    pthread_t thread;
} client;

static void *run_many(void *argument) {
    const client *of = argument;
    ev_session *session = make(of->api, of->threads);
    for (long i = 0; i < runs; i++) {
        answer now;
        REQUIRE(infer(of->api, session, 0.5f, &now, NULL) == EV_OK);
        REQUIRE(same(&now, &of->wanted));
    }
    of->api->destroy(session);
    return NULL;
}

static void check_concurrent(void) {
    client clients[8];
    const answer a = expected(alpha), b = expected(beta);
    for (int i = 0; i < 8; i++) {
        clients[i] = (client){.api = i % 2 ? beta : alpha, .wanted = i % 2 ? b : a, .threads = 1 + i / 2 % 3};
        REQUIRE(pthread_create(&clients[i].thread, NULL, run_many, &clients[i]) == 0);
    }
    for (int i = 0; i < 8; i++) pthread_join(clients[i].thread, NULL);
}

/* --- busy ------------------------------------------------------------------------------------------------------------- */

static _Atomic bool slow_began, slow_ended;
static _Atomic long slow_tid;

static void *run_slowly(void *session) {
    answer result;
    atomic_store(&slow_tid, syscall(SYS_gettid));
    atomic_store(&slow_began, true);
    REQUIRE(infer(alpha, session, SLOW_GAIN, &result, NULL) == EV_OK);
    atomic_store(&slow_ended, true);
    return NULL;
}

static pthread_t start_slow_run(ev_session *session) {
    pthread_t thread;
    atomic_store(&slow_began, false);
    atomic_store(&slow_ended, false);
    REQUIRE(pthread_create(&thread, NULL, run_slowly, session) == 0);
    while (!atomic_load(&slow_began)) pause_ms(1);
    pause_ms(10);
    return thread;
}

static void check_busy(void) {
    const answer wanted = expected(alpha);
    answer result;
    ev_error error;
    size_t count;
    ev_session *session = make(alpha, 2), *other = make(alpha, 2);
    const pthread_t thread = start_slow_run(session);
    REQUIRE_FAILURE(infer(alpha, session, 0.5f, &result, &error), EV_BUSY, error, "already running");
    REQUIRE_FAILURE(alpha->profile(session, NULL, 0, &count, &error), EV_BUSY, error, "running");
    REQUIRE(infer(alpha, other, 0.5f, &result, &error) == EV_OK && same(&result, &wanted));
    REQUIRE(!atomic_load(&slow_ended));
    pthread_join(thread, NULL);
    REQUIRE(infer(alpha, session, 0.5f, &result, &error) == EV_OK && same(&result, &wanted));
    alpha->destroy(session);
    alpha->destroy(other);
}

/* --- failures of kernels ---------------------------------------------------------------------------------------------- */

static void check_failures(void) {
    const answer wanted = expected(alpha);
    for (int32_t threads = 1; threads <= 4; threads += 3) {
        answer result;
        ev_error error;
        ev_session *session = make(alpha, threads);
        for (int round = 0; round < 40; round++) {
            REQUIRE_FAILURE(infer(alpha, session, RAISE_GAIN, &result, &error), EV_KERNEL, error,
                            "step scores failed: ValueError: class three is out of range");
            REQUIRE_FAILURE(infer(alpha, session, GREEDY_GAIN, &result, &error), EV_KERNEL, error,
                            "step scores failed: a workspace of 1099511627776 bytes does not fit in the ");
            REQUIRE_FAILURE(infer(alpha, session, DISORDER_GAIN, &result, &error), EV_KERNEL, error, "freed out of order");
            REQUIRE_FAILURE(infer(alpha, session, MUTE_GAIN, &result, &error), EV_KERNEL, error, "it gave no reason");
            REQUIRE(infer(alpha, session, MUTE_GAIN, &result, NULL) == EV_KERNEL);
            REQUIRE(infer(alpha, session, 0.5f, &result, &error) == EV_OK && error.code == EV_OK && !error.text[0]);
            REQUIRE(same(&result, &wanted));
        }
        alpha->destroy(session);
    }
}

/* --- arguments -------------------------------------------------------------------------------------------------------- */

static void check_arguments(void) {
    ev_error error;
    size_t count;
    ev_session *session = NULL;
    ev_options options = {.struct_size = sizeof options};
    int32_t cores[] = {0, -1};
    float gain = 1;
    unsigned char image[IMAGE] = {0};
    answer result;
    REQUIRE_FAILURE(alpha->create(&options, NULL, &error), EV_INVALID, error, "`session` is null");
    options.threads = -1;
    REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_INVALID, error, "threads is negative");
    options = (ev_options){.struct_size = sizeof options, .n_cores = 1};
    REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_INVALID, error, "given together");
    options = (ev_options){.struct_size = sizeof options, .cores = cores};
    REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_INVALID, error, "given together");
    options = (ev_options){.struct_size = sizeof options, .cores = cores, .n_cores = -1};
    REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_INVALID, error, "n_cores is negative");
    options = (ev_options){.struct_size = sizeof options, .cores = cores, .n_cores = 2};
    REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_INVALID, error, "cores[1]");
    cores[1] = 8192;
    REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_INVALID, error, "cores[1]");
    REQUIRE(session == NULL);
    options = (ev_options){.struct_size = sizeof options, .threads = 1000};
    REQUIRE(alpha->create(&options, &session, NULL) == EV_OK && alpha->threads(session) == EV_MAX_THREADS);
    alpha->destroy(session);

    session = make(alpha, 2);
    const void *inputs[] = {image, &gain, NULL};
    void *outputs[] = {result.scores, &result.bright, NULL};
    REQUIRE(alpha->run(session, inputs, outputs, &error) == EV_OK);
    REQUIRE_FAILURE(alpha->run(NULL, inputs, outputs, &error), EV_INVALID, error, "`session` is null");
    REQUIRE_FAILURE(alpha->run(session, NULL, outputs, &error), EV_INVALID, error, "`inputs` is null");
    REQUIRE_FAILURE(alpha->run(session, inputs, NULL, &error), EV_INVALID, error, "`outputs` is null");
    inputs[1] = NULL;
    REQUIRE_FAILURE(alpha->run(session, inputs, outputs, &error), EV_INVALID, error, "input 1, gain, is null");
    inputs[1] = &gain, outputs[0] = NULL;
    REQUIRE_FAILURE(alpha->run(session, inputs, outputs, &error), EV_INVALID, error, "output 0, scores, is null");
    REQUIRE_FAILURE(alpha->profile(NULL, NULL, 0, &count, &error), EV_INVALID, error, "`session` is null");
    REQUIRE_FAILURE(alpha->profile(session, NULL, 0, NULL, &error), EV_INVALID, error, "`count` is null");
    REQUIRE_FAILURE(alpha->profile(session, NULL, 1, &count, &error), EV_INVALID, error, "`steps` is null");
    alpha->destroy(session);
    alpha->destroy(NULL);
}

static void check_options_versions(void) {
    struct {
        ev_options known;
        unsigned char newer[64];
    } future = {{.struct_size = sizeof future}, {0}};
    struct {
        size_t struct_size;
        int32_t threads;
    } past = {sizeof past, 3}, nothing = {sizeof(size_t), 3};
    ev_session *session;
    ev_error error;
    REQUIRE(alpha->create((const ev_options *)(const void *)&past, &session, &error) == EV_OK && alpha->threads(session) == 3);
    alpha->destroy(session);
    REQUIRE(alpha->create((const ev_options *)(const void *)&nothing, &session, &error) == EV_OK && alpha->threads(session) <= 4);
    alpha->destroy(session);
    REQUIRE(alpha->create(NULL, &session, &error) == EV_OK);
    alpha->destroy(session);
    REQUIRE(alpha->create(&future.known, &session, &error) == EV_OK);
    alpha->destroy(session);
    future.newer[63] = 1;
    REQUIRE_FAILURE(alpha->create(&future.known, &session, &error), EV_INVALID, error, "older edgevision");
    REQUIRE(session == NULL);
    future.known.struct_size = 0;
    REQUIRE_FAILURE(alpha->create(&future.known, &session, &error), EV_INVALID, error, "sizeof(ev_options)");
    future.known.struct_size = (size_t)1 << 30;
    REQUIRE_FAILURE(alpha->create(&future.known, &session, &error), EV_INVALID, error, "sizeof(ev_options)");
}

static void check_abi(void) {
    const ev_api *(*get)(uint32_t), *(*prefixed)(uint32_t);
    void *symbols[] = {dlsym(alpha_library, "ev_get_api"), dlsym(alpha_library, "alpha_get_api")};
    REQUIRE(symbols[0] && symbols[1]);
    memcpy(&get, &symbols[0], sizeof get);
    memcpy(&prefixed, &symbols[1], sizeof prefixed);
    REQUIRE(get(EV_ABI) == alpha && prefixed(EV_ABI) == alpha);
    REQUIRE(get(EV_ABI + 1) == NULL && get(0) == NULL && prefixed(EV_ABI + 1) == NULL);
    REQUIRE(alpha->struct_size == sizeof(ev_api));
    const ev_model *model = alpha->describe();
    REQUIRE(model->struct_size == sizeof(ev_model) && model->abi == EV_ABI && !strcmp(model->name, "alpha") && model->n_inputs == 3);
    REQUIRE(!strcmp(beta->describe()->name, "beta"));
}

/* --- profile ---------------------------------------------------------------------------------------------------------- */

static void check_profile(void) {
    ev_session *session = make(alpha, 2);
    ev_step steps[MOST_STEPS] = {{0}};
    answer result;
    ev_error error;
    size_t count = 99;
    const answer wanted = expected(alpha);
    REQUIRE(infer(alpha, session, 0.5f, &result, &error) == EV_OK);
    REQUIRE(alpha->profile(session, steps, MOST_STEPS, &count, &error) == EV_OK && count == 0);
    REQUIRE(infer(alpha, session, 0.5f, &result, &error) == EV_OK && same(&result, &wanted));
    REQUIRE(alpha->profile(session, steps, 1, &count, &error) == EV_OK && count == 3 && !steps[1].name);
    REQUIRE(infer(alpha, session, SLOW_GAIN, &result, &error) == EV_OK);
    const double began = seconds(CLOCK_MONOTONIC);
    REQUIRE(infer(alpha, session, SLOW_GAIN, &result, &error) == EV_OK);
    const double took_ns = (seconds(CLOCK_MONOTONIC) - began) * 1e9;
    REQUIRE(alpha->profile(session, steps, MOST_STEPS, &count, &error) == EV_OK && count == 3);
    REQUIRE(!strcmp(steps[0].name, "smooth") && !strcmp(steps[1].name, "scores") && !strcmp(steps[2].name, "bright"));
    REQUIRE(steps[1].nanoseconds >= 60000000 && steps[0].nanoseconds > 0);
    REQUIRE((double)(steps[0].nanoseconds + steps[1].nanoseconds + steps[2].nanoseconds) <= took_ns);
    REQUIRE(infer(alpha, session, MUTE_GAIN, &result, &error) == EV_KERNEL);
    REQUIRE(alpha->profile(session, steps, MOST_STEPS, &count, &error) == EV_OK && count == 0);
    alpha->destroy(session);
}

/* --- cores ------------------------------------------------------------------------------------------------------------ */

static int cores_of(long tid, cpu_set_t *cores) {
    CPU_ZERO(cores);
    REQUIRE(sched_getaffinity((pid_t)tid, sizeof *cores, cores) == 0);
    return CPU_COUNT(cores);
}

static int count_threads(long *found, int capacity) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    REQUIRE(tasks);
    for (struct dirent *task; (task = readdir(tasks));) {
        if (task->d_name[0] == '.') continue;
        if (count < capacity) found[count] = strtol(task->d_name, NULL, 10);
        count++;
    }
    closedir(tasks);
    return count;
}

/* A thread sanitizer starts one of its own when it likes. */
static bool no_more_threads(void) { return count_threads(NULL, 0) <= threads_at_start + SANITIZED; }

static int usable_cores(int32_t *cores, int capacity) {
    cpu_set_t set;
    int count = 0;
    cores_of(0, &set);
    for (int32_t core = 0; core < CPU_SETSIZE && count < capacity; core++) {
        if (CPU_ISSET(core, &set)) cores[count++] = core;
    }
    return count;
}

static void check_pinning(void) {
    int32_t cores[2] = {0, 0};
    const int n = usable_cores(cores, 2);
    long tids[8];
    cpu_set_t before, now;
    const int count_before = cores_of(0, &before);
    const ev_options options = {.struct_size = sizeof options, .cores = cores, .n_cores = n, .threads = 2};
    ev_session *session;
    ev_error error;
    REQUIRE(alpha->create(&options, &session, &error) == EV_OK);
    const int32_t caller_core = cores[0], worker_core = cores[1 % n];
    cores[0] = cores[1] = 8191; /* the session has its own copy */
    REQUIRE(cores_of(0, &now) == count_before && CPU_EQUAL(&now, &before));
    REQUIRE(count_threads(tids, 8) == 2);
    REQUIRE(cores_of(tids[0] == getpid() ? tids[1] : tids[0], &now) == 1 && CPU_ISSET(worker_core, &now));
    const pthread_t thread = start_slow_run(session);
    REQUIRE(cores_of(atomic_load(&slow_tid), &now) == 1 && CPU_ISSET(caller_core, &now));
    REQUIRE(!atomic_load(&slow_ended));
    pthread_join(thread, NULL);
    answer result;
    REQUIRE(infer(alpha, session, 0.5f, &result, &error) == EV_OK);
    REQUIRE(cores_of(0, &now) == count_before && CPU_EQUAL(&now, &before));
    alpha->destroy(session);
    cores[0] = caller_core;
    const ev_options chosen = {.struct_size = sizeof chosen, .cores = cores, .n_cores = 1};
    REQUIRE(alpha->create(&chosen, &session, &error) == EV_OK && alpha->threads(session) == 1);
    alpha->destroy(session);
}

static void check_refused_pin(void) {
    int32_t cores[2];
    cpu_set_t before, now;
    usable_cores(cores, 1);
    cores_of(0, &before);
    for (int which = 0; which < 2; which++) {
        const int32_t asked[2] = {which == 0 ? 8191 : cores[0], 8191};
        const ev_options options = {.struct_size = sizeof options, .cores = asked, .n_cores = 2, .threads = 4};
        ev_session *session;
        ev_error error;
        REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_NO_THREADS, error,
                        which == 0 ? "cannot pin thread 0 to core 8191" : "cannot pin thread 1 to core 8191");
        REQUIRE(session == NULL && no_more_threads());
        cores_of(0, &now);
        REQUIRE(CPU_EQUAL(&now, &before));
    }
}

/* --- what a session costs --------------------------------------------------------------------------------------------- */

static long resident_kib(void) {
    char line[256];
    long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    REQUIRE(file);
    while (fgets(line, sizeof line, file) && sscanf(line, "VmRSS: %ld kB", &kib) != 1) continue;
    fclose(file);
    return kib;
}

static void check_cycles(void) {
    const answer wanted = expected(alpha);
    long warm_kib = 0;
    for (long i = 0; i < runs; i++) {
        answer result;
        ev_session *session = make(i % 2 ? alpha : beta, 1 + (int32_t)(i % 3));
        REQUIRE(infer(i % 2 ? alpha : beta, session, 0.5f, &result, NULL) == EV_OK);
        REQUIRE(i % 2 == 0 || same(&result, &wanted));
        (i % 2 ? alpha : beta)->destroy(session);
        if (i == runs / 4) warm_kib = resident_kib();
    }
    REQUIRE(no_more_threads());
    if (!SANITIZED) REQUIRE(resident_kib() - warm_kib < 1024); /* an address sanitizer counts for itself, and keeps what was freed */
}

static void check_idle(void) {
    answer result;
    ev_session *session = make(alpha, 8);
    REQUIRE(infer(alpha, session, 0.5f, &result, NULL) == EV_OK);
    pause_ms(20);
    const double before = seconds(CLOCK_PROCESS_CPUTIME_ID);
    pause_ms(400);
    REQUIRE(seconds(CLOCK_PROCESS_CPUTIME_ID) - before < 0.002);
    alpha->destroy(session);
}

/* Many more threads than cores: no thread waits for one that has no core. One run of one thread takes about 0.2 ms. */
static void check_oversubscribed(void) {
    answer result;
    const answer wanted = expected(alpha);
    ev_session *session = make(alpha, 32);
    const double before = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (long i = 0; i < runs; i++) REQUIRE(infer(alpha, session, 0.5f, &result, NULL) == EV_OK && same(&result, &wanted));
    REQUIRE((seconds(CLOCK_PROCESS_CPUTIME_ID) - before) / (double)runs < 0.02);
    alpha->destroy(session);
}

static void check_fork(void) {
    answer result;
    ev_session *session = make(alpha, 2);
    const answer wanted = expected(alpha);
    const pid_t child = fork();
    if (child == 0) {
        ev_error error;
        REQUIRE_FAILURE(infer(alpha, session, 0.5f, &result, &error), EV_INVALID, error, "before a fork");
        alpha->destroy(session);
        session = make(alpha, 2);
        REQUIRE(infer(alpha, session, 0.5f, &result, &error) == EV_OK && same(&result, &wanted));
        alpha->destroy(session);
        _exit(0);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    REQUIRE(infer(alpha, session, 0.5f, &result, NULL) == EV_OK && same(&result, &wanted));
    alpha->destroy(session);
}

/* --- what the system refuses ------------------------------------------------------------------------------------------ */

static void limit_address_space(rlim_t bytes) {
    struct rlimit limit;
    REQUIRE(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = bytes;
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
}

static rlim_t address_space(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    REQUIRE(file && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* ALPHA is here a library whose arena is 1 GiB. */
static void check_no_memory(void) {
    ev_session *session = NULL;
    ev_error error;
    const ev_options options = {.struct_size = sizeof options, .threads = 1};
    limit_address_space(address_space() + ((rlim_t)512 << 20));
    REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_NO_MEMORY, error, "no memory for a session of alpha: 107");
    REQUIRE(session == NULL);
    limit_address_space(RLIM_INFINITY);
    REQUIRE(alpha->create(&options, &session, &error) == EV_OK);
    alpha->destroy(session);
}

/* ALPHA is here a library whose arena almost fills the address space. */
static void check_overflow(void) {
    ev_session *session;
    ev_error error;
    REQUIRE_FAILURE(alpha->create(NULL, &session, &error), EV_NO_MEMORY, error, "more than the address space");
    REQUIRE(session == NULL);
}

static void check_no_threads(void) {
    ev_session *session;
    ev_error error;
    const ev_options options = {.struct_size = sizeof options, .threads = 16};
    limit_address_space(address_space() + ((rlim_t)6 << 20));
    REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_NO_THREADS, error, "refused to start worker thread");
    REQUIRE(session == NULL && no_more_threads());
    limit_address_space(RLIM_INFINITY);
    session = make(alpha, 16);
    alpha->destroy(session);
}

static void check_no_keys(void) {
    pthread_key_t keys[2048];
    int count = 0;
    ev_session *session;
    ev_error error;
    while (count < 2048 && pthread_key_create(&keys[count], NULL) == 0) count++;
    REQUIRE(count > 0 && count < 2048);
    REQUIRE_FAILURE(alpha->create(NULL, &session, &error), EV_NO_MEMORY, error, "pthread_key_create");
    pthread_key_delete(keys[--count]);
    for (int i = 0; i < 3; i++) {
        session = make(alpha, 2);
        ev_session *second = make(alpha, 2);
        alpha->destroy(session);
        answer result;
        REQUIRE(infer(alpha, second, 0.5f, &result, NULL) == EV_OK);
        alpha->destroy(second);
    }
    while (count > 0) pthread_key_delete(keys[--count]);
}

#ifdef COUNT_ALLOCATIONS
extern void *__libc_malloc(size_t bytes);
static _Atomic long allocations;
void *malloc(size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __libc_malloc(bytes);
}

static void check_allocates_nothing(void) {
    answer result;
    ev_error error;
    const long before_create = atomic_load(&allocations);
    ev_session *session = make(alpha, 4);
    REQUIRE(atomic_load(&allocations) > before_create);
    const long before = atomic_load(&allocations);
    for (int i = 0; i < 10; i++) REQUIRE(infer(alpha, session, i % 2 ? 0.5f : RAISE_GAIN, &result, &error) == (i % 2 ? EV_OK : EV_KERNEL));
    REQUIRE(atomic_load(&allocations) == before);
    alpha->destroy(session);
}
#endif

/* ALPHA is here a library that requires an instruction set which this CPU lacks. */
static void check_refused_feature(void) {
    ev_session *session;
    ev_error error;
    REQUIRE_FAILURE(alpha->create(NULL, &session, &error), EV_NO_DEVICE, error, "alpha was compiled for fake \"target\", which has ");
    REQUIRE(session == NULL);
    puts(error.text);
}

static const struct {
    const char *name;
    void (*check)(void);
} CHECKS[] = {
    {"threads", check_threads}, {"models_differ", check_models_differ}, {"concurrent", check_concurrent}, {"busy", check_busy},
    {"failures", check_failures}, {"arguments", check_arguments}, {"options_versions", check_options_versions}, {"abi", check_abi},
    {"profile", check_profile}, {"pinning", check_pinning}, {"refused_pin", check_refused_pin}, {"cycles", check_cycles},
    {"idle", check_idle}, {"oversubscribed", check_oversubscribed}, {"fork", check_fork}, {"no_memory", check_no_memory},
    {"overflow", check_overflow}, {"no_threads", check_no_threads}, {"no_keys", check_no_keys},
    {"refused_feature", check_refused_feature},
#ifdef COUNT_ALLOCATIONS
    {"allocates_nothing", check_allocates_nothing},
#endif
};

static const ev_api *open_library(const char *path, void **library) {
    const ev_api *(*get_api)(uint32_t);
    *library = dlopen(path, RTLD_NOW);
    if (!*library) fprintf(stderr, "%s\n", dlerror());
    REQUIRE(*library);
    void *symbol = dlsym(*library, "ev_get_api");
    REQUIRE(symbol);
    memcpy(&get_api, &symbol, sizeof get_api);
    return get_api(EV_ABI);
}

int main(int argc, char **argv) {
    void *beta_library;
    if (argc != 5) return 2;
    alpha = open_library(argv[2], &alpha_library);
    beta = open_library(argv[3], &beta_library);
    runs = strtol(argv[4], NULL, 10);
    threads_at_start = count_threads(NULL, 0);
    for (size_t i = 0; i < sizeof CHECKS / sizeof CHECKS[0]; i++) {
        if (strcmp(CHECKS[i].name, argv[1])) continue;
        CHECKS[i].check();
        dlclose(beta_library);
        dlclose(alpha_library);
        return 0;
    }
    return 2;
}
