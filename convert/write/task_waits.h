/* Adds up what tasks waited for, and for how long: by the coroutine, what it awaited, and the function that awaited it.
 *
 *     task_waits_add() for each time that a task was suspended
 *     task_waits_sort(), then task_waits_put_json(); or task_waits_put_table()
 *     task_waits_clear() */
#ifndef TASK_WAITS_H
#define TASK_WAITS_H

#include "call_tree.h"
#include "format/table.h"
#include "writer.h"

/* Functions are their indices in a call tree. */
struct task_wait {
    uint32_t row;                       /* of the table of tasks: those with one coroutine and name */
    uint32_t coroutine;
    uint32_t what, where;               /* 1 + a function; 0: not known */
    uint64_t n, ns;
};

/* All zero at first. */
struct task_waits {
    struct task_wait *waits;            /* owned */
    size_t n, capacity;
    struct pnr_table pairs, numbers;    /* of what is awaited where; of each row with such a pair */
};

/* Returns 0, or -1 when out of memory. */
int task_waits_add(struct task_waits *waits, uint32_t row, uint32_t coroutine, uint32_t what, uint32_t where, uint64_t ns);

/* Before the first task_waits_put_json(). */
void task_waits_sort(struct task_waits *waits);

/* Writes a member of the row's JSON object, with a comma before it: the longest ones first. Returns 0, or -1 when out
 * of memory. */
int task_waits_put_json(struct writer *writer, const struct task_waits *waits, const struct call_tree *tree,
                        uint32_t row);

/* Writes the longest ones. Returns 0, or -1 when out of memory. */
int task_waits_put_table(struct writer *writer, struct task_waits *waits, const struct call_tree *tree);

void task_waits_clear(struct task_waits *waits);

#endif
