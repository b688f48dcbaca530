#include "messages.h"

#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "progress.h"

#define COMMAND "panopticon "           /* runs this program for its subcommands, under names such as "panopticon top" */

const char *program_name = "panopticon-convert";

void messages_begin(char *name)
{
    if (strncmp(name, COMMAND, strlen(COMMAND)) == 0)
        program_name = name;
}

void warn(const char *format, ...)
{
    char line[PATH_MAX + 1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *c = line; *c; c++) {     /* text of a capture must not steer the terminal */
        bool is_long = c[0] == '\xc2' && (c[1] & 0xe0) == 0x80;         /* U+0080 to U+009F */
        if (is_long)
            *c++ = '?';
        if (is_long || (unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    fflush(stdout);
    progress_hide();
    fprintf(stderr, "%s: %s\n", program_name, line);
}

void warn_err(const struct pnr_err *err)
{
    char text[1024];
    warn("%s", pnr_err_describe(err, text, sizeof text));
}
