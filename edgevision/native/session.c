/* Sessions: the C interface of edgevision.h over the one network of ev_the_plan. */
#include "threads.h"

#include "calls.h"
#include "cpu.h"
#include "filters.h"

enum { DEVICE_CPU = 1, TYPE_DLTENSOR = 7 }; /* kDLCPU; kTVMFFIDLTensorPtr */

struct ev_session {
    void *memory; /* what malloc returned; everything below lies in it */
    unsigned char *arena, *filters; /* filters.h */
    ev_dl_tensor *tensors; /* one an operand of the plan */
    ev_any *arguments;     /* likewise: points at it */
    uint64_t *step_ns;
    int32_t *cores;
    int32_t n_cores;
    long process_id;
    ev_team team;
    bool timing; /* asked for */
    bool timed;  /* step_ns holds a run */
};

/* --- one block of memory a session ------------------------------------------------------------------------------------ */

/* Places of a session's parts, counted in bytes from an aligned start. 64 bits, also where size_t has 32. */
typedef struct {
    uint64_t session, members, tensors, arguments, step_ns, cores, arena, workspaces, total;
    uint64_t workspace_bytes; /* a thread's, rounded up */
    bool overflow;
} layout;

static uint64_t reserve(layout *parts, uint64_t count, uint64_t bytes_each) {
    const uint64_t start = parts->total;
    uint64_t bytes;
    parts->overflow |= __builtin_mul_overflow(count, bytes_each, &bytes);
    parts->overflow |= __builtin_add_overflow(start, bytes, &parts->total);
    parts->overflow |= __builtin_add_overflow(parts->total, (uint64_t)EV_LINE - 1, &parts->total);
    parts->total -= parts->total % EV_LINE;
    return start;
}

static layout lay_out(const ev_plan *plan, int32_t n_members, int32_t n_cores) {
    layout parts = {0};
    parts.workspace_bytes = ((uint64_t)plan->workspace_bytes + EV_LINE - 1) / EV_LINE * EV_LINE;
    parts.overflow = parts.workspace_bytes < plan->workspace_bytes;
    parts.session = reserve(&parts, 1, sizeof(ev_session));
    parts.members = reserve(&parts, (uint64_t)n_members, sizeof(ev_member));
    parts.tensors = reserve(&parts, (uint64_t)plan->n_operands, sizeof(ev_dl_tensor));
    parts.arguments = reserve(&parts, (uint64_t)plan->n_operands, sizeof(ev_any));
    parts.step_ns = reserve(&parts, (uint64_t)plan->n_steps, sizeof(uint64_t));
    parts.cores = reserve(&parts, (uint64_t)n_cores, sizeof(int32_t));
    parts.arena = reserve(&parts, 1, plan->model->arena_bytes);
    parts.workspaces = reserve(&parts, (uint64_t)n_members, parts.workspace_bytes);
    parts.overflow |= parts.total > SIZE_MAX - EV_LINE;
    return parts;
}

static unsigned char *base_of(const ev_session *session, const ev_plan *plan, int32_t place) {
    switch (place) {
        case EV_IN_WEIGHTS: return (unsigned char *)(uintptr_t)plan->weights;
        case EV_IN_TRANSFORMED: return session->filters;
        default: return session->arena;
    }
}

static void point_operands(ev_session *session, const ev_plan *plan) {
    for (int32_t i = 0; i < plan->n_operands; i++) {
        const ev_operand *operand = &plan->operands[i];
        unsigned char *base = base_of(session, plan, operand->place);
        session->tensors[i] = (ev_dl_tensor){
            .data = base + operand->offset, .device = {DEVICE_CPU, 0},  .ndim = operand->ndim,
            .dtype = operand->dtype,        .shape = operand->shape,    .strides = operand->strides,
        };
        session->arguments[i] = (ev_any){.type_index = TYPE_DLTENSOR, .value.v_ptr = &session->tensors[i]};
    }
}

