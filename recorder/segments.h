/* Segments: the files that a process's blocks go to. A process has one segment after the other, and in each a file
 * for each thread. Starts the next segment when the last is full, or old enough, and evicts older ones for it
 * (retention.h). No Python dependency. A struct rec_segments belongs to one thread at a time.
 *
 *     rec_segments_start
 *     rec_segments_hold
 *         rec_segments_append ...             a block
 *         rec_segments_tick                   now and then
 *     rec_segments_stop
 *
 * Only the files that were written last are open, a few at most, however many threads there are. specs/recording.md,
 * section 8. */
#ifndef REC_SEGMENTS_H
#define REC_SEGMENTS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "file.h"
#include "retention.h"
#include "../format/block.h"

/* Files that are open at a time, at most. Appending to another one costs an open(2) and a close(2). */
#define REC_SEGMENTS_OPEN_FILES 8

/* Of so many segments, the last ones, it is known when they began. */
#define REC_SEGMENTS_KNOWN 64

struct rec_thread_file {
    struct rec_file file;
    uint32_t thread;                    /* or PNR_SHORT_THREADS */
    uint64_t used;                      /* when it was written last, counted in blocks; 0: the slot is free */
};

struct rec_segments {
    char process_path[PATH_MAX];
    char path[PATH_MAX], below[PATH_MAX];       /* scratch: the stack may be that of a small thread of the program */
    struct rec_limits limits;
    struct rec_thread_file files[REC_SEGMENTS_OPEN_FILES];      /* of the last segment */
    int directory;                      /* the process's, open; closed when no other descriptor is left; or -1 */
    struct stat directory_was;
    uint32_t number;                    /* of the last segment: 1, 2, ... */
    uint64_t begin_ns[REC_SEGMENTS_KNOWN];      /* by number, modulo their count: CLOCK_MONOTONIC */
    uint64_t size;                      /* of the last segment on disk */
    uint64_t first_block_ns;            /* when its first block was written, CLOCK_MONOTONIC; 0: it has none */
    uint64_t checked_ns;                /* when it was last checked what is too old */
    uint64_t n_blocks, n_bytes;         /* that were written */
};

/* Makes the segment of this number, in which there may be files already. Returns 0 or -1. */
int rec_segments_start(struct rec_segments *segments, const char *process_path, uint32_t number,
                       const struct rec_limits *limits, struct pnr_err *err);

/* Keeps the process's directory open from now on: the program begins to run, and may change its directory or root. */
void rec_segments_hold(struct rec_segments *segments);

/* Appends a block with this header, written at this time. Returns 0 or -1. */
int rec_segments_append(struct rec_segments *segments, const struct pnr_block_header *header, const void *block,
                        size_t size, uint64_t now_ns, struct pnr_err *err);

/* Ends the segment, if there is a block in it, and begins the next one. Returns 0 or -1. */
int rec_segments_roll(struct rec_segments *segments, struct pnr_err *err);

/* Evicts what has become too old. It is called also while nothing is written. Returns 0 or -1. */
int rec_segments_tick(struct rec_segments *segments, uint64_t now_ns, struct pnr_err *err);

/* Ends the segment and keeps other limits from now on. Returns 0, or -1 and those hold that held before: also when what
 * cannot be evicted takes more than they allow. */
int rec_segments_limit(struct rec_segments *segments, const struct rec_limits *limits, struct pnr_err *err);

/* Finds the directory of the process, which the program may have moved. Returns whether it lies elsewhere now. */
bool rec_segments_locate(struct rec_segments *segments);

/* Puts the finished segments from this number on into another process directory, as links or copies. Returns 0 or
 * -1. */
int rec_segments_link(const struct rec_segments *segments, const char *process_path, uint32_t first,
                      struct pnr_err *err);

/* Returns the number of the first segment that is needed for all blocks that were written from this moment on
 * (CLOCK_MONOTONIC, ns). It may have been evicted. */
uint32_t rec_segments_find(const struct rec_segments *segments, uint64_t ns);

/* Returns when the segment of this number began, CLOCK_MONOTONIC; 0: that is not known any more. */
uint64_t rec_segments_begin_ns(const struct rec_segments *segments, uint32_t number);

/* Continues to number segments after `before`, and remembers when those began. */
void rec_segments_continue(struct rec_segments *segments, const struct rec_segments *before);

/* Removes another file of the process. */
void rec_segments_remove(struct rec_segments *segments, const char *name);

/* Closes all descriptors. */
void rec_segments_stop(struct rec_segments *segments);

#endif
