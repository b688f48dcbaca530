#include "cpython.h"

#include "lock.h"

#ifdef Py_GIL_DISABLED

#include "../fork_memory.h"

static PyMutex lock;

/* Of this thread: how often it has taken the lock; and whether that is locked, as no other thread runs any more when the
 * interpreter ends. A thread that stopped then, wherever it was, may have the lock for ever. */
static _Thread_local struct {
    uint32_t n_taken;
    bool is_locked;
} mine __attribute__((tls_model("initial-exec")));

static void lock_mutex(void)
{
    if (rec_fork_memory_is_forked())    /* by a system call that runs no handlers */
        lock = (PyMutex){ 0 };
    mine.is_locked = !cpython_is_finalizing();
    if (mine.is_locked)
        PyMutex_Lock(&lock);
}

static void unlock_mutex(void)
{
    if (mine.is_locked)
        PyMutex_Unlock(&lock);
    mine.is_locked = false;
}

void rec_lock_take(void)
{
    if (!mine.n_taken)
        lock_mutex();
    mine.n_taken++;
}

void rec_lock_give(void)
{
    mine.n_taken--;
    if (!mine.n_taken)
        unlock_mutex();
}

bool rec_lock_is_taken(void) { return mine.n_taken; }

uint32_t rec_lock_suspend(void)
{
    uint32_t n_taken = mine.n_taken;
    mine.n_taken = 0;
    unlock_mutex();
    return n_taken;
}

void rec_lock_resume(uint32_t n_taken)
{
    if (n_taken)
        lock_mutex();
    mine.n_taken = n_taken;
}

/* ---- forks ---- */

/* Before it forks, the interpreter stops all other threads, of which one may have the lock: so a handler of
 * pthread_atfork(3), which comes after that, would wait for ever. */
static PyObject *take_for_fork(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    rec_lock_take();
    Py_RETURN_NONE;
}

static void (*after_fork)(void);

static PyObject *give_after_fork(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    after_fork();
    rec_lock_give();
    Py_RETURN_NONE;
}

/* Before a fork the interpreter calls first what was registered last, after it the other way round. At the beginning of the
 * lists our functions are next to the fork itself. So this thread does not have the lock while it waits for those of other
 * functions (logging, concurrent.futures): a thread that has one of them may wait for ours. A thread that forks meanwhile
 * finds the function once. Does nothing if it is not there, as register_at_fork was replaced. */
static void move_to_beginning(PyObject *list, PyObject *function)
{
    if (!list)
        return;
    Py_BEGIN_CRITICAL_SECTION(list);
    PyObject **items = ((PyListObject *)list)->ob_item;
    Py_ssize_t i = PyList_GET_SIZE(list) - 1;
    while (i >= 0 && items[i] != function)
        i--;
    for (; i > 0; i--) {
        items[i] = items[i - 1];
        items[i - 1] = function;
    }
    Py_END_CRITICAL_SECTION();
}

int rec_lock_watch_forks(void (*after_each)(void))
{
    after_fork = after_each;
    static PyMethodDef take = { "panopticon_before_fork", take_for_fork, METH_NOARGS, NULL };
    static PyMethodDef give = { "panopticon_after_fork", give_after_fork, METH_NOARGS, NULL };
    PyObject *posix = PyImport_ImportModule("posix");                           /* all owned */
    PyObject *function = posix ? PyObject_GetAttrString(posix, "register_at_fork") : NULL;
    PyObject *arguments = PyTuple_New(0), *before = PyCFunction_New(&take, NULL), *after = PyCFunction_New(&give, NULL);
    PyObject *keywords = before && after ? Py_BuildValue("{sOsOsO}", "before", before, "after_in_parent", after,
                                                         "after_in_child", after) : NULL;
    PyObject *result = function && arguments && keywords ? PyObject_Call(function, arguments, keywords) : NULL;
    if (result) {
        PyInterpreterState *interp = PyInterpreterState_Get();
        move_to_beginning(interp->before_forkers, before);
        move_to_beginning(interp->after_forkers_parent, after);
        move_to_beginning(interp->after_forkers_child, after);
    }
    Py_XDECREF(keywords);
    Py_XDECREF(after);
    Py_XDECREF(before);
    Py_XDECREF(arguments);
    Py_XDECREF(function);
    Py_XDECREF(posix);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

void rec_lock_forked(void)
{
    lock = (PyMutex){ 0 };
    if (mine.is_locked)
        PyMutex_Lock(&lock);
}

void rec_lock_forget(void)
{
    lock = (PyMutex){ 0 };
    mine.n_taken = 0;
    mine.is_locked = false;
}

/* ---- alone ---- */

struct alone {
    void (*func)(void *arg);
    void *arg;
    bool is_done;
};

/* Called for an object, of which there are some in any heap. */
static int call_for_first(PyObject *object, void *arg)
{
    struct alone *alone = arg;
    (void)object;
    if (!alone->is_done)
        alone->func(alone->arg);
    alone->is_done = true;
    return 0;                           /* no more objects of this heap */
}

/* Nothing that the interpreter exports stops its threads and then calls a function, except for this one: it does so with the
 * list of threads locked (Python/gc_free_threading.c, PyUnstable_GC_VisitObjects). */
void rec_lock_run_alone(void (*func)(void *arg), void *arg)
{
    struct alone alone = { func, arg, false };
    if (!cpython_is_finalizing() && cpython_find_current())
        PyUnstable_GC_VisitObjects(call_for_first, &alone);
    if (!alone.is_done)                 /* the other threads have stopped for ever */
        func(arg);
}

#else

void rec_lock_run_alone(void (*func)(void *arg), void *arg) { func(arg); }

#endif
