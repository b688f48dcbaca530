#include "state.h"

#include <ctype.h>
#include <stdlib.h>

#include "../diagnostics.h"

enum outcome { OUTCOME_NEVER, OUTCOME_REFUSED, OUTCOME_TAKEN };

struct cell {
    enum outcome outcome;
    uint32_t next;                      /* enum rec_state; 0: the same */
    enum rec_action action;
};

#define GO(state, action) { OUTCOME_TAKEN, REC_##state, REC_ACTION_##action }
#define DO(action) { OUTCOME_TAKEN, 0, REC_ACTION_##action }
#define STAY { OUTCOME_TAKEN, 0, REC_ACTION_NOTHING }
#define REFUSE { OUTCOME_REFUSED, 0, REC_ACTION_NOTHING }
#define NEVER { OUTCOME_NEVER, 0, REC_ACTION_NOTHING }

/* Refuse to build a row that does not have a cell for each state. */
#define REC_EVENT(name, meaning, ...) \
    _Static_assert(sizeof (struct cell[]){ __VA_ARGS__ } == REC_N_STATES * sizeof(struct cell), "incomplete: " #name);
#include "states.def"

#define REC_EVENT(name, meaning, ...) { __VA_ARGS__ },
static const struct cell cells[REC_N_EVENTS][REC_N_STATES] = {
#include "states.def"
};

#define REC_STATE(name, meaning) #name,
static const char *const state_names[] = {
#include "states.def"
};

#define REC_EVENT(name, ...) #name,
static const char *const event_names[] = {
#include "states.def"
};

struct rec_state_machine rec_state = { .now = REC_OFF, .epoch = 1, .since = 1 };

static const rec_state_action *state_actions;

/* "PENDING_PAUSED" is "pending paused". */
static const char *spell_name(const char *name, char text[32])
{
    size_t i = 0;
    for (; name[i] && i < 31; i++)
        text[i] = name[i] == '_' ? ' ' : (char)tolower((unsigned char)name[i]);
    text[i] = 0;
    return text;
}

static const char *name_of(uint32_t state)
{
    return state_names[__builtin_ctz(state)];
}

/* An event that cannot come has come: a fault of the recorder's own, which must not become one of the program. */
static void report_impossible(enum rec_event event, uint32_t now)
{
    char text[2][32];
    rec_warn("internal fault: event '%s' in state '%s'; recording ends, what was recorded is kept",
             spell_name(event_names[event], text[0]), spell_name(name_of(now), text[1]));
#ifndef __OPTIMIZE__
    abort();
#endif
    rec_state_take(REC_EVENT_FAILURE);
}

/* Starts an epoch where a time without events begins, as each thread's next block has to open with its stack. */
static void enter_state(enum rec_event event, uint32_t now, uint32_t next)
{
    if (next & (REC_STARTING | REC_WAITING))
        rec_state.since = ++rec_state.epoch;
    atomic_store_explicit(&rec_state.now, next, memory_order_relaxed);
    if (rec_debug_is_on()) {
        char text[3][32];
        rec_debug("state '%s': %s -> '%s'", spell_name(name_of(now), text[0]), spell_name(event_names[event], text[1]),
                  spell_name(name_of(next), text[2]));
    }
}

bool rec_state_take(enum rec_event event)
{
    uint32_t now = atomic_load_explicit(&rec_state.now, memory_order_relaxed);
    const struct cell *cell = &cells[event][__builtin_ctz(now)];
    if (cell->outcome == OUTCOME_NEVER) {
        report_impossible(event, now);
        return false;
    }
    if (cell->outcome == OUTCOME_REFUSED)
        return false;
    if (cell->next)
        enter_state(event, now, cell->next);
    if (state_actions[cell->action])
        state_actions[cell->action](now);
    return true;
}

const char *rec_state_name(void)
{
    static _Thread_local char text[32];
    return spell_name(name_of(atomic_load_explicit(&rec_state.now, memory_order_relaxed)), text);
}

void rec_state_init(const rec_state_action *actions)
{
    state_actions = actions;
}
