/* Learns what recording an event costs in this program, from the records. Two events in succession that are recorded
 * at any time, as the exit of f and the next entry of g, are an interval. In a window events of muted functions lie in
 * it, too, and it is longer by what they cost:
 *
 *     without a window    f exits ....... g is entered                        3.0 us on average
 *     in a window         f exits .h.h.h. g is entered, 6 events of h         3.2 us on average: 33 ns an event
 *
 * Hides the means of the intervals that occur most, and how they are weighted. No Python dependency.
 *
 *     rec_cost_learning_start
 *         rec_cost_learning_visible           an event that would be recorded without a window, too
 *         rec_cost_learning_hidden            one that would not
 *         rec_cost_learning_break             what comes next does not follow what came last
 *         rec_cost_learning_estimate
 *
 * The caller ensures that only one thread at a time is in here. call_statistics.c is the one. */
#ifndef REC_COST_LEARNING_H
#define REC_COST_LEARNING_H

#include <stdint.h>

/* What came last in the records of one thread. Begins with zeros. */
struct rec_interval {
    uint64_t ticks;
    uint32_t event;                     /* 0: none */
    uint32_t window;
    uint32_t n_hidden;                  /* since then */
};

void rec_cost_learning_start(void);

/* event: which one, other than 0. window: the number of the window that it is in, from 1; 0: it is in none. */
void rec_cost_learning_visible(struct rec_interval *interval, uint32_t event, uint64_t ticks, uint32_t window);

static inline void rec_cost_learning_hidden(struct rec_interval *interval)
{
    interval->n_hidden++;
}

static inline void rec_cost_learning_break(struct rec_interval *interval)
{
    interval->event = 0;
}

/* Returns the cost of an event in ticks; 0 when too little is known. */
double rec_cost_learning_estimate(void);

#endif
