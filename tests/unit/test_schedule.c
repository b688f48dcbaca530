#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "recorder/clock.h"
#include "recorder/schedule.h"

#include "check.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

/* Opens the schedule of this thread. Skips the test where the kernel does not report it. */
static struct rec_schedule open_own(void)
{
    char text[128], why[REC_SCHEDULE_WHY_SIZE];
    struct rec_schedule schedule;
    if (!rec_schedule_probe(text, sizeof text))
        cr_skip_test("%s", text);
    cr_assert_str_eq(text, "exact");
    cr_assert(rec_schedule_open(&schedule, (uint32_t)syscall(SYS_gettid), why, sizeof why));
    return schedule;
}

static void sleep_us(long us)
{
    nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL);
}

Test(schedule, a_thread_waits_and_runs_again)
{
    struct rec_schedule schedule = open_own();
    struct rec_schedule_change change;
    cr_assert_not(rec_schedule_next(&schedule, &change), "nothing was looked for");
    uint64_t begin = rec_clock_monotonic_ns(), last = begin, n_waits = 0;
    enum pnr_schedule before = PNR_SCHEDULE_RUNS;
    for (int i = 0; i < 5; i++)
        sleep_us(2000);
    uint64_t end = rec_clock_monotonic_ns();
    cr_assert_geq(rec_schedule_look(&schedule), 10);
    while (rec_schedule_next(&schedule, &change)) {
        cr_assert_neq(change.what, PNR_SCHEDULE_MISSING);
        cr_assert_neq(change.what == PNR_SCHEDULE_RUNS, before == PNR_SCHEDULE_RUNS, "it gets and loses a processor by turns");
        if (change.ns >= begin && change.ns <= end) {
            cr_assert_geq(change.ns, last);
            if (before == PNR_SCHEDULE_WAITS && change.ns - last >= 2000000)
                n_waits++;
            last = change.ns;
        }
        before = change.what;
    }
    cr_assert_eq(n_waits, 5);
    rec_schedule_close(&schedule);
    cr_assert_eq(rec_schedule_look(&schedule), 0);
    cr_assert_not(rec_schedule_next(&schedule, &change));
}

Test(schedule, more_changes_than_the_ring_holds)
{
    struct rec_schedule schedule = open_own();
    struct rec_schedule_change change;
    for (int round = 0; round < 3; round++) {
        bool is_missing = false;
        size_t n = 0;
        for (int i = 0; i < 200; i++)
            sleep_us(1);
        cr_assert_leq(rec_schedule_look(&schedule), REC_SCHEDULE_MAX_CHANGES);
        for (; rec_schedule_next(&schedule, &change); n++)
            is_missing |= change.what == PNR_SCHEDULE_MISSING;
        cr_assert(is_missing);
        cr_assert_leq(n, REC_SCHEDULE_MAX_CHANGES);
    }
    rec_schedule_look(&schedule);
    while (rec_schedule_next(&schedule, &change))       /* what the kernel reports of the rounds before */
        ;
    sleep_us(1000);
    cr_assert_geq(rec_schedule_look(&schedule), 2);
    cr_assert(rec_schedule_next(&schedule, &change));
    rec_schedule_close(&schedule);
}

Test(schedule, no_such_thread)
{
    char why[REC_SCHEDULE_WHY_SIZE] = "old";
    struct rec_schedule schedule = open_own();
    rec_schedule_close(&schedule);
    cr_assert_not(rec_schedule_open(&schedule, 0x7fffffff, why, sizeof why));
    cr_assert_str_eq(why, "", "it has ended: nothing is refused");
    cr_assert_null(schedule.ring);
    rec_schedule_close(&schedule);
}

/* Sets a filter that ends the process at a perf_event_open, for this thread alone. Returns NULL where that cannot be. */
static void *try_behind_a_filter(void *why)
{
    struct sock_filter rows[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_perf_event_open, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
    struct sock_fprog program = { sizeof rows / sizeof *rows, rows };
    struct rec_schedule schedule;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        return NULL;
    cr_assert_not(rec_schedule_open(&schedule, 0, why, REC_SCHEDULE_WHY_SIZE));
    return why;
}

Test(schedule, a_filter_of_the_calling_thread_alone)
{
    char why[REC_SCHEDULE_WHY_SIZE];
    pthread_t thread;
    void *result;
    cr_assert_eq(pthread_create(&thread, NULL, try_behind_a_filter, why), 0);
    cr_assert_eq(pthread_join(thread, &result), 0);
    if (!result)
        cr_skip_test("no filter of system calls can be set");
    cr_assert_str_eq(why, "a filter of system calls is in force");
}

/* The list of groups stands before the filter, and may be longer than what is read at once. */
Test(schedule, a_long_status)
{
    char text[128];
    gid_t groups[700];
    struct rec_schedule schedule = open_own();
    rec_schedule_close(&schedule);
    for (gid_t i = 0; i < 700; i++)
        groups[i] = 100000 + i;
    for (size_t n = 200; n <= 700; n++) {       /* 7 bytes each: the first read ends in many places, among them inside the key */
        if (setgroups(n, groups) != 0)
            cr_skip_test("no right to set groups");
        cr_assert_gt(rec_schedule_probe(text, sizeof text), 0, "%s", text);
    }
}

Test(schedule, no_descriptor_is_left)
{
    char text[128];
    struct rlimit limit, none;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 0;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    size_t max_rings = rec_schedule_probe(text, sizeof text);
    setrlimit(RLIMIT_NOFILE, &limit);
    cr_assert_eq(max_rings, 0);
    cr_assert_str_eq(text, "sampled: whether a filter of system calls is in force cannot be read");
}

Test(schedule, a_part_of_the_memory_that_may_be_locked)
{
    char text[128];
    struct rec_schedule schedule = open_own();
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    rec_schedule_close(&schedule);
    cr_assert_leq(rec_schedule_probe(text, sizeof text), 24);
    cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 32 * page, 32 * page }), 0);
    cr_assert_eq(rec_schedule_probe(text, sizeof text), 4);
    cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 0, 32 * page }), 0);
    cr_assert_eq(rec_schedule_probe(text, sizeof text), 0);
    cr_assert_str_eq(text, "sampled: no memory may be locked (RLIMIT_MEMLOCK)");
}

Test(schedule, a_time_namespace)
{
    static const char offset[] = "monotonic 1000 0\n";
    char text[128] = "";
    int status;
    if (unshare(CLONE_NEWTIME) != 0)
        cr_skip_test("no right to make time namespaces");
    int fd = open("/proc/self/timens_offsets", O_WRONLY);
    cr_assert_eq(write(fd, offset, strlen(offset)), (ssize_t)strlen(offset));
    pid_t pid = fork();                         /* the first process of the namespace */
    if (pid == 0)
        _exit(rec_schedule_probe(text, sizeof text) == 0 && strstr(text, "a clock of its own") ? 0 : 1);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0);
    close(fd);
}
