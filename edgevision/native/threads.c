/* The team of threads that runs parallel loops.
 *
 * A job is cut into shares, one a member. Member i takes share i if nobody has, so that a core meets again the rows that it wrote
 * in the step before; then it takes what is left over, so that a member that sleeps or lost its core holds nobody up. The number
 * of shares and tasks, and with it every result, does not depend on who takes them.
 */
#include "threads.h"

#include "failure.h"
#include "float_mode.h"

EV_INLINE_ATOMICS_BEGIN

/* Longer than the gaps between two parallel loops of a network, shorter than the cost of a sleep and a wake on a phone. */
enum { SPIN_NS = 40000, SPINS_BETWEEN_LOOKS = 64 };
/* The kernels keep little on the stack; bionic's default is 1 MiB, musl's 128 KiB, glibc's 8 MiB. */
enum { STACK_BYTES = 1 << 20 };
#define CALLER_SLEEPS 0x80000000u
#define JOB_STOP UINT64_MAX

static int32_t shares_of(uint64_t job) { return (int32_t)(job & 0xFF); }

/* --- which member is this thread? ------------------------------------------------------------------------------------- */

/* TVM's calls carry no session. ELF thread-local storage needs Android API 29, so: one pthread key a library, held from the first
 * session to the last. */
static pthread_key_t key;
static int32_t key_holders;
static _Atomic uint32_t key_lock;

static void lock_key(void) {
    while (atomic_exchange_explicit(&key_lock, 1, memory_order_acquire)) ev_yield();
}

static void unlock_key(void) { atomic_store_explicit(&key_lock, 0, memory_order_release); }

static bool hold_key(void) {
    lock_key();
    bool held = key_holders > 0 || pthread_key_create(&key, NULL) == 0;
    key_holders += held;
    unlock_key();
    return held;
}

static void release_key(void) {
    lock_key();
    if (--key_holders == 0) pthread_key_delete(key);
    unlock_key();
}

ev_member *ev_team_current(void) { return pthread_getspecific(key); }

bool ev_team_claim(ev_team *team) { return atomic_exchange_explicit(&team->claimed, 1, memory_order_acquire) == 0; }

void ev_team_unclaim(ev_team *team) { atomic_store_explicit(&team->claimed, 0, memory_order_release); }

void ev_team_enter(ev_team *team) {
    atomic_store_explicit(&team->recorded, 0, memory_order_relaxed);
    pthread_setspecific(key, &team->members[0]);
    team->callers_float_mode = ev_float_mode_default();
}

/* A kernel that failed may have kept its workspaces. */
void ev_team_leave(ev_team *team) {
    for (int32_t i = 0; i < team->n_members; i++) team->members[i].n_live = 0;
    ev_float_mode_set(team->callers_float_mode);
    pthread_setspecific(key, NULL);
}

void ev_team_record_failure(ev_team *team, const char *const *parts, int32_t count) {
    if (atomic_exchange_explicit(&team->recorded, 1, memory_order_relaxed) == 0) {
        ev_join(team->failure, sizeof team->failure, parts, count);
    }
}

const char *ev_team_failure(ev_team *team) {
    return atomic_load_explicit(&team->recorded, memory_order_relaxed) ? team->failure : NULL;
}

/* --- doing a share ---------------------------------------------------------------------------------------------------- */

static int run_tasks(ev_member *self, ev_parallel_body body, void *closure, ev_parallel_env *env, int32_t first, int32_t step) {
    const bool was_in_task = self->in_task;
    int failed = 0;
    self->in_task = true;
    for (int32_t task = first; task < env->num_task; task += step) failed |= body(task, env, closure) != 0;
    self->in_task = was_in_task;
    return failed ? -1 : 0;
}

static bool take_share(ev_member *owner, uint64_t job) {
    uint64_t last = atomic_load_explicit(&owner->taken, memory_order_relaxed);
    return last < job && atomic_compare_exchange_strong_explicit(&owner->taken, &last, job, memory_order_acq_rel, memory_order_relaxed);
}

