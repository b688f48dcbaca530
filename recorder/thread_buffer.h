/* The buffer: what the engines write to. A thread's events go to its struct rec_buffer, 16 bytes each, into the chunk
 * that it holds; a full chunk goes to the drain. Also writes the name table.
 * Free of Python.
 *
 *     rec_session_start
 *         rec_buffer_begin                          a thread's first event
 *             rec_buffer_start_chunk                        a chunk: at first, and whenever the last one is full
 *             rec_buffer_append ...                  the hot path
 *         rec_buffer_end                             the thread is gone
 *     rec_session_stop
 *
 * Everything here is called by the thread that has the GIL. */
#ifndef REC_THREAD_BUFFER_H
#define REC_THREAD_BUFFER_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "../format/names.h"
#include "../format/record.h"
#include "clock.h"
#include "drain.h"

/* One of the stacks that a thread has by turns (greenlets). */
struct rec_track {
    uint32_t number;                    /* in the capture; 0: the thread's own stack */
    uint64_t block;                     /* the buffer's block in which the stack was told; 0: none */
};

struct rec_buffer {
    /* Hot: what an event reads. */
    struct pnr_record *next, *end;      /* where the next record goes; equal when a turn is due */
    uint64_t call, ret;                 /* first words of a CALL and a RETURN in ... */
    uint32_t high;                      /* this upper half of the counter, less its lower half */

    uint32_t n_open;                    /* OPEN records in the chunk */
    uint64_t base;                      /* ticks */
    struct pnr_record *first;           /* behind the chunk's OPEN records */
    struct pnr_record *records;         /* the chunk's */
    struct rec_stream *stream;
    int chunk;                          /* -1: none */
    uint32_t number;                    /* of the thread, in the capture */
    uint32_t n_lost;                    /* events since the last chunk */
    uint64_t block;                     /* number of the chunk, from 1 */
    struct rec_track track;             /* that runs */
    struct rec_buffer *newer, *older;   /* the list of all buffers */
};

struct rec_totals {
    uint64_t n_events;                  /* records but for OPEN */
    uint64_t n_lost;                    /* events that found no chunk */
    uint32_t n_threads;
    uint64_t n_bytes;                   /* of the capture, when all was written */
    struct pnr_err failure;             /* code PNR_OK when there was none */
};

/* The minimum duration: a call of fewer ticks is dropped (rec_buffer_elide). 0: none is. */
extern uint64_t rec_min_duration_ticks __attribute__((visibility("hidden")));

/* Begins with a process's folder, the name table and the drain: in a new capture, at path or where pnr_capture_make
 * finds room; or, when joins, in the capture that is at path. Copies the capture's path, absolute, to taken (PATH_MAX
 * bytes). Returns 0 or -1. */
int rec_session_start(const char *path, bool joins, const struct rec_drain_options *options, char *taken,
                  struct pnr_err *err);

/* In a forked child: forgets the parent's buffers, which stay the parent's. */
void rec_session_forked(void);

/* A part of the recording that becomes a capture of its own: it begins with a segment. */
struct rec_region {
    char process_path[PATH_MAX];        /* in its capture: a directory that is being begun, and empty */
    uint32_t first_segment;
    struct pnr_clock_sample start;
    uint64_t n_events, n_lost;          /* of the recording, before it */
    uint32_t n_threads_ended;
};

/* A part begins, whose capture is the new directory at path; what is begun in it says that it is in use. Each thread's
 * next block opens with its stack. Returns 0, or -1 and leaves nothing behind in the directory. */
int rec_session_begin_region(const char *path, struct rec_region *part, struct pnr_err *err);

/* The part begins only now. When that fails it has begun when it had before. */
void rec_session_postpone_region(struct rec_region *part);

/* Makes a process of this part up to now in its capture at path. Recording goes on. Gives the part's totals. Returns 0,
 * or -1 and leaves nothing behind in the directory. */
int rec_session_save_region(const char *path, const struct rec_region *part, struct rec_totals *totals, struct pnr_err *err);

/* Takes away what was begun for a part, and its capture at path. */
void rec_session_discard_region(const char *path, const struct rec_region *part);

/* Ends the capture that is written, as rec_session_stop does, and gives its totals. Recording goes on in the capture at path,
 * that of the part, which has it as if it had been written there from the beginning. Returns 0, or -1 and nothing has
 * changed. */
int rec_session_move(const char *path, const struct rec_region *part, const struct rec_drain_options *options,
                 struct rec_totals *totals, struct pnr_err *err);

/* Makes a new capture's directory, as rec_session_start does. Copies its path to taken (PATH_MAX bytes). Returns 0 or -1. */
int rec_session_make_capture(const char *path, char *taken, struct pnr_err *err);

/* Makes a capture, as rec_session_start does, of what this process has recorded up to now in the capture that is written, or in
 * a part, and goes on. In on_wake, or with the GIL. When it fails it leaves nothing behind. */
int rec_session_snapshot(const char *path, const struct rec_region *part, char *taken, struct pnr_err *err);

/* Adds a property to the name table (specs/capture-format.md, section 6.3). */
void rec_session_add_property(const char *key, const char *value);
void rec_session_add_number(const char *key, uint64_t value);

/* Sets the minimum duration of this recording and adds its property. Until then there is none. */
void rec_session_set_min_duration(uint64_t ns);

