/* The ledger: what was muted when, and of what recording cost (specs/capture-format.md, section 4). It is
 * written like the events of a thread, in blocks of its own; each block begins with what is muted by then. No Python
 * dependency.
 *
 *     rec_ledger_begin
 *         rec_ledger_note                     something was muted or admitted, or a window has begun or ended
 *         rec_ledger_cost
 *         rec_ledger_renew                    after a cut: the segments that follow may become a capture of their own
 *     rec_ledger_stop                         before the session stops
 *
 * All functions are called with the recording lock (thread_buffer.h). */
#ifndef REC_LEDGER_H
#define REC_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "budget.h"

/* Begins an empty ledger. Returns false when out of memory. */
bool rec_ledger_begin(void);

/* Reports that an order was carried out at these ticks. When no chunk is free, the next block says what is muted by
 * then. */
void rec_ledger_note(struct rec_order order, uint64_t ticks);

/* Reports what was spent since the last time (rec_budget_take_cost). */
void rec_ledger_cost(uint64_t cpu_ns, uint32_t cost_ns, uint64_t ticks);

/* Returns how many functions are muted, those of which only the C calls are included. */
uint32_t rec_ledger_count_muted(void);

/* Begins a new block at once if anything is muted. Does nothing without a ledger. */
void rec_ledger_renew(void);

/* Frees the memory. The last block is written when the session stops. */
void rec_ledger_stop(void);

/* Forgets the parent's ledger in a forked child. */
void rec_ledger_forked(void);

#endif
