/* Reads all of a capture without writing anything: reports all that a conversion would, and whether as many events are
 * there as were recorded. */
#ifndef VERIFY_H
#define VERIFY_H

#include <stddef.h>
#include <stdint.h>

#include "convert.h"

/* Counts over all processes. */
struct verify_sum {
    uint64_t threads, blocks, events, bytes;
};

/* anomalies: of each process, all 0 at first. Reports to diagnostics. Returns 0, or -1 when out of memory. */
int verify(struct reader **readers, size_t n, const struct diagnostics *diagnostics, struct anomalies *anomalies,
           struct verify_sum *sum, struct pnr_err *err);

#endif
