#include "threads.h"

#include "recording.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "c_calls.h"
#include "engine.h"
#include "self_test.h"
#include "trampoline.h"
#include "../filter.h"
#include "../diagnostics.h"
#include "../survey.h"
#include "../tree.h"
#include "../fork_memory.h"
#include "../../format/capture.h"

struct options {
    const char *engine;                 /* "frame", "monitoring", or NULL: the first that there is */
    int c_calls;
    PyObject *filters;                  /* list of (enum rec_filter_action, str), or NULL; borrowed */
    unsigned long long min_duration_ns, max_size, last_ns;
    int drops, follows_forks, starts_paused, snapshots_exceptions;
    int snapshot_signal, toggle_signal; /* 0: none */
};

struct property {
    char *key, *value;                  /* owned */
};

/* A capture that is made of a part of the recording. */
struct inner {
    int number;
    char path[PATH_MAX];
    struct rec_region part;
    struct options options;             /* engine and filters are not valid after the start */
    bool has_resumed;                   /* the recording was paused before it */
    bool is_waiting;                    /* it begins when recording is resumed */
    struct inner *older;
};

#define AN_EXCEPTION 0                  /* that has ended the program or a thread; no signal has this number */

static struct {
    _Atomic bool is_on;                 /* this one and is_pending are read by signal handlers, too */
    bool is_paused;
    _Atomic bool is_pending;            /* this is a forked child without an event so far */
    pid_t pid;                          /* of the process that was started */
    bool joins;                         /* the capture is another process's */
    struct options options;             /* of the capture that is written; engine and filters are not valid after the start */
    struct rec_drain_options drain;
    int number;                         /* of the capture that is written */
    int n_started;                      /* captures, in all */
    struct inner *newest;               /* owned; changed with `captures` */
    pthread_mutex_t captures;           /* guards for the drain's thread which captures there are */
    bool has_c_calls;                   /* calls of C functions are recorded */
    const struct rec_engine *engine;
    uint64_t forks;                     /* children that are not recorded */
    _Atomic uint64_t *unannounced;      /* those of whose fork nobody told: in memory that they share; or NULL */
    bool was_announced;                 /* the fork of this child */
    char capture[PATH_MAX];
    dev_t device;                       /* of the capture, to find it again */
    ino_t inode;
    struct property *properties;                 /* owned; those that a child has, too */
    size_t n_properties;
    struct occasion {
        _Atomic bool is_due;            /* the drain's thread is to see to it */
        int n_users;                    /* captures that want the signal */
        struct sigaction before;
    } occasions[NSIG];                  /* signals, and AN_EXCEPTION */
    /* What the drain's thread is to save, and what came of it. */
    bool is_saving;                     /* a thread is in rec_recording_save */
    const char *_Atomic save_path;      /* what it waits for; NULL: nothing */
    char *save_taken;
    int save_result;
    struct pnr_err save_err;
    sem_t saved;
} recording;

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

/* ---- other tools ---- */

#define LOOK_NS 100000000               /* how often is looked whether another tool has taken a place */

static int look(void *unused)
{
    (void)unused;
    if (recording.is_on && !recording.is_paused && !recording.is_pending) {
        recording.engine->look();
        rec_c_calls_look();
    }
    PyErr_Clear();
    return 0;
}

/* On the drain's thread. */
static void look_soon(void)
{
    static uint64_t looked_ns;
    uint64_t now = rec_clock_monotonic_ns();
    if (now - looked_ns < LOOK_NS || !recording.is_on || recording.is_paused || cpython_is_finalizing() ||
        !(recording.engine->needs_look() || recording.has_c_calls))
        return;
    looked_ns = now;
    Py_AddPendingCall(look, NULL);
}

/* The monitoring engine goes on in place of the frame engine, which pauses. Where it cannot, no more is recorded, and
 * false is returned. */
