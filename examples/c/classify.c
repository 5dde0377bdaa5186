/* classify [--labels FILE] PHOTOGRAPH.ppm MODEL.so...: opens each compiled network and prints what it sees. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classifier.h"

static const ev_api *open_network(const char *path) {
    /* A name without a slash would be looked for among the system's libraries. */
    char here[4096];
    snprintf(here, sizeof here, "%s%s", strchr(path, '/') ? "" : "./", path);
    void *library = dlopen(here, RTLD_NOW | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, "ev_get_api") : NULL;
    if (!symbol) {
        fprintf(stderr, "%s: %s\n", path, library ? "not a compiled network: it has no ev_get_api" : dlerror());
        return NULL;
    }
    const ev_api *(*get_api)(uint32_t);
    memcpy(&get_api, &symbol, sizeof get_api);
    const ev_api *api = get_api(EV_ABI);
    if (!api) fprintf(stderr, "%s: it was compiled by an edgevision with another C interface\n", path);
    return api;
}

int main(int argc, char **argv) {
    int at = 1, n_labels = 0, failed = 0;
    const char **labels = NULL, *why;
    image photograph;
    if (argc > 3 && !strcmp(argv[1], "--labels")) {
        labels = read_labels(argv[2], &n_labels);
        if (!labels) return 2;
        at = 3;
    }
    if (argc - at < 2) {
        fprintf(stderr, "usage: %s [--labels FILE] PHOTOGRAPH.ppm MODEL.so...\n", argv[0]);
        return 2;
    }
    const char *path = argv[at++];
    if (!read_ppm(path, &photograph, &why)) {
        fprintf(stderr, "%s: %s\n", path, why);
        return 2;
    }
    for (; at < argc; at++) {
        const ev_api *api = open_network(argv[at]);
        if (!api || !classify(api, &photograph, labels, n_labels)) failed = 1;
    }
    free(photograph.pixels);
    return failed;
}
