/* For how long an event loop of asyncio did not look for what has become ready: from the begin of the first callback that it
 * runs in a row to the end of the last one. Whatever becomes ready meanwhile waits at most so long.
 *
 *     slices                                     counter
 *     BaseEventLoop._run_once [0, 90]            at 20: 60
 *         select [0, 20]
 *         Handle._run [20, 50]
 *         Handle._run [50, 80]                   at 80: 0
 *
 *     loop_lag_process()
 *         loop_lag_thread() for each of its threads
 *         loop_lag_concerns(), then loop_lag_add() for each slice
 *     loop_lag_clear() */
#ifndef LOOP_LAG_H
#define LOOP_LAG_H

#include "convert/slices/sink.h"

#define LOOP_LAG_MIN_NS UINT64_C(1000000)       /* shorter ones are not reported */

struct loop_thread {
    uint32_t tid;
    struct pnr_string name;             /* owned */
    uint64_t begin_ns, end_ns;          /* of the callbacks in a row so far; end 0: there was none */
};

/* All zero at first. */
struct loop_lag {
    uint32_t run, once;                 /* Handle._run and BaseEventLoop._run_once; 0: not recorded, or not wanted */
    struct loop_thread *threads;        /* owned; by their numbers */
    size_t n;
};

void loop_lag_process(struct loop_lag *lag, const struct symbols *symbols);

/* Returns 0, or -1 when out of memory. */
int loop_lag_thread(struct loop_lag *lag, const struct sink_thread *thread);

static inline bool loop_lag_concerns(const struct loop_lag *lag, const struct slice *slice)
{
    return lag->run && (slice->function == lag->run || slice->function == lag->once);
}

/* Returns whether there is something to report: the counter's value from its begin on, and 0 from its end on. */
bool loop_lag_add(struct loop_lag *lag, const struct slice *slice, struct sink_recorder_event events[2]);

void loop_lag_clear(struct loop_lag *lag);

#endif
