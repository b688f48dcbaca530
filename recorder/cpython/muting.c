#include "greenlets.h"

#include "muting.h"

#if PY_VERSION_HEX >= 0x030C0000 && CPYTHON_IS_KNOWN

#include <stdatomic.h>
#include <string.h>

#include "c_calls.h"
#include "codes.h"
#include "event_cost.h"
#include "watched_frames.h"
#include "../../format/array.h"
#include "../budget.h"
#include "../cpu_clock.h"
#include "../ledger.h"

#define SLOW_NS 6000000                 /* an open call of a muted function is reported when it has been known so long */
#define MAX_NEWLY_WATCHED 1024          /* of one thread, at one look: as many as a list of open frames has */
#define MAX_SWALLOWED 64                /* exits that are not recorded, until a function's events are off again */

/* The state of a function: a bit each. */
enum {
    MUTED = 1,
    C_MUTED = 2,                        /* only its calls of C functions */
    ARMED = 4,                          /* it is muted, but its exits are events: a token does not do for a watched frame */
    UNSETTLED = 8,                      /* it was admitted while a thread stood at its first instruction */
    PASSED_OVER = 16,                   /* it was admitted while it had a frame that stays REC_WATCH_UNREPORTED */
    CHANGING = 32                       /* it is in the batch that is being applied */
};

/* A frame that stood at its RESUME, in the interpreter's check for pending calls, when its function was admitted. */
struct standing {
    const PyThreadState *owner;         /* compared, never dereferenced */
    const _Py_CODEUNIT *instruction;    /* of the code; compared, and read while that code runs */
    uint32_t function;
};

static struct {
    bool is_on, is_in_window;
    uint8_t *states, *swallowed;        /* by function number; owned */
    size_t states_capacity, swallowed_capacity;
    uint32_t *muted;                    /* the functions with MUTED or C_MUTED; owned */
    size_t n_muted, muted_capacity;
    struct standing *standing;          /* owned */
    size_t n_standing, standing_capacity;
    uint64_t slow_ticks;
    _Atomic uint64_t requested;         /* ticks of the first request that is not yet followed; 0: none */
} muting;

/* ---- functions ---- */

static uint8_t state_of(uint32_t function)
{
    return function < muting.states_capacity ? muting.states[function] : 0;
}

static bool is_silent(uint32_t function)
{
    return state_of(function) & MUTED && !muting.is_in_window;
}

static bool reserve_state(uint32_t function)
{
    return pnr_array_reserve_number(&muting.states, &muting.states_capacity, function) == 0 &&
           pnr_array_reserve_number(&muting.swallowed, &muting.swallowed_capacity, function) == 0;
}

bool rec_muting_is_slow(uint32_t function)
{
    return is_silent(function) || state_of(function) & (UNSETTLED | PASSED_OVER);
}

/* Brings the tag of a code object to what its function's state wants. */
static void set_slow(PyCodeObject *code)
{
    uint64_t tag = cpython_code_value(code, rec_functions.extra_index), flag = (uint64_t)REC_TAG_SLOW << 32;
    tag = rec_muting_is_slow((uint32_t)tag) ? tag | flag : tag & ~flag;
    if (cpython_set_code_value(code, rec_functions.extra_index, tag) != 0)
        PyErr_Clear();                  /* not reached: its place is there */
}

/* Sets which events of a function come, and how they are taken, as its state wants it. */
static void apply_state(uint32_t function)
{
    uint8_t state = muting.states[function];
    rec_codes_each(function, set_slow);
    rec_codes_allow(function, is_silent(function) ? state & ARMED ? REC_CODES_EXITS : 0 :
                         state & C_MUTED && !muting.is_in_window ? REC_CODES_ENTRIES | REC_CODES_EXITS : REC_CODES_ALL);
}

/* ---- frames and threads ---- */

static bool is_program_frame(const PyThreadState *ts, cpython_frame *f)
{
    return !cpython_is_entry(f) && rec_threads_is_entered(ts, f);
}

