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
#include "trampoline.h"
#include "../filter.h"
#include "../notice.h"
#include "../survey.h"
#include "../wiped.h"
#include "../../format/capture.h"

struct options {
    const char *engine;                 /* "frame", "monitoring", or NULL: the first that there is */
    int c_calls;
    PyObject *filters;                  /* list of (enum rec_filter_action, str), or NULL; borrowed */
    unsigned long long min_duration_ns, max_size, last_ns;
    int drops, follows_forks, starts_paused, snapshots_exceptions;
    int snapshot_signal, toggle_signal; /* 0: none */
};

struct fact {
    char *key, *value;                  /* owned */
};

/* A capture that is made of a part of the recording. */
struct inner {
    int number;
    char path[PATH_MAX];
    struct rec_part part;
    struct options options;             /* engine and filters are not valid after the start */
    bool has_resumed;                   /* the recording was paused before it */
    struct inner *older;
};

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
    struct inner *newest;               /* owned */
    bool has_c_calls;                   /* calls of C functions are recorded */
    const struct rec_engine *engine;
    uint64_t forks;                     /* children that are not recorded */
    _Atomic uint64_t *unannounced;      /* those of whose fork nobody told: in memory that they share; or NULL */
    bool was_announced;                 /* the fork of this child */
    char capture[PATH_MAX];
    dev_t device;                       /* of the capture, to find it again */
    ino_t inode;
    struct fact *facts;                 /* owned; those that a child has, too */
    size_t n_facts;
    struct sigaction snapshot_before, toggle_before;
    /* What the drain's thread is to do, and what came of it. */
    _Atomic bool is_save_due, is_toggle_due;
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
            rec_log_fact("engine", "frame, then monitoring");
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

/* ---- options and facts ---- */

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
    if (is_good && options->max_size && options->max_size < REC_LEAST_SIZE) {
        PyErr_Format(PyExc_ValueError, "panopticon: a capture takes at least %llu bytes", REC_LEAST_SIZE);
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

static void forget_facts(void)
{
    for (size_t i = 0; i < recording.n_facts; i++) {
        free(recording.facts[i].key);
        free(recording.facts[i].value);
    }
    free(recording.facts);
    recording.facts = NULL;
    recording.n_facts = 0;
}

/* Keeps the facts. dict: of str to str. Returns 0, or -1 with an exception set. */
static int keep_facts(PyObject *dict)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    forget_facts();
    if (!(recording.facts = calloc((size_t)PyDict_Size(dict) + 1, sizeof *recording.facts)))
        goto out_of_memory;
    while (PyDict_Next(dict, &at, &key, &value)) {
        const char *k = PyUnicode_AsUTF8(key);
        PyObject *bytes = k ? PyUnicode_AsEncodedString(value, "utf-8", "surrogatepass") : NULL;
        if (!bytes)
            return -1;
        struct fact *fact = &recording.facts[recording.n_facts++];
        *fact = (struct fact){ strdup(k), strdup(PyBytes_AS_STRING(bytes)) };
        Py_DECREF(bytes);
        if (!fact->key || !fact->value)
            goto out_of_memory;
    }
    return 0;
out_of_memory:
    PyErr_NoMemory();
    return -1;
}

static void write_facts(void)
{
    rec_log_fact_number("parent_pid", (uint64_t)getppid());
    rec_log_fact("engine", recording.engine->name);
    for (size_t i = 0; i < recording.n_facts; i++)
        rec_log_fact(recording.facts[i].key, recording.facts[i].value);
    if (!rec_recording_is_own())
        rec_log_fact("born", "fork");
    if (recording.options.min_duration_ns)
        rec_log_set_min_duration(recording.options.min_duration_ns);
    if (recording.options.max_size)
        rec_log_fact_number("max_size", recording.options.max_size);
    if (recording.options.last_ns)
        rec_log_fact_number("last_ns", recording.options.last_ns);
}

/* ---- saving, on the drain's thread ---- */

