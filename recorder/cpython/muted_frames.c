#include "greenlets.h"

#include "muted_frames.h"

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN

#include "codes.h"
#include "muted.h"
#include "watched_frames.h"
#include "../../format/array.h"

/* A frame that stood at its RESUME, in the interpreter's check for pending calls, when its function was admitted. */
struct standing {
    const PyThreadState *owner;         /* compared, never dereferenced */
    const _Py_CODEUNIT *instruction;    /* of the code; compared, and read while that code runs */
    uint32_t function;
};

static struct {
    struct standing *frames;            /* owned */
    size_t n, capacity;
} standing_frames;

/* ---- frames and threads ---- */

bool rec_muted_frames_is_entered(const PyThreadState *ts, cpython_frame *f)
{
    return !cpython_is_entry(f) && rec_threads_is_entered(ts, f);
}

bool rec_muted_frames_is_at_begin(const cpython_frame *f)
{
#if PY_VERSION_HEX >= 0x030D0000
    int opcode = cpython_opcode(cpython_instruction(f));
    return opcode == RESUME || opcode == RESUME_CHECK;
#else
    return !f;
#endif
}

struct rec_thread *rec_muted_frames_thread(const PyThreadState *ts)
{
    uint16_t flags;
    struct rec_thread *thread = rec_threads_find(ts);
    if (!thread || thread->is_ending || rec_threads_is_out_of_date(thread, &flags))
        return NULL;
    bool may_be_other = rec_greenlets.are_used && (cpython_data_stack(ts) != thread->data_stack ||
                                                   (rec_greenlets.has_bare && ts != PyThreadState_Get()));
    thread->must_report_stack |= may_be_other;
    return may_be_other ? NULL : thread;
}

void rec_muted_frames_notice_greenlet(PyThreadState *ts)
{
    struct rec_thread *thread = rec_greenlets.are_used ? rec_threads_find(ts) : NULL;
    cpython_frame *f = rec_threads_innermost(ts);
    uint16_t flags;
    if (!thread || thread->is_ending || rec_threads_is_out_of_date(thread, &flags))
        return;
    rec_greenlets_follow(ts, thread, f, rec_greenlets_notice(ts, thread, NULL));
}

bool rec_muted_frames_is_reported(const cpython_frame *f, uint32_t function)
{
    const struct rec_watched *watched = rec_watched_find(f);
    return rec_muted_is_silent(function) ? watched && watched->state == REC_WATCH_REPORTED :
                                            !watched || watched->state != REC_WATCH_UNREPORTED;
}

cpython_frame *rec_muted_frames_beneath_tool(PyThreadState *ts, const struct rec_thread *thread, cpython_frame *f)
{
    const cpython_frame *inner = NULL;
    for (cpython_frame *at = ts->tracing ? cpython_running(ts) : NULL; at; inner = at, at = cpython_previous(at)) {
        bool may_be_of_event = inner && cpython_is_entry(inner) && !cpython_is_entry(at) &&
                               (cpython_has_events(at) || cpython_is_yielding(at));
        if (may_be_of_event)            /* its entry may be in the records before it counts as entered */
            return rec_threads_count_recorded(ts, at) + 1 >= thread->stack.depth ? at : f;
    }
    return f;
}

void rec_muted_frames_report_stack(PyThreadState *ts, struct rec_thread *thread, uint64_t since)
{
    rec_threads_report_stack(thread, rec_muted_frames_beneath_tool(ts, thread, rec_threads_innermost(ts)), since);
}

/* ---- muting ---- */

/* True for a frame that may be in a call of a C function. inner: the next frame inwards, or NULL. The event of that
 * call's end would not come. */
static bool may_be_in_c_call(const PyThreadState *ts, const cpython_frame *inner)
{
    return inner ? cpython_is_entry(inner) : ts != PyThreadState_Get();
}

