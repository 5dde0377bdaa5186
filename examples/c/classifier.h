#ifndef CLASSIFIER_H
#define CLASSIFIER_H

#include <stdbool.h>

#include "edgevision.h"
#include "image.h"

/* Runs a compiled network on a photograph and prints its five best classes. The network takes one image: uint8, its own
 * preprocessing inside (edgevision compile --input-dtype uint8 --mean ... --std ...), or float32, which is then normalised here with
 * ImageNet's mean and standard deviation; NCHW or NHWC. False, with a line on stderr, if it is another network or fails. */
bool classify(const ev_api *api, const image *photograph, const char *const *labels, int n_labels);

/* One label a line; NULL and a line on stderr if the file cannot be read. Kept until the program ends. */
const char **read_labels(const char *path, int *count);

#endif
