/* What the tests of the recorder's core share: a session in a temporary directory. */
#ifndef SESSION_FIXTURE_H
#define SESSION_FIXTURE_H

#include <unistd.h>

#include "recorded.h"

static char folder[] = "/tmp/panopticon-test-XXXXXX", capture[PATH_MAX], process[PATH_MAX];

static inline void begin_with(struct rec_drain_options options)
{
    char path[PATH_MAX];
    struct pnr_err err;
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/run.pnr", folder);
    rec_clock_init();
    cr_assert_eq(rec_session_start(path, false, &options, capture, &err), 0, "%s", err.what);
    snprintf(process, sizeof process, "%.4000s/process-%d", capture, getpid());
}

static inline void begin(void)
{
    begin_with((struct rec_drain_options){ .discards = false });
}

/* Begins with eight chunks, and discards on overflow. */
static inline void begin_small(void)
{
    begin_with((struct rec_drain_options){ .limits = { .max_size = REC_MIN_SIZE }, .discards = true });
}

static inline void end(void)
{
    char command[PATH_MAX + 16];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_expect_eq(system(command), 0);
}

static inline uint64_t count_in_file(uint32_t thread, bool *is_ended)
{
    struct in_file in_file = read_thread(process, thread);
    *is_ended = in_file.is_ended;
    return in_file.n;
}

static inline struct pnr_string string(const char *text)
{
    return (struct pnr_string){ text, (uint32_t)strlen(text) };
}

#endif
