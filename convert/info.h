/* Prints what a process of a capture holds, for people: from its names and the headers of its blocks, which the reader
 * has read already, or from all its data. */
#ifndef INFO_H
#define INFO_H

#include <stdbool.h>
#include <stdio.h>

#include "convert/read/reader.h"

/* reads_all: also what only the data show, the kinds of events, unrecorded regions and lost events. Returns 0, or -1
 * when out of memory. The caller checks whether out could be written. */
int info_print(struct reader *reader, FILE *out, bool reads_all, struct pnr_err *err);

/* Returns how the process ended, in a few words. Static. */
const char *info_describe_end(const struct reader *reader);

#endif
