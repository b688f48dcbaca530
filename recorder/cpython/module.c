/* The extension module panopticon_rec._recorder: start, stop and run for the Python side, and what happens to a
 * recording at fork and when the process ends. Turns struct pnr_err into OSError and MemoryError. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "lock.h"
#include "recording.h"
#include "remarks.h"
#include "self_test.h"
#include "setuid.h"
#include "watch.h"
#include "state.h"
#include "../conversion.h"
#include "../diagnostics.h"
#include "../destination.h"
#include "../survey.h"
#include "../tree.h"
#include "../../format/process.h"

static struct {
    char *own;                          /* owned: the package's folder */
    bool is_ready;                      /* for the interpreter that there is */
    /* What a recording that ends with the process does then; set by at_exit(). Owned. */
    bool is_command, reports_end;
    char *converter, *output, *next_step;
    struct rec_destination destination; /* of the recording that run() begins */
    _PyCFunctionFastWithKeywords os_exit;       /* its own */
} module = { .destination = { .lock = -1 } };

PyDoc_STRVAR(start_doc,
"start(path, joins, properties, options, on_path)\n--\n\n"
"Begins to record all threads of this process into a capture directory at path (str or path-like), which is\n"
"made; when something is there, at run-2.pnr, run-3.pnr, ... for run.pnr; or, if it joins, into the capture that is\n"
"there. properties: dict of str to str, kept in the capture. options: dict, as panopticon_rec.options.for_recorder()\n"
"makes it. on_path: called with the path that was taken before the first event, or None.\n"
"In a process that is being recorded already, the capture is a part of that recording, with its engine and\n"
"filters. Returns the number of the capture, for stop(), and the absolute path of the directory that was made.\n"
"Raises OSError when the capture cannot be written, and ValueError when this Python does not have the engine.");

/* The handler of a signal has raised an exception, so that the caller would not get the number of the capture. */
static void undo_interrupted_start(int number, const char *made)
{
    struct rec_totals totals;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    rec_recording_stop(number, &totals);
    if (made)
        rec_tree_remove(made);
    PyErr_Restore(type, value, traceback);
}

static PyObject *py_start(PyObject *self, PyObject *args)
{
    PyObject *path, *properties, *options, *on_path;         /* the first is owned, the others borrowed */
    int joins;
    (void)self;
    if (!PyArg_ParseTuple(args, "O&pO!O!O:start", PyUnicode_FSConverter, &path, &joins, &PyDict_Type, &properties,
                          &PyDict_Type, &options, &on_path))
        return NULL;
    char taken[PATH_MAX];
    int number = rec_recording_start(PyBytes_AS_STRING(path), joins, properties, options, on_path, taken);
    Py_DECREF(path);
    if (number && PyErr_CheckSignals() != 0) {
        undo_interrupted_start(number, joins ? NULL : taken);
        return NULL;
    }
    return number ? Py_BuildValue("iN", number, PyUnicode_DecodeFSDefault(taken)) : NULL;
}

PyDoc_STRVAR(stop_doc,
"stop(number)\n--\n\n"
"Ends the capture of this number and writes all of it. Returns (events, threads, bytes, lost, overhead, muted): the\n"
"numbers of records and of threads, the size of the capture, the number of events that could not be kept, the cost of\n"
"the recording in percent of the CPU time (None without a budget), and the number of functions that were muted. Raises\n"
"OSError when the capture could not be written to the end; what was recorded is kept. In a forked child it ends the\n"
"child's own part, and returns zeros if nothing was recorded there.");

static PyObject *py_stop(PyObject *self, PyObject *object)
{
    struct rec_totals totals;
    int number = (int)PyLong_AsLong(object);
    (void)self;
    if (PyErr_Occurred())
        return NULL;
    if (!rec_recording_is_on() && rec_recording_is_own() && !rec_recording_was_stopped_early(number)) {
        PyErr_SetString(PyExc_RuntimeError, "panopticon: this process is not being recorded");
        return NULL;
    }
    rec_recording_stop(number, &totals);
    if (totals.failure.code != PNR_OK)
        return rec_recording_raise(&totals.failure);
    PyObject *overhead = totals.cost.cpu_ns ? PyFloat_FromDouble(rec_cost_percent(&totals.cost)) : Py_NewRef(Py_None);
    return Py_BuildValue("KIKKNK", (unsigned long long)totals.n_events, (unsigned)totals.n_threads,
                         (unsigned long long)totals.n_bytes, (unsigned long long)totals.n_lost, overhead,
                         (unsigned long long)totals.cost.n_muted);
}

