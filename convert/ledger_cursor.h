/* The ledger of a process while it is converted: passes its events as the thread cursors come to their times. So the
 * stages know what is muted, flows end that a mute breaks, time is accounted for as what is muted then demands, and
 * the sink gets what viewers show of it.
 *
 *     ledger_cursor_init()
 *     before records of a time are converted: ledger_cursor_advance(), if ledger_cursor_ticks() is not after it
 *     ledger_cursor_end(), when the records of all threads have been converted
 *     ledger_cursor_clear()
 *
 * An event of the ledger comes before the records of threads at the same ticks. */
#ifndef LEDGER_CURSOR_H
#define LEDGER_CURSOR_H

#include <stddef.h>
#include <stdint.h>

#include "convert/read/ledger.h"
#include "thread_cursor.h"

struct ledger_cursor {
    struct converted_process *process;  /* borrowed */
    struct ledger_view view;            /* process->pipeline.muted points to it, if there is a ledger */
    bool breaks_flows;                  /* a function was muted, or may have been, since flows were last forgotten */
    uint64_t forget_work;               /* steps that it has taken to forget flows */
    uint64_t settled_ns;                /* up to which the threads' slices are settled, if has_settled */
    bool has_settled;
    double budget;                      /* in percent; 0: not known */
    uint64_t cost_ns, cpu_ns;           /* that the sink has not got yet, and since when they count */
    uint64_t cost_since_ns;
    bool has_cost;                      /* the sink has got a figure of cost */
    size_t n_costs;                     /* COST events that have been passed */
    bool has_begun;                     /* the sink knows how many are muted */
    bool has_changed;                   /* ... but not that they are others since then, by events at the same time */
    bool shows_window;                  /* ... and that a window has begun */
};

/* The cursor must not move from now on. */
void ledger_cursor_init(struct ledger_cursor *ledger, struct converted_process *process);

void ledger_cursor_clear(struct ledger_cursor *ledger);

/* The ticks of the next event; UINT64_MAX when there is none. */
static inline uint64_t ledger_cursor_ticks(const struct ledger_cursor *ledger)
{
    const struct ledger_view *view = &ledger->view;
    return view->next < view->ledger->n ? view->ledger->events[view->next].ticks : UINT64_MAX;
}

/* Passes the events up to those ticks. cursors: the n of the process. Returns 0, or -1 when out of memory. */
int ledger_cursor_advance(struct ledger_cursor *ledger, struct thread_cursor *cursors, size_t n, uint64_t ticks);

/* Reports what the sink does not know yet of the time up to end_ns. */
void ledger_cursor_end(struct ledger_cursor *ledger, uint64_t end_ns);

#endif