static bool change_engine(void)
{
    recording.engine->leave();
    if (rec_engine_monitoring->take_over() == 0) {
        recording.engine = rec_engine_monitoring;
        if (!recording.is_pending)
            rec_session_add_property("engine", "frame, then monitoring");
        return true;
    }
    PyErr_Clear();
    rec_threads.is_waiting = false;
    rec_threads.missing = "the program has activated the stack trampoline, and sys.monitoring has no free tool number";
    return false;
}

static bool must_change_engine(void)
{
    return recording.engine == rec_engine_frame && rec_engine_monitoring && rec_trampoline_is_active();
}

/* The frame engine steps aside, for what CPython does only where there is no hook. */
static bool step_aside(void)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main() || !rec_recording_is_on() || recording.is_paused ||
        recording.engine != rec_engine_frame)
        return false;
    rec_recording_pause();
    return true;
}

static void come_back(void)
{
    rec_recording_resume();
    PyErr_Clear();
}

/* ---- options and properties ---- */

/* dict: what Python gives; every key that it may have is one here. Returns 0, or -1 with an exception set. */
static int parse_options(PyObject *dict, struct options *options)
{
    static char *names[] = { "engine", "c_calls", "filters", "min_duration_ns", "max_size", "last_ns", "drops",
                             "follows_forks", "starts_paused", "snapshots_exceptions", "snapshot_signal", "toggle_signal",
                             NULL };
    PyObject *none = PyTuple_New(0);
    *options = (struct options){ 0 };
    bool is_good = none && PyArg_ParseTupleAndKeywords(
        none, dict, "|$zpO!KKKppppii:options", names, &options->engine, &options->c_calls, &PyList_Type, &options->filters,
        &options->min_duration_ns, &options->max_size, &options->last_ns, &options->drops, &options->follows_forks,
        &options->starts_paused, &options->snapshots_exceptions, &options->snapshot_signal, &options->toggle_signal);
    Py_XDECREF(none);
    if (is_good && options->max_size && options->max_size < REC_MIN_SIZE) {
        PyErr_Format(PyExc_ValueError, "panopticon: a capture takes at least %llu bytes", REC_MIN_SIZE);
        is_good = false;
    }
    return is_good ? 0 : -1;
}

