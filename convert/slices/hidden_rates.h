/* How often, and for how long, functions that are not muted call muted ones: learned in windows, where all is recorded,
 * and applied where the muted ones are not. A caller is the nearest function around a call that is recorded outside of
 * windows, too.
 *
 *     window, g and h muted            time of f     calls and self time under f
 *     10 f  12 g  13 h  15 g  16 f     6             g: 1 call, 2; h: 1 call, 2
 *     then 300 without a window, f innermost of what is recorded: some 50 calls and 100 of g, and the same of h
 * An event takes time itself (the property event_cost_ns), which is subtracted: of each time as many as there were
 * events.
 *
 *     hidden_rates_init()
 *     in windows: hidden_rates_add_time(), hidden_rates_add_call(); hidden_rates_end_window()
 *     hidden_rates_settle(), when all windows are known
 *     hidden_rates_choose(), when it changes what is muted
 *     for each slice: hidden_time_add() ..., hidden_time_settle(), hidden_time_reset()
 *     hidden_rates_clear()
 *
 * Memory: the pairs of caller and muted function that occur in windows, up to HIDDEN_PAIRS_MAX: others are not
 * estimated. */
#ifndef HIDDEN_RATES_H
#define HIDDEN_RATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/read/ledger.h"
#include "format/table.h"
#include "sink.h"

#define HIDDEN_PAIRS_MAX (1 << 18)

/* Steps of work that estimates may take: at first, and for each event more. A few bytes of a damaged capture can ask for
 * billions. When these are used up, no more is estimated. */
#define HIDDEN_WORK_FIRST (UINT64_C(1) << 28)
#define HIDDEN_WORK_OF_EVENT 256

/* Time as it was recorded, with the events in it: so many of average cost. */
struct recorded_time {
    uint64_t ns;
    double n_events;
};

/* What two successive events cost in the time between them, in events of average cost. From the entry to the exit of a
 * call that calls nothing it is less: the processor does the end of one event, the call's own work and the
 * begin of the next event at once. From an exit to an entry it is more. Leaf calls in sequence have both: their mean is
 * 1, so that the estimated number of calls stays. Measured: bench/README.md. */
#define HIDDEN_LEAF_EVENTS 0.65
#define HIDDEN_BETWEEN_EVENTS 1.35
#define HIDDEN_NESTED_EVENTS 1          /* from entry to entry, or from exit to exit */

struct interval_bucket;
struct interval_limit;
struct window_time;
struct hidden_caller;
struct hidden_pair;

struct hidden_rates {
    double event_cost_ns;
    struct hidden_caller *callers;      /* [0] is not one; owned, like the next */
    struct hidden_pair *pairs;          /* [0] is not one */
    uint32_t n_callers, n_pairs;
    size_t caller_capacity, pair_capacity;
    struct pnr_table by_situation;      /* callers: all of a function's time, and what follows one event */
    struct pnr_table by_both;           /* pairs */
    uint32_t touched;                   /* list of the callers that have run in the window */
    struct window_time *times;          /* in the present window, in which there is no limit yet; owned */
    size_t n_times, times_capacity;
    struct recorded_time window;        /* the present window, all callers together */
    double apart_ns;                    /* CPU time since the window before */
    uint64_t max_ns;                    /* the longest time between two events that counts now */
    double part;                        /* of it, and of shorter ones */
    struct interval_bucket *intervals;  /* times between events since the last report of cost, by their length; owned */
    double n_events;                    /* since the last report */
    struct interval_limit *limits;      /* before each report of cost; owned */
    size_t n_limits, limit_capacity;
    uint64_t work_left;
    bool is_exhausted;                  /* no work was left; sticks */
    bool is_out_of_memory;              /* sticks */
};

void hidden_rates_init(struct hidden_rates *rates, double event_cost_ns);

void hidden_rates_clear(struct hidden_rates *rates);

/* Takes n steps of the work that is left. */
static inline void hidden_rates_work(struct hidden_rates *rates, uint64_t n)
{
    rates->is_exhausted |= rates->work_left < n;
    rates->work_left -= rates->is_exhausted ? 0 : n;
}

/* Of a time between two events only what the program can have run counts: threads wait, and processors have other
 * work. The ledger reports the CPU time; the longest times are cut until they add up to that. Outside of windows those
 * that may be the program's own are not cut: of all an equal part counts. While rates are learned,
 * hidden_rates_note_interval() gets all times up to the report, and hidden_rates_limit_intervals() the CPU time and the
 * cost that was accounted in it, and whether it was that of a window. When they are applied, hidden_rates_use_limit()
 * takes the result: i counts the reports that have been passed. hidden_rates_cut() makes of a time what counts. */
void hidden_rates_note_interval(struct hidden_rates *rates, struct recorded_time time);
void hidden_rates_limit_intervals(struct hidden_rates *rates, uint64_t cpu_ns, uint64_t cost_ns, bool in_window);
void hidden_rates_use_limit(struct hidden_rates *rates, size_t i);
void hidden_rates_cut(const struct hidden_rates *rates, struct recorded_time *time);

/* Where calls are hidden. What a function does depends on what it has done: so it makes a difference which event, of
 * those that are recorded outside of windows, too, was the last one. */
struct hidden_situation {
    uint32_t caller;                    /* the innermost function that is not hidden */
    uint32_t last_event;                /* any number for it, other than 0; 0: not known */
};

/* Time in a window in this situation. hidden: the function that ran, or 0. */
void hidden_rates_add_time(struct hidden_rates *rates, struct hidden_situation situation, uint32_t hidden,
                           struct recorded_time time);

/* What makes a call hidden outside of windows: that this function is muted, or its calls of C functions are. */
struct mute_reason {
    uint32_t function;
    bool is_c_calls;
};

/* A call in a window. */
void hidden_rates_add_call(struct hidden_rates *rates, struct hidden_situation situation, uint32_t hidden,
                           struct mute_reason reason);

void hidden_rates_end_window(struct hidden_rates *rates, const struct ledger_view *muted);

/* Makes rates of what was added. */
void hidden_rates_settle(struct hidden_rates *rates);

/* Only calls of what is muted now are hidden from now on. */
void hidden_rates_choose(struct hidden_rates *rates, const struct ledger_view *muted);

/* What an open slice hides. */
struct hidden_time {
    struct recorded_time time;          /* in this situation, since the last hidden_time_settle() */
    struct hidden_situation situation;
    struct hidden_calls *calls;         /* before that; owned */
    size_t n, capacity;
};

/* Adds time in this situation, outside of windows, in which the slice was the innermost one. */
void hidden_time_add(struct hidden_time *hidden, struct hidden_rates *rates, struct hidden_situation situation,
                     struct recorded_time time);

/* Estimates the calls of the time added so far: comes before hidden_rates_choose(), and at the end of the slice. */
void hidden_time_settle(struct hidden_time *hidden, struct hidden_rates *rates);

/* For the next slice; keeps the memory. */
void hidden_time_reset(struct hidden_time *hidden);

void hidden_time_clear(struct hidden_time *hidden);

#endif
