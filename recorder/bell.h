/* What one thread waits for, and any other may ring: also a signal handler, which may use neither a mutex nor a
 * condition variable. Rings before the end of a wait count as one. No Python dependency.
 *
 *     struct rec_bell bell = { 0 };           also in a forked child, whatever state the fork found it in
 *         rec_bell_ring                       any thread, any number of times
 *         rec_bell_wait                       one thread at a time */
#ifndef REC_BELL_H
#define REC_BELL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct rec_bell {
    _Atomic uint32_t has_rung;          /* since the last wait */
};

/* Ends the wait, or the next one. Safe in a signal handler. */
void rec_bell_ring(struct rec_bell *bell);

/* Waits for wait_ns at most, by CLOCK_MONOTONIC. Returns whether the bell has rung. A signal ends the wait, too. */
bool rec_bell_wait(struct rec_bell *bell, uint64_t wait_ns);

#endif
