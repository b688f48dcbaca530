#include "ledger.h"

#include <stdlib.h>
#include <string.h>

#include "name_table.h"
#include "thread_buffer.h"
#include "../format/array.h"

/* What is muted of a function: bits. */
enum { MUTED_ITSELF = 1, MUTED_C_CALLS = 2 };

static struct {
    bool is_on;
    struct rec_buffer buffer;
    uint8_t *muted;                     /* by function; owned */
    size_t n_functions;
    uint32_t n_itself, n_c_calls;       /* how many bits of each kind are set */
    bool is_in_window;
    bool is_incomplete;                 /* a record found no chunk: the next block has the flag RESYNC */
} ledger;

/* ---- what is muted ---- */

/* Returns whether anything has changed. */
static bool note_muted(uint32_t function, int bit, bool is_muted)
{
    if (pnr_array_reserve_number(&ledger.muted, &ledger.n_functions, function) != 0 ||
        !(ledger.muted[function] & bit) == !is_muted)
        return false;
    ledger.muted[function] ^= (uint8_t)bit;
    *(bit == MUTED_ITSELF ? &ledger.n_itself : &ledger.n_c_calls) += is_muted ? 1 : -1;
    return true;
}

uint32_t rec_ledger_count_muted(void)
{
    uint32_t n = ledger.n_itself;
    for (uint32_t i = 0; ledger.n_c_calls && i < ledger.n_functions; i++)
        n += ledger.muted[i] == MUTED_C_CALLS;
    return n;
}

/* ---- blocks ---- */

/* Starts a chunk, which begins with all that is muted. Returns false when there is no chunk. */
static bool start_ledger_chunk(void)
{
    struct rec_buffer *buffer = &ledger.buffer;
    if (!rec_buffer_start_chunk(buffer, ledger.is_incomplete ? PNR_BLOCK_RESYNC : 0, 0)) {
        ledger.is_incomplete = true;
        return false;
    }
    ledger.is_incomplete = false;
    for (uint32_t i = 0; i < ledger.n_functions; i++)
        for (int bit = MUTED_ITSELF; bit <= MUTED_C_CALLS; bit++)
            if (ledger.muted[i] & bit && rec_buffer_has_capacity(buffer, 0))
                rec_buffer_append(buffer, 0, PNR_MUTED, bit == MUTED_C_CALLS, i);
    if (ledger.is_in_window && rec_buffer_has_capacity(buffer, 0))
        rec_buffer_append(buffer, 0, PNR_WINDOW, 0, rec_ledger_count_muted());
    return true;
}

/* Ensures that a record of these ticks has a place. Returns false when there is no chunk, or no ledger. */
static bool ensure_ledger_chunk(uint64_t ticks)
{
    const struct rec_buffer *buffer = &ledger.buffer;
    if (!ledger.is_on)
        return false;
    return (buffer->chunk >= 0 && (ticks < buffer->base || rec_buffer_has_capacity(buffer, ticks - buffer->base))) ||
           start_ledger_chunk();
}

/* Appends a record after ensure_ledger_chunk. What happened just before the chunk began has its first ticks. With a
 * sparse clock the next event of a thread reads it, so that readers know which events come after the record. */
static void append_to_ledger(enum pnr_kind kind, uint64_t frame, uint32_t function, uint64_t ticks)
{
    struct rec_buffer *buffer = &ledger.buffer;
    uint64_t since = ticks > buffer->base ? ticks - buffer->base : 0;
    rec_sparse_break();
    if (rec_buffer_has_capacity(buffer, since))
        rec_buffer_append(buffer, since, kind, frame, function);
}

/* ---- interface ---- */

bool rec_ledger_begin(void)
{
    memset(&ledger, 0, sizeof ledger);
    uint32_t number = rec_name_table_add_track(PNR_THREAD_LEDGER, 0, (struct pnr_string){ "", 0 });
    return ledger.is_on = rec_buffer_begin_ledger(&ledger.buffer, number);
}

void rec_ledger_note(struct rec_order order, uint64_t ticks)
{
    static const uint8_t kinds[] = {
        [REC_ORDER_MUTE] = PNR_MUTE, [REC_ORDER_ADMIT] = PNR_ADMIT, [REC_ORDER_MUTE_C] = PNR_MUTE,
        [REC_ORDER_ADMIT_C] = PNR_ADMIT, [REC_ORDER_WINDOW] = PNR_WINDOW, [REC_ORDER_WINDOW_END] = PNR_WINDOW_END };
    bool is_window = order.kind == REC_ORDER_WINDOW || order.kind == REC_ORDER_WINDOW_END;
    bool is_c = order.kind == REC_ORDER_MUTE_C || order.kind == REC_ORDER_ADMIT_C;
    bool has_chunk = ensure_ledger_chunk(ticks);
    if (is_window)
        ledger.is_in_window = order.kind == REC_ORDER_WINDOW;
    else if (!note_muted(order.function, is_c ? MUTED_C_CALLS : MUTED_ITSELF, kinds[order.kind] == PNR_MUTE))
        return;
    if (has_chunk)
        append_to_ledger(kinds[order.kind], is_c, is_window ? rec_ledger_count_muted() : order.function, ticks);
}

void rec_ledger_cost(uint64_t cpu_ns, uint32_t cost_ns, uint64_t ticks)
{
    const uint64_t max = (UINT64_C(1) << PNR_FRAME_BITS) - 1;
    if (ensure_ledger_chunk(ticks))
        append_to_ledger(PNR_COST, cpu_ns < max ? cpu_ns : max, cost_ns, ticks);
}

void rec_ledger_renew(void)
{
    if (ledger.is_on && (ledger.n_itself || ledger.n_c_calls))
        start_ledger_chunk();
}

void rec_ledger_stop(void)
{
    free(ledger.muted);
    ledger.muted = NULL;
    ledger.n_functions = 0;
    ledger.n_itself = ledger.n_c_calls = 0;
    ledger.is_on = false;
}

void rec_ledger_forked(void)
{
    free(ledger.muted);
    memset(&ledger, 0, sizeof ledger);
}
