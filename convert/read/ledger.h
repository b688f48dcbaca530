/* What the ledger of a process says: which functions were muted when, in which windows they were recorded all the same,
 * and what recording cost. Knows what it does not know: what lies before its first block, and in a hole between two.
 *
 *     blocks of the ledger                        events
 *     block 0: 10 MUTE f, 20 MUTE g               10 MUTE f, 20 MUTE g
 *     block 1 is missing                          20 UNKNOWN
 *     block 2, from 50 on: MUTED g, 60 ADMIT g    50 KNOWN, 50 MUTE g, 60 ADMIT g
 *
 *     ledger_init()
 *     for each block: ledger_begin_block(), ledger_add() for its records, ledger_end_block()
 *     [ledger_lose(), where a block is missing]
 *     ledger_view_init(), ledger_view_step() ...      as often as wanted
 *     ledger_clear()
 * Memory: 24 bytes for each event, of which a recording makes some forty a second. Those beyond LEDGER_MAX are not
 * kept: what is muted after them is not known. */
#ifndef LEDGER_H
#define LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/record.h"
#include "format/table.h"

#define LEDGER_MAX (1 << 22)

enum ledger_kind {
    LEDGER_MUTE, LEDGER_ADMIT,          /* of what was not muted, or was */
    LEDGER_WINDOW, LEDGER_WINDOW_END,   /* from here on what is muted is recorded; ... until here */
    LEDGER_COST,
    LEDGER_UNKNOWN,                     /* from here on it is not known what is muted */
    LEDGER_KNOWN                        /* it is known again: what the MUTE events after it say */
};

struct ledger_event {
    uint64_t ticks;
    uint64_t cpu_ns;                    /* COST: the program's CPU time since the COST before */
    uint32_t number;                    /* MUTE, ADMIT: the function; COST: cost in ns; KNOWN: 1 in a window */
    uint8_t kind;                       /* enum ledger_kind */
    bool is_c_calls;                    /* MUTE, ADMIT: only the function's calls of C functions */
};

/* The state at one moment, which moves forward. */
struct ledger_view {
    const struct ledger *ledger;        /* borrowed */
    size_t next;                        /* the first event that has not been passed */
    struct pnr_table functions;         /* those that have been muted; owned */
    uint64_t *muted;                    /* those that are muted, in no order; owned */
    size_t n_muted, muted_capacity;
    uint32_t n_windows;                 /* that have ended */
    bool is_known, in_window;
    bool is_out_of_memory;              /* sticks */
};

struct ledger {
    struct ledger_event *events;        /* in the order of time; owned */
    size_t n, capacity;
    bool exists;                        /* the process has one */
    uint64_t n_unknown_kinds;           /* records that have no place in a ledger, or are of another ledger */
    uint64_t n_backwards;               /* records earlier than the one before them */
    struct ledger_view end;             /* after the last event */
    uint64_t ticks;                     /* of the last record, or the end of its block */
    uint64_t n_blocks;                  /* begun so far */
    size_t known_at;                    /* index + 1 of the last KNOWN, if no window has begun or ended since; or 0 */
    bool is_in_head;                    /* only MUTED records of the block have come so far */
    bool is_cut;                        /* there were more than LEDGER_MAX events */
    bool is_out_of_memory;              /* sticks; events are missing from then on */
};

/* The process has a ledger. is_whole: its first block begins when nothing is muted yet. */
void ledger_init(struct ledger *ledger, bool is_whole);

void ledger_clear(struct ledger *ledger);

void ledger_begin_block(struct ledger *ledger, uint64_t begin_ticks);

/* Adds a record of the block. */
void ledger_add(struct ledger *ledger, uint64_t ticks, struct pnr_record record);

/* end_ticks: 0 if it is not known. */
void ledger_end_block(struct ledger *ledger, uint64_t end_ticks);

/* A block is missing: until the next one begins it is not known what is muted. */
void ledger_lose(struct ledger *ledger);

/* Before the first event. Nothing is muted; that is known unless the first event says otherwise. */
void ledger_view_init(struct ledger_view *view, const struct ledger *ledger);

void ledger_view_clear(struct ledger_view *view);

/* Passes the next event if it is not later than ticks, and returns it; else NULL. */
const struct ledger_event *ledger_view_step(struct ledger_view *view, uint64_t ticks);

/* True for a function that is muted, window or not; is_c_calls: for its calls of C functions alone. */
bool ledger_view_is_muted(const struct ledger_view *view, uint32_t function, bool is_c_calls);

/* As the one before; finds how many windows had ended when the function was muted. */
bool ledger_view_muted_since(const struct ledger_view *view, uint32_t function, bool is_c_calls, uint32_t *n_windows);

/* True for a function that is muted, or was. */
bool ledger_view_was_muted(const struct ledger_view *view, uint32_t function);

/* True when no entry of the function is recorded at this moment, or when that is not known. */
bool ledger_view_hides(const struct ledger_view *view, uint32_t function);

/* What a whole ledger says. */
struct ledger_sum {
    uint64_t n_functions, n_muted;      /* muted some time; at the end; also those of which only calls of C were */
    uint64_t n_windows;
    uint64_t cpu_ns, cost_ns;           /* as the COST events report */
    uint64_t n_unknown;                 /* times in which it is not known what is muted */
};

struct ledger_sum ledger_add_up(const struct ledger *ledger);

#endif
