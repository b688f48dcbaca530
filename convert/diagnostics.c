#include "diagnostics.h"

#include <stdarg.h>
#include <stdio.h>

void diagnostics_report(const struct diagnostics *diagnostics, enum diagnostic_level level, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    diagnostics->report(diagnostics->arg, level, line);
}

void diagnostics_err(const struct diagnostics *diagnostics, enum diagnostic_level level, const struct pnr_err *err)
{
    char line[1024];
    diagnostics->report(diagnostics->arg, level, pnr_err_describe(err, line, sizeof line));
}
