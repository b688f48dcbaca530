/* What becomes of open frames when functions are muted and admitted, so that the records of each thread go on saying
 * which recorded frames are open (muting.h has the rules). A batch of functions changes at once: those with the state
 * REC_CHANGING (muted.h).
 *
 * All functions are called with the GIL, outside of events except for rec_muted_frames_is_reported and
 * rec_muted_frames_settle. None runs Python code. */
#ifndef REC_MUTED_FRAMES_H
#define REC_MUTED_FRAMES_H

#include "threads.h"

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN

/* True for the open frame of a function with REC_TAG_SLOW if the records have it as open, or will. */
bool rec_muted_frames_is_reported(const cpython_frame *f, uint32_t function);

/* True for a frame of the program that has been entered. */
bool rec_muted_frames_is_entered(const PyThreadState *ts, cpython_frame *f);

/* True for a frame that stands at its first instruction, or where it goes on after a yield. */
bool rec_muted_frames_is_at_begin(const cpython_frame *f);

/* Returns the thread, if its records say what is open on the stack that runs; if not, they say it at its next event,
 * and NULL is returned. */
struct rec_thread *rec_muted_frames_thread(const PyThreadState *ts);

/* Brings the records of this thread to the greenlet that runs. */
void rec_muted_frames_notice_greenlet(PyThreadState *ts);

/* Returns f, the innermost frame; but where a tool's function runs for an event, the frame of that event. The function
 * and what it calls have no events (Python/instrumentation.c, call_one_instrument). */
cpython_frame *rec_muted_frames_beneath_tool(PyThreadState *ts, const struct rec_thread *thread, cpython_frame *f);

/* Reports a thread's stack anew, without such a function. since: as for rec_threads_report_stack. */
void rec_muted_frames_report_stack(PyThreadState *ts, struct rec_thread *thread, uint64_t since);

/* Takes functions out of the batch that cannot be muted now, because a call of a C function by them may be open. */
void rec_muted_frames_exempt_callers_of_c(void);

/* Watches the open frames of the batch, which is about to be muted. */
void rec_muted_frames_mute(const uint32_t *functions, size_t n);

/* The batch is muted: sets its events, and has threads report their stacks where a frame could not be watched. */
void rec_muted_frames_report_muted(const uint32_t *functions, size_t n);

/* The batch is not muted any more: reports frames of it as open, and sets its events. */
void rec_muted_frames_admit(const uint32_t *functions, size_t n);

/* At the exit of a frame of a function that was admitted while a thread stood at its first instruction. Returns whether
 * the records have the frame as open. */
bool rec_muted_frames_settle(PyThreadState *ts, struct rec_thread *thread, cpython_frame *f, uint32_t function);

/* Forgets which frames are open. */
void rec_muted_frames_forget(void);

#else

static inline bool rec_muted_frames_is_reported(const cpython_frame *f, uint32_t function) { return f && function; }

#endif

#endif
