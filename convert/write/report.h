/* A sink that gathers what the page of `panopticon report` shows: the call tree, the threads, the longest calls, and
 * the tasks. Writes it as JSON: specs/trace-mapping.md, section 8.4.
 *
 *     report_new()
 *     the calls of report_sink()
 *     report_put(), once
 *     report_free()
 *
 * Memory: that of the call tree, some calls of each function, the threads, and the tasks that live at a time. */
#ifndef REPORT_H
#define REPORT_H

#include "call_tree.h"
#include "writer.h"

/* The longest calls that are written, in all and of one function; the tasks; the stacks, and their functions. */
#define REPORT_CALLS 1000
#define REPORT_CALLS_OF_FUNCTION 10
#define REPORT_TASKS 1000
#define REPORT_STACKS 50000
#define REPORT_DEPTH 1024

struct report;

/* Returns NULL when out of memory. */
struct report *report_new(void);

/* Accepts NULL. */
void report_free(struct report *report);

/* Is broken when out of memory. */
struct sink *report_sink(struct report *report);

/* What it was gathered in. */
const struct call_tree *report_tree(const struct report *report);

/* Writes the members of an object, without its braces. Returns 0, or -1 when out of memory. */
int report_put(struct report *report, struct writer *writer);

#endif