static bool stands_at_resume(const cpython_frame *f)
{
#if PY_VERSION_HEX >= 0x030D0000
    int opcode = cpython_opcode(cpython_instruction(f));
    return opcode == RESUME || opcode == RESUME_CHECK;
#else
    return !f;
#endif
}

/* The thread, if its records say what is open on the stack that runs. If not, they say it at its next event. */
static struct rec_thread *find_thread_in_step(const PyThreadState *ts)
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

bool rec_muting_is_reported(const cpython_frame *f, uint32_t function)
{
    const struct rec_watched *watched = rec_watched_find(f);
    return is_silent(function) ? watched && watched->state == REC_WATCH_REPORTED :
                                            !watched || watched->state != REC_WATCH_UNREPORTED;
}

/* True for an entry of this function for which its exits may be events. */
static bool may_be_armed_for(const struct rec_watched *watched, uint32_t function)
{
    return watched->function == function && (watched->is_continuable || watched->state == REC_WATCH_REPORTED);
}

/* ---- muting ---- */

/* True for a frame that may be in a call of a C function. inner: the next frame inwards, or NULL. The event of that
 * call's end would not come. */
static bool may_be_in_c_call(const PyThreadState *ts, const cpython_frame *inner)
{
    return inner ? cpython_is_entry(inner) : ts != PyThreadState_Get();
}

/* Takes functions out of the batch that cannot be muted now. */
static void exempt_callers_of_c(void)
{
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        const cpython_frame *inner = NULL;
        for (cpython_frame *f = cpython_running(ts); f; inner = f, f = cpython_previous(f)) {
            uint32_t function = is_program_frame(ts, f) ? (uint32_t)rec_tag_peek(f) : 0;
            if (state_of(function) & CHANGING && may_be_in_c_call(ts, inner))
                muting.states[function] &= (uint8_t)~CHANGING;
        }
    }
}

static void defer_order(enum rec_order_kind kind, uint32_t function)
{
    rec_budget_defer((struct rec_order){ .kind = (uint8_t)kind, .function = function });
}

/* Takes functions out of the batch that cannot be muted now. They come again with the next request. */
static void defer_callers_of_c(uint32_t *functions, size_t *n, enum rec_order_kind kind)
{
    size_t n_left = 0;
    exempt_callers_of_c();
    for (size_t i = 0; i < *n; i++) {
        if (muting.states[functions[i]] & CHANGING)
            functions[n_left++] = functions[i];
        else
            defer_order(kind, functions[i]);
    }
    *n = n_left;
}

/* True for a frame whose entry event is under way, or still to come. */
static bool may_start(cpython_frame *f)
{
    return !cpython_is_entry(f) && !cpython_is_incomplete(f) && cpython_has_pending_entry(f);
}

/* Watches the open frames of the batch, whose exits are to be recorded all the same. Another tool's function may run
 * for the entry or exit of a frame: then the records have more frames than are entered, or fewer. Returns false when
 * the thread has a frame that cannot be watched. */
static bool watch_open_frames(PyThreadState *ts, const struct rec_thread *thread)
{
    uint64_t tag;
    bool are_all_watched = true;
    cpython_frame *innermost = rec_threads_innermost(ts);
    int surplus = (int)rec_threads_count_recorded(ts, innermost) - (int)thread->stack.depth;
    for (cpython_frame *f = innermost; f; f = cpython_previous(f)) {
        bool is_starting = surplus < 0 && f != innermost && may_start(f);
        tag = is_starting ? rec_functions_tag_call(f, cpython_previous(f)) : 0;
        if (!is_starting && rec_threads_recorded_from(ts, f, &tag) != f)
            continue;
        uint32_t function = (uint32_t)tag;
        surplus += is_starting;
        if (surplus > 0 && (cpython_is_leaving(f) || cpython_is_yielding(f))) {
            surplus--;
            continue;
        }
        if (!(state_of(function) & CHANGING))
            continue;
        struct rec_watched *watched = rec_watched_find(f);
        if (!watched && !rec_watched_add(ts, f, function, REC_WATCH_REPORTED))
            are_all_watched = false;
        else if (cpython_is_continuable(f) || rec_watched_is_kept(f))
            muting.states[function] |= ARMED;
    }
    return are_all_watched;
}

