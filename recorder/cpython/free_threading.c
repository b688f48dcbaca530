#include "threads.h"

#include "free_threading.h"

#include "../diagnostics.h"

#ifdef Py_GIL_DISABLED

static const char why_greenlets[] = "the program uses greenlets, which cannot be recorded yet in a free-threaded build";

bool rec_free_threading_allows(PyObject *key, PyObject *value)
{
    static const struct { const char *key, *option; } refused[] = {
        { "clock", "clock" }, { "max_overhead", "max-overhead" },
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (PyUnicode_CompareWithASCIIString(key, refused[i].key) != 0)
            continue;
        int is_asked = PyObject_IsTrue(value);
        if (is_asked == 0)
            continue;
        if (is_asked < 0)               /* what the value raised is set */
            return false;
        PyErr_Format(PyExc_ValueError, "panopticon: --%s is not supported yet in a free-threaded build of CPython",
                     refused[i].option);
        return false;
    }
    return true;
}

bool rec_free_threading_ends_at_greenlets(void)
{
    if (!rec_threads.missing)
        rec_warn("%s; recording ends, what was recorded is kept", why_greenlets);
    rec_threads.missing = why_greenlets;
    rec_state_take(REC_EVENT_FAILURE);
    return true;
}

#endif
