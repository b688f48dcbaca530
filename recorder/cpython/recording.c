#include "threads.h"

#include "recording.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "c_calls.h"
#include "captures.h"
#include "collector.h"
#include "commands.h"
#include "engine.h"
#include "event_cost.h"
#include "arguments.h"
#include "exceptions.h"
#include "muting.h"
#include "occasions.h"
#include "properties.h"
#include "self_test.h"
#include "task_names.h"
#include "trampoline.h"
#include "../control.h"
#include "../diagnostics.h"
#include "../fork_memory.h"
#include "../incidents.h"
#include "../machine.h"
#include "../samples.h"
#include "../survey.h"
#include "../../format/capture.h"

#define FORK_NS 10000000                /* how long the functions that os.fork calls are waited for */
#define LOOK_NS 100000000               /* how often it is checked whether another tool has displaced the recorder */

static struct {
    pid_t pid;                          /* of the process that was started */
    bool joins;                         /* the capture is another process's */
    struct rec_drain_options drain;
    const struct rec_engine *engine;
    uint64_t forks;                     /* children that are not recorded */
    int64_t interpreters;               /* the main one, and others that were reported or are the parent's */
    _Atomic uint64_t *unannounced;      /* those whose fork was not announced: in memory that they share; or NULL */
    bool was_announced;                 /* the fork of this child */
    struct {                            /* the recording that was stopped early */
        int last;                       /* number of its captures; 0: no recording was */
        bool is_unreported;             /* its end */
        struct rec_totals totals;
    } early;
} recording = { .interpreters = 1 };

PyObject *rec_recording_raise(const struct pnr_err *err)
{
    char text[512];
    PyErr_Clear();                      /* OSError cannot be made while an exception is set */
    if (err->code == PNR_E_MEMORY)
        return PyErr_NoMemory();
    PyObject *path = PyUnicode_DecodeFSDefault(err->path);      /* owned */
    snprintf(text, sizeof text, "%s: %s", err->what, strerror(err->sys_errno));
    PyObject *error = path ? PyObject_CallFunction(PyExc_OSError, "isO", err->sys_errno, text, path) : NULL;
    if (error)
        PyErr_SetObject(PyExc_OSError, error);
    Py_XDECREF(error);
    Py_XDECREF(path);
    return NULL;
}

static int raise_not_recorded(void)
{
    PyErr_SetString(PyExc_RuntimeError, "panopticon: this process is not being recorded");
    return -1;
}

/* Brings the state up to date: a fork may not have been announced, and a write fails on the drain's thread. */
static void notice_changes(void)
{
    rec_threads_notice_fork();
    if (rec_state_is(REC_RECORDING | REC_PAUSED) && rec_session_is_closed())
        rec_state_take(REC_EVENT_FAILURE);
}

/* Takes notice of a fork first: a request of Python code may be the first sign of it. */
bool rec_recording_is_on(void)
{
    REC_LOCK_BLOCK();
    notice_changes();
    return rec_state_is(REC_WITH_FILES | REC_IN_CHILD);
}

const char *rec_recording_state(void)
{
    REC_LOCK_BLOCK();
    notice_changes();
    return rec_state_name();
}

bool rec_recording_is_own(void) { return recording.pid == getpid(); }
const char *rec_recording_path(void) { return rec_captures.written.path; }
bool rec_recording_locate(void) { return rec_captures_locate(); }

/* ---- engines ---- */

static bool must_change_engine(void)
{
    return recording.engine == rec_engine_frame && rec_engine_monitoring && rec_trampoline_is_active();
}

/* Returns false with an exception set. */
static bool choose_engine(const char *name, bool has_budget)
{
    if (!(recording.engine = rec_engine_find(name, has_budget)))
        return false;
    bool is_displaced = must_change_engine();
    if (is_displaced)
        recording.engine = rec_engine_monitoring;
    if (!(recording.engine = rec_self_test_choose(recording.engine, name)))
        return false;
    rec_debug("engine '%s': %s", recording.engine->name, is_displaced ? "the stack trampoline is active" :
              rec_self_test_fault() ? rec_self_test_fault() :
              name ? "the one that was asked for" : has_budget ? "the one that can mute functions" :
              "the fastest of this Python");
    return true;
}

/* The monitoring engine continues in place of the frame engine, which has left for a pause. Returns false where it
 * cannot; then nothing more is recorded. */
