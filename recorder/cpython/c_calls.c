#include "greenlets.h"
#include "codes.h"
#include "tool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "c_calls.h"

#define NEEDS_LOCK UINT32_MAX           /* no index: the function is not known, and this thread does not have the lock */

/* Functions found without making their names; a power of two. Without a GIL each thread has a table of its own. */
#ifdef Py_GIL_DISABLED
#define KNOWN 512
#else
#define KNOWN 4096
#endif

/* A function whose index is known. The same method definition belongs to several functions: one for each class of self.
 * A class is recognized by its version tag, which no other class ever has (Objects/typeobject.c, assign_version_tag).
 */
struct c_function {
    const PyMethodDef *method;
    const char *name;                   /* the definition's, which may be freed and another be in its place */
    uint32_t version;                   /* of the class of self, 0 for a function of a module */
    uint32_t session;
    uint32_t index;                     /* in the name table; 0: not recorded */
};

/* A name that is in the name table, so that two classes of the same name share an entry. Open addressing. */
struct named {
    uint64_t hash;
    uint32_t index;
};

static struct {
    bool is_on;
    bool is_profiling;                  /* on 3.11: threads have our profile function */
    uint32_t displaced_recording;         /* the last one in which a thread had another tool's profile function */
    struct named *named;                /* owned */
    size_t n_named, capacity;           /* a power of two, or 0 */
    PyObject *module_key, *name_key, *capsule_key;          /* interned */
} c_calls;

/* ---- functions that are known ---- */

#ifdef Py_GIL_DISABLED

static _Thread_local struct c_function *known_functions;        /* owned by the key; NULL: there are none yet */
static pthread_key_t known_key;
static bool has_known_key;

/* Code of the program may still run in the thread after this. */
static void free_known(void *table)
{
    free(table);
    known_functions = NULL;
}

