#ifndef IMAGE_H
#define IMAGE_H

#include <stdbool.h>

typedef struct {
    int width, height;
    unsigned char *pixels; /* height x width x 3: red, green, blue */
} image;

/* Reads a PPM file ("P6", 8 bits). False, with a reason in `*why`, if it is none. Free image.pixels. */
bool read_ppm(const char *path, image *result, const char **why);

/* The largest rectangle around the centre of `from` that has the proportions width:height, times `crop` (0..1), scaled to
 * width x height into `to` (height x width x 3). A triangle filter as wide as the reduction: Pillow's resize(BILINEAR, box=...).
 * False if there is no memory. */
bool crop_and_scale(const image *from, int width, int height, float crop, unsigned char *to);

#endif
