/* Checks of the runtime through its C interface, on two libraries of fake_network.c: checks NAME ALPHA.so BETA.so RUNS.
 * Exit status 0 and nothing printed: the check holds. */
#include "checks.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

const ev_api *alpha, *beta;
void *alpha_library;
long runs;
static int threads_at_start;

/* --- one inference ---------------------------------------------------------------------------------------------------- */

int infer(const ev_api *api, ev_session *session, float gain, answer *result, ev_error *error) {
    unsigned char image[IMAGE + 1], gain_bytes[5], scores[sizeof result->scores + 1], bright[9];
    for (int i = 0; i < IMAGE; i++) image[i + 1] = (unsigned char)(i * 31 + i / 7);
    memcpy(gain_bytes + 1, &gain, 4);
    const int status = api->run(session, (const void *const[]){image + 1, gain_bytes + 1, NULL},
                                (void *const[]){scores + 1, bright + 1, NULL}, error);
    memcpy(result->scores, scores + 1, sizeof result->scores);
    memcpy(&result->bright, bright + 1, 8);
    return status;
}

ev_session *make(const ev_api *api, int32_t threads) {
    const ev_options options = {.struct_size = sizeof options, .threads = threads};
    ev_session *session = NULL;
    ev_error error;
    if (api->create(&options, &session, &error)) fprintf(stderr, "create: %s\n", error.text);
    REQUIRE(session);
    REQUIRE(api->threads(session) == threads);
    return session;
}

bool same(const answer *a, const answer *b) {
    return !memcmp(a->scores, b->scores, sizeof a->scores) && a->bright == b->bright;
}

answer expected(const ev_api *api) {
    answer result;
    ev_error error;
    ev_session *session = make(api, 1);
    REQUIRE(infer(api, session, GAIN, &result, &error) == EV_OK && error.code == EV_OK && !error.text[0]);
    api->destroy(session);
    return result;
}

double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void pause_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

/* --- a slow run --------------------------------------------------------------------------------------------------------- */

static void *run_slowly(void *argument) {
    slow_run *of = argument;
    answer result;
    atomic_store(&of->tid, syscall(SYS_gettid));
    atomic_store(&of->began, true);
    REQUIRE(infer(alpha, of->session, SLOW_GAIN, &result, NULL) == EV_OK);
    atomic_store(&of->ended, true);
    return NULL;
}

void start_slow_run(slow_run *run, ev_session *session) {
    run->session = session;
    atomic_store(&run->began, false);
    atomic_store(&run->ended, false);
    REQUIRE(pthread_create(&run->thread, NULL, run_slowly, run) == 0);
    while (!atomic_load(&run->began)) pause_ms(1);
    pause_ms(10);
}

/* --- threads of this process ------------------------------------------------------------------------------------------- */

int count_threads(long *found, int capacity) {
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
bool no_more_threads(void) { return count_threads(NULL, 0) <= threads_at_start + SANITIZED; }

/* --- the checks --------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*check)(void);
} CHECKS[] = {
    {"threads", check_threads}, {"models_differ", check_models_differ}, {"concurrent", check_concurrent}, {"busy", check_busy},
    {"failures", check_failures}, {"arguments", check_arguments}, {"buffers", check_buffers}, {"options_versions", check_options_versions}, {"abi", check_abi},
    {"profile", check_profile}, {"float_mode", check_float_mode}, {"pinning", check_pinning}, {"refused_pin", check_refused_pin}, {"cycles", check_cycles},
    {"idle", check_idle}, {"oversubscribed", check_oversubscribed}, {"fork", check_fork}, {"no_memory", check_no_memory},
    {"no_memory_for_weights", check_no_memory_for_weights}, {"created_together", check_created_together},
    {"fork_meanwhile", check_fork_meanwhile},
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
