/* Prints what is in a process of a capture, for people: from its names and the headers of its blocks, which the reader
 * has read when it was opened, or from all its data. */
#ifndef INFO_H
#define INFO_H

#include <stdbool.h>
#include <stdio.h>

#include "convert/read/reader.h"

/* reads_all: with what only the data tell, the kinds of events, gaps and lost events. Returns 0, or -1 when out of
 * memory. Whether out could be written, the caller asks it. */
int info_print(struct reader *reader, FILE *out, bool reads_all, struct pnr_err *err);

#endif
