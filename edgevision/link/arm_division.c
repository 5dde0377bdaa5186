/* LLVM divides 32-bit integers on a Cortex-A9, which has no instruction for it, by calls to libgcc's names. zig's compiler-rt
 * has the ARM EABI's names alone, which is what the C compiler makes of these. Run-time ABI for the Arm Architecture, 5.3.1. */
int __divsi3(int a, int b) { return a / b; }
int __modsi3(int a, int b) { return a % b; }
unsigned __udivsi3(unsigned a, unsigned b) { return a / b; }
unsigned __umodsi3(unsigned a, unsigned b) { return a % b; }
