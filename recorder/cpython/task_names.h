/* The names of asyncio's tasks, and of the tasks that they wait for (--task-names). They are read of the task that runs, when
 * its coroutine is entered for the first time and at each of its exits: the program may set a name at any time. All functions
 * are called with the GIL; none runs Python code.
 *
 *     rec_task_names_start                a recording begins
 *         rec_task_names_read             at the events of coroutines
 *     rec_task_names_end                  a recording ends */
#ifndef REC_TASK_NAMES_H
#define REC_TASK_NAMES_H

#include "options.h"

#include "../../format/values.h"

/* Takes over the choice. */
void rec_task_names_start(const struct rec_options *options);

/* True when they are wanted. */
bool rec_task_names_are_on(void);

/* Reads what is known of the task whose coroutine runs in a frame. is_first: the coroutine has just been entered for the first
 * time. awaited: what it yields, if it is suspended; or NULL. Returns false when there is nothing new, or that is no task's
 * coroutine. Keeps the exception that is set. */
bool rec_task_names_read(struct pnr_values_writer *values, const cpython_frame *f, bool is_first, PyObject *awaited);

/* Writes how many tasks could not be read. */
void rec_task_names_end(void);

#endif
