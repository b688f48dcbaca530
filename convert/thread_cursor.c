#include "thread_cursor.h"

#include <stdlib.h>

#include "identities.h"

/* The stack of a greenlet. */
struct track {
    uint32_t number;
    struct thread_cursor *cursor;       /* its thread; NULL until it has run */
    bool is_wanted;                     /* it is selected */
    struct track *next;                 /* of the same thread */
    struct call_stack stack;
};

void converted_process_note_time(struct converted_process *process, uint64_t ticks)
{
    if (ticks > process->end_ticks)
        process->end_ticks = ticks;
}

static uint64_t trace_ns(const struct converted_process *process, uint64_t ticks)
{
    return timeline_since(process->timeline, process->zero_ns, ticks);
}

/* ---- tracks ---- */

int tracks_make(struct converted_process *process)
{
    const struct symbols *symbols = reader_symbols(process->reader);
    size_t n = 0;
    for (size_t i = 0; i < symbols->n_threads; i++)
        n += names_greenlet(&symbols->threads[i]);
    if (n && !(process->tracks = calloc(n, sizeof *process->tracks)))
        return -1;
    for (size_t i = 0; i < symbols->n_threads; i++)
        if (names_greenlet(&symbols->threads[i]))
            process->tracks[process->n_tracks++].number = symbols->threads[i].index;
    return 0;
}

uint32_t track_number(const struct converted_process *process, size_t i)
{
    return process->tracks[i].number;
}

void track_init(struct converted_process *process, size_t i, bool is_wanted, bool is_hidden)
{
    struct track *track = &process->tracks[i];
    track->is_wanted = is_wanted;
    call_stack_init(&track->stack, &process->pipeline, (uint32_t)(reader_n_threads(process->reader) + i), is_hidden);
}

void tracks_clear(struct converted_process *process)
{
    for (size_t i = 0; i < process->n_tracks; i++)
        call_stack_clear(&process->tracks[i].stack);
    free(process->tracks);
}

