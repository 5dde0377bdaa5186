/* A team: the caller's thread and its workers, which share out the tasks of one parallel loop at a time. Internal. */
#ifndef EV_THREADS_H
#define EV_THREADS_H

#include "os.h"

#include "plan.h"

#define EV_LINE 64      /* bytes in a cache line, and the alignment of everything in a session */
#define EV_MAX_NESTED 32 /* workspaces that one thread may hold at a time */

typedef struct ev_team ev_team;

typedef struct {
    _Alignas(EV_LINE) _Atomic uint64_t taken; /* the last job whose share of this number somebody took */
    ev_team *team;
    int32_t index;   /* 0 is the thread that called run */
    bool in_task;    /* a parallel loop inside a task runs on this thread alone */
    pthread_t thread;
    unsigned char *workspace; /* a stack of team->workspace_bytes */
    size_t starts[EV_MAX_NESTED + 1]; /* where each live workspace begins; starts[n_live] is the top */
    int32_t n_live;
} ev_member;

struct ev_team {
    /* Written by the caller between jobs, read by whoever has taken a share of the current job. */
    ev_parallel_body body;
    void *closure;
    ev_parallel_env env;
    uint64_t job_count;
    uint64_t callers_float_mode;

    int32_t n_members;
    int32_t n_started; /* members[1..n_started-1] have a thread */
    uint64_t spin_ns;  /* how long a thread looks for work before it sleeps */
    size_t workspace_bytes;
    ev_member *members;

    _Alignas(EV_LINE) _Atomic uint64_t job; /* job_count << 8 | shares, or JOB_STOP */
    _Alignas(EV_LINE) _Atomic uint32_t unfinished; /* shares; the top bit is set while the caller sleeps */
    _Alignas(EV_LINE) _Atomic uint32_t alarm;      /* changes when sleepers must look again */
    _Atomic uint32_t sleepers;

    _Atomic uint32_t claimed;
    _Atomic uint32_t failed;   /* a task of the current job returned an error */
    _Atomic uint32_t recorded; /* `failure` belongs to somebody */
    char failure[192];
};

/* How many threads `ev_options` asks for, the caller's among them. */
int32_t ev_team_size(const ev_plan *plan, int32_t threads, int32_t n_cores);

/* Starts n_members - 1 workers. `team` and `members` are the caller's memory, zeroed up to here apart from n_members, members,
 * workspace_bytes and each member's workspace. Pins worker i to cores[i % n_cores] when there are any. */
int ev_team_start(ev_team *team, const int32_t *cores, int32_t n_cores, ev_error *error);
void ev_team_stop(ev_team *team);
/* Gives up a team whose threads stayed in the parent process. */
void ev_team_forget(void);

/* Claims the team for the calling thread; false if somebody has it. */
bool ev_team_claim(ev_team *team);
void ev_team_unclaim(ev_team *team);

/* Makes the calling thread, which has claimed the team, its member 0 until ev_team_leave; forgets an earlier failure. */
void ev_team_enter(ev_team *team);
void ev_team_leave(ev_team *team);

/* The member that the calling thread is, or NULL. */
ev_member *ev_team_current(void);
/* Calls body(i, env, closure) once for each i of 0..n_tasks-1 (n_tasks 0: as many as there are threads); 0, or -1 if any failed. */
int ev_team_launch(ev_member *self, ev_parallel_body body, void *closure, int32_t n_tasks);

/* Keeps what a kernel says about its failure: the first since ev_team_enter, as the others follow from it. */
void ev_team_record_failure(ev_team *team, const char *const *parts, int32_t count);
/* Between launches: what was recorded, or NULL. */
const char *ev_team_failure(ev_team *team);

#endif
