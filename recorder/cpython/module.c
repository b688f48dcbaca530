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

#include "c_calls.h"
#include "engine.h"
#include "../filter.h"
#include "../log.h"
#include "../notice.h"

extern char **environ;

static struct {
    bool is_recording;
    bool was_forked;                    /* this is a child of a process that was being recorded */
    uint64_t forks;                     /* children that were not recorded */
    const struct rec_engine *engine;    /* of the recording */
    char *own;                          /* owned: the package's folder */
    char capture[PATH_MAX];
    /* What a recording that ends with the process does then; set by at_exit(). Owned. */
    bool tells_end;
    char *converter, *output;
} module;

static PyObject *raise_error(const struct pnr_err *err)
{
    char text[512];
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

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
    (void)st, (void)type, (void)place;
    return remove(path);
}

static void remove_capture(void)
{
    nftw(module.capture, remove_one, 4, FTW_DEPTH | FTW_PHYS);
}

/* ---- start and stop ---- */

struct options {
    const char *engine;                 /* "frame", "monitoring", or NULL: the first that there is */
    int c_calls;
    PyObject *filters;                  /* list of (enum rec_filter_action, str), or NULL; borrowed */
    unsigned long long min_duration_ns;
};

/* dict: what Python gives; every key that it may have is one here. Returns 0, or -1 with an exception set. */
static int parse_options(PyObject *dict, struct options *options)
{
    static char *names[] = { "engine", "c_calls", "filters", "min_duration_ns", NULL };
    PyObject *none = PyTuple_New(0);
    *options = (struct options){ 0 };
    bool is_good = none && PyArg_ParseTupleAndKeywords(none, dict, "|$zpO!K:options", names, &options->engine,
                                                       &options->c_calls, &PyList_Type, &options->filters,
                                                       &options->min_duration_ns);
    Py_XDECREF(none);
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

/* facts: a dict of str to str. */
static int write_facts(PyObject *facts)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    rec_log_fact_number("pid", (uint64_t)getpid());
    rec_log_fact_number("parent_pid", (uint64_t)getppid());
    rec_log_fact("engine", module.engine->name);
    while (PyDict_Next(facts, &at, &key, &value)) {
        const char *k = PyUnicode_AsUTF8(key);
        PyObject *bytes = k ? PyUnicode_AsEncodedString(value, "utf-8", "surrogatepass") : NULL;
        if (!bytes)
            return -1;
        rec_log_fact(k, PyBytes_AS_STRING(bytes));
        Py_DECREF(bytes);
    }
    return 0;
}

static int start_recording(const char *path, PyObject *facts, PyObject *dict)
{
    struct pnr_err err;
    struct rec_log_totals totals;
    struct options options;
    if (module.is_recording) {
        PyErr_SetString(PyExc_RuntimeError,
                        "panopticon: this process is being recorded already; one recorder at a time");
        return -1;
    }
    if (parse_options(dict, &options) != 0 || !(module.engine = find_engine(options.engine)) ||
        set_filters(options.filters) != 0)
        return -1;
    rec_notice_init();
    if (rec_log_start(path, module.capture, &err) != 0) {
        raise_error(&err);
        return -1;
    }
    if (options.min_duration_ns)
        rec_log_set_min_duration(options.min_duration_ns);
    bool has_engine = write_facts(facts) == 0 && module.engine->start() == 0;
    if (!has_engine || (options.c_calls && rec_c_calls_start() != 0)) {
        if (has_engine)
            module.engine->stop(false);
        rec_log_stop(0, &totals);
        remove_capture();               /* there is nothing in it */
        if (totals.failure.code != PNR_OK)
            raise_error(&totals.failure);       /* the true reason, in place of the one that is set */
        return -1;
    }
    module.forks = 0;
    module.was_forked = false;
    module.is_recording = true;
    return 0;
}

static void stop_recording(bool is_finalized, struct rec_log_totals *totals)
{
    bool was_alone = module.engine->stop(is_finalized), were_c_calls_seen = rec_c_calls_stop(is_finalized);
    module.is_recording = false;
    rec_log_stop(module.forks, totals);
    if (!was_alone)
        rec_notice("another tool replaced the frame evaluation function while recording: calls may be missing");
    if (!were_c_calls_seen)
        rec_notice("another tool's profile function was there while recording: calls of C functions may be missing");
}

PyDoc_STRVAR(start_doc,
"start(path, facts, options)\n--\n\n"
"Begins to record all threads of this process into a capture directory at path (str or path-like), which is\n"
"made; when something is there, at run-2.pnr, run-3.pnr, ... for run.pnr. facts: dict of str to str, kept in the\n"
"capture. options: dict with engine (\"frame\", \"monitoring\" or None), c_calls (bool), filters (list of (int, str):\n"
"enum rec_filter_action and its text), min_duration_ns (int), or less. Returns the absolute path of the directory\n"
"that was made. Raises OSError when the capture cannot be written, RuntimeError when the process is being recorded\n"
"already, and ValueError when this Python does not have the engine.");

