/* Redaction: values under names such as `password` are never read. A name is redacted if it contains one of the words,
 * without regard to case, underscores, hyphens and spaces, or if it is very long. Some words always hold, and a recording
 * may add others. All functions are called with the GIL. */
#ifndef REC_REDACTION_H
#define REC_REDACTION_H

#include <stdbool.h>

#include "../../format/names.h"

/* Forgets the words of the last recording. */
void rec_redaction_start(void);

/* Adds words, separated by vertical bars. Returns 0, or -1 when out of memory. */
int rec_redaction_add(const char *words);

bool rec_redaction_matches(struct pnr_string name);

#endif
