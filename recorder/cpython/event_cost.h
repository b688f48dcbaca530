/* What recording one event costs here, for a recording with a budget (../budget.h). It is measured with a function that
 * does nothing and whose records are forgotten. The property `event_cost_ns` of the capture has it.
 *
 * All functions are called with the GIL.
 *
 *     rec_event_cost_begin                a recording with a budget begins
 *         rec_event_cost_measure          its engine has entered
 *             rec_event_cost_write        the budget has corrected it */
#ifndef REC_EVENT_COST_H
#define REC_EVENT_COST_H

#include "cpython.h"

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN

/* Returns in nanoseconds what was measured last, or a usual value; the capture has it from now on. */
double rec_event_cost_begin(void);

/* Writes to the capture what an event costs from now on. */
void rec_event_cost_write(double ns);

/* Measures, in a millisecond; reports it to the budget and the capture. Returns 0, or -1 with an exception set. */
int rec_event_cost_measure(void);

#else

static inline int rec_event_cost_measure(void) { return 0; }

#endif

#endif
