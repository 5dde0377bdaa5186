/* What a session on any device does around its own work: checks, one run at a time, the profile, the interface.
 *
 * Included at the end of the one file that defines `struct ev_session` (with process_id, busy, timing, timed and step_ns), `allocate`,
 * an empty one or null, `make`, which readies it for runs, `release` of all that it holds by then, `run_claimed`, which runs a session
 * that nobody else runs, and `start_timing`, from which on runs are timed. */

#ifndef EV_DEVICE_SESSION_H
#define EV_DEVICE_SESSION_H

#include "calls.h"
#include "launch_plan.h"

static int create(const ev_options *asked, ev_session **result, ev_error *error) {
    ev_options options;
    if (!result) return ev_fail(error, EV_INVALID, "create: `session` is null");
    *result = NULL;
    int status = read_options(&options, asked, error);
    if (status == EV_OK) status = check_options(&options, error);
    if (status == EV_OK) status = check_alone(&options, ev_the_launch_plan.model, error);
    if (status != EV_OK) return status;
    ev_session *session = allocate();
    if (!session) return ev_fail(error, EV_NO_MEMORY, "no memory for a session of ", ev_the_launch_plan.model->name);
    status = make(session, &options, error);
    if (status != EV_OK) {
        release(session);
        free(session);
        return status;
    }
    *result = session;
    return succeed(error);
}

static void destroy(ev_session *session) {
    if (!session) return;
    if (session->process_id == ev_process_id()) release(session); /* a driver's state and threads stay in the parent of a fork */
    free(session);
}

static int run(ev_session *session, const void *const *inputs, void *const *outputs, ev_error *error) {
    const ev_model *model = ev_the_launch_plan.model;
    if (!session) return ev_fail(error, EV_INVALID, "run: `session` is null");
    int status = check_buffers("input", model->inputs, model->n_inputs, inputs, error);
    if (status == EV_OK) status = check_buffers("output", model->outputs, model->n_outputs, (const void *const *)outputs, error);
    if (status != EV_OK) return status;
    if (session->process_id != ev_process_id()) {
        return ev_fail(error, EV_INVALID, "run: the session was created before a fork and its device stayed with the parent; "
                       "create one in this process");
    }
    if (!claim(&session->busy)) return ev_fail(error, EV_BUSY, "run: this session is already running; create one for each thread");
    status = run_claimed(session, inputs, outputs, error);
    unclaim(&session->busy);
    return status == EV_OK ? succeed(error) : status;
}

static int profile(ev_session *session, ev_step *steps, size_t capacity, size_t *count, ev_error *error) {
    const ev_launch_plan *plan = &ev_the_launch_plan;
    if (!session || !count) return ev_fail(error, EV_INVALID, "profile: `", session ? "count" : "session", "` is null");
    if (!steps && capacity > 0) return ev_fail(error, EV_INVALID, "profile: `steps` is null and `capacity` is not 0");
    if (!claim(&session->busy)) return ev_fail(error, EV_BUSY, "profile: this session is running");
    const int status = session->timing ? EV_OK : start_timing(session, error);
    *count = session->timed ? (size_t)plan->n_steps : 0;
    for (size_t i = 0; i < *count && i < capacity; i++) {
        steps[i] = (ev_step){.name = plan->steps[i].name, .nanoseconds = session->step_ns[i]};
    }
    unclaim(&session->busy);
    return status == EV_OK ? succeed(error) : status;
}

static const ev_model *describe(void) { return ev_the_launch_plan.model; }

static int32_t threads(const ev_session *session) { return session ? 1 : 0; }

static int32_t processor(const ev_session *session, ev_error *why) {
    (void)session;
    succeed(why);
    return EV_GPU;
}

const ev_api ev_device_api = {
    .struct_size = sizeof(ev_api), .describe = describe, .create = create, .run = run, .profile = profile, .destroy = destroy,
    .threads = threads, .processor = processor,
};

#endif
