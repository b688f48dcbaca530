/* The session: this process's directory in a capture, from the start of a recording to its stop. Makes the
 * directory, the name table (name_table.h), the live mapping and the drain (drain.h), and writes how the recording
 * ended. No Python dependency.
 *
 *     rec_session_start
 *         rec_session_begin_region            a region of the recording becomes a capture of its own
 *             rec_session_save_region         it has ended, or
 *             rec_session_move                the recording goes on in its capture, or
 *             rec_session_discard_region
 *         rec_session_snapshot                what there is becomes a capture, and recording goes on
 *         rec_session_forked                  in a forked child, which may start its own
 *     rec_session_stop or rec_session_discard
 *
 * All functions except rec_session_snapshot, rec_session_make_capture and rec_session_finish_others are called with the
 * recording lock (thread_buffer.h). */
#ifndef REC_SESSION_H
#define REC_SESSION_H

#include <limits.h>

#include "cost.h"
#include "drain.h"
#include "snapshot_list.h"
#include "thread_buffer.h"

struct rec_totals {
    uint64_t n_events;                  /* records, except for OPEN */
    uint64_t n_lost;                    /* events that found no chunk */
    uint32_t n_threads;
    uint64_t n_bytes;                   /* of the capture, when all was written */
    struct rec_cost cost;               /* of the whole recording; zeros for a region */
    struct pnr_err failure;             /* code PNR_OK when there was none */
};

/* Starts a session in a new capture, at path or, if that is taken, at a path that pnr_capture_make chooses. If joins,
 * starts it in the capture that is at path. Copies the capture's path, absolute, to taken (PATH_MAX bytes). Returns 0
 * or -1. */
int rec_session_start(const char *path, bool joins, const struct rec_drain_options *options, char *taken,
                      struct pnr_err *err);

/* Forgets the parent's session in a forked child. */
void rec_session_forked(void);

/* Sets the minimum duration of this recording, which is 0 before, and adds its property. */
void rec_session_set_min_duration(uint64_t ns);

/* Lets the clock of this recording be sparse (stretches.h), and adds its property; but not with a minimum duration,
 * which is set before. Returns false when out of memory. */
bool rec_session_set_sparse_clock(void);

/* True when no more events can be recorded: a write has failed. */
bool rec_session_is_closed(void);

/* Writes what was spent since the last COST record, if there is a budget. With the recording lock. */
void rec_session_write_cost(uint64_t ticks);

/* Ends all buffers, writes everything and the properties of the end. */
void rec_session_stop(struct rec_totals *totals);

/* Finishes other processes of the capture that were killed. Called after the stop, which has done it already in the
 * process that began the capture. */
void rec_session_finish_others(void);

/* Stops a recording of which nothing is kept, and removes what it made. */
void rec_session_discard(struct rec_totals *totals);

/* Makes a new capture's directory as rec_session_start does. Copies its path to taken (PATH_MAX bytes). Returns 0 or
 * -1. */
int rec_session_make_capture(const char *path, char *taken, struct pnr_err *err);

/* ---- regions ---- */

/* A region of the recording, which becomes a capture of its own. It begins with a segment. */
struct rec_region {
    char process_path[PATH_MAX];        /* an empty directory in its capture, which says that the capture is in use */
    uint32_t first_segment;
    struct pnr_clock_sample start;
    struct rec_buffer_counts before;    /* what was recorded before it */
};

/* Begins a region, whose capture is the new directory at path. Each thread's next block opens with its stack.
 * Returns 0, or -1 and leaves nothing in the directory. */
int rec_session_begin_region(const char *path, struct rec_region *region, struct pnr_err *err);

/* Makes the region begin only now. If that fails, its beginning stays as it was. */
void rec_session_postpone_region(struct rec_region *region);

/* Makes a process of the region, up to now, in its capture at path. Recording goes on. Gives the region's totals.
 * Returns 0, or -1 and leaves nothing in the directory. */
int rec_session_save_region(const char *path, const struct rec_region *region, struct rec_totals *totals,
                            struct pnr_err *err);

/* Removes what was begun for a region, and its capture at path. */
void rec_session_discard_region(const char *path, const struct rec_region *region);

/* Ends the present capture as rec_session_stop does, and gives its totals. Recording goes on in the region's capture
 * at path, as if it had been written there from the region's beginning. Returns 0, or -1 and nothing has changed. */
int rec_session_move(const char *path, const struct rec_region *region, const struct rec_drain_options *options,
                     struct rec_totals *totals, struct pnr_err *err);

/* Makes a capture, as rec_session_start does, of what has been recorded up to now: in the session, or in a region.
 * joins: adds it to the capture at path, in which other processes have put theirs. Enters it in the list of snapshots.
 * Recording goes on. Called by the drain's thread between two pieces of work, or with the recording lock. When
 * it fails it leaves no files. */
int rec_session_snapshot(const char *path, enum rec_snapshot_cause cause, bool joins, const struct rec_region *region,
                         char *taken, struct pnr_err *err);

/* Returns the path that the capture was made at. Borrowed. */
const char *rec_session_path(void);

/* Copies the path of the capture (PATH_MAX bytes), where it lies now: the program may have moved it. Any thread may call
 * it. */
void rec_session_locate(char *path);

/* The recent part of the session, as a capture. */
struct rec_excerpt {
    uint64_t from_ns;                   /* all from then on is in it, CLOCK_MONOTONIC */
    const char *key, *value;            /* a property that the capture gets */
    uint64_t complete_ns;               /* given: from when on nothing is missing, if that is later than from_ns */
};

/* Makes a capture, as rec_session_snapshot does, of the segments that have what is wanted. */
int rec_session_save_excerpt(const char *path, struct rec_excerpt *excerpt, char *taken, struct pnr_err *err);

#endif
