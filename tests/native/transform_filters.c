/* transform_filters FILTERS_BYTES TRANSFORMED_BYTES CI INPUTS GROUPS CHANNELS FILLED BLOCK POINTS TAPS: reads the matrix and the filters,
 * writes what native/filters.c makes of them. */
#include <stdio.h>
#include <stdlib.h>

#include "filters.h"

#define FAIL_UNLESS(condition) \
    if (!(condition)) return fprintf(stderr, "not so: %s\n", #condition), 1

int main(int argc, char **argv) {
    long n[10];
    FAIL_UNLESS(argc == 11);
    for (int i = 0; i < 10; i++) n[i] = atol(argv[i + 1]);
    double *matrix = calloc((size_t)(n[8] * n[9]), sizeof(double));
    unsigned char *filters = aligned_alloc(64, ((size_t)n[0] + 63) / 64 * 64), *made;
    FAIL_UNLESS(fread(matrix, sizeof(double), (size_t)(n[8] * n[9]), stdin) == (size_t)(n[8] * n[9]));
    FAIL_UNLESS(fread(filters, 1, (size_t)n[0], stdin) == (size_t)n[0]);
    const ev_model model = {.name = "filters"};
    const ev_filters by = {
        .matrix = matrix, .ci = n[2], .inputs = n[3], .groups = n[4], .channels = n[5], .filled = n[6], .block = n[7],
        .points = (int32_t)n[8], .taps = (int32_t)n[9],
    };
    const ev_plan plan = {.model = &model, .weights = filters, .transforms = &by, .n_transforms = 1, .transformed_bytes = (uint64_t)n[1]};
    ev_error error;
    FAIL_UNLESS(ev_filters_open(&plan, &made, &error) == EV_OK);
    FAIL_UNLESS(fwrite(made, 1, (size_t)n[1], stdout) == (size_t)n[1]);
    ev_filters_close(&plan);
    free(filters);
    free(matrix);
    return 0;
}
