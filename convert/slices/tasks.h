/* Finds out which coroutines asyncio runs as tasks, by what is around and before them.
 *
 *     tasks_process()
 *     tasks_runs() for what is around a coroutine's first slice
 *     tasks_starts() for what was called right before it */
#ifndef TASKS_H
#define TASKS_H

#include <stdbool.h>
#include <stdint.h>

#include "convert/read/symbols.h"

struct tasks {
    const struct symbols *symbols;      /* borrowed */
    bool has_loop;                      /* asyncio's own event loop is recorded */
};

/* True for a function of asyncio, or of an event loop that takes its place. */
bool tasks_is_of_asyncio(const struct symbol *symbol);

void tasks_process(struct tasks *tasks, const struct symbols *symbols);

/* True when a coroutine is a task whose innermost Python frame around it is of this function; 0: there is none.
 * is_continuable: that frame is a generator's or coroutine's, which awaits what it runs. */
bool tasks_runs(const struct tasks *tasks, uint32_t function, bool is_continuable);

/* True when a coroutine is a task, whatever is around it, that starts right after calls of these two functions, without
 * another one in between. */
bool tasks_starts(const struct tasks *tasks, uint32_t first, uint32_t second);

#endif
