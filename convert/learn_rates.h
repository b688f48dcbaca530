/* Learns from the windows of a capture how often muted functions are called, so that a conversion can estimate what
 * was not recorded (convert/slices/hidden_rates.h). Converts the capture once without an output for it. */
#ifndef LEARN_RATES_H
#define LEARN_RATES_H

#include <stddef.h>

#include "convert/jobs.h"
#include "convert/read/reader.h"
#include "convert/slices/hidden_rates.h"
#include "convert/slices/selection.h"

/* Makes the rates of n processes, in memory for as many, and rewinds the readers; leaves them alone where no window
 * is. Only windows in or near the selected time count. Returns 1; 0 when nothing can be estimated; -1 when out of
 * memory, and fills err. rates are to be cleared in any case. */
int rates_learn(struct reader **readers, size_t n, const struct selection *selection, struct jobs *jobs,
                struct hidden_rates *rates, struct pnr_err *err);

#endif