static bool change_engine(void)
{
    recording.engine->leave(REC_LEAVE_HANDOVER);
    if (rec_engine_monitoring->enter(REC_ENTER_HANDOVER) == 0) {
        recording.engine = rec_engine_monitoring;
        rec_debug("engine 'monitoring' takes over: the stack trampoline is active");
        if (rec_state_is(REC_WITH_FILES))
            rec_name_table_add_property("engine", "frame, then monitoring");
        return true;
    }
    PyErr_Clear();
    rec_threads.missing = "the program has activated the stack trampoline, and sys.monitoring has no two free tool numbers";
    rec_state_take(REC_EVENT_FAILURE);
    return false;
}

/* The frame engine steps aside, for what CPython does only where there is no hook. */
static bool step_aside(void)
{
    return PyInterpreterState_Get() == PyInterpreterState_Main() && rec_recording_is_on() &&
           rec_state_is(REC_RECORDING) && recording.engine == rec_engine_frame && rec_state_take(REC_EVENT_PAUSE);
}

static void come_back(void)
{
    rec_state_take(REC_EVENT_RESUME);
    PyErr_Clear();
}

static int call_look(void *unused)
{
    REC_LOCK_BLOCK();
    (void)unused;
    rec_state_take(REC_EVENT_DISPLACED);
    PyErr_Clear();
    return 0;
}

/* On the drain's thread. */
static void look_soon(void)
{
    static uint64_t looked_ns;
    uint64_t now = rec_clock_monotonic_ns();
    if (now - looked_ns < LOOK_NS || !rec_state_is(REC_RECORDING) || cpython_is_finalizing() ||
        !(recording.engine->needs_look() || rec_c_calls_are_on() || rec_exceptions_use_tool()))
        return;
    looked_ns = now;
    Py_AddPendingCall(call_look, NULL);
}

/* Turns the records of collections on or off, as the captures want it. Returns 0, or -1 with an exception set. */
static int set_collections(void)
{
    if (rec_captures_wanted().collections)
        return rec_collector_begin();
    rec_collector_end();
    return 0;
}

/* Turns the records of C calls on or off, as the captures want it. Once on with the monitoring engine they stay so, as
 * both have their events by the same tool numbers. Returns 0, or -1 with an exception set. */
static int set_c_calls(void)
{
    bool is_wanted = rec_captures_wanted().c_calls;
    bool shares_tool = recording.engine != rec_engine_frame || rec_exceptions_use_tool();
    if (is_wanted == rec_c_calls_are_on() || (!is_wanted && shares_tool))
        return 0;
    if (!is_wanted)
        rec_c_calls_leave(REC_LEAVE_OFF);
    else if (rec_c_calls_enter(REC_ENTER_START) != 0)
        return -1;
    if (rec_state_is(REC_PAUSED))
        rec_c_calls_leave(REC_LEAVE_PAUSE);
    return 0;
}

/* Turns the records of exceptions on, if a capture wants it. They stay so until the recording ends. Returns 0, or -1
 * with an exception set. */
static int set_exceptions(void)
{
    if (!rec_captures_wanted().exceptions || rec_exceptions_are_on())
        return 0;
    if (rec_exceptions_enter(REC_ENTER_START) != 0)
        return -1;
    if (rec_state_is(REC_PAUSED))
        rec_exceptions_leave(REC_LEAVE_PAUSE);
    return 0;
}

/* Called by the drain's thread. */
static enum pnr_gil look_at_gil(const void **holder)
{
    return cpython_gil_look(rec_threads.interp, holder);
}

static enum pnr_gil look_at_no_gil(const void **holder)
{
    (void)holder;
    return PNR_GIL_UNKNOWN;
}

/* True when what is read as the GIL shows this thread, which has it. */
static bool has_readable_gil(void)
{
    const void *holder = NULL;
    return look_at_gil(&holder) == PNR_GIL_HELD && holder == PyThreadState_Get();
}

/* Begins samples, if a capture wants them. They go on until the recording ends. */
static void set_samples(void)
{
    uint64_t period_ns = rec_captures_wanted().samples_ns;
    if (!period_ns)
        return;
    rec_samples_begin(&(struct rec_samples_options){ period_ns, has_readable_gil() ? look_at_gil : look_at_no_gil });
    for (struct rec_buffer *buffer = rec_buffer_newest(); buffer; buffer = buffer->older) {
        const struct rec_thread *thread = rec_thread_of(buffer);
        rec_samples_add(buffer->number, thread->native_id, thread->owner);
    }
    if (!rec_state_is(REC_PAUSED))
        rec_samples_allow();
}

