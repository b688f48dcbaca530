/* Which events of a function with REC_TAG_SLOW are recorded, and the exits of watched frames (watched_frames.h): by an
 * event, or when the frame has been cleared.
 *
 * All functions are called with the GIL. None runs Python code. */
#ifndef REC_MUTED_EXITS_H
#define REC_MUTED_EXITS_H

#include "threads.h"

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN

/* A recording with a budget begins. */
void rec_muted_exits_start(void);

/* Decides at an event of a function with REC_TAG_SLOW whether it is recorded. f: the frame that is entered or left. */
bool rec_muted_exits_filter(PyThreadState *ts, struct rec_thread *thread, cpython_frame *f, uint32_t function,
                            enum pnr_kind kind);

/* The open frame of a function with REC_TAG_SLOW is left by an exit that is not recorded. */
void rec_muted_exits_skip(cpython_frame *f, uint32_t function);

/* Turns the exits of a muted function on, for a frame of it that is watched. They go off again when none is, or others
 * come too often. */
void rec_muted_exits_expect(uint32_t function);

#else

static inline bool rec_muted_exits_filter(PyThreadState *ts, struct rec_thread *thread, cpython_frame *f,
                                          uint32_t function, enum pnr_kind kind)
{
    return ts && thread && f && function && kind;
}
static inline void rec_muted_exits_skip(cpython_frame *f, uint32_t function) { (void)f, (void)function; }

#endif

#endif
