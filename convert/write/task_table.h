/* Prints what the tasks of each coroutine did: how often they ran, how long, and what kept others from running the longest. A
 * table for people, or complete JSON for programs. specs/trace-mapping.md, section 8.6. */
#ifndef TASK_TABLE_H
#define TASK_TABLE_H

#include "convert/slices/sink.h"
#include "top.h"

struct task_table;

/* Returns NULL when out of memory. */
struct task_table *task_table_new(void);

/* Accepts NULL. */
void task_table_free(struct task_table *table);

/* It is broken when out of memory. */
struct sink *task_table_sink(struct task_table *table);

/* When all has been converted. Returns 0, or -1 when out of memory; the writer reports failed writes. */
int task_table_write(struct task_table *table, const struct top_form *form, struct writer *writer);

#endif