/* What captures may want beyond the engine's events. Returns 0, or -1 with an exception set. */
static int set_sources(void)
{
    set_samples();
    return set_c_calls() == 0 && set_exceptions() == 0 ? set_collections() : -1;
}

/* ---- actions: what follows from an event (states.def) ---- */

static void enter_sources(enum rec_state before)
{
    (void)before;
    if (!must_change_engine())
        recording.engine->enter(REC_ENTER_RESUME);
    else if (!change_engine())
        return;
    rec_c_calls_enter(REC_ENTER_RESUME);
    rec_exceptions_enter(REC_ENTER_RESUME);
    rec_muting_resume();
}

static void leave_sources(enum rec_state before)
{
    rec_muting_pause();
    if (before & REC_RECORDING)         /* no event will do it, and the drain must hear signals */
        rec_worker_unpark_now();
    rec_exceptions_leave(REC_LEAVE_PAUSE);
    rec_c_calls_leave(REC_LEAVE_PAUSE);
    recording.engine->leave(REC_LEAVE_PAUSE);
    rec_buffer_flush_all();
    rec_threads_forget_current();
}

static void end_sources_by(enum rec_leave why)
{
    rec_muting_forget();
    if (recording.engine)
        recording.engine->leave(why);
    rec_c_calls_leave(why);
    rec_exceptions_leave(why);
    if (why == REC_LEAVE_GONE)
        rec_collector_forget();
    else
        rec_collector_end();
    rec_threads_forget_all();
}

static void end_sources(enum rec_state before)
{
    end_sources_by(before & (REC_RECORDING | REC_PAUSED) ? REC_LEAVE_STOP : REC_LEAVE_OFF);
}

static void forget_sources(enum rec_state before)
{
    (void)before;
    end_sources_by(REC_LEAVE_GONE);
}

static void disable_engine(enum rec_state before)
{
    (void)before;
    rec_threads_forget_all();
    recording.engine->leave(REC_LEAVE_FAILURE);
    rec_debug("disabled: %s", cpython_is_finalizing() ? "the interpreter ends" :
              rec_session_is_closed() ? "a write has failed" : "no engine can go on");
}

static void look_at_tools(enum rec_state before)
{
    (void)before;
    recording.engine->look();
    rec_c_calls_look();
    rec_exceptions_look();
}

static void abandon_process(enum rec_state before)
{
    (void)before;
    rec_occasions_release_all();
    end_sources_by(REC_LEAVE_OFF);
}

static void announce_child(enum rec_state before)
{
    (void)before;
    if (rec_captures.written.options.follows_forks)
        rec_survey_fork(rec_captures.written.path);
}

/* Where a fork was asked for: the functions that os.fork calls afterwards (os.register_at_fork) run above this frame. Guarded
 * by the GIL. */
static struct {
    const PyThreadState *thread;        /* NULL: somewhere in C code, without the GIL */
    const void *frame;
    uint64_t since_ns;
    bool is_queued;                     /* end_fork is among the interpreter's pending calls */
    bool is_due;                        /* it is to be, when the interpreter may be called again */
} fork_call;

static void keep_fork_call(void)
{
    const PyThreadState *ts = PyGILState_GetThisThreadState();
    bool is_ours = ts && ts == cpython_find_current();
    fork_call.thread = is_ours ? ts : NULL;
    fork_call.frame = is_ours ? cpython_running(ts) : NULL;
    fork_call.since_ns = rec_clock_monotonic_ns();
}

static bool is_fork_over(void)
{
    const PyThreadState *ts = PyThreadState_Get();
    return ts == fork_call.thread && cpython_running(ts) == fork_call.frame;
}

static bool join_if_pending(void);
static int end_fork(void *unused);

/* The main thread may empty the queue of pending calls much later, and its places are few: it holds one call at a time. */
static void queue_end_fork(void)
{
    if (!fork_call.is_queued)
        fork_call.is_queued = cpython_add_pending_call(rec_threads.interp, end_fork) == 0;
}

/* The thread that has forked may wait for the child now, and have no more event. So that it can be asked meanwhile, the
 * parent's drain returns; not before os.fork has counted the threads, of which it would warn. A child of a pause joins, so
 * that it can be asked to resume. */
