/* Which of the instruction sets that an artifact was compiled for this CPU has. */
#ifndef EV_CPU_H
#define EV_CPU_H

/* The first name of a NULL-terminated list (LLVM's names, without the plus sign) that this CPU and its operating system do not
 * offer, or that cpu.c does not know; NULL if there is none. `required` may be NULL. */
const char *ev_missing_feature(const char *const *required);

#endif
