/* The extension module panopticon_rec._recorder: start, stop and run for the Python side, and what happens to a
 * recording at fork and when the process ends. Turns struct pnr_err into OSError and MemoryError. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine.h"
#include "recording.h"
#include "setuid.h"
#include "../notice.h"
#include "../retention.h"

extern char **environ;

static struct {
    char *own;                          /* owned: the package's folder */
    bool is_ready;                      /* for the interpreter that there is */
    /* What a recording that ends with the process does then; set by at_exit(). Owned. */
    bool tells_end;
    char *converter, *output;
    _PyCFunctionFastWithKeywords leave;  /* os._exit's own */
} module;

PyDoc_STRVAR(start_doc,
"start(path, joins, facts, options, on_path)\n--\n\n"
"Begins to record all threads of this process into a capture directory at path (str or path-like), which is\n"
"made; when something is there, at run-2.pnr, run-3.pnr, ... for run.pnr; or, if it joins, into the capture that is\n"
"there. facts: dict of str to str, kept in the capture. options: dict with these keys, or fewer:\n"
"engine (\"frame\", \"monitoring\" or None), c_calls (bool), filters (list of (int, str): enum rec_filter_action and its\n"
"text), min_duration_ns, max_size (bytes), last_ns (int, 0 = no limit), drops (bool: when no chunk is free, events are\n"
"lost), follows_forks (bool), starts_paused (bool), snapshots_exceptions (bool), snapshot_signal, toggle_signal (int, 0 =\n"
"none). on_path: called with the path that was taken before the first event, or None.\n"
"In a process that is being recorded already, the capture is a part of that recording, with its engine and its filters.\n"
"Returns the number of the capture, for stop(), and the absolute path of the directory that was made. Raises OSError when\n"
"the capture cannot be written, and ValueError when this Python does not have the engine.");

static PyObject *py_start(PyObject *self, PyObject *args)
{
    PyObject *path, *facts, *options, *on_path;         /* the first is owned, the others borrowed */
    int joins;
    (void)self;
    if (!PyArg_ParseTuple(args, "O&pO!O!O:start", PyUnicode_FSConverter, &path, &joins, &PyDict_Type, &facts,
                          &PyDict_Type, &options, &on_path))
        return NULL;
    char taken[PATH_MAX];
    int number = rec_recording_start(PyBytes_AS_STRING(path), joins, facts, options, on_path, taken);
    Py_DECREF(path);
    return number ? Py_BuildValue("iN", number, PyUnicode_DecodeFSDefault(taken)) : NULL;
}

PyDoc_STRVAR(stop_doc,
"stop(number)\n--\n\n"
"Ends the capture of this number and writes all of it. Returns (events, threads, bytes, lost): how many records, threads that were\n"
"seen, size of the capture, events that could not be kept. Raises OSError when the capture could not be written to\n"
"the end; what was recorded is kept. In a forked child it ends the child's own; zeros if nothing was recorded there.");

static PyObject *py_stop(PyObject *self, PyObject *object)
{
    struct rec_log_totals totals;
    int number = (int)PyLong_AsLong(object);
    (void)self;
    if (PyErr_Occurred())
        return NULL;
    if (!rec_recording_is_on() && rec_recording_is_own()) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: this process is not being recorded");
        return NULL;
    }
    rec_recording_stop(number, &totals);
    if (totals.failure.code != PNR_OK)
        return rec_recording_raise(&totals.failure);
    return Py_BuildValue("KIKK", (unsigned long long)totals.n_events, (unsigned)totals.n_threads,
                         (unsigned long long)totals.n_bytes, (unsigned long long)totals.n_lost);
}

PyDoc_STRVAR(pause_doc,
"pause()\n--\n\n"
"No events are recorded until resume(), and nothing is spent on them. Raises RuntimeError when nothing is being recorded.");

