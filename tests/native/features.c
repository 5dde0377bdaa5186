/* Prints, of the instruction sets named on the command line, those that this CPU lacks or that cpu.c does not know. */
#include <stdio.h>

#include "cpu.h"

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *const one[] = {argv[i], NULL};
        if (ev_missing_feature(one)) puts(argv[i]);
    }
    return ev_missing_feature(NULL) != NULL;
}