/* Mutes a batch: functions with the state CHANGING. */
static void silence(const uint32_t *functions, size_t n)
{
    uint64_t now = rec_clock_ticks();
    for (size_t i = 0; i < n; i++)
        muting.swallowed[functions[i]] = 0;
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        struct rec_thread *thread = find_thread_in_step(ts);
        if (thread && !watch_open_frames(ts, thread))
            thread->must_report_stack = true;
    }
    for (struct rec_watched *watched = NULL; (watched = rec_watched_next(watched));)
        if (state_of(watched->function) & CHANGING && watched->state == REC_WATCH_UNREPORTED) {
            watched->state = REC_WATCH_SEEN;
            watched->since = now;
        }
    size_t n_standing = 0;
    for (size_t i = 0; i < muting.n_standing; i++)
        if (!(state_of(muting.standing[i].function) & CHANGING))
            muting.standing[n_standing++] = muting.standing[i];
    muting.n_standing = n_standing;
}

static void end_silencing(const uint32_t *functions, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        muting.states[functions[i]] &= (uint8_t)~(CHANGING | UNSETTLED | PASSED_OVER);
        apply_state(functions[i]);
    }
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        struct rec_thread *thread = rec_threads_find(ts);
        if (!thread || !thread->must_report_stack || !find_thread_in_step(ts))
            continue;
        thread->must_report_stack = false;
        rec_threads_report_stack(thread, rec_threads_innermost(ts), rec_clock_ticks());
    }
    rec_greenlets_forget_stacks();
}

/* ---- admitting ---- */

static void add_standing(const PyThreadState *ts, const cpython_frame *f, uint32_t function)
{
    if (pnr_array_reserve(&muting.standing, &muting.standing_capacity, muting.n_standing + 1) < 0)
        return;
    muting.standing[muting.n_standing++] = (struct standing){ ts, cpython_instruction(f), function };
    muting.states[function] |= UNSETTLED;
}

/* Looks at a frame of the batch. Returns true when it is to be reported as open. It is passed over in three cases: a
 * frame inwards of it is in the records (has_recorded); its exit is under way, for another tool alone; it stands at its
 * first instruction, where its entry event may come or not. If that comes, the frame is recorded from there on. */
static bool admit_frame(PyThreadState *ts, const struct rec_thread *thread, cpython_frame *f, uint32_t function,
                        bool has_recorded)
{
    bool is_at_begin = stands_at_resume(f);
    struct rec_watched *watched = rec_watched_find(f);
    bool is_reported = watched && watched->state == REC_WATCH_REPORTED;
    if (watched)
        rec_watched_remove(watched, f);
    if (thread && is_at_begin)
        add_standing(ts, f, function);
    if (is_reported || !(has_recorded || is_at_begin || may_start(f) || cpython_is_leaving(f)))
        return !is_reported;
    if (!rec_watched_add(ts, f, function, REC_WATCH_UNREPORTED))
        return true;
    muting.states[function] |= PASSED_OVER;
    return false;
}

/* Reports a thread's frames of the batch as open, from f outwards. Their functions are not silent any more. */
static void admit_frames(PyThreadState *ts, cpython_frame *f)
{
    struct rec_thread *thread = find_thread_in_step(ts);
    bool must_report_stack = false, has_recorded = false;
    for (cpython_frame *at = f; at; at = cpython_previous(at)) {
        bool is_starting = at != f && may_start(at);    /* for another tool alone */
        if (!is_starting && !is_program_frame(ts, at))
            continue;
        uint64_t tag = rec_functions_tag_call(at, cpython_previous(at));
        uint32_t function = (uint32_t)tag;
        if (!tag || rec_tag_flags(tag) & REC_TAG_EXCLUDED || (is_starting && !(state_of(function) & CHANGING)))
            continue;
        if (!(state_of(function) & CHANGING))
            has_recorded |= !(rec_tag_flags(tag) & REC_TAG_SLOW) || rec_muting_is_reported(at, function);
        else if (admit_frame(ts, thread, at, function, has_recorded))
            must_report_stack = true;
        else
            has_recorded |= !rec_watched_find(at);
    }
    if (must_report_stack && thread)
        rec_threads_report_stack(thread, f, rec_clock_ticks());
}

