/* Error texts, without a formatter of the C library: parts strung together, cut at the end of the caller's buffer. */
#ifndef EV_FAILURE_H
#define EV_FAILURE_H

#include "edgevision.h"

typedef struct {
    char digits[21];
} ev_decimal;

static inline ev_decimal ev_decimal_of(uint64_t value) {
    ev_decimal text = {{0}};
    char reversed[20];
    int count = 0, at = 0;
    do reversed[count++] = (char)('0' + value % 10);
    while (value /= 10);
    while (count > 0) text.digits[at++] = reversed[--count];
    return text;
}

/* Strings `count` parts together in text[0..capacity-1], always closed by a zero, never cut inside a UTF-8 character. */
static inline void ev_join(char *text, size_t capacity, const char *const *parts, int32_t count) {
    size_t at = 0;
    for (int32_t i = 0; i < count; i++) {
        for (const char *from = parts[i] ? parts[i] : ""; *from; from++) {
            if (at + 1 == capacity) {
                while (at > 0 && ((unsigned char)*from & 0xC0) == 0x80) from = &text[--at];
                text[at] = 0;
                return;
            }
            text[at++] = *from;
        }
    }
    text[at] = 0;
}

static inline int ev_fail_with(ev_error *error, ev_status code, const char *const *parts, int32_t count) {
    if (error) {
        error->code = (int32_t)code;
        ev_join(error->text, sizeof error->text, parts, count);
    }
    return (int)code;
}

/* Fills *error (which may be NULL) with the strings that follow and gives back the code. */
#define ev_fail(error, code, ...) \
    ev_fail_with(error, code, (const char *const[]){__VA_ARGS__}, \
                 (int32_t)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)))

#endif