/* Replaces the filters. Returns 0, or -1 with an exception set. */
static int set_filters(PyObject *filters)
{
    rec_filter_clear();
    for (Py_ssize_t i = 0; filters && i < PyList_GET_SIZE(filters); i++) {
        int action;
        PyObject *text;                 /* borrowed */
        if (!PyArg_ParseTuple(PyList_GET_ITEM(filters, i), "iU:filter", &action, &text))
            return -1;
        PyObject *bytes = PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass");    /* owned */
        if (!bytes)
            return -1;
        int code = rec_filter_add((enum rec_filter_action)action, PyBytes_AS_STRING(bytes));
        Py_DECREF(bytes);
        if (code != 0) {
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}

static const struct rec_engine *find_engine(const char *name)
{
    const struct rec_engine *engines[] = { rec_engine_frame, rec_engine_monitoring };
    for (int i = 0; i < 2; i++)
        if (engines[i] && (!name || strcmp(name, engines[i]->name) == 0))
            return engines[i];
    PyErr_Format(PyExc_ValueError, "panopticon: CPython %d.%d has no engine %s", PY_MAJOR_VERSION, PY_MINOR_VERSION,
                 name ? name : "to record with");
    return NULL;
}

static void forget_properties(void)
{
    for (size_t i = 0; i < recording.n_properties; i++) {
        free(recording.properties[i].key);
        free(recording.properties[i].value);
    }
    free(recording.properties);
    recording.properties = NULL;
    recording.n_properties = 0;
}

/* Keeps the properties. dict: of str to str. Returns 0, or -1 with an exception set. */
static int keep_properties(PyObject *dict)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    forget_properties();
    if (!(recording.properties = calloc((size_t)PyDict_Size(dict) + 1, sizeof *recording.properties)))
        goto out_of_memory;
    while (PyDict_Next(dict, &at, &key, &value)) {
        const char *k = PyUnicode_AsUTF8(key);
        PyObject *bytes = k ? PyUnicode_AsEncodedString(value, "utf-8", "surrogatepass") : NULL;
        if (!bytes)
            return -1;
        struct property *property = &recording.properties[recording.n_properties++];
        *property = (struct property){ strdup(k), strdup(PyBytes_AS_STRING(bytes)) };
        Py_DECREF(bytes);
        if (!property->key || !property->value)
            goto out_of_memory;
    }
    return 0;
out_of_memory:
    PyErr_NoMemory();
    return -1;
}

static void write_properties(void)
{
    rec_session_add_number("parent_pid", (uint64_t)getppid());
    rec_session_add_property("engine", recording.engine->name);
    if (rec_self_test_fault())
        rec_session_add_property("frame_engine_fault", rec_self_test_fault());
    for (size_t i = 0; i < recording.n_properties; i++)
        rec_session_add_property(recording.properties[i].key, recording.properties[i].value);
    if (!rec_recording_is_own())
        rec_session_add_property("born", "fork");
    if (recording.options.min_duration_ns)
        rec_session_set_min_duration(recording.options.min_duration_ns);
    if (recording.options.max_size)
        rec_session_add_number("max_size", recording.options.max_size);
    if (recording.options.last_ns)
        rec_session_add_number("last_ns", recording.options.last_ns);
}

/* ---- signals, exceptions and snapshots ---- */

/* Saves a capture, which is written or a part, in a place beside it: run-snapshot.pnr for run.pnr. */
static void save_beside(const char *capture, const struct rec_region *part)
{
    char path[PATH_MAX], taken[PATH_MAX], text[512];
    struct pnr_err err;
    const char *slash = strrchr(capture, '/'), *dot = strrchr(slash, '.');
    size_t stem = dot && dot > slash + 1 ? (size_t)(dot - capture) : strlen(capture);
    if (snprintf(path, sizeof path, "%.*s-snapshot%s", (int)stem, capture, capture + stem) >= (int)sizeof path)
        return;
    if (rec_session_snapshot(path, part, taken, &err) == 0)
        rec_warn("%s: what was recorded up to now", taken);
    else
        rec_warn("%s; no snapshot was made, recording goes on", pnr_err_describe(&err, text, sizeof text));
}

static bool is_saved_on(const struct options *options, int occasion)
{
    return occasion == AN_EXCEPTION ? options->snapshots_exceptions : options->snapshot_signal == occasion;
}

static bool is_any_waiting(void)
{
    bool is = false;
    for (struct inner *inner = recording.newest; inner; inner = inner->older)
        is |= inner->is_waiting;
    return is;
}

static int toggle(void *unused)
{
    (void)unused;
    if (recording.is_on)
        recording.is_paused || is_any_waiting() ? rec_recording_resume() : rec_recording_pause();
    PyErr_Clear();
    return 0;
}

/* With `captures`. */
static void attend_to(int occasion)
{
    bool is_toggle = recording.options.toggle_signal == occasion;
    if (is_saved_on(&recording.options, occasion))
        save_beside(recording.capture, NULL);
    for (struct inner *inner = recording.newest; inner; inner = inner->older) {
        is_toggle |= inner->options.toggle_signal == occasion;
        if (is_saved_on(&inner->options, occasion))
            save_beside(inner->path, &inner->part);
    }
    /* Pausing needs the interpreter: it is asked to see to it. */
    if (occasion != AN_EXCEPTION && is_toggle && recording.is_on && !cpython_is_finalizing())
        Py_AddPendingCall(toggle, NULL);
}

static void attend_to_all(void)
{
    pthread_mutex_lock(&recording.captures);
    for (int i = 0; i < NSIG; i++)
        if (atomic_exchange(&recording.occasions[i].is_due, false))
            attend_to(i);
    pthread_mutex_unlock(&recording.captures);
}

static void on_wake(void)
{
    attend_to_all();
    const char *path = atomic_exchange(&recording.save_path, NULL);
    if (path) {
        recording.save_result = rec_session_snapshot(path, NULL, recording.save_taken, &recording.save_err);
        sem_post(&recording.saved);
    }
}

static void tell_exception(void)
{
    atomic_store(&recording.occasions[AN_EXCEPTION].is_due, true);
    rec_drain_wake();
}

void rec_recording_report_exception(void)
{
    if (rec_recording_is_on() && rec_threads.on_exception)
        rec_threads.on_exception();
}

/* The program may use its signals as it likes: a handler of its own replaces this one. */
static void on_signal(int signal)
{
    int saved = errno;
    if (!recording.is_on || recording.is_pending)
        return;
    atomic_store(&recording.occasions[signal].is_due, true);
    rec_drain_wake();
    errno = saved;
}

static void handle(int signal)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK };
    sigemptyset(&action.sa_mask);
    if (signal && !recording.occasions[signal].n_users++)
        sigaction(signal, &action, &recording.occasions[signal].before);
}

