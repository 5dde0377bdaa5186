/* What a session costs, where its threads run, and what happens when the system says no. */
#include "checks.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- cores ------------------------------------------------------------------------------------------------------------ */

static int cores_of(long tid, cpu_set_t *cores) {
    CPU_ZERO(cores);
    REQUIRE(sched_getaffinity((pid_t)tid, sizeof *cores, cores) == 0);
    return CPU_COUNT(cores);
}

static int usable_cores(int32_t *cores, int capacity) {
    cpu_set_t set;
    int count = 0;
    cores_of(0, &set);
    for (int32_t core = 0; core < CPU_SETSIZE && count < capacity; core++) {
        if (CPU_ISSET(core, &set)) cores[count++] = core;
    }
    return count;
}

void check_pinning(void) {
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
    slow_run slow;
    start_slow_run(&slow, session);
    REQUIRE(cores_of(atomic_load(&slow.tid), &now) == 1 && CPU_ISSET(caller_core, &now));
    REQUIRE(!atomic_load(&slow.ended));
    pthread_join(slow.thread, NULL);
    answer result;
    REQUIRE(infer(alpha, session, GAIN, &result, &error) == EV_OK);
    REQUIRE(cores_of(0, &now) == count_before && CPU_EQUAL(&now, &before));
    alpha->destroy(session);
    cores[0] = caller_core;
    const ev_options chosen = {.struct_size = sizeof chosen, .cores = cores, .n_cores = 1};
    REQUIRE(alpha->create(&chosen, &session, &error) == EV_OK && alpha->threads(session) == 1);
    alpha->destroy(session);
}

void check_refused_pin(void) {
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

void check_cycles(void) {
    const answer wanted = expected(alpha);
    long warm_kib = 0;
    for (long i = 0; i < runs; i++) {
        answer result;
        ev_session *session = make(i % 2 ? alpha : beta, 1 + (int32_t)(i % 3));
        REQUIRE(infer(i % 2 ? alpha : beta, session, GAIN, &result, NULL) == EV_OK);
        REQUIRE(i % 2 == 0 || same(&result, &wanted));
        (i % 2 ? alpha : beta)->destroy(session);
        if (i == runs / 4) warm_kib = resident_kib();
    }
    REQUIRE(no_more_threads());
    if (!SANITIZED) REQUIRE(resident_kib() - warm_kib < 1024); /* an address sanitizer counts for itself, and keeps what was freed */
}

void check_idle(void) {
    answer result;
    ev_session *session = make(alpha, 8);
    REQUIRE(infer(alpha, session, GAIN, &result, NULL) == EV_OK);
    pause_ms(20);
    const double before = seconds(CLOCK_PROCESS_CPUTIME_ID);
    pause_ms(400);
    REQUIRE(seconds(CLOCK_PROCESS_CPUTIME_ID) - before < 0.002);
    alpha->destroy(session);
}

/* Many more threads than cores: no thread waits for one that has no core. One run of one thread takes about 0.2 ms. */
void check_oversubscribed(void) {
    answer result;
    const answer wanted = expected(alpha);
    ev_session *session = make(alpha, 32);
    const double before = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (long i = 0; i < runs; i++) REQUIRE(infer(alpha, session, GAIN, &result, NULL) == EV_OK && same(&result, &wanted));
    REQUIRE((seconds(CLOCK_PROCESS_CPUTIME_ID) - before) / (double)runs < 0.02);
    alpha->destroy(session);
}

void check_fork(void) {
    answer result;
    ev_session *session = make(alpha, 2);
    const answer wanted = expected(alpha);
    const pid_t child = fork();
    if (child == 0) {
        ev_error error;
        REQUIRE_FAILURE(infer(alpha, session, GAIN, &result, &error), EV_INVALID, error, "before a fork");
        alpha->destroy(session);
        session = make(alpha, 2);
        REQUIRE(infer(alpha, session, GAIN, &result, &error) == EV_OK && same(&result, &wanted));
        alpha->destroy(session);
        _exit(0);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    REQUIRE(infer(alpha, session, GAIN, &result, NULL) == EV_OK && same(&result, &wanted));
    alpha->destroy(session);
}

/* The transformed weights of ALPHA are made and freed again and again, by all threads. */
static void *create_often(void *argument) {
    const answer *wanted = argument;
    answer result;
    for (long i = 0; i < runs; i++) {
        ev_session *session = make(alpha, 1);
        REQUIRE(infer(alpha, session, GAIN, &result, NULL) == EV_OK && same(&result, wanted));
        alpha->destroy(session);
    }
    return NULL;
}

void check_created_together(void) {
    pthread_t threads[4];
    answer wanted = expected(alpha);
    for (int i = 0; i < 4; i++) REQUIRE(pthread_create(&threads[i], NULL, create_often, &wanted) == 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}

/* A child forked while a thread of its parent makes the weights makes its own. */
void check_fork_meanwhile(void) {
    pthread_t threads[2];
    answer wanted = expected(alpha);
    for (int i = 0; i < 2; i++) REQUIRE(pthread_create(&threads[i], NULL, create_often, &wanted) == 0);
    for (int i = 0; i < 200; i++) {
        int status;
        const pid_t child = fork();
        if (child == 0) {
            answer result;
            alarm(20);
            ev_session *session = make(alpha, 1);
            _exit(infer(alpha, session, GAIN, &result, NULL) == EV_OK && same(&result, &wanted) ? 0 : 1);
        }
        REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
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
void check_no_memory(void) {
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

/* ALPHA is here a library whose transformed weights take 1 GiB. */
void check_no_memory_for_weights(void) {
    ev_session *session = NULL;
    ev_error error;
    const ev_options options = {.struct_size = sizeof options, .threads = 1};
    limit_address_space(address_space() + ((rlim_t)512 << 20));
    REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_NO_MEMORY, error, "no memory for the transformed weights of alpha: 107");
    REQUIRE(session == NULL);
    limit_address_space(RLIM_INFINITY);
    session = make(alpha, 1);
    alpha->destroy(session);
}

/* ALPHA is here a library whose arena almost fills the address space. */
void check_overflow(void) {
    ev_session *session;
    ev_error error;
    REQUIRE_FAILURE(alpha->create(NULL, &session, &error), EV_NO_MEMORY, error, "more than the address space");
    REQUIRE(session == NULL);
}

void check_no_threads(void) {
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

void check_no_keys(void) {
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
        REQUIRE(infer(alpha, second, GAIN, &result, NULL) == EV_OK);
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

void check_allocates_nothing(void) {
    answer result;
    ev_error error;
    const long before_create = atomic_load(&allocations);
    ev_session *session = make(alpha, 4);
    REQUIRE(atomic_load(&allocations) > before_create);
    const long before = atomic_load(&allocations);
    for (int i = 0; i < 10; i++) REQUIRE(infer(alpha, session, i % 2 ? GAIN : RAISE_GAIN, &result, &error) == (i % 2 ? EV_OK : EV_KERNEL));
    REQUIRE(atomic_load(&allocations) == before);
    alpha->destroy(session);
}
#endif
