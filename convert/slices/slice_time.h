/* The time of each begin, end and instant of one stack: of the clock, or logical. Hides which of the two it is.
 *
 * On the clock no two begins, ends and flow events of a stack share a nanosecond: each is at least 1 ns after the one
 * before. In logical time each takes the next position of its process, of SLICE_TIME_POSITION_NS.
 *
 *     records          raw ns     clock             position
 *     CALL f             10       f begins at 10    1
 *     START g            10       g begins at 11    2      12 is kept for g's flow event
 *     CALL h             10       h begins at 13    3
 *     RETURN h           10       h ends at 14      4
 *     YIELD g            10       g ends at 15      5
 *     RETURN f           40       f ends at 40      6
 *
 * If h is pruned, slice_time_retract() makes it as if it had not begun: g ends at 13, or at position 3.
 *
 * is_plain is a constant for the inlined callers: it is true when the time can only be the clock's. */
#ifndef SLICE_TIME_H
#define SLICE_TIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLICE_TIME_POSITION_NS 1000

struct slice_time {
    uint64_t last_ns;                   /* of the last begin, end, flow event, instant or creation of a frame */
    uint64_t *positions;                /* how many the process has so far; borrowed; NULL: time is the clock's */
};

/* A slice's begin, so that it can be retracted and its length measured. */
struct slice_begin {
    uint64_t ns;
    uint64_t before_ns;                 /* clock: last_ns before it; logical: its begin on the clock */
};

static inline uint64_t slice_time_later(uint64_t ns, uint64_t min_ns)
{
    return ns > min_ns ? ns : min_ns;
}

static inline uint64_t slice_time_take_position(struct slice_time *time)
{
    return ++*time->positions * SLICE_TIME_POSITION_NS;
}

static inline struct slice_begin slice_time_begin(struct slice_time *time, bool is_plain, uint64_t ns)
{
    bool is_logical = !is_plain && time->positions;
    struct slice_begin begin = { .before_ns = is_plain ? 0 : is_logical ? ns : time->last_ns };
    begin.ns = slice_time_later(is_logical ? slice_time_take_position(time) : ns, time->last_ns + 1);
    time->last_ns = begin.ns;
    return begin;
}

/* How long the slice is on the clock, if it ends now. In logical time that is without the nanoseconds added above. */
static inline uint64_t slice_time_length(const struct slice_time *time, const struct slice_begin *begin, uint64_t ns)
{
    if (!time->positions)
        return slice_time_later(ns, time->last_ns + 1) - begin->ns;
    return ns > begin->before_ns ? ns - begin->before_ns : 0;
}

static inline uint64_t slice_time_end(struct slice_time *time, bool is_plain, uint64_t ns)
{
    if (!is_plain && time->positions)
        time->last_ns = slice_time_take_position(time);
    else
        time->last_ns = slice_time_later(ns, time->last_ns + 1);
    return time->last_ns;
}

static inline void slice_time_retract(struct slice_time *time, const struct slice_begin *begin)
{
    time->last_ns = begin->before_ns;
    if (!time->positions)
        return;
    if (*time->positions * SLICE_TIME_POSITION_NS == begin->ns)
        --*time->positions;             /* else another thread has taken a later one, and this one stays empty */
    time->last_ns = *time->positions * SLICE_TIME_POSITION_NS;
}

static inline uint64_t slice_time_instant(struct slice_time *time, uint64_t ns)
{
    time->last_ns = slice_time_later(time->positions ? slice_time_take_position(time) : ns, time->last_ns + 1);
    return time->last_ns;
}

/* A frame is created: that takes no position, but 2 ns after the last one nothing else happens. */
static inline uint64_t slice_time_create(struct slice_time *time, uint64_t ns)
{
    time->last_ns = time->positions ? *time->positions * SLICE_TIME_POSITION_NS + 2
                                    : slice_time_later(ns, time->last_ns + 1);
    return time->last_ns;
}

#endif
