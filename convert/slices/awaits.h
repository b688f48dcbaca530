/* What a task waits for, as far as the frames show it that are suspended with it. They are suspended one right after the
 * other, the innermost one first:
 *
 *     stack                                      records                 then is known
 *     Handle._run, worker, fetch, Queue.get      YIELD Queue.get         waits for Queue.get
 *     Handle._run, worker, fetch                 YIELD fetch             ... in fetch
 *     Handle._run, worker                        YIELD worker            the same; worker is a task: it waits for that
 *
 * A row is broken by any other record. A generator or async generator may have yielded a value to the one around it,
 * which goes on and waits for something else: then nothing is known.
 *
 *     awaits_suspend() for each frame that is suspended
 *         awaits_end() when that was a task
 *     awaits_end_block() */
#ifndef AWAITS_H
#define AWAITS_H

#include <stdbool.h>
#include <stdint.h>

#include "convert/read/symbols.h"
#include "sink.h"

struct awaits {
    struct awaited awaited;
    uint32_t next;                      /* the index of the record that would continue the row */
    bool is_open;                       /* a record may continue it */
    bool is_public;                     /* what is awaited has a name that programs use */
    bool is_complete;                   /* frames further outwards add nothing */
};

/* The innermost frame is suspended, which is of this function, by the record of this index in its block. */
void awaits_suspend(struct awaits *awaits, const struct symbols *symbols, uint32_t function, uint32_t index);

/* The frame that was suspended last is a task, or it is not known what comes before the next record. */
static inline void awaits_end(struct awaits *awaits) { awaits->is_open = false; }

/* The n records from this one on are no break. */
static inline void awaits_skip(struct awaits *awaits, uint32_t index, uint32_t n)
{
    awaits->next += awaits->next == index ? n : 0;
}

/* A block of n records ends. */
static inline void awaits_end_block(struct awaits *awaits, uint32_t n)
{
    awaits->is_open &= awaits->next == n;
    awaits->next = 0;
}

#endif