static void admit(const uint32_t *functions, size_t n)
{
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts))
        admit_frames(ts, rec_threads_innermost(ts));
    for (size_t i = 0; i < n; i++) {
        muting.states[functions[i]] &= (uint8_t)~(CHANGING | ARMED);
        apply_state(functions[i]);
    }
    rec_greenlets_forget_stacks();
}

/* ---- events ---- */

/* Turns the exits of a muted function off again when no frame waits for one. It also does when others come too often.
 * Only a continuable frame that the records have as open is waited for at any price: nothing else would show its exit.
 */
static void disarm_if_idle(uint32_t function)
{
    bool is_dear = muting.swallowed[function] >= MAX_SWALLOWED;
    for (const struct rec_watched *watched = NULL; (watched = rec_watched_next(watched));)
        if (may_be_armed_for(watched, function) &&
            (!is_dear || (watched->is_continuable && watched->state == REC_WATCH_REPORTED)))
            return;
    for (struct rec_watched *watched = NULL; (watched = rec_watched_next(watched));)
        if (watched->function == function && watched->is_continuable) {
            rec_watched_release(watched);
            watched = NULL;
        }
    muting.states[function] &= (uint8_t)~ARMED;
    apply_state(function);
}

static void arm(uint32_t function)
{
    muting.swallowed[function] = 0;
    if (muting.states[function] & ARMED)
        return;
    muting.states[function] |= ARMED;
    apply_state(function);
}

/* At an exit of a muted function: true when the records have the frame as open. */
static bool leave_silently(cpython_frame *f, uint32_t function)
{
    struct rec_watched *watched = rec_watched_find(f);
    bool is_reported = watched && watched->state == REC_WATCH_REPORTED;
    if (watched)
        rec_watched_remove(watched, f);
    if (state_of(function) & ARMED) {
        muting.swallowed[function] += !is_reported && muting.swallowed[function] < MAX_SWALLOWED;
        disarm_if_idle(function);
    }
    return is_reported;
}

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

/* At the exit of a frame of a function that was admitted while a thread stood at its first instruction. CPython 3.13
 * writes over that instruction when it goes on (Python/bytecodes.c, RESUME), and entries were not seen since: the
 * events are set anew. Returns whether the records have the frame as open. */
static bool settle(PyThreadState *ts, struct rec_thread *thread, cpython_frame *f, uint32_t function)
{
    bool is_reported = rec_threads_count_recorded(ts, f) <= thread->stack.depth, is_lost = false, is_waiting = false;
    size_t n = 0;
    if (!is_reported)
        rec_threads_report_stack(thread, cpython_previous(f), rec_clock_ticks());
    for (size_t i = 0; i < muting.n_standing; i++) {
        struct standing *s = &muting.standing[i];
        bool is_still = s->function == function && s->owner != ts && is_standing(s);
        if (s->function != function || is_still)
            muting.standing[n++] = *s;
        else
            is_lost |= is_of_code(s->instruction, cpython_code(f)) &&
                       cpython_opcode(s->instruction) != INSTRUMENTED_RESUME;
        is_waiting |= is_still;
    }
    muting.n_standing = n;
    if (is_lost) {
        muting.states[function] |= CHANGING;
        rec_codes_allow(function, REC_CODES_EXITS);
        for (PyThreadState *other = PyInterpreterState_ThreadHead(rec_threads.interp); other;
             other = PyThreadState_Next(other))
            if (other != ts)
                admit_frames(other, rec_threads_innermost(other));
        muting.states[function] &= (uint8_t)~CHANGING;
    }
    if (!is_lost && !is_waiting)
        muting.states[function] &= (uint8_t)~UNSETTLED;
    apply_state(function);
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
        muting.states[function] &= (uint8_t)~PASSED_OVER;
        apply_state(function);
    }
}

