#include "notice.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "signals.h"

static bool was_open;
static struct stat was;

void rec_notice_init(void)
{
    was_open = fstat(STDERR_FILENO, &was) == 0;
}

void rec_notice_hold(void)
{
    was_open = false;
}

void rec_notice(const char *format, ...)
{
    char line[1024];
    struct stat st;
    sigset_t before;
    va_list args;
    if (!was_open || fstat(STDERR_FILENO, &st) != 0 || st.st_dev != was.st_dev || st.st_ino != was.st_ino)
        return;
    int size = snprintf(line, sizeof line, "panopticon: ");
    va_start(args, format);
    size += vsnprintf(line + size, sizeof line - (size_t)size, format, args);
    va_end(args);
    if (size > (int)sizeof line - 1)
        size = sizeof line - 1;
    line[size++] = '\n';
    /* When it fails, nobody is left to tell. */
    rec_signals_hold(SIGPIPE, &before);
    bool is_written = write(STDERR_FILENO, line, (size_t)size) >= 0;
    rec_signals_release(SIGPIPE, &before, !is_written && errno == EPIPE);
}
