/* Threads: which buffer belongs to a thread state, its names and its end; and the stack of a thread as it is, which each
 * block opens with. All functions are called with the GIL; none runs Python code.
 *
 *     rec_threads_init                    once a process
 *         rec_threads_start               a recording begins
 *             rec_threads_new             a thread's first event
 *             rec_threads_append          an event
 *         rec_threads_disable             a recording ends */
#ifndef REC_THREADS_H
#define REC_THREADS_H

#include "functions.h"

#include "../thread_buffer.h"

/* A frame that is on no stack yet, or no more, or a call of a C function (frame PNR_OPEN_C_CALL); function 0 = none. */
struct rec_open_frame {
    uint64_t frame;
    uint32_t function;
};
static const struct rec_open_frame rec_no_frame;

struct rec_threads {
    bool is_active;
    bool is_waiting;                    /* not active, but going to be: paused, or in a child before its first event */
    void (*on_first_event)(void);           /* to be called at the next event, once; or NULL */
    bool is_unhooked;                   /* the frame engine is in a gap: nothing is recorded on any thread */
    bool is_told;                       /* of entries by events, which can come after others in the same frame */
    bool has_late_exits;                /* of a frame that is left when it has been cleared, from 3.12 on */
    uint32_t n_pauses;
    const char *missing;                /* why calls may be missing: what another tool has done; NULL: none are */
    PyInterpreterState *interp;         /* that is recorded */
    uint32_t n_ending;                  /* buffers whose thread is being cleared */
    void (*on_new)(PyThreadState *ts);  /* called for each thread that gets a buffer; or NULL */
    void (*before_c_call)(PyThreadState *ts);   /* the frame engine's; or NULL */
    void (*on_exception)(void);         /* an exception ends a thread; or NULL */
    void (*on_fork)(void);              /* this is a forked child, and nobody has said so */
};
extern struct rec_threads rec_threads __attribute__((visibility("hidden")));

/* Returns 0, or -1 with an exception set. */
int rec_threads_init(void);

/* give_up: called when nothing can be kept any more, so that no more events come. */
void rec_threads_start(PyInterpreterState *interp, void (*give_up)(void));

/* In a child of a fork that nobody told of: begins as others do. An event that is not fast calls it before it looks at
 * a tag: those of the parent become void. */
void rec_threads_notice_fork(void);

/* At an event that is not fast: true when it is to be recorded. Begins the recording of a forked child. */
bool rec_threads_activate_if_pending(const PyThreadState *ts);

/* Nothing more is recorded, whatever still comes. Calls give_up. */
void rec_threads_disable(void);

/* Another engine goes on: as rec_threads_start, with the buffers that there are. */
void rec_threads_change_engine(void (*give_up)(void));

/* Ends the buffers of thread states that are gone. */
void rec_threads_end_buffers(void);

/* The buffer of a thread state, or NULL. */
struct rec_buffer *rec_threads_find(const PyThreadState *ts);

/* A buffer for a thread that had none, without chunk. NULL when out of memory: its events are lost, and counted. */
struct rec_buffer *rec_threads_new(PyThreadState *ts);

/* Tells how many frames of the buffer's base (engine_frame.c) are gone when only `present` are still there. Returns false
 * when there was no room. */
bool rec_threads_emit_left(struct rec_buffer *buffer, uint32_t present);

/* Reads the name of a thread once more. */
void rec_threads_refresh_name(const PyThreadState *ts, const struct rec_buffer *buffer);

/* At the entry of a function with REC_TAG_WATCHED: it names a thread, the present one or the one whose name is being
 * set, or this process; or it tells that an exception ends a thread. */
void rec_threads_on_watched_call(PyThreadState *ts, const cpython_frame *f, struct rec_buffer *buffer);

/* The identity of a continuable frame in a record. */
static inline uint64_t rec_frame_identity(const cpython_frame *f)
{
    return (uint64_t)cpython_address(f) >> 4 & ((UINT64_C(1) << PNR_FRAME_BITS) - 1);
}

/* The running frame, or the one that is being cleared. */
cpython_frame *rec_threads_innermost(PyThreadState *ts);

/* The next frame outwards, this one included, that is recorded; NULL when there is none. */
cpython_frame *rec_threads_recorded_from(PyThreadState *ts, cpython_frame *f, uint64_t *tag);

uint32_t rec_threads_count_recorded(PyThreadState *ts, cpython_frame *f);

/* Takes a new chunk, which begins with the stack: the frame `from` and those outwards of it. inner: the frame that is
 * about to be left, or below which a gap lies, which is not on the interpreter's stack; or the call of a C function
 * that is. */
bool rec_threads_start_chunk(struct rec_buffer *buffer, uint16_t flags, cpython_frame *from, struct rec_open_frame inner);

/* The buffer's track has changed: tells it, and the stack of the new one if this block does not have it; f and inner as
 * for a turn. */
void rec_threads_emit_switch(struct rec_buffer *buffer, cpython_frame *f, struct rec_open_frame inner);

void rec_threads_append_in_new_chunk(PyThreadState *ts, struct rec_buffer *buffer, enum pnr_kind kind,
                                   struct rec_open_frame about, struct rec_open_frame inner);

/* Appends a record; the running frame is the innermost. inner: as for a turn. */
static inline void rec_threads_append(PyThreadState *ts, struct rec_buffer *buffer, enum pnr_kind kind,
                                      struct rec_open_frame about, struct rec_open_frame inner)
{
    uint64_t ticks = rec_clock_ticks() - buffer->base;
    if (likely(rec_buffer_has_capacity(buffer, ticks)))
        rec_buffer_append(buffer, ticks, kind, about.frame, about.function);
    else
        rec_threads_append_in_new_chunk(ts, buffer, kind, about, inner);
}

#endif
