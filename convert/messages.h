/* Prints the converter's messages on standard error: lines without anything that could steer a terminal. */
#ifndef MESSAGES_H
#define MESSAGES_H

#include "format/error.h"

/* Prints one line, `panopticon-convert: ...`, in place of the progress. As printf(3). */
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

void warn_err(const struct pnr_err *err);

#endif
