/* The ledger of a process while it is converted: passes its events as the thread cursors come to their times, so that the
 * stages know what is muted, and lets chains end that a mute breaks.
 *
 *     ledger_cursor_init()
 *     before records of a time are converted: ledger_cursor_advance(), if ledger_cursor_ticks() is not after it
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
};

/* The view must not move from now on. */
void ledger_cursor_init(struct ledger_cursor *ledger, struct converted_process *process);

void ledger_cursor_clear(struct ledger_cursor *ledger);

/* The ticks of the next event; UINT64_MAX when there is none. */
static inline uint64_t ledger_cursor_ticks(const struct ledger_cursor *ledger)
{
    const struct ledger_view *view = &ledger->view;
    return view->next < view->ledger->n ? view->ledger->events[view->next].ticks : UINT64_MAX;
}

/* Passes the events up to those ticks. cursors: the n of the process. Returns 0, or -1 when out of memory. */
int ledger_cursor_advance(struct ledger_cursor *ledger, const struct thread_cursor *cursors, size_t n, uint64_t ticks);

#endif
