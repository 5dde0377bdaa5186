/* What a program for Android asks of bionic and glibc lacks; the test's libc.so, beside which glibc is the rest. */
#include <errno.h>
#include <stdlib.h>

int *__errno(void);
int *__errno(void) { return &errno; }

_Noreturn void __libc_init(long *arguments, void *unused, int (*entry)(int, char **, char **), void *const *structors);
_Noreturn void __libc_init(long *arguments, void *unused, int (*entry)(int, char **, char **), void *const *structors) {
    char **words = (char **)(arguments + 1);
    if (unused || structors[0] || structors[1] || structors[2]) abort();
    exit(entry((int)arguments[0], words, words + arguments[0] + 1));
}
