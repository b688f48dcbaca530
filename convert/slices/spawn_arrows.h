/* The arrows from the slice that created a continuable frame to the first slice of that frame: who spawned it. Hides
 * that either slice may be pending (slice_filter.h): an arrow is emitted when both are retained, whichever comes first.
 *
 *     spawn_arrows_init()
 *     spawn_arrows_add()                  a slice has created a frame
 *         spawn_arrows_decide()               that slice was pending, and is retained or pruned now
 *         spawn_arrows_end()                  the first slice of the frame is retained
 *         spawn_arrows_discard()              the frame's first slice is pruned, or will never come
 *     spawn_arrows_clear()
 *
 * Memory: the arrows that are added and neither ended nor discarded, and those that are ended and not decided. Together
 * they must be no more than SPAWN_ARROWS_MAX. */
#ifndef SPAWN_ARROWS_H
#define SPAWN_ARROWS_H

#include <stddef.h>
#include <stdint.h>

#include "sink.h"

/* The maximum number of arrows at a time. */
#define SPAWN_ARROWS_MAX (3 << 18)

struct spawn_arrow;

struct spawn_arrows {
    struct sink *sink;                  /* borrowed, like the next */
    uint64_t *last_id;                  /* of flows: each arrow takes the next one */
    struct spawn_arrow *pool;           /* owned */
    size_t n, capacity;                 /* of the pool */
    size_t n_alive;                     /* of those, in use */
    uint32_t vacant;                    /* the first of the others; 0 = none */
    uint64_t n_arrows;                  /* that were emitted */
};

void spawn_arrows_init(struct spawn_arrows *spawns, struct sink *sink, uint64_t *last_id);

/* Discards all that are alive. */
void spawn_arrows_clear(struct spawn_arrows *spawns);

/* A slice of the thread created a frame at ns, a time inside it that nothing else has. pending: the list of the stack's
 * arrows whose slices are pending, 0 at first; must outlive the arrow. NULL: the slice is retained. Returns the
 * arrow's number from 1 on, or 0 when out of memory. */
uint32_t spawn_arrows_add(struct spawn_arrows *spawns, uint32_t *pending, uint32_t thread, uint32_t function,
                          uint64_t ns);

/* The frame's first slice is retained; ns is for a flow event in it, and not earlier than the creation. The number is
 * free from now on. */
void spawn_arrows_end(struct spawn_arrows *spawns, uint32_t number, uint32_t thread, uint64_t ns);

/* Discards an arrow whose frame will have no first slice. The number is free from now on. */
void spawn_arrows_discard(struct spawn_arrows *spawns, uint32_t number);

/* The slices of the list's arrows since then are retained, or pruned. */
void spawn_arrows_decide(struct spawn_arrows *spawns, uint32_t *pending, uint64_t since_ns, bool is_retained);

#endif