PyDoc_STRVAR(pause_doc,
"pause()\n--\n\n"
"Stops recording events until resume(); meanwhile calls cost nothing. Raises RuntimeError when nothing is being\n"
"recorded.");

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
"Saves what this process has recorded up to now and still keeps as a capture of its own, while recording goes on.\n"
"path: str or path-like; when something is there, run-2.pnr, ... for run.pnr. Returns the absolute path that was\n"
"taken. Raises OSError when it cannot be written, RuntimeError when nothing is being recorded.");

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

/* The capture as the user would name it: relative, where it lies in the current directory. */
static const char *relative_path(void)
{
    char folder[PATH_MAX];
    size_t size = getcwd(folder, sizeof folder) ? strlen(folder) : 0;
    bool is_below = size && strncmp(rec_recording_path(), folder, size) == 0 && rec_recording_path()[size] == '/';
    return rec_recording_path() + (is_below ? size + 1 : 0);
}

static const char *describe_size(uint64_t n_bytes, char *text, size_t size)
{
    if (n_bytes < 10000)
        snprintf(text, size, "%" PRIu64 " bytes", n_bytes);
    else if (n_bytes < 1000000)
        snprintf(text, size, "%" PRIu64 " kB", n_bytes / 1000);
    else
        snprintf(text, size, "%.1f MB", (double)n_bytes / 1e6);
    return text;
}

/* "1,940 events, 9 threads of 3 processes". */
static const char *describe_contents(const struct rec_survey *survey, char *text, size_t size)
{
    int at = snprintf(text, size, "%" PRIu64 " events, %u thread%s", survey->n_events, survey->n_threads,
                      survey->n_threads == 1 ? "" : "s");
    if (survey->n_processes > 1)
        snprintf(text + at, size - (size_t)at, " of %u processes", survey->n_processes);
    return text;
}

/* Which processes have more events than were counted. Empty when none has. */
static const char *describe_incomplete(const struct rec_survey *survey, char *text, size_t size)
{
    int at = 0;
    text[0] = 0;
    if (survey->n_running)
        at = snprintf(text, size, "; %u process%s still recording", survey->n_running,
                      survey->n_running == 1 ? " is" : "es are");
    if (survey->n_killed)
        at += snprintf(text + at, size - (size_t)at, "; %u did not reach %s end", survey->n_killed,
                       survey->n_killed == 1 ? "its" : "their");
    if (at)
        snprintf(text + at, size - (size_t)at, ", counted as far as written");
    return text;
}

/* Totals over all processes of the capture, or of this one where it cannot be looked at. A process in which
 * something failed has not written its own. */
static void survey_capture(const struct rec_totals *totals, struct rec_survey *survey)
{
    rec_survey_take(rec_recording_path(), survey);
    if (survey->n_processes && totals->failure.code == PNR_OK)
        return;
    if (survey->n_processes == 0)
        *survey = (struct rec_survey){ .n_processes = 1, .n_threads = totals->n_threads, .n_bytes = totals->n_bytes };
    survey->n_killed -= survey->n_killed > 0;
    survey->n_events += totals->n_events;
    if (survey->n_lost < totals->n_lost)
        survey->n_lost = totals->n_lost;
}

/* The path as one word of a shell: in quotes if it has a character with a meaning there. The path itself where there is
 * no room in text. */
static const char *quote_for_shell(const char *path, char *text, size_t size)
{
    size_t at = 0;
    if (!strpbrk(path, " \t\n\"'\\`$&|;<>()[]{}*?!#~^"))
        return path;
    text[at++] = '\'';
    for (const char *c = path; *c; c++) {
        const char *part = *c == '\'' ? "'\\''" : (const char[]){ *c, 0 };
        if (at + strlen(part) + 2 > size)
            return path;
        at = (size_t)(stpcpy(text + at, part) - text);
    }
    strcpy(text + at, "'");
    return text;
}