/* Begins the buffer of a new thread in zeroed memory, which stays the caller's. The buffer holds no chunk yet. Returns false
 * when out of memory. */
bool rec_buffer_begin(struct rec_buffer *buffer);

/* A new track of the thread with this number in the operating system. Returns the track's number in the capture. */
uint32_t rec_session_add_track(uint32_t native_id, struct pnr_string name);

/* Names the thread, or names it again. */
void rec_session_name_thread(const struct rec_buffer *buffer, uint32_t native_id, struct pnr_string name);

/* Adds a function to the name table; strings are module, qualified name and file, cut to PNR_NAME_MAX. Returns
 * its index, or 0 when it could not be written. */
uint32_t rec_session_add_function(enum pnr_function_kind kind, uint32_t line, const struct pnr_string strings[3]);

/* Puts the buffer's chunk, if any, and takes another, to which the caller appends n_open OPEN records at once.
 * Returns whether there is one: not after a write has failed, nor when the drain drops. */
bool rec_buffer_start_chunk(struct rec_buffer *buffer, uint16_t flags, uint32_t n_open);

/* Behind the OPEN records: says how many events found no chunk since the last one. */
void rec_buffer_emit_lost(struct rec_buffer *buffer);

/* Puts the chunks of all buffers: recording pauses. Their next event turns. */
void rec_buffer_flush_all(void);

/* The thread is gone: puts its chunk. Nothing refers to the buffer after it. */
void rec_buffer_end(struct rec_buffer *buffer);

/* Ends all buffers, writes everything and the closing properties. */
void rec_session_stop(struct rec_totals *totals);

/* After the stop: finishes what other processes of the capture left that were killed. The process that began the capture does
 * it at its stop anyway. */
void rec_session_finish_others(void);

/* Ends what could not begin, as rec_session_stop does, and removes it: there is nothing in it. */
void rec_session_discard(struct rec_totals *totals);

/* The newest buffer, from which `older` leads to all of them. */
struct rec_buffer *rec_buffer_newest(void);

/* True when no more events can be kept. */
bool rec_session_is_closed(void);

/* Counts an event that found no chunk. buffer: whose it was, or NULL. */
void rec_buffer_count_lost(struct rec_buffer *buffer);

/* True when the buffer has room for a record at these ticks without a turn. */
static inline bool rec_buffer_has_capacity(const struct rec_buffer *buffer, uint64_t ticks)
{
    return __builtin_expect(buffer->next != buffer->end, 1) && __builtin_expect(ticks >> PNR_TICKS_BITS == 0, 1);
}

/* Stores a record for which there is room. */
static inline void rec_buffer_append(struct rec_buffer *buffer, uint64_t ticks, enum pnr_kind kind, uint64_t frame,
                                 uint32_t function)
{
    pnr_live_store(buffer->next, pnr_record_make(ticks, kind, frame, function));
    buffer->next++;
}

/* Brings the buffer's upper half of the counter to the present, so that records can be stored by rec_buffer_append_now. */
void rec_buffer_renew_counter(struct rec_buffer *buffer);

/* Stores a record of this instant without frame, where the clock is a counter. word: &buffer->call or &buffer->ret. Returns
 * false, and does nothing, when there is no room, or the counter's upper half has changed (every second or so). */
static inline bool rec_buffer_append_now(struct rec_buffer *buffer, const uint64_t *word, uint32_t function)
{
    uint32_t high;
    uint64_t low = rec_clock_counter_halves(&high);
    struct pnr_record *r = buffer->next;
    if (__builtin_expect(r == buffer->end, 0) || __builtin_expect(high != buffer->high, 0))
        return false;
    pnr_live_store_function(r, *word + low, function);
    buffer->next = r + 1;
    return true;
}

/* The same with a frame, for any kind. */
static inline bool rec_buffer_append_frame_now(struct rec_buffer *buffer, enum pnr_kind kind, uint64_t frame, uint32_t function)
{
    uint32_t high;
    uint64_t low = rec_clock_counter_halves(&high);
    struct pnr_record *r = buffer->next;
    if (__builtin_expect(r == buffer->end, 0) || __builtin_expect(high != buffer->high, 0))
        return false;
    struct pnr_record more = pnr_record_make(0, kind - PNR_CALL, frame, function);
    pnr_live_store(r, (struct pnr_record){ { buffer->call + low + more.word[0], more.word[1] } });
    buffer->next = r + 1;
    return true;
}

/* Takes back the last record, of which the caller knows that it is the buffer's newest. */
static inline void rec_buffer_retract(struct rec_buffer *buffer)
{
    pnr_live_clear(--buffer->next);
}

/* True for a record of these, whatever its ticks. */
static inline bool rec_buffer_is_record(struct pnr_record r, enum pnr_kind kind, uint64_t frame, uint32_t function)
{
    struct pnr_record same = pnr_record_make(0, kind, frame, function);
    return (r.word[0] & ~PNR_TICKS_MAX) == same.word[0] && r.word[1] == same.word[1];
}

/* A call is left at these ticks, with an exit record of this kind. When it was shorter than the minimum duration and
 * nothing was recorded in it but CREATE, takes its records back and returns true: the exit is not to be stored
 * either. Not so for a START without its FINISH, or the other way round: the one tells of the other's frame that its
 * identity is used again. */
bool rec_buffer_elide(struct rec_buffer *buffer, uint64_t ticks, enum pnr_kind exit, uint64_t frame, uint32_t function);

#endif
