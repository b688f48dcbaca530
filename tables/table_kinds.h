/* The kinds of tables; docs/tables.md describes what is in each. */
#ifndef TABLE_KINDS_H
#define TABLE_KINDS_H

#include "table.h"

extern const struct table_kind slices_kind;         /* a row for each slice, in the order of their ends */
extern const struct table_kind functions_kind;      /* a row for each function, as in --top */
extern const struct table_kind stacks_kind;         /* a row for each distinct stack, as in a flame graph */
extern const struct table_kind counters_kind;       /* a row for each number that the program reported */
extern const struct table_kind flows_kind;          /* a row for each flow event */

#endif
