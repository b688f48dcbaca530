/* Threads: finds the buffer of a thread state, names the thread and notices its end. Also reads the stack of a thread,
 * with which each block opens. All functions are called with the GIL, or what stands for it (lock.h), which is
 * the recording lock of the core (../thread_buffer.h); none runs Python code.
 *
 *     rec_threads_init                    once a process
 *         rec_threads_start               a recording begins
 *             rec_threads_new             a thread's first event
 *             rec_threads_append          an event
 *         rec_threads_end_buffers         a recording ends, or a thread has ended */
#ifndef REC_THREADS_H
#define REC_THREADS_H

#include "functions.h"
#include "lock.h"
#include "state.h"

#include "../fork_memory.h"
#include "../name_table.h"
#include "../session.h"
#include "../thread_buffer.h"
#include "../worker.h"

/* A frame that is on no stack yet, or no more, or a call of a C function (frame PNR_OPEN_C_CALL); function 0 = none. */
struct rec_open_frame {
    uint64_t frame;
    uint32_t function;
};
static const struct rec_open_frame rec_no_frame;

#define REC_MAX_LISTED 1024             /* OPEN records of a list: of more open frames it has the innermost */

/* What the engines keep of one of the stacks between which a thread switches (greenlets). */
struct rec_stack {
    uint32_t unhooked_depth;            /* the frame engine's */
    uint32_t depth, c_depth;            /* the monitoring engine's number of open frames; open C calls */
    /* Of the open C calls, numbered from 1, those after c_unrecorded_begin, to c_unrecorded_end, were made in an
     * unrecorded region. */
    uint32_t c_unrecorded_begin, c_unrecorded_end;
    uintptr_t window_size;              /* the frame engine's: see engine_frame.c */
};

/* A thread as the engines see it: their own fields around its buffer. What the frame engine reads at an event is one
 * cache line, within 128 bytes of the beginning, which an instruction reaches with a short offset. */
struct rec_thread {
    _Alignas(REC_CACHE_LINE)
    const PyThreadState *owner;         /* compared, never dereferenced; NULL in rec_no_thread */
    const void *data_stack, *greenlet;  /* show which stack runs */
    uint64_t epoch;                     /* the last one of rec_state in which the thread's stack was recorded */
    uint32_t native_id;
    struct rec_stack stack;             /* that runs */
    uintptr_t window_low;               /* the frame engine's, like the next */
    int c_calls_left;                   /* when the running evaluation began; INT_MIN: not known (recursion.h) */
    struct rec_buffer buffer;
    uintptr_t stack_low, stack_top;     /* the frame engine's: the thread's own C stack */
    uintptr_t foreign_evaluation;       /* the frame engine's */
    uint64_t owner_id;
    unsigned long ident;                /* as threading.get_ident() gives it */
    bool is_ending;
    bool is_gone;                       /* it was ending, and the thread state is no more */
    bool is_aside;                      /* it runs code for the recorder, which is not recorded */
    bool must_report_stack;             /* its records do not show what is open on the stack that runs (muting.h) */
    struct {                            /* the monitoring engine's: when an exception was last about to leave a frame */
        const struct pnr_record *next;  /* ... and `next` and `block` of the buffer were these, */
        uint64_t block;
        const void *outer;              /* the next recorded frame was this one, */
        uint32_t n_outside;             /* with it there were so many, */
        uint32_t depth;                 /* and by the records, with the one that was left */
    } unwound;
    struct {                            /* when a watched frame was last left as it was cleared (muted_exits.c) */
        const struct pnr_record *next;  /* `next` and `block` of the buffer were these after its exit, */
        uint64_t block;
        uint32_t n_outside;             /* and so many recorded frames were open then */
    } cleared;
};
_Static_assert(offsetof(struct rec_thread, stack.window_size) == REC_CACHE_LINE &&
               offsetof(struct rec_thread, buffer.base) == 2 * REC_CACHE_LINE, "what an event reads is one cache line");

/* The thread of the last event; rec_no_thread when it is not known, so that no event is fast. Under the GIL the process
 * has one such pointer. Without it each thread of the operating system needs its own, which costs 1 to 3 instructions a
 * call more (callgrind, fib(20): 41 to 42 on CPython 3.13, 27 to 30 on 3.11; the monitoring engine: 2 more). */
#ifdef Py_GIL_DISABLED
#define REC_CURRENT_STORAGE _Thread_local __attribute__((tls_model("initial-exec")))
#else
#define REC_CURRENT_STORAGE
#endif
extern REC_CURRENT_STORAGE struct rec_thread *rec_current __attribute__((visibility("hidden")));
extern struct rec_thread rec_no_thread __attribute__((visibility("hidden")));

/* The next event of this thread is not fast, and finds out what has changed. Nor is one of any other thread, where all
 * have one pointer. */
