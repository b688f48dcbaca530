/* What was found on the way that did not stop a conversion: damage, loss, recovery. The modules say it here, in one
 * line each without newline; main.c prints. Anything that is skipped must be said, or counted and then said. */
#ifndef DIAGNOSTICS_H
#define DIAGNOSTICS_H

#include <stdbool.h>

#include "format/error.h"

enum diagnostic_level {
    DIAGNOSTIC_INFO,                  /* good to know: all that is in the capture was converted */
    DIAGNOSTIC_DAMAGE                 /* part of the capture could not be converted: exit status 1 */
};

struct diagnostics {
    void (*report)(void *arg, enum diagnostic_level level, const char *line);    /* line: borrowed for the call */
    void *arg;
};

/* Formats a line and says it. */
void diagnostics_report(const struct diagnostics *diagnostics, enum diagnostic_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Says what err describes. */
void diagnostics_err(const struct diagnostics *diagnostics, enum diagnostic_level level, const struct pnr_err *err);

#endif