void rec_muted_frames_exempt_callers_of_c(void)
{
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        const cpython_frame *inner = NULL;
        for (cpython_frame *f = cpython_running(ts); f; inner = f, f = cpython_previous(f)) {
            uint32_t function = rec_muted_frames_is_entered(ts, f) ? (uint32_t)rec_tag_peek(f) : 0;
            if (rec_muted_state(function) & REC_CHANGING && may_be_in_c_call(ts, inner))
                rec_muted_clear(function, REC_CHANGING);
        }
    }
}

/* True for a frame whose entry event is under way, or still to come. */
static bool may_start(cpython_frame *f)
{
    return !cpython_is_entry(f) && !cpython_is_incomplete(f) && cpython_has_pending_entry(f);
}

static bool is_at_entry_event(const cpython_frame *f)
{
    return cpython_opcode(cpython_instruction(f)) == INSTRUMENTED_RESUME;
}

/* Watches the open frames of the batch, whose exits are to be recorded all the same. Another tool's function may run
 * for the entry or exit of a frame: then the records have more frames than are entered, or fewer. Returns false when
 * the thread has a frame that cannot be watched. */
static bool watch_open_frames(PyThreadState *ts, const struct rec_thread *thread)
{
    uint64_t tag;
    bool are_all_watched = true;
    cpython_frame *innermost = rec_muted_frames_beneath_tool(ts, thread, rec_threads_innermost(ts));
    int surplus = (int)rec_threads_count_recorded(ts, innermost) - (int)thread->stack.depth;
    for (cpython_frame *f = innermost; f; f = cpython_previous(f)) {
        bool is_starting = surplus < 0 && f != cpython_running(ts) && may_start(f);
        tag = is_starting ? rec_functions_tag_call(f, cpython_previous(f)) : 0;
        if (!is_starting && rec_threads_recorded_from(ts, f, &tag) != f)
            continue;
        uint32_t function = (uint32_t)tag;
        surplus += is_starting;
        if (surplus > 0 && (cpython_is_leaving(f) || cpython_is_yielding(f) || is_at_entry_event(f))) {
            surplus--;
            continue;
        }
        if (!(rec_muted_state(function) & REC_CHANGING))
            continue;
        struct rec_watched *watched = rec_watched_find(f);
        if (!watched && !rec_watched_add(ts, cpython_whole_data_stack(ts), f, function, REC_WATCH_REPORTED))
            are_all_watched = false;
        else if (!(rec_muted_state(function) & REC_DEAR) || cpython_is_continuable(f) || rec_watched_is_kept(f))
            rec_muted_set(function, REC_ARMED);
    }
    return are_all_watched;
}

/* Watches the open frames of the batch in a greenlet that does not run. Their exits are events: nothing else says which
 * greenlet goes on. A frame that cannot be watched is missing in the list when it does. */
static void watch_waiting(const PyThreadState *owner, const void *data_stack, cpython_frame *innermost)
{
    for (cpython_frame *f = innermost; f; f = cpython_previous(f)) {
        uint32_t function = cpython_is_incomplete(f) ? 0 : (uint32_t)rec_tag_peek(f);
        if (!(rec_muted_state(function) & REC_CHANGING))
            continue;
        if (rec_watched_find(f) || rec_watched_add(owner, data_stack, f, function, REC_WATCH_REPORTED))
            rec_muted_set(function, REC_ARMED);
    }
}

void rec_muted_frames_mute(const uint32_t *functions, size_t n)
{
    uint64_t now = rec_clock_ticks();
    for (size_t i = 0; i < n; i++)
        rec_muted.functions[functions[i]].n_swallowed = 0;
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        struct rec_thread *thread = rec_muted_frames_thread(ts);
        if (thread && !watch_open_frames(ts, thread))
            thread->must_report_stack = true;
    }
    rec_greenlets_visit_waiting(watch_waiting);
    for (struct rec_watched *watched = NULL; (watched = rec_watched_next(watched));)
        if (rec_muted_state(watched->function) & REC_CHANGING && watched->state == REC_WATCH_UNREPORTED) {
            watched->state = REC_WATCH_SEEN;
            watched->since = now;
            if (watched->is_continuable)    /* only an event shows its exit */
                rec_muted_set(watched->function, REC_ARMED);
        }
    size_t n_standing = 0;
    for (size_t i = 0; i < standing_frames.n; i++)
        if (!(rec_muted_state(standing_frames.frames[i].function) & REC_CHANGING))
            standing_frames.frames[n_standing++] = standing_frames.frames[i];
    standing_frames.n = n_standing;
}

