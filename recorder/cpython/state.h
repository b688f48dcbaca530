/* The recorder's state: whether this process records, and if not, why. states.def has the table of states and events;
 * specs/recorder-states.md explains it. What follows from an event is done by the actions, which recording.c gives.
 *
 * The state belongs to the process and is changed by the thread that has the GIL. Any thread, and any signal handler,
 * may read it. No Python dependency. */
#ifndef REC_STATE_H
#define REC_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define REC_STATE(name, meaning) REC_INDEX_##name,
enum rec_state_index {
#include "states.def"
    REC_N_STATES
};

/* A state is a bit, so that a set of states is one test of one load. */
#define REC_STATE(name, meaning) REC_##name = 1 << REC_INDEX_##name,
enum rec_state {
#include "states.def"
};

#define REC_ACTION(name, meaning) REC_ACTION_##name,
enum rec_action {
#include "states.def"
    REC_N_ACTIONS
};

#define REC_EVENT(name, ...) REC_EVENT_##name,
enum rec_event {
#include "states.def"
    REC_N_EVENTS
};

/* Sets of states. */
#define REC_RECORDING (REC_ON | REC_UNHOOKED)                           /* events come, and are recorded */
#define REC_WAITING (REC_PAUSED | REC_PENDING | REC_PENDING_PAUSED)     /* events may come again */
#define REC_IN_CHILD (REC_PENDING | REC_PENDING_PAUSED)                 /* the files are the parent's */
#define REC_WITH_FILES (REC_RECORDING | REC_PAUSED | REC_FAILED)        /* this process has files of its own */

struct rec_state_machine {
    _Atomic uint32_t now;               /* enum rec_state */
    uint64_t epoch;                     /* raised whenever events may have been missed on any thread */
    uint64_t since;                     /* the epoch when recording last started, was paused or was forked */
};
extern struct rec_state_machine rec_state __attribute__((visibility("hidden")));

/* True in one of these states. */
static inline bool rec_state_is(uint32_t states)
{
    return atomic_load_explicit(&rec_state.now, memory_order_relaxed) & states;
}

/* Starts an epoch, because events may have been missed on any thread: its next block has to open with its stack. */
static inline void rec_state_start_epoch(void) { rec_state.epoch++; }

/* What an action does; it runs in the next state. before: the state in which the event came. */
typedef void (*rec_state_action)(enum rec_state before);

/* actions: one for each enum rec_action, NULL where there is nothing to do; borrowed. */
void rec_state_init(const rec_state_action *actions);

/* Takes an event: enters the next state and does the action of the table's cell. Returns false where it is refused. */
bool rec_state_take(enum rec_event event);

/* The name of the state, such as "pending paused". */
const char *rec_state_name(void);

#endif
