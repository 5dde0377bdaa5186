/* stress THREADS RUNS SESSION_THREADS LIBRARY...: every thread runs its own session of every library RUNS times, all at once, and
 * compares each result, bit by bit, with that of one thread alone. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgevision.h"

enum { MOST_LIBRARIES = 4, IMAGES = 4 };

static const ev_api *apis[MOST_LIBRARIES];
static float *images[MOST_LIBRARIES][IMAGES];
static void *expected[MOST_LIBRARIES][IMAGES];
static int n_libraries, n_runs, session_threads;

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static ev_session *open_session(const ev_api *api, int threads) {
    ev_options options = {sizeof options, threads, NULL, 0};
    ev_error error = {0};
    ev_session *session = NULL;
    if (api->create(&options, &session, &error)) fail(error.text);
    return session;
}

static void run(const ev_api *api, ev_session *session, const void *image, void *result) {
    ev_error error = {0};
    if (api->run(session, (const void *const[]){image}, (void *const[]){result}, &error)) fail(error.text);
}

static void prepare(int k, const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail(dlerror());
    const ev_api *(*get)(uint32_t) = (const ev_api *(*)(uint32_t))dlsym(library, "ev_get_api");
    apis[k] = get(EV_ABI);
    const ev_model *model = apis[k]->describe();
    ev_session *alone = open_session(apis[k], 1);
    for (int i = 0; i < IMAGES; i++) {
        const size_t count = model->inputs[0].bytes / sizeof(float);
        images[k][i] = malloc(model->inputs[0].bytes);
        expected[k][i] = malloc(model->outputs[0].bytes);
        for (size_t e = 0; e < count; e++) images[k][i][e] = (float)((e * 2654435761u + i * 40503u) % 2001) / 1000.0f - 1.0f;
        run(apis[k], alone, images[k][i], expected[k][i]);
    }
    apis[k]->destroy(alone);
}

static void *worker(void *argument) {
    const int self = *(int *)argument;
    ev_session *sessions[MOST_LIBRARIES];
    size_t differ = 0;
    for (int k = 0; k < n_libraries; k++) sessions[k] = open_session(apis[k], session_threads);
    void *result = malloc(1 << 20);
    for (int r = 0; r < n_runs; r++)
        for (int k = 0; k < n_libraries; k++) {
            const int i = (self + r) % IMAGES;
            run(apis[k], sessions[k], images[k][i], result);
            differ += memcmp(result, expected[k][i], apis[k]->describe()->outputs[0].bytes) != 0;
        }
    for (int k = 0; k < n_libraries; k++) apis[k]->destroy(sessions[k]);
    free(result);
    return (void *)differ;
}

int main(int count, char **arguments) {
    const int n_threads = atoi(arguments[1]);
    n_runs = atoi(arguments[2]);
    session_threads = atoi(arguments[3]);
    n_libraries = count - 4;
    if (n_libraries > MOST_LIBRARIES) fail("too many libraries");
    for (int k = 0; k < n_libraries; k++) prepare(k, arguments[4 + k]);
    pthread_t *threads = calloc(n_threads, sizeof *threads);
    int *numbers = calloc(n_threads, sizeof *numbers);
    for (int t = 0; t < n_threads; t++) {
        numbers[t] = t;
        if (pthread_create(&threads[t], NULL, worker, &numbers[t])) fail("cannot start a thread");
    }
    size_t differ = 0;
    for (int t = 0; t < n_threads; t++) {
        void *result;
        pthread_join(threads[t], &result);
        differ += (size_t)result;
    }
    printf("%d runs, %zu differ\n", n_threads * n_runs * n_libraries, differ);
    return differ != 0;
}