static int end_fork(void *unused)
{
    REC_LOCK_BLOCK();
    (void)unused;
    fork_call.is_queued = false;
    if (!is_fork_over()) {
        bool is_soon = rec_clock_monotonic_ns() - fork_call.since_ns < FORK_NS;
        if (is_soon)
            queue_end_fork();
        if (is_soon || rec_state_is(REC_RECORDING))     /* then the next event does it */
            return 0;
    }
    if (rec_state_is(REC_PENDING_PAUSED))
        join_if_pending();
    if (rec_state_is(REC_WITH_FILES))
        rec_worker_unpark_now();
    return 0;
}

static void queue_due_call(void)
{
    if (fork_call.is_due)
        queue_end_fork();
    fork_call.is_due = false;
}

static void park_worker(enum rec_state before)
{
    announce_child(before);
    rec_worker_park();
    keep_fork_call();
    fork_call.is_due = fork_call.thread && before & (REC_RECORDING | REC_PAUSED);
#ifndef Py_GIL_DISABLED                 /* there the interpreter has locked what this needs, until rec_lock_watch_forks */
    queue_due_call();                   /* the child has it, too */
#endif
}

static void count_fork(enum rec_state before)
{
    (void)before;
    rec_worker_park();                  /* its time away begins anew: the fork of a large process takes long */
    fork_call.since_ns = rec_clock_monotonic_ns();
    rec_survey_forked();
    recording.forks += !rec_captures.written.options.follows_forks;
    rec_threads_forget_current();       /* the next event is not fast, and unparks the drain */
}

static void forget_parent(enum rec_state before)
{
    if (before & REC_WITH_FILES) {
        rec_control_forked();
        rec_commands_forked();
        rec_session_forked();
    }
    rec_muting_forget();
    if (before & REC_RECORDING)         /* the hook may be off, or displaced: then no event would come */
        recording.engine->enter(REC_ENTER_FORK);
    rec_captures_forked();
    rec_occasions_forked();
    rec_incidents_forked();
    rec_threads_forget_current();
    rec_functions_start(true);          /* the tags on the stack number the parent's names */
}

static void disown_parent(enum rec_state before)
{
    forget_parent(before);
    rec_occasions_release_all();
    rec_survey_forked();
}

void rec_recording_announce_limits(const struct rec_limits *limits)
{
    if (limits->max_size)
        rec_name_table_add_number("max_size", limits->max_size);
    if (limits->last_ns)
        rec_name_table_add_number("last_ns", limits->last_ns);
}

static void write_properties(void)
{
    const struct rec_options *options = &rec_captures.written.options;
    rec_name_table_add_number("parent_pid", (uint64_t)getppid());
    rec_machine_write();
    rec_name_table_add_property("engine", recording.engine->name);
    if (rec_self_test_fault())
        rec_name_table_add_property("frame_engine_fault", rec_self_test_fault());
    rec_properties_write();
    if (!rec_recording_is_own())
        rec_name_table_add_property("born", "fork");
    if (options->min_duration_ns)
        rec_session_set_min_duration(options->min_duration_ns);
    if (options->has_sparse_clock && !rec_session_set_sparse_clock())
        rec_warn("no memory for a sparse clock: it is read at each event");
    if (rec_task_names_are_on())
        rec_name_table_add_number("task_names", 1);
    if (options->max_overhead_ppm)
        rec_cost_write_budget(options->max_overhead_ppm);
    rec_recording_announce_limits(&(struct rec_limits){ options->max_size, options->last_ns });
}

/* Starts the budget, if there is one. The engine has not entered. Returns 0 or -1. */
static int start_budget(void)
{
    unsigned long long ppm = rec_captures.written.options.max_overhead_ppm;
    return ppm ? rec_muting_start((double)ppm / 1e6) : 0;
}

/* Makes the control socket in the process's directory. */
static void start_control(void)
{
    static char process_path[PATH_MAX]; /* the stack may be small; guarded by the GIL */
    strcpy(process_path, rec_name_table_path());
    *strrchr(process_path, '/') = 0;
    rec_control_start(process_path, rec_commands_answer);
}

/* The child is not recorded. */
static void join_no_more(void)
{
    rec_state_take(REC_EVENT_STOP);
    rec_occasions_release_all();
}

