#include "thread_buffer.h"

#include <string.h>

#include "name_table.h"
#include "samples.h"

uint64_t rec_min_duration_ticks;

static struct {
    struct rec_buffer *newest;
    struct rec_buffer *ledger;          /* or NULL */
    struct rec_buffer_counts counts;
    uint32_t chunk_limit;               /* events of a chunk */
    void (*on_full)(void);              /* or NULL */
} buffers;

static void (*run_alone)(void (*func)(void *arg), void *arg);   /* or NULL */

void rec_buffer_init(void (*run)(void (*func)(void *arg), void *arg))
{
    run_alone = run;
}

struct rec_buffer_counts rec_buffer_count(void)
{
    return buffers.counts;
}

struct rec_buffer *rec_buffer_newest(void)
{
    return buffers.newest;
}

void rec_buffer_reset(void)
{
    memset(&buffers, 0, sizeof buffers);
    buffers.chunk_limit = PNR_BLOCK_RECORDS;
    rec_min_duration_ticks = 0;
}

static bool begin_stream(struct rec_buffer *buffer, uint32_t number)
{
    buffer->chunk = -1;
    buffer->number = number;
    return (buffer->stream = rec_drain_stream(number)) != NULL;
}

bool rec_buffer_begin(struct rec_buffer *buffer, uint32_t number)
{
    if (!begin_stream(buffer, number))
        return false;
    buffer->older = buffers.newest;
    if (buffers.newest)
        buffers.newest->newer = buffer;
    buffers.newest = buffer;
    buffers.counts.n_threads++;
    return true;
}

bool rec_buffer_begin_ledger(struct rec_buffer *buffer, uint32_t number)
{
    if (!begin_stream(buffer, number))
        return false;
    buffer->is_ledger = true;
    buffers.ledger = buffer;
    return true;
}

/* ---- chunks ---- */

/* Returns how many events the buffer's chunk has. */
static uint32_t count_events(const struct rec_buffer *buffer)
{
    uint32_t n = (uint32_t)(buffer->next - buffer->records);
    uint32_t n_others = buffer->n_open + buffer->n_data;
    return !buffer->is_ledger && n > n_others ? n - n_others : 0;
}

uint64_t rec_buffer_count_all(void)
{
    uint64_t n = buffers.counts.n_events;
    for (const struct rec_buffer *b = buffers.newest; b; b = b->older)
        n += b->chunk >= 0 ? count_events(b) : 0;
    return n;
}

static void submit_chunk(struct rec_buffer *buffer, struct pnr_clock_sample end, uint16_t flags)
{
    if (buffer->chunk < 0)
        return;
    uint32_t n = (uint32_t)(buffer->next - buffer->records);
    uint32_t n_events = count_events(buffer);
    buffers.counts.n_events += n_events;
    if (n)
        rec_drain_submit(buffer->chunk, n, n_events, end, flags);
    else
        rec_drain_release(buffer->chunk);
    buffer->chunk = -1;
    buffer->first = buffer->next = buffer->end = NULL;
}

static void call_alone(void (*func)(void *arg), void *arg)
{
    if (run_alone)
        run_alone(func, arg);
    else
        func(arg);
}

static void flush_now(void *unused)
{
    struct pnr_clock_sample now = rec_clock_sample();
    (void)unused;
    for (struct rec_buffer *b = buffers.newest; b; b = b->older)
        submit_chunk(b, now, 0);
    if (buffers.ledger)
        submit_chunk(buffers.ledger, now, 0);
    rec_samples_flush(now);
}

void rec_buffer_flush_all(void)
{
    call_alone(flush_now, NULL);
}

/* Submits the chunk of the oldest buffer that has one, except for this one: all chunks are held by threads. */
static void flush_oldest_now(void *arg)
{
    const struct rec_buffer *except = arg;
    struct rec_buffer *oldest = NULL;
    for (struct rec_buffer *b = buffers.newest; b; b = b->older)
        if (b != except && b->chunk >= 0)
            oldest = b;
    if (!oldest && buffers.ledger != except)
        oldest = buffers.ledger;
    if (oldest)
        submit_chunk(oldest, rec_clock_sample(), 0);
    else
        rec_samples_flush(rec_clock_sample());
}