static inline void rec_threads_forget_current(void)
{
    rec_current = &rec_no_thread;
}

/* The next event of every thread is not fast. Where each has a pointer of its own, their chunks are submitted: without
 * one no event is fast. */
static inline void rec_threads_forget_all(void)
{
#ifdef Py_GIL_DISABLED
    rec_buffer_flush_all();
#endif
    rec_threads_forget_current();
}

static inline struct rec_thread *rec_thread_of(struct rec_buffer *buffer)
{
    return (struct rec_thread *)((char *)buffer - offsetof(struct rec_thread, buffer));
}

struct rec_threads {
    bool has_delayed_entry_events;      /* which can come after other events in the same frame */
    bool has_late_exits;                /* of a frame that is left when it has been cleared, from 3.12 on */
    const char *missing;                /* why calls may be missing: what another tool has done; NULL: none are */
    PyInterpreterState *interp;         /* that is recorded */
    uint32_t n_ending;                  /* buffers whose thread is being cleared */
    void (*on_new)(PyThreadState *ts);  /* called for each thread that gets a buffer; or NULL */
    void (*before_c_call)(PyThreadState *ts);   /* the frame engine's; or NULL */
    /* Brings the running thread's records to the present, outside of an event; NULL when nothing is recorded. */
    struct rec_thread *(*resync)(PyThreadState *ts);
    void (*on_exception)(void);         /* an exception ends a thread; or NULL */
    void (*on_fork)(void);              /* this is a forked child, and no handler was called */
};
extern struct rec_threads rec_threads __attribute__((visibility("hidden")));

/* Returns 0, or -1 with an exception set. */
int rec_threads_init(void);

/* Forgets the threads of the last recording, and enters the state ON: a thread's next event is recorded. */
void rec_threads_start(PyInterpreterState *interp);

/* Begins recording in a child of a fork that no handler reported. An event that is not fast calls it before it looks at
 * a tag, because the parent's tags become void. */
void rec_threads_notice_fork(void);

/* At an event that is not fast: true when it is to be recorded. Begins the recording of a forked child. */
bool rec_threads_activate_if_pending(const PyThreadState *ts);

/* Gets the tag of the code that runs. Where it is void, makes it, and begins the recording of a forked child. Returns 0
 * when nothing is recorded. */
static inline uint64_t rec_threads_tag_of_running(const PyCodeObject *code)
{
    uint64_t tag = cpython_code_value(code, rec_functions.extra_index);
    if (likely(rec_tag_is_current(tag)))
        return tag;
    REC_LOCK_BLOCK();
    PyThreadState *ts = PyThreadState_Get();
    cpython_frame *f = rec_threads_activate_if_pending(ts) ? cpython_running(ts) : NULL;
    return f && cpython_code(f) == code ? rec_functions_tag(f) : 0;
}

/* True when events of the thread may have been missed, so that its next block has to open with its stack. *flags: of
 * that block. */
static inline bool rec_threads_is_out_of_date(const struct rec_thread *thread, uint16_t *flags)
{
    *flags = thread->epoch < rec_state.since ? PNR_BLOCK_PAUSED : PNR_BLOCK_RESYNC;
    return thread->epoch != rec_state.epoch;
}

/* Brings the running thread's records to the present, outside of an event. Begins the recording of a forked child.
 * Returns NULL when nothing is recorded; a failure may be noticed meanwhile, so the caller asks for the state again. */
static inline struct rec_thread *rec_threads_bring_to_present(PyThreadState *ts)
{
    if (!rec_state_is(REC_RECORDING | REC_PENDING) || !rec_threads.resync || ts->interp != rec_threads.interp)
        return NULL;
    return rec_threads.resync(ts);
}

/* Code that the thread runs from here on is run for the recorder: nothing of it is recorded. Or that has ended. */
void rec_threads_step_aside(PyThreadState *ts, bool is_aside);

/* Prepares the threads' buffers for another engine, which continues with them. */
void rec_threads_change_engine(void);

/* Ends the buffers of thread states that are gone. */
void rec_threads_end_buffers(void);

/* Returns the thread of a thread state, or NULL. */
struct rec_thread *rec_threads_find(const PyThreadState *ts);

/* Returns the thread whose thread state this is, or NULL. The address is not dereferenced, and that thread state may be
 * gone: then NULL, or another one has the address now. */
const struct rec_thread *rec_threads_find_alive(const PyThreadState *ts);

/* Begins to record a thread, whose buffer has no chunk yet. Returns NULL when out of memory: then the thread's events
 * are lost, and counted. */
struct rec_thread *rec_threads_new(PyThreadState *ts);

/* Emits a LEFT record if unhooked frames (engine_frame.c) have gone, when only `present` of them are left. Returns
 * false when the chunk has no space for it. */
