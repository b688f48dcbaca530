/* Prints the converter's messages on standard error: lines without anything that could steer a terminal. */
#ifndef MESSAGES_H
#define MESSAGES_H

#include "format/error.h"

/* The program's name as the user knows it. */
extern const char *program_name;

/* Takes over the name under which the command `panopticon` runs this program. name: argv[0]; borrowed for good. */
void messages_begin(char *name);

/* Prints one line, `panopticon-convert: ...`, in place of the progress. As printf(3). */
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

void warn_err(const struct pnr_err *err);

#endif
