/* What the interface accepts and refuses. */
#include "checks.h"

#include <dlfcn.h>

/* --- arguments -------------------------------------------------------------------------------------------------------- */

void check_arguments(void) {
    ev_error error;
    ev_session *session = NULL;
    ev_options options = {.struct_size = sizeof options};
    int32_t cores[] = {0, -1};
    REQUIRE_FAILURE(alpha->create(&options, NULL, &error), EV_INVALID, error, "`session` is null");
    options.threads = -1;
    REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_INVALID, error, "threads is negative");
    options = (ev_options){.struct_size = sizeof options, .n_cores = 1};
    REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_INVALID, error, "given together");
    options = (ev_options){.struct_size = sizeof options, .cores = cores};
    REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_INVALID, error, "given together");
    options = (ev_options){.struct_size = sizeof options, .cores = cores, .n_cores = -1};
    REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_INVALID, error, "n_cores is negative");
    options = (ev_options){.struct_size = sizeof options, .cores = cores, .n_cores = 2};
    REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_INVALID, error, "cores[1]");
    cores[1] = 8192;
    REQUIRE_FAILURE(alpha->create(&options, &session, &error), EV_INVALID, error, "cores[1]");
    REQUIRE(session == NULL);
    options = (ev_options){.struct_size = sizeof options, .threads = 1000};
    REQUIRE(alpha->create(&options, &session, NULL) == EV_OK && alpha->threads(session) == EV_MAX_THREADS);
    alpha->destroy(session);
}

void check_buffers(void) {
    ev_error error;
    size_t count;
    float gain = 1;
    unsigned char image[IMAGE] = {0};
    answer result;
    ev_session *session = make(alpha, 2);
    const void *inputs[] = {image, &gain, NULL};
    void *outputs[] = {result.scores, &result.bright, NULL};
    REQUIRE(alpha->run(session, inputs, outputs, &error) == EV_OK);
    REQUIRE_FAILURE(alpha->run(NULL, inputs, outputs, &error), EV_INVALID, error, "`session` is null");
    REQUIRE_FAILURE(alpha->run(session, NULL, outputs, &error), EV_INVALID, error, "`inputs` is null");
    REQUIRE_FAILURE(alpha->run(session, inputs, NULL, &error), EV_INVALID, error, "`outputs` is null");
    inputs[1] = NULL;
    REQUIRE_FAILURE(alpha->run(session, inputs, outputs, &error), EV_INVALID, error, "input 1, gain, is null");
    inputs[1] = &gain, outputs[0] = NULL;
    REQUIRE_FAILURE(alpha->run(session, inputs, outputs, &error), EV_INVALID, error, "output 0, scores, is null");
    REQUIRE_FAILURE(alpha->profile(NULL, NULL, 0, &count, &error), EV_INVALID, error, "`session` is null");
    REQUIRE_FAILURE(alpha->profile(session, NULL, 0, NULL, &error), EV_INVALID, error, "`count` is null");
    REQUIRE_FAILURE(alpha->profile(session, NULL, 1, &count, &error), EV_INVALID, error, "`steps` is null");
    alpha->destroy(session);
    alpha->destroy(NULL);
}

void check_options_versions(void) {
    struct {
        ev_options known;
        unsigned char newer[64];
    } future = {{.struct_size = sizeof future}, {0}};
    struct {
        size_t struct_size;
        int32_t threads;
    } past = {sizeof past, 3}, nothing = {sizeof(size_t), 3};
    ev_session *session;
    ev_error error;
    REQUIRE(alpha->create((const ev_options *)(const void *)&past, &session, &error) == EV_OK && alpha->threads(session) == 3);
    alpha->destroy(session);
    REQUIRE(alpha->create((const ev_options *)(const void *)&nothing, &session, &error) == EV_OK && alpha->threads(session) <= 4);
    alpha->destroy(session);
    REQUIRE(alpha->create(NULL, &session, &error) == EV_OK);
    alpha->destroy(session);
    REQUIRE(alpha->create(&future.known, &session, &error) == EV_OK);
    alpha->destroy(session);
    future.newer[63] = 1;
    REQUIRE_FAILURE(alpha->create(&future.known, &session, &error), EV_INVALID, error, "older edgevision");
    REQUIRE(session == NULL);
    future.known.struct_size = 0;
    REQUIRE_FAILURE(alpha->create(&future.known, &session, &error), EV_INVALID, error, "sizeof(ev_options)");
    future.known.struct_size = (size_t)1 << 30;
    REQUIRE_FAILURE(alpha->create(&future.known, &session, &error), EV_INVALID, error, "sizeof(ev_options)");
}

void check_abi(void) {
    const ev_api *(*get)(uint32_t), *(*prefixed)(uint32_t);
    void *symbols[] = {dlsym(alpha_library, "ev_get_api"), dlsym(alpha_library, "alpha_get_api")};
    REQUIRE(symbols[0] && symbols[1]);
    memcpy(&get, &symbols[0], sizeof get);
    memcpy(&prefixed, &symbols[1], sizeof prefixed);
    REQUIRE(get(EV_ABI) == alpha && prefixed(EV_ABI) == alpha);
    REQUIRE(get(EV_ABI + 1) == NULL && get(0) == NULL && prefixed(EV_ABI + 1) == NULL);
    REQUIRE(alpha->struct_size == sizeof(ev_api));
    const ev_model *model = alpha->describe();
    REQUIRE(model->struct_size == sizeof(ev_model) && model->abi == EV_ABI && !strcmp(model->name, "alpha") && model->n_inputs == 3);
    REQUIRE(!strcmp(beta->describe()->name, "beta"));
}

/* ALPHA is here a library that requires an instruction set which this CPU lacks. */
void check_refused_feature(void) {
    ev_session *session;
    ev_error error;
    REQUIRE_FAILURE(alpha->create(NULL, &session, &error), EV_NO_DEVICE, error, "alpha was compiled for fake \"target\", which has ");
    REQUIRE(session == NULL);
    puts(error.text);
}