/* A place beside the capture: run-snapshot.pnr for run.pnr. */
static void save_beside(void)
{
    char path[PATH_MAX], taken[PATH_MAX], text[512];
    struct pnr_err err;
    const char *slash = strrchr(recording.capture, '/'), *dot = strrchr(slash, '.');
    size_t stem = dot && dot > slash + 1 ? (size_t)(dot - recording.capture) : strlen(recording.capture);
    if (snprintf(path, sizeof path, "%.*s-snapshot%s", (int)stem, recording.capture, recording.capture + stem) >=
        (int)sizeof path)
        return;
    if (rec_log_save(path, taken, &err) == 0)
        rec_notice("%s: what was recorded up to now", taken);
    else
        rec_notice("%s; no snapshot was made, recording goes on", pnr_err_describe(&err, text, sizeof text));
}

static int toggle(void *unused)
{
    (void)unused;
    if (recording.is_on)
        recording.is_paused ? rec_recording_resume() : rec_recording_pause();
    PyErr_Clear();
    return 0;
}

/* Pausing needs the interpreter: it is asked to see to it. */
static void on_wake(void)
{
    if (atomic_exchange(&recording.is_toggle_due, false) && recording.is_on && !cpython_is_finalizing())
        Py_AddPendingCall(toggle, NULL);
    if (atomic_exchange(&recording.is_save_due, false))
        save_beside();
    const char *path = atomic_exchange(&recording.save_path, NULL);
    if (path) {
        recording.save_result = rec_log_save(path, recording.save_taken, &recording.save_err);
        sem_post(&recording.saved);
    }
}

static void save_soon(void)
{
    atomic_store(&recording.is_save_due, true);
    rec_drain_wake();
}

void rec_recording_tell_exception(void)
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
    if (signal == recording.options.snapshot_signal)
        atomic_store(&recording.is_save_due, true);
    if (signal == recording.options.toggle_signal)
        atomic_store(&recording.is_toggle_due, true);
    rec_drain_wake();
    errno = saved;
}

static void handle(int signal, struct sigaction *before)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK };
    sigemptyset(&action.sa_mask);
    if (signal)
        sigaction(signal, &action, before);
}

static void stop_handling(int signal, const struct sigaction *before)
{
    struct sigaction now;
    if (signal && sigaction(signal, NULL, &now) == 0 && now.sa_handler == on_signal)
        sigaction(signal, before, NULL);
}