bool rec_muting_filter(PyThreadState *ts, struct rec_thread *thread, cpython_frame *f, uint32_t function,
                       enum pnr_kind kind)
{
    if (is_silent(function))
        return !pnr_kind_enters_frame(kind) && leave_silently(f, function);
    struct rec_watched *watched = rec_watched_find(f);
    if (watched && watched->state == REC_WATCH_UNREPORTED) {
        rec_watched_remove(watched, f);
        pass_over(function);
        return pnr_kind_enters_frame(kind);
    }
    return pnr_kind_enters_frame(kind) || !(state_of(function) & UNSETTLED) || settle(ts, thread, f, function);
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
        struct rec_thread *thread = at == watched->owner ? find_thread_in_step(at) : NULL;
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

/* ---- looks ---- */

/* The next muted frame of a thread outwards, this one included, that the records do not have as open; NULL when a
 * recorded one comes first. */
static cpython_frame *silent_from(PyThreadState *ts, cpython_frame *f, uint32_t *function)
{
    for (; f; f = cpython_previous(f)) {
        uint64_t tag = is_program_frame(ts, f) ? rec_functions_tag_call(f, cpython_previous(f)) : 0;
        *function = (uint32_t)tag;
        if (!tag || rec_tag_flags(tag) & REC_TAG_EXCLUDED)
            continue;
        return is_silent(*function) && !rec_muting_is_reported(f, *function) ? f : NULL;
    }
    return NULL;
}

/* Notes the muted frames of a thread that lie inwards of all recorded ones. A frame is open for at least as long as
 * those inwards of it. Those outwards of MAX_NEWLY_WATCHED ones are left out. requested: when the look was asked for.
 * Since then the thread has passed no check for pending calls: all that it had entered by then is still open. */
static void watch_silent_frames(PyThreadState *ts, uint64_t requested, uint64_t now)
{
    uint64_t since = now;
    uint32_t function;
    unsigned n_new = 0;
    for (cpython_frame *f = cpython_running(ts); (f = silent_from(ts, f, &function)); f = cpython_previous(f)) {
        struct rec_watched *watched = rec_watched_find(f);
        if (watched) {
            since = watched->since < since ? watched->since : since;
            continue;
        }
        if (n_new++ == MAX_NEWLY_WATCHED)
            return;
        if (!(watched = rec_watched_add(ts, f, function, REC_WATCH_SEEN)))
            continue;
        if (!stands_at_resume(f) && requested < since)
            since = requested;
        watched->since = since;
        if (cpython_is_continuable(f))
            arm(function);
    }
}

/* Takes those of a thread's muted frames that are slow as reported. Returns since when the innermost of them is known
 * to be open; 0 when there is none. */
static uint64_t take_slow_frames(PyThreadState *ts, uint64_t now)
{
    uint64_t reported_since = 0;
    uint32_t function;
    for (cpython_frame *f = cpython_running(ts); (f = silent_from(ts, f, &function)); f = cpython_previous(f)) {
        struct rec_watched *watched = rec_watched_find(f);
        if (!watched || now - watched->since < muting.slow_ticks)
            continue;
        watched->state = REC_WATCH_REPORTED;
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
        struct rec_thread *thread = owner ? find_thread_in_step(watched->owner) : NULL;
        if (!thread)
            continue;
        if (!rec_watched_is_open(watched->owner, watched)) {
            rec_watched_release(watched);
            thread->must_report_stack = true;
        } else if (rec_watched_is_kept(watched->frame)) {
            arm(watched->function);
        }
    }
}

static void look_at_stacks(uint64_t requested)
{
    uint64_t now = rec_clock_ticks();
    look_at_reported_frames();
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        struct rec_thread *thread = find_thread_in_step(ts);
        if (thread)
            watch_silent_frames(ts, requested, now);
        uint64_t since = thread ? take_slow_frames(ts, now) : 0;
        if (!since && !(thread && thread->must_report_stack))
            continue;
        thread->must_report_stack = false;
        rec_threads_report_stack(thread, rec_threads_innermost(ts), since ? since : now);
    }
}