static int by_track_number(const void *a, const void *b)
{
    const struct track *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* ---- from when on a stack is shown ---- */

static void reveal_stack(const struct converted_process *process, struct call_stack *stack)
{
    size_t n;
    const struct open_frame *frames = open_stack_snapshot_find(process->open_at_from, process->order,
                                                               stack->filter.thread, &n);
    if (frames)
        call_stack_restore(stack, frames, n);
    call_stack_reveal(stack, process->from_ns);
}

/* Reveals a stack that first ran after from_ns, and has now been brought to what is open on it: that was open then. */
static void reveal_deferred(struct thread_cursor *cursor)
{
    if (cursor->is_deferred)
        reveal_stack(cursor->process, cursor->stack);
    cursor->is_deferred = false;
}

/* Begins the cursor's stack, which runs for the first time. */
static void begin_first_run(struct thread_cursor *cursor, bool is_wanted)
{
    const struct converted_process *process = cursor->process;
    cursor->is_deferred = process->from_ns && process->has_begun && is_wanted && cursor->stack->filter.hides_all;
    if (!cursor->has_past)
        reveal_deferred(cursor);        /* it may be new: shown from now on */
}

void thread_cursor_reveal(struct thread_cursor *cursor)
{
    const struct converted_process *process = cursor->process;
    call_stack_account(cursor->stack, process->from_ns);
    if (cursor->is_wanted && cursor->own_has_run && cursor->own_stack.filter.hides_all)
        reveal_stack(process, &cursor->own_stack);
    for (struct track *track = cursor->tracks; track; track = track->next)
        if (track->is_wanted && track->stack.filter.hides_all)
            reveal_stack(process, &track->stack);
}

/* ---- which stack runs ---- */

/* Switches to the track: the thread's next records are of it. Returns false when there is no track of that number, or
 * another thread has it. */
static bool change_track(struct thread_cursor *cursor, uint32_t number)
{
    struct converted_process *process = cursor->process;
    const struct track key = { .number = number };
    struct track *track = NULL;
    if (number == 0) {
        cursor->stack = &cursor->own_stack;
        if (!cursor->own_has_run)
            begin_first_run(cursor, cursor->is_wanted);
        cursor->own_has_run = true;
        return true;
    }
    if (process->n_tracks)
        track = bsearch(&key, process->tracks, process->n_tracks, sizeof key, by_track_number);
    if (!track || (track->cursor && track->cursor != cursor))
        return false;
    cursor->stack = &track->stack;
    if (!track->cursor) {
        track->cursor = cursor;
        track->next = cursor->tracks;
        cursor->tracks = track;
        begin_first_run(cursor, track->is_wanted);
    }
    return true;
}

static uint32_t count_open_records(const struct reader_block *block, uint32_t first)
{
    uint32_t n = 0;
    while (first + n < block->n_records && pnr_record_kind(block->records[first + n]) == PNR_OPEN)
        n++;
    return n;
}

/* Converts a SWITCH record, and the OPEN records after it. */
static void convert_switch(struct thread_cursor *cursor, struct pnr_record record, uint64_t ns)
{
    struct stack_count *count = cursor->process->pipeline.count;
    uint64_t flags = pnr_record_frame(record);
    const struct pnr_record *open = cursor->block.records + cursor->next + 1;
    bool has_list = flags & (PNR_SWITCH_OPEN | PNR_SWITCH_ADDED);
    uint32_t n = has_list ? count_open_records(&cursor->block, cursor->next + 1) : 0;
    count->events++;
    call_stack_account(cursor->stack, ns);
    if (!change_track(cursor, pnr_record_function(record)))
        count->unknown_tracks++;
    else if (flags & PNR_SWITCH_OPEN)
        call_stack_resync(cursor->stack, open, n, flags & PNR_SWITCH_DEEPER, ns);
    else if (has_list)
        call_stack_add(cursor->stack, open, n, ns);
    reveal_deferred(cursor);
    call_stack_run(cursor->stack, ns);
    cursor->next += n;
}

/* ---- blocks ---- */

static enum block_boundary boundary_of(const struct reader_block *block)
{
    return block->is_after_hole ? BLOCK_AFTER_HOLE : block->is_after_pause ? BLOCK_AFTER_PAUSE : BLOCK_CONTINUES;
}

/* Reads the next block and brings the stack to what was open when it began. Returns 1, 0 when it is skipped, -1. */
static int load_block(struct thread_cursor *cursor, struct pnr_err *err)
{
    struct converted_process *process = cursor->process;
    struct reader_block *block = &cursor->block;
    int status = reader_next(process->reader, cursor->thread, block, err);
    if (status <= 0)
        return status;
    cursor->next = 0;
    cursor->has_block = true;
    converted_process_note_time(process, block->begin_ticks);
    if (!block->is_begin)
        return 1;
    uint64_t ns = trace_ns(process, block->begin_ticks > cursor->ticks ? block->begin_ticks : cursor->ticks);
    cursor->has_past = process->has_begun ? cursor->has_past && !block->is_after_hole : true;
    if (boundary_of(block) == BLOCK_CONTINUES)
        call_stack_account(cursor->stack, ns);
    bool is_known = change_track(cursor, block->track);
    process->pipeline.count->failed_compares = 0;
    process->pipeline.count->unknown_tracks += !is_known;
    call_stack_begin_block(cursor->stack, boundary_of(block), ns);
    if (block->has_open && is_known)
        call_stack_resync(cursor->stack, block->open, block->n_open, block->is_deeper, ns);
    reveal_deferred(cursor);
    call_stack_run(cursor->stack, ns);
    return 1;
}

/* The block has been converted: its thread may have ended with it, and the next one begins later. Returns whether there
 * is one. */
static bool leave_block(struct thread_cursor *cursor)
{
    struct converted_process *process = cursor->process;
    uint64_t ticks;
    if (cursor->has_block) {
        uint64_t end_ticks = cursor->block.end_ticks;
        converted_process_note_time(process, end_ticks);
        if (cursor->block.is_last)
            thread_cursor_end(cursor, trace_ns(process, end_ticks ? end_ticks : cursor->ticks));
    }
    cursor->has_block = false;
    cursor->block.n_records = 0;
    cursor->next = 0;
    if (!reader_peek(process->reader, cursor->thread, &ticks))
        return false;
    if (ticks > cursor->ticks)
        cursor->ticks = ticks;
    return true;
}

/* Converts the block's records up to those ticks. Returns whether that was all of them. */
static bool convert_block(struct thread_cursor *cursor, uint64_t until_ticks)
{
    const struct converted_process *process = cursor->process;
    struct call_stack_input input = { process->timeline, process->zero_ns, cursor->block.records, cursor->next,
                                      cursor->block.n_records, cursor->block.is_sparse,
                                      cursor->block.begin_ticks, cursor->ticks };
    for (;;) {
        call_stack_records(cursor->stack, &input, until_ticks);
        cursor->next = input.next;
        cursor->ticks = input.ticks;
        if (input.next == input.n)
            return true;
        if (input.ticks > until_ticks)
            return false;
        convert_switch(cursor, input.records[input.next], trace_ns(process, input.ticks));
        input.next = cursor->next + 1;
    }
}

int thread_cursor_advance(struct thread_cursor *cursor, uint64_t until_ticks, struct pnr_err *err)
{
    struct converted_process *process = cursor->process;
    while (cursor->ticks <= until_ticks) {
        if (cursor->next == cursor->block.n_records) {
            int status = load_block(cursor, err);
            if (status < 0)
                return -1;
            if (status == 0) {          /* the block after it may begin after the time of another thread */
                if (!leave_block(cursor))
                    return 0;
                continue;
            }
        }
        if (!convert_block(cursor, until_ticks))
            return 1;
        converted_process_note_time(process, cursor->ticks);
        if (cursor->stack->is_out_of_memory || process->pipeline.flows->is_out_of_memory ||
            process->pipeline.flows->remarks.is_out_of_memory)
            return pnr_err_set(err, PNR_E_MEMORY, reader_path(process->reader), 0, "out of memory");
        return leave_block(cursor) && !process->pipeline.sink->is_broken;
    }
    return 1;
}

/* ---- begin and end ---- */

void thread_cursor_init(struct thread_cursor *cursor, struct converted_process *process, size_t thread, bool is_wanted,
                        bool is_hidden)
{
    *cursor = (struct thread_cursor){ .process = process, .thread = thread, .is_wanted = is_wanted };
    call_stack_init(&cursor->own_stack, &process->pipeline, (uint32_t)thread, is_hidden);
    cursor->stack = &cursor->own_stack;
    cursor->has_records = leave_block(cursor);
}

void thread_cursor_clear(struct thread_cursor *cursor)
{
    call_stack_clear(&cursor->own_stack);
}

static void end_stack(const struct converted_process *process, struct call_stack *stack, uint64_t ns, bool is_cut)
{
    if (process->open_at_to && is_cut && !stack->filter.hides_all)
        call_stack_save(stack, process->open_at_to, process->order);
    call_stack_end(stack, ns, is_cut);
}

void thread_cursor_end(struct thread_cursor *cursor, uint64_t ns)
{
    const struct converted_process *process = cursor->process;
    bool is_cut = ns > process->to_ns;
    if (is_cut)
        ns = process->to_ns;
    if (!process->has_begun && ns > process->from_ns)
        thread_cursor_reveal(cursor);   /* the thread's last record was before that, but not its end */
    call_stack_account(cursor->stack, ns);
    end_stack(process, &cursor->own_stack, ns, is_cut);
    for (struct track *track = cursor->tracks; track; track = track->next)
        end_stack(process, &track->stack, ns, is_cut);
}

void thread_cursor_account(struct thread_cursor *cursor, uint64_t ns)
{
    call_stack_account(cursor->stack, ns);
}

/* Calls what for all stacks of the thread. */
static void call_for_stacks(struct thread_cursor *cursor, void (*what)(struct call_stack *stack))
{
    what(&cursor->own_stack);
    for (struct track *track = cursor->tracks; track; track = track->next)
        what(&track->stack);
}

void thread_cursor_settle(struct thread_cursor *cursor)
{
    call_for_stacks(cursor, call_stack_settle);
}

void thread_cursor_begin_window(struct thread_cursor *cursor)
{
    call_for_stacks(cursor, call_stack_begin_window);
}

int thread_cursor_list_continuable(const struct thread_cursor *cursor, uint64_t **frames, size_t *n, size_t *capacity)
{
    int result = call_stack_list_continuable(&cursor->own_stack, frames, n, capacity);
    for (const struct track *track = cursor->tracks; track && result == 0; track = track->next)
        result = call_stack_list_continuable(&track->stack, frames, n, capacity);
    return result;
}
