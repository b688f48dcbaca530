#include "greenlets.h"
#include "tool.h"

#include "engine.h"

#if !CPYTHON_IS_KNOWN
cpython_frame *cpython_bottom;
#endif

int rec_engine_init(const char *own)
{
    return rec_functions_init(own) != 0 || rec_threads_init() != 0 ? -1 : 0;
}

void rec_engine_forget(void)
{
    rec_greenlets_forget();
#if PY_VERSION_HEX >= 0x030C0000
    rec_tool_forget();
#endif
}

int rec_engine_run_detached(int (*func)(void *), void *arg)
{
    return cpython_run_detached(PyThreadState_Get(), func, arg);
}