void rec_muted_frames_report_muted(const uint32_t *functions, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        rec_muted_clear(functions[i], REC_CHANGING | REC_UNSETTLED | REC_PASSED_OVER);
        rec_muted_apply(functions[i]);
    }
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        struct rec_thread *thread = rec_threads_find(ts);
        if (!thread || !thread->must_report_stack || !rec_muted_frames_thread(ts))
            continue;
        thread->must_report_stack = false;
        rec_muted_frames_report_stack(ts, thread, rec_clock_ticks());
    }
    rec_greenlets_forget_stacks();
}

/* ---- admitting ---- */

static void add_standing(const PyThreadState *ts, const cpython_frame *f, uint32_t function)
{
    if (pnr_array_reserve(&standing_frames.frames, &standing_frames.capacity, standing_frames.n + 1) < 0)
        return;
    standing_frames.frames[standing_frames.n++] = (struct standing){ ts, cpython_instruction(f), function };
    rec_muted_set(function, REC_UNSETTLED);
}

/* Looks at a frame of the batch. Returns true when it is to be reported as open. It is passed over in three cases: it
 * cannot be listed (is_beyond); its exit is under way, for another tool alone; it stands at its first instruction, where
 * its entry event may come or not. If that comes, the frame is recorded from there on. A frame cannot be listed if one
 * inwards of it is in the records, or as many as a list may have are inwards of it in this one. */
static bool admit_frame(PyThreadState *ts, const struct rec_thread *thread, cpython_frame *f, uint32_t function,
                        bool is_beyond)
{
    bool is_at_begin = rec_muted_frames_is_at_begin(f);
    struct rec_watched *watched = rec_watched_find(f);
    bool is_reported = watched && watched->state == REC_WATCH_REPORTED;
    if (watched)
        rec_watched_remove(watched, f);
    if (thread && is_at_begin)
        add_standing(ts, f, function);
    bool may_be_left = cpython_is_leaving(f) || cpython_is_yielding(f);
    if (is_reported || !(is_beyond || is_at_begin || may_start(f) || may_be_left))
        return !is_reported;
    if (!rec_watched_add(ts, cpython_whole_data_stack(ts), f, function, REC_WATCH_UNREPORTED))
        return true;
    rec_muted_set(function, REC_PASSED_OVER);
    return false;
}

/* Reports a thread's frames of the batch as open. Their functions are not silent any more. */
static void admit_frames(PyThreadState *ts)
{
    struct rec_thread *thread = rec_muted_frames_thread(ts);
    cpython_frame *f = rec_threads_innermost(ts);
    f = thread ? rec_muted_frames_beneath_tool(ts, thread, f) : f;
    uint32_t n_new = 0;
    bool has_recorded = false;
    for (cpython_frame *at = f; at; at = cpython_previous(at)) {
        bool is_starting = at != cpython_running(ts) && may_start(at);  /* for another tool alone */
        if (!is_starting && !rec_muted_frames_is_entered(ts, at))
            continue;
        uint64_t tag = rec_functions_tag_call(at, cpython_previous(at));
        uint32_t function = (uint32_t)tag;
        bool is_changing = rec_muted_state(function) & REC_CHANGING;
        if (!tag || rec_tag_flags(tag) & REC_TAG_EXCLUDED || (is_starting && !is_changing))
            continue;
        if (!is_changing)
            has_recorded |= !(rec_tag_flags(tag) & REC_TAG_SLOW) || rec_muted_frames_is_reported(at, function);
        else if (admit_frame(ts, thread, at, function, has_recorded || n_new == REC_MAX_LISTED))
            n_new++;
        else
            has_recorded |= !rec_watched_find(at);
    }
    if (n_new && thread)
        rec_threads_report_stack(thread, f, rec_clock_ticks());
}

