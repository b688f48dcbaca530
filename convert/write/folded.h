/* Prints a call tree as folded stacks, for flame graphs: a line `frame;frame;frame N` for each stack, where N is its
 * self time in microseconds. specs/trace-mapping.md, section 8.1. */
#ifndef FOLDED_H
#define FOLDED_H

#include "call_tree.h"
#include "writer.h"

/* Frames and bytes at which a stack is cut. Viewers show no more, and the file would grow with the square of the
 * depth. */
#define FOLDED_DEPTH 1024
#define FOLDED_SIZE (1 << 18)

/* The tree has roots. Returns 0, or -1 when out of memory; the writer reports failed writes. */
int folded_write(const struct call_tree *tree, struct writer *writer);

#endif
