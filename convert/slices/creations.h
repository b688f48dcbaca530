/* The arrows from the slice that made a continuable frame to the first slice of that frame: who spawned it. Hides that
 * it may be known only later whether the two slices are in the trace (spans.h): an arrow is drawn when both are sure
 * to be, in whichever order that comes out.
 *
 *     creations_init()
 *     creations_add()                     a slice has made a frame
 *         creations_decide()                  that slice is in the trace, or not, if that was not known
 *         creations_run()                     the first slice of the frame is in the trace
 *         creations_drop()                    ... or is not, or will never come
 *     creations_clear()
 *
 * Memory: those that are added and not yet run or dropped, and those that have run and are not decided. Together there
 * must be no more than CREATIONS_MAX. */
#ifndef CREATIONS_H
#define CREATIONS_H

#include <stddef.h>
#include <stdint.h>

#include "sink.h"

/* At a time. */
#define CREATIONS_MAX (3 << 18)

struct creation;

struct creations {
    struct sink *sink;                  /* borrowed, like the next */
    uint64_t *last_id;                  /* of points: each arrow has the next one */
    struct creation *pool;              /* owned */
    size_t n, capacity;                 /* of the pool */
    size_t n_alive;                     /* of those, in use */
    uint32_t vacant;                    /* the first of the others; 0 = none */
    uint64_t n_arrows;
};

void creations_init(struct creations *creations, struct sink *sink, uint64_t *last_id);

/* Forgets all that are alive. */
void creations_clear(struct creations *creations);

/* A slice of the thread made a frame at ns, which is inside it and nothing else's. undecided: the list of a track's
 * creations of which it is not known whether their slices stay, 0 at first; must outlive it. NULL: the slice is sure to
 * stay. Gives a number from 1 on, or 0 when out of memory. */
uint32_t creations_add(struct creations *creations, uint32_t *undecided, uint32_t thread, uint32_t function,
                       uint64_t ns);

/* The frame's first slice stays; ns is for a point in it, and not earlier than when the frame was made. The number is
 * free from now on. */
void creations_run(struct creations *creations, uint32_t creation, uint32_t thread, uint64_t ns);

/* There will be no arrow. The number is free from now on. */
void creations_drop(struct creations *creations, uint32_t creation);

/* It is known of the creations in the list since then whether their slice stays. */
void creations_decide(struct creations *creations, uint32_t *undecided, uint64_t since_ns, bool stays);

#endif