static void build(ev_session *session, unsigned char *base, const layout *parts, const ev_options *options, int32_t n_members) {
    const ev_plan *plan = &ev_the_plan;
    session->arena = base + parts->arena;
    session->tensors = (ev_dl_tensor *)(void *)(base + parts->tensors);
    session->arguments = (ev_any *)(void *)(base + parts->arguments);
    session->step_ns = (uint64_t *)(void *)(base + parts->step_ns);
    session->cores = (int32_t *)(void *)(base + parts->cores);
    session->n_cores = options->n_cores;
    for (int32_t i = 0; i < options->n_cores; i++) session->cores[i] = options->cores[i];
    session->process_id = ev_process_id();
    session->team.n_members = n_members;
    session->team.workspace_bytes = (size_t)parts->workspace_bytes;
    session->team.members = (ev_member *)(void *)(base + parts->members);
    for (int32_t i = 0; i < n_members; i++) {
        session->team.members[i] = (ev_member){.workspace = base + parts->workspaces + (uint64_t)i * parts->workspace_bytes};
    }
    point_operands(session, plan);
}

static int create(const ev_options *asked, ev_session **result, ev_error *error) {
    const ev_plan *plan = &ev_the_plan;
    ev_options options;
    if (!result) return ev_fail(error, EV_INVALID, "create: `session` is null");
    *result = NULL;
    int status = read_options(&options, asked, error);
    if (status == EV_OK) status = check_options(&options, error);
    if (status != EV_OK) return status;
    const char *missing = ev_missing_feature(plan->required_features);
    if (missing) {
        return ev_fail(error, EV_NO_DEVICE, plan->model->name, " was compiled for ", plan->model->target, ", which has ", missing,
                       "; this CPU does not: compile for a target without it");
    }
    const int32_t n_members = ev_team_size(plan, options.threads, options.n_cores);
    const layout parts = lay_out(plan, n_members, options.n_cores);
    void *memory = parts.overflow ? NULL : malloc((size_t)parts.total + EV_LINE);
    if (!memory) {
        return ev_fail(error, EV_NO_MEMORY, "no memory for a session of ", plan->model->name, ": ",
                       parts.overflow ? "more than the address space" : ev_decimal_of(parts.total).digits, " bytes");
    }
    unsigned char *base = (unsigned char *)memory + (EV_LINE - (uintptr_t)memory % EV_LINE);
    ev_advise_huge_pages(base, (size_t)(parts.arena + plan->model->arena_bytes));
    ev_session *session = (ev_session *)(void *)(base + parts.session);
    *session = (ev_session){.memory = memory};
    status = ev_filters_open(plan, &session->filters, error);
    if (status == EV_OK) {
        build(session, base, &parts, &options, n_members);
        status = ev_team_start(&session->team, session->cores, session->n_cores, error);
        if (status != EV_OK) ev_filters_close(plan);
    }
    if (status != EV_OK) {
        free(memory);
        return status;
    }
    *result = session;
    return succeed(error);
}

static void destroy(ev_session *session) {
    if (!session) return;
    if (session->process_id == ev_process_id()) { /* else: glibc alone lets a child join the threads that stayed behind */
        ev_team_stop(&session->team);
    } else {
        ev_team_forget();
    }
    ev_filters_close(&ev_the_plan);
    free(session->memory);
}

/* --- running ---------------------------------------------------------------------------------------------------------- */

static int kernel_failed(ev_session *session, const ev_plan_step *step, ev_error *error) {
    const char *why = ev_team_failure(&session->team);
    return ev_fail(error, EV_KERNEL, "step ", step->name, " failed: ", why ? why : "it gave no reason");
}

static int run_steps(ev_session *session, ev_error *error) {
    const ev_plan *plan = &ev_the_plan;
    session->timed = false;
    uint64_t before = session->timing ? ev_now_ns() : 0;
    for (int32_t i = 0; i < plan->n_steps; i++) {
        const ev_plan_step *step = &plan->steps[i];
        ev_any result = {0};
        if (step->kernel(NULL, &session->arguments[step->first_operand], step->n_operands, &result) != 0) {
            return kernel_failed(session, step, error);
        }
        if (session->timing) {
            const uint64_t after = ev_now_ns();
            session->step_ns[i] = after - before;
            before = after;
        }
    }
    session->timed = session->timing;
    return EV_OK;
}

