/* The recorder's states: what the table does, and what becomes of an event that cannot come. */
#include <criterion/criterion.h>
#include <signal.h>

#include "recorder/cpython/state.c"     /* needs no Python, but is not in the library that the tests link */

static int n_left, n_disabled;

static void count_leave(enum rec_state before) { n_left += before == REC_ON && rec_state_is(REC_PAUSED); }
static void count_disable(enum rec_state before) { n_disabled += before == REC_ON && rec_state_is(REC_FAILED); }

static const rec_state_action actions[REC_N_ACTIONS] = {
    [REC_ACTION_LEAVE] = count_leave, [REC_ACTION_DISABLE] = count_disable };

static void start(void)
{
    rec_state_init(actions);
    cr_assert(rec_state_take(REC_EVENT_START));
    cr_assert(rec_state_take(REC_EVENT_STARTED));
    cr_assert(rec_state_is(REC_RECORDING));
}

Test(state, does_the_action_in_the_next_state, .init = start)
{
    uint64_t epoch = rec_state.epoch;
    cr_assert(rec_state_take(REC_EVENT_PAUSE));
    cr_assert_eq(n_left, 1);
    cr_assert_str_eq(rec_state_name(), "paused");
    cr_assert_gt(rec_state.epoch, epoch);
    cr_assert_eq(rec_state.since, rec_state.epoch);
}

Test(state, an_unrecorded_region_begins_no_epoch, .init = start)
{
    uint64_t epoch = rec_state.epoch;
    rec_state_take(REC_EVENT_UNHOOK);
    cr_assert(rec_state_is(REC_UNHOOKED));
    rec_state_take(REC_EVENT_REHOOK);
    cr_assert(rec_state_is(REC_ON));
    cr_assert_eq(rec_state.epoch, epoch);
}

Test(state, refuses)
{
    rec_state_init(actions);
    cr_assert_not(rec_state_take(REC_EVENT_PAUSE));
    cr_assert_not(rec_state_take(REC_EVENT_STOP));
    cr_assert_str_eq(rec_state_name(), "off");
}

#ifdef __OPTIMIZE__
Test(state, an_impossible_event_disables_the_recorder, .init = start)
{
    cr_assert_not(rec_state_take(REC_EVENT_FIRST_EVENT));
    cr_assert_eq(n_disabled, 1);
    cr_assert(rec_state_is(REC_FAILED));
}
#else
Test(state, an_impossible_event_aborts, .init = start, .signal = SIGABRT)
{
    rec_state_take(REC_EVENT_FIRST_EVENT);
}
#endif
