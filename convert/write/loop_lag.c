#include "loop_lag.h"

#include <stdlib.h>
#include <string.h>

#include "format/array.h"

static bool is_loop_function(const struct symbol *symbol, const char *module, const char *name)
{
    return symbol && symbol->module.size == strlen(module) && memcmp(symbol->module.bytes, module, strlen(module)) == 0 &&
           symbol->name.size == strlen(name) && memcmp(symbol->name.bytes, name, strlen(name)) == 0;
}

static void forget_threads(struct loop_lag *lag)
{
    for (size_t i = 0; i < lag->n; i++) {
        free((char *)lag->threads[i].name.bytes);
        lag->threads[i] = (struct loop_thread){ .tid = 0 };
    }
}

void loop_lag_process(struct loop_lag *lag, const struct symbols *symbols)
{
    forget_threads(lag);
    lag->run = lag->once = 0;
    for (uint32_t i = 1; i <= symbols->n_functions; i++) {
        const struct symbol *symbol = symbols_function(symbols, i);
        if (is_loop_function(symbol, "asyncio.events", "Handle._run"))
            lag->run = i;
        else if (is_loop_function(symbol, "asyncio.base_events", "BaseEventLoop._run_once"))
            lag->once = i;
    }
}

int loop_lag_thread(struct loop_lag *lag, const struct sink_thread *thread)
{
    char *name = lag->run ? malloc((size_t)thread->name.size + 1) : NULL;
    if (!lag->run)
        return 0;
    if (!name || pnr_array_reserve_number(&lag->threads, &lag->n, thread->thread) != 0) {
        free(name);
        return -1;
    }
    if (thread->name.size)
        memcpy(name, thread->name.bytes, thread->name.size);
    free((char *)lag->threads[thread->thread].name.bytes);
    lag->threads[thread->thread] = (struct loop_thread){ .tid = thread->tid, .name = { name, thread->name.size } };
    return 0;
}

bool loop_lag_add(struct loop_lag *lag, const struct slice *slice, struct sink_recorder_event events[2])
{
    struct loop_thread *thread = &lag->threads[slice->thread];
    bool is_run = slice->function == lag->run;
    if (is_run && !thread->end_ns)
        thread->begin_ns = slice->begin_ns;
    if (is_run)
        thread->end_ns = slice->end_ns;
    if ((is_run && lag->once) || !thread->end_ns)
        return false;
    uint64_t ns = thread->end_ns - thread->begin_ns;
    events[0] = (struct sink_recorder_event){ .ns = thread->begin_ns, .kind = SINK_LAG, .value = (double)(ns / 1000) / 1e3,
                                              .tid = thread->tid, .thread_name = thread->name };
    events[1] = events[0];
    events[1].ns = thread->end_ns;
    events[1].value = 0;
    thread->end_ns = 0;
    return ns >= LOOP_LAG_MIN_NS;
}

void loop_lag_clear(struct loop_lag *lag)
{
    forget_threads(lag);
    free(lag->threads);
    *lag = (struct loop_lag){ .run = 0 };
}
