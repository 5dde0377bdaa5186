/* Opens a library by dlopen and prints what its entry gives: bench.c LIBRARY [FROM COUNT STEP]. */
#ifndef EV_BENCH_DLOPEN
#error "this program opens a library"
#endif
#include "runner.h"

int main(int count, char **words) {
    void *library = dlopen(words[1], RTLD_NOW);
    if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
    entry *run = (entry *)dlsym(library, "ev_get_api");
    if (!run) return fprintf(stderr, "%s\n", dlerror()), 2;
    printf("%.0f\n", count > 4 ? run(number(words[2]), number(words[3]), number(words[4])) : run(0, 256, 1));
    return dlclose(library);
}
