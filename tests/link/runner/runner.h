#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef double entry(uint32_t from, uint32_t count, uint32_t step);

static uint32_t number(const char *text) { return (uint32_t)strtoul(text, 0, 10); }