/* Reports a thread's stack, which has lost a plain frame unseen: the program keeps that frame. */
static void report_loss(const struct rec_watched *watched)
{
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        struct rec_thread *thread = ts == watched->owner ? rec_muted_frames_thread(ts) : NULL;
        if (thread && rec_watched_position(ts, watched) == REC_WATCHED_LEFT)
            rec_muted_frames_report_stack(ts, thread, rec_clock_ticks());
    }
}

/* Releases the frames of the batch that are on no stack that runs. In a stack that waits, such as a greenlet's, their
 * exits are events from now on: the next SWITCH to it lists it. */
static void release_elsewhere(void)
{
    for (struct rec_watched *watched = NULL; (watched = rec_watched_next(watched));) {
        if (!(rec_muted_state(watched->function) & REC_CHANGING) || watched->state == REC_WATCH_UNREPORTED)
            continue;
        if (!watched->is_continuable && watched->state == REC_WATCH_REPORTED)
            report_loss(watched);
        watched = rec_watched_release(watched);
    }
}

void rec_muted_frames_admit(const uint32_t *functions, size_t n)
{
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts))
        admit_frames(ts);
    release_elsewhere();
    for (size_t i = 0; i < n; i++) {
        rec_muted_clear(functions[i], REC_CHANGING | REC_ARMED);
        rec_muted_apply(functions[i]);
    }
    rec_greenlets_forget_stacks();
}

/* ---- frames that stand at their first instruction ---- */

/* True while the thread stands there. It may have come to the same instruction again: then it is waited for longer. */
static bool is_standing(const struct standing *s)
{
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        const cpython_frame *f = ts == s->owner ? cpython_running(ts) : NULL;
        if (f && !cpython_is_entry(f) && cpython_instruction(f) == s->instruction)
            return true;
    }
    return false;
}

static bool is_of_code(const _Py_CODEUNIT *instruction, const PyCodeObject *code)
{
    uintptr_t offset = (uintptr_t)instruction - (uintptr_t)code->co_code_adaptive;
    return offset < (uintptr_t)Py_SIZE(code) * sizeof *instruction;
}

/* CPython 3.13 writes over that instruction when it goes on (Python/bytecodes.c, RESUME), and entries were not seen
 * since: the events are set anew. */
bool rec_muted_frames_settle(PyThreadState *ts, struct rec_thread *thread, cpython_frame *f, uint32_t function)
{
    bool is_reported = rec_threads_count_recorded(ts, f) <= thread->stack.depth, is_lost = false, is_waiting = false;
    size_t n = 0;
    if (!is_reported)
        rec_threads_report_stack(thread, cpython_previous(f), rec_clock_ticks());
    for (size_t i = 0; i < standing_frames.n; i++) {
        struct standing *s = &standing_frames.frames[i];
        bool is_still = s->function == function && s->owner != ts && is_standing(s);
        if (s->function != function || is_still)
            standing_frames.frames[n++] = *s;
        else
            is_lost |= is_of_code(s->instruction, cpython_code(f)) &&
                       cpython_opcode(s->instruction) != INSTRUMENTED_RESUME;
        is_waiting |= is_still;
    }
    standing_frames.n = n;
    if (is_lost) {
        rec_muted_set(function, REC_CHANGING);
        rec_codes_allow(function, REC_CODES_EXITS);
        for (PyThreadState *other = PyInterpreterState_ThreadHead(rec_threads.interp); other;
             other = PyThreadState_Next(other))
            if (other != ts)
                admit_frames(other);
        rec_muted_clear(function, REC_CHANGING);
    }
    if (!is_lost && !is_waiting)
        rec_muted_clear(function, REC_UNSETTLED);
    rec_muted_apply(function);
    return is_reported;
}

void rec_muted_frames_forget(void)
{
    rec_watched_forget_all();
    standing_frames.n = 0;
}

#endif
