/* What every runtime's calls begin with: reading the caller's options and looking at the caller's buffers. */
#ifndef EV_CALLS_H
#define EV_CALLS_H

#include "failure.h"
#include "os.h"

enum { MOST_OPTION_BYTES = 4096 }; /* above it struct_size is not a size but garbage */

static inline int succeed(ev_error *error) {
    if (error) {
        error->code = EV_OK;
        error->text[0] = 0;
    }
    return EV_OK;
}

/* A smaller struct is an older caller's: what it lacks is zero. A larger one is a newer caller's: what this library does not know
 * must be zero. */
static inline int read_options(ev_options *into, const ev_options *from, ev_error *error) {
    *into = (ev_options){.struct_size = sizeof *into};
    if (!from) return EV_OK;
    const size_t size = from->struct_size;
    if (size < sizeof size || size > MOST_OPTION_BYTES) {
        return ev_fail(error, EV_INVALID, "ev_options.struct_size is ", ev_decimal_of(size).digits, "; set it to sizeof(ev_options)");
    }
    for (size_t i = sizeof *into; i < size; i++) {
        if (((const unsigned char *)from)[i]) {
            return ev_fail(error, EV_INVALID, "ev_options holds an option that this library does not know, at byte ",
                           ev_decimal_of(i).digits, "; it was compiled with an older edgevision");
        }
    }
    memcpy(into, from, size < sizeof *into ? size : sizeof *into);
    return EV_OK;
}

static inline int check_options(const ev_options *options, ev_error *error) {
    if (options->threads < 0) return ev_fail(error, EV_INVALID, "ev_options.threads is negative; 0 chooses for you");
    if (options->fallback < EV_FALLBACK_NEVER || options->fallback > EV_FALLBACK_ALWAYS) {
        return ev_fail(error, EV_INVALID, "ev_options.fallback is no ev_fallback");
    }
    if (options->n_cores < 0) return ev_fail(error, EV_INVALID, "ev_options.n_cores is negative");
    if ((options->cores != NULL) != (options->n_cores > 0)) {
        return ev_fail(error, EV_INVALID, "ev_options.cores and n_cores must be given together");
    }
    for (int32_t i = 0; i < options->n_cores; i++) {
        if (options->cores[i] < 0 || options->cores[i] >= EV_MAX_CORES) {
            return ev_fail(error, EV_INVALID, "ev_options.cores[", ev_decimal_of((uint64_t)i).digits, "] is no core number");
        }
    }
    return EV_OK;
}

/* For a device's runtime without the CPU's beside it. */
static inline int check_alone(const ev_options *options, const ev_model *model, ev_error *error) {
    if (options->fallback == EV_FALLBACK_NEVER) return EV_OK;
    return ev_fail(error, EV_INVALID, "ev_options.fallback is set, but ", model->name, " has no CPU version; compile it with "
                   "--with-cpu-fallback");
}

/* A session runs once at a time. */
static inline bool claim(_Atomic uint32_t *busy) {
    uint32_t idle = 0;
    return atomic_compare_exchange_strong_explicit(busy, &idle, 1, memory_order_acquire, memory_order_relaxed);
}

static inline void unclaim(_Atomic uint32_t *busy) { atomic_store_explicit(busy, 0, memory_order_release); }

static inline int check_buffers(
    const char *which, const ev_tensor *tensors, int32_t count, const void *const *buffers, ev_error *error
) {
    if (!buffers && count > 0) return ev_fail(error, EV_INVALID, "run: `", which, "s` is null");
    for (int32_t i = 0; i < count; i++) {
        if (!buffers[i] && tensors[i].bytes > 0) {
            return ev_fail(error, EV_INVALID, "run: the buffer of ", which, " ", ev_decimal_of((uint64_t)i).digits, ", ",
                           tensors[i].name, ", is null");
        }
    }
    return EV_OK;
}

#endif
