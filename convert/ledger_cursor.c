#include "ledger_cursor.h"

#include <stdlib.h>

#include "convert/slices/flows.h"

void ledger_cursor_init(struct ledger_cursor *ledger, struct converted_process *process)
{
    *ledger = (struct ledger_cursor){ .process = process };
    ledger_view_init(&ledger->view, reader_ledger(process->reader));
    if (ledger->view.ledger->exists)
        process->pipeline.muted = &ledger->view;
}

void ledger_cursor_clear(struct ledger_cursor *ledger)
{
    ledger_view_clear(&ledger->view);
}

static int by_frame(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Ends the flows of muted functions, except for those of frames that are open. Returns 0, or -1 when out of memory. */
static int forget_flows(struct ledger_cursor *ledger, const struct thread_cursor *cursors, size_t n)
{
    uint64_t *open = NULL;
    size_t n_open = 0, capacity = 0;
    int result = 0;
    ledger->breaks_flows = false;
    for (size_t i = 0; i < n && result == 0; i++)
        result = thread_cursor_list_continuable(&cursors[i], &open, &n_open, &capacity);
    if (n_open)
        qsort(open, n_open, sizeof *open, by_frame);
    if (result == 0)
        flows_forget(ledger->process->pipeline.flows, &ledger->view, open, n_open);
    free(open);
    return result;
}

int ledger_cursor_advance(struct ledger_cursor *ledger, const struct thread_cursor *cursors, size_t n, uint64_t ticks)
{
    const struct ledger *all = ledger->view.ledger;
    while (ledger_cursor_ticks(ledger) <= ticks) {
        enum ledger_kind kind = all->events[ledger->view.next].kind;
        if (ledger->breaks_flows && (kind == LEDGER_ADMIT || kind == LEDGER_WINDOW || kind == LEDGER_KNOWN) &&
            forget_flows(ledger, cursors, n) < 0)
            return -1;
        ledger_view_step(&ledger->view, ticks);
        ledger->breaks_flows |= kind == LEDGER_MUTE || kind == LEDGER_WINDOW_END || kind == LEDGER_UNKNOWN;
    }
    if (ledger->breaks_flows && forget_flows(ledger, cursors, n) < 0)
        return -1;
    return ledger->view.is_out_of_memory ? -1 : 0;
}