/* Prints the command that the user runs next. */
static void suggest(const char *path)
{
    char word[PATH_MAX];
    if (module.next_step && *module.next_step)
        rec_print("%s %s", module.next_step, quote_for_shell(path, word, sizeof word));
}

static void report_end(const struct rec_totals *totals, const struct rec_survey *survey)
{
    const char *path = relative_path();
    char contents[128], size[32], cost[256], rest[128], word[PATH_MAX];
    rec_warn("%s: %s, %s, %" PRIu64 " lost%s%s%s%s%s", path,
               describe_contents(survey, contents, sizeof contents), describe_size(survey->n_bytes, size, sizeof size),
               survey->n_lost, totals->failure.code == PNR_OK ? "" : " and all that came after the failure",
               rec_cost_describe(&survey->cost, cost, sizeof cost),
               describe_incomplete(survey, rest, sizeof rest), module.next_step ? "" : "; panopticon-convert ",
               module.next_step ? "" : quote_for_shell(path, word, sizeof word));
    suggest(path);
}

/* Makes what was asked for of the capture, and removes that. */
static void make_output(const struct rec_survey *survey, const sigset_t *mask)
{
    char contents[128], cost[256], rest[128];
    int status = module.converter ? rec_conversion_run(module.converter, module.output, rec_recording_path(), mask) : 2;
    if (status != 0) {
        rec_warn("%s %s; the capture is %s", module.output, status == 1 ? "is not complete" : "could not be made",
                   rec_recording_path());
        return;
    }
    if (survey->n_running || rec_survey_runs(rec_recording_path())) {
        rec_warn("%s has what was recorded up to now; other processes go on: the capture is %s", module.output,
                   rec_recording_path());
        return;
    }
    rec_tree_remove(rec_recording_path());
    if (!module.reports_end)
        return;
    rec_warn("%s: %s, %" PRIu64 " lost%s%s", module.output, describe_contents(survey, contents, sizeof contents),
               survey->n_lost, rec_cost_describe(&survey->cost, cost, sizeof cost),
               describe_incomplete(survey, rest, sizeof rest));
    suggest(module.output);
}

/* The process ends: so does its recording, and what was asked for is done. */
static void end_with_report(bool is_finalized)
{
    struct rec_totals totals;
    struct rec_survey found;
    sigset_t before;
    if (!rec_recording_is_on() && !(is_finalized && rec_state_is(REC_STOPPING)) && !rec_recording_was_stopped_early(0))
        return;
    bool is_command = module.is_command && rec_recording_is_own();
    bool has_duty = is_command && (module.reports_end || module.output);
    hold_signals(&before);
    if (is_command)
        rec_conversion_catch();
    bool is_there = !has_duty || rec_recording_locate();
    rec_recording_end(is_finalized, &totals);
    if (!has_duty)
        return;
    /* After an exec this process also has the duties of the program that began the capture. */
    rec_session_finish_others();
    rec_diagnostics_redirect(NULL);
    rec_diagnostics_pass_on(rec_recording_path());
    if (!is_there) {
        rec_warn("%s is not to be found any more: moved or removed while the program ran%s%s", relative_path(),
                   module.output ? "; not made: " : "", module.output ? module.output : "");
        return;
    }
    survey_capture(&totals, &found);
    if (module.output)
        make_output(&found, &before);
    else
        report_end(&totals, &found);
}

/* Py_AtExit runs this when the interpreter is gone: after all of the program's own atexit functions, finalizers
 * and threads. In a forked child it ends the child's own. */
static void end_with_process(void)
{
    rec_lock_forget();
    end_with_report(true);
    rec_engine_forget();
    module.is_ready = false;
}

/* In place of os._exit, which ends the process at once. Children that are forked end so as a rule. Another interpreter,
 * which may have a GIL of its own, touches nothing: what was recorded is in the live mapping. */
static PyObject *exit_at_once(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    bool is_ok = n == 1 && !names && PyLong_Check(args[0]);
    if (is_ok && PyInterpreterState_Get() == PyInterpreterState_Main())
        end_with_report(false);
    return module.os_exit(self, args, n, names);
}