static void stop_handling(int signal)
{
    struct sigaction now;
    if (signal && !--recording.occasions[signal].n_users && sigaction(signal, NULL, &now) == 0 &&
        now.sa_handler == on_signal)
        sigaction(signal, &recording.occasions[signal].before, NULL);
}

/* From now on a capture has what it wants to be told of. */
static void attend(const struct options *options)
{
    handle(options->snapshot_signal);
    handle(options->toggle_signal);
    if (options->snapshots_exceptions)
        rec_threads.on_exception = tell_exception;
}

static void attend_no_more(const struct options *options)
{
    stop_handling(options->snapshot_signal);
    stop_handling(options->toggle_signal);
}

/* The same for all captures, and those of the parent whose signals a forked child goes on to have. */
static void give_signals_back(void)
{
    for (int i = 1; i < NSIG; i++)
        while (recording.occasions[i].n_users)
            stop_handling(i);
}

static bool begin_if_pending(void);

int rec_recording_save(const char *path, char *taken)
{
    if (!begin_if_pending()) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: this process is not being recorded");
        return -1;
    }
    if (recording.is_saving) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: another thread is saving a snapshot at this moment");
        return -1;
    }
    recording.is_saving = true;
    recording.save_taken = taken;
    atomic_store(&recording.save_path, path);
    rec_drain_wake();
    Py_BEGIN_ALLOW_THREADS
    for (;;) {
        uint64_t until = rec_clock_monotonic_ns() + 20000000;
        struct timespec t = { (time_t)(until / 1000000000), (long)(until % 1000000000) };
        if (sem_clockwait(&recording.saved, CLOCK_MONOTONIC, &t) == 0)
            break;
        rec_drain_run_inline();           /* it may be away, for a fork */
    }
    Py_END_ALLOW_THREADS
    recording.is_saving = false;
    if (recording.save_result == 0)
        return 0;
    rec_recording_raise(&recording.save_err);
    return -1;
}

/* ---- the beginning ---- */

static struct rec_drain_options drain_options(const struct options *options)
{
    return (struct rec_drain_options){ .limits = { options->max_size, options->last_ns }, .drops = options->drops,
                                       .on_wake = on_wake, .on_tick = look_soon };
}

/* joins: the capture is another's. */
static void undo_start(bool joins)
{
    char order[PATH_MAX];
    struct rec_totals totals;
    pnr_file_path(recording.capture, PNR_CAPTURE_ORDER, order);
    if (!joins)
        unlink(order);
    rec_threads_forget_current();
    rec_session_discard(&totals);
    if (totals.failure.code != PNR_OK)
        rec_recording_raise(&totals.failure);   /* the true reason, in place of the one that is set */
}

static void remember_place(void)
{
    struct stat st = { .st_ino = 0 };
    stat(recording.capture, &st);
    recording.device = st.st_dev;
    recording.inode = st.st_ino;
}

static bool is_capture(const char *path)
{
    struct stat st;
    return recording.inode && lstat(path, &st) == 0 && st.st_dev == recording.device && st.st_ino == recording.inode;
}

