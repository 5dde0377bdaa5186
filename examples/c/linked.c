/* linked PHOTOGRAPH.ppm: two networks, compiled with --symbol-prefix, linked into one program. CMakeLists.txt defines GET_API_A and
 * GET_API_B as their functions' names. */
#include <stdio.h>
#include <stdlib.h>

#include "classifier.h"

const ev_api *GET_API_A(uint32_t abi);
const ev_api *GET_API_B(uint32_t abi);

int main(int argc, char **argv) {
    const char *why = "give one photograph";
    image photograph;
    if (argc != 2 || !read_ppm(argv[1], &photograph, &why)) {
        fprintf(stderr, "%s: %s\n", argc == 2 ? argv[1] : argv[0], why);
        return 2;
    }
    const ev_api *apis[] = {GET_API_A(EV_ABI), GET_API_B(EV_ABI)};
    int failed = 0;
    for (int i = 0; i < 2; i++) {
        if (!apis[i] || !classify(apis[i], &photograph, NULL, 0)) failed = 1;
    }
    free(photograph.pixels);
    return failed;
}