/* ---- orders ---- */

/* Reports to the ledger and to the controller that an order is carried out. */
static void report_change(enum rec_order_kind kind, uint32_t function, uint64_t ticks)
{
    const struct rec_order order = { .kind = (uint8_t)kind, .function = function };
    rec_ledger_note(order, ticks);
    rec_budget_applied(order, ticks);
}

static void report_cost(uint64_t ticks)
{
    uint64_t cpu_ns;
    uint32_t cost_ns;
    if (rec_budget_take_cost(&cpu_ns, &cost_ns))
        rec_ledger_cost(cpu_ns, cost_ns, ticks);
}

struct batch {
    uint32_t *functions;                /* owned */
    size_t n, capacity;
};

static struct batch to_mute, to_admit;  /* guarded by the GIL */

static bool add_to_batch(struct batch *batch, uint32_t function)
{
    if (!reserve_state(function) || pnr_array_reserve(&batch->functions, &batch->capacity, batch->n + 1) < 0)
        return false;
    batch->functions[batch->n++] = function;
    muting.states[function] |= CHANGING;
    return true;
}

/* Sets MUTED or C_MUTED. Lists the function if neither was set. */
static void set_muted_bit(uint32_t function, uint8_t bit)
{
    bool is_listed = muting.states[function] & (MUTED | C_MUTED);
    muting.states[function] |= bit;
    if (!is_listed && pnr_array_reserve(&muting.muted, &muting.muted_capacity, muting.n_muted + 1) == 0)
        muting.muted[muting.n_muted++] = function;
}

/* Clears MUTED, C_MUTED or both. A function with neither is not listed. */
static void clear_muted_bits(uint32_t function, uint8_t bits)
{
    muting.states[function] &= (uint8_t)~bits;
    if (muting.states[function] & (MUTED | C_MUTED))
        return;
    for (size_t i = 0; i < muting.n_muted; i++)
        if (muting.muted[i] == function) {
            muting.muted[i] = muting.muted[--muting.n_muted];
            return;
        }
}

/* Mutes the functions of to_mute. In a window they are muted at its end. */
static void mute_batch(uint64_t now)
{
    if (rec_c_calls_are_on() && !muting.is_in_window)
        defer_callers_of_c(to_mute.functions, &to_mute.n, REC_ORDER_MUTE);
    if (!muting.is_in_window)
        silence(to_mute.functions, to_mute.n);
    for (size_t i = 0; i < to_mute.n; i++) {
        uint32_t function = to_mute.functions[i];
        set_muted_bit(function, MUTED);
        report_change(REC_ORDER_MUTE, function, now);
    }
    if (!muting.is_in_window)
        end_silencing(to_mute.functions, to_mute.n);
    for (size_t i = 0; i < to_mute.n; i++)
        muting.states[to_mute.functions[i]] &= (uint8_t)~CHANGING;
    to_mute.n = 0;
}

static void note_admitted(uint32_t function, uint64_t now)
{
    clear_muted_bits(function, MUTED);
    report_change(REC_ORDER_ADMIT, function, now);
}

static void admit_batch(uint64_t now)
{
    for (size_t i = 0; i < to_admit.n; i++)
        note_admitted(to_admit.functions[i], now);
    if (!muting.is_in_window)
        admit(to_admit.functions, to_admit.n);
    for (size_t i = 0; i < to_admit.n; i++)
        muting.states[to_admit.functions[i]] &= (uint8_t)~CHANGING;
    to_admit.n = 0;
}

static void open_muting_window(uint64_t now)
{
    for (size_t i = 0; i < muting.n_muted; i++)
        if (muting.states[muting.muted[i]] & MUTED)     /* else only its C calls are: its frames are in the records */
            muting.states[muting.muted[i]] |= CHANGING;
    report_cost(now);
    muting.is_in_window = true;
    admit(muting.muted, muting.n_muted);
    report_change(REC_ORDER_WINDOW, 0, now);
}

