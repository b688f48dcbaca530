/* Thread buffers: what events are written to. A thread's events go to its struct rec_buffer, 16 bytes each, into the
 * chunk that it holds; a full chunk goes to the drain (drain.h). No Python dependency.
 *
 *     rec_buffer_reset                        a recording starts
 *         rec_buffer_begin                    a thread's first event
 *             rec_buffer_start_chunk          at first, and whenever the last chunk is full
 *             rec_buffer_append ...           the hot path
 *         rec_buffer_end                      the thread has ended
 *     rec_buffer_end_all
 *
 * The recording lock: the recorder's core has no lock of its own for its calls. Its caller holds one, always the
 * same, around each call in this header and in each other that names this lock. What they share is guarded by it:
 * the list of buffers, rec_min_duration_ticks, and the fields of each buffer. In cpython/ it is the GIL, or what stands
 * for it (lock.h): then a thread appends to the chunk that it holds without the lock. */
#ifndef REC_THREAD_BUFFER_H
#define REC_THREAD_BUFFER_H

#include <stdbool.h>
#include <stdint.h>

#include "../format/record.h"
#include "../format/values.h"
#include "clock.h"
#include "drain.h"
#include "sparse_clock.h"

/* One of the stacks that a thread runs in turn. */
struct rec_track {
    uint32_t number;                    /* in the capture; 0: the thread's own stack */
    bool is_taken_over;                 /* from a greenlet that has ended, and no record says so yet */
    uint64_t block;                     /* the buffer's last block that has OPEN records of this stack; 0: none */
};

struct rec_buffer {
    /* Hot: what an event reads. */
    struct pnr_record *next, *end;      /* where the next record goes; equal when a new chunk is needed */
    uint64_t call, ret;                 /* first words of a CALL and a RETURN, if the counter's lower half is 0 ... */
    uint32_t high;                      /* ... and its upper half this */

    uint32_t n_open;                    /* OPEN records in the chunk */
    uint64_t base;                      /* ticks */
    struct pnr_record *first;           /* after the OPEN records that the chunk begins with */
    struct pnr_record *records;         /* the chunk's */
    struct rec_stream *stream;
    int chunk;                          /* -1: none */
    uint32_t number;                    /* of the thread, in the capture */
    uint32_t n_data;                    /* DATA records in the chunk */
    uint32_t n_lost;                    /* events since the last chunk */
    bool is_ledger;                     /* no thread's: its records are no events */
    uint64_t block;                     /* number of the chunk, from 1 */
    struct rec_track track;             /* that runs */
    struct rec_buffer *newer, *older;   /* the list of all threads' buffers */
};

/* The minimum duration: a call of fewer ticks is elided (rec_buffer_elide). 0: none is. */
extern uint64_t rec_min_duration_ticks __attribute__((visibility("hidden")));

/* What all buffers have recorded since rec_buffer_reset. Records of chunks that are being filled are not counted
 * yet. */
struct rec_buffer_counts {
    uint64_t n_events;                  /* records, except for OPEN */
    uint64_t n_lost;                    /* events that found no chunk */
    uint32_t n_threads, n_threads_ended;
};
struct rec_buffer_counts rec_buffer_count(void);

/* Returns how many events all buffers have recorded, also in chunks that are being filled. Looks at each buffer. */
uint64_t rec_buffer_count_all(void);

/* Forgets all buffers: a recording starts, or this is a forked child and they are its parent's. */
void rec_buffer_reset(void);

/* Begins the buffer of the thread with this number, in zeroed memory that stays the caller's until rec_buffer_end or
 * rec_buffer_end_all. The buffer holds no chunk yet. Returns false when out of memory. */
bool rec_buffer_begin(struct rec_buffer *buffer, uint32_t number);

/* Begins the buffer of the ledger (ledger.h) in the same way. It is in no list: rec_buffer_flush_all and
 * rec_buffer_end_all know it. */
bool rec_buffer_begin_ledger(struct rec_buffer *buffer, uint32_t number);

/* Submits the buffer's chunk, if any, and takes another, to which the caller appends n_open OPEN records at once.
 * Returns whether there is one: not after a write has failed, nor when the drain discards. */
bool rec_buffer_start_chunk(struct rec_buffer *buffer, uint16_t flags, uint32_t n_open);

/* Sets how many events the threads' chunks take that are begun from now on: 1 at least. on_full: called when one is
 * full; or NULL. */
void rec_buffer_limit(uint32_t n, void (*on_full)(void));

/* Reserves space for so many records in the buffer's chunk, which has space for one, whatever its limit is: a list
 * that is dated back belongs into the chunk that was being filled then. Returns false when the chunk itself is too
 * full. */
bool rec_buffer_reserve(struct rec_buffer *buffer, uint32_t n);

/* Sets how many more events each thread's present chunk takes, as far as it has space. */
void rec_buffer_limit_present(uint32_t n);

/* Records how many events found no chunk before this one. Called after the OPEN records of a chunk. */
void rec_buffer_emit_lost(struct rec_buffer *buffer);

/* Counts an event that found no chunk. buffer: its thread's, or NULL when there is none. */
void rec_buffer_count_lost(struct rec_buffer *buffer);

/* Sets how other threads are kept from appending while their chunks are submitted: run calls func(arg) while no other
 * thread is amid an event. NULL, as at first: the recording lock does so. Once a process. */
void rec_buffer_init(void (*run)(void (*func)(void *arg), void *arg));

/* Submits the chunks of all buffers. The next event of each needs a new chunk. */
void rec_buffer_flush_all(void);

