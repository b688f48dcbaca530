/* The drain: owns the chunks of the live mapping, and writes full ones as blocks to the process's segments
 * (segments.h), on a background thread (worker.h). No Python dependency.
 *
 *     rec_drain_start
 *         rec_drain_stream                        once a thread
 *             rec_drain_take, rec_drain_begin     a free chunk, announced in the live mapping
 *             ... the thread fills it ...
 *             rec_drain_submit                    to be written; or rec_drain_release when it stayed empty
 *         rec_drain_end                           the stream gets no more chunks
 *     rec_drain_stop
 *     rec_drain_remove
 *
 * All functions except those of which their comment says otherwise are called with the recording lock
 * (thread_buffer.h). When no chunk is free rec_drain_take writes one itself, so that memory is bounded and nothing
 * is lost; or, if the options say so, the events are discarded. After a failed write nothing more is written, and
 * the chunks stay as they are in the live mapping, from which a reader takes them. */
#ifndef REC_DRAIN_H
#define REC_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "segments.h"
#include "../format/capture.h"

/* Chunks in the live mapping at most: 32 MiB of disk, and of memory as far as they were ever used at once. */
#define REC_DRAIN_CHUNKS 128

struct rec_stream;                      /* the blocks of one thread, as the drain sees them */

struct rec_drain_options {
    struct rec_limits limits;
    bool discards;                      /* on overflow, when no chunk is free, rec_drain_take gives none */
    void (*on_wake)(void);              /* what rec_worker_wake is for; the same after rec_drain_move; or NULL */
    void (*on_tick)(void);              /* called by the worker after each wait for work; or NULL */
    uint64_t (*on_beat)(void);          /* called by it often; returns in how many ns it is to be called again; or NULL */
};

struct rec_drain_totals {
    uint64_t n_bytes;                   /* of segments, also of those that were evicted */
    struct pnr_err failure;             /* the first; code PNR_OK when there was none */
};

/* Starts on a live mapping of at most REC_DRAIN_CHUNKS chunks, which the drain owns from now on, also when it fails.
 * process_path and options are copied. Returns 0 or -1. */
int rec_drain_start(const char *process_path, struct pnr_live live, const struct rec_drain_options *options,
                    struct pnr_err *err);

/* Calls rec_segments_hold, because the program begins to run. */
void rec_drain_hold(void);

/* Returns NULL when out of memory. */
struct rec_stream *rec_drain_stream(uint32_t thread);

/* Ends the stream, which gets no more chunks. It is freed when its last block is written. */
void rec_drain_end(struct rec_stream *stream);

/* Takes a chunk for the caller to fill. Returns its number, or -1: a write has failed (rec_drain_has_failed); chunks
 * are queued and the drain discards (rec_drain_has_overflowed); or all chunks are being filled by threads, of which
 * the caller must submit one. */
int rec_drain_take(void);

/* Takes a chunk of those that are spare: more than a fourth are free. Never waits. Returns its number, or -1. Any thread
 * may call it, which then has the calls for this chunk and its stream to itself. */
int rec_drain_take_spare(void);

/* Returns how many chunks are not free. Any thread may ask. */
uint32_t rec_drain_chunks_in_use(void);

/* True when rec_drain_take gave none although some chunks will become free. */
bool rec_drain_has_overflowed(void);

/* Makes rec_drain_take wait from now on, whatever the options say. */
void rec_drain_block_on_overflow(void);

/* Announces the chunk as the stream's next block. Returns its PNR_BLOCK_RECORDS records, all zero. */
struct pnr_record *rec_drain_begin(int chunk, struct rec_stream *stream, struct pnr_clock_sample begin, uint16_t flags,
                                   uint32_t n_open, uint32_t track);

/* Queues n > 0 records for writing, of which n_events are not OPEN. flags are added to those of rec_drain_begin. */
void rec_drain_submit(int chunk, uint32_t n, uint32_t n_events, struct pnr_clock_sample end, uint16_t flags);

/* Frees a chunk without records. The number of its block is used again. */
void rec_drain_release(int chunk);

/* Puts what there is at this moment, from this segment on, into another process directory: links to the finished
 * segments, and a last one of what is in the chunks, while the traced threads go on. Gives the moment up to which it
 * reaches. Called in on_wake, or with the recording lock. Returns 0 or -1. */
int rec_drain_snapshot(const char *process_path, uint32_t first_segment, struct pnr_clock_sample *end,
                       struct pnr_err *err);

/* Returns the number of the first segment that is needed for all that happened from this moment on (CLOCK_MONOTONIC,
 * ns). Called as rec_drain_snapshot. */
uint32_t rec_drain_find_segment(uint64_t ns);

/* Returns when a segment began, CLOCK_MONOTONIC; 0: that is not known any more. */
uint64_t rec_drain_segment_begin_ns(uint32_t number);

/* Writes all that is queued and ends the segment. Gives the number of the one that later blocks are in. No thread
 * may hold a chunk. Returns 0 or -1. */
int rec_drain_cut(uint32_t *segment, struct pnr_err *err);

/* Puts the finished segments from this number on into another process directory, as links or copies. Returns 0 or
 * -1. */
int rec_drain_link(const char *process_path, uint32_t first_segment, struct pnr_err *err);

/* Continues, after a cut, in another process directory and on another live mapping, which the drain owns from now on,
 * also when it fails. Segments are numbered on. on_move is called when the move can fail no more; then the old
 * mapping is removed. Returns 0, or -1 and nothing has changed. */
int rec_drain_move(const char *process_path, struct pnr_live live, const struct rec_drain_options *options,
                   void (*on_move)(void), struct pnr_err *err);

/* Calls func(arg), in which this process becomes another user, and gives that user the files of the process, so that
 * recording can go on. The worker is parked meanwhile. */
void rec_drain_change_user(uid_t user, void (*func)(void *), void *arg);

/* Returns the bytes of all blocks that were written. */
uint64_t rec_drain_size(void);

/* What a process that records has written and holds at a moment. */
struct rec_drain_status {
    uint64_t n_events;                  /* of all threads; in blocks and in chunks */
    uint64_t n_bytes;                   /* of blocks that were written */
    int n_chunks, n_free, n_queued;
    struct rec_limits limits;
};

/* Gives the status, and calls a function for each thread that has recorded something and goes on: more than once, with
 * numbers of events that are to be added up. Any thread may ask. */
void rec_drain_look(struct rec_drain_status *status, void (*each)(void *arg, uint32_t thread, uint64_t n_events),
                    void *arg);

/* Returns the limits. Any thread may ask. */
struct rec_limits rec_drain_limits(void);

/* Keeps other limits from now on. Any thread may call it. Returns 0, or -1 and those hold that held before. */
int rec_drain_set_limits(const struct rec_limits *limits, struct pnr_err *err);

/* Copies the path of the process's directory (PATH_MAX bytes), where it lies now: the program may have moved it. Any thread
 * may call it. */
void rec_drain_locate(char *path);

/* Forgets the parent's drain in a forked child. */
void rec_drain_forked(void);

/* True once a write has failed. Any thread may ask. */
bool rec_drain_has_failed(void);

/* Writes what is queued and ends the worker. */
void rec_drain_stop(struct rec_drain_totals *totals);

/* Removes the live mapping if all was written. Called last: other processes finish a process that was killed by its
 * live mapping. */
void rec_drain_remove(void);

#endif
