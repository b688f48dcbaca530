/* Prints a call tree as what cProfile dumps, for Python's pstats: a dict {(file, line, name): (primitive calls, calls,
 * own time, cumulative time, {caller: (calls, primitive calls, own time, cumulative time)})} (Lib/cProfile.py;
 * Lib/pstats.py), marshalled (Python/marshal.c). Times are seconds.
 * specs/trace-mapping.md, section 8.2. */
#ifndef PSTATS_H
#define PSTATS_H

#include "call_tree.h"
#include "writer.h"

/* The tree has no roots. Returns 0, or -1 when out of memory; the writer reports failed writes. */
int pstats_write(const struct call_tree *tree, struct writer *writer);

#endif