static void finish_share(ev_team *team) {
    uint32_t before = atomic_fetch_sub_explicit(&team->unfinished, 1, memory_order_acq_rel);
    if (before == (CALLER_SLEEPS | 1)) ev_futex_wake(&team->unfinished, 1);
}

/* While any share of a job is unfinished the job stays, so whoever has taken one may read body, closure and env. */
static void work_on(ev_member *self, uint64_t job) {
    ev_team *team = self->team;
    const int32_t shares = shares_of(job);
    for (int32_t i = 0; i < shares; i++) {
        const int32_t share = (self->index + i) % shares;
        if (!take_share(&team->members[share], job)) continue;
        if (run_tasks(self, team->body, team->closure, &team->env, share, shares)) {
            atomic_store_explicit(&team->failed, 1, memory_order_relaxed);
        }
        finish_share(team);
    }
}

/* --- workers ---------------------------------------------------------------------------------------------------------- */

static uint64_t look_for_job(ev_team *team, uint64_t seen) {
    const uint64_t until = ev_now_ns() + team->spin_ns;
    do {
        for (int i = 0; i < SPINS_BETWEEN_LOOKS; i++) {
            uint64_t job = atomic_load_explicit(&team->job, memory_order_acquire);
            if (job != seen) return job;
            ev_relax();
        }
        ev_yield();
    } while (ev_now_ns() < until);
    return seen;
}

/* Sleeping: a worker counts itself, then looks at the job again; the caller writes the job, then looks at the count. Both in
 * sequentially consistent order, so at least one of them sees the other. */
static uint64_t sleep_until_job(ev_team *team, uint64_t seen) {
    for (;;) {
        const uint32_t alarm = atomic_load(&team->alarm);
        atomic_fetch_add(&team->sleepers, 1);
        uint64_t job = atomic_load(&team->job);
        if (job == seen) ev_futex_wait(&team->alarm, alarm);
        atomic_fetch_sub(&team->sleepers, 1);
        if (job == seen) job = atomic_load(&team->job);
        if (job != seen) return job;
    }
}

static void *worker(void *argument) {
    ev_member *self = argument;
    uint64_t job = 0;
    pthread_setspecific(key, self);
    ev_float_mode_default();
    for (;;) {
        const uint64_t seen = job;
        if (self->team->spin_ns) job = look_for_job(self->team, seen);
        if (job == seen) job = sleep_until_job(self->team, seen);
        if (job == JOB_STOP) return NULL;
        work_on(self, job);
    }
}

/* --- the caller ------------------------------------------------------------------------------------------------------- */

static void publish(ev_team *team, uint64_t job, int32_t wanted) {
    atomic_store(&team->job, job);
    if (atomic_load(&team->sleepers) == 0) return;
    atomic_fetch_add(&team->alarm, 1);
    ev_futex_wake(&team->alarm, wanted);
}

static void wait_for_shares(ev_team *team) {
    const uint64_t until = ev_now_ns() + team->spin_ns;
    do {
        for (int i = 0; i < SPINS_BETWEEN_LOOKS; i++) {
            if (atomic_load_explicit(&team->unfinished, memory_order_acquire) == 0) return;
            ev_relax();
        }
        ev_yield();
    } while (ev_now_ns() < until);
    uint32_t left = atomic_fetch_or_explicit(&team->unfinished, CALLER_SLEEPS, memory_order_acq_rel) | CALLER_SLEEPS;
    while (left != CALLER_SLEEPS) {
        ev_futex_wait(&team->unfinished, left);
        left = atomic_load_explicit(&team->unfinished, memory_order_acquire);
    }
}

int ev_team_launch(ev_member *self, ev_parallel_body body, void *closure, int32_t n_tasks) {
    ev_team *team = self->team;
    if (self->in_task || team->n_members == 1 || n_tasks == 1) {
        ev_parallel_env alone = {NULL, n_tasks > 0 ? n_tasks : 1};
        return run_tasks(self, body, closure, &alone, 0, 1);
    }
    team->body = body;
    team->closure = closure;
    team->env = (ev_parallel_env){NULL, n_tasks > 0 ? n_tasks : team->n_members};
    const int32_t shares = team->env.num_task < team->n_members ? team->env.num_task : team->n_members;
    atomic_store_explicit(&team->failed, 0, memory_order_relaxed);
    atomic_store_explicit(&team->unfinished, (uint32_t)shares, memory_order_relaxed);
    const uint64_t job = ++team->job_count << 8 | (uint64_t)shares;
    publish(team, job, shares - 1);
    work_on(self, job);
    wait_for_shares(team);
    return atomic_load_explicit(&team->failed, memory_order_relaxed) ? -1 : 0;
}

