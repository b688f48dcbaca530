#include "threads.h"

#include "engine.h"

#if !CPYTHON_IS_KNOWN
cpython_frame *cpython_bottom;
#endif

int rec_engine_init(const char *own)
{
    return rec_functions_init(own) != 0 || rec_threads_init() != 0 ? -1 : 0;
}

void rec_engine_forked(void)
{
    if (rec_threads.is_active)
        rec_threads_give_up();
}

int rec_engine_run_detached(int (*func)(void *), void *arg)
{
    return cpython_run_detached(PyThreadState_Get(), func, arg);
}