/* Admits a function that cannot be muted again at the end of a window, until it can. */
static void admit_for_now(uint32_t function, uint64_t now)
{
    uint8_t before = muting.states[function];
    clear_muted_bits(function, MUTED | C_MUTED);
    if (before & MUTED) {
        report_change(REC_ORDER_ADMIT, function, now);
        defer_order(REC_ORDER_MUTE, function);
    }
    if (before & C_MUTED) {
        report_change(REC_ORDER_ADMIT_C, function, now);
        defer_order(REC_ORDER_MUTE_C, function);
    }
}

static void close_muting_window(uint64_t now)
{
    to_mute.n = 0;
    for (size_t i = 0; i < muting.n_muted; i++)
        muting.states[muting.muted[i]] |= CHANGING;
    if (rec_c_calls_are_on())
        exempt_callers_of_c();
    for (size_t i = muting.n_muted; i-- > 0;) {
        uint32_t function = muting.muted[i];
        if (!(muting.states[function] & CHANGING))
            admit_for_now(function, now);
        else if (muting.states[function] & MUTED)
            add_to_batch(&to_mute, function);
        else
            muting.states[function] &= (uint8_t)~CHANGING;
    }
    silence(to_mute.functions, to_mute.n);
    muting.is_in_window = false;
    end_silencing(to_mute.functions, to_mute.n);
    for (size_t i = 0; i < muting.n_muted; i++)
        if (!(muting.states[muting.muted[i]] & MUTED))
            apply_state(muting.muted[i]);
    to_mute.n = 0;
    report_cost(now);
    report_change(REC_ORDER_WINDOW_END, 0, now);
}

/* Mutes or admits a function's calls of C functions. */
static void change_c_calls(struct rec_order order, uint64_t now)
{
    uint32_t function = order.function;
    if (!reserve_state(function))
        return;
    if (order.kind == REC_ORDER_MUTE_C) {
        size_t n = 1;
        muting.states[function] |= CHANGING;
        defer_callers_of_c(&function, &n, REC_ORDER_MUTE_C);
        muting.states[function] &= (uint8_t)~CHANGING;
        if (!n)
            return;
        set_muted_bit(function, C_MUTED);
    } else {
        clear_muted_bits(function, C_MUTED);
    }
    apply_state(function);
    report_change(order.kind, function, now);
}

static void apply_batches(uint64_t now)
{
    if (to_mute.n)
        mute_batch(now);
    if (to_admit.n)
        admit_batch(now);
}

static void apply_order(struct rec_order order, uint64_t now)
{
    if (state_of(order.function) & CHANGING)
        apply_batches(now);             /* an order for the same function comes before this one */
    bool is_muted = state_of(order.function) & MUTED;
    switch ((enum rec_order_kind)order.kind) {
    case REC_ORDER_MUTE:
        if (!is_muted)
            add_to_batch(&to_mute, order.function);
        break;
    case REC_ORDER_ADMIT:
        if (is_muted)
            add_to_batch(&to_admit, order.function);
        break;
    case REC_ORDER_MUTE_C:
    case REC_ORDER_ADMIT_C:
        change_c_calls(order, now);
        break;
    case REC_ORDER_WINDOW:
        apply_batches(now);
        if (!muting.is_in_window)
            open_muting_window(now);
        break;
    case REC_ORDER_WINDOW_END:
        apply_batches(now);
        if (muting.is_in_window)
            close_muting_window(now);
    }
}

/* Applies what is ordered, and looks at the stacks. */
static void follow_request(uint64_t requested)
{
    struct rec_order order;
    uint64_t begin = rec_clock_ticks(), cpu_ns = rec_cpu_clock_thread();
    if (muting.n_muted && !muting.is_in_window)
        look_at_stacks(requested);
    while (rec_budget_take(&order))
        apply_order(order, begin);
    apply_batches(begin);
    rec_budget_add_cost(rec_cpu_clock_thread() - cpu_ns);      /* ticks would count other threads' turns */
    if (rec_budget_is_cost_due())
        report_cost(rec_clock_ticks());
    rec_worker_post();                  /* it sleeps while a program that waits has a request to follow */
}

