/* What TVM's generated code calls: three function pointers, which its objects define weakly and this file defines for good, and the
 * functions by which a kernel says why it failed. The names and signatures are TVM's (tvm/runtime/c_backend_api.h, tvm/ffi/c_api.h).
 */
#include "threads.h"

#include "failure.h"

#define HIDDEN __attribute__((visibility("hidden")))

HIDDEN void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count) {
    enum { MOST_PARTS = 30 };
    const char *all[MOST_PARTS + 2] = {kind, ": "};
    if (count > MOST_PARTS) count = MOST_PARTS;
    for (int32_t i = 0; i < count; i++) all[i + 2] = parts[i];
    ev_member *self = ev_team_current();
    if (self) ev_team_record_failure(self->team, all, count + 2);
}

HIDDEN void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message) {
    TVMFFIErrorSetRaisedFromCStrParts(kind, &message, 1);
}

/* --- workspaces: a stack a thread, so that a task may take one while its caller holds another --------------------------- */

static void *no_workspace(ev_team *team, uint64_t bytes) {
    const ev_decimal asked = ev_decimal_of(bytes), planned = ev_decimal_of(team->workspace_bytes);
    const char *const parts[] = {"a workspace of ", asked.digits, " bytes does not fit in the ", planned.digits, " that were planned"};
    ev_team_record_failure(team, parts, sizeof parts / sizeof parts[0]);
    return NULL;
}

static void *too_many_workspaces(ev_team *team) {
    const ev_decimal most = ev_decimal_of(EV_MAX_NESTED);
    const char *const parts[] = {"more than ", most.digits, " workspaces at a time"};
    ev_team_record_failure(team, parts, sizeof parts / sizeof parts[0]);
    return NULL;
}

static void *alloc_workspace(int device_type, int device_id, uint64_t bytes, int dtype_code, int dtype_bits) {
    (void)device_type, (void)device_id, (void)dtype_code, (void)dtype_bits;
    ev_member *self = ev_team_current();
    if (!self) return NULL;
    if (self->n_live == EV_MAX_NESTED) return too_many_workspaces(self->team);
    const size_t start = self->starts[self->n_live];
    if (bytes > self->team->workspace_bytes - start) return no_workspace(self->team, bytes);
    const size_t rounded = ((size_t)bytes + EV_LINE - 1) / EV_LINE * EV_LINE;
    const size_t end = start + rounded;
    self->starts[++self->n_live] = end < self->team->workspace_bytes ? end : self->team->workspace_bytes;
    return self->workspace + start;
}

/* TVM frees in the opposite order of its allocations; anything else would hand out memory that is in use. */
static int free_workspace(int device_type, int device_id, void *workspace) {
    (void)device_type, (void)device_id;
    ev_member *self = ev_team_current();
    if (!self) return -1;
    if (self->n_live == 0 || workspace != self->workspace + self->starts[self->n_live - 1]) {
        ev_team_record_failure(self->team, (const char *const[]){"a workspace was freed out of order"}, 1);
        return -1;
    }
    self->n_live--;
    return 0;
}

static int parallel_launch(ev_parallel_body body, void *closure, int n_tasks) {
    ev_member *self = ev_team_current();
    return self ? ev_team_launch(self, body, closure, n_tasks) : -1;
}

HIDDEN void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = alloc_workspace;
HIDDEN int (*__TVMBackendFreeWorkspace)(int, int, void *) = free_workspace;
HIDDEN int (*__TVMBackendParallelLaunch)(ev_parallel_body, void *, int) = parallel_launch;
