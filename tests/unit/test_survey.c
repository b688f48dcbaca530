/* recorder/survey.h: what lies in a capture, and who records into it still. */
#include <criterion/criterion.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "processes.h"
#include "recorder/names.h"
#include "recorder/survey.h"

TestSuite(survey, .init = begin_capture, .fini = end_capture);

/* Replaces the name table that make_process has made by one, with two threads and a greenlet. */
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
    cr_assert_eq(rec_names_append_number(&names, "cost_ns", value, &err), 0);
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
    cr_expect_eq(survey.cost.cost_ns, 1500);
    cr_expect_geq(survey.n_bytes, 2 * (8192 + 262144));
}

/* A child that is forked is known of before it has made anything, and no longer when it has begun, has ended, or is
 * another program; also one that is forked by such a child. */
Test(survey, knows_of_children_that_have_not_begun)
{
    enum { BEGUN, ENDED, EXECUTED, FORKED, N };
    char order[PATH_MAX], byte;
    int from_child[2], to_child[2];
    struct rec_survey survey;
    pnr_file_path(capture, PNR_CAPTURE_ORDER, order);
    close(open(order, O_WRONLY | O_CREAT, 0600));
    for (int how = 0; how < N; how++) {
        cr_assert_eq(pipe2(from_child, O_CLOEXEC), 0);
        cr_assert_eq(pipe2(to_child, O_CLOEXEC), 0);
        rec_survey_fork(capture);
        pid_t pid = fork();
        if (pid == 0) {
            close(to_child[1]);
            if (how == FORKED) {
                rec_survey_fork(capture);
                if (fork())
                    _exit(0);
            }
            if (read(to_child[0], &byte, 1) == 1 && how == BEGUN) {
                rec_survey_forked();
                if (write(from_child[1], "", 1) == 1)
                    pause();
            }
            if (how == EXECUTED)
                execlp("sleep", "sleep", "1000", NULL);
            _exit(0);
        }
        rec_survey_forked();
        close(from_child[1]);
        close(to_child[0]);
        if (how == FORKED)
            waitpid(pid, NULL, 0);
        cr_expect(rec_survey_runs(capture), "%d", how);
        rec_survey_take(capture, &survey);
        cr_expect_eq(survey.n_running, 1, "%d", how);
        cr_assert_eq(write(to_child[1], "", 1), 1);
        cr_expect_eq(read(from_child[0], &byte, 1), how == BEGUN, "%d", how);
        for (int i = 0; i < 1000 && how == FORKED && rec_survey_runs(capture); i++)
            usleep(10000);              /* it closes one after the other as it ends */
        if (how == ENDED)
            waitpid(pid, NULL, 0);
        cr_expect_not(rec_survey_runs(capture), "%d", how);
        rec_survey_take(capture, &survey);
        cr_expect_eq(survey.n_running, 0, "%d", how);
        close(from_child[0]);
        close(to_child[1]);
        if (how == BEGUN || how == EXECUTED)
            kill(pid, SIGKILL);
        if (how == BEGUN || how == EXECUTED)
            waitpid(pid, NULL, 0);
    }
}
