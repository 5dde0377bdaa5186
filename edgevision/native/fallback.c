/* Two versions of one network in a library: the CPU's takes over where the device's is refused, and when the device fails.
 *
 * Knows both by the C interface alone. The CPU's session is made together with the device's, so that taking over allocates nothing;
 * its arena is touched, and so becomes resident, when it first runs. */
#include "calls.h"
#include "runtime.h"

struct ev_session {
    ev_session *device; /* opaque here, as is the other; NULL: it is not used */
    ev_session *cpu;    /* NULL: not asked for, or this CPU cannot run it */
    ev_error why;       /* what the device said last */
    _Atomic uint32_t busy;
    bool on_cpu;
};

static int tell(const ev_error *said, ev_error *error) {
    if (error) *error = *said;
    return said->code;
}

/* Whether a failure is the device's; else it is the caller's. */
static bool is_devices(int status) { return status == EV_NO_DEVICE || status == EV_NO_MEMORY || status == EV_KERNEL; }

static int neither(const ev_error *device, const ev_error *cpu, ev_error *error) {
    return ev_fail(error, (ev_status)device->code, device->text, "; nor does the CPU version start: ", cpu->text);
}

/* Sessions of both versions, as far as `fallback` wants them. */
static int create_both(ev_session *session, const ev_options *options, int32_t fallback, ev_error *error) {
    ev_error of_cpu = {0};
    if (fallback != EV_FALLBACK_ALWAYS) {
        const int status = ev_device_api.create(options, &session->device, &session->why);
        if (status != EV_OK && (fallback == EV_FALLBACK_NEVER || !is_devices(status))) return tell(&session->why, error);
    }
    if (fallback != EV_FALLBACK_NEVER && ev_cpu_api.create(options, &session->cpu, &of_cpu) != EV_OK && !session->device) {
        return fallback == EV_FALLBACK_ALWAYS ? tell(&of_cpu, error) : neither(&session->why, &of_cpu, error);
    }
    session->on_cpu = !session->device;
    return EV_OK;
}

static int create(const ev_options *asked, ev_session **result, ev_error *error) {
    ev_options options;
    if (!result) return ev_fail(error, EV_INVALID, "create: `session` is null");
    *result = NULL;
    int status = read_options(&options, asked, error);
    if (status == EV_OK) status = check_options(&options, error);
    if (status != EV_OK) return status;
    const int32_t fallback = options.fallback;
    options.struct_size = sizeof options;
    options.fallback = EV_FALLBACK_NEVER;
    ev_session *session = malloc(sizeof *session);
    if (!session) return ev_fail(error, EV_NO_MEMORY, "no memory for a session of ", ev_device_api.describe()->name);
    *session = (ev_session){0};
    status = create_both(session, &options, fallback, error);
    if (status != EV_OK) {
        free(session);
        return status;
    }
    *result = session;
    return succeed(error);
}

static void destroy(ev_session *session) {
    if (!session) return;
    ev_device_api.destroy(session->device);
    ev_cpu_api.destroy(session->cpu);
    free(session);
}

/* What became of a call to the device: true if it is done, whatever `status` is; false if the CPU must take over, from now on. */
static bool is_done(ev_session *session, int status) {
    session->on_cpu = is_devices(status) && session->cpu;
    return !session->on_cpu;
}

static int run_claimed(ev_session *session, const void *const *inputs, void *const *outputs, ev_error *error) {
    if (!session->on_cpu) {
        const int status = ev_device_api.run(session->device, inputs, outputs, &session->why);
        if (is_done(session, status)) return tell(&session->why, error);
    }
    return ev_cpu_api.run(session->cpu, inputs, outputs, error);
}

static int run(ev_session *session, const void *const *inputs, void *const *outputs, ev_error *error) {
    if (!session) return ev_fail(error, EV_INVALID, "run: `session` is null");
    if (!claim(&session->busy)) return ev_fail(error, EV_BUSY, "run: this session is already running; create one for each thread");
    const int status = run_claimed(session, inputs, outputs, error);
    unclaim(&session->busy);
    return status;
}

/* Times are taken of the CPU version too: it may have to take over. */
static int profile_claimed(ev_session *session, ev_step *steps, size_t capacity, size_t *count, ev_error *error) {
    if (!session->on_cpu) {
        const int status = ev_device_api.profile(session->device, steps, capacity, count, &session->why);
        if (is_done(session, status)) {
            size_t none;
            if (status == EV_OK && session->cpu) ev_cpu_api.profile(session->cpu, NULL, 0, &none, NULL);
            return tell(&session->why, error);
        }
    }
    return ev_cpu_api.profile(session->cpu, steps, capacity, count, error);
}

static int profile(ev_session *session, ev_step *steps, size_t capacity, size_t *count, ev_error *error) {
    if (!session) return ev_fail(error, EV_INVALID, "profile: `session` is null");
    if (!claim(&session->busy)) return ev_fail(error, EV_BUSY, "profile: this session is running");
    const int status = profile_claimed(session, steps, capacity, count, error);
    unclaim(&session->busy);
    return status;
}

static const ev_model *describe(void) { return ev_device_api.describe(); }

static int32_t threads(const ev_session *session) {
    if (!session) return 0;
    return session->on_cpu ? ev_cpu_api.threads(session->cpu) : ev_device_api.threads(session->device);
}

static int32_t processor(const ev_session *session, ev_error *why) {
    succeed(why);
    if (!session || !session->on_cpu) return EV_GPU;
    if (why) *why = session->why;
    return EV_CPU;
}

const ev_api ev_fallback_api = {
    .struct_size = sizeof(ev_api), .describe = describe, .create = create, .run = run, .profile = profile, .destroy = destroy,
    .threads = threads, .processor = processor,
};
