/* convert/progress.h: the line on a terminal, by a clock that the test sets. */
#include <criterion/criterion.h>
#include <pty.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "convert/progress.h"

static int64_t fake_ms = -1;            /* -1: the clock is real */
static int terminal = -1, before = -1;

/* Stands in for that of the C library. */
int clock_gettime(clockid_t clock, struct timespec *time)
{
    if (fake_ms < 0)
        return (int)syscall(SYS_clock_gettime, clock, time);
    *time = (struct timespec){ .tv_sec = fake_ms / 1000, .tv_nsec = fake_ms % 1000 * 1000000 };
    return 0;
}

/* Makes standard error a terminal, and the time 1000 s. */
static void begin(void)
{
    int other;
    cr_assert_eq(openpty(&terminal, &other, NULL, NULL, NULL), 0);
    before = dup(STDERR_FILENO);
    dup2(other, STDERR_FILENO);
    close(other);
    fake_ms = 1000000;
    progress_begin();
}

static void end(void)
{
    fake_ms = -1;
    dup2(before, STDERR_FILENO);
    close(before);
    close(terminal);
}

/* Expects that the terminal has been sent the text, and no more. */
static void expect_text(const char *text)
{
    char found[256] = "";
    fputc('.', stderr);
    cr_assert_gt(read(terminal, found, sizeof found - 1), 0);
    size_t n = strlen(found);
    while (found[n - 1] != '.')
        n += (size_t)read(terminal, found + n, sizeof found - 1 - n);
    found[n - 1] = 0;
    cr_expect_str_eq(found, text);
}

Test(progress, shows_what_is_done_and_what_is_left, .init = begin, .fini = end)
{
    fake_ms += 4000;
    progress_show(&(struct progress){ .n_read = 1, .n_blocks = 4, .bytes = 2500000, .events = 8000000 });
    expect_text("\r25 %, 2 MB, 8.0 M events, 2.0 M/s, 12 s left\x1b[K");
}

Test(progress, is_complete_when_more_is_read_than_there_was, .init = begin, .fini = end)
{
    fake_ms += 2000;
    progress_show(&(struct progress){ .n_read = 5, .n_blocks = 4, .bytes = 1000000, .events = 1000000 });
    expect_text("\r100 %, 1 MB, 1.0 M events, 0.5 M/s, 0 s left\x1b[K");
}

Test(progress, is_due_ten_times_a_second, .init = begin, .fini = end)
{
    fake_ms += 99;
    cr_expect_not(progress_is_due());
    fake_ms += 1;
    cr_expect(progress_is_due());
    progress_show(&(struct progress){ .n_read = 0, .n_blocks = 4 });
    cr_expect_not(progress_is_due());
    fake_ms += 100;
    cr_expect(progress_is_due());
    expect_text("");                    /* nothing has been read: how long it takes is not known */
}

Test(progress, is_hidden_once, .init = begin, .fini = end)
{
    progress_hide();
    expect_text("");
    fake_ms += 1000;
    progress_show(&(struct progress){ .n_read = 1, .n_blocks = 2 });
    expect_text("\r50 %, 0 MB, 0.0 M events, 0.0 M/s, 1 s left\x1b[K");
    progress_hide();
    progress_hide();
    expect_text("\r\x1b[K");
}

Test(progress, is_never_due_without_a_terminal)
{
    int pipes[2], err = dup(STDERR_FILENO);
    cr_assert_eq(pipe(pipes), 0);
    dup2(pipes[1], STDERR_FILENO);
    fake_ms = 0;
    progress_begin();
    fake_ms = 10000;
    bool is_due = progress_is_due();
    fake_ms = -1;
    dup2(err, STDERR_FILENO);
    cr_expect_not(is_due);
}
