/* What there is of a process when it is opened: its state, its names, its clock, and where each of its blocks lies, in the
 * order of threads and sequences. Says all that is wrong with headers and sequences. The steps of specs/capture-format.md,
 * sections 7 and 9, but for what is in the blocks.
 *
 *     index_init()
 *     index_look()            chunks, files, names, in this order: the moment that is read
 *     [index_leave_out()]     if nothing of it is wanted
 *     index_walk()            the headers in the files of the threads that are wanted
 *     [index_look_on()]       later, for a chunk that has become a block
 *     index_clear()
 *
 * A part of the reader: who uses a reader sees nothing of it. */
#ifndef INDEX_H
#define INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blocks.h"
#include "reader.h"
#include "symbols.h"
#include "timeline.h"

/* How far the files of a thread, or those of short threads, have been looked through for blocks that were chunks. */
struct trail {
    uint32_t segment;
    uint64_t at;
};

struct index {
    const char *path;                   /* borrowed, like the next */
    const struct diagnostics *diagnostics;
    struct blocks blocks;
    enum pnr_process_state process;     /* when it was looked at, which was at ... */
    uint64_t until_ns;                  /* CLOCK_MONOTONIC */
    bool has_end;                       /* all of it had been written by then */
    bool may_drop;                      /* the recorder was allowed to drop its oldest segments */
    bool has_dropped;                   /* ... and did */
    bool has_passed_over;               /* ... also some that were begun after the files had been listed */
    struct symbols *symbols;            /* owned, like the next ones */
    struct timeline timeline;
    struct place *places;
    size_t n_places, capacity;
    uint32_t *left_out;                 /* the threads that are not wanted, by number: they have no places */
    size_t n_left_out;
    struct trail short_trail;
    uint64_t n_told;                    /* reports of damage that may be of blocks that are missing */
    uint32_t begin_segment;             /* the one that the process begins with: above 1 in a capture of a part */
    uint32_t first_segment;             /* the lowest one with a block, and ... */
    uint64_t first_end_ticks;           /* the earliest end of one in it: nothing dropped is later */
    uint64_t complete_ticks;            /* from then on nothing was dropped; 0: nothing of any thread was */
    struct reader_size size;
};

/* Both are borrowed until index_clear(). */
void index_init(struct index *index, const char *path, const struct diagnostics *diagnostics);
void index_clear(struct index *index);

/* Returns 0, or -1 when nothing can be read, and fills err. */
int index_look(struct index *index, struct pnr_err *err);

/* The process has no block. */
void index_leave_out(struct index *index);

/* wants: NULL for all threads. Returns 0, or -1 and fills err. */
int index_walk(struct index *index, bool (*wants)(void *arg, uint32_t thread), void *arg, struct pnr_err *err);

/* Where a thread's blocks are looked for that are chunks now. */
struct trail index_trail(const struct index *index);

/* Looks where the thread's chunks are now that have become blocks: their places say it. */
void index_look_on(struct index *index, uint32_t thread, struct trail *trail);

/* Says what is wrong at a place, or of a chunk. */
void index_say(const struct index *index, const struct place *place, const char *what);

#endif