static PyObject *py_pause(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    return rec_recording_pause() == 0 ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(resume_doc,
"resume()\n--\n\n"
"Goes on after pause(). Raises RuntimeError when nothing is being recorded.");

static PyObject *py_resume(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    return rec_recording_resume() == 0 ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(snapshot_doc,
"snapshot(path)\n--\n\n"
"Saves what this process has recorded up to now, as far as it is kept, as a capture of its own, while recording goes on.\n"
"path: str or path-like; when something is there, run-2.pnr, ... for run.pnr. Returns the absolute path that was taken.\n"
"Raises OSError when it cannot be written, RuntimeError when nothing is being recorded.");

static PyObject *py_snapshot(PyObject *self, PyObject *object)
{
    PyObject *path;                     /* owned */
    char taken[PATH_MAX];
    (void)self;
    if (!PyUnicode_FSConverter(object, &path))
        return NULL;
    int code = rec_recording_save(PyBytes_AS_STRING(path), taken);
    Py_DECREF(path);
    return code == 0 ? PyUnicode_DecodeFSDefault(taken) : NULL;
}

/* ---- the end of the process ---- */

/* The interpreter has taken the program's handlers back: a timer that still runs would now end the process. What comes
 * from here on stays pending. Gives the mask that there was. */
static void hold_signals(sigset_t *before)
{
    sigset_t held;
    sigemptyset(&held);
    sigaddset(&held, SIGALRM);
    sigaddset(&held, SIGVTALRM);
    sigaddset(&held, SIGPROF);
    sigaddset(&held, SIGUSR1);
    sigaddset(&held, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &held, before);
}

/* Returns the converter's exit status; 2 when it could not be run. mask: its signal mask. */
static int convert(const sigset_t *mask)
{
    pid_t pid;
    int status = -1;
    posix_spawnattr_t attr;
    char *argv[] = { module.converter, "-q", "-o", module.output, (char *)rec_recording_path(), NULL };
    signal(SIGCHLD, SIG_DFL);           /* the program may have ignored it: then there is nothing to wait for */
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, mask);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    int code = posix_spawn(&pid, module.converter, NULL, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    if (code != 0) {
        rec_notice("%s: %s", module.converter, strerror(code));
        return 2;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

/* The capture as the user would name it: relative, where it lies in the current directory. */
static const char *shown_path(void)
{
    char folder[PATH_MAX];
    size_t size = getcwd(folder, sizeof folder) ? strlen(folder) : 0;
    bool is_below = size && strncmp(rec_recording_path(), folder, size) == 0 && rec_recording_path()[size] == '/';
    return rec_recording_path() + (is_below ? size + 1 : 0);
}

static void tell_end(const struct rec_log_totals *totals)
{
    const char *path = shown_path();
    char size[32];
    if (totals->n_bytes < 10000)
        snprintf(size, sizeof size, "%" PRIu64 " bytes", totals->n_bytes);
    else if (totals->n_bytes < 1000000)
        snprintf(size, sizeof size, "%" PRIu64 " kB", totals->n_bytes / 1000);
    else
        snprintf(size, sizeof size, "%.1f MB", (double)totals->n_bytes / 1e6);
    rec_notice("%s: %" PRIu64 " events, %u thread%s, %s, %" PRIu64 " lost%s; panopticon-convert %s", path,
               totals->n_events, totals->n_threads, totals->n_threads == 1 ? "" : "s", size, totals->n_lost,
               totals->failure.code == PNR_OK ? "" : " and all that came after the failure", path);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
    (void)st, (void)type, (void)place;
    return remove(path);
}

/* The process ends: so does its recording, and what was asked for is done. */
static void end(bool is_finalized)
{
    struct rec_log_totals totals;
    sigset_t before;
    if (!rec_recording_is_on())
        return;
    hold_signals(&before);
    rec_recording_end(is_finalized, &totals);
    if (!rec_recording_is_own())
        return;
    if (!module.output) {
        if (module.tells_end)
            tell_end(&totals);
        return;
    }
    int status = convert(&before);
    if (status != 0) {
        rec_notice("%s %s; the capture is %s", module.output, status == 1 ? "is not complete" : "could not be made",
                   rec_recording_path());
        return;
    }
    if (rec_retention_is_growing(rec_recording_path())) {
        rec_notice("%s has what was recorded up to now; other processes go on: the capture is %s", module.output,
                   rec_recording_path());
        return;
    }
    nftw(rec_recording_path(), remove_one, 4, FTW_DEPTH | FTW_PHYS);
    if (module.tells_end)
        rec_notice("%s: %" PRIu64 " events, %u thread%s, %" PRIu64 " lost", module.output, totals.n_events,
                   totals.n_threads, totals.n_threads == 1 ? "" : "s", totals.n_lost);
}

/* Py_AtExit runs this when the interpreter is gone: after all of the program's own atexit functions, finalizers
 * and threads. In a forked child it ends the child's own. */
static void end_with_process(void)
{
    end(true);
    rec_engine_forget();
    module.is_ready = false;
}

/* In place of os._exit, which ends the process at once. Children that are forked end so as a rule. Another interpreter,
 * which may have a GIL of its own, touches nothing: what was recorded is in the live mapping. */
static PyObject *leave(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    bool is_well = n == 1 && !names && PyLong_Check(args[0]);
    if (is_well && PyInterpreterState_Get() == PyInterpreterState_Main())
        end(false);
    return module.leave(self, args, n, names);
}

/* The method's definition is changed, not the function, so that the program finds what it always finds. */
static void watch_leave(void)
{
    PyObject *posix = PyImport_ImportModule("posix");                           /* owned */
    PyObject *function = posix ? PyObject_GetAttrString(posix, "_exit") : NULL; /* owned */
    if (function && PyCFunction_CheckExact(function)) {
        PyMethodDef *method = ((PyCFunctionObject *)function)->m_ml;
        if (method->ml_flags == (METH_FASTCALL | METH_KEYWORDS)) {
            module.leave = (_PyCFunctionFastWithKeywords)(void (*)(void))method->ml_meth;
            method->ml_meth = (PyCFunction)(void (*)(void))leave;
        }
    }
    Py_XDECREF(function);
    Py_XDECREF(posix);
    PyErr_Clear();
}

/* ---- running a program ---- */

enum run_kind { RUN_FILE, RUN_MODULE, RUN_COMMAND, RUN_STDIN };

struct program {
    int kind;
    PyObject *target;                   /* borrowed: file name, module or command */
    const char *path;                   /* of the capture */
    PyObject *facts, *options, *on_path;        /* borrowed */
    bool has_started;
};

/* Prints the exception as the interpreter's main does. SystemExit ends the process here, with its status. */
static int print_error(void)
{
    PyErr_Print();
    return 1;
}

static int run_module(const char *name, bool sets_argv)
{
    PyObject *runpy = PyImport_ImportModule("runpy");
    PyObject *result = runpy ? PyObject_CallMethod(runpy, "_run_module_as_main", "sO", name,
                                                   sets_argv ? Py_True : Py_False) : NULL;
    Py_XDECREF(runpy);
    if (!result)
        return print_error();
    Py_DECREF(result);
    return 0;
}

/* True for a folder or zip file, which has a __main__.py. */
static bool is_archive(PyObject *name)
{
    PyObject *importer = PyImport_GetImporter(name);    /* owned */
    bool is = importer && importer != Py_None;
    Py_XDECREF(importer);
    PyErr_Clear();
    return is;
}

static int run_file(PyObject *name)
{
    PyObject *bytes = NULL;             /* owned */
    if (!PyUnicode_FSConverter(name, &bytes))
        return print_error();
    FILE *file = fopen(PyBytes_AS_STRING(bytes), "rb");
    if (!file) {                        /* it was there a moment ago */
        PySys_FormatStderr("can't open file %R: [Errno %d] %s\n", name, errno, strerror(errno));
        Py_DECREF(bytes);
        return 2;
    }
    PyCompilerFlags flags = _PyCompilerFlags_INIT;
    int code = PyRun_AnyFileExFlags(file, PyBytes_AS_STRING(bytes), 1, &flags);
    Py_DECREF(bytes);
    return code != 0;
}

static int run_command(PyObject *command)
{
    PyCompilerFlags flags = _PyCompilerFlags_INIT;
    flags.cf_flags |= PyCF_IGNORE_COOKIE;
    const char *text = PyUnicode_AsUTF8(command);
    return text ? PyRun_SimpleStringFlags(text, &flags) != 0 : print_error();
}

static int run_target(const struct program *p, bool runs_archive)
{
    PyCompilerFlags flags = _PyCompilerFlags_INIT;
    switch (p->kind) {
    case RUN_FILE:
        return runs_archive ? run_module("__main__", false) : run_file(p->target);
    case RUN_MODULE:
        return run_module(PyUnicode_AsUTF8(p->target), true);
    case RUN_COMMAND:
        return run_command(p->target);
    default:
        return PyRun_AnyFileExFlags(stdin, "<stdin>", 0, &flags) != 0;
    }
}

static int run_program(void *arg)
{
    struct program *p = arg;
    bool runs_archive = p->kind == RUN_FILE && is_archive(p->target);
    char taken[PATH_MAX];
    if (!rec_recording_start(p->path, false, p->facts, p->options, p->on_path, taken))
        return -1;
    p->has_started = true;
    int status = run_target(p, runs_archive);
    if (status == 1)
        rec_recording_tell_exception();
    return status;
}

PyDoc_STRVAR(run_doc,
"run(kind, target, path, facts, options, on_path)\n--\n\n"
"Starts recording into path, as start() does, and runs a program as the interpreter's own main does\n"
"(Modules/main.c): kind 0: the script, folder or zip file target; 1: the module; 2: the command; 3: standard input.\n"
"No frame of the caller is visible to it. Returns the exit status; SystemExit ends the process. Recording goes on\n"
"until the process ends.");

static PyObject *py_run(PyObject *self, PyObject *args)
{
    struct program p = { 0 };
    PyObject *path;                     /* owned */
    (void)self;
    if (!PyArg_ParseTuple(args, "iUO&O!O!O:run", &p.kind, &p.target, PyUnicode_FSConverter, &path, &PyDict_Type,
                          &p.facts, &PyDict_Type, &p.options, &p.on_path))
        return NULL;
    p.path = PyBytes_AS_STRING(path);
    int status = rec_engine_run_detached(run_program, &p);
    Py_DECREF(path);
    return p.has_started ? PyLong_FromLong(status) : NULL;
}

PyDoc_STRVAR(at_exit_doc,
"at_exit(tells, converter, output)\n--\n\n"
"What a recording that ends with the process does then: with an output (a path, else None) it runs the converter on\n"
"the capture and removes it; if it tells, it says what was recorded in one line on standard error.");

static bool keep_path(PyObject *object, char **path)
{
    PyObject *bytes;
    if (object == Py_None)
        return true;
    if (!PyUnicode_FSConverter(object, &bytes))
        return false;
    *path = strdup(PyBytes_AS_STRING(bytes));
    Py_DECREF(bytes);
    if (!*path)
        PyErr_NoMemory();
    return *path != NULL;
}

static PyObject *py_at_exit(PyObject *self, PyObject *args)
{
    PyObject *converter, *output;       /* borrowed */
    int tells;
    (void)self;
    if (!PyArg_ParseTuple(args, "pOO:at_exit", &tells, &converter, &output))
        return NULL;
    module.tells_end = tells;
    if (!keep_path(converter, &module.converter) || !keep_path(output, &module.output))
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(is_capture_doc,
"is_capture(path)\n--\n\n"
"True for a directory in which nothing but processes of a capture lie, and at least one.");

static PyObject *py_is_capture(PyObject *self, PyObject *object)
{
    PyObject *path;                     /* owned */
    (void)self;
    if (!PyUnicode_FSConverter(object, &path))
        return NULL;
    bool is = pnr_capture_is(PyBytes_AS_STRING(path));
    Py_DECREF(path);
    return PyBool_FromLong(is);
}

/* ---- module ---- */

static PyMethodDef methods[] = {
    { "start", py_start, METH_VARARGS, start_doc },
    { "stop", py_stop, METH_O, stop_doc },
    { "pause", py_pause, METH_NOARGS, pause_doc },
    { "resume", py_resume, METH_NOARGS, resume_doc },
    { "snapshot", py_snapshot, METH_O, snapshot_doc },
    { "run", py_run, METH_VARARGS, run_doc },
    { "at_exit", py_at_exit, METH_VARARGS, at_exit_doc },
    { "is_capture", py_is_capture, METH_O, is_capture_doc },
    { 0 }
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "panopticon_rec._recorder", .m_size = -1, .m_methods = methods,
    .m_doc = "The recorder's C side. panopticon_rec is its interface."
};

/* The package's folder, with the slash behind it: the functions of these files are not recorded. */
static int find_own_folder(void)
{
    PyObject *package = PyImport_ImportModule("panopticon_rec");                        /* owned */
    PyObject *file = package ? PyObject_GetAttrString(package, "__file__") : NULL;      /* owned */
    PyObject *bytes = NULL;
    if (file && PyUnicode_FSConverter(file, &bytes) && (module.own = strdup(PyBytes_AS_STRING(bytes)))) {
        char *slash = strrchr(module.own, '/');
        slash ? (slash[1] = 0) : (module.own[0] = 0);
    }
    if (bytes && !module.own)
        PyErr_NoMemory();
    Py_XDECREF(bytes);
    Py_XDECREF(file);
    Py_XDECREF(package);
    return module.own ? 0 : -1;
}

PyMODINIT_FUNC PyInit__recorder(void)
{
    if (!module.own) {                  /* once a process: hooks and handlers cannot be taken back */
        if (find_own_folder() != 0)
            return NULL;
        rec_clock_init();
        if (rec_recording_init() != 0)
            return NULL;
        watch_leave();
    rec_setuid_watch();
    }
    if (!module.is_ready) {
        if (rec_engine_init(module.own) != 0)
            return NULL;
        if (Py_AtExit(end_with_process) != 0) {
            PyErr_SetString(PyExc_RuntimeError, "panopticon: no place left to be called at exit");
            return NULL;
        }
        module.is_ready = true;
    }
    return PyModule_Create(&definition);
}