int rec_recording_save(const char *path, char *taken)
{
    if (!rec_recording_is_on() || recording.is_pending) {
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
        rec_drain_stand_in();           /* it may be away, for a fork */
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
    struct rec_log_totals totals;
    pnr_file_path(recording.capture, PNR_CAPTURE_ORDER, order);
    if (!joins)
        unlink(order);
    rec_log_undo(&totals);
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
    if (rec_log_make_capture(path, taken, &err) != 0) {
        rec_recording_raise(&err);
        goto fail;
    }
    strcpy(inner->path, taken);
    if (rec_log_begin_part(&inner->part, &err) != 0) {
        rec_recording_raise(&err);
        goto remove;
    }
    inner->older = recording.newest;
    recording.newest = inner;
    if (set_c_calls() != 0 || tell_path(on_path, taken) != 0) {
        recording.newest = inner->older;
        set_c_calls();
        goto remove;
    }
    if (recording.is_paused && !inner->options.starts_paused) {
        rec_recording_resume();
        inner->has_resumed = true;
    }
    return inner->number = ++recording.n_started;
remove:
    rmdir(taken);
fail:
    free(inner);
    return 0;
}

/* Takes it out of the list; the caller frees it. */
static void forget_inner(struct inner *inner)
{
    struct inner **link = &recording.newest;
    while (*link != inner)
        link = &(*link)->older;
    *link = inner->older;
}

static void stop_inner(struct inner *inner, struct rec_log_totals *totals)
{
    if (rec_log_save_part(inner->path, &inner->part, totals, &totals->failure) != 0)
        rmdir(inner->path);
    if (inner->has_resumed)
        rec_recording_pause();
    forget_inner(inner);
    set_c_calls();
    free(inner);
}

static struct inner *find_inner(int number)
{
    struct inner *inner = recording.newest;
    while (inner && inner->number != number)
        inner = inner->older;
    return inner;
}

/* The capture that is written ends, others go on: recording moves to the oldest of them. Returns false when it cannot. */
static bool move(struct rec_log_totals *totals)
{
    struct pnr_err err;
    char text[512];
    struct inner *oldest = recording.newest;
    while (oldest->older)
        oldest = oldest->older;
    struct rec_drain_options drain = drain_options(&oldest->options);
    if (rec_log_move(oldest->path, &oldest->part, &drain, totals, &err) != 0) {
        rec_notice("%s; the recordings inside this one end with it", pnr_err_describe(&err, text, sizeof text));
        return false;
    }
    stop_handling(recording.options.snapshot_signal, &recording.snapshot_before);
    stop_handling(recording.options.toggle_signal, &recording.toggle_before);
    forget_inner(oldest);
    recording.number = oldest->number;
    recording.options = oldest->options;
    recording.drain = drain;
    recording.joins = false;
    strcpy(recording.capture, oldest->path);
    set_c_calls();
    rec_threads.on_exception = recording.options.snapshots_exceptions ? save_soon : NULL;
    handle(recording.options.snapshot_signal, &recording.snapshot_before);
    handle(recording.options.toggle_signal, &recording.toggle_before);
    free(oldest);
    return true;
}

/* ---- start and stop ---- */

int rec_recording_start(const char *path, bool joins, PyObject *facts, PyObject *dict, PyObject *on_path, char *taken)
{
    struct pnr_err err;
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: a process's main interpreter is recorded, and this is another one");
        return 0;
    }
    if (recording.is_on)
        return start_inner(path, dict, on_path, taken);
    if (parse_options(dict, &recording.options) != 0 || !(recording.engine = find_engine(recording.options.engine)) ||
        set_filters(recording.options.filters) != 0 || keep_facts(facts) != 0)
        return 0;
    if (must_change_engine())
        recording.engine = rec_engine_monitoring;
    rec_notice_hold();                  /* until it has begun, what fails is raised */
    recording.pid = getpid();
    recording.joins = joins;
    recording.forks = 0;
    if (recording.unannounced)
        *recording.unannounced = 0;
    recording.drain = drain_options(&recording.options);
    if (rec_log_start(path, joins, &recording.drain, recording.capture, &err) != 0) {
        rec_recording_raise(&err);
        return 0;
    }
    strcpy(taken, recording.capture);
    recording.has_c_calls = recording.options.c_calls;
    remember_place();
    write_facts();
    bool has_engine = tell_path(on_path, taken) == 0 && recording.engine->start() == 0;
    if (!has_engine || (recording.options.c_calls && rec_c_calls_start() != 0) || rec_log_is_closed()) {
        if (has_engine)
            recording.engine->stop(false);
        if (recording.options.c_calls)
            rec_c_calls_stop(false);
        undo_start(joins);
        return 0;
    }
    rec_notice_init();
    rec_notice_redirect(joins ? recording.capture : NULL);
    if (!joins && geteuid() == 0)
        rec_notice_open_to_all(recording.capture);
    rec_threads.on_exception = recording.options.snapshots_exceptions ? save_soon : NULL;
    recording.is_on = true;
    recording.is_paused = recording.is_pending = false;
    handle(recording.options.snapshot_signal, &recording.snapshot_before);
    handle(recording.options.toggle_signal, &recording.toggle_before);
    if (recording.options.starts_paused)
        rec_recording_pause();
    return recording.number = ++recording.n_started;
}

/* This child is not recorded: no more events come. */
static void leave_alone(void)
{
    recording.is_on = false;
    rec_threads.is_active = rec_threads.is_waiting = false;
    rec_current = &rec_log_nobody;
    recording.engine->pause();
    rec_c_calls_stop(false);
}

