/* recorder/survey.h: what lies in a capture, and who records into it still. */
#include <criterion/criterion.h>
#include <unistd.h>

#include "processes.h"
#include "recorder/names.h"
#include "recorder/survey.h"

TestSuite(survey, .init = begin_capture, .fini = end_capture);

/* A name table in place of the one that make_process has made, with two threads and a greenlet. */
static void write_names(const struct process *process, const char *key, uint64_t value)
{
    static const struct pnr_name threads[] = {
        { .type = PNR_NAME_THREAD, .index = 1 }, { .type = PNR_NAME_THREAD, .kind = PNR_THREAD_GREENLET, .index = 2 },
        { .type = PNR_NAME_THREAD, .index = 3 }, { .type = PNR_NAME_THREAD, .index = 1 } };
    char path[PATH_MAX];
    unsigned char header[PNR_NAMES_HEADER_SIZE];
    struct rec_file names;
    pnr_file_path(process->path, "names", path);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(rec_file_create(&names, process->path, "names", &err), 0);
    pnr_names_header_encode(header);
    cr_assert_eq(rec_file_append(&names, header, sizeof header, &err), 0);
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++)
        cr_assert_eq(rec_names_append(&names, &threads[i], &err), 0);
    cr_assert_eq(rec_names_append_number(&names, key, value, &err), 0);
    cr_assert_eq(rec_names_append_number(&names, "lost", 3, &err), 0);
    rec_file_release(&names);
}

static void remove_live(const struct process *process)
{
    char path[PATH_MAX];
    pnr_file_path(process->path, "live", path);
    cr_assert_eq(unlink(path), 0);
}

Test(survey, knows_whether_somebody_records)
{
    struct process process, other;
    cr_expect_not(rec_survey_runs(capture));
    make_process(&process, 7, 1, (struct rec_limits){ 0 });
    make_process(&other, 8, 1, (struct rec_limits){ 0 });
    set_life(&other, DEAD);
    cr_expect(rec_survey_runs(capture));
    remove_live(&process);
    cr_expect_not(rec_survey_runs(capture));
    rec_segments_stop(&process.segments);
    rec_segments_stop(&other.segments);
}

/* One that has ended, one that was killed, one that was killed and finished, and one that runs. */
Test(survey, adds_up_all_processes)
{
    static const char *const keys[] = { "events", "pid", "events", "pid" };
    struct process processes[4];
    struct rec_survey survey;
    for (int i = 0; i < 4; i++) {
        make_process(&processes[i], 7 + i, 1, (struct rec_limits){ 0 });
        write_names(&processes[i], keys[i], 100u << i);
        rec_segments_stop(&processes[i].segments);
    }
    remove_live(&processes[0]);
    set_life(&processes[1], DEAD);
    remove_live(&processes[2]);
    rec_survey_take(capture, &survey);
    cr_expect_eq(survey.n_processes, 4);
    cr_expect_eq(survey.n_running, 1);
    cr_expect_eq(survey.n_killed, 1);
    cr_expect_eq(survey.n_threads, 8, "%u", survey.n_threads);
    cr_expect_eq(survey.n_events, 500);
    cr_expect_eq(survey.n_lost, 12);
    cr_expect_geq(survey.n_bytes, 2 * (8192 + 262144));
}
