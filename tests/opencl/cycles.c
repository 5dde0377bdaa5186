/* cycles ARTIFACT COUNT [profile]: $EV_CACHE names the folder of compiled kernels, if any. Opens the artifact, then makes, runs and destroys COUNT sessions; prints what create said. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgevision.h"

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
    for (int i = 0; i < model->n_inputs; i++) inputs[i] = calloc(1, model->inputs[i].bytes);
    for (int i = 0; i < model->n_outputs; i++) outputs[i] = calloc(1, model->outputs[i].bytes);
    for (int cycle = 0; cycle < atoi(words[2]); cycle++) {
        ev_error error = {0};
        ev_session *session = NULL;
        const ev_options options = {.struct_size = sizeof options, .cache_directory = getenv("EV_CACHE")};
        int status = api->create(&options, &session, &error);
        if (status != EV_OK) return failed("create", status, &error);
        ev_step steps[1024];
        size_t timed = 0;
        if (count > 3) status = api->profile(session, steps, 1024, &timed, &error);
        if (status == EV_OK) status = api->run(session, (const void *const *)inputs, outputs, &error);
        if (status == EV_OK && count > 3) status = api->profile(session, steps, 1024, &timed, &error);
        if (status == EV_OK && count > 3 && cycle == 0) printf("%zu steps, the first %lu ns\n", timed, (unsigned long)steps[0].nanoseconds);
        api->destroy(session);
        if (status != EV_OK) return failed("run", status, &error);
    }
    printf("done\n");
    return 0;
}
