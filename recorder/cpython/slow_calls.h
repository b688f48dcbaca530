/* Slow calls of muted functions: looks at the stacks of all threads. A muted frame that is found is watched; if it is
 * still there 6 ms later, it is reported as open. Looks are some 10 ms apart.
 *
 * All functions are called with the GIL, outside of events. None runs Python code. */
#ifndef REC_SLOW_CALLS_H
#define REC_SLOW_CALLS_H

#include "threads.h"

/* A recording with a budget begins. */
void rec_slow_calls_start(void);

/* Looks at the stacks. requested: ticks when the look was asked for. Since then no thread has passed a check for
 * pending calls. A call that is seen by one look, or by none, is missing: where looks came so late that it may have taken
 * 25 ms, that is counted (rec_budget_add_late_look). */
void rec_slow_calls_look(uint64_t requested);

/* At these ticks the records have all open calls: there is nothing that a look could find. */
void rec_slow_calls_all_known(uint64_t now);

#endif
