/* What the samples of a process say: how long each thread ran, queued for a processor and held the GIL, between any two
 * moments; and how much memory the process had.
 *
 *     records                                          the curve of what thread 1 ran
 *     10 SAMPLE, 20 SAMPLE, RAN 1: 6 since 1 sample       from (10, 0) to (20, 6)
 *     30 SAMPLE                                           level up to 30
 *     40 SAMPLE, RAN 1: 10 since 1 sample                 from (30, 6) to (40, 16)
 *     50 SAMPLE, SCHEDULE 1: 7 before it waits, RAN 1: 3  from (40, 16) to (43, 19), and level up to 50
 *
 *     samples_init()
 *     for each block: samples_begin_block(), samples_add() for its records
 *     samples_spent(), as often as wanted
 *     samples_clear()
 *
 * Each curve is a sum over time, straight between its points, so that a point can be left out: beyond SAMPLES_MAX points in
 * all, or twice as many as cannot be left out, every second one is. Times are nanoseconds of CLOCK_MONOTONIC. Memory: 16 bytes for each point. One thread at a time. */
#ifndef SAMPLES_H
#define SAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/record.h"
#include "format/table.h"

#define SAMPLES_MAX (1 << 22)           /* points */

struct curve_point {
    uint64_t ns, sum;
};

struct curve {
    struct curve_point *points;         /* ns grows; owned */
    size_t n, capacity;
};

/* Who spent the time is a thread, or the process. */
enum samples_what { SAMPLES_RAN, SAMPLES_QUEUED, SAMPLES_HELD, SAMPLES_WHATS };

struct sampled_thread {
    uint64_t number;                    /* the key */
    struct curve curves[SAMPLES_WHATS];
    uint64_t carried_ns;                /* that it queued, and is not in its curve yet */
    bool is_exact;                      /* when it ran comes from changes of its schedule, as far as none is missing */
};

/* When a thread got or lost a processor, before the sample that is being read. */
struct schedule_change {
    uint32_t before_ns;
    enum pnr_schedule what;
};

struct sampled_memory {
    uint64_t ns, bytes;
    uint32_t n_chunks;
};

struct samples {
    bool exists;                        /* the process has samples */
    struct pnr_table threads;           /* of struct sampled_thread, by number; owned */
    struct curve known;                 /* for how long it was sampled */
    struct sampled_memory *memory;      /* in the order of time; owned */
    size_t n_memory, memory_capacity;
    uint64_t *recent;                   /* when the last samples were, PNR_SPENT_SINCE_MAX + 1 of them: a ring; owned */
    uint64_t n_recent;                  /* since the last hole, or pause */
    struct schedule_change *changes;    /* of the thread `changed`, before its RAN; in the order of time; owned */
    size_t n_changes, changes_capacity;
    uint32_t changed;
    uint64_t n_exact, n_inexact;        /* times in which threads ran that have all changes, or not all */
    uint32_t holder;                    /* who held the GIL at the last sample; 0: nobody, or not known */
    size_t n_points, max_points;        /* beyond those, curves are thinned */
    uint64_t n_samples;
    uint64_t n_unknown;                 /* records that have no place in samples, or are of further ones */
    uint64_t n_backwards;               /* ... earlier than the one before them */
    uint64_t latest_ns;                 /* of the last record */
    bool is_out_of_memory;              /* sticks */
};

void samples_init(struct samples *samples);

void samples_clear(struct samples *samples);

/* continues: no sample is missing before the block, and none was paused. */
void samples_begin_block(struct samples *samples, bool continues);

/* Adds a record of the block. is_thread: its `function` is a thread of the process. */
void samples_add(struct samples *samples, uint64_t ns, struct pnr_record record, bool is_thread);

/* Returns the first moment, not before ns, at which the thread runs, queues or holds the GIL; UINT64_MAX: there is none. */
uint64_t samples_next_change(const struct samples *samples, uint32_t thread, uint64_t ns);

/* Returns the first moment after ns at which the rate changes at which the thread runs, queues or holds the GIL, or whether
 * that is known; UINT64_MAX: there is none. */
uint64_t samples_next_bend(const struct samples *samples, uint32_t thread, uint64_t ns);

/* True when it is known at which moments the thread ran, as far as no change of its schedule is missing. */
bool samples_are_exact(const struct samples *samples, uint32_t thread);

/* Returns the first moment after ns at which the rate changes at which the thread runs; UINT64_MAX: there is none. */
uint64_t samples_next_ran_bend(const struct samples *samples, uint32_t thread, uint64_t ns);

/* What was spent between two moments. */
struct spent_time {
    uint64_t known_ns;                  /* for so long it is known */
    uint64_t ns[SAMPLES_WHATS];
};

/* For how long neither; a thread that waits cannot run. */
static inline uint64_t spent_waited_ns(const struct spent_time *spent)
{
    uint64_t others = spent->ns[SAMPLES_RAN] + spent->ns[SAMPLES_QUEUED];
    return spent->known_ns > others ? spent->known_ns - others : 0;
}

/* thread: its number in the capture. */
struct spent_time samples_spent(const struct samples *samples, uint32_t thread, uint64_t from_ns, uint64_t to_ns);

#endif