/* At the first event of a forked child. */
static void begin_child(void)
{
    struct pnr_err err;
    struct rec_log_totals totals;
    char text[512];
    static char taken[PATH_MAX];        /* the stack of a thread that forks may be small; guarded by the GIL */
    PyObject *type, *value, *traceback;
    recording.is_pending = false;
    recording.forks = 0;
    rec_notice_redirect(recording.capture);
    PyErr_Fetch(&type, &value, &traceback);
    if (!recording.options.follows_forks) {
        if (recording.unannounced)
            *recording.unannounced += !recording.was_announced;
        leave_alone();
    } else if (rec_log_start(recording.capture, true, &recording.drain, taken, &err) != 0) {
        rec_notice("not recorded: %s", pnr_err_describe(&err, text, sizeof text));
        leave_alone();
    } else {
        write_facts();
        if (recording.engine->begin() != 0) {
            leave_alone();
            rec_log_undo(&totals);
            rec_notice("not recorded: %s", totals.failure.code == PNR_OK ? "out of memory" :
                       pnr_err_describe(&totals.failure, text, sizeof text));
        } else if (recording.has_c_calls) {
            rec_c_calls_begin();
            set_c_calls();
        }
    }
    rec_survey_forked();
    PyErr_Restore(type, value, traceback);
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

void rec_recording_stop(int number, struct rec_log_totals *totals)
{
    struct inner *inner = find_inner(number);
    *totals = (struct rec_log_totals){ 0 };
    if (!recording.is_on)
        return;
    if (inner)
        stop_inner(inner, totals);
    else if (number == recording.number && !(recording.newest && move(totals)))
        rec_recording_end(false, totals);
}

void rec_recording_end(bool is_finalized, struct rec_log_totals *totals)
{
    struct rec_log_totals of_inner;
    while (recording.newest) {
        struct inner *inner = recording.newest;
        rec_log_save_part(inner->path, &inner->part, &of_inner, &of_inner.failure);
        recording.newest = inner->older;
        free(inner);
    }
    *totals = (struct rec_log_totals){ 0 };
    recording.is_on = false;
    stop_handling(recording.options.snapshot_signal, &recording.snapshot_before);
    stop_handling(recording.options.toggle_signal, &recording.toggle_before);
    if (recording.is_pending) {
        rec_threads.when_awake = NULL;
        if (!is_finalized)
            leave_alone();
        return;
    }
    if (recording.is_paused && !is_finalized)
        rec_engine_resume(recording.engine);    /* so that all ends as it does always */
    recording.engine->stop(is_finalized);
    bool were_c_calls_seen = rec_c_calls_stop(is_finalized);
    if (rec_threads.missing)
        rec_log_fact("calls_missing", rec_threads.missing);
    if (recording.unannounced)
        recording.forks += *recording.unannounced;
    if (recording.forks)
        rec_log_fact_number("forks", recording.forks);
    rec_log_stop(totals);
    if (rec_recording_is_own() && !recording.joins)
        rec_notice_pass_on(recording.capture);
    if (rec_threads.missing)
        rec_notice("%s while recording: calls may be missing", rec_threads.missing);
    if (!were_c_calls_seen)
        rec_notice("another tool's profile function was there while recording: calls of C functions may be missing");
}

/* ---- forks ---- */

static void prepare_fork(void)
{
    if (recording.is_on && recording.options.follows_forks)
        rec_survey_fork(recording.capture);
    if (recording.is_on && !recording.is_pending)
        rec_drain_pause();
}

/* The next event sees to it that the drain goes on. */
static void forked_in_parent(void)
{
    if (!recording.is_on || recording.is_pending)
        return;
    rec_survey_forked();
    recording.forks += !recording.options.follows_forks;
    rec_current = &rec_log_nobody;
}

static void become_child(bool was_announced)
{
    rec_wiped_start();
    recording.was_announced = was_announced;
    if (!recording.is_on)
        return;
    if (!recording.is_pending)
        rec_log_forked();
    if (rec_threads.is_unhooked && !recording.is_paused)
        recording.engine->resume();     /* the gap in which it was born is its parent's: nothing here would end it */
    while (recording.newest) {          /* they are the parent's */
        struct inner *inner = recording.newest;
        recording.newest = inner->older;
        free(inner);
    }
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

void rec_recording_change_user(uid_t user, void (*func)(void *), void *arg)
{
    if (recording.is_on && recording.is_pending)
        rec_threads_wake(PyThreadState_Get());          /* as another user it could not begin any more */
    if (!recording.is_on || recording.is_pending) {
        func(arg);
        return;
    }
    if (rec_recording_is_own())
        rec_notice_give(recording.capture, user);
    rec_drain_change_user(user, func, arg);
    rec_current = &rec_log_nobody;      /* the next event sees to it that the drain goes on */
}

int rec_recording_init(void)
{
    void *shared = mmap(NULL, sizeof *recording.unannounced, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    recording.unannounced = shared == MAP_FAILED ? NULL : shared;
    rec_threads.on_fork = forked_in_silence;
    rec_trampoline_watch(step_aside, come_back);
    sem_init(&recording.saved, 0, 0);
    if (pthread_atfork(prepare_fork, forked_in_parent, forked_in_child) == 0)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "panopticon: no place left to be called at fork");
    return -1;
}
