/* The files that a process's blocks go to: which one is written, when the next is begun, and which old ones are dropped
 * so that the capture keeps to its limits. Free of Python. One thread at a time.
 *
 *     rec_segments_start
 *         rec_segments_append ...             a block
 *         rec_segments_tick                   now and then
 *     rec_segments_stop
 *
 * All processes of a capture share its size. Who begins a segment first makes room for all of it, by dropping the
 * oldest segments of any process that are finished, under a lock on the capture's directory; processes that have ended
 * and whose data is all dropped go, too. specs/recording.md, section 8. */
#ifndef REC_SEGMENTS_H
#define REC_SEGMENTS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "file.h"
#include "../format/block.h"

struct rec_limits {
    uint64_t max_size;                  /* bytes that the capture may take on disk; 0: any */
    uint64_t last_ns;                   /* what is older need not be kept; 0: all is */
};

/* The least max_size that can be kept. */
#define REC_LEAST_SIZE (UINT64_C(16) << 20)

struct rec_segments {
    char process_path[PATH_MAX];
    struct rec_limits limits;
    struct rec_file file;
    uint32_t number;                    /* of the file: 1, 2, ... */
    uint64_t begun_ns;                  /* when its first block was written; 0: it has none. CLOCK_MONOTONIC */
    uint64_t looked_ns;                 /* when what is too old was looked for */
    uint64_t n_bytes;                   /* of all blocks that were written */
};

/* Makes room for a process that begins, with a live mapping of so many bytes; no other process takes it before
 * rec_segments_room_taken. Returns 0, or -1 when the limit leaves none. */
int rec_segments_make_room(const char *capture_path, const struct rec_limits *limits, uint64_t live_size, int *lock,
                           struct pnr_err *err);

void rec_segments_room_taken(int lock);

/* Makes segment 1. Returns 0 or -1. */
int rec_segments_start(struct rec_segments *segments, const char *process_path, const struct rec_limits *limits,
                       struct pnr_err *err);

/* Appends a block, written at this time. Returns 0 or -1. */
int rec_segments_append(struct rec_segments *segments, const void *block, size_t size, uint64_t now_ns,
                        struct pnr_err *err);

/* Ends the segment, if there is a block in it, and begins the next one. Returns 0 or -1. */
int rec_segments_roll(struct rec_segments *segments, struct pnr_err *err);

/* Drops what has become too old, when nothing is written, too. Returns 0 or -1. */
int rec_segments_tick(struct rec_segments *segments, uint64_t now_ns, struct pnr_err *err);

void rec_segments_stop(struct rec_segments *segments);

#endif
