/* The stages between a thread's records and an output, and what all stacks of a process share.
 *
 *     call_stack        exact: matches entries and exits, repairs what is missing; knows every open frame
 *     slice_filter      admits or hides each frame; retains or prunes a short slice when its length is known
 *     flows             connects the slices of one continuable frame, over all threads
 *     slice_time        gives each begin, end and instant its time: of the clock, or a logical one
 *     sink              the output
 *
 * A stage knows those after it, and none before it. Records reach the first stage a block at a time. The functions that
 * every slice passes are inline, so a stage that has nothing to do costs nothing.
 *
 *     records         call_stack     slice_filter (g excluded, min. 20 ns)      flows       sink
 *     10 CALL f       f              f admitted, pending                       -           -
 *     12 CALL g       f g            g hidden                                  -           -
 *     14 START h      f g h          h admitted, pending; f is around it       h entered   -
 *     44 YIELD h      f g            30 ns: retained, and f with it            h retained  h [14, 44]
 *     50 CALL k       f g k          k admitted, pending                       -           -
 *     55 RETURN k     f g            5 ns: pruned                              -           -
 *     60 RETURN g     f              -                                         -           -
 *     61 RETURN f     (empty)        -                                         -           f [10, 61]  */
#ifndef PIPELINE_H
#define PIPELINE_H

#include <stdbool.h>
#include <stdint.h>

#include "convert/read/ledger.h"
#include "convert/read/symbols.h"
#include "flows.h"
#include "hidden_rates.h"
#include "sink.h"

/* Counts over all stacks of a conversion. */
struct stack_count {
    uint64_t events;                    /* records, without OPEN ones */
    uint64_t slices;
    uint64_t lost;                      /* events that LOST records report */
    uint64_t holes;                     /* blocks before which events may be missing */
    uint64_t backwards;                 /* records earlier than the one before them */
    uint64_t ignored_exits;             /* exits without an open frame of that function */
    uint64_t missing_exits;             /* frames without an exit, closed when their caller returned */
    uint64_t unknown_kinds;             /* records of kinds of a later version */
    uint64_t unknown_tracks;            /* switches to tracks that do not exist; counted by thread_cursor */
    uint64_t unknown_functions;         /* slices of functions that are not in the name table */
    uint64_t cut;                       /* slices that continue after the end of the selected time */
    uint64_t max_depth;                 /* of nested slices */
    uint64_t open;                      /* frames that are open now */
    uint64_t overflowed;                /* frames beyond CALL_STACK_MAX_OPEN */
    uint64_t stray_values;              /* DATA records that belong to nothing, and remarks whose values are not whole */
    uint64_t unread_values;             /* remarks with values that are damaged, or of a type of a later version */
    uint64_t failed_compares;           /* compared frames that did not match; thread_cursor resets it at each block */
};

/* Which frames become slices. A hidden frame is as if it had not been recorded: its callees belong to its caller. */
struct slice_rules {
    const bool *is_hidden;              /* by the function's index - 1; NULL: no function is hidden */
    uint32_t n_functions;
    bool hides_unknown;                 /* functions that are not among those */
    uint64_t max_depth;                 /* of nested slices */
};

/* All members are borrowed, and the same for all stacks of a process. */
struct slice_pipeline {
    const struct slice_rules *rules;    /* NULL: every frame becomes a slice */
    uint64_t min_ns;                    /* shorter slices are pruned; 0 = none */
    struct flows *flows;
    uint64_t *positions;                /* of logical time; NULL: times are those of the clock */
    struct sink *sink;
    const struct symbols *symbols;
    struct stack_count *count;
    const struct ledger_view *muted;    /* what is muted at the present time; NULL: the process has no ledger */
    struct hidden_rates *rates;         /* of calls that are not recorded; NULL: they are not estimated */
    bool learns_rates;                  /* from the windows; else what slices hide is estimated */
};

/* What the inlined functions of the stages need not do: it is a constant there. */
enum pipeline_variant {
    PIPELINE_PLAIN,                     /* every frame becomes a slice with the time of the clock */
    PIPELINE_FILTERED,                  /* not so, or the sink has enter() */
    PIPELINE_MUTED                      /* the process has a ledger; all that there is */
};

static inline enum pipeline_variant slice_pipeline_variant(const struct slice_pipeline *pipeline)
{
    bool is_plain = !pipeline->rules && !pipeline->min_ns && !pipeline->positions && !pipeline->sink->enter;
    return pipeline->muted ? PIPELINE_MUTED : is_plain ? PIPELINE_PLAIN : PIPELINE_FILTERED;
}

#endif