/* Returns 0, or -1 with an exception set. */
static int prepare_known(void)
{
    if (!has_known_key && pthread_key_create(&known_key, free_known) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    has_known_key = true;
    return 0;
}

/* Returns the thread's table, or NULL when out of memory. It is freed when the thread ends. */
static inline struct c_function *find_known_table(void)
{
    if (unlikely(!known_functions)) {
        known_functions = calloc(KNOWN, sizeof *known_functions);
        if (known_functions && pthread_setspecific(known_key, known_functions) != 0) {
            free(known_functions);
            known_functions = NULL;
        }
    }
    return known_functions;
}

#else

static struct c_function known_functions[KNOWN];

static int prepare_known(void) { return 0; }
static inline struct c_function *find_known_table(void) { return known_functions; }

#endif

/* ---- names ---- */

/* Appends the UTF-8 of a str. Returns false when the object is not a str. */
static bool append_text(char *text, size_t size, PyObject *object)
{
    PyObject *owned;
    if (!object || !PyUnicode_Check(object))
        return false;
    struct pnr_string s = rec_functions_text(object, &owned);
    size_t at = strlen(text), n = s.size < size - at - 1 ? s.size : size - at - 1;
    memcpy(text + at, s.bytes, n);
    text[at + n] = 0;
    Py_XDECREF(owned);
    return true;
}

/* Writes the module and the qualified name of a class; those in builtins have no module. Runs no Python code: the dict
 * of a class has its module. */
static void name_class(PyTypeObject *class, char *module, size_t module_size, char *name, size_t name_size)
{
    const char *dot = strrchr(class->tp_name, '.');
    if (class->tp_flags & Py_TPFLAGS_HEAPTYPE) {
        PyObject *dict = class->tp_dict;        /* borrowed */
        PyObject *from = dict ? cpython_lookup(dict, c_calls.module_key) : NULL;     /* owned */
        append_text(module, module_size, from);
        Py_XDECREF(from);
        append_text(name, name_size, ((PyHeapTypeObject *)class)->ht_qualname);
    } else if (dot) {
        snprintf(module, module_size, "%.*s", (int)(dot - class->tp_name), class->tp_name);
        snprintf(name, name_size, "%s", dot + 1);
    } else {
        snprintf(name, name_size, "%s", class->tp_name);
    }
    if (strcmp(module, "builtins") == 0)
        module[0] = 0;
}

/* Returns the class by which a method is named, as in its __qualname__ (Objects/methodobject.c). */
static inline PyTypeObject *class_of(PyObject *self)
{
    return PyType_Check(self) ? (PyTypeObject *)self : Py_TYPE(self);
}

static uint64_t hash_name(const char *module, const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);       /* FNV-1a */
    for (const char *s = module; *s; s++)
        hash = (hash ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
    hash = (hash ^ 0xff) * UINT64_C(0x100000001b3);     /* in no UTF-8 */
    for (const char *s = name; *s; s++)
        hash = (hash ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
    return hash;
}

static struct named *find_named(struct named *named, size_t capacity, uint64_t hash)
{
    size_t at = hash & (capacity - 1);
    while (named[at].index && named[at].hash != hash)
        at = (at + 1) & (capacity - 1);
    return &named[at];
}

static bool grow_names(void)
{
    size_t capacity = c_calls.capacity ? 2 * c_calls.capacity : 1024;
    struct named *named = calloc(capacity, sizeof *named);
    if (!named)
        return false;
    for (size_t i = 0; i < c_calls.capacity; i++)
        if (c_calls.named[i].index)
            *find_named(named, capacity, c_calls.named[i].hash) = c_calls.named[i];
    free(c_calls.named);
    c_calls.named = named;
    c_calls.capacity = capacity;
    return true;
}

static uint32_t index_of_name(const char *module, const char *name)
{
    if (2 * c_calls.n_named >= c_calls.capacity && !grow_names())
        return 0;
    uint64_t hash = hash_name(module, name);
    struct named *slot = find_named(c_calls.named, c_calls.capacity, hash);
    if (!slot->index) {
        const struct pnr_string strings[3] = { { module, (uint32_t)strlen(module) },
                                               { name, (uint32_t)strlen(name) }, { "", 0 } };
        uint32_t index = rec_name_table_add_function(PNR_FUNCTION_C, 0, strings);
        if (!index)
            return 0;
        *slot = (struct named){ hash, index };
        c_calls.n_named++;
    }
    return slot->index;
}

/* Returns true for a method, whose name begins with the class of self. A function that has a __module__ belongs to that
 * module, whatever its self is: pybind11 gives its functions an object of its own. A static method does not, although
 * it has a __module__ from CPython 3.15 on (Objects/typeobject.c, type_add_method). */
static bool is_named_by_class(const PyMethodDef *method, const PyObject *self, const PyObject *from)
{
    bool is_static = self && (method->ml_flags & METH_STATIC) && PyType_Check(self);
    return is_static || (self && !PyModule_Check(self) && !(from && PyUnicode_Check(from)));
}

/* Names a function, and returns its index; 0 when its calls are not recorded. self: a module, an instance or a class;
 * from: the function's __module__. Borrowed, or NULL. */
static uint32_t make_index(const PyMethodDef *method, PyObject *self, PyObject *from)
{
    PyObject *type, *value, *traceback;
    char module[256] = "", name[512] = "";
    PyErr_Fetch(&type, &value, &traceback);
    if (!is_named_by_class(method, self, from)) {
        PyObject *own = !append_text(module, sizeof module, from) && self ?
            cpython_lookup(PyModule_GetDict(self), c_calls.name_key) : NULL;   /* owned */
        append_text(module, sizeof module, own);
        Py_XDECREF(own);
    } else {
        name_class(class_of(self), module, sizeof module, name, sizeof name - 2);
        strcat(name, ".");
    }
    size_t at = strlen(name);
    snprintf(name + at, sizeof name - at, "%s", method->ml_name);
    const struct pnr_string strings[3] = { { module, (uint32_t)strlen(module) },
                                           { name, (uint32_t)strlen(name) }, { "", 0 } };
    bool is_left_out = strcmp(module, "panopticon_rec._recorder") == 0 ||
                       pnr_filter_judge(&rec_functions.filter, strings, false) == PNR_FILTER_EXCLUDED;
    uint32_t index = is_left_out ? 0 : index_of_name(module, name);
    PyErr_Restore(type, value, traceback);
    return index;
}

/* Returns the function's index in the name table; 0 when its calls are not recorded; or NEEDS_LOCK. self: borrowed, or NULL. */
static uint32_t index_of(const PyMethodDef *method, PyObject *self, PyObject *from)
{
    uint32_t version = 0;
    bool is_by_class = is_named_by_class(method, self, from);
    if (is_by_class)
        version = class_of(self)->tp_version_tag;
    struct c_function *table = find_known_table();
    struct c_function *known = table + ((uintptr_t)method / 16 ^ version * 0x9e3779b1u) % KNOWN;
    if (likely(table != NULL) && likely(known->method == method) && likely(known->version == version) &&
        likely(known->name == method->ml_name) && likely(known->session == rec_functions.session))
        return known->index;
    if (unlikely(!rec_lock_is_taken()))
        return NEEDS_LOCK;
    uint32_t index = make_index(method, self, from);
    if (table && (!is_by_class || version))
        *known = (struct c_function){ method, method->ml_name, version, rec_functions.session, index };
    return index;
}

/* Returns the index of what is called, as index_of does: a built-in function, or a method of a built-in type, whose first
 * argument is given. Returns 0 for anything else. */
static inline uint32_t index_of_callable(PyObject *callable, PyObject *first)
{
    if (PyCFunction_Check(callable)) {
        const PyCFunctionObject *f = (PyCFunctionObject *)callable;
        return index_of(f->m_ml, f->m_self, f->m_module);
    }
    if (Py_IS_TYPE(callable, &PyMethodDescr_Type) && first)
        return index_of(((PyMethodDescrObject *)callable)->d_method, first, NULL);
    return 0;
}

/* ---- records ---- */

/* Counts a call or its end. Returns whether it is to be recorded. A call in an unrecorded region is not, nor is its
 * end, wherever that is; nor is the end of a call that was made before recording began. */
static inline bool count_call(struct rec_stack *stack, enum pnr_kind kind)
{
    if (kind == PNR_C_CALL) {
        stack->c_depth++;
        if (likely(!rec_state_is(REC_UNHOOKED)))
            return true;
        if (stack->c_unrecorded_end <= stack->c_unrecorded_begin)
            stack->c_unrecorded_begin = stack->c_depth - 1;
        stack->c_unrecorded_end = stack->c_depth;
        return false;
    }
    if (stack->c_depth == 0)
        return false;
    uint32_t n = stack->c_depth--;
    if (likely(n > stack->c_unrecorded_end))
        return true;
    stack->c_unrecorded_end = n - 1;
    return n <= stack->c_unrecorded_begin;
}

static void append_call(PyThreadState *ts, enum pnr_kind kind, uint32_t index)
{
    uint32_t session = rec_functions.session;
    if (unlikely(rec_state_is(REC_UNHOOKED))) {
        if (rec_greenlets.are_used)
            return;                     /* it is not known which greenlet runs */
    } else if ((kind == PNR_C_CALL || rec_greenlets.are_used) && rec_threads.before_c_call) {
        rec_threads.before_c_call(ts);
        if (unlikely(session != rec_functions.session))
            return;                     /* a forked child has joined, or the filter has changed: the index is another one */
    }
    struct rec_thread *thread = rec_current;
    if (unlikely(thread->owner != ts)) {
        thread = ts->interp == rec_threads.interp ? rec_threads_find(ts) : NULL;
        if (!thread)
            return;                     /* a thread is recorded from its first Python function on */
        rec_worker_unpark();
    }
    if (!count_call(&thread->stack, kind))
        return;
    if (kind == PNR_C_CALL || !rec_min_duration_ticks ||
        !rec_buffer_elide(&thread->buffer, rec_clock_ticks() - thread->buffer.base, kind, 0, index))
        rec_threads_append(ts, thread, kind, (struct rec_open_frame){ 0, index }, kind == PNR_C_CALL ? rec_no_frame :
                           (struct rec_open_frame){ PNR_OPEN_C_CALL, index });
}

/* Ends calls that still come although nothing is recorded: after a failure, which came in the midst of an event. */
static __attribute__((noinline, cold)) void end_late(void)
{
    if (!cpython_is_finalizing() && !rec_state_is(REC_WAITING | REC_STARTING))
        rec_c_calls_leave(REC_LEAVE_OFF);
}

#if PY_VERSION_HEX >= 0x030C0000

#if PY_VERSION_HEX < 0x030E0000

/* Returns the index of the C function in a bound method (types.MethodType). CALL has the method, C_RETURN and C_RAISE
 * have the function in it. CALL_FUNCTION_EX calls the method as it is: then no C_RETURN or C_RAISE follows. */
static __attribute__((noinline)) uint32_t index_of_method(PyObject *method, PyObject *code, PyObject *offset)
{
    PyObject *function = PyMethod_GET_FUNCTION(method), *self = PyMethod_GET_SELF(method);      /* borrowed */
    uint32_t index = index_of_callable(function, self);
    PyObject *bytes = index ? PyCode_GetCode((PyCodeObject *)code) : NULL;
    if (!bytes) {
        PyErr_Clear();
        return 0;
    }
    if ((unsigned char)PyBytes_AS_STRING(bytes)[PyLong_AsLong(offset)] == CALL_FUNCTION_EX)
        index = 0;
    Py_DECREF(bytes);
    return index;
}

#else

static uint32_t index_of_method(PyObject *method, PyObject *code, PyObject *offset)
{
    (void)method, (void)code, (void)offset;
    return 0;                           /* CALL has the function itself */
}

#endif

#define SOON_TICKS (UINT64_C(1) << 32)  /* a second or more: by then what is appended now has been */

/* True where a record of the present can be appended by this thread alone. */
static bool has_space(const PyThreadState *ts)
{
    const struct rec_thread *thread = rec_current;
    uint64_t ticks = rec_clock_ticks() - thread->buffer.base;
    return thread->owner == ts && !rec_greenlets.are_used && rec_buffer_has_capacity(&thread->buffer, ticks + SOON_TICKS);
}

/* Returns false where it takes the recording lock, and this thread does not have it. */
static inline bool append_c_event(PyObject *const *args, enum pnr_kind kind)
{
    uint32_t index;
    if (unlikely(!rec_state_is(REC_RECORDING))) {
        if (rec_lock_is_taken())
            end_late();
        return rec_lock_is_taken();
    }
    if (kind == PNR_C_CALL && unlikely(Py_IS_TYPE(args[2], &PyMethod_Type)))
        index = index_of_method(args[2], args[0], args[1]);
    else
        index = index_of_callable(args[2], args[3]);
    PyThreadState *ts = PyThreadState_Get();
    if (unlikely(index == NEEDS_LOCK) || (index && !rec_lock_is_taken() && !has_space(ts)))
        return false;
    if (index)
        append_call(ts, kind, index);
    return true;
}

/* args: code, offset, callable, first argument or sys.monitoring.MISSING, which no method of a type takes as self. */
static inline PyObject *on_c_event(PyObject *const *args, enum pnr_kind kind)
{
    if (likely(append_c_event(args, kind)))
        return rec_tool_nothing();
    REC_LOCK_BLOCK();
    if (rec_current->buffer.chunk < 0)  /* events may have been missed: the next one of a frame finds out */
        rec_threads_forget_current();
    append_c_event(args, kind);
    return rec_tool_nothing();
}

/* As on_c_event where there is a boundary: C calls are recorded where a function that is recorded in full makes them.
 * Code that has not been judged yet gives events of its calls, too. */
static inline PyObject *on_c_event_of_full(PyObject *const *args, enum pnr_kind kind)
{
    uint64_t tag = likely(rec_state_is(REC_RECORDING)) ? rec_threads_tag_of_running((PyCodeObject *)args[0]) : 0;
    return rec_tag_is_full(tag) || !rec_state_is(REC_RECORDING) ? on_c_event(args, kind) : rec_tool_nothing();
}

#define CALLBACK(name, function, kind) \
    static PyObject *name(PyObject *self, PyObject *const *args, size_t n, PyObject *names) \
    { \
        (void)self, (void)n, (void)names; \
        return function(args, kind); \
    }

CALLBACK(on_call, on_c_event, PNR_C_CALL)
CALLBACK(on_return, on_c_event, PNR_C_RETURN)
CALLBACK(on_raise, on_c_event, PNR_C_RAISE)
CALLBACK(on_call_of_full, on_c_event_of_full, PNR_C_CALL)
CALLBACK(on_return_of_full, on_c_event_of_full, PNR_C_RETURN)
CALLBACK(on_raise_of_full, on_c_event_of_full, PNR_C_RAISE)

static int listen(const char *event, rec_tool_callback callback)
{
    return rec_tool_listen(REC_TOOL_RECORDS, event, callback, false);
}

static int watch_c_calls(void)
{
    bool has_boundary = rec_functions.filter.has_boundary;
    if (!rec_tool_has_begun() && rec_codes_begin() != 0)
        return -1;
    return listen("C_RETURN", has_boundary ? on_return_of_full : on_return) != 0 ||
           listen("C_RAISE", has_boundary ? on_raise_of_full : on_raise) != 0 ||
           listen("CALL", has_boundary ? on_call_of_full : on_call) != 0 || rec_codes_watch() != 0 ? -1 : 0;
}

static void watch_in_child(void) { rec_codes_rejoin(); }

static void watch_thread(PyThreadState *ts) { (void)ts; }

static void unwatch_c_calls(void)
{
    if (!rec_codes_end())
        rec_threads.missing = REC_TOOL_TAKEN;
}

static void look_at_tool(void)
{
    if (!rec_codes_look())
        rec_threads.missing = REC_TOOL_TAKEN;
}

static void pause_c_calls(void)
{
    if (!rec_codes_pause())
        rec_threads.missing = REC_TOOL_TAKEN;
}

static void resume_c_calls(void) { rec_codes_resume(); }

#else

static int on_profile(PyObject *object, PyFrameObject *frame, int what, PyObject *callable)
{
    (void)object, (void)frame;
    if (what != PyTrace_C_CALL && what != PyTrace_C_RETURN && what != PyTrace_C_EXCEPTION)
        return 0;
    if (unlikely(!rec_state_is(REC_RECORDING))) {
        end_late();
        return 0;
    }
    uint32_t index = callable ? index_of_callable(callable, NULL) : 0;
    if (index)
        append_call(PyThreadState_Get(), what == PyTrace_C_CALL ? PNR_C_CALL : what == PyTrace_C_RETURN ? PNR_C_RETURN :
               PNR_C_RAISE, index);
    return 0;
}

/* As on_profile where there is a boundary. */
static int on_profile_of_full(PyObject *object, PyFrameObject *frame, int what, PyObject *callable)
{
    bool is_c = what == PyTrace_C_CALL || what == PyTrace_C_RETURN || what == PyTrace_C_EXCEPTION;
    if (is_c && rec_state_is(REC_RECORDING) &&
        !rec_tag_is_full(rec_threads_tag_of_running(cpython_code(frame->f_frame))))
        return 0;
    return on_profile(object, frame, what, callable);
}

static bool is_our_profile(Py_tracefunc function)
{
    return function == on_profile || function == on_profile_of_full;
}

static void report_profile(bool is_displaced)
{
    if (is_displaced)
        c_calls.displaced_recording = rec_functions.recording;
}

/* Runs when the thread state is cleared. */
static void on_thread_end(PyObject *capsule)
{
    const PyThreadState *ts = PyCapsule_GetPointer(capsule, NULL);
    if ((uintptr_t)PyCapsule_GetContext(capsule) == rec_functions.recording && c_calls.is_profiling)
        report_profile(!is_our_profile(ts->c_profilefunc));
}

/* Has the profile function checked when the thread state is cleared. */
static void watch_thread_end(PyThreadState *ts)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *capsule = PyCapsule_New(ts, NULL, NULL);
    if (!capsule || !ts->dict || PyCapsule_SetContext(capsule, (void *)(uintptr_t)rec_functions.recording) != 0 ||
        PyDict_SetItem(ts->dict, c_calls.capsule_key, capsule) != 0 ||
        PyCapsule_SetDestructor(capsule, on_thread_end) != 0)
        PyErr_Clear();                  /* then it is checked at the stop only */
    Py_XDECREF(capsule);
    PyErr_Restore(type, value, traceback);
}

/* Sets our profile function. A thread that has another one keeps it. */
static void watch_thread(PyThreadState *ts)
{
    if (!c_calls.is_profiling)
        return;
    if (ts->c_profilefunc && !is_our_profile(ts->c_profilefunc)) {
        report_profile(true);
        return;
    }
    ts->c_profilefunc = rec_functions.filter.has_boundary ? on_profile_of_full : on_profile;
    ts->cframe->use_tracing = 255;      /* as _PyEval_SetProfile does; that is also an event for audit hooks */
    watch_thread_end(ts);
}

static int watch_c_calls(void)
{
    c_calls.is_profiling = true;
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts))
        watch_thread(ts);
    return 0;
}

