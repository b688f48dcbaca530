#include "slow_calls.h"

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN

#include "muted.h"
#include "muted_exits.h"
#include "muted_frames.h"
#include "watched_frames.h"
#include "../budget.h"

#define SLOW_NS 6000000                 /* an open call is reported when it has been known for so long */
#define SEEN_NS 25000000                /* a call of this length is seen twice when looks come in time */

static uint64_t slow_ticks, seen_ticks;

/* The last two looks, SLOW_NS apart or more: what began before `earlier`, and is still open, is reported. */
static struct { uint64_t earlier, last; } looks;

/* The next muted frame of a thread outwards, this one included, that the records do not have as open; NULL when a
 * recorded one comes first. */
static cpython_frame *silent_from(PyThreadState *ts, cpython_frame *f, uint32_t *function)
{
    for (; f; f = cpython_previous(f)) {
        uint64_t tag = rec_muted_frames_is_entered(ts, f) ? rec_functions_tag_call(f, cpython_previous(f)) : 0;
        *function = (uint32_t)tag;
        if (!tag || rec_tag_flags(tag) & REC_TAG_EXCLUDED)
            continue;
        return rec_muted_is_silent(*function) && !rec_muted_frames_is_reported(f, *function) ? f : NULL;
    }
    return NULL;
}

/* Notes the muted frames of a thread that lie inwards of all recorded ones. A frame is open for at least as long as
 * those inwards of it. Those outwards of REC_MAX_LISTED ones are left out. requested: when the look was asked for.
 * Since then the thread has passed no check for pending calls: all that it had entered by then is still open. */
static void watch_silent_frames(PyThreadState *ts, cpython_frame *innermost, uint64_t requested, uint64_t now)
{
    uint64_t since = now;
    uint32_t function;
    unsigned n_new = 0;
    for (cpython_frame *f = innermost; (f = silent_from(ts, f, &function)); f = cpython_previous(f)) {
        struct rec_watched *watched = rec_watched_find(f);
        if (watched) {
            since = watched->since < since ? watched->since : since;
            continue;
        }
        if (n_new++ == REC_MAX_LISTED)
            return;
        if (!(watched = rec_watched_add(ts, cpython_whole_data_stack(ts), f, function, REC_WATCH_SEEN)))
            continue;
        if (!rec_muted_frames_is_at_begin(f) && requested < since)
            since = requested;
        watched->since = since;
        if (cpython_is_continuable(f))
            rec_muted_exits_expect(function);
    }
}

/* Takes those of a thread's muted frames that are slow as reported, as many as a list may have. Returns since when the
 * innermost of them is known to be open; 0 when there is none. */
static uint64_t take_slow_frames(PyThreadState *ts, cpython_frame *innermost, uint64_t now)
{
    uint64_t reported_since = 0;
    uint32_t function, n_new = 0;
    for (cpython_frame *f = innermost; (f = silent_from(ts, f, &function)); f = cpython_previous(f)) {
        struct rec_watched *watched = rec_watched_find(f);
        if (!watched || now - watched->since < slow_ticks)
            continue;
        if (n_new++ == REC_MAX_LISTED)
            break;
        watched->state = REC_WATCH_REPORTED;
        if (!(rec_muted_state(function) & REC_DEAR))
            rec_muted_exits_expect(function);
        reported_since = watched->since > reported_since ? watched->since : reported_since;
    }
    return reported_since;
}

/* Looks after the plain frames that the records have as open. Of those that will be kept when they are left the exits
 * are events. A thread that has left one unseen, because its frame object was taken since the last look, must report
 * its stack. One look at all frames: many threads may have one each. */
static void look_at_reported_frames(void)
{
    for (struct rec_watched *watched = NULL; (watched = rec_watched_next(watched));) {
        if (watched->is_continuable || watched->state != REC_WATCH_REPORTED)
            continue;
        const struct rec_thread *owner = rec_threads_find_alive(watched->owner);
        struct rec_thread *thread = owner ? rec_muted_frames_thread(watched->owner) : NULL;
        if (!thread)
            continue;
        enum rec_watched_position position = rec_watched_position(watched->owner, watched);
        if (position == REC_WATCHED_LEFT) {
            watched = rec_watched_release(watched);
            thread->must_report_stack = true;
        } else if (position == REC_WATCHED_OPEN && rec_watched_is_kept(watched->frame)) {
            rec_muted_exits_expect(watched->function);
        }
    }
}

void rec_slow_calls_all_known(uint64_t now)
{
    looks.earlier = looks.last = now;
}

/* A call that began after the look before the last, and has ended before this one was requested, is not reported. */
static void count_late_look(uint64_t requested)
{
    uint64_t unseen = requested > looks.earlier ? requested - looks.earlier : 0;
    if (unseen > seen_ticks)
        rec_budget_add_late_look((uint64_t)((double)unseen * 1e9 / (double)rec_clock_rate()));
}

static void remember_look(uint64_t requested, uint64_t now)
{
    if (now >= requested + slow_ticks) {        /* the program has waited: this look reports all that was open then */
        rec_slow_calls_all_known(now);
    } else if (now - looks.last >= slow_ticks) {
        looks.earlier = looks.last;
        looks.last = now;
    }
}

void rec_slow_calls_look(uint64_t requested)
{
    uint64_t now = rec_clock_ticks();
    count_late_look(requested);
    remember_look(requested, now);
    look_at_reported_frames();
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        struct rec_thread *thread = rec_muted_frames_thread(ts);
        if (!thread)
            continue;
        cpython_frame *innermost = rec_muted_frames_beneath_tool(ts, thread, cpython_running(ts));
        watch_silent_frames(ts, innermost, requested, now);
        uint64_t since = take_slow_frames(ts, innermost, now);
        if (!since && !thread->must_report_stack)
            continue;
        thread->must_report_stack = false;
        rec_muted_frames_report_stack(ts, thread, since ? since : now);
    }
}

void rec_slow_calls_start(void)
{
    slow_ticks = (uint64_t)(SLOW_NS * 1e-9 * (double)rec_clock_rate());
    seen_ticks = (uint64_t)(SEEN_NS * 1e-9 * (double)rec_clock_rate());
    rec_slow_calls_all_known(rec_clock_ticks());
}

#endif
