#include "call_inlining.h"

#include "threads.h"

#if CPYTHON_INLINES_GETITEM || CPYTHON_INLINES_INIT

#if CPYTHON_INLINES_GETITEM

static PyObject *getitem_name;          /* interned "__getitem__"; owned for ever */

/* Gives a function a version that does not fit 16 bits (Python/specialize.c, _Py_Specialize_BinarySubscr).
 * BINARY_SUBSCR_GETITEM compares the version too, so that call sites that were specialized for the function before go
 * back to BINARY_SUBSCR. */
static void forbid_getitem(PyObject *function)
{
    static uint32_t next = UINT32_C(1) << 31;
    if (PyFunction_Check(function) && ((PyFunctionObject *)function)->func_version <= UINT16_MAX)
        ((PyFunctionObject *)function)->func_version = next++;
}

bool rec_inlining_on_first_call(const cpython_frame *f, bool is_recorded)
{
    const PyCodeObject *code = cpython_code(f);
    if (code->co_argcount == 2)         /* a class may have it as its __getitem__ by another name */
        forbid_getitem((PyObject *)f->f_func);
    return is_recorded && (!(code->co_flags & CO_OPTIMIZED) ||
           (code->co_argcount == 2 && PyUnicode_CompareWithASCIIString(code->co_name, "__getitem__") == 0));
}

PyObject *rec_inlining_on_call(const cpython_frame *f)
{
    if (cpython_code(f)->co_flags & CO_OPTIMIZED)
        forbid_getitem((PyObject *)f->f_func);
    return f->f_locals;
}

void rec_inlining_on_namespace(PyObject *namespace)
{
    PyObject *function =                /* owned */
        namespace && PyDict_Check(namespace) ? cpython_lookup(namespace, getitem_name) : NULL;
    if (function)
        forbid_getitem(function);
    Py_XDECREF(function);
}

static void prepare_class(PyTypeObject *class)
{
    rec_inlining_on_namespace(class->tp_dict);
}

static int init_inlining(void)
{
    getitem_name = PyUnicode_InternFromString("__getitem__");
    return getitem_name ? 0 : -1;
}

#else

static struct {
    newfunc type_new;                   /* type's own */
    PyObject *init_name;                /* interned "__init__"; owned for ever */
    PyObject *released;                 /* list of the classes that have PyType_GenericAlloc in this region, or NULL */
} inlining;

static PyObject *allocate_uninlined(PyTypeObject *class, Py_ssize_t n);

/* Puts allocate_uninlined in place of PyType_GenericAlloc. A new version of the class undoes the call sites that were
 * specialized for it. */
static void forbid_init(PyTypeObject *class)
{
    if (!(class->tp_flags & Py_TPFLAGS_HEAPTYPE) || class->tp_alloc != PyType_GenericAlloc)
        return;
    class->tp_alloc = allocate_uninlined;
    if (((PyHeapTypeObject *)class)->_spec_cache.init)
        PyType_Modified(class);
}

/* Gives the class PyType_GenericAlloc back. The call site has been specialized to call any class
 * (CALL_NON_PY_GENERAL), and would stay so. */
static void allow_init(PyTypeObject *class)
{
    const cpython_frame *caller = cpython_running(PyThreadState_Get());
    class->tp_alloc = PyType_GenericAlloc;
    if (caller && cpython_opcode(caller->instr_ptr) == CALL_NON_PY_GENERAL) {
        caller->instr_ptr->op.code = CALL;
        caller->instr_ptr[1].counter = adaptive_counter_warmup();
    }
}

static PyObject *allocate_uninlined(PyTypeObject *class, Py_ssize_t n)
{
    if (unlikely(rec_state_is(REC_UNHOOKED)) && class->tp_alloc == allocate_uninlined) {
        if (!inlining.released)
            inlining.released = PyList_New(0);
        if (inlining.released && PyList_Append(inlining.released, (PyObject *)class) == 0)
            allow_init(class);
        else
            PyErr_Clear();
    }
    return PyType_GenericAlloc(class, n);
}

void rec_inlining_end_region(void)
{
    PyObject *classes = inlining.released;                  /* owned */
    inlining.released = NULL;
    for (Py_ssize_t i = 0; classes && i < PyList_GET_SIZE(classes); i++)
        forbid_init((PyTypeObject *)PyList_GET_ITEM(classes, i));
    Py_XDECREF(classes);
}

/* Stands in place of the tp_new of type and its metaclasses. */
static PyObject *new_class(PyTypeObject *meta, PyObject *args, PyObject *kwargs)
{
    PyObject *class = inlining.type_new(meta, args, kwargs);
    if (class && PyType_Check(class))
        forbid_init((PyTypeObject *)class);
    return class;
}

/* A metaclass must have the tp_new of type, or one of its own (Objects/typeobject.c, tp_new_wrapper). */
static void prepare_class(PyTypeObject *class)
{
    forbid_init(class);
    if (class->tp_new == inlining.type_new)
        class->tp_new = new_class;
}

/* The conditions of the specializer (Python/specialize.c, specialize_class_call). Under a hook the call site that calls
 * the class is hot when it has been specialized to call any class. */
bool rec_inlining_would_inline_init(const PyThreadState *ts, const cpython_frame *f)
{
    const cpython_frame *caller = cpython_running(ts);
    int opcode = caller ? cpython_opcode(caller->instr_ptr) : 0;
    const PyCodeObject *code = cpython_code(f);
    if ((opcode != CALL_NON_PY_GENERAL && opcode != CALL_ALLOC_AND_ENTER_INIT) || cpython_is_continuable(f) ||
        code->co_argcount != caller->instr_ptr->op.arg + 1 || code->co_kwonlyargcount ||
        (code->co_flags & (CO_VARKEYWORDS | CO_VARARGS | CO_OPTIMIZED)) != CO_OPTIMIZED)
        return false;
    PyTypeObject *class = Py_TYPE(f->localsplus[0]);
    return class->tp_alloc == allocate_uninlined && class->tp_flags & Py_TPFLAGS_INLINE_VALUES &&
           class->tp_new == PyBaseObject_Type.tp_new && Py_IS_TYPE(class, &PyType_Type) &&
           _PyType_Lookup(class, inlining.init_name) == f->f_funcobj;
}

static int init_inlining(void)
{
    inlining.type_new = PyType_Type.tp_new;
    inlining.init_name = PyUnicode_InternFromString("__init__");
    return inlining.init_name ? 0 : -1;
}

#endif

/* Prepares a class and those below it. */
static void prepare_classes(PyTypeObject *class)
{
    prepare_class(class);
    PyObject *subclasses = PyObject_CallMethod((PyObject *)&PyType_Type, "__subclasses__", "O", class);  /* owned */
    for (Py_ssize_t i = 0; subclasses && i < PyList_GET_SIZE(subclasses); i++) {
        PyTypeObject *next = (PyTypeObject *)PyList_GET_ITEM(subclasses, i);
        if (next->tp_base == class)     /* once, not by each base */
            prepare_classes(next);
    }
    Py_XDECREF(subclasses);
    PyErr_Clear();
}

int rec_inlining_start(void)
{
    static bool is_ready;
    if (!is_ready && init_inlining() != 0)
        return -1;
    is_ready = true;
    prepare_classes(&PyBaseObject_Type);
    return 0;
}

#endif