/* Returns false for a thread that has not had an event yet, and for one that is being cleared. */
static bool was_thread_watched(const PyThreadState *ts)
{
    return ts->dict && PyDict_GetItem(ts->dict, c_calls.capsule_key);
}

static void unwatch_c_calls(void)
{
    if (!c_calls.is_profiling)
        return;                         /* what other tools did in the pause is their own affair */
    c_calls.is_profiling = false;
    for (PyThreadState *ts = PyInterpreterState_ThreadHead(rec_threads.interp); ts; ts = PyThreadState_Next(ts)) {
        if (!is_our_profile(ts->c_profilefunc)) {
            report_profile(ts->c_profilefunc || was_thread_watched(ts));
            continue;
        }
        ts->c_profilefunc = NULL;
        ts->cframe->use_tracing = ts->c_tracefunc ? 255 : 0;
    }
}

static void watch_in_child(void) { }
static void look_at_tool(void) { }              /* done at the ends of threads and at the stop */
static void pause_c_calls(void) { unwatch_c_calls(); }
static void resume_c_calls(void) { watch_c_calls(); }

#endif

/* ---- interface ---- */

static void forget_names(void)
{
    free(c_calls.named);
    c_calls.named = NULL;
    c_calls.n_named = c_calls.capacity = 0;
}

