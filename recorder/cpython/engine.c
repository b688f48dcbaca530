#include "greenlets.h"
#include "codes.h"

#include "engine.h"

#include <string.h>

#if !CPYTHON_IS_KNOWN
cpython_frame *cpython_bottom;
#endif

const struct rec_engine *rec_engine_find(const char *name)
{
    const struct rec_engine *engines[] = { rec_engine_frame, rec_engine_monitoring };
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
    rec_codes_forget();
}

int rec_engine_run_detached(int (*func)(void *), void *arg)
{
    return cpython_run_detached(PyThreadState_Get(), func, arg);
}
