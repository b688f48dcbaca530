/* What was found to be damaged or missing while a capture was read, by all streams of it, in the order in which it was
 * found: each line once. Any thread may add, as streams are read by any.
 *
 *     findings_new(), findings_share() for each further owner
 *     struct diagnostics diagnostics = findings_diagnostics()
 *     findings_copy()
 *     findings_release(), by each owner */
#ifndef FINDINGS_H
#define FINDINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "convert/diagnostics.h"

/* Lines that are kept; the others are counted. */
#define FINDINGS_MAX 100

struct findings;

/* Returns NULL when out of memory. */
struct findings *findings_new(void);

/* Returns its argument, which has one owner more. */
struct findings *findings_share(struct findings *findings);

/* Accepts NULL. */
void findings_release(struct findings *findings);

/* Adds what is reported to them. */
struct diagnostics findings_diagnostics(struct findings *findings);

/* Copies line i, from 0 on; the one after the last says how many more there were, if there were. Returns NULL at the
 * end, or when out of memory. The caller frees it. */
char *findings_copy(struct findings *findings, size_t i);

/* Returns whether any of them is damage. */
bool findings_have_damage(struct findings *findings);

#endif