static bool intern_name(PyObject **name, const char *text)
{
    return *name || (*name = PyUnicode_InternFromString(text));
}

/* A recording, or a child's part of it, has functions of its own. */
static void begin_names(void)
{
    forget_names();
    c_calls.is_on = true;
    rec_threads.on_new = watch_thread;
}

int rec_c_calls_enter(enum rec_enter why)
{
    if (why == REC_ENTER_RESUME) {
        if (c_calls.is_on)
            resume_c_calls();
        return 0;
    }
    if (!intern_name(&c_calls.module_key, "__module__") || !intern_name(&c_calls.name_key, "__name__") ||
        !intern_name(&c_calls.capsule_key, "panopticon.c_calls") || prepare_known() != 0)
        return -1;
    begin_names();
    if (why == REC_ENTER_CHILD)
        watch_in_child();
    if (why == REC_ENTER_CHILD || watch_c_calls() == 0)
        return 0;
    rec_c_calls_leave(REC_LEAVE_OFF);
    return -1;
}

void rec_c_calls_leave(enum rec_leave why)
{
    if (!c_calls.is_on)
        return;
    if (why == REC_LEAVE_PAUSE) {
        pause_c_calls();
        return;
    }
    c_calls.is_on = false;
    rec_threads.on_new = NULL;
    if (why != REC_LEAVE_GONE)
        unwatch_c_calls();
    forget_names();
}

bool rec_c_calls_are_on(void) { return c_calls.is_on; }
bool rec_c_calls_were_displaced(void) { return c_calls.displaced_recording == rec_functions.recording; }

void rec_c_calls_look(void)
{
    if (c_calls.is_on)
        look_at_tool();
}
