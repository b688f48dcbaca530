/* Converts whole processes: sets up the pipeline (convert/slices/pipeline.h) for each process, and lets the merge of
 * its threads (merge.h) feed it. The processes come one after another, in the order of the capture.
 *
 *     capture            calls of the sink
 *     process-70         process 70; thread 1; slices, flow events, ... of process 70
 *     process-71         process 71; thread 1; thread 2; slices, ... of process 71
 *
 * Memory: one decoded block for each thread that has records before and after the present time. */
#ifndef CONVERT_H
#define CONVERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/read/reader.h"
#include "convert/slices/flows.h"
#include "convert/slices/open_stack_snapshot.h"
#include "convert/slices/pipeline.h"
#include "convert/slices/selection.h"
#include "convert/slices/sink.h"
#include "anomalies.h"

struct convert_count {
    struct stack_count stacks;
    uint64_t flows, spawns, tasks;      /* that were emitted */
    uint64_t threads;                   /* of a selection: those of which something is shown */
};

struct convert_options {
    const struct selection *selection;  /* settled; NULL: everything; borrowed */
    struct flows_choice flows;
    const struct open_stack_snapshot *open_at_from;     /* at the selection's `from`, by another conversion; or NULL */
    struct open_stack_snapshot *open_at_to;     /* gets what is open at its `to`; or NULL */
    struct hidden_rates *rates;         /* of each process, for estimates of what is hidden; NULL: there are none */
    bool learns_rates;                  /* fills in the rates; else applies them */
    const struct pnr_string *groups;    /* of each process: comes before its name; NULL: nothing does */
    bool is_logical;                    /* times are positions: specs/trace-mapping.md, section 12 */
};

/* The start of the trace: CLOCK_MONOTONIC when the first process started. */
uint64_t convert_zero_ns(struct reader **readers, size_t n);

/* What a selection needs to know of the processes. */
struct selection_extent convert_extent(struct reader **readers, size_t n);

/* Converts the processes one after another. A reader may be read once, until it is rewound. Fills count, and adds to
 * the n of anomalies. Returns 0 even if the sink broke, which its owner finds in is_broken; -1 when out of memory. */
int convert(struct reader **readers, size_t n, const struct convert_options *options, struct sink *sink,
            struct convert_count *count, struct anomalies *anomalies, struct pnr_err *err);

/* A conversion in steps, for an owner that takes what the sink got between them:
 *
 *     conversion_begin()
 *     while conversion_step() returns 1
 *     conversion_free(), at any time
 *
 * All arguments are borrowed until conversion_free(), but options for the call; what they point to, too. */
struct conversion;

/* Returns NULL when out of memory, and fills err. */
struct conversion *conversion_begin(struct reader **readers, size_t n, const struct convert_options *options,
                                    struct sink *sink, struct convert_count *count, struct anomalies *anomalies,
                                    struct pnr_err *err);

/* Converts up to one block of records, or begins or ends a process. Returns 1; 0 when all is converted; -1 when out of
 * memory, and fills err. After 0 or -1 it is not called again. */
int conversion_step(struct conversion *conversion, struct pnr_err *err);

/* Accepts NULL. */
void conversion_free(struct conversion *conversion);

#endif
