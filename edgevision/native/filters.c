/* Winograd's U = G g G^T of 3x3 filters, as FilterTransform (filter_transform.py) lays it out. */
#include "threads.h"

#include "failure.h"
#include "filters.h"

EV_INLINE_ATOMICS_BEGIN

enum { MOST_TAPS = 3, LANES = 16 }; /* channels that are transformed at a time */
typedef double doubles __attribute__((vector_size(LANES * sizeof(double))));
typedef float floats __attribute__((vector_size(LANES * sizeof(float))));

/* The process whose thread is at work on what follows, 0: none. A process that was forked meanwhile has neither that thread nor its
 * work. */
static _Atomic uint32_t holder;
static void *memory;
static unsigned char *filters;
static int64_t users;

static void enter(void) {
    const uint32_t own = (uint32_t)ev_process_id();
    uint32_t found = 0;
    while (!atomic_compare_exchange_strong(&holder, &found, own)) {
        if (found == own) {
            ev_futex_wait(&holder, own);
            found = 0;
        } /* else: taken over from a parent in the next turn, or free again */
    }
}

static void leave(void) {
    atomic_store(&holder, 0);
    ev_futex_wake(&holder, INT32_MAX);
}

static inline void sum_up(doubles *sum, const double *factors, const doubles *terms, int32_t apart, int32_t count) {
    *sum = terms[0] * factors[0];
    for (int32_t i = 1; i < count; i++) *sum += terms[i * apart] * factors[i];
}

/* One input channel and `count` output channels from `filter` on, whose taps lie `apart` elements apart, for `lanes` channels of the
 * result: zeros from `count` on. Points go to `to`, `away` elements apart. */
static void transform(
    const ev_filters *by, const float *filter, int64_t apart, int64_t count, float *to, int64_t away, int64_t lanes
) {
    const int32_t points = by->points, taps = by->taps;
    doubles taken[MOST_TAPS * MOST_TAPS], half[MOST_TAPS], whole;
    for (int32_t i = 0; i < taps * taps; i++) {
        float of_channels[LANES] = {0};
        memcpy(of_channels, filter + i * apart, (size_t)count * sizeof(float));
        for (int32_t c = 0; c < LANES; c++) taken[i][c] = (double)of_channels[c];
    }
    for (int32_t a = 0; a < points; a++) {
        for (int32_t j = 0; j < taps; j++) sum_up(&half[j], by->matrix + a * taps, taken + j, taps, taps);
        for (int32_t b = 0; b < points; b++) {
            sum_up(&whole, by->matrix + b * taps, half, 1, taps);
            const floats result = __builtin_convertvector(whole, floats);
            memcpy(to + (a * points + b) * away, &result, (size_t)lanes * sizeof(float));
        }
    }
}

static void make(const ev_plan *plan, const ev_filters *by) {
    const float *from = (const float *)(const void *)(plan->weights + by->from);
    float *to = (float *)(void *)(filters + by->to);
    const int64_t all = by->groups * by->channels, apart = by->ci * all;
    for (int64_t group = 0; group < by->groups; group++) {
        for (int64_t block = 0; block < by->filled; block += by->block) {
            const int64_t width = by->filled - block < by->block ? by->filled - block : by->block, away = by->inputs * width;
            for (int64_t k = 0; k < by->inputs; k++) {
                for (int64_t c = 0; c < width; c += LANES) {
                    const int64_t left = k < by->ci ? by->channels - block - c : 0, lanes = width - c < LANES ? width - c : LANES;
                    const int64_t count = left < 0 ? 0 : left < lanes ? left : lanes;
                    const int64_t first = count ? k * all + group * by->channels + block + c : 0;
                    transform(by, from + first, apart, count, to + k * width + c, away, lanes);
                }
            }
            to += (int64_t)by->points * by->points * away;
        }
    }
}

int ev_filters_open(const ev_plan *plan, unsigned char **made, ev_error *error) {
    *made = NULL;
    if (!plan->n_transforms) return EV_OK;
    enter();
    if (!users) {
        const uint64_t bytes = plan->transformed_bytes + EV_LINE;
        memory = bytes > SIZE_MAX ? NULL : malloc((size_t)bytes);
        if (!memory) {
            leave();
            return ev_fail(error, EV_NO_MEMORY, "no memory for the transformed weights of ", plan->model->name, ": ",
                           ev_decimal_of(plan->transformed_bytes).digits, " bytes");
        }
        filters = (unsigned char *)memory + (EV_LINE - (uintptr_t)memory % EV_LINE);
        ev_advise_huge_pages(filters, (size_t)plan->transformed_bytes);
        for (int32_t i = 0; i < plan->n_transforms; i++) make(plan, &plan->transforms[i]);
    }
    users++;
    *made = filters;
    leave();
    return EV_OK;
}

void ev_filters_close(const ev_plan *plan) {
    if (!plan->n_transforms) return;
    enter();
    if (!--users) free(memory);
    leave();
}

EV_INLINE_ATOMICS_END
