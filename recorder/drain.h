/* The drain: owns the chunks of the live mapping and one background thread, which encodes full chunks as blocks
 * and appends them to the process's segments. Free of Python. Order of calls:
 *
 *     rec_drain_start
 *         rec_drain_stream                        once a thread
 *             rec_drain_take, rec_drain_begin     a free chunk, announced in the live mapping
 *             ... the thread fills it ...
 *             rec_drain_submit                       to be written; or rec_drain_release when it stayed empty
 *         rec_drain_end                           the stream gets no more chunks
 *     rec_drain_stop
 *     rec_drain_remove
 *
 * All of it but the drain's own thread, rec_drain_wake, rec_drain_unpark and rec_drain_save is called by one thread at
 * a time (the one that has the GIL). When no chunk is free the caller of rec_drain_take writes one itself, so that
 * memory is bounded and nothing is lost; or, when that is wanted, goes without. After a failed write nothing more is
 * written, and the chunks stay as they are in the live mapping, from which a reader takes them. */
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
    bool drops;                         /* when no chunk is free, rec_drain_take gives none */
    void (*on_wake)(void);              /* what rec_drain_wake is for: called by the drain's thread, or, when that is away,
                                         * by rec_drain_run_inline and rec_drain_stop; or NULL */
    void (*on_tick)(void);              /* called by the thread whenever it has waited for work; or NULL */
};

struct rec_drain_totals {
    uint64_t n_bytes;                   /* of segments, also of those that were dropped */
    struct pnr_err failure;             /* the first; code PNR_OK when there was none */
};

/* Starts the thread on a live mapping of at most REC_DRAIN_CHUNKS chunks, which the drain owns from now on, also when
 * it fails. process_path and options are copied. Returns 0 or -1. */
int rec_drain_start(const char *process_path, struct pnr_live live, const struct rec_drain_options *options,
                    struct pnr_err *err);

/* The program begins to run: see rec_segments_hold. */
void rec_drain_hold(void);

/* NULL when out of memory. */
struct rec_stream *rec_drain_stream(uint32_t thread);

/* No more chunks will come; freed when the last is written. */
void rec_drain_end(struct rec_stream *stream);

/* Takes a chunk, which the caller fills. Returns its number, or -1: nothing can be written any more, see
 * rec_drain_has_failed; or all chunks are being filled by other threads, of which the caller must put one; or some wait
 * to be written, and the drain drops. */
int rec_drain_take(void);

/* From now on rec_drain_take waits, whatever the options say. */
void rec_drain_wait(void);

/* True when rec_drain_take gave none although some wait to be written. */
bool rec_drain_is_behind(void);

/* Announces the chunk as the stream's next block. Returns its PNR_BLOCK_RECORDS records, all zero. */
struct pnr_record *rec_drain_begin(int chunk, struct rec_stream *stream, struct pnr_clock_sample begin, uint16_t flags,
                                   uint32_t n_open, uint32_t track);

/* Queues n > 0 records for writing, of which n_events are not OPEN. flags are added to those of rec_drain_begin. */
void rec_drain_submit(int chunk, uint32_t n, uint32_t n_events, struct pnr_clock_sample end, uint16_t flags);

/* Gives back a chunk in which no record stands; its block's number is used again. */
void rec_drain_release(int chunk);

/* Sends the thread away, so that a fork finds a process with no thread but its own: from CPython 3.12 on os.fork warns
 * where there are more. Meanwhile chunks are encoded by those who find no free one. */
void rec_drain_park(void);

/* Fetches the thread again, some time after the last pause. Returns whether it is there. Any thread may call it. */
bool rec_drain_unpark(void);

/* Fetches the thread again at once: no event may come that would do it. */
void rec_drain_unpark_now(void);

/* Has options.on_wake called, soon. Safe in a signal handler. */
void rec_drain_wake(void);

/* Calls it in place of the thread, when that is away and it is due. Any thread may do so. */
void rec_drain_run_inline(void);

/* Saves what there is at this moment, from this segment on, as the segments of another process directory: links to the
 * finished ones, and a last one of what is in the chunks, while the traced threads go on. In on_wake, or by the thread
 * that calls the others. Gives the instant up to which it reaches. Returns 0 or -1. */
int rec_drain_save(const char *process_path, uint32_t first_segment, struct pnr_clock_sample *end, struct pnr_err *err);

/* Writes all that is queued and ends the segment: what comes from now on is in the one whose number it gives. No chunk
 * may be in use. Returns 0 or -1. */
int rec_drain_cut(uint32_t *segment, struct pnr_err *err);

/* Puts the segments from this number on that are finished into another process directory, as links or copies. Returns 0
 * or -1. */
int rec_drain_link(const char *process_path, uint32_t first_segment, struct pnr_err *err);

/* After a cut: goes on in another process directory, on another live mapping, which the drain owns from now on, also
 * when it fails, with the number of the segment that comes next. on_move is called when that is sure, while the drain's
 * thread is away; then the old mapping is removed. Returns 0, or -1 and nothing has changed. */
int rec_drain_move(const char *process_path, struct pnr_live live, const struct rec_drain_options *options,
                   void (*on_move)(void), struct pnr_err *err);

/* Calls func(arg), in which this process becomes another user, and gives it the files of the process, so that recording
 * can go on. The thread is away meanwhile, as after rec_drain_park. */
void rec_drain_change_user(uid_t user, void (*func)(void *), void *arg);

/* Bytes of all blocks that were written. */
uint64_t rec_drain_size(void);

/* In a forked child: forgets the parent's drain. */
void rec_drain_forked(void);

/* True once a write has failed. */
bool rec_drain_has_failed(void);

/* Writes what is queued and ends the thread. */
void rec_drain_stop(struct rec_drain_totals *totals);

/* Removes the live mapping if all was written: as the last of all, for it is what others finish of a process that was
 * killed. */
void rec_drain_remove(void);

#endif
