/* How far one tensor is from another: `difference` of tune/trial.py, where the tensors are. */
#ifndef EV_DIFFERENCE_H
#define EV_DIFFERENCE_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { EV_CODE_FLOAT = 2 }; /* DLPack's */

static inline double ev_element(const unsigned char *at, size_t i, bool wide) {
    double value;
    float narrow;
    if (wide) return memcpy(&value, at + 8 * i, sizeof value), value;
    return memcpy(&narrow, at + 4 * i, sizeof narrow), narrow;
}

static inline bool ev_differs_by_a_figure(uint8_t code, uint8_t bits) { return code != EV_CODE_FLOAT || bits == 32 || bits == 64; }

/* max|a - b| / max|b| where both are finite; infinite where NaN or an infinity stands in other places, where b is zero everywhere and
 * a is not, and where integers differ. */
static inline double ev_difference(uint8_t code, uint8_t bits, size_t bytes, const unsigned char *a, const unsigned char *b) {
    if (code != EV_CODE_FLOAT) return memcmp(a, b, bytes) ? INFINITY : 0;
    double largest = 0, scale = 0;
    for (size_t i = 0; i < bytes / (bits / 8); i++) {
        const double x = ev_element(a, i, bits == 64), y = ev_element(b, i, bits == 64);
        if (!isfinite(y)) {
            if (isnan(y) ? !isnan(x) : x != y) return INFINITY;
            continue;
        }
        if (!isfinite(x)) return INFINITY;
        largest = fmax(largest, fabs(x - y)), scale = fmax(scale, fabs(y));
    }
    return scale > 0 ? largest / scale : largest > 0 ? INFINITY : 0;
}

#endif
