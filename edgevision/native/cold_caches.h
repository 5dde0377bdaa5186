/* Leaves the caches as a layer finds them in a network: first the weights of all its layers go by, of which the last-level cache
 * keeps what it holds, and then each thread writes more than its own caches hold.
 */
#ifndef EV_COLD_CACHES_H
#define EV_COLD_CACHES_H

#include "threads.h"

typedef struct {
    const unsigned char *weights; /* the team reads them together */
    size_t weights_bytes;
    unsigned char *written; /* each member has so many bytes of its own */
    size_t written_bytes;
    int32_t n_members;
} ev_cold_caches;

/* Keeps what is read from being left out. */
static volatile unsigned char ev_read;

static void ev_read_lines(const unsigned char *from, size_t bytes) {
    unsigned char sum = 0;
    for (size_t at = 0; at < bytes; at += EV_LINE) sum += from[at];
    ev_read = sum;
}

static int ev_cool_share(int task, ev_parallel_env *env, void *closure) {
    (void)env;
    const ev_cold_caches *const cold = closure;
    const size_t share = cold->weights_bytes / (size_t)cold->n_members;
    ev_read_lines(cold->weights + (size_t)task * share, share);
    unsigned char *const own = cold->written + (size_t)task * cold->written_bytes;
    for (size_t i = 0; i < cold->written_bytes; i += EV_LINE) own[i]++;
    return 0;
}

static void ev_cool(ev_cold_caches *cold) { ev_team_launch(ev_team_current(), ev_cool_share, cold, cold->n_members); }

#endif