/* The kernel knows where the files lie that are open, and they lie in a directory of the capture. */
bool rec_recording_locate(void)
{
    char link[64], path[PATH_MAX];
    struct dirent *entry;
    bool is_found = is_capture(recording.capture);
    DIR *dir = is_found ? NULL : opendir("/proc/self/fd");
    while (dir && !is_found && (entry = readdir(dir))) {
        snprintf(link, sizeof link, "/proc/self/fd/%.20s", entry->d_name);
        ssize_t size = readlink(link, path, sizeof path - 1);
        path[size < 0 ? 0 : size] = 0;
        for (char *slash; !is_found && (slash = strrchr(path, '/')) && slash != path; ) {
            *slash = 0;
            is_found = is_capture(path);
        }
        if (is_found)
            strcpy(recording.capture, path);
    }
    if (dir)
        closedir(dir);
    return is_found;
}

/* Returns 0, or -1 with an exception set. */
static int tell_path(PyObject *on_path, const char *taken)
{
    if (on_path == Py_None)
        return 0;
    PyObject *path = PyUnicode_DecodeFSDefault(taken);
    PyObject *result = path ? PyObject_CallOneArg(on_path, path) : NULL;
    Py_XDECREF(path);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* ---- captures inside the recording ---- */

static bool is_c_calls_wanted(void)
{
    bool is = recording.options.c_calls;
    for (struct inner *inner = recording.newest; inner; inner = inner->older)
        is |= inner->options.c_calls;
    return is;
}

/* Turns the records of C calls on or off, as the captures want it. Once on beside the monitoring engine they stay so, as
 * both have their events by one tool number. Returns 0, or -1 with an exception set. */
static int set_c_calls(void)
{
    bool is_wanted = is_c_calls_wanted();
    if (is_wanted == recording.has_c_calls || (!is_wanted && recording.engine != rec_engine_frame))
        return 0;
    if (!is_wanted)
        rec_c_calls_pause();
    else if (rec_c_calls_start() != 0)
        return -1;
    recording.has_c_calls = is_wanted;
    return 0;
}

static void add_inner(struct inner *inner)
{
    pthread_mutex_lock(&recording.captures);
    inner->older = recording.newest;
    recording.newest = inner;
    pthread_mutex_unlock(&recording.captures);
}

/* Takes it out of the list; the caller frees it. */
static void forget_inner(struct inner *inner)
{
    struct inner **link = &recording.newest;
    pthread_mutex_lock(&recording.captures);
    while (*link != inner)
        link = &(*link)->older;
    *link = inner->older;
    pthread_mutex_unlock(&recording.captures);
}

/* Returns the number, or 0 with an exception set. */
static int start_inner(const char *path, PyObject *dict, PyObject *on_path, char *taken)
{
    struct pnr_err err;
    struct inner *inner = calloc(1, sizeof *inner);
    if (!inner) {
        PyErr_NoMemory();
        return 0;
    }
    if (parse_options(dict, &inner->options) != 0 || (inner->options.engine && !find_engine(inner->options.engine)))
        goto fail;
    if (rec_session_make_capture(path, taken, &err) != 0) {
        rec_recording_raise(&err);
        goto fail;
    }
    strcpy(inner->path, taken);
    if (rec_session_begin_region(taken, &inner->part, &err) != 0) {
        rec_recording_raise(&err);
        rmdir(taken);
        goto fail;
    }
    inner->is_waiting = inner->options.starts_paused;
    add_inner(inner);
    if (set_c_calls() != 0 || tell_path(on_path, taken) != 0) {
        forget_inner(inner);
        set_c_calls();
        rec_session_discard_region(taken, &inner->part);
        goto fail;
    }
    attend(&inner->options);
    if (recording.is_paused && !inner->is_waiting) {
        rec_recording_resume();
        inner->has_resumed = true;
    }
    return inner->number = ++recording.n_started;
fail:
    free(inner);
    return 0;
}

/* Makes its capture, and forgets it. */
static void save_inner(struct inner *inner, struct rec_totals *totals)
{
    char text[512];
    struct pnr_err err;
    attend_to_all();                    /* the drain's thread may be away, and it is the last time for this capture */
    if (inner->is_waiting)
        rec_session_postpone_region(&inner->part);         /* and there is nothing in it */
    if (rec_session_save_region(inner->path, &inner->part, totals, &err) != 0) {
        totals->failure = err;
        rec_warn("%s; %s is not made", pnr_err_describe(&err, text, sizeof text), inner->path);
    }
    attend_no_more(&inner->options);
    forget_inner(inner);
    free(inner);
}

static void stop_inner(struct inner *inner, struct rec_totals *totals)
{
    bool pauses = inner->has_resumed;
    save_inner(inner, totals);
    if (pauses)
        rec_recording_pause();
    set_c_calls();
}

static struct inner *find_inner(int number)
{
    struct inner *inner = recording.newest;
    while (inner && inner->number != number)
        inner = inner->older;
    return inner;
}

/* The capture that is written ends, others go on: recording moves to the oldest of them. Returns false when it cannot. */
static bool move(struct rec_totals *totals)
{
    struct pnr_err err;
    char text[512];
    struct inner *oldest = recording.newest;
    while (oldest->older)
        oldest = oldest->older;
    struct rec_drain_options drain = drain_options(&oldest->options);
    if (oldest->is_waiting)
        rec_session_postpone_region(&oldest->part);
    if (rec_session_move(oldest->path, &oldest->part, &drain, totals, &err) != 0) {
        rec_warn("%s; the recordings inside this one end with it", pnr_err_describe(&err, text, sizeof text));
        return false;
    }
    attend_no_more(&recording.options);
    forget_inner(oldest);
    pthread_mutex_lock(&recording.captures);
    recording.options = oldest->options;
    strcpy(recording.capture, oldest->path);
    pthread_mutex_unlock(&recording.captures);
    recording.number = oldest->number;
    recording.drain = drain;
    recording.joins = false;
    set_c_calls();
    if (oldest->is_waiting && !recording.newest)
        rec_recording_pause();
    free(oldest);
    return true;
}

/* ---- start and stop ---- */

/* This child is not recorded: no more events come. */
static void leave_alone(void)
{
    recording.is_on = false;
    give_signals_back();
    rec_threads.is_active = rec_threads.is_waiting = false;
    rec_threads_forget_current();
    recording.engine->pause();
    rec_c_calls_stop(false);
}

/* At the first event of a forked child; or when it asks for something, paused or not. */
static void begin_child(void)
{
    struct pnr_err err;
    struct rec_totals totals;
    char text[512];
    static char taken[PATH_MAX];        /* the stack of a thread that forks may be small; guarded by the GIL */
    PyObject *type, *value, *traceback;
    recording.is_pending = false;
    recording.forks = 0;
    rec_diagnostics_redirect(recording.capture);
    PyErr_Fetch(&type, &value, &traceback);
    if (!recording.options.follows_forks) {
        if (recording.unannounced)
            *recording.unannounced += !recording.was_announced;
        leave_alone();
    } else if (rec_session_start(recording.capture, true, &recording.drain, taken, &err) != 0) {
        rec_warn("not recorded: %s", pnr_err_describe(&err, text, sizeof text));
        leave_alone();
    } else {
        rec_drain_hold();
        write_properties();
        if (recording.engine->begin() != 0) {
            leave_alone();
            rec_session_discard(&totals);
            rec_warn("not recorded: %s", totals.failure.code == PNR_OK ? "out of memory" :
                       pnr_err_describe(&totals.failure, text, sizeof text));
        } else if (recording.has_c_calls) {
            rec_c_calls_begin();
            set_c_calls();
        }
        if (recording.is_on && recording.is_paused) {
            recording.is_paused = false;
            rec_recording_pause();
        }
    }
    rec_survey_forked();
    PyErr_Restore(type, value, traceback);
}

/* Begins in a forked child that has not had an event so far: because it is paused, say. Returns whether this process is
 * being recorded. */
static bool begin_if_pending(void)
{
    if (recording.is_on && recording.is_pending)
        rec_threads_activate_if_pending(PyThreadState_Get());
    return recording.is_on && !recording.is_pending;
}

int rec_recording_start(const char *path, bool joins, PyObject *properties, PyObject *dict, PyObject *on_path, char *taken)
{
    struct pnr_err err;
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: a process's main interpreter is recorded, and this is another one");
        return 0;
    }
    if (begin_if_pending())
        return start_inner(path, dict, on_path, taken);
    if (parse_options(dict, &recording.options) != 0 || !(recording.engine = find_engine(recording.options.engine)) ||
        set_filters(recording.options.filters) != 0 || keep_properties(properties) != 0)
        return 0;
    if (must_change_engine())
        recording.engine = rec_engine_monitoring;
    if (!(recording.engine = rec_self_test_choose(recording.engine, recording.options.engine)))
        return 0;
    rec_diagnostics_hold();                  /* until it has begun, what fails is raised */
    recording.pid = getpid();
    recording.joins = joins;
    recording.forks = 0;
    if (recording.unannounced)
        *recording.unannounced = 0;
    recording.drain = drain_options(&recording.options);
    if (rec_session_start(path, joins, &recording.drain, recording.capture, &err) != 0) {
        rec_recording_raise(&err);
        return 0;
    }
    strcpy(taken, recording.capture);
    recording.has_c_calls = recording.options.c_calls;
    remember_place();
    write_properties();
    bool has_engine = tell_path(on_path, taken) == 0 && recording.engine->start() == 0;
    if (!has_engine || (recording.options.c_calls && rec_c_calls_start() != 0) || rec_session_is_closed()) {
        if (has_engine)
            recording.engine->stop(false);
        if (recording.options.c_calls)
            rec_c_calls_stop(false);
        undo_start(joins);
        return 0;
    }
    rec_drain_hold();
    rec_diagnostics_init();
    rec_diagnostics_redirect(joins ? recording.capture : NULL);
    if (!joins && geteuid() == 0)
        rec_diagnostics_open_to_all(recording.capture);
    rec_self_test_report();
    rec_threads.on_exception = NULL;
    recording.is_on = true;
    recording.is_paused = recording.is_pending = false;
    attend(&recording.options);
    if (recording.options.starts_paused)
        rec_recording_pause();
    return recording.number = ++recording.n_started;
}

