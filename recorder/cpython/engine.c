#include "greenlets.h"
#include "codes.h"
#include "muting.h"

#include "engine.h"

#include <string.h>

#if !CPYTHON_IS_KNOWN
cpython_frame *cpython_bottom;
#endif

/* Why a recording with a budget is refused, or NULL. name: of the engine that was asked for, or NULL. */
static const char *refuse_budget(const char *name)
{
    if (!rec_engine_monitoring)
        return "CPython 3.11 reports the calls of muted functions, too: record with CPython 3.12 or later";
    if (!CPYTHON_IS_KNOWN)
        return "this CPython is later than those whose stacks the recorder can read";
    if (name && rec_engine_frame && strcmp(name, rec_engine_frame->name) == 0)
        return "the frame engine has to see the calls of muted functions, too: leave --engine out";
    return rec_muting_fault();
}

const struct rec_engine *rec_engine_find(const char *name, bool has_budget)
{
    const struct rec_engine *engines[] = { has_budget ? NULL : rec_engine_frame, rec_engine_monitoring };
    const char *refusal = has_budget ? refuse_budget(name) : NULL;
    if (refusal) {
        PyErr_Format(PyExc_ValueError, "panopticon: --max-overhead: %s", refusal);
        return NULL;
    }
    for (int i = 0; i < 2; i++)
        if (engines[i] && (!name || strcmp(name, engines[i]->name) == 0))
            return engines[i];
    PyErr_Format(PyExc_ValueError, "panopticon: CPython %d.%d has no engine %s", PY_MAJOR_VERSION, PY_MINOR_VERSION,
                 name ? name : "to record with");
    return NULL;
}

int rec_engine_init(const char *own)
{
    return rec_functions_init(own) != 0 || rec_codes_init() != 0 || rec_threads_init() != 0 ? -1 : 0;
}

void rec_engine_forget(void)
{
    rec_greenlets_forget();
    rec_muting_forget_interpreter();
    rec_codes_forget();
}

int rec_engine_run_detached(int (*func)(void *), void *arg)
{
    return cpython_run_detached(PyThreadState_Get(), func, arg);
}
