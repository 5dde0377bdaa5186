/* cycles ARTIFACT COUNT [profile]: opens the artifact, then makes, runs and destroys COUNT sessions; prints what failed, or what ran.
 * $EV_SETTLE is a number of sessions before those COUNT, which may grow the process; by how much the others did is printed.
 * $EV_CACHE names the folder of compiled kernels, $EV_FALLBACK is an ev_fallback, $EV_CORE a core for the CPU version's second thread,
 * $EV_OUTPUT receives the last run's outputs. */
#include <dlfcn.h>
#include <stdlib.h>

#include "edgevision.h"
#include "growth.h"

/* Inputs are float32: 0, 0.25, .. 3, and again. */
static void *filled(size_t bytes) {
    float *values = malloc(bytes);
    for (size_t i = 0; i < bytes / sizeof *values; i++) values[i] = (float)(i % 13) * 0.25f;
    return values;
}

static void keep(const ev_model *model, void *const *outputs) {
    FILE *file = getenv("EV_OUTPUT") ? fopen(getenv("EV_OUTPUT"), "wb") : NULL;
    for (int i = 0; file && i < model->n_outputs; i++) fwrite(outputs[i], 1, model->outputs[i].bytes, file);
    if (file) fclose(file);
}

static int failed(const char *what, int status, const ev_error *error) {
    printf("%s: %d: %s\n", what, status, error->text);
    return 0;
}

int main(int count, char **words) {
    void *library = dlopen(words[1], RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    const ev_api *(*get)(uint32_t) = (const ev_api *(*)(uint32_t))dlsym(library, "ev_get_api");
    const ev_api *api = get(EV_ABI);
    const ev_model *model = api->describe();
    void *inputs[8], *outputs[8];
    for (int i = 0; i < model->n_inputs; i++) inputs[i] = filled(model->inputs[i].bytes);
    for (int i = 0; i < model->n_outputs; i++) outputs[i] = calloc(1, model->outputs[i].bytes);
    const int settle = getenv("EV_SETTLE") ? atoi(getenv("EV_SETTLE")) : 0;
    taken before = {0};
    for (int cycle = 0; cycle < settle + atoi(words[2]); cycle++) {
        if (settle && cycle == settle) before = settled();
        ev_error error = {0};
        ev_session *session = NULL;
        const int32_t cores[] = {0, getenv("EV_CORE") ? atoi(getenv("EV_CORE")) : 0};
        const ev_options options = {
            .struct_size = sizeof options, .cache_directory = getenv("EV_CACHE"), .fallback = getenv("EV_FALLBACK") ? atoi(getenv("EV_FALLBACK")) : 0,
            .threads = getenv("EV_CORE") ? 2 : 0, .cores = getenv("EV_CORE") ? cores : NULL, .n_cores = getenv("EV_CORE") ? 2 : 0,
        };
        int status = api->create(&options, &session, &error);
        if (status != EV_OK) return failed("create", status, &error);
        ev_step steps[1024];
        size_t timed = 0;
        if (count > 3) status = api->profile(session, steps, 1024, &timed, &error);
        if (status == EV_OK) status = api->run(session, (const void *const *)inputs, outputs, &error);
        if (status == EV_OK && count > 3) status = api->profile(session, steps, 1024, &timed, &error);
        if (status == EV_OK && count > 3 && cycle == 0) printf("%zu steps, the first %lu ns\n", timed, (unsigned long)steps[0].nanoseconds);
        ev_error why;
        if (options.fallback && api->processor(session, &why) == EV_CPU && cycle == 0) printf("cpu: %d: %s\n", why.code, why.text);
        api->destroy(session);
        if (status != EV_OK) return failed("run", status, &error);
    }
    if (settle) print_growth(before);
    keep(model, outputs);
    printf("done\n");
    return 0;
}
