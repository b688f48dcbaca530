/* A step of a task begins in C code, or in a plain function of asyncio's: Handle._run with the event loop of the
 * standard library, a task factory when a task begins at once. Where the loop's functions are not recorded, or the loop
 * is none of Python's, as uvloop is, whatever function happens to be around it says no more than that nobody awaits
 * it. */
#include "tasks.h"

#include <string.h>

static bool is_text(struct pnr_string string, const char *text)
{
    return string.size == strlen(text) && memcmp(string.bytes, text, string.size) == 0;
}

/* The package itself, or a module in it. */
static bool is_of_package(struct pnr_string module, const char *package)
{
    size_t size = strlen(package);
    return module.size >= size && memcmp(module.bytes, package, size) == 0 &&
           (module.size == size || module.bytes[size] == '.');
}

void tasks_process(struct tasks *tasks, const struct symbols *symbols)
{
    *tasks = (struct tasks){ .symbols = symbols };
    for (uint32_t i = 1; i <= symbols->n_functions && !tasks->has_loop; i++) {
        const struct symbol *symbol = symbols_function(symbols, i);
        tasks->has_loop = symbol && is_text(symbol->module, "asyncio.events") && is_text(symbol->name, "Handle._run");
    }
}

bool tasks_runs(const struct tasks *tasks, uint32_t function, bool is_continuable)
{
    const struct symbol *symbol = symbols_function(tasks->symbols, function);
    if (is_continuable)
        return false;
    if (!tasks->has_loop)
        return true;
    return symbol && (is_of_package(symbol->module, "asyncio") || is_of_package(symbol->module, "uvloop"));
}