bool rec_threads_emit_left(struct rec_thread *thread, uint32_t present);

/* Reads the name of a thread once more. */
void rec_threads_refresh_name(const PyThreadState *ts, const struct rec_thread *thread);

/* Looks a function up among those whose calls give a thread or process a name, or report that an exception ends
 * a thread. strings: its module, qualified name and file. Returns its row for rec_tag_watched, or 0. */
uint64_t rec_threads_watch(const PyCodeObject *code, const struct pnr_string strings[3]);

/* Called at the entry of a watched function, which has this tag. */
void rec_threads_on_watched_call(PyThreadState *ts, const cpython_frame *f, struct rec_thread *thread, uint64_t tag);

/* Called at the return of a watched function that has no records, which has this tag. */
void rec_threads_on_watched_exit(PyThreadState *ts, struct rec_thread *thread, uint64_t tag);

/* Makes this the track that runs. stack: what the engines keep of it. */
static inline void rec_threads_set_track(struct rec_thread *thread, const struct rec_track *track,
                                         const struct rec_stack *stack)
{
    thread->buffer.track = *track;
    thread->stack = *stack;
    thread->c_calls_left = INT_MIN;     /* how many its evaluations have left is not known */
}

/* The identity of a continuable frame in a record. */
static inline uint64_t rec_frame_identity(const cpython_frame *f)
{
    return (uint64_t)cpython_address(f) >> 4 & ((UINT64_C(1) << PNR_FRAME_BITS) - 1);
}

/* The running frame, or the frame that is being cleared. */
cpython_frame *rec_threads_innermost(PyThreadState *ts);

/* True for a frame that has been entered. With delayed entry events the running frame is not one that only delegates:
 * such an event comes when its frame runs. */
bool rec_threads_is_entered(const PyThreadState *ts, cpython_frame *f);

/* The next frame outwards, this one included, that is recorded; NULL when there is none. */
cpython_frame *rec_threads_recorded_from(PyThreadState *ts, cpython_frame *f, uint64_t *tag);

uint32_t rec_threads_count_recorded(PyThreadState *ts, cpython_frame *f);

/* Starts a new chunk, which opens with the stack: the frame `from` and those outwards of it. inner: one more,
 * innermost, that is not on the interpreter's stack. It is the frame that is about to be left, or in which an
 * unrecorded region begins, or a call of a C function. */
bool rec_threads_start_chunk(struct rec_thread *thread, uint16_t flags, cpython_frame *from,
                             struct rec_open_frame inner);

/* False when the records of the thread's chunk show that something else than a plain frame of this function is the
 * innermost one that is open. */
bool rec_threads_may_be_innermost(const struct rec_thread *thread, uint32_t function);

/* Emits a SWITCH record for the thread's new track, with that track's stack if this block does not have it yet. f,
 * inner: the stack, as for rec_threads_start_chunk. The first stack of a greenlet that takes over a track is empty:
 * exits from the frames of the greenlet before may be missing, where their functions were muted. A second SWITCH lists
 * what is open. */
void rec_threads_emit_switch(struct rec_thread *thread, cpython_frame *f, struct rec_open_frame inner);

/* Reports the stack that runs anew, because other frames of it are recorded from now on: f and those outwards of it. At
 * most REC_MAX_LISTED are more than before. since: ticks, of the past at most to the thread's last record. The next
 * block does it where none is being filled. Counts `stack.depth` anew. */
void rec_threads_report_stack(struct rec_thread *thread, cpython_frame *f, uint64_t since);

void rec_threads_append_in_new_chunk(PyThreadState *ts, struct rec_thread *thread, enum pnr_kind kind,
                                     struct rec_open_frame about, struct rec_open_frame inner);

/* Appends a record with its values, at the present. from, inner: as for rec_threads_start_chunk, should a new chunk be
 * due. */
void rec_threads_append_values(struct rec_thread *thread, enum pnr_kind kind, uint32_t function,
                               const struct pnr_values_writer *values, cpython_frame *from,
                               struct rec_open_frame inner);

/* Appends a record. inner: as for rec_threads_start_chunk, should a new chunk be due; the running frame is `from`
 * then. With a sparse clock it reads that, and so does the next event: nobody knows how long it takes to get there. */
static inline void rec_threads_append(PyThreadState *ts, struct rec_thread *thread, enum pnr_kind kind,
                                      struct rec_open_frame about, struct rec_open_frame inner)
{
    uint64_t ticks = rec_clock_ticks() - thread->buffer.base;
    rec_sparse_break();
    if (likely(rec_buffer_has_capacity(&thread->buffer, ticks)))
        rec_buffer_append(&thread->buffer, ticks, kind, about.frame, about.function);
    else
        rec_threads_append_in_new_chunk(ts, thread, kind, about, inner);
}

#endif
