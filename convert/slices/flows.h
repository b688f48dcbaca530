/* Numbers the chains of slices that belong to one continuable frame (generator, coroutine, ...), over all threads of a
 * process, and gives each chain its points, between which a viewer draws arrows; tells how long each was suspended.
 *
 *     records                                      points
 *     START f, YIELD f                             (first, at the begin of f's first slice)
 *                       RESUME f, YIELD f          (at the begin of the second slice) the first one is written now
 *                       RESUME f, FINISH f         the second one is written now, as a middle one; then this one, last
 *
 * A point is held back until the next one is known, so that no chain begins without going on, and the last point of
 * each is known to be the last. A frame that is never resumed has no points. Its identity is free for another one after
 * FINISH, or when another START or CREATE comes with it.
 *
 * If that is wanted, there are arrows from where frames were made, too (creations.h); and the chains of coroutines that
 * are tasks are told as such.
 *
 *     flows_init()
 *     for each process: flows_process(); then in the order of time flows_create(), flows_enter(), [flows_stay(),]
 *         flows_leave(), flows_end(), flows_decide(); flows_end_process()
 *     flows_clear()
 *
 * Whether a slice stays in the trace may be known only when it ends (spans.h). Until then it is in its chain, but has
 * no point; one that does not stay is as if its frame had not run.
 *
 * Memory grows with the continuable frames that are alive, not with those that ended, up to FLOWS_MAX of them. One
 * thread at a time. */
#ifndef FLOWS_H
#define FLOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "creations.h"
#include "sink.h"
#include "tasks.h"

/* Chains at a time: those beyond are counted, and have no points. */
#define FLOWS_MAX (3 << 19)

struct flows_chain;

/* What is wanted. Bit k: of frames of enum pnr_function_kind k. */
struct flows_choice {
    unsigned chains;                    /* points between their slices */
    unsigned creations;                 /* arrows from where they were made */
    bool has_tasks;                     /* tasks are told */
};

struct flows {
    struct sink *sink;                  /* borrowed, like the next */
    const struct symbols *symbols;
    struct flows_choice choice;
    unsigned kinds;                     /* those that are in the table */
    struct creations creations;
    struct tasks tasks;
    struct flows_chain *table;          /* owned */
    size_t n, capacity;
    uint64_t secret;                    /* where a frame lies in the table, nobody can tell beforehand */
    uint64_t n_left_out;                /* slices without a chain, as there were FLOWS_MAX, and frames that were made
                                           when there were CREATIONS_MAX; of the present process */
    uint64_t last_id;                   /* given to a chain or a creation */
    uint64_t n_chains;                  /* with at least two slices: those that have ids */
    uint64_t n_tasks;
    bool is_out_of_memory;              /* sticks; chains are incomplete from then on */
};

void flows_init(struct flows *flows, struct sink *sink, struct flows_choice choice);

void flows_clear(struct flows *flows);

void flows_process(struct flows *flows, const struct symbols *symbols);

enum flows_entry {
    FLOWS_START = 1,                    /* the frame's first slice */
    FLOWS_STAYS = 2,                    /* it is sure to be in the trace */
    FLOWS_TASK = 4                      /* what is around it runs tasks */
};

/* A slice of the frame begins at begin_ns or, so that arrows never point backwards when a frame changes threads,
 * slightly later: gives when. The nanosecond after that belongs to its points. how: enum flows_entry. */
uint64_t flows_enter(struct flows *flows, uint32_t thread, uint32_t function, uint64_t frame, unsigned how,
                     uint64_t begin_ns);

/* A slice that was not sure to stay does: before flows_leave(). begin_ns: what flows_enter() gave. If the chain has
 * gone on meanwhile (an exit is missing), the slice has no point. */
void flows_stay(struct flows *flows, uint32_t thread, uint32_t function, uint64_t frame, uint64_t begin_ns);

/* The slice that began at begin_ns ends; is_finished: for ever. */
void flows_leave(struct flows *flows, uint32_t thread, uint32_t function, uint64_t frame, bool is_finished,
                 uint64_t begin_ns, uint64_t end_ns);

/* The frame of this identity, if there is one, has ended, though it did not show. */
void flows_end(struct flows *flows, uint64_t frame);

/* A slice of the thread has made a frame, which has not run yet; after flows_end(). undecided and ns: as for
 * creations_add(). */
void flows_create(struct flows *flows, uint32_t *undecided, uint32_t thread, uint32_t function, uint64_t frame,
                  uint64_t ns);

/* A slice that was not sure to stay does, or has ended and does not: begin_ns is its begin. */
void flows_decide(struct flows *flows, uint32_t *undecided, uint64_t begin_ns, bool stays);

/* Ends all chains. Tasks that have not ended go on at end_ns; is_cut: what follows is not wanted. */
void flows_end_process(struct flows *flows, uint64_t end_ns, bool is_cut);

#endif
