#include "muted_exits.h"

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN

#include "codes.h"
#include "muted.h"
#include "muted_frames.h"
#include "watched_frames.h"

#define MAX_SWALLOWED 64                /* exits that are not recorded, until a function's events are off again */

/* True for an entry of this function for which its exits may be events. */
static bool may_be_armed_for(const struct rec_watched *watched, uint32_t function)
{
    return watched->function == function && (watched->is_continuable || watched->state == REC_WATCH_REPORTED);
}

/* Turns the exits of a muted function off again when no frame waits for one. It also does when others come too often:
 * then tokens show when plain frames are left, except for those that the program keeps. Only a continuable frame that
 * the records have as open is waited for at any price: nothing else would show its exit. */
static void disarm_if_idle(uint32_t function)
{
    bool is_dear = rec_muted.functions[function].n_swallowed >= MAX_SWALLOWED;
    for (const struct rec_watched *watched = NULL; (watched = rec_watched_next(watched));)
        if (may_be_armed_for(watched, function) &&
            (!is_dear || (watched->is_continuable && watched->state == REC_WATCH_REPORTED)))
            return;
    for (struct rec_watched *watched = NULL; (watched = rec_watched_next(watched));)
        if (watched->function == function && watched->is_continuable)
            watched = rec_watched_release(watched);
    rec_muted_clear(function, REC_ARMED);
    rec_muted_set(function, is_dear ? REC_DEAR : 0);
    rec_muted_apply(function);
}

void rec_muted_exits_expect(uint32_t function)
{
    rec_muted.functions[function].n_swallowed = 0;
    if (rec_muted_state(function) & REC_ARMED)
        return;
    rec_muted_set(function, REC_ARMED);
    rec_muted_apply(function);
}

/* At an exit of a muted function: true when the records have the frame as open. */
static bool leave_silently(cpython_frame *f, uint32_t function)
{
    struct rec_watched *watched = rec_watched_find(f);
    bool is_reported = watched && watched->state == REC_WATCH_REPORTED;
    if (watched)
        rec_watched_remove(watched, f);
    if (rec_muted_state(function) & REC_ARMED) {
        uint8_t *n_swallowed = &rec_muted.functions[function].n_swallowed;
        *n_swallowed += !is_reported && *n_swallowed < MAX_SWALLOWED;
        disarm_if_idle(function);
    }
    return is_reported;
}

/* A frame has been left that was passed over when its function was admitted. */
static void pass_over(uint32_t function)
{
    const struct rec_watched *watched = NULL;
    while ((watched = rec_watched_next(watched)))
        if (watched->function == function && watched->state == REC_WATCH_UNREPORTED)
            break;
    if (!watched) {
        rec_muted_clear(function, REC_PASSED_OVER);
        rec_muted_apply(function);
    }
}

/* True when the records do not have the frame as open, because it was passed over. Then it is so no more. */
static bool leave_passed_over(cpython_frame *f, uint32_t function)
{
    struct rec_watched *watched = rec_watched_find(f);
    if (!watched || watched->state != REC_WATCH_UNREPORTED)
        return false;
    rec_watched_remove(watched, f);
    pass_over(function);
    return true;
}

bool rec_muted_exits_filter(PyThreadState *ts, struct rec_thread *thread, cpython_frame *f, uint32_t function,
                       enum pnr_kind kind)
{
    if (rec_muted_is_silent(function))
        return !pnr_kind_enters_frame(kind) && leave_silently(f, function);
    if (leave_passed_over(f, function))
        return pnr_kind_enters_frame(kind);
    return pnr_kind_enters_frame(kind) || !(rec_muted_state(function) & REC_UNSETTLED) ||
           rec_muted_frames_settle(ts, thread, f, function);
}

void rec_muted_exits_skip(cpython_frame *f, uint32_t function)
{
    if (rec_muted_is_silent(function))
        leave_silently(f, function);
    else
        leave_passed_over(f, function);
}

/* True when the records have a plain frame of this function as open, which has just been cleared. They do not if the
 * stack was reported while a destructor of its variables ran. Counts it as left. Of frames that are left with no other
 * record between them the stack is looked at once. */
static bool has_open_at_end(PyThreadState *ts, struct rec_thread *thread, uint32_t function)
{
    bool follows = thread->cleared.next == thread->buffer.next && thread->cleared.block == thread->buffer.block &&
                   thread->cleared.n_outside > 0;
    thread->cleared.n_outside = follows ? thread->cleared.n_outside - 1 :
                                          rec_threads_count_recorded(ts, rec_threads_innermost(ts));
    if (thread->stack.depth <= thread->cleared.n_outside)
        return false;
    thread->stack.depth--;
    return follows || rec_threads_may_be_innermost(thread, function);
}

/* A watched frame has been cleared. If that was at its exit, that is now. It may also have been kept by a traceback
 * or a frame object until now: then the records still have it as open, and are reported that it is not. A stack that
 * was reported while a destructor of the frame's variables ran had it no more. */
static void leave_cleared(const struct rec_watched *watched)
{
    PyThreadState *ts = PyThreadState_Get();
    if (watched->state == REC_WATCH_UNREPORTED)
        pass_over(watched->function);
    if (watched->state != REC_WATCH_REPORTED || !rec_state_is(REC_RECORDING))
        return;
    bool is_exit = watched->owner == ts && cpython_is_cleared_last(ts, watched->frame, watched->size);
    for (PyThreadState *at = PyInterpreterState_ThreadHead(rec_threads.interp); at; at = PyThreadState_Next(at)) {
        if (at != watched->owner)
            continue;
        if (is_exit)                    /* its greenlet may have gone on with no event until now */
            rec_muted_frames_notice_greenlet(at);
        struct rec_thread *thread = rec_muted_frames_thread(at);
        if (!thread)
            continue;
        const struct rec_open_frame left = { 0, watched->function };
        if (!is_exit) {
            rec_threads_report_stack(thread, rec_threads_innermost(at), rec_clock_ticks());
        } else if (has_open_at_end(at, thread, watched->function)) {
            rec_threads_append(at, thread, PNR_RETURN, left, left);
            thread->cleared.next = thread->buffer.next;
            thread->cleared.block = thread->buffer.block;
        }
    }
}

void rec_muted_exits_start(void)
{
    rec_watched_on_cleared = leave_cleared;
}

#endif
