/* Checks format/process.h: a process is gone only when that is known. */
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "format/process.h"

/* A process that does nothing, and when it started. */
static pid_t start_child(uint64_t *start)
{
    int from_child[2];
    cr_assert_eq(pipe(from_child), 0);
    pid_t pid = fork();
    if (pid == 0) {
        uint64_t mine = pnr_process_start();
        if (write(from_child[1], &mine, sizeof mine) == sizeof mine)
            pause();
        _exit(1);
    }
    cr_assert_eq(read(from_child[0], start, sizeof *start), sizeof *start);
    close(from_child[0]);
    close(from_child[1]);
    return pid;
}

Test(process, knows_itself)
{
    cr_expect_neq(pnr_process_start(), 0);
    cr_expect_neq(pnr_process_namespace(), 0);
    cr_expect_eq(pnr_process_find_state(getpid(), pnr_process_start(), pnr_process_namespace()), PNR_PROCESS_RUNS);
}

Test(process, distinguishes_running_from_gone)
{
    uint64_t start, namespace = pnr_process_namespace();
    siginfo_t info;
    pid_t pid = start_child(&start);
    cr_expect_geq(start, pnr_process_start());
    cr_expect_eq(pnr_process_find_state(pid, start, namespace), PNR_PROCESS_RUNS);
    cr_expect_eq(pnr_process_find_state(pid, start + 1, namespace), PNR_PROCESS_GONE, "another one of that number");
    kill(pid, SIGKILL);
    cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    cr_expect_eq(pnr_process_find_state(pid, start, namespace), PNR_PROCESS_GONE, "nobody has waited for it");
    waitpid(pid, NULL, 0);
    cr_expect_eq(pnr_process_find_state(pid, start, namespace), PNR_PROCESS_GONE);
}

Test(process, does_not_guess)
{
    uint64_t start, namespace = pnr_process_namespace();
    pid_t pid = start_child(&start);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    cr_expect_eq(pnr_process_find_state(pid, 0, namespace), PNR_PROCESS_UNKNOWN);
    cr_expect_eq(pnr_process_find_state(pid, start, 0), PNR_PROCESS_UNKNOWN);
    cr_expect_eq(pnr_process_find_state(pid, start, namespace + 1), PNR_PROCESS_UNKNOWN, "numbers mean others there");
}

Test(process, does_not_guess_without_proc)
{
    uint64_t start = pnr_process_start(), namespace = pnr_process_namespace();
    struct rlimit limit, none;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 0;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    enum pnr_process_state state = pnr_process_find_state(getpid(), start, namespace);
    setrlimit(RLIMIT_NOFILE, &limit);
    cr_expect_eq(state, PNR_PROCESS_UNKNOWN);
}

/* The program may have used up all descriptors but one. */
Test(process, knows_its_start_by_one_descriptor)
{
    uint64_t start = pnr_process_start();
    struct rlimit limit, one;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int lowest = dup(STDOUT_FILENO);
    close(lowest);
    one = limit;
    one.rlim_cur = (rlim_t)lowest + 1;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &one), 0);
    uint64_t found = pnr_process_start();
    setrlimit(RLIMIT_NOFILE, &limit);
    cr_expect_neq(found, 0);
    cr_expect_eq(found, start);
}

/* A new namespace has the /proc of the old one until somebody mounts another: there its numbers mean other processes.
 * The first process has the number 1, which in the parent's /proc is that of the machine's first process. */
Test(process, does_not_take_the_proc_of_another_namespace)
{
    int from_child[2], state = -1;
    cr_assert_eq(pipe(from_child), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWPID) != 0)
            _exit(2);                   /* that is not permitted here */
        pid_t first = fork();
        if (first == 0) {
            uint64_t start = pnr_process_start(), namespace = pnr_process_namespace();
            pid_t second = fork();
            if (second == 0) {
                state = pnr_process_find_state(1, start, namespace);
                _exit(write(from_child[1], &state, sizeof state) != sizeof state);
            }
            waitpid(second, NULL, 0);
            state = pnr_process_find_state(second, start, namespace);
            _exit(write(from_child[1], &state, sizeof state) != sizeof state);
        }
        waitpid(first, NULL, 0);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    close(from_child[1]);
    if (WEXITSTATUS(status) == 2)
        cr_skip_test("no right to make PID namespaces");
    cr_assert_eq(read(from_child[0], &state, sizeof state), sizeof state);
    cr_expect_eq(state, PNR_PROCESS_UNKNOWN, "it runs");
    cr_assert_eq(read(from_child[0], &state, sizeof state), sizeof state);
    cr_expect_eq(state, PNR_PROCESS_GONE, "there is none of that number, which is known without /proc");
}

/* The name stands before the field, in brackets, and may hold anything. */
Test(process, is_not_confused_by_names)
{
    uint64_t start = pnr_process_start();
    cr_assert_eq(prctl(PR_SET_NAME, ") Z 1 (2 3) 4"), 0);
    cr_expect_eq(pnr_process_start(), start);
    cr_expect_eq(pnr_process_find_state(getpid(), start, pnr_process_namespace()), PNR_PROCESS_RUNS);
}
