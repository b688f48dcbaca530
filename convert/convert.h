/* Converts whole processes: merges their threads' records in the order of time, so that chains are numbered right
 * when a frame moves between threads, runs them through spans and flows, and hands the results to a sink.
 *
 * Memory: one decoded block for each thread that has records before and after the present time. */
#ifndef CONVERT_H
#define CONVERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/read/reader.h"
#include "convert/slices/flows.h"
#include "convert/slices/selection.h"
#include "convert/slices/sink.h"
#include "convert/slices/spans.h"
#include "convert/slices/stacks.h"
#include "diagnostics.h"

struct convert_count {
    struct spans_count spans;
    uint64_t chains, creations, tasks;  /* that were told to the sink */
    uint64_t threads;                   /* of a selection: those of which something is shown */
};

/* How it is done. */
struct convert_how {
    const struct selection *selection;  /* what of it, settled; NULL: all; borrowed */
    struct flows_choice flows;
    const struct stacks *from;          /* what is open at the selection's `from`, as another conversion has told; or NULL */
    struct stacks *to;                  /* gets what is open at its `to`; or NULL */
    bool is_logical;                    /* times are places in the order of edges: specs/trace-mapping.md, section 12 */
};

/* What was odd in a process. */
struct convert_odd {
    uint64_t lost, holes, ignored_exits, missed_exits, unknown_kinds, unknown_tracks, unknown_functions, backwards,
             too_many;                  /* as in struct spans_count */
    uint64_t events;                    /* the same; not odd, but in each */
    uint64_t without_chain;             /* slices that have no chain, as there were too many */
    bool is_converted;                  /* nothing has been seen of others */
};

/* Which threads of a process are read: those that a selection may have, and those of the greenlets that it may have. */
struct convert_choice {
    struct reader_choice of_threads;    /* for reader_open() */
    const struct selection *selection;  /* borrowed */
    const struct reader *reader;        /* that is being opened */
    uint32_t *tids;                     /* of the threads of those greenlets, ascending; owned */
    size_t n_tids;
};

/* Gives what to open the readers of a capture with, one after the other; NULL when all is to be read. selection is
 * borrowed until convert_choice_clear(). */
const struct reader_choice *convert_choice_init(struct convert_choice *choice, const struct selection *selection);
void convert_choice_clear(struct convert_choice *choice);

/* The start of the trace: CLOCK_MONOTONIC when the first process started. */
uint64_t convert_zero_ns(struct reader **readers, size_t n);

/* What a selection needs to know of the processes. */
struct selection_extent convert_extent(struct reader **readers, size_t n);

/* Converts the processes one after another. A reader may be read once, until it is rewound. Fills count, and adds to the
 * n of odd. Returns 0, also when the sink broke: who made it asks it; or -1 when out of memory. */
int convert(struct reader **readers, size_t n, const struct convert_how *how, struct sink *sink,
            struct convert_count *count, struct convert_odd *odd, struct pnr_err *err);

/* Says to diagnostics what was odd, and what is not in the capture. */
void convert_say(struct reader **readers, size_t n, const struct convert_odd *odd, const struct diagnostics *diagnostics);

/* The process's command, or its directory's name, and what tells it from others with the same one. Its bytes are the
 * caller's to free; NULL when out of memory. */
struct pnr_string convert_process_name(const struct reader *reader);

/* The process id, by its properties or else by its directory's name. */
uint32_t convert_process_pid(const struct reader *reader);

#endif