/* What Python code asks for may be the first that is heard of a fork. */
bool rec_recording_is_on(void)
{
    rec_threads_notice_fork();
    return recording.is_on;
}

bool rec_recording_is_own(void) { return recording.pid == getpid(); }
const char *rec_recording_path(void) { return recording.capture; }

int rec_recording_pause(void)
{
    if (!rec_recording_is_on()) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: this process is not being recorded");
        return -1;
    }
    if (!recording.is_paused) {
        recording.is_paused = true;
        rec_c_calls_pause();
        recording.is_pending ? recording.engine->pause() : rec_engine_pause(recording.engine);
    }
    return 0;
}

int rec_recording_resume(void)
{
    if (!rec_recording_is_on()) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: this process is not being recorded");
        return -1;
    }
    for (struct inner *inner = recording.newest; inner; inner = inner->older) {
        if (inner->is_waiting)
            rec_session_postpone_region(&inner->part);
        inner->is_waiting = false;
    }
    if (recording.is_paused) {
        recording.is_paused = false;
        if (must_change_engine() && !change_engine())
            return 0;
        recording.is_pending ? recording.engine->resume() : rec_engine_resume(recording.engine);
        if (recording.has_c_calls)
            rec_c_calls_resume();
    }
    return 0;
}

void rec_recording_stop(int number, struct rec_totals *totals)
{
    struct inner *inner = find_inner(number);
    *totals = (struct rec_totals){ 0 };
    if (!recording.is_on)
        return;
    if (inner)
        stop_inner(inner, totals);
    else if (number == recording.number && !(recording.newest && move(totals)))
        rec_recording_end(false, totals);
}

