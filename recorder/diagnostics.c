#include "diagnostics.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "signals.h"
#include "../format/capture.h"
#include "../format/file.h"

#define MAX_LINE 1024
#define MAX_READ 4096                   /* bytes of the file `messages`: the first line is what matters */

static struct {
    bool is_known;                      /* which file descriptor 2 was, */
    struct stat was;                    /* ... and that it was this one */
    const char *capture;                /* in a child process, else NULL; borrowed */
    bool is_debugging;
    struct stat was_first;              /* file descriptor 2 when the recorder was loaded */
} diagnostics;

void rec_diagnostics_init(void)
{
    diagnostics.is_known = fstat(STDERR_FILENO, &diagnostics.was) == 0;
}

void rec_diagnostics_hold(void)
{
    diagnostics.is_known = false;
}

void rec_diagnostics_redirect(const char *capture_path)
{
    diagnostics.capture = capture_path;
}

bool rec_diagnostics_are_direct(void) { return !diagnostics.capture; }

/* Appends the line to the messages of the capture. A failure cannot be reported to anybody. */
static void append_message(const char *line, size_t size)
{
    char path[PATH_MAX];
    sigset_t before;
    pnr_file_path(diagnostics.capture, PNR_CAPTURE_MESSAGES, path);
    int fd = pnr_file_open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        fd = pnr_file_open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CREAT);
    if (fd < 0)
        return;
    rec_signals_hold(SIGXFSZ, &before);
    bool is_written = write(fd, line, size) >= 0;
    rec_signals_release(SIGXFSZ, &before, !is_written && errno == EFBIG);
    close(fd);
}

/* Writes the line to standard error, if that is still this file. A failure cannot be reported to anybody. */
static void write_to_stderr(const struct stat *same, const char *line, size_t size)
{
    struct stat st;
    sigset_t before;
    if (fstat(STDERR_FILENO, &st) != 0 || st.st_dev != same->st_dev || st.st_ino != same->st_ino)
        return;
    rec_signals_hold(SIGPIPE, &before);
    bool is_written = write(STDERR_FILENO, line, size) >= 0;
    rec_signals_release(SIGPIPE, &before, !is_written && errno == EPIPE);
}

/* Completes a line of size bytes. Returns how many it has then. */
static size_t format_line(char *line, int size, const char *format, va_list args)
{
    size += vsnprintf(line + size, MAX_LINE - (size_t)size, format, args);
    if (size > MAX_LINE - 1)
        size = MAX_LINE - 1;
    line[size] = '\n';
    return (size_t)size + 1;
}

void rec_warn(const char *format, ...)
{
    char line[MAX_LINE];
    va_list args;
    int start = diagnostics.capture ? snprintf(line, sizeof line, "process %ld: ", (long)getpid()) :
                                      snprintf(line, sizeof line, "panopticon: ");
    va_start(args, format);
    size_t size = format_line(line, start, format, args);
    va_end(args);
    if (diagnostics.capture)
        append_message(line, size);
    else if (diagnostics.is_known)
        write_to_stderr(&diagnostics.was, line, size);
}

void rec_print(const char *format, ...)
{
    char line[MAX_LINE];
    va_list args;
    va_start(args, format);
    size_t size = format_line(line, 0, format, args);
    va_end(args);
    if (diagnostics.is_known)
        write_to_stderr(&diagnostics.was, line, size);
}

bool rec_debug_is_on(void)
{
    return diagnostics.is_debugging;
}

void rec_debug(const char *format, ...)
{
    char line[MAX_LINE];
    va_list args;
    if (!diagnostics.is_debugging)
        return;
    va_start(args, format);
    size_t size = format_line(line, snprintf(line, sizeof line, "panopticon: %ld: ", (long)getpid()), format, args);
    va_end(args);
    write_to_stderr(&diagnostics.was_first, line, size);
}

void rec_debug_init(void)
{
    const char *value = getenv("PANOPTICON_DEBUG");
    diagnostics.is_debugging = value && strcmp(value, "1") == 0 && fstat(STDERR_FILENO, &diagnostics.was_first) == 0;
}

void rec_diagnostics_open_to_all(const char *capture_path)
{
    char path[PATH_MAX];
    pnr_file_path(capture_path, PNR_CAPTURE_MESSAGES, path);
    int fd = pnr_file_open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CREAT | O_EXCL);
    if (fd < 0)
        return;
    if (fchmod(fd, 0622) != 0)
        unlink(path);
    close(fd);
}

void rec_diagnostics_give(const char *capture_path, uid_t user)
{
    char path[PATH_MAX];
    pnr_file_path(capture_path, PNR_CAPTURE_MESSAGES, path);
    if (lchown(path, user, (gid_t)-1) != 0 && errno != ENOENT)
        rec_warn("%s: cannot be given to another user: %s", path, strerror(errno));
}

void rec_diagnostics_pass_on(const char *capture_path)
{
    char path[PATH_MAX], bytes[MAX_READ + 1];
    struct stat st;
    size_t n_lines = 0;
    pnr_file_path(capture_path, PNR_CAPTURE_MESSAGES, path);
    int fd = pnr_file_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? pnr_file_read(fd, bytes, MAX_READ, 0) : -1;
    if (fd >= 0)
        close(fd);
    for (ssize_t i = 0; i < n; i++) {
        n_lines += bytes[i] == '\n';
        if ((unsigned char)bytes[i] < ' ' && (bytes[i] != '\n' || n_lines > 1))
            bytes[i] = ' ';             /* no control characters: any user may have written them */
    }
    if (unlink(path) != 0 && n_lines > 0 && truncate(path, 0) != 0)
        rec_warn("%s: cannot be removed: %s", path, strerror(errno));
    if (n_lines == 0)
        return;
    bytes[n] = 0;
    bytes[strcspn(bytes, "\n")] = 0;
    if (n_lines == 1)
        rec_warn("%s", bytes);
    else
        rec_warn("%s (and %s%zu more messages of child processes)", bytes, n == MAX_READ ? "at least " : "",
                 n_lines - 1);
}
