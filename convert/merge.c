#include "merge.h"

static bool is_earlier(const struct thread_cursor *a, const struct thread_cursor *b)
{
    return a->ticks != b->ticks ? a->ticks < b->ticks : a->thread < b->thread;
}

/* Moves the first of the heap to its place after it became later. */
static void sift_first(struct merge *merge)
{
    struct thread_cursor **heap = merge->heap, *moved = heap[0];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < merge->n_heap) {
        if (child + 1 < merge->n_heap && is_earlier(heap[child + 1], heap[child]))
            child++;
        if (!is_earlier(heap[child], moved))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
}

static void insert_cursor(struct merge *merge, struct thread_cursor *cursor)
{
    size_t i = merge->n_heap++;
    for (; i > 0 && is_earlier(cursor, merge->heap[(i - 1) / 2]); i = (i - 1) / 2)
        merge->heap[i] = merge->heap[(i - 1) / 2];
    merge->heap[i] = cursor;
}

/* The latest ticks at which the first of the heap is earlier than another cursor. */
static uint64_t latest_before(const struct thread_cursor *first, const struct thread_cursor *other)
{
    return other->ticks - (other->thread < first->thread);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Returns up to when the first of the heap can advance before another cursor has to. */
static uint64_t until_next(const struct merge *merge, uint64_t until)
{
    struct thread_cursor **heap = merge->heap;
    if (merge->n_heap > 1)
        until = earlier(until, latest_before(heap[0], heap[1]));
    if (merge->n_heap > 2)
        until = earlier(until, latest_before(heap[0], heap[2]));
    return until;
}

/* Anomalies before the selected time are not reported. */
static void forget_anomalies(struct converted_process *process)
{
    struct stack_count *count = process->pipeline.count;
    const struct stack_count *initial = &process->initial;
    count->events = initial->events;
    count->backwards = initial->backwards;
    count->unknown_kinds = initial->unknown_kinds;
    count->unknown_tracks = initial->unknown_tracks;
}

static void begin_selected_time(struct merge *merge)
{
    struct converted_process *process = merge->process;
    process->has_begun = true;
    if (!process->from_ns)
        return;
    for (size_t i = 0; i < merge->n; i++)
        thread_cursor_reveal(&merge->cursors[i]);
    forget_anomalies(process);
}

/* Advances the earliest cursor. Returns 0, or -1 and fills err. */
static int advance_first(struct merge *merge, uint64_t until, struct pnr_err *err)
{
    struct thread_cursor *first = merge->heap[0];
    int status = thread_cursor_advance(first, until, err);
    if (status < 0)
        return -1;
    if (status == 0) {
        if (first->own_stack.n == 0)
            thread_cursor_clear(first); /* most threads are over long before their process */
        merge->heap[0] = merge->heap[--merge->n_heap];
    }
    if (merge->n_heap > 0)
        sift_first(merge);
    return 0;
}

/* Passes what the ledger says up to those ticks, and limits until to the time before it says more. Returns 0, or -1 and
 * fills err. */
static int pass_ledger(const struct merge *merge, uint64_t ticks, uint64_t *until, struct pnr_err *err)
{
    if (ledger_cursor_ticks(merge->ledger) <= ticks &&
        ledger_cursor_advance(merge->ledger, merge->cursors, merge->n, ticks) < 0)
        return pnr_err_set(err, PNR_E_MEMORY, reader_path(merge->process->reader), 0, "out of memory");
    *until = earlier(*until, ledger_cursor_ticks(merge->ledger) - 1);
    return 0;
}

void merge_begin(struct merge *merge)
{
    merge->n = reader_n_threads(merge->process->reader);
    merge->n_heap = 0;
    for (size_t i = 0; i < merge->n; i++)
        if (merge->cursors[i].has_records)
            insert_cursor(merge, &merge->cursors[i]);
}

int merge_step(struct merge *merge, struct pnr_err *err)
{
    struct converted_process *process = merge->process;
    struct thread_cursor **heap = merge->heap;
    const struct merge_window *window = &merge->window;
    bool is_before = merge->n_heap > 0 && heap[0]->ticks < window->first;
    if (!is_before && !process->has_begun)
        begin_selected_time(merge);
    if (merge->n_heap == 0 || heap[0]->ticks > window->last || process->pipeline.sink->is_broken)
        return pass_ledger(merge, window->last, &(uint64_t){ 0 }, err);
    uint64_t until = earlier(is_before ? window->first - 1 : window->last,
                             child_starts_pass(merge->children, heap[0]->ticks));
    if (process->pipeline.muted && pass_ledger(merge, heap[0]->ticks, &until, err) < 0)
        return -1;
    return advance_first(merge, until_next(merge, until), err) < 0 ? -1 : 1;
}
