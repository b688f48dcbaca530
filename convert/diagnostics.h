/* What a conversion found that did not stop it: damage, loss, recovery. Modules report it here, one line each without a
 * newline; main.c prints. Whatever is skipped is reported, or counted and then reported. */
#ifndef DIAGNOSTICS_H
#define DIAGNOSTICS_H

#include <stdbool.h>

#include "format/error.h"

enum diagnostic_level {
    DIAGNOSTIC_INFO,                    /* all that is in the capture was converted */
    DIAGNOSTIC_DAMAGE                   /* part of the capture could not be converted: exit status 1 */
};

struct diagnostics {
    void (*report)(void *arg, enum diagnostic_level level, const char *line);    /* line: borrowed for the call */
    void *arg;
};

/* Formats a line and reports it. */
void diagnostics_report(const struct diagnostics *diagnostics, enum diagnostic_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Reports what err describes. */
void diagnostics_err(const struct diagnostics *diagnostics, enum diagnostic_level level, const struct pnr_err *err);

#endif