/* Brings the records of this thread to the greenlet that runs. */
static void notice_greenlet(PyThreadState *ts)
{
    struct rec_thread *thread = rec_greenlets.are_used ? rec_threads_find(ts) : NULL;
    cpython_frame *f = rec_threads_innermost(ts);
    uint16_t flags;
    if (!thread || thread->is_ending || rec_threads_is_out_of_date(thread, &flags))
        return;
    enum rec_greenlets_change change = rec_greenlets_notice(ts, thread, NULL);
    if (change == REC_GREENLETS_NEW)
        thread->stack.depth = rec_threads_count_recorded(ts, f);
    if (change != REC_GREENLETS_SAME)
        rec_threads_emit_switch(thread, f, rec_no_frame);
}

/* Called by the interpreter between two instructions, in any thread. */
static int on_pending_call(void *unused)
{
    PyObject *type, *value, *traceback;
    (void)unused;
    uint64_t requested = atomic_exchange(&muting.requested, 0);
    PyThreadState *ts = PyThreadState_Get();
    if (!muting.is_on || !requested || ts->interp != rec_threads.interp)
        return 0;
    rec_threads_notice_fork();
    if (!rec_state_is(REC_RECORDING) || rec_session_is_closed() || cpython_is_finalizing())
        return 0;
    PyErr_Fetch(&type, &value, &traceback);
    notice_greenlet(ts);
    follow_request(requested);
    PyErr_Restore(type, value, traceback);
    return 0;
}

/* Pending calls of Py_AddPendingCall run in the main thread alone, which may wait for long. */
void rec_muting_request(void)
{
    uint64_t none = 0;
    if (!rec_state_is(REC_RECORDING) || cpython_is_finalizing() ||
        !atomic_compare_exchange_strong(&muting.requested, &none, rec_clock_ticks()))
        return;
    if (cpython_add_pending_call(rec_threads.interp, on_pending_call) != 0)
        atomic_store(&muting.requested, 0);     /* too many wait: the next request comes soon */
}

/* ---- start and end ---- */

const char *rec_muting_fault(void)
{
    return rec_watched_init() ? NULL : "other code has all watchers of dicts that the interpreter allows";
}

/* Forgets what is open, and admits all functions to the code that follows. */
static void forget_open(void)
{
    rec_watched_forget_all();
    muting.n_standing = 0;
    for (size_t i = 0; i < muting.states_capacity; i++)
        if (muting.states[i] & (ARMED | UNSETTLED | PASSED_OVER)) {
            muting.states[i] &= (uint8_t)~(ARMED | UNSETTLED | PASSED_OVER);
            apply_state((uint32_t)i);
        }
}

void rec_muting_pause(void)
{
    uint64_t now = rec_clock_ticks();
    if (!muting.is_on)
        return;
    report_cost(now);
    if (muting.is_in_window) {
        muting.is_in_window = false;
        for (size_t i = 0; i < muting.n_muted; i++)
            apply_state(muting.muted[i]);
        report_change(REC_ORDER_WINDOW_END, 0, now);
    }
    forget_open();
}

void rec_muting_forget(void)
{
    rec_watched_forget_all();
    muting.is_on = muting.is_in_window = false;
    muting.n_muted = muting.n_standing = 0;
    to_mute.n = to_admit.n = 0;
    if (muting.swallowed_capacity) {
        memset(muting.states, 0, muting.states_capacity);
        memset(muting.swallowed, 0, muting.swallowed_capacity);
    }
    atomic_store(&muting.requested, 0);
}

int rec_muting_start(double share)
{
    struct pnr_err err;
    rec_muting_forget();
    muting.slow_ticks = (uint64_t)(SLOW_NS * 1e-9 * (double)rec_clock_rate());
    rec_watched_on_cleared = leave_cleared;
    const struct rec_budget_options options = { share, rec_event_cost_begin(), rec_muting_request,
                                                rec_event_cost_write };
    if (!rec_watched_init() || !rec_ledger_begin() || rec_budget_start(&options, &err) != 0)
        return -1;
    muting.is_on = true;
    return 0;
}

#endif
