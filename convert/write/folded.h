/* Prints a call tree as folded stacks, for flame graphs: `frame;frame;frame N`, a line for each stack, N its own time
 * in microseconds. specs/trace-mapping.md, section 8.1. */
#ifndef FOLDED_H
#define FOLDED_H

#include "call_tree.h"
#include "writer.h"

/* Deeper stacks are cut: frames, and bytes. Viewers show no more, and the file would grow with the square of the
 * depth. */
#define FOLDED_DEPTH 1024
#define FOLDED_SIZE (1 << 18)

/* The tree has roots. Returns 0, or -1 when out of memory; failed writes are the writer's to tell. */
int folded_write(const struct call_tree *tree, struct writer *writer);

#endif
