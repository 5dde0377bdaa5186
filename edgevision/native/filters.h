/* Weights that kernels read larger than the library stores them, made once a process. Internal. */
#ifndef EV_FILTERS_H
#define EV_FILTERS_H

#include "plan.h"

/* One allocation for all sessions of the process: made for the first, freed after the last. *made is NULL where the plan transforms
 * nothing; for each success, one call of ev_filters_close(). */
int ev_filters_open(const ev_plan *plan, unsigned char **made, ev_error *error);
void ev_filters_close(const ev_plan *plan);

#endif
