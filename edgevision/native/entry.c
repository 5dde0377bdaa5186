/* The one function that every library exports. */
#include "runtime.h"

const ev_api *ev_runtime_api(uint32_t abi) { return abi == EV_ABI ? ev_the_api : NULL; }

__attribute__((visibility("default"))) const ev_api *ev_get_api(uint32_t abi) { return ev_runtime_api(abi); }
