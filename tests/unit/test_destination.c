/* recorder/destination.h and recorder/survey.h: what a new recording may replace, and what lies in a capture. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "format/capture.h"
#include "format/names.h"
#include "recorder/destination.h"
#include "recorder/tree.h"
#include "recorder/survey.h"

static char folder[] = "/tmp/panopticon-test-XXXXXX";
static pid_t other;                     /* a process that runs */
static struct pnr_err err;

static void begin(void)
{
    cr_assert(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
    if ((other = fork()) == 0)
        for (;;)
            pause();
}

static void end(void)
{
    char command[PATH_MAX];
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    snprintf(command, sizeof command, "rm -r %s", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(destination, .init = begin, .fini = end);
TestSuite(survey, .init = begin, .fini = end);

static uint64_t start_of(pid_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    FILE *file = fopen(path, "r");
    cr_assert(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    char *at = strrchr(text, ')');
    for (int field = 2; field < 22; field++)
        at = strchr(at + 1, ' ');
    return strtoull(at, NULL, 10);
}

static void add_name(FILE *file, enum pnr_name_type type, uint8_t kind, uint32_t index, const char *first,
                     const char *second)
{
    unsigned char bytes[PNR_NAME_ENTRY_SIZE + 256];
    struct pnr_name name = { .type = type, .kind = kind, .index = index,
                             .strings = { { first, (uint32_t)strlen(first) }, { second, (uint32_t)strlen(second) } } };
    pnr_name_encode(&name, bytes);
    fwrite(bytes, pnr_name_size(&name), 1, file);
}

/* A process of so many threads, each of which is renamed. events: NULL for one that did not reach its end. */
static void make_process(const char *capture, pid_t pid, const char *suffix, uint32_t n_threads, const char *events)
{
    char path[PATH_MAX], file_path[PATH_MAX];
    unsigned char header[PNR_NAMES_HEADER_SIZE];
    snprintf(path, sizeof path, "%s/process-%ld%s", capture, (long)pid, suffix);
    mkdir(capture, 0700);
    cr_assert_eq(mkdir(path, 0700), 0);
    pnr_file_path(path, "names", file_path);
    FILE *file = fopen(file_path, "w");
    pnr_names_header_encode(header);
    fwrite(header, sizeof header, 1, file);
    for (uint32_t i = 1; i <= n_threads; i++) {
        add_name(file, PNR_NAME_THREAD, PNR_THREAD_OWN, 2 * i, "", "");
        add_name(file, PNR_NAME_THREAD, PNR_THREAD_GREENLET, 2 * i + 1, "", "");
        add_name(file, PNR_NAME_THREAD, PNR_THREAD_OWN, 2 * i, "again", "");
    }
    if (events) {
        add_name(file, PNR_NAME_PROPERTY, 0, 0, "lost", "2");
        add_name(file, PNR_NAME_PROPERTY, 0, 0, "events", events);
    }
    fclose(file);
}

/* Gives the process a live mapping, as if it had begun at that time. */
static void make_live(const char *capture, pid_t pid, uint64_t start)
{
    char path[PATH_MAX];
    struct pnr_live live;
    snprintf(path, sizeof path, "%s/process-%ld", capture, (long)pid);
    cr_assert_eq(pnr_live_create(path, 1, &live, &err), 0);
    live.header->process_start = start;
    live.header->pid_namespace = pnr_process_namespace();
    pnr_live_close(&live, path, false);
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

Test(survey, adds_up_what_processes_recorded)
{
    struct rec_survey survey;
    make_process("run.pnr", 7, "", 2, "1000");
    make_process("run.pnr", 7, "-2", 1, "30");
    make_process("run.pnr", 8, "", 3, NULL);
    make_process("run.pnr", other, "", 1, NULL);
    make_live("run.pnr", other, start_of(other));
    rec_survey_take("run.pnr", &survey);
    cr_expect_eq(survey.n_processes, 4);
    cr_expect_eq(survey.n_events, 1030);
    cr_expect_eq(survey.n_lost, 4);
    cr_expect_eq(survey.n_threads, 7);
    cr_expect_eq(survey.n_running, 1);
    cr_expect_eq(survey.n_killed, 1);
    cr_expect_gt(survey.n_bytes, PNR_CHUNK_SIZE);
    rec_survey_take("missing.pnr", &survey);
    cr_expect_eq(survey.n_processes, 0);
}

Test(survey, knows_who_runs)
{
    cr_expect_not(rec_survey_runs("run.pnr"));
    make_process("run.pnr", getpid(), "", 1, NULL);
    make_live("run.pnr", getpid(), pnr_process_start());        /* this one was another program then */
    cr_expect_not(rec_survey_runs("run.pnr"));
    make_process("run.pnr", other, "", 1, NULL);
    make_live("run.pnr", other, start_of(other) + 1);           /* its id was another's */
    cr_expect_not(rec_survey_runs("run.pnr"));
    make_process("used.pnr", other, "", 1, NULL);
    make_live("used.pnr", other, start_of(other));
    cr_expect(rec_survey_runs("used.pnr"));
}

Test(destination, replaces_only_what_nobody_uses)
{
    struct rec_destination destination;
    make_process("used.pnr", other, "", 1, NULL);
    make_live("used.pnr", other, start_of(other));
    cr_expect_eq(rec_destination_choose_capture(&destination, "used.pnr", true, &err), -1);
    cr_expect_str_eq(err.what, "a process may still record into it, so --force does not remove it");
    cr_expect_eq(rec_destination_choose_capture(&destination, "used.pnr", false, &err), 0);
    rec_destination_settle(&destination, true);
    cr_expect(is_there("used.pnr"));
    cr_assert_eq(mkdir("other", 0700), 0);
    cr_expect_eq(rec_destination_choose_capture(&destination, "other", true, &err), -1);
    cr_assert_eq(symlink("used.pnr", "link.pnr"), 0);
    cr_expect_eq(rec_destination_choose_capture(&destination, "link.pnr/", true, &err), -1);
}

Test(destination, removes_the_old_one_when_the_new_one_has_begun)
{
    struct rec_destination destination;
    for (int has_begun = 0; has_begun < 2; has_begun++) {
        if (!has_begun)
            make_process("run.pnr", 7, "", 1, "1");
        cr_assert_eq(rec_destination_choose_capture(&destination, "run.pnr//", true, &err), 0);
        cr_expect(is_there("run.pnr/process-7"));
        cr_assert_eq(rec_destination_clear(&destination, &err), 0);
        cr_expect_not(is_there("run.pnr"));
        cr_expect(is_there(".run.pnr.replaced/process-7"));
        rec_destination_settle(&destination, has_begun);
        cr_expect_eq(is_there("run.pnr"), !has_begun);
        cr_expect_not(is_there(".run.pnr.replaced"));
    }
}

Test(destination, finds_an_output_that_is_not_promised)
{
    static const struct { const char *used, *output, *taken, *capture; } table[] = {
        { "x", "out.trace", "out.trace", "out.trace.pnr" },
        { "out.trace.pnr", "out.trace", "out-2.trace", "out-2.trace.pnr" },
        { "out.trace-7.pnr", "out.trace", "out-2.trace", "out-2.trace.pnr" },
        { "a.b.json.gz.pnr", "a.b.json.gz", "a.b-2.json.gz", "a.b-2.json.gz.pnr" },
        { "sub/c.folded.zst.pnr", "sub/c.folded.zst", "sub/c-2.folded.zst", "sub/c-2.folded.zst.pnr" },
    };
    struct rec_destination destination;
    char taken[PATH_MAX];
    cr_assert_eq(mkdir("sub", 0700), 0);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        make_process(table[i].used, other, "", 1, NULL);
        make_live(table[i].used, other, start_of(other));
        cr_assert_eq(rec_destination_choose_output(&destination, table[i].output, taken, &err), 0);
        cr_expect_str_eq(taken, table[i].taken);
        cr_expect_str_eq(destination.capture, table[i].capture);
        rec_destination_settle(&destination, true);
        rec_tree_remove(table[i].used);
    }
}

/* The process that is to convert it has ended its recording, and is at work. */
Test(destination, takes_a_capture_that_is_converted_for_one_in_use)
{
    struct rec_destination destination;
    for (int is_promised = 0; is_promised < 2; is_promised++) {
        FILE *file = (make_process("run.pnr", other, "", 1, "1"), fopen("run.pnr/order", "w"));
        cr_assert(file);
        fprintf(file, "by=%ld-%llu-%llu%c%s%ctells=1", (long)other, (unsigned long long)start_of(other),
                (unsigned long long)pnr_process_namespace(), 0,
                is_promised ? "output=/out.trace" : "wanted=/run.pnr", 0);
        fclose(file);
        cr_expect_eq(rec_destination_choose_capture(&destination, "run.pnr", true, &err), is_promised ? -1 : 0);
        rec_destination_settle(&destination, true);
        rec_tree_remove("run.pnr");
    }
}