/* Returns whether this child is recorded from now on. */
static bool join_capture(void)
{
    static char taken[PATH_MAX];        /* the stack of a thread that forks may be small; guarded by the GIL */
    struct pnr_err err;
    struct rec_totals totals;
    char text[512];
    if (rec_session_start(rec_captures.written.path, true, &recording.drain, taken, &err) != 0) {
        rec_warn("not recorded: %s", pnr_err_describe(&err, text, sizeof text));
        join_no_more();
        return false;
    }
    rec_drain_hold();
    write_properties();
    if (start_budget() != 0 || recording.engine->enter(REC_ENTER_CHILD) != 0) {
        join_no_more();
        rec_session_discard(&totals);
        rec_warn("not recorded: %s", totals.failure.code == PNR_OK ? "out of memory" :
                 pnr_err_describe(&totals.failure, text, sizeof text));
        return false;
    }
    if (rec_c_calls_are_on()) {
        rec_c_calls_enter(REC_ENTER_CHILD);
        set_c_calls();
    }
    rec_exceptions_enter(REC_ENTER_CHILD);
    set_samples();
    set_collections();
    start_control();
    return true;
}

/* At the first event of a forked child; or when it asks for something, paused or not. */
static void join_or_abandon(enum rec_state before)
{
    PyObject *type, *value, *traceback;
    bool is_followed = rec_captures.written.options.follows_forks;
    recording.forks = 0;
    recording.interpreters = cpython_interpreters_made();
    rec_diagnostics_redirect(rec_captures.written.path);
    PyErr_Fetch(&type, &value, &traceback);
    if (is_followed && join_capture()) {
        rec_debug("forked child: joins %s", rec_captures.written.path);
        if (before == REC_PENDING_PAUSED)
            rec_state_take(REC_EVENT_PAUSE);
    } else {
        rec_debug("forked child: %s", is_followed ? "could not join" : "not followed");
        if (!is_followed) {
            if (recording.unannounced)
                *recording.unannounced += !recording.was_announced;
            join_no_more();
        }
        rec_state_take(REC_EVENT_STOPPED);
    }
    rec_survey_forked();
    PyErr_Restore(type, value, traceback);
}

static const rec_state_action actions[REC_N_ACTIONS] = {
    [REC_ACTION_ENTER] = enter_sources, [REC_ACTION_LEAVE] = leave_sources,
    [REC_ACTION_END] = end_sources, [REC_ACTION_RELEASE] = forget_sources,
    [REC_ACTION_DISABLE] = disable_engine, [REC_ACTION_LOOK] = look_at_tools, [REC_ACTION_JOIN] = join_or_abandon,
    [REC_ACTION_ABANDON] = abandon_process, [REC_ACTION_PARK] = park_worker, [REC_ACTION_ANNOUNCE] = announce_child,
    [REC_ACTION_COUNT] = count_fork, [REC_ACTION_FORGET] = forget_parent, [REC_ACTION_DISOWN] = disown_parent };

/* ---- start ---- */

/* Joins in a forked child that has had no event so far: because it is paused, say. Returns whether this process has
 * files of its own. */
static bool join_if_pending(void)
{
    notice_changes();
    if (rec_state_is(REC_IN_CHILD))
        rec_state_take(REC_EVENT_FIRST_EVENT);
    return rec_state_is(REC_WITH_FILES);
}

