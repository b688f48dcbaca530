/* Where each block of a process lies, in the order of threads and sequences, as of the moment when the reader was
 * opened; with the process's state, names and clock. Reports all that is wrong with headers and sequences. These are
 * the steps of specs/capture-format.md, sections 7 and 9, except for what is inside the blocks.
 *
 *     index_init()
 *     index_take_snapshot()       chunks, files, names, in this order
 *     [index_exclude_all()]       if nothing of the process is wanted
 *     index_walk()                the headers in the files of the wanted threads
 *     index_clear()
 *
 * A part of the reader, whose users see nothing of it. */
#ifndef INDEX_H
#define INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blocks.h"
#include "reader.h"
#include "symbols.h"
#include "timeline.h"

/* How far the files of a thread, or those of short threads, have been searched for blocks that were chunks
 * (recovery.h). */
struct rescan_position {
    uint32_t segment;
    uint64_t at;
};

struct index {
    const char *path;                   /* borrowed, like the next */
    const struct diagnostics *diagnostics;
    struct blocks blocks;
    enum pnr_process_state process;     /* at the snapshot, which was taken at ... */
    uint64_t until_ns;                  /* CLOCK_MONOTONIC */
    bool has_end;                       /* all of the process had been written by then */
    bool may_evict;                     /* the recorder was allowed to evict its oldest segments */
    bool has_evicted;                   /* ... and did */
    bool lacks_segments;                /* those with the lowest numbers are absent, evicted or not */
    bool has_damaged_live;              /* the live mapping, or a chunk of it, cannot be read */
    bool is_sparse;                     /* there are sparse blocks */
    bool has_torn_ledger;               /* no block comes after damage in a file of the ledger */
    bool has_torn_short;                /* ... in those of short threads */
    bool has_skipped_segments;          /* ... even some that began after the files were listed */
    struct symbols *symbols;            /* owned, like the next ones */
    struct timeline timeline;
    int64_t shift_ns;                   /* of the timeline, from CLOCK_MONOTONIC */
    struct block_ref *refs;             /* of the wanted threads, by thread and sequence */
    size_t n_refs, capacity;
    uint32_t *excluded;                 /* the numbers of the other threads */
    size_t n_excluded;
    struct rescan_position short_position;
    uint64_t n_reported;                /* reports of damage that may be of blocks that are missing */
    uint32_t begin_segment;             /* the process begins with it: above 1 in a capture of a part */
    uint32_t first_segment;             /* the lowest one with a block, and ... */
    uint64_t first_end_ticks;           /* the earliest end of a block in it: what was evicted is not later */
    uint64_t complete_ticks;            /* from then on nothing was evicted; 0: nothing of any thread was */
    struct reader_size size;
};

/* path and diagnostics are borrowed until index_clear(). */
void index_init(struct index *index, const char *path, const struct diagnostics *diagnostics);
void index_clear(struct index *index);

/* Returns 0, or -1 when nothing can be read, and fills err. */
int index_take_snapshot(struct index *index, struct pnr_err *err);

/* Removes all blocks. */
void index_exclude_all(struct index *index);

/* wants: NULL for all threads. Returns 0, or -1 and fills err. */
int index_walk(struct index *index, bool (*wants)(void *arg, uint32_t thread), void *arg, struct pnr_err *err);

/* Adds a block for the caller to fill in. Returns NULL when out of memory. */
struct block_ref *index_add_ref(struct index *index);

/* Finds a block, after index_walk(). Returns NULL when it is not known. */
struct block_ref *index_find_ref(const struct index *index, uint32_t thread, uint32_t sequence);

/* Adds a sample to the timeline, unless it is all 0: not known. */
void index_add_clock_sample(struct index *index, const struct pnr_clock_sample *sample);

/* Reports what is wrong with a block, or with a chunk of the live mapping. */
void index_report(const struct index *index, const struct block_ref *ref, const char *what);
void index_report_chunk(const struct index *index, uint32_t chunk, enum pnr_code code, const char *what);

/* Counts damage that has been reported and may be of a block. */
void index_count_damage(struct index *index);

#endif
