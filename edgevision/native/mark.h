/* Where cost_plugin.c begins a new phase. Nothing on other processors than AArch64. */
#ifndef EV_MARK_H
#define EV_MARK_H

/* Not inlined: the hint must be the first instruction of a block. */
static __attribute__((noinline)) void ev_mark(void) {
#ifdef __aarch64__
    __asm__ volatile("hint #122" ::: "memory");
#endif
}

#endif
