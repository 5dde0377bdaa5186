/* Tensors of numbers that look random and are the same on every machine. */
#ifndef EV_RANDOM_TENSOR_H
#define EV_RANDOM_TENSOR_H

#include "program_os.h"

#include "edgevision.h"

/* SplitMix64 (Steele, Lea, Flood 2014). */
static inline uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static inline uint16_t half_of_sixteenths(int sixteenths) {
    if (sixteenths == 0) return 0;
    const uint16_t sign = sixteenths < 0 ? 0x8000 : 0;
    uint16_t mantissa = (uint16_t)(sixteenths < 0 ? -sixteenths : sixteenths) << 6, exponent = 15;
    for (; !(mantissa & 0x400); mantissa <<= 1) exponent--;
    return (uint16_t)(sign | exponent << 10 | (mantissa & 0x3FF));
}

/* Floats in [-1, 1); uint8, which is how images come, in 0..255; other integers in 0..15, as they may be indices. */
static inline void fill(const ev_tensor *tensor, unsigned char *to, uint64_t *state) {
    static const size_t SIZES[] = {4, 8, 2, 1, 2, 4, 8, 1, 2, 4, 8, 1};
    const size_t size = SIZES[tensor->dtype];
    for (size_t at = 0; at < tensor->bytes; at += size) {
        const uint64_t bits = next_random(state);
        const double unit = (double)(bits >> 40) / (1 << 23) - 1;
        const float single = (float)unit;
        const uint16_t half = half_of_sixteenths((int)(bits >> 59) - 16);
        const int kept_bits = tensor->dtype == EV_BOOL ? 1 : tensor->dtype == EV_UINT8 ? 8 : 4;
        const unsigned char bytes[8] = {(unsigned char)(bits >> (64 - kept_bits))}; /* little-endian, as every target is */
        const void *value = bytes;
        if (tensor->dtype == EV_FLOAT32) value = &single;
        if (tensor->dtype == EV_FLOAT64) value = &unit;
        if (tensor->dtype == EV_FLOAT16) value = &half;
        memcpy(to + at, value, size);
    }
}

#endif
