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
 *     rec_muting_forget */
#ifndef REC_MUTING_H
#define REC_MUTING_H

#include "cpython.h"

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN

/* Returns NULL, or why functions cannot be muted in this process, for a message. */
const char *rec_muting_fault(void);

/* Starts the controller and the ledger; all functions are admitted. share: of the program's CPU time; 0.03 is 3 %. A
 * session has started, and the engine has not entered. Returns 0 or -1. */
int rec_muting_start(double share);

/* Forgets which frames are open, because no events come until the recording goes on. */
void rec_muting_pause(void);

/* The recording goes on: what was ordered in the pause is done soon. */
void rec_muting_resume(void);

/* Forgets everything: the recording ends, or this is a forked child. The events of the functions are as they were. */
void rec_muting_forget(void);

/* Forgets what belonged to an interpreter that is gone. */
void rec_muting_forget_interpreter(void);

/* Asks for a call by the program's next thread that checks for pending calls. Any thread may call it. */
void rec_muting_request(void);

#else

static inline const char *rec_muting_fault(void) { return "sys.monitoring or the layout of CPython is not known"; }
static inline int rec_muting_start(double share) { return share > 0 ? -1 : 0; }
static inline void rec_muting_pause(void) { }
static inline void rec_muting_resume(void) { }
static inline void rec_muting_forget(void) { }
static inline void rec_muting_forget_interpreter(void) { }

#endif

#endif