/* Returns 0, or -1 with an exception set. */
static int report_path(PyObject *on_path, const char *taken)
{
    if (on_path == Py_None)
        return 0;
    PyObject *path = PyUnicode_DecodeFSDefault(taken);
    uint32_t n_taken = rec_lock_suspend();
    PyObject *result = path ? PyObject_CallOneArg(on_path, path) : NULL;
    rec_lock_resume(n_taken);
    Py_XDECREF(path);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* Returns the number, or 0 with an exception set. */
static int start_nested(const char *path, PyObject *dict, PyObject *on_path, char *taken)
{
    struct rec_capture *region = rec_captures_begin_region(path, dict);
    if (!region)
        return 0;
    strcpy(taken, region->path);
    if (set_sources() != 0 || report_path(on_path, taken) != 0) {
        rec_captures_discard_region(region);
        set_sources();
        return 0;
    }
    rec_occasions_attend(&region->options);
    if (!region->is_waiting) {
        region->lifts_pause = rec_state_is(REC_PAUSED) || rec_captures_count_lifting() > 0;
        rec_state_take(REC_EVENT_REGION_BEGIN);
    }
    return region->number = ++rec_captures.n_started;
}

/* Returns false with an exception set. */
static bool prepare_start(bool joins, PyObject *properties, PyObject *dict)
{
    struct rec_options *options = &rec_captures.written.options;
    if (rec_options_parse(dict, options) != 0 || !choose_engine(options->engine, options->max_overhead_ppm > 0) ||
        rec_options_set_filters(options) != 0 || rec_arguments_start(options) != 0 || rec_properties_keep(properties) != 0)
        return false;
    rec_task_names_start(options);
    rec_diagnostics_hold();             /* until it has begun, what fails is raised */
    recording.pid = getpid();
    recording.joins = joins;
    recording.forks = 0;
    recording.early.is_unreported = false;
    if (recording.unannounced)
        *recording.unannounced = 0;
    recording.drain = (struct rec_drain_options){ .limits = { options->max_size, options->last_ns },
                                                  .discards = options->discards, .on_wake = rec_occasions_on_wake,
                                                  .on_tick = look_soon, .on_beat = rec_incidents_wait_ns };
    return true;
}

/* Begins the session, whose path is copied to taken. Returns false with an exception set. */
static bool start_session(const char *path, bool joins, char *taken)
{
    struct pnr_err err;
    if (rec_session_start(path, joins, &recording.drain, rec_captures.written.path, &err) != 0) {
        rec_recording_raise(&err);
        return false;
    }
    strcpy(taken, rec_captures.written.path);
    rec_captures_remember();
    write_properties();
    return true;
}

/* Returns false; where a write has failed without an exception. */
static bool start_engine(PyObject *on_path)
{
    if (report_path(on_path, rec_captures.written.path) != 0)
        return false;
    if (!rec_state_is(REC_STARTING)) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: this process was forked while recording started");
        return false;
    }
    bool has_c_calls = rec_captures.written.options.c_calls;
    if (start_budget() != 0) {
        PyErr_NoMemory();
        return false;
    }
    bool has_begun = set_collections() == 0 &&  /* first: it may import a module */
                     recording.engine->enter(REC_ENTER_START) == 0 &&
                     (!rec_captures.written.options.max_overhead_ppm || rec_event_cost_measure() == 0) &&
                     (!has_c_calls || rec_c_calls_enter(REC_ENTER_START) == 0) && set_exceptions() == 0;
    if (has_begun)
        set_samples();
    return has_begun && !rec_session_is_closed();
}

/* Removes what was begun. An exception is set, or a write has failed. */
static void undo_start(bool has_session)
{
    char order[PATH_MAX];
    struct rec_totals totals = { .failure.code = PNR_OK };
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (!rec_state_take(REC_EVENT_STOP)) {
        rec_session_forked();           /* it is the parent's */
    } else {
        if (has_session && !recording.joins) {
            pnr_file_path(rec_captures.written.path, PNR_CAPTURE_ORDER, order);
            unlink(order);
        }
        if (has_session)
            rec_session_discard(&totals);
        rec_state_take(REC_EVENT_STOPPED);
    }
    PyErr_Restore(type, value, traceback);
    if (totals.failure.code != PNR_OK)
        rec_recording_raise(&totals.failure);   /* the true reason, in place of the one that is set */
}

int rec_recording_start(const char *path, bool joins, PyObject *properties, PyObject *dict, PyObject *on_path,
                        char *taken)
{
    REC_LOCK_BLOCK();
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: only a process's main interpreter can be recorded");
        return 0;
    }
    join_if_pending();
    if (!rec_state_take(REC_EVENT_START)) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: another thread starts or stops a recording at this moment");
        return 0;
    }
    if (!rec_state_is(REC_STARTING))
        return start_nested(path, dict, on_path, taken);
    bool has_session = prepare_start(joins, properties, dict) && start_session(path, joins, taken);
    if (!has_session || !start_engine(on_path)) {
        undo_start(has_session);
        return 0;
    }
    rec_drain_hold();
    rec_commands_start();
    start_control();
    rec_diagnostics_init();
    rec_diagnostics_redirect(joins ? rec_captures.written.path : NULL);
    if (!joins && geteuid() == 0)
        rec_diagnostics_open_to_all(rec_captures.written.path);
    rec_self_test_report();
    rec_threads.on_exception = NULL;
    rec_occasions_attend(&rec_captures.written.options);
    if (rec_captures.written.options.starts_paused)
        rec_state_take(REC_EVENT_PAUSE);
    return rec_captures.written.number = ++rec_captures.n_started;
}

/* ---- pause and snapshot ---- */

