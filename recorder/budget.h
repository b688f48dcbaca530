/* The budget: keeps what recording costs below a share of the program's CPU time, by muting functions for a while. It
 * decides from the records (call_statistics.h) what is muted and when; orders say so, and others carry them out.
 * Hides the accounts, the order in which functions go, windows and hold-offs. specs/recording-design.md, section 13. No
 * Python dependency.
 *
 *     rec_budget_start
 *         rec_budget_read                     the drain, for each block
 *         rec_budget_tick                     the drain's thread, after each block and when rec_budget_tick_wait is over
 *             options.request                 something is to be done with the recording lock
 *         rec_budget_take                     the next order that waits
 *             rec_budget_applied              it was carried out, or
 *             rec_budget_defer                it could not be, now, or
 *             rec_budget_never_mute           it never can be
 *     rec_budget_stop
 *
 * Muted: none of the function's entries is recorded. Admitted: they are. Window: a short time in which muted functions
 * are recorded, too. All functions except rec_budget_read, rec_budget_tick, rec_budget_is_on and
 * rec_budget_tick_wait are called with the recording lock (thread_buffer.h). */
#ifndef REC_BUDGET_H
#define REC_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "../format/block.h"

enum rec_order_kind {
    REC_ORDER_MUTE,                     /* the function */
    REC_ORDER_ADMIT,
    REC_ORDER_MUTE_C,                   /* only the function's calls of C functions */
    REC_ORDER_ADMIT_C,
    REC_ORDER_WINDOW,                   /* record what is muted, too */
    REC_ORDER_WINDOW_END                /* what is muted is not recorded any more */
};

struct rec_order {
    uint8_t kind;                       /* enum rec_order_kind */
    uint32_t function;                  /* 0 for windows */
};

struct rec_budget_options {
    double share;                       /* of the program's CPU time, such as 0.03 */
    double event_ns;                    /* what recording one event costs */
    /* Asks for a call of the recording side, with the recording lock, soon: orders wait, or it is time to look at the
     * stacks (every 10 ms of CPU time while anything is muted) or to write a COST record. Called by the drain's
     * thread or with the recording lock. Not called again before rec_budget_take has returned false, unless 100 ms of
     * CPU time have passed. */
    void (*request)(void);
    /* Reports that an event is found to cost clearly more or less than before; or NULL. With the recording lock. */
    void (*corrected)(double event_ns);
};

struct rec_budget_totals {
    uint64_t n_events;
    uint64_t cost_ns;
    uint64_t cpu_ns;                    /* of the program, from start to stop */
    uint32_t n_muted;                   /* functions that were muted at some time, themselves or their C calls */
    uint64_t n_calls, n_calls_hidden;   /* of these functions, or of C functions by them, estimated; not recorded */
    uint64_t n_late_looks;              /* rec_budget_add_late_look */
    uint64_t unseen_ns;                 /* the longest of them */
};

/* Begins with everything admitted, before the first chunk is begun. Returns 0 or -1. */
int rec_budget_start(const struct rec_budget_options *options, struct pnr_err *err);

/* Gives zeros when there is no budget. Called after the drain has stopped (rec_session_stop). */
void rec_budget_stop(struct rec_budget_totals *totals);

/* Any thread may ask. */
bool rec_budget_is_on(void);

/* Calls a function for each function that is muted at this moment, itself or its C calls. Any thread may ask. */
void rec_budget_each_muted(void (*each)(void *arg, uint32_t function), void *arg);

/* Returns in how many ns rec_budget_tick is due at the latest, whether or not there are blocks; UINT64_MAX: it is not due.
 * The drain's thread asks. */
uint64_t rec_budget_tick_wait(void);

/* Forgets the parent's budget in a forked child. */
void rec_budget_forked(void);

/* ---- the drain's side ---- */

/* Reads a finished block; nothing if it is the ledger's. The ticks of a sparse one are filled (pnr_block_filled). Any
 * thread that writes blocks may call it. */
void rec_budget_read(const struct pnr_block_header *header, const struct pnr_record *records, uint32_t n);

/* Keeps the accounts and decides. Called by the drain's thread alone. */
void rec_budget_tick(void);

/* ---- the recording side ---- */

/* Takes the next order that waits. Returns false when there is none. */
bool rec_budget_take(struct rec_order *order);

/* After rec_budget_take has returned false: true when the drain's thread is to be woken. Orders were taken since the last time,
 * or it sleeps while a program that waits has a request to follow. */
bool rec_budget_is_awaited(void);

/* Puts an order back that cannot be carried out now: it comes again with a later request. */
void rec_budget_defer(struct rec_order order);

/* Reports that an order was carried out at these ticks. */
void rec_budget_applied(struct rec_order order, uint64_t ticks);

/* Reports that this function must go on being recorded, whatever it costs. */
void rec_budget_never_mute(uint32_t function);

/* Adds what recording has cost apart from records: changes, looks at stacks, events that are not recorded. */
void rec_budget_add_cost(uint64_t ns);

/* Counts a look at the stacks that came late: calls of muted functions of up to so many nanoseconds were not seen. */
void rec_budget_add_late_look(uint64_t unseen_ns);

/* Says what one event costs, by a measurement. What the records show corrects it later. */
void rec_budget_set_event_cost(double ns);

/* True when 100 ms of CPU time have passed since the last rec_budget_take_cost. */
bool rec_budget_is_cost_due(void);

/* Gets the CPU time of the program and the cost since the last call. Returns false when both are 0. */
bool rec_budget_take_cost(uint64_t *cpu_ns, uint32_t *cost_ns);

#endif