void rec_recording_end(bool is_finalized, struct rec_totals *totals)
{
    struct rec_totals of_inner;
    while (recording.newest)
        save_inner(recording.newest, &of_inner);
    *totals = (struct rec_totals){ 0 };
    recording.is_on = false;
    give_signals_back();
    if (recording.is_pending) {
        rec_threads.on_first_event = NULL;
        if (!is_finalized)
            leave_alone();
        return;
    }
    if (recording.is_paused && !is_finalized)
        rec_engine_resume(recording.engine);    /* so that all ends as it does always */
    recording.engine->stop(is_finalized);
    bool were_c_calls_seen = rec_c_calls_stop(is_finalized);
    if (rec_threads.missing)
        rec_session_add_property("calls_missing", rec_threads.missing);
    if (recording.unannounced)
        recording.forks += *recording.unannounced;
    if (recording.forks)
        rec_session_add_number("forks", recording.forks);
    rec_threads_forget_current();
    rec_session_stop(totals);
    if (rec_recording_is_own() && !recording.joins)
        rec_diagnostics_pass_on(recording.capture);
    if (rec_threads.missing)
        rec_warn("%s while recording: calls may be missing", rec_threads.missing);
    if (!were_c_calls_seen)
        rec_warn("another tool's profile function was there while recording: calls of C functions may be missing");
}

