#include "image.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* --- PPM: "P6", width, height, 255, one white space, then the bytes; comments from # to the end of a line --------------- */

static int read_number(FILE *file) {
    int number = 0, digits = 0, c = fgetc(file);
    while (isspace(c) || c == '#') {
        if (c == '#') {
            while (c != '\n' && c != EOF) c = fgetc(file);
        } else {
            c = fgetc(file);
        }
    }
    for (; isdigit(c) && digits < 6; c = fgetc(file), digits++) number = 10 * number + (c - '0');
    return digits > 0 && isspace(c) ? number : -1;
}

static const char *read_open_ppm(FILE *file, image *result) {
    if (fgetc(file) != 'P' || fgetc(file) != '6') return "not a PPM file (P6)";
    const int width = read_number(file), height = read_number(file), most = read_number(file);
    if (width < 1 || height < 1 || width > 16384 || height > 16384) return "its size is missing or beyond 16384 x 16384";
    if (most != 255) return "only 8 bits a colour are supported";
    const size_t bytes = (size_t)width * (size_t)height * 3;
    result->pixels = malloc(bytes);
    if (!result->pixels) return "no memory for its pixels";
    result->width = width;
    result->height = height;
    if (fread(result->pixels, 1, bytes, file) == bytes) return NULL;
    free(result->pixels);
    return "it is truncated";
}

bool read_ppm(const char *path, image *result, const char **why) {
    FILE *file = fopen(path, "rb");
    *why = file ? read_open_ppm(file, result) : "it cannot be opened";
    if (file) fclose(file);
    return !*why;
}

/* --- scaling ---------------------------------------------------------------------------------------------------------- */

/* Output i is the sum of weights[k] * input[first + k], k < count. */
typedef struct {
    int first, count;
    float *weights;
} taps;

/* Scales begin..begin+extent of an axis with `size` values to `outputs` values. One block of memory: free(result). */
static taps *make_taps(int size, double begin, double extent, int outputs) {
    const double scale = extent / outputs, reach = scale > 1 ? scale : 1;
    const int most = (int)ceil(reach) * 2 + 1;
    taps *all = malloc((size_t)outputs * (sizeof(taps) + (size_t)most * sizeof(float)));
    if (!all) return NULL;
    float *weights = (float *)(all + outputs);
    for (int i = 0; i < outputs; i++, weights += most) {
        const double centre = begin + (i + 0.5) * scale;
        const int first = (int)fmax(0, floor(centre - reach + 0.5)), end = (int)fmin(size, floor(centre + reach + 0.5));
        double sum = 0;
        for (int k = first; k < end; k++) sum += weights[k - first] = (float)fmax(0, 1 - fabs(k + 0.5 - centre) / reach);
        for (int k = first; k < end; k++) weights[k - first] /= (float)sum;
        all[i] = (taps){first, end - first, weights};
    }
    return all;
}

static void scale_with(const image *from, const taps *across, const taps *down, int width, int height, float *row, unsigned char *to) {
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < from->width * 3; x++) {
            row[x] = 0;
            for (int k = 0; k < down[y].count; k++) {
                row[x] += down[y].weights[k] * from->pixels[(size_t)(down[y].first + k) * (size_t)from->width * 3 + (size_t)x];
            }
        }
        for (int x = 0; x < width * 3; x++) {
            const taps *at = &across[x / 3];
            float sum = 0.5f;
            for (int k = 0; k < at->count; k++) sum += at->weights[k] * row[(at->first + k) * 3 + x % 3];
            to[(size_t)y * (size_t)width * 3 + (size_t)x] = (unsigned char)fminf(255, sum);
        }
    }
}

bool crop_and_scale(const image *from, int width, int height, float crop, unsigned char *to) {
    const double by_width = (double)from->width / width, by_height = (double)from->height / height;
    const double scale = (by_width < by_height ? by_width : by_height) * crop;
    taps *across = make_taps(from->width, (from->width - scale * width) / 2, scale * width, width);
    taps *down = make_taps(from->height, (from->height - scale * height) / 2, scale * height, height);
    float *row = malloc((size_t)from->width * 3 * sizeof *row);
    const bool ready = across && down && row;
    if (ready) scale_with(from, across, down, width, height, row, to);
    free(across);
    free(down);
    free(row);
    return ready;
}