/* The program asks for something that it cannot have any more, as somebody else has stopped its recording: it is not to
 * notice that. */
static bool is_stopped_early(void)
{
    return rec_state_is(REC_OFF) && recording.early.last && recording.early.last == rec_captures.n_started;
}

int rec_recording_pause(void)
{
    REC_LOCK_BLOCK();
    notice_changes();
    if (is_stopped_early())
        return 0;
    if (!rec_state_take(REC_EVENT_PAUSE))
        return raise_not_recorded();
    rec_captures_settle();
    return 0;
}

int rec_recording_resume(void)
{
    REC_LOCK_BLOCK();
    if (!rec_recording_is_on())
        return is_stopped_early() ? 0 : raise_not_recorded();
    rec_captures_begin_waiting();
    rec_captures_settle();
    rec_state_take(REC_EVENT_RESUME);
    return 0;
}

static void toggle_recording(void)
{
    REC_LOCK_BLOCK();
    if (!rec_recording_is_on())
        return;
    if (rec_state_is(REC_PAUSED | REC_PENDING_PAUSED) || rec_captures_are_waiting())
        rec_recording_resume();
    else
        rec_recording_pause();
}

int rec_recording_override_filter(enum pnr_filter_action action, const char *glob)
{
    REC_LOCK_BLOCK();
    if (!rec_recording_is_on())
        return raise_not_recorded();
    bool is_recording = rec_state_is(REC_RECORDING) && rec_state_take(REC_EVENT_PAUSE);
    int result = rec_functions_override_filter(action, glob);
    if (is_recording)
        rec_state_take(REC_EVENT_RESUME);
    if (result != 0)
        PyErr_NoMemory();
    return result;
}

int rec_recording_set_limits(const struct rec_limits *limits, struct pnr_err *err)
{
    if (rec_drain_set_limits(limits, err) != 0)
        return -1;
    pthread_mutex_lock(&rec_captures.lock);
    recording.drain.limits = *limits;   /* of children: this thread is away when they are forked */
    rec_captures.written.options.max_size = limits->max_size;
    rec_captures.written.options.last_ns = limits->last_ns;
    pthread_mutex_unlock(&rec_captures.lock);
    return 0;
}

int rec_recording_save(const char *path, char *taken)
{
    REC_LOCK_BLOCK();
    return join_if_pending() ? rec_occasions_save(path, taken) : raise_not_recorded();
}

bool rec_recording_report_incident(const struct rec_incident *incident, const struct rec_incident_limits *limits)
{
    REC_LOCK_BLOCK();
    return join_if_pending() && rec_incidents_report(incident, limits);
}

void rec_recording_report_exception(void)
{
    REC_LOCK_BLOCK();
    if (rec_recording_is_on() && rec_threads.on_exception)
        rec_threads.on_exception();
}

/* ---- stop ---- */

static void stop_region(struct rec_capture *region, struct rec_totals *totals)
{
    bool lifted_pause = region->lifts_pause;
    rec_captures_save_region(region, totals);
    if (lifted_pause && rec_captures_count_lifting() == 0)
        rec_state_take(REC_EVENT_REGION_END);
    set_sources();
}

/* The capture that is written ends, and others go on. Returns false when they cannot. */
static bool move_to_region(struct rec_totals *totals)
{
    bool is_waiting;
    if (!rec_captures_move(&recording.drain, &is_waiting, totals))
        return false;
    recording.joins = false;
    start_control();
    set_sources();
    if (is_waiting && !rec_captures.newest)
        rec_state_take(REC_EVENT_PAUSE);
    return true;
}

void rec_recording_stop(int number, struct rec_totals *totals)
{
    REC_LOCK_BLOCK();
    struct rec_capture *region = rec_captures_find(number);
    *totals = (struct rec_totals){ 0 };
    if (!rec_recording_is_on()) {
        if (number == rec_captures.written.number && rec_recording_was_stopped_early(number))
            *totals = recording.early.totals;
        return;
    }
    if (region)
        stop_region(region, totals);
    else if (number == rec_captures.written.number && !(rec_captures.newest && move_to_region(totals)))
        rec_recording_end(false, totals);
}