/* ---- forks ---- */

static void prepare_fork(void)
{
    if (recording.is_on && recording.options.follows_forks)
        rec_survey_fork(recording.capture);
    if (recording.is_on && !recording.is_pending)
        rec_drain_park();
}

/* The next event sees to it that the drain goes on. */
static void forked_in_parent(void)
{
    if (!recording.is_on || recording.is_pending)
        return;
    rec_survey_forked();
    recording.forks += !recording.options.follows_forks;
    rec_threads_forget_current();
}

static void become_child(bool was_announced)
{
    rec_fork_memory_start();
    recording.was_announced = was_announced;
    if (!recording.is_on)
        return;
    if (!recording.is_pending)
        rec_session_forked();
    if (rec_threads.is_unhooked && !recording.is_paused)
        recording.engine->resume();     /* the gap in which it was born is its parent's: nothing here would end it */
    pthread_mutex_init(&recording.captures, NULL);      /* another thread may have had it */
    while (recording.newest) {          /* they are the parent's */
        struct inner *inner = recording.newest;
        forget_inner(inner);            /* but its signals still do not end the process */
        free(inner);
    }
    for (int i = 0; i < NSIG; i++)
        recording.occasions[i].is_due = false;          /* of the parent's, too */
    recording.is_pending = true;
    recording.is_saving = false;
    atomic_store(&recording.save_path, NULL);
    rec_engine_forked(begin_child);
}

static void forked_in_child(void)
{
    become_child(true);
}

/* _Fork and the system calls themselves tell neither Python nor libc. The drain's locks, and its thread, which is not
 * here, are forgotten in any case. */
static void forked_in_silence(void)
{
    become_child(false);
}

/* ---- giving up rights ---- */

/* What this process still writes beside its own directory: captures of parts, which are filled when they stop, and the
 * messages, if it will read them. */
static void give_rest(uid_t user)
{
    if (rec_recording_is_own() && !recording.joins)
        rec_diagnostics_give(recording.capture, user);
    for (struct inner *inner = recording.newest; inner; inner = inner->older)
        rec_tree_give(inner->path, user);
}

void rec_recording_change_user(uid_t user, void (*func)(void *), void *arg)
{
    if (!begin_if_pending()) {          /* as another user it could not begin any more */
        func(arg);
        return;
    }
    uid_t before = geteuid();
    give_rest(user);
    rec_drain_change_user(user, func, arg);
    if (geteuid() == before)            /* it did not come to that */
        give_rest(before);
    rec_threads_forget_current();      /* the next event sees to it that the drain goes on */
}

int rec_recording_init(void)
{
    void *shared = mmap(NULL, sizeof *recording.unannounced, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    recording.unannounced = shared == MAP_FAILED ? NULL : shared;
    rec_threads.on_fork = forked_in_silence;
    rec_trampoline_watch(step_aside, come_back);
    sem_init(&recording.saved, 0, 0);
    pthread_mutex_init(&recording.captures, NULL);
    if (pthread_atfork(prepare_fork, forked_in_parent, forked_in_child) == 0)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "panopticon: no place left to be called at fork");
    return -1;
}
