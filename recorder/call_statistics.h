/* Statistics of calls, by function, from the records of finished chunks: what a function costs to record, and how long
 * its calls last. Sums are weighted: what is older than some 100 ms of CPU time counts little. Hides the stacks of the
 * threads, which are carried from block to block. No Python dependency.
 *
 *     rec_statistics_start
 *         rec_statistics_advance              CPU time has passed
 *         rec_statistics_read                 a block, those of a thread in order as far as possible
 *         rec_statistics_window, rec_statistics_window_end
 *         rec_statistics_of                   what is known of a function
 *     rec_statistics_stop
 *
 * The caller ensures that only one thread at a time is in here. budget.c is the one. */
#ifndef REC_CALL_STATISTICS_H
#define REC_CALL_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../format/block.h"

/* A call counts as no longer than this. One preemption would else make a tiny function look long. */
#define REC_STATISTICS_MAX_NS 100000

/* Of one function. Sums mean something only by the functions below. */
struct rec_function_calls {
    float events, c_events;             /* records outside of windows: of its frames; of C functions that it called */
    float n_timed, time_ns;             /* calls whose whole duration is known, and its sum, each clipped */
    float window_events, window_c_events;       /* records in windows, weighted by windows */
    uint32_t n_calls, n_c_calls;        /* entries since the start, modulo 2^32 */
    bool is_active;                     /* it is in the list of rec_statistics_active */
    bool is_muted, are_c_calls_muted;   /* as the caller has set it: then it is recorded in windows only */
};

void rec_statistics_start(void);

/* Frees all memory. */
void rec_statistics_stop(void);

/* Lets what was recorded so far count less. cpu_ns: CPU time since the last call. */
void rec_statistics_advance(uint64_t cpu_ns);

/* Adds the records of a block: all of them where they are in a window; else the first ones, which stand for the others.
 * event_ns: what one event costs, which is not counted as time of the calls around it. Returns how many events there were. */
uint32_t rec_statistics_read(const struct pnr_block_header *header, const struct pnr_record *records, uint32_t n,
                             double event_ns);

/* Report that a window has begun or ended: records of these ticks and later are in it, or are not. cpu_ns: CPU time of
 * the program in the window. */
void rec_statistics_window(uint64_t ticks);
void rec_statistics_window_end(uint64_t ticks, uint64_t cpu_ns);

/* Gets what is known of a function; NULL when it has had no event. Borrowed until the next block is read. */
struct rec_function_calls *rec_statistics_of(uint32_t function);

/* Gets the numbers of the functions that have had events lately. Borrowed until the next block is read. keeps: true for
 * functions that stay in the list without events. */
const uint32_t *rec_statistics_active(size_t *n, bool (*keeps)(uint32_t function));

/* Converts a sum of events to events per nanosecond of CPU time: of the time before now; of the time in windows. */
double rec_statistics_rate(double events);
double rec_statistics_window_rate(double window_events);

/* Converts a rate to the sum of events that there would be if it had been so for long. */
double rec_statistics_events_at(double rate);

/* Returns what recording an event costs in ns, as the windows show it (cost_learning.h); 0 when too little is known. */
double rec_statistics_event_ns(void);

/* Returns the mean duration of the function's calls in ns; REC_STATISTICS_MAX_NS when it is not known. */
double rec_statistics_mean_ns(const struct rec_function_calls *calls);

#endif
