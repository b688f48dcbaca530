/* Converts whole processes: merges their threads' records in the order of time, so that chains are numbered right
 * when a frame moves between threads, runs them through spans and flows, and hands the results to a sink.
 *
 * Memory: one decoded block for each thread that has records before and after the present time. */
#ifndef CONVERT_H
#define CONVERT_H

#include <stddef.h>
#include <stdint.h>

#include "flows.h"
#include "notes.h"
#include "reader.h"
#include "selection.h"
#include "sink.h"
#include "spans.h"

struct convert_count {
    struct spans_count spans;
    uint64_t chains, creations, tasks;  /* that were told to the sink */
    uint64_t threads;                   /* of a selection: those of which something is shown */
};

/* What a selection needs to know of the processes. */
struct selection_extent convert_extent(struct reader **readers, size_t n);

/* Converts the processes one after another, what is selected of them (settled; NULL: all), with those flows. A reader
 * may be read once. What was odd is said to notes. Fills count. Returns 0, also when the sink broke: who made it asks
 * it; or -1 when out of memory. */
int convert(struct reader **readers, size_t n, const struct selection *selection, struct flows_choice flows,
            struct sink *sink, const struct notes *notes, struct convert_count *count, struct pnr_err *err);

/* The process's command, or its directory's name, and what tells it from others with the same one. Its bytes are the
 * caller's to free; NULL when out of memory. */
struct pnr_string convert_process_name(const struct reader *reader);

/* The process id, by its facts or else by its directory's name. */
uint32_t convert_process_pid(const struct reader *reader);

#endif