/* Submits the last chunk: the thread has ended. */
void rec_buffer_end(struct rec_buffer *buffer);

/* Submits the chunks of all threads, which live on, as ended at this moment, and forgets their buffers. */
void rec_buffer_end_all(struct pnr_clock_sample end);

/* Returns the newest buffer, from which `older` leads to all of them; or NULL. */
struct rec_buffer *rec_buffer_newest(void);

/* True when the chunk can take a record of these ticks. */
static inline bool rec_buffer_has_capacity(const struct rec_buffer *buffer, uint64_t ticks)
{
    return __builtin_expect(buffer->next != buffer->end, 1) && __builtin_expect(ticks >> PNR_TICKS_BITS == 0, 1);
}

/* Stores a record, after rec_buffer_has_capacity. */
static inline void rec_buffer_append(struct rec_buffer *buffer, uint64_t ticks, enum pnr_kind kind, uint64_t frame,
                                     uint32_t function)
{
    pnr_live_store(buffer->next, pnr_record_make(ticks, kind, frame, function));
    buffer->next++;
}

/* Stores a record with its values, after rec_buffer_has_capacity and after rec_buffer_reserve for all their records. The
 * record itself comes last: a process that is killed leaves all of it or nothing. */
void rec_buffer_append_values(struct rec_buffer *buffer, uint64_t ticks, enum pnr_kind kind, uint32_t function,
                              const struct pnr_values_writer *values);

/* Renews `call`, `ret` and `high`, so that rec_buffer_append_now can store records again. */
void rec_buffer_renew_counter(struct rec_buffer *buffer);

/* Stores a record of the present without frame, where the clock is a counter. word: &buffer->call or &buffer->ret.
 * Returns false, and does nothing, when the chunk is full or the counter's upper half has changed (every second or
 * so). */
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

/* Stores a record of the present as rec_buffer_append_now does, but of any kind and with a frame. */
static inline bool rec_buffer_append_frame_now(struct rec_buffer *buffer, enum pnr_kind kind, uint64_t frame,
                                               uint32_t function)
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

/* Store a record of the present as rec_buffer_append_now and rec_buffer_append_frame_now do, but without reading the
 * clock where the function's mode allows it: then its ticks are 0. */
static inline __attribute__((always_inline)) bool rec_buffer_append_sparsely(struct rec_buffer *buffer, bool is_exit,
                                                                             uint32_t function)
{
    struct pnr_record *r = buffer->next;
    uint8_t mode = rec_sparse_mode_of(function);
    if (__builtin_expect(rec_sparse_may_skip(r, mode, is_exit), 1)) {
        pnr_live_store_function(r, (uint64_t)(is_exit ? PNR_RETURN : PNR_CALL) << PNR_TICKS_BITS, function);
        buffer->next = r + 1;
        return true;
    }
    if (!rec_buffer_append_now(buffer, is_exit ? &buffer->ret : &buffer->call, function))
        return false;
    rec_sparse_allow(r + 1, buffer->end, mode, is_exit);
    return true;
}

static inline __attribute__((always_inline)) bool rec_buffer_append_frame_sparsely(struct rec_buffer *buffer,
                                                                                   enum pnr_kind kind, uint64_t frame,
                                                                                   uint32_t function)
{
    struct pnr_record *r = buffer->next;
    uint8_t mode = rec_sparse_mode_of(function);
    bool is_exit = !pnr_kind_enters_frame(kind);
    if (__builtin_expect(rec_sparse_may_skip(r, mode, is_exit), 1)) {
        pnr_live_store(r, pnr_record_make(0, kind, frame, function));
        buffer->next = r + 1;
        return true;
    }
    if (!rec_buffer_append_frame_now(buffer, kind, frame, function))
        return false;
    rec_sparse_allow(r + 1, buffer->end, mode, is_exit);
    return true;
}

/* Removes the chunk's last record. */
static inline void rec_buffer_retract(struct rec_buffer *buffer)
{
    pnr_live_clear(--buffer->next);
}

/* Returns where the chunk ends without the arguments of this function, if they are its last records; else where it
 * ends. */
struct pnr_record *rec_buffer_before_arguments(const struct rec_buffer *buffer, uint32_t function);

/* Removes the chunk's records from this one on. */
void rec_buffer_retract_from(struct rec_buffer *buffer, struct pnr_record *first);

/* Returns the ticks of the last record in the chunk that has some; 0 when there is none. */
static inline uint64_t rec_buffer_last_ticks(const struct rec_buffer *buffer)
{
    const struct pnr_record *r = buffer->next;
    while (r != buffer->records && !pnr_record_ticks(r[-1]))
        r--;
    return r != buffer->records ? pnr_record_ticks(r[-1]) : 0;
}

/* True when r is a record of these, at whatever ticks. */
static inline bool rec_buffer_is_record(struct pnr_record r, enum pnr_kind kind, uint64_t frame, uint32_t function)
{
    struct pnr_record same = pnr_record_make(0, kind, frame, function);
    return (r.word[0] & ~PNR_TICKS_MAX) == same.word[0] && r.word[1] == same.word[1];
}

/* Removes the records of a call that ends at these ticks, with an exit of this kind, if it was shorter than the minimum
 * duration and has no record but CREATE inside. Then returns true, and the exit is not to be stored either. A START
 * stays without its FINISH, and a FINISH without its START: each says that the frame's identity is used anew. */
bool rec_buffer_elide(struct rec_buffer *buffer, uint64_t ticks, enum pnr_kind exit, uint64_t frame, uint32_t function);

#endif
