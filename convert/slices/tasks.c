/* A slice of a task begins in C code, or in a plain function of asyncio: in Handle._run with the event loop of the
 * standard library, or in a task factory when the task starts eagerly.
 *
 *     stack                                          a coroutine that is entered on it
 *     main, run_until_complete, Handle._run          is a task
 *     main, Handle._run, worker (a coroutine)        is awaited by worker: not a task
 *
 * Where the loop's functions are not recorded, or the loop is not written in Python, as uvloop, any plain function
 * around the coroutine shows only that nothing awaits it: that has to suffice. But the body of an imported module
 * runs no event loop: Lib/types.py and Lib/_collections_abc.py create coroutines there to learn their type, and close
 * them, which CPython 3.11 records as entries.
 *
 * asyncio.Task(coroutine, eager_start=True) starts in C code (3.12 and later, Modules/_asynciomodule.c), wherever it is
 * called: also in a coroutine, which then seems to await it. But it has called two methods of the loop right before. */
#include "tasks.h"

#include <string.h>

static bool equals_text(struct pnr_string string, const char *text)
{
    return string.size == strlen(text) && memcmp(string.bytes, text, string.size) == 0;
}

/* True for the package itself, or a module in it. */
static bool is_of_package(struct pnr_string module, const char *package)
{
    size_t size = strlen(package);
    return module.size >= size && memcmp(module.bytes, package, size) == 0 &&
           (module.size == size || module.bytes[size] == '.');
}

static bool is_function(const struct symbol *symbol, const char *module, const char *name)
{
    return symbol && equals_text(symbol->module, module) && equals_text(symbol->name, name);
}

static bool is_body_of_import(const struct symbol *symbol)
{
    return symbol && equals_text(symbol->name, "<module>") && !equals_text(symbol->module, "__main__");
}

bool tasks_is_of_asyncio(const struct symbol *symbol)
{
    return is_of_package(symbol->module, "asyncio") || is_of_package(symbol->module, "uvloop");
}

void tasks_process(struct tasks *tasks, const struct symbols *symbols)
{
    *tasks = (struct tasks){ .symbols = symbols };
    for (uint32_t i = 1; i <= symbols->n_functions && !tasks->has_loop; i++) {
        const struct symbol *symbol = symbols_function(symbols, i);
        tasks->has_loop = is_function(symbol, "asyncio.events", "Handle._run");
    }
}

bool tasks_runs(const struct tasks *tasks, uint32_t function, bool is_continuable)
{
    const struct symbol *symbol = symbols_function(tasks->symbols, function);
    if (is_continuable)
        return false;
    if (!tasks->has_loop)
        return !is_body_of_import(symbol);
    return symbol && tasks_is_of_asyncio(symbol);
}

bool tasks_starts(const struct tasks *tasks, uint32_t first, uint32_t second)
{
    return is_function(symbols_function(tasks->symbols, first), "asyncio.base_events", "BaseEventLoop.get_debug") &&
           is_function(symbols_function(tasks->symbols, second), "asyncio.base_events", "BaseEventLoop.is_running");
}