void rec_recording_end(bool is_finalized, struct rec_totals *totals)
{
    REC_LOCK_BLOCK();
    while (rec_captures.newest)
        rec_captures_save_region(rec_captures.newest, totals);
    *totals = (struct rec_totals){ 0 };
    rec_state_take(is_finalized ? REC_EVENT_GONE : REC_EVENT_STOP);
    rec_occasions_release_all();
    if (!rec_state_is(REC_STOPPING)) {  /* nothing of this process's own, or it was stopped early */
        if (rec_recording_was_stopped_early(0))
            *totals = recording.early.totals;
        recording.early.is_unreported = false;
        return;
    }
    rec_incidents_end();
    rec_arguments_end();
    rec_task_names_end();
    bool are_c_calls_missing = rec_c_calls_were_displaced();
    if (rec_threads.missing)
        rec_name_table_add_property("calls_missing", rec_threads.missing);
    if (recording.unannounced)
        recording.forks += *recording.unannounced;
    if (recording.forks)
        rec_name_table_add_number("forks", recording.forks);
    int64_t n_interpreters = cpython_interpreters_made(), n_others = n_interpreters - recording.interpreters;
    if (n_others > 0) {
        rec_name_table_add_number("interpreters", (uint64_t)n_others);
        recording.interpreters = n_interpreters;
    }
    rec_session_stop(totals);
    rec_state_take(REC_EVENT_STOPPED);
    rec_control_stop();
    if (rec_recording_is_own() && !recording.joins)
        rec_diagnostics_pass_on(rec_captures.written.path);
    if (rec_threads.missing)
        rec_warn("%s while recording: calls may be missing", rec_threads.missing);
    if (are_c_calls_missing)
        rec_warn("another tool's profile function was there while recording: calls of C functions may be missing");
    if (n_others > 0)
        rec_warn("only the main interpreter is recorded; interpreters that the program has made alongside it: %" PRId64,
                 n_others);
}

void rec_recording_stop_early(void)
{
    REC_LOCK_BLOCK();
    if (!rec_recording_is_on())
        return;
    rec_recording_end(false, &recording.early.totals);
    recording.early.last = rec_captures.n_started;
    recording.early.is_unreported = rec_recording_is_own();
}

bool rec_recording_was_stopped_early(int number)
{
    return number ? number <= recording.early.last : recording.early.is_unreported && rec_recording_is_own();
}

/* ---- forks ---- */

/* The lock is kept over the fork. */
static void prepare_fork(void)
{
    rec_lock_take();
    rec_state_take(REC_EVENT_FORK);
}

static void forked_in_parent(void)
{
    rec_state_take(REC_EVENT_FORK_PARENT);
    rec_lock_give();
}

static void become_child(bool was_announced)
{
    rec_fork_memory_start();
    recording.was_announced = was_announced;
    rec_state_take(REC_EVENT_FORK_CHILD);
}

static void forked_in_child(void)
{
    rec_lock_forked();
    become_child(true);
    rec_lock_give();
}

/* _Fork and the system calls themselves run no handlers, neither Python's nor libc's. The drain's thread, which is not
 * here, and its locks are forgotten in any case. */
static void forked_silently(void) { become_child(false); }

/* ---- dropping privileges ---- */

/* What this process still writes alongside its own directory: captures of regions, which are filled when they stop, and
 * the messages, if it will read them. */
static void give_others(uid_t user)
{
    if (rec_recording_is_own() && !recording.joins)
        rec_diagnostics_give(rec_captures.written.path, user);
    rec_captures_give(user);
}

void rec_recording_change_user(uid_t user, void (*func)(void *), void *arg)
{
    REC_LOCK_BLOCK();
    if (!join_if_pending()) {           /* as another user it could not join any more */
        func(arg);
        return;
    }
    uid_t before = geteuid();
    give_others(user);
    rec_drain_change_user(user, func, arg);
    if (geteuid() == before)            /* it has failed */
        give_others(before);
    rec_threads_forget_current();       /* the next event is not fast, and unparks the drain */
}

int rec_recording_watch_forks(void) { return rec_lock_watch_forks(queue_due_call); }

int rec_recording_init(void)
{
    void *shared = mmap(NULL, sizeof *recording.unannounced, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    recording.unannounced = shared == MAP_FAILED ? NULL : shared;
    rec_state_init(actions);
    rec_threads.on_fork = forked_silently;
    rec_trampoline_watch(step_aside, come_back);
    rec_occasions_init(toggle_recording);
    rec_captures_init();
    rec_buffer_init(rec_lock_run_alone);
    if (pthread_atfork(prepare_fork, forked_in_parent, forked_in_child) == 0)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "panopticon: no memory to register functions for fork");
    return -1;
}
