/* Finds where in logical time the children of a process begin. Each process has positions of its own; a child
 * begins with the position that its parent has reached when the child's recording starts.
 *
 *     process 7            positions   process 8, a child of 7     positions
 *     CALL f                    1
 *     CALL fork                 2
 *                                      CALL g                      3
 *     RETURN fork               3
 *                                      RETURN g                    4
 *
 * Processes are converted one after another, in the order of the capture: a child after its parent has its begin by
 * then. One that comes before its parent, and one without a parent in the capture, begins with 1.
 *
 *     child_starts_find() for a process
 *     child_starts_pass() as its time passes
 *     child_starts_clear() */
#ifndef CHILD_STARTS_H
#define CHILD_STARTS_H

#include <stddef.h>
#include <stdint.h>

#include "convert/read/reader.h"

struct child_start;

struct child_starts {
    const uint64_t *positions;          /* the parent's; borrowed */
    struct child_start *starts;         /* in the order of time; owned */
    size_t n, next;
};

/* Finds the children of the first process among the n - 1 that come after it. positions: of each of the n processes;
 * borrowed. Returns 0, or -1 when out of memory. */
int child_starts_find(struct child_starts *children, struct reader **readers, size_t n, uint64_t *positions);

/* The parent's next record is at those ticks: the children that were started by then get their position. Returns the
 * ticks before the next start. */
uint64_t child_starts_pass(struct child_starts *children, uint64_t ticks);

void child_starts_clear(struct child_starts *children);

#endif