static int run_staged(ev_session *session, const void *const *inputs, void *const *outputs, ev_error *error) {
    const ev_plan *plan = &ev_the_plan;
    const ev_model *model = plan->model;
    for (int32_t i = 0; i < model->n_inputs; i++) {
        if (model->inputs[i].bytes) memcpy(session->arena + plan->input_offsets[i], inputs[i], model->inputs[i].bytes);
    }
    ev_team_enter(&session->team);
    const int status = run_steps(session, error);
    ev_team_leave(&session->team);
    for (int32_t i = 0; status == EV_OK && i < model->n_outputs; i++) {
        if (model->outputs[i].bytes) memcpy(outputs[i], session->arena + plan->output_offsets[i], model->outputs[i].bytes);
    }
    return status;
}

static int run_pinned(ev_session *session, const void *const *inputs, void *const *outputs, ev_error *error) {
    ev_core_set before;
    if (session->n_cores == 0) return run_staged(session, inputs, outputs, error);
    if (!ev_cores_get(&before) || !ev_pin_to(session->cores[0])) {
        return ev_fail(error, EV_NO_THREADS, "run: cannot pin the calling thread to core ",
                       ev_decimal_of((uint64_t)session->cores[0]).digits);
    }
    const int status = run_staged(session, inputs, outputs, error);
    ev_cores_set(&before);
    return status;
}

static int run(ev_session *session, const void *const *inputs, void *const *outputs, ev_error *error) {
    const ev_model *model = ev_the_plan.model;
    if (!session) return ev_fail(error, EV_INVALID, "run: `session` is null");
    int status = check_buffers("input", model->inputs, model->n_inputs, inputs, error);
    if (status == EV_OK) status = check_buffers("output", model->outputs, model->n_outputs, (const void *const *)outputs, error);
    if (status != EV_OK) return status;
    if (session->process_id != ev_process_id()) {
        return ev_fail(error, EV_INVALID, "run: the session was created before a fork and its threads stayed in the parent; "
                       "create one in this process");
    }
    if (!ev_team_claim(&session->team)) return ev_fail(error, EV_BUSY, "run: this session is already running; create one for each thread");
    status = run_pinned(session, inputs, outputs, error);
    ev_team_unclaim(&session->team);
    return status == EV_OK ? succeed(error) : status;
}

static int profile(ev_session *session, ev_step *steps, size_t capacity, size_t *count, ev_error *error) {
    const ev_plan *plan = &ev_the_plan;
    if (!session || !count) return ev_fail(error, EV_INVALID, "profile: `", session ? "count" : "session", "` is null");
    if (!steps && capacity > 0) return ev_fail(error, EV_INVALID, "profile: `steps` is null and `capacity` is not 0");
    if (!ev_team_claim(&session->team)) return ev_fail(error, EV_BUSY, "profile: this session is running");
    session->timing = true;
    *count = session->timed ? (size_t)plan->n_steps : 0;
    for (size_t i = 0; i < *count && i < capacity; i++) {
        steps[i] = (ev_step){.name = plan->steps[i].name, .nanoseconds = session->step_ns[i]};
    }
    ev_team_unclaim(&session->team);
    return succeed(error);
}

/* --- the interface ---------------------------------------------------------------------------------------------------- */

static const ev_model *describe(void) { return ev_the_plan.model; }

static int32_t threads(const ev_session *session) { return session ? session->team.n_members : 0; }

static int32_t processor(const ev_session *session, ev_error *why) {
    (void)session;
    succeed(why);
    return EV_CPU;
}

const ev_api ev_cpu_api = {
    .struct_size = sizeof(ev_api), .describe = describe, .create = create, .run = run, .profile = profile, .destroy = destroy,
    .threads = threads, .processor = processor,
};
