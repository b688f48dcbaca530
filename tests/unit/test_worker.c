/* recorder/worker.h: whatever its state, work is done once, and so is what rec_worker_wake asks for. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "recorder/clock.h"
#include "recorder/worker.h"

static _Atomic int n_left, n_done, n_woken, n_idle;
static _Atomic pthread_t worked_on;     /* the thread that worked last */

static bool work(void)
{
    if (atomic_load(&n_left) == 0)
        return false;
    atomic_store(&worked_on, pthread_self());
    atomic_fetch_sub(&n_left, 1);
    atomic_fetch_add(&n_done, 1);
    return true;
}

static void on_wake(void) { atomic_fetch_add(&n_woken, 1); }
static void on_idle(void) { atomic_fetch_add(&n_idle, 1); }

static const struct rec_worker_tasks tasks = { .work = work, .on_wake = on_wake, .on_idle = on_idle };

static void start(void)
{
    rec_clock_init();
    cr_assert_eq(rec_worker_start(&tasks), 0);
}

static void add_work(int n)
{
    atomic_fetch_add(&n_left, n);
    rec_worker_post();
}

/* Never returns if it does not come: the suite has a time limit. */
static void wait_for(_Atomic int *count, int n)
{
    while (atomic_load(count) < n)
        usleep(1000);
}

static int count_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    int n = -2;                         /* "." and ".." */
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void unpark(void)
{
    while (!rec_worker_unpark())
        usleep(1000);
}

TestSuite(worker, .init = start, .timeout = 60);

Test(worker, works_on_a_thread_of_its_own)
{
    add_work(3);
    wait_for(&n_done, 3);
    cr_expect_not(pthread_equal(atomic_load(&worked_on), pthread_self()));
    wait_for(&n_idle, 3);
    rec_worker_stop();
    cr_expect_eq(n_done, 3);
}

Test(worker, does_all_work_before_it_stops)
{
    for (int i = 0; i < 100; i++)
        add_work(10);
    rec_worker_wake();
    rec_worker_stop();
    cr_expect_eq(n_done, 1000);
    cr_expect_eq(n_woken, 1);
}

Test(worker, leaves_the_process_without_its_thread_while_it_is_parked)
{
    int before = count_threads();
    rec_worker_park();
    cr_expect_eq(count_threads(), before - 1);
    add_work(5);
    rec_worker_wake();
    usleep(20000);
    cr_expect_eq(n_done, 0);
    cr_expect_eq(n_woken, 0);
    unpark();
    wait_for(&n_done, 5);
    wait_for(&n_woken, 1);
    rec_worker_stop();
    cr_expect_eq(n_done, 5);
    cr_expect_eq(n_woken, 1);
}

Test(worker, comes_back_only_after_a_while)
{
    uint64_t parked = rec_clock_monotonic_ns();
    rec_worker_park();
    bool is_back = rec_worker_unpark();
    cr_expect(!is_back || rec_clock_monotonic_ns() - parked >= 10000000);
    unpark();
    cr_expect_geq(rec_clock_monotonic_ns() - parked, 10000000);
    rec_worker_stop();
}

Test(worker, runs_what_is_due_inline_while_it_is_parked)
{
    rec_worker_park();
    rec_worker_run_inline();
    cr_expect_eq(n_woken, 0, "nothing is due");
    rec_worker_wake();
    rec_worker_wake();
    rec_worker_run_inline();
    rec_worker_run_inline();
    cr_expect_eq(n_woken, 1);
    unpark();
    rec_worker_stop();
    cr_expect_eq(n_woken, 1);
}

Test(worker, stops_while_it_is_parked)
{
    rec_worker_park();
    rec_worker_park();
    add_work(4);
    rec_worker_wake();
    rec_worker_stop();
    cr_expect_eq(n_done, 4);
    cr_expect_eq(n_woken, 1);
    cr_expect(pthread_equal(atomic_load(&worked_on), pthread_self()));
    rec_worker_run_inline();
    cr_expect_eq(n_woken, 1);
}

Test(worker, comes_back_after_it_was_suspended)
{
    rec_worker_suspend();
    add_work(2);
    usleep(20000);
    cr_expect_eq(n_done, 0);
    rec_worker_resume();
    wait_for(&n_done, 2);
    rec_worker_stop();
}

Test(worker, knows_who_waits_for_it)
{
    cr_expect_not(rec_worker_is_awaited());
    rec_worker_park();
    cr_expect(rec_worker_is_awaited());
    unpark();
    rec_worker_stop();
}

/* A child has no thread, whatever it was like in the parent, and may start its own. */
Test(worker, starts_again_in_a_forked_child)
{
    rec_worker_park();
    pid_t pid = fork();
    if (pid == 0) {
        rec_worker_forked();
        if (!rec_worker_unpark() || rec_worker_start(&tasks) != 0)
            _exit(1);
        add_work(1);
        rec_worker_stop();
        _exit(atomic_load(&n_done) == 1 ? 0 : 2);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0);
    unpark();
    rec_worker_stop();
}
