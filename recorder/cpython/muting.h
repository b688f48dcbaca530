/* Muting: functions whose events are off for a while, so that recording costs no more than its budget (../budget.h).
 * The controller, on the drain's thread, orders; here the orders are applied, with the GIL, between two instructions of
 * the program, in a pending call. Only the monitoring engine can do it.
 *
 * What is open when that changes:
 *
 *     a function is muted         its frames that the records have as open stay so, until their exact exits
 *     a function is admitted      its frames that lie inwards of all recorded ones are reported as open (SWITCH, OPEN);
 *                                 others, which recorded frames lie in, are passed over: their exits, too
 *     a call of a muted function  at a look, every 10 ms, it is watched; at the next one it is reported as open
 *     turns out to be long
 *
 * So the records of a thread never have an exit without its entry. watched_frames.h knows of each frame what holds.
 *
 * All functions are called with the GIL, except for rec_muting_request. None runs Python code.
 *
 *     rec_muting_start                    a recording with a budget begins
 *         rec_muting_request              orders wait, or a look is due
 *         rec_muting_filter               at an event of a function whose tag is REC_TAG_SLOW
 *     rec_muting_forget */
#ifndef REC_MUTING_H
#define REC_MUTING_H

#include "threads.h"

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN

/* Returns NULL, or why functions cannot be muted in this process, for a message. */
const char *rec_muting_fault(void);

/* Starts the controller and the ledger; all functions are admitted. share: of the program's CPU time; 0.03 is 3 %. A
 * session has started, and the engine has not entered. Returns 0 or -1. */
int rec_muting_start(double share);

/* Forgets which frames are open, because no events come until the recording goes on. */
void rec_muting_pause(void);

/* Forgets everything: the recording ends, or this is a forked child. The events of the functions are as they were. */
void rec_muting_forget(void);

/* Asks for a call by the program's next thread that checks for pending calls. Any thread may call it. */
void rec_muting_request(void);

/* True for a function whose tag must have REC_TAG_SLOW. */
bool rec_muting_is_slow(uint32_t function);

/* True for the open frame of a function with REC_TAG_SLOW if the records have it as open, or will. */
bool rec_muting_is_reported(const cpython_frame *f, uint32_t function);

/* Decides at an event of a function with REC_TAG_SLOW whether it is recorded. f: the frame that is entered or left. */
bool rec_muting_filter(PyThreadState *ts, struct rec_thread *thread, cpython_frame *f, uint32_t function,
                       enum pnr_kind kind);

#else

static inline const char *rec_muting_fault(void) { return "sys.monitoring or the layout of CPython is not known"; }
static inline int rec_muting_start(double share) { return share > 0 ? -1 : 0; }
static inline void rec_muting_pause(void) { }
static inline void rec_muting_forget(void) { }
static inline bool rec_muting_is_slow(uint32_t function) { return !function; }
static inline bool rec_muting_is_reported(const cpython_frame *f, uint32_t function) { return f && function; }
static inline bool rec_muting_filter(PyThreadState *ts, struct rec_thread *thread, cpython_frame *f, uint32_t function,
                                     enum pnr_kind kind)
{
    return ts && thread && f && function && kind;
}

#endif

#endif
