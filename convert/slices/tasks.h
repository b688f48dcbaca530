/* Tells which coroutines asyncio runs as tasks, by what runs them.
 *
 *     tasks_process()
 *     tasks_runs() for what is around a coroutine's first slice
 *     tasks_starts() for what was called last before it */
#ifndef TASKS_H
#define TASKS_H

#include <stdbool.h>
#include <stdint.h>

#include "convert/read/symbols.h"

struct tasks {
    const struct symbols *symbols;      /* borrowed */
    bool has_loop;                      /* asyncio's own event loop is recorded */
};

void tasks_process(struct tasks *tasks, const struct symbols *symbols);

/* True when a coroutine that has this function as the innermost Python frame around it is a task. 0: there is none.
 * is_continuable: it is the frame of a generator or coroutine, which awaits what it runs. */
bool tasks_runs(const struct tasks *tasks, uint32_t function, bool is_continuable);

/* True when a coroutine is a task, whatever is around it, that begins right after these two functions were called, one
 * after the other, and nothing else was. */
bool tasks_starts(const struct tasks *tasks, uint32_t first, uint32_t second);

#endif