/* Returns a chunk, or -1: names or records cannot be written any more, or the drain discards. */
static int take_chunk(struct rec_buffer *buffer)
{
    int chunk = -1;
    while (!rec_name_table_has_failed() && (chunk = rec_drain_take()) < 0 && !rec_drain_has_failed() &&
           !rec_drain_has_overflowed())
        call_alone(flush_oldest_now, buffer);
    return chunk;
}

/* Returns where a chunk that opens with so many records ends. There is always space for a LOST record and an event. */
static struct pnr_record *end_of_chunk(const struct rec_buffer *buffer, uint32_t n_open)
{
    uint32_t n = PNR_BLOCK_RECORDS;
    if (!buffer->is_ledger && n_open + 1 + buffers.chunk_limit < n)
        n = n_open + 1 + buffers.chunk_limit;
    return buffer->records + n;
}

void rec_buffer_limit(uint32_t n, void (*on_full)(void))
{
    buffers.chunk_limit = n;
    buffers.on_full = on_full;
}

bool rec_buffer_reserve(struct rec_buffer *buffer, uint32_t n)
{
    if (buffer->records + PNR_BLOCK_RECORDS - buffer->next < (ptrdiff_t)n)
        return false;
    if (buffer->end - buffer->next < (ptrdiff_t)n)
        buffer->end = buffer->next + n;
    return true;
}

void rec_buffer_limit_present(uint32_t n)
{
    for (struct rec_buffer *b = buffers.newest; b; b = b->older) {
        if (b->chunk < 0 || b->next == b->end)
            continue;                   /* its next event begins another one in any case */
        ptrdiff_t space = b->records + PNR_BLOCK_RECORDS - b->next;
        rec_sparse_break();             /* which looks at the end where it reads */
        b->end = b->next + (space < (ptrdiff_t)n ? space : (ptrdiff_t)n);
    }
}

bool rec_buffer_start_chunk(struct rec_buffer *buffer, uint16_t flags, uint32_t n_open)
{
    struct pnr_clock_sample now = rec_clock_sample();
    rec_sparse_break();
    if (rec_sparse.is_on && !buffer->is_ledger)
        flags |= PNR_BLOCK_SPARSE;
    if (buffers.on_full && buffer->chunk >= 0 && buffer->next == buffer->end && !buffer->is_ledger)
        buffers.on_full();
    submit_chunk(buffer, now, 0);
    int chunk = take_chunk(buffer);
    if (chunk < 0)
        return false;
    buffer->chunk = chunk;
    buffer->records = rec_drain_begin(chunk, buffer->stream, now, flags, n_open, buffer->track.number);
    buffer->track.block = ++buffer->block;
    buffer->next = buffer->records;
    buffer->first = buffer->records + n_open;
    buffer->n_open = n_open;
    buffer->n_data = 0;
    buffer->end = end_of_chunk(buffer, n_open);
    buffer->base = now.ticks;
    rec_buffer_renew_counter(buffer);
    if (!buffer->is_ledger)
        rec_samples_allow();
    return true;
}

void rec_buffer_append_values(struct rec_buffer *buffer, uint64_t ticks, enum pnr_kind kind, uint32_t function,
                              const struct pnr_values_writer *values)
{
    struct pnr_record *to = buffer->next + 1;
    for (uint32_t at = 0; at < values->size; at += PNR_DATA_SIZE) {
        uint32_t left = values->size - at;
        pnr_live_store(to++, pnr_values_make(ticks, values->bytes + at, left < PNR_DATA_SIZE ? left : PNR_DATA_SIZE));
    }
    uint64_t frame = pnr_values_frame(values->size, values->n_left_out);
    pnr_live_store(buffer->next, pnr_record_make(ticks, kind, frame, function));
    buffer->n_data += (uint32_t)(to - buffer->next - 1);
    buffer->next = to;
}

struct pnr_record *rec_buffer_before_arguments(const struct rec_buffer *buffer, uint32_t function)
{
    struct pnr_record *before = buffer->next;
    for (struct pnr_record *r = before; r != buffer->first; before = r) {
        while (r != buffer->first && pnr_record_kind(r[-1]) == PNR_DATA)
            r--;
        if (r == buffer->first || pnr_record_function(r[-1]) != function ||
            (pnr_record_kind(r[-1]) != PNR_ARGUMENTS && pnr_record_kind(r[-1]) != PNR_TASK))
            break;
        r--;
    }
    return before;
}

