/* What was found on the way that did not stop a conversion: damage, loss, recovery. The modules say it here, in one
 * line each without newline; main.c prints. Anything that is skipped must be said, or counted and then said. */
#ifndef NOTES_H
#define NOTES_H

#include <stdbool.h>

#include "format/error.h"

enum note_level {
    NOTE_FACT,                  /* good to know: all that is in the capture was converted */
    NOTE_DAMAGE                 /* part of the capture could not be converted: exit status 1 */
};

struct notes {
    void (*say)(void *arg, enum note_level level, const char *line);    /* line: borrowed for the call */
    void *arg;
};

/* Formats a line and says it. */
void notes_say(const struct notes *notes, enum note_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Says what err describes. */
void notes_err(const struct notes *notes, enum note_level level, const struct pnr_err *err);

#endif
