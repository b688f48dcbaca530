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

/* The tags that are on the stack are void: what they number are the parent's names. */
void rec_engine_forked(void (*on_first_event)(void))
{
    rec_threads.is_active = false;
    rec_threads.is_waiting = on_first_event != NULL;
    rec_threads.on_first_event = on_first_event;
    rec_threads_forget_current();
    rec_functions_start();
}

void rec_engine_pause(const struct rec_engine *engine)
{
    rec_threads.is_active = false;
    rec_threads.is_waiting = true;
    engine->pause();
    rec_buffer_flush_all();
    rec_threads_forget_current();
}

void rec_engine_resume(const struct rec_engine *engine)
{
    rec_threads.is_active = true;
    rec_threads.is_waiting = false;
    rec_threads.n_pauses++;
    engine->resume();
}

int rec_engine_run_detached(int (*func)(void *), void *arg)
{
    return cpython_run_detached(PyThreadState_Get(), func, arg);
}
