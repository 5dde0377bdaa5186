/* Compiled kernels in a folder that the caller names, so that the driver's compiler runs once a device and driver. */
#ifndef EV_OPENCL_CACHE_H
#define EV_OPENCL_CACHE_H

#include "opencl.h"

/* What a file must have been made from to be used: a hash of the device, its driver and the kernels. */
typedef struct {
    uint64_t words[2];
} ev_cache_key;

/* Adds `bytes` of what the compiled kernels depend on. A key begins as EV_CACHE_KEY_START. */
__attribute__((visibility("hidden"))) void ev_cache_add(ev_cache_key *key, const void *content, size_t bytes);
#define EV_CACHE_KEY_START {{14695981039346656037u, 1099511628211u}}

/* What `folder` holds under `key`, in memory that the caller frees; NULL for nothing, and for a file that is short, changed, or made
 * from something else. */
__attribute__((visibility("hidden"))) unsigned char *ev_cache_read(const char *folder, const ev_cache_key *key, size_t *bytes);

/* Puts the file in place whole or not at all. A folder that cannot be written to costs the next start its time, nothing else. */
__attribute__((visibility("hidden"))) void ev_cache_write(
    const char *folder, const ev_cache_key *key, const unsigned char *content, size_t bytes
);

#endif
