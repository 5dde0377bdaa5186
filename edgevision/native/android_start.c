/* Where an Android program begins: bionic's linker jumps to _start, which gives main to bionic.
 *
 * Constructors were run by the linker. The program has no destructors: all of structors_array_t (bionic's libc_init_common.h), which
 * older and newer systems end differently, is zero. */
int main(int argc, char **argv);
_Noreturn void __libc_init(void *arguments, void (*unused)(void), int (*entry)(int, char **), const void *structors);

_Noreturn __attribute__((used)) static void start(void *arguments) {
    static const void *const structors[6];
    __libc_init(arguments, 0, main, structors);
}

/* The kernel's block of arguments is where the stack pointer points. */
__asm__(".globl _start\n.hidden _start\n.type _start,%function\n_start:\nmov x29, #0\nmov x30, #0\nmov x0, sp\nb start\n");
