#include "classifier.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BEST = 5 };
static const float CROP = 0.875f; /* 224 of 256: how the ImageNet networks of torchvision and timm are evaluated */
static const float MEAN[] = {0.485f, 0.456f, 0.406f}, STD[] = {0.229f, 0.224f, 0.225f};

static bool complain(const char *model, const char *what) {
    fprintf(stderr, "%s: %s\n", model, what);
    return false;
}

/* --- the photograph, as the network wants it -------------------------------------------------------------------------- */

static bool takes_an_image(const ev_tensor *input, bool *nchw) {
    *nchw = !strcmp(input->layout, "NCHW");
    const bool known = *nchw || !strcmp(input->layout, "NHWC");
    const bool right_type = input->dtype == EV_UINT8 || input->dtype == EV_FLOAT32;
    return known && right_type && input->rank == 4 && input->shape[0] == 1 && input->shape[*nchw ? 1 : 3] == 3;
}

/* rgb: height x width x 3. */
static void write_input(const ev_tensor *input, bool nchw, const unsigned char *rgb, int pixels, void *to) {
    for (int i = 0; i < pixels; i++) {
        for (int c = 0; c < 3; c++) {
            const int at = nchw ? c * pixels + i : i * 3 + c;
            const unsigned char value = rgb[i * 3 + c];
            if (input->dtype == EV_UINT8) ((unsigned char *)to)[at] = value;
            else ((float *)to)[at] = ((float)value / 255 - MEAN[c]) / STD[c];
        }
    }
}

static bool prepare(const char *name, const ev_tensor *input, const image *photograph, void *to) {
    bool nchw;
    if (!takes_an_image(input, &nchw)) return complain(name, "its input is no RGB image (uint8 or float32, batch 1, NCHW or NHWC)");
    const int height = (int)input->shape[nchw ? 2 : 1], width = (int)input->shape[nchw ? 3 : 2];
    unsigned char *rgb = malloc((size_t)height * (size_t)width * 3);
    const bool scaled = rgb && crop_and_scale(photograph, width, height, CROP, rgb);
    if (scaled) write_input(input, nchw, rgb, height * width, to);
    free(rgb);
    return scaled || complain(name, "no memory for the image");
}

/* --- its answer ------------------------------------------------------------------------------------------------------- */

static void print_best(const char *name, const float *scores, int n_classes, const char *const *labels, int n_labels) {
    printf("%s\n", name);
    float limit = INFINITY;
    int last = -1;
    for (int rank = 1; rank <= BEST && rank <= n_classes; rank++) {
        int best = -1;
        for (int i = 0; i < n_classes; i++) {
            const bool left = scores[i] < limit || (scores[i] == limit && i > last);
            if (left && (best < 0 || scores[i] > scores[best])) best = i;
        }
        if (best < 0) return; /* only NaN is left */
        printf("  %d. class %d  %.4f  %s\n", rank, best, (double)scores[best], best < n_labels ? labels[best] : "");
        limit = scores[best], last = best;
    }
}

static bool run_once(const ev_api *api, const void *input, void *const *outputs) {
    const ev_options options = {.struct_size = sizeof options};
    ev_error error = {0};
    ev_session *session;
    if (api->create(&options, &session, &error)) return complain(api->describe()->name, error.text);
    const int status = api->run(session, &input, outputs, &error);
    api->destroy(session);
    return status == EV_OK || complain(api->describe()->name, error.text);
}

bool classify(const ev_api *api, const image *photograph, const char *const *labels, int n_labels) {
    const ev_model *model = api->describe();
    if (model->n_inputs != 1) return complain(model->name, "it has more than one input");
    if (model->n_outputs < 1 || model->outputs[0].dtype != EV_FLOAT32) return complain(model->name, "its first output is no list of scores");
    void *input = malloc(model->inputs[0].bytes);
    void **outputs = calloc((size_t)model->n_outputs, sizeof *outputs);
    bool done = input && outputs;
    for (int i = 0; done && i < model->n_outputs; i++) done = (outputs[i] = malloc(model->outputs[i].bytes + 1)) != NULL;
    if (!done) complain(model->name, "no memory for its inputs and outputs");
    done = done && prepare(model->name, &model->inputs[0], photograph, input) && run_once(api, input, outputs);
    if (done) print_best(model->name, outputs[0], (int)(model->outputs[0].bytes / sizeof(float)), labels, n_labels);
    for (int i = 0; outputs && i < model->n_outputs; i++) free(outputs[i]);
    free(outputs);
    free(input);
    return done;
}

const char **read_labels(const char *path, int *count) {
    enum { MOST = 32768, LONGEST = 256 };
    char line[LONGEST];
    FILE *file = fopen(path, "r");
    const char **labels = malloc(MOST * sizeof *labels);
    *count = 0;
    while (file && labels && *count < MOST && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        labels[(*count)++] = strdup(line);
    }
    if (file) fclose(file);
    if (file && labels) return labels;
    free(labels);
    fprintf(stderr, "%s: cannot be read\n", path);
    return NULL;
}