void rec_buffer_retract_from(struct rec_buffer *buffer, struct pnr_record *first)
{
    for (struct pnr_record *r = first; r != buffer->next; r++) {        /* a reader stops at the first one */
        buffer->n_data -= pnr_record_kind(*r) == PNR_DATA;
        pnr_live_clear(r);
    }
    buffer->next = first;
}

void rec_buffer_renew_counter(struct rec_buffer *buffer)
{
    uint64_t begin = rec_clock_ticks() & ~(uint64_t)UINT32_MAX;
    if ((begin + UINT32_MAX - buffer->base) >> PNR_TICKS_BITS) {
        rec_sparse_break();
        buffer->end = buffer->next;     /* later ticks do not fit into this chunk's records: a new one is needed */
        return;
    }
    buffer->high = (uint32_t)(begin >> 32);
    buffer->call = begin - buffer->base + ((uint64_t)PNR_CALL << PNR_TICKS_BITS);
    buffer->ret = begin - buffer->base + ((uint64_t)PNR_RETURN << PNR_TICKS_BITS);
}

bool rec_buffer_elide(struct rec_buffer *buffer, uint64_t ticks, enum pnr_kind exit, uint64_t frame, uint32_t function)
{
    const struct pnr_record *entry = buffer->next;
    if (!rec_min_duration_ticks)
        return false;
    do {
        if (entry == buffer->first)
            return false;
        entry--;
    } while (pnr_record_kind(*entry) == PNR_CREATE);
    if (!rec_buffer_is_record(*entry, pnr_kind_effect(exit).entry, frame, function) ||
        ticks - pnr_record_ticks(*entry) >= rec_min_duration_ticks)
        return false;
    while (buffer->next != entry)
        rec_buffer_retract(buffer);
    if (buffer->next != buffer->first && rec_buffer_is_record(buffer->next[-1], PNR_CREATE, frame, function))
        rec_buffer_retract(buffer);     /* of the frame whose whole life is elided */
    return true;
}

/* ---- lost events and the end ---- */

void rec_buffer_count_lost(struct rec_buffer *buffer)
{
    buffers.counts.n_lost++;
    if (buffer)
        buffer->n_lost++;
}

void rec_buffer_emit_lost(struct rec_buffer *buffer)
{
    if (buffer->n_lost)
        rec_buffer_append(buffer, rec_clock_ticks() - buffer->base, PNR_LOST, 0, buffer->n_lost);
    buffer->n_lost = 0;
}

/* Records events that were lost at the very end in a block of their own. A block that is DEEPER, without OPEN
 * records, does not describe the stack. */
static void emit_lost_at_end(struct rec_buffer *buffer)
{
    if (buffer->n_lost && buffer->chunk < 0 && rec_buffer_start_chunk(buffer, PNR_BLOCK_DEEPER, 0))
        rec_buffer_emit_lost(buffer);
}

static void end_buffer(struct rec_buffer *buffer, struct pnr_clock_sample end, uint16_t flags)
{
    submit_chunk(buffer, end, flags);
    rec_drain_end(buffer->stream);
    if (buffer->is_ledger) {
        buffers.ledger = NULL;
        return;
    }
    if (buffer->newer)
        buffer->newer->older = buffer->older;
    else
        buffers.newest = buffer->older;
    if (buffer->older)
        buffer->older->newer = buffer->newer;
    rec_samples_remove(buffer->number);
    buffers.counts.n_threads_ended++;
}

void rec_buffer_end(struct rec_buffer *buffer)
{
    emit_lost_at_end(buffer);
    end_buffer(buffer, rec_clock_sample(), PNR_BLOCK_LAST);
}

void rec_buffer_end_all(struct pnr_clock_sample end)
{
    while (buffers.newest) {
        emit_lost_at_end(buffers.newest);
        end_buffer(buffers.newest, end, 0);
    }
    if (buffers.ledger)
        end_buffer(buffers.ledger, end, 0);
    rec_samples_end(end);
}