static PyObject *py_start(PyObject *self, PyObject *args)
{
    PyObject *path, *facts, *options;   /* owned, borrowed, borrowed */
    (void)self;
    if (!PyArg_ParseTuple(args, "O&O!O!:start", PyUnicode_FSConverter, &path, &PyDict_Type, &facts, &PyDict_Type,
                          &options))
        return NULL;
    int code = start_recording(PyBytes_AS_STRING(path), facts, options);
    Py_DECREF(path);
    return code == 0 ? PyUnicode_DecodeFSDefault(module.capture) : NULL;
}

PyDoc_STRVAR(stop_doc,
"stop()\n--\n\n"
"Ends the recording and writes all of it. Returns (events, threads, bytes, lost): how many records, threads that were\n"
"seen, size of the capture, events that could not be kept. Raises OSError when the capture could not be written to\n"
"the end; what was recorded is kept. In a forked child it gives zeros: its parent's recording goes on without it.");

static PyObject *py_stop(PyObject *self, PyObject *unused)
{
    struct rec_log_totals totals;
    (void)self, (void)unused;
    if (module.was_forked)              /* its parent's recording goes on without it */
        return Py_BuildValue("KIKK", 0ULL, 0U, 0ULL, 0ULL);
    if (!module.is_recording) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: this process is not being recorded");
        return NULL;
    }
    stop_recording(false, &totals);
    if (totals.failure.code != PNR_OK)
        return raise_error(&totals.failure);
    return Py_BuildValue("KIKK", (unsigned long long)totals.n_events, (unsigned)totals.n_threads,
                         (unsigned long long)totals.n_bytes, (unsigned long long)totals.n_lost);
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
    char *argv[] = { module.converter, "-q", "-o", module.output, module.capture, NULL };
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
    bool is_below = size && strncmp(module.capture, folder, size) == 0 && module.capture[size] == '/';
    return module.capture + (is_below ? size + 1 : 0);
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

/* Py_AtExit runs this when the interpreter is gone: after all of the program's own atexit functions, finalizers
 * and threads. A forked child is not recording and comes by without effect. */
static void end_with_process(void)
{
    struct rec_log_totals totals;
    sigset_t before;
    if (!module.is_recording)
        return;
    hold_signals(&before);
    stop_recording(true, &totals);
    if (!module.output) {
        if (module.tells_end)
            tell_end(&totals);
        return;
    }
    int status = convert(&before);
    if (status != 0) {
        rec_notice("%s %s; the capture is %s", module.output, status == 1 ? "is not complete" : "could not be made",
                   module.capture);
        return;
    }
    remove_capture();
    if (module.tells_end)
        rec_notice("%s: %" PRIu64 " events, %u thread%s, %" PRIu64 " lost; open it in chrome://tracing", module.output,
                   totals.n_events, totals.n_threads, totals.n_threads == 1 ? "" : "s", totals.n_lost);
}

static void prepare_fork(void)
{
    if (module.is_recording)
        rec_drain_pause();
}

/* The next event sees to it that the drain goes on. */
static void count_fork(void)
{
    module.forks++;
    rec_current = &rec_log_nobody;
}

static void forget_recording(void)
{
    rec_engine_forked();
    module.was_forked |= module.is_recording;
    module.is_recording = false;
}

/* ---- running a program ---- */

enum run_kind { RUN_FILE, RUN_MODULE, RUN_COMMAND, RUN_STDIN };

struct program {
    int kind;
    PyObject *target;                   /* borrowed: file name, module or command */
    const char *path;                   /* of the capture */
    PyObject *facts, *options;          /* borrowed */
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

static int run_program(void *arg)
{
    struct program *p = arg;
    PyCompilerFlags flags = _PyCompilerFlags_INIT;
    bool runs_archive = p->kind == RUN_FILE && is_archive(p->target);
    if (start_recording(p->path, p->facts, p->options) != 0)
        return -1;
    p->has_started = true;
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

PyDoc_STRVAR(run_doc,
"run(kind, target, path, facts, options)\n--\n\n"
"Starts recording into path, as start() does, and runs a program as the interpreter's own main does\n"
"(Modules/main.c): kind 0: the script, folder or zip file target; 1: the module; 2: the command; 3: standard input.\n"
"No frame of the caller is visible to it. Returns the exit status; SystemExit ends the process. Recording goes on\n"
"until the process ends.");

static PyObject *py_run(PyObject *self, PyObject *args)
{
    struct program p = { 0 };
    PyObject *path;                     /* owned */
    (void)self;
    if (!PyArg_ParseTuple(args, "iUO&O!O!:run", &p.kind, &p.target, PyUnicode_FSConverter, &path, &PyDict_Type,
                          &p.facts, &PyDict_Type, &p.options))
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
    { "stop", py_stop, METH_NOARGS, stop_doc },
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
    Py_XDECREF(bytes);
    Py_XDECREF(file);
    Py_XDECREF(package);
    return module.own ? 0 : -1;
}

PyMODINIT_FUNC PyInit__recorder(void)
{
    if (!module.own) {                  /* once a process: hooks and handlers cannot be taken back */
        if (find_own_folder() != 0 || rec_engine_init(module.own) != 0)
            return NULL;
        rec_clock_init();
        if (Py_AtExit(end_with_process) != 0 || pthread_atfork(prepare_fork, count_fork, forget_recording) != 0) {
            PyErr_SetString(PyExc_RuntimeError, "panopticon: no place left to be called at exit or fork");
            return NULL;
        }
    }
    return PyModule_Create(&definition);
}
