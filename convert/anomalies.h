/* What was wrong with the records of a process, and what is not in the capture: counted while it is converted, and
 * reported once. */
#ifndef ANOMALIES_H
#define ANOMALIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/read/reader.h"
#include "convert/slices/pipeline.h"
#include "diagnostics.h"

struct anomalies {
    uint64_t lost, holes, ignored_exits, missing_exits, unknown_kinds, unknown_tracks, unknown_functions, backwards,
             stray_values, unread_values, overflowed;  /* as in struct stack_count */
    uint64_t unconnected;               /* slices without a flow, as there were too many */
    bool lacks_estimates;               /* they would have taken too much work */
    uint64_t unkept;                    /* values, suspended spans and flows of the program beyond the most that are kept */
    uint64_t events;                    /* no anomaly; as in struct stack_count */
    bool is_converted;                  /* nothing is known of a process that was not */
};

/* Adds what was counted between initial and now. */
void anomalies_add(struct anomalies *anomalies, const struct stack_count *initial, const struct stack_count *now,
                   uint64_t unconnected, uint64_t unkept, bool lacks_estimates);

/* Reports what was wrong in n processes, and what is not in the capture. zero_ns: the start of the trace. */
void anomalies_report(struct reader **readers, size_t n, uint64_t zero_ns, const struct anomalies *anomalies,
                      const struct diagnostics *diagnostics);

#endif
