/* The runtimes that a library may hold, and which of them answers its callers. Internal. */
#ifndef EV_RUNTIME_H
#define EV_RUNTIME_H

#include "edgevision.h"

/* Each is the whole C interface over one version of the network; a library has those that it was linked with. */
extern const ev_api ev_cpu_api __attribute__((visibility("hidden")));      /* session.c */
extern const ev_api ev_device_api __attribute__((visibility("hidden")));   /* opencl_session.c or another device's */
extern const ev_api ev_fallback_api __attribute__((visibility("hidden"))); /* fallback.c, over both */

/* Defined by the generated driver: one of the above. */
extern const ev_api *const ev_the_api __attribute__((visibility("hidden")));

/* What ev_get_api returns. A driver built with --symbol-prefix P defines P_get_api and calls this from it, never ev_get_api: with
 * two libraries linked into one program, that name belongs to the first of them. */
__attribute__((visibility("hidden"))) const ev_api *ev_runtime_api(uint32_t abi);

#endif
