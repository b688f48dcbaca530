/* Calls that CPython runs inside their caller's evaluation, where no hook sees them. With a hook installed, nearly
 * all instructions that call Python functions ask for it. Two do not, each in one version, once the specializer has
 * put them at a call site that has become hot. The recorder keeps the specializer from that by a condition that it
 * checks (Python/specialize.c):
 *
 *     version  instruction                                      the specializer requires          the recorder
 *     3.11     BINARY_SUBSCR_GETITEM (Python/ceval.c)           a function version below 2^16     gives a greater one
 *     3.13     CALL_ALLOC_AND_ENTER_INIT (Python/bytecodes.c)   tp_alloc is PyType_GenericAlloc   puts its own there
 *
 * Example, 3.11. This loop calls a Python function at one call site, by a subscription:
 *
 *     class Squares:
 *         def __getitem__(self, i): return i * i
 *     squares = Squares()
 *     for i in range(100): squares[i]
 *
 * - The body of the class ends. rec_inlining_on_namespace finds __getitem__ in it and sets its func_version to 2^31.
 * - After a few rounds the specializer looks at squares[i]. It finds a version above 2^16 and leaves the call site as
 *   it is: BINARY_SUBSCR calls __getitem__ through the hook, 100 times. Without that, the hook would see the first
 *   few calls only.
 *
 * Example, 3.13. The class gets its __init__ called at one call site:
 *
 *     class Point:
 *         def __init__(self, x): self.x = x
 *     for i in range(100): Point(i)
 *
 * - type.__new__ has made the class. new_class, in place of type's tp_new, sets its tp_alloc to allocate_uninlined,
 *   which calls PyType_GenericAlloc. The specializer leaves the call alone; its __init__ is called through the hook,
 *   100 times.
 * - Below a deep stack the hook is off (engine_frame.c). A recursion through __init__ is then to need no C stack, as
 *   without the recorder. So allocate_uninlined gives the class PyType_GenericAlloc back and lets the call site
 *   be specialized again. rec_inlining_end_region undoes this when the hook is on again.
 *
 * Three entry points:
 *     rec_inlining_start                  a recording begins: all classes that there are
 *     rec_inlining_on_namespace           a class has been made (3.11; on 3.13 new_class does it), and before that
 *         rec_inlining_on_first_call, rec_inlining_on_call    a function that may become a __getitem__ runs
 *     rec_inlining_end_region             a region without hook has ended
 *
 * All are called with the GIL and run no Python code. */
#ifndef REC_CALL_INLINING_H
#define REC_CALL_INLINING_H

#include "cpython.h"

#define CPYTHON_INLINES_GETITEM (CPYTHON_IS_KNOWN && PY_MINOR_VERSION == 11)
#define CPYTHON_INLINES_INIT (CPYTHON_IS_KNOWN && PY_MINOR_VERSION == 13)

#if CPYTHON_INLINES_GETITEM || CPYTHON_INLINES_INIT

/* Returns 0, or -1 with an exception set. */
int rec_inlining_start(void);

#else

static inline int rec_inlining_start(void) { return 0; }

#endif

#if CPYTHON_INLINES_GETITEM

/* A function's first call in a recording; is_recorded: a filter does not exclude it. Returns whether it is to be
 * announced by rec_inlining_on_call: it is a __getitem__, or its locals are a namespace that may get one. */
bool rec_inlining_on_first_call(const cpython_frame *f, bool is_recorded);

/* A call of such a function. Returns the namespace of its locals for rec_inlining_on_namespace, borrowed, or NULL.
 * The caller of the function owns it. */
PyObject *rec_inlining_on_call(const cpython_frame *f);

/* A namespace is complete: that of a class, or a module. Accepts NULL. */
void rec_inlining_on_namespace(PyObject *namespace);

#else

static inline bool rec_inlining_on_first_call(const cpython_frame *f, bool is_recorded)
{
    return (void)f, (void)is_recorded, false;
}

static inline PyObject *rec_inlining_on_call(const cpython_frame *f) { return (void)f, NULL; }
static inline void rec_inlining_on_namespace(PyObject *namespace) { (void)namespace; }

#endif

#if CPYTHON_INLINES_INIT

void rec_inlining_end_region(void);

/* True for an __init__ that the interpreter without a hook would run inside the evaluation of the running frame,
 * which calls the class, provided that only the interpreter is between the two. */
bool rec_inlining_would_inline_init(const PyThreadState *ts, const cpython_frame *f);

#else

static inline void rec_inlining_end_region(void) { }

#endif

#endif
