#include "notes.h"

#include <stdarg.h>
#include <stdio.h>

void notes_say(const struct notes *notes, enum note_level level, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    notes->say(notes->arg, level, line);
}

void notes_err(const struct notes *notes, enum note_level level, const struct pnr_err *err)
{
    char line[1024];
    notes->say(notes->arg, level, pnr_err_describe(err, line, sizeof line));
}
