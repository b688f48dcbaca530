/* Prints what is in a process of a capture, for people. Reads all its data. */
#ifndef INFO_H
#define INFO_H

#include <stdio.h>

#include "reader.h"

/* Returns 0, or -1 when out of memory. Whether out could be written, the caller asks it. */
int info_print(struct reader *reader, FILE *out, struct pnr_err *err);

#endif