/* --- starting and stopping -------------------------------------------------------------------------------------------- */

int32_t ev_team_size(const ev_plan *plan, int32_t threads, int32_t n_cores) {
    int32_t size = threads;
    if (size == 0) {
        ev_core_set allowed;
        size = n_cores > 0 ? n_cores : ev_cores_get(&allowed) ? ev_cores_count(&allowed) : 1;
        if (size > plan->default_threads) size = plan->default_threads;
    }
    return size < 1 ? 1 : size > EV_MAX_THREADS ? EV_MAX_THREADS : size;
}

static int32_t distinct_cores(const int32_t *cores, int32_t n_cores) {
    int32_t count = 0;
    for (int32_t i = 0; i < n_cores; i++) {
        int32_t before = 0;
        while (before < i && cores[before] != cores[i]) before++;
        count += before == i;
    }
    return count;
}

static int cannot_pin(int32_t index, int32_t core, ev_error *error) {
    return ev_fail(error, EV_NO_THREADS, "cannot pin thread ", ev_decimal_of((uint64_t)index).digits, " to core ",
                   ev_decimal_of((uint64_t)core).digits, ": the core is offline or this process may not use it");
}

/* A new thread inherits its creator's cores, so the caller moves to each worker's core in turn: a refusal is seen at once. */
static int start_workers(ev_team *team, const pthread_attr_t *attributes, const int32_t *cores, int32_t n_cores, ev_error *error) {
    if (n_cores > 0 && !ev_pin_to(cores[0])) return cannot_pin(0, cores[0], error);
    for (int32_t i = 1; i < team->n_members; i++) {
        if (n_cores > 0 && !ev_pin_to(cores[i % n_cores])) return cannot_pin(i, cores[i % n_cores], error);
        if (pthread_create(&team->members[i].thread, attributes, worker, &team->members[i]) != 0) {
            return ev_fail(error, EV_NO_THREADS, "the system refused to start worker thread ", ev_decimal_of((uint64_t)i).digits);
        }
        team->n_started = i + 1;
    }
    return EV_OK;
}

static int start_with_stacks(ev_team *team, const int32_t *cores, int32_t n_cores, ev_error *error) {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return ev_fail(error, EV_NO_MEMORY, "no memory for the attributes of a thread");
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    const int status = start_workers(team, &attributes, cores, n_cores, error);
    pthread_attr_destroy(&attributes);
    return status;
}

int ev_team_start(ev_team *team, const int32_t *cores, int32_t n_cores, ev_error *error) {
    ev_core_set allowed;
    if (!hold_key()) return ev_fail(error, EV_NO_MEMORY, "the process has no thread-specific key left (pthread_key_create)");
    for (int32_t i = 0; i < team->n_members; i++) {
        team->members[i].team = team;
        team->members[i].index = i;
    }
    const bool known = ev_cores_get(&allowed);
    const int32_t usable = n_cores > 0 ? distinct_cores(cores, n_cores) : known ? ev_cores_count(&allowed) : 1;
    team->spin_ns = team->n_members <= usable ? SPIN_NS : 0;
    team->n_started = 1;
    const uint64_t signals = ev_signals_block();
    const int status = start_with_stacks(team, cores, n_cores, error);
    if (n_cores > 0 && known) ev_cores_set(&allowed);
    ev_signals_restore(signals);
    if (status != EV_OK) ev_team_stop(team);
    return status;
}

void ev_team_stop(ev_team *team) {
    publish(team, JOB_STOP, team->n_members);
    for (int32_t i = 1; i < team->n_started; i++) pthread_join(team->members[i].thread, NULL);
    release_key();
}

void ev_team_forget(void) { release_key(); }

EV_INLINE_ATOMICS_END