/* The method's definition is changed, not the function, so that the program finds what it always finds. */
static void watch_exit(void)
{
    PyObject *posix = PyImport_ImportModule("posix");                           /* owned */
    PyObject *function = posix ? PyObject_GetAttrString(posix, "_exit") : NULL; /* owned */
    if (function && PyCFunction_CheckExact(function)) {
        PyMethodDef *method = ((PyCFunctionObject *)function)->m_ml;
        if (method->ml_flags == (METH_FASTCALL | METH_KEYWORDS)) {
            module.os_exit = (_PyCFunctionFastWithKeywords)(void (*)(void))method->ml_meth;
            method->ml_meth = (PyCFunction)(void (*)(void))exit_at_once;
        }
    }
    Py_XDECREF(function);
    Py_XDECREF(posix);
    PyErr_Clear();
}

/* ---- running a program ---- */

/* Copies a path. Returns false with an exception set. */
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

enum run_kind { RUN_FILE, RUN_MODULE, RUN_COMMAND, RUN_STDIN };

struct program {
    int kind;
    PyObject *target;                   /* borrowed: file name, module or command */
    const char *path;                   /* of the capture */
    int joins;
    PyObject *properties, *options, *on_path;        /* borrowed */
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

/* One of sys.flags. */
static bool has_flag(const char *name)
{
    PyObject *flags = PySys_GetObject("flags");         /* borrowed */
    PyObject *flag = flags ? PyObject_GetAttrString(flags, name) : NULL;        /* owned */
    bool is = flag && PyObject_IsTrue(flag) > 0;
    Py_XDECREF(flag);
    PyErr_Clear();
    return is;
}

/* With -i, or PYTHONINSPECT, which the program may have set, the interpreter's main goes on to the prompt if there is
 * someone to ask (Modules/main.c, pymain_repl): then run() returns 0, as no SystemExit of ours may come between. Where
 * nobody is there, SystemExit would not end the process either. */
static int choose_status(int status)
{
    bool inspects = has_flag("inspect");
    const char *inspect = has_flag("ignore_environment") ? NULL : getenv("PYTHONINSPECT");
    bool will_ask = inspects || (inspect && *inspect);
    if (will_ask && (has_flag("interactive") || isatty(STDIN_FILENO)))
        return 0;
    if (inspects && status)
        Py_Exit(status);
    return status;
}

static int start_program(struct program *p)
{
    struct pnr_err err;
    if (!p->joins && rec_destination_clear(&module.destination, &err) != 0) {
        rec_destination_settle(&module.destination, false);
        rec_recording_raise(&err);
        return -1;
    }
    char taken[PATH_MAX];
    int number = rec_recording_start(p->path, p->joins, p->properties, p->options, p->on_path, taken);
    rec_destination_settle(&module.destination, number > 0);
    return number > 0 ? 0 : -1;
}

static int run_program(void *arg)
{
    struct program *p = arg;
    bool runs_archive = p->kind == RUN_FILE && is_archive(p->target);
    if (!rec_recording_is_on() && start_program(p) != 0)
        return -1;
    p->has_started = true;
    int status = run_target(p, runs_archive);
    if (status == 1)
        rec_recording_report_exception();
    return choose_status(status);
}

PyDoc_STRVAR(run_doc,
"run(kind, target, path, joins, properties, options, on_path)\n--\n\n"
"Starts recording into path, as start() does, or where choose_destination() chose, and runs a program as the\n"
"interpreter's own main does (Modules/main.c). kind: 0: the script, folder or zip file target; 1: the module;\n"
"2: the command; 3: standard input. No frame of the caller is visible to it. Returns the exit status, which is 0 when\n"
"the interpreter goes on to its prompt; SystemExit ends the process. Recording goes on until the process ends.\n"
"A process that is being recorded already just runs the program.");

static PyObject *py_run(PyObject *self, PyObject *args)
{
    struct program p = { 0 };
    PyObject *path;                     /* owned */
    (void)self;
    if (!PyArg_ParseTuple(args, "iUO&pO!O!O:run", &p.kind, &p.target, PyUnicode_FSConverter, &path, &p.joins,
                          &PyDict_Type, &p.properties, &PyDict_Type, &p.options, &p.on_path))
        return NULL;
    p.path = PyBytes_AS_STRING(path);
    /* Frames of a recording that goes on cannot be taken out of its sight. */
    int status = rec_recording_is_on() ? run_program(&p) : rec_engine_run_detached(run_program, &p);
    Py_DECREF(path);
    return p.has_started ? PyLong_FromLong(status) : NULL;
}

PyDoc_STRVAR(choose_destination_doc,
"choose_destination(path, output, replaces)\n--\n\n"
"Chooses where the next run() records: at path; if it replaces, one capture that is there goes when the new one has\n"
"begun. Or, with an output (a path, else None), next to that; output is then what no other recording that runs has\n"
"promised: out-2.trace, ... for out.trace. Returns (path, output). Raises ValueError for what cannot be replaced.");

static PyObject *py_choose_destination(PyObject *self, PyObject *args)
{
    PyObject *path, *object;            /* owned; borrowed */
    char *output = NULL, taken[PATH_MAX], text[512];
    struct pnr_err err;
    int replaces;
    (void)self;
    if (!PyArg_ParseTuple(args, "O&Op:choose_destination", PyUnicode_FSConverter, &path, &object, &replaces))
        return NULL;
    int code = keep_path(object, &output) ? 0 : -1;
    if (code == 0)
        code = output ? rec_destination_choose_output(&module.destination, output, taken, &err) :
                        rec_destination_choose_capture(&module.destination, PyBytes_AS_STRING(path), replaces, &err);
    if (code != 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, pnr_err_describe(&err, text, sizeof text));
    Py_DECREF(path);
    if (code != 0 || !output) {
        free(output);
        return code == 0 ? Py_BuildValue("NO", PyUnicode_DecodeFSDefault(module.destination.capture), Py_None) : NULL;
    }
    free(output);
    return Py_BuildValue("NN", PyUnicode_DecodeFSDefault(module.destination.capture), PyUnicode_DecodeFSDefault(taken));
}

PyDoc_STRVAR(at_exit_doc,
"at_exit(reports, converter, output, next_step)\n--\n\n"
"What a recording that ends with the process does then: with an output (a path, else None) it runs the converter on\n"
"the capture and removes it; if it reports, it prints what was recorded in one line on standard error. next_step: None\n"
"for a line that ends with the call of the converter; else a command (str), which stands with the path in a line of\n"
"its own, and empty text for no such line.");

static PyObject *py_at_exit(PyObject *self, PyObject *args)
{
    PyObject *converter, *output, *next_step;        /* borrowed */
    int reports;
    (void)self;
    if (!PyArg_ParseTuple(args, "pOOO:at_exit", &reports, &converter, &output, &next_step))
        return NULL;
    module.is_command = true;
    module.reports_end = reports;
    if (!keep_path(converter, &module.converter) || !keep_path(output, &module.output) ||
        !keep_path(next_step, &module.next_step))
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(state_doc,
"state()\n--\n\n"
"The recorder's state, such as \"off\", \"on\" or \"paused\": see specs/recorder-states.md.");

static PyObject *py_state(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    return PyUnicode_FromString(rec_recording_state());
}

PyDoc_STRVAR(identify_doc,
"identify()\n--\n\n"
"Which process this is: text that no other has, and that stays when it runs another program (exec).");

static PyObject *py_identify(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    return PyUnicode_FromFormat("%ld-%llu-%llu", (long)getpid(), (unsigned long long)pnr_process_start(),
                                (unsigned long long)pnr_process_namespace());
}

PyDoc_STRVAR(remove_doc, "remove(path)\n--\n\nRemoves a directory with all that is in it, as far as it can.");

static PyObject *py_remove(PyObject *self, PyObject *object)
{
    PyObject *path;                     /* owned */
    (void)self;
    if (!PyUnicode_FSConverter(object, &path))
        return NULL;
    rec_tree_remove(PyBytes_AS_STRING(path));
    Py_DECREF(path);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(raise_after_doc,
"raise_after(script, error)\n--\n\n"
"Raises the exception in the main thread when the frame `script` of it has ended, as the handler of a signal would.\n"
"Returns False, and does not, when the interpreter has too many calls pending.");

/* Called by the interpreter between two instructions. kept: owned, the tuple (script, error). */
static int raise_kept(void *kept)
{
    PyObject *script = PyTuple_GET_ITEM((PyObject *)kept, 0), *error = PyTuple_GET_ITEM((PyObject *)kept, 1);
    PyFrameObject *frame = (PyFrameObject *)Py_XNewRef((PyObject *)PyEval_GetFrame());      /* owned */
    while (frame && (PyObject *)frame != script) {
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    if (frame && Py_AddPendingCall(raise_kept, kept) == 0)
        return 0;
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(kept);
    return -1;
}

static PyObject *py_raise_after(PyObject *self, PyObject *args)
{
    PyObject *script, *error;           /* borrowed */
    (void)self;
    if (!PyArg_ParseTuple(args, "O!O:raise_after", &PyFrame_Type, &script, &error))
        return NULL;
    if (Py_AddPendingCall(raise_kept, Py_NewRef(args)) == 0)
        Py_RETURN_TRUE;
    Py_DECREF(args);
    Py_RETURN_FALSE;
}

PyDoc_STRVAR(set_self_test_doc,
"set_self_test(functions)\n--\n\n"
"Keeps the functions that the self-test of the frame engine runs, a tuple: run, generate, recurse, call_back.");

static PyObject *py_set_self_test(PyObject *self, PyObject *functions)
{
    (void)self;
    rec_self_test_keep(functions);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(instant_doc,
"mark(name, /, **values)\n--\n\n"
"Puts an instant on the timeline of this thread. name: str; values: numbers, bool, None and short text; of anything\n"
"else the name of its type is shown. Any thread may call it, at any time. Does nothing where nothing is recorded.");

PyDoc_STRVAR(counter_doc,
"counter(name, /, **values)\n--\n\n"
"Reports numbers that change with time, such as counter(\"queue\", depth=12). Each becomes a curve of the process.");

PyDoc_STRVAR(flow_doc,
"flow(id, /)\n--\n\n"
"Joins the slices in which it is called with the same id (int or str) by arrows, in the order of time. A slice is a\n"
"call or a span.");
PyDoc_STRVAR(make_watch_doc,
"make_watch(parse_duration, find_id)\n--\n\n"
"Returns the class panopticon_rec.watch. parse_duration: returns nanoseconds. find_id: returns the id of what this\n"
"thread works on, str or None.");

static PyObject *py_make_watch(PyObject *self, PyObject *args)
{
    PyObject *parse_duration, *find_id;         /* borrowed */
    (void)self;
    return PyArg_ParseTuple(args, "OO:make_watch", &parse_duration, &find_id) ?
           rec_watch_make_type(parse_duration, find_id) : NULL;
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
    { "choose_destination", py_choose_destination, METH_VARARGS, choose_destination_doc },
    { "state", py_state, METH_NOARGS, state_doc },
    { "identify", py_identify, METH_NOARGS, identify_doc },
    { "remove", py_remove, METH_O, remove_doc },
    { "mark", (PyCFunction)(void (*)(void))rec_remarks_instant, METH_FASTCALL | METH_KEYWORDS, instant_doc },
    { "counter", (PyCFunction)(void (*)(void))rec_remarks_counter, METH_FASTCALL | METH_KEYWORDS, counter_doc },
    { "flow", rec_remarks_flow, METH_O, flow_doc },
    { "raise_after", py_raise_after, METH_VARARGS, raise_after_doc },
    { "set_self_test", py_set_self_test, METH_O, set_self_test_doc },
    { "make_watch", py_make_watch, METH_VARARGS, make_watch_doc },
    { 0 }
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "panopticon_rec._recorder", .m_size = -1, .m_methods = methods,
    .m_doc = "The recorder's C side. panopticon_rec is its interface."
};

/* The package's folder, with a slash at its end: the functions of these files are not recorded. */
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
        rec_debug_init();
        if (rec_recording_init() != 0)
            return NULL;
        watch_exit();
        rec_setuid_watch();
    }
    if (!module.is_ready) {
        if (rec_engine_init(module.own) != 0 || rec_recording_watch_forks() != 0)
            return NULL;
        if (Py_AtExit(end_with_process) != 0) {
            PyErr_SetString(PyExc_RuntimeError, "panopticon: too many functions are registered to be called at exit");
            return NULL;
        }
        module.is_ready = true;
    }
    PyObject *created = PyModule_Create(&definition);
#ifdef Py_GIL_DISABLED
    if (created && PyUnstable_Module_SetGIL(created, Py_MOD_GIL_NOT_USED) != 0)
        Py_CLEAR(created);
#endif
    if (created && rec_remarks_add_type(created) != 0)
        Py_CLEAR(created);
    return created;
}
