#include "convert/jobs.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

#define N 200

struct square {
    struct job job;                     /* first: a job is a square */
    unsigned number, result;
    pthread_t thread;                   /* that ran it */
};

static void run(struct job *job)
{
    struct square *square = (struct square *)job;
    if (square->number % 7 == 0)
        usleep(100);                    /* those after it are ready earlier */
    square->result = square->number * square->number;
    square->thread = pthread_self();
}

/* What finish saw, one after another. */
static unsigned finished[N], n_finished;
static atomic_int n_finishing;

static void finish(struct job *job)
{
    cr_expect_eq(atomic_fetch_add(&n_finishing, 1), 0, "one at a time");
    finished[n_finished++] = ((struct square *)job)->result;
    atomic_fetch_sub(&n_finishing, 1);
}

static void start_all(struct jobs *jobs, struct square *squares, void (*finish_one)(struct job *))
{
    memset(squares, 0, N * sizeof *squares);
    for (unsigned i = 0; i < N; i++) {
        squares[i] = (struct square){ .job = { .execute = run, .finish = finish_one }, .number = i };
        jobs_start(jobs, &squares[i].job);
    }
}

Test(jobs, executes_each_once_with_any_number_of_threads)
{
    for (unsigned n_threads = 1; n_threads <= 5; n_threads++) {
        struct square squares[N];
        struct jobs *jobs = jobs_new(n_threads);
        cr_expect_eq(jobs_n_threads(jobs), n_threads);
        start_all(jobs, squares, NULL);
        for (unsigned i = N; i-- > 0;) {
            jobs_wait(jobs, &squares[i].job);
            cr_expect_eq(squares[i].result, i * i);
        }
        jobs_free(jobs);
    }
}

Test(jobs, finishes_in_the_order_of_starts)
{
    for (unsigned n_threads = 1; n_threads <= 5; n_threads++) {
        struct square squares[N];
        struct jobs *jobs = jobs_new(n_threads);
        n_finished = 0;
        start_all(jobs, squares, finish);
        jobs_wait(jobs, &squares[N - 1].job);
        cr_expect_eq(n_finished, N, "the last one is done when all are");
        for (unsigned i = 0; i < N; i++)
            cr_expect_eq(finished[i], i * i);
        jobs_free(jobs);
    }
}

Test(jobs, one_thread_is_the_owner)
{
    struct square square = { .job = { .execute = run }, .number = 3 };
    struct jobs *jobs = jobs_new(1);
    jobs_start(jobs, &square.job);
    cr_expect_eq(square.result, 9, "at once");
    cr_expect(pthread_equal(square.thread, pthread_self()));
    jobs_wait(jobs, &square.job);
    jobs_free(jobs);
}

static atomic_bool may_end;

static void wait_until_allowed(struct job *job)
{
    (void)job;
    while (!atomic_load(&may_end))
        usleep(100);
}

static void allow_end(struct job *job)
{
    (void)job;
    atomic_store(&may_end, true);
}

/* The one worker is busy until the other job has run: so the owner must run it. */
Test(jobs, waiting_thread_executes_queued_jobs, .timeout = 10)
{
    struct job first = { .execute = wait_until_allowed }, second = { .execute = allow_end };
    struct jobs *jobs = jobs_new(2);
    jobs_start(jobs, &first);
    usleep(20000);                      /* the worker has it */
    jobs_start(jobs, &second);
    jobs_wait(jobs, &first);
    jobs_wait(jobs, &second);
    jobs_free(jobs);
}

Test(jobs, a_job_that_was_not_started_is_done)
{
    struct job job = { .execute = run };
    struct jobs *jobs = jobs_new(2);
    jobs_wait(jobs, &job);
    jobs_free(jobs);
    jobs_free(NULL);
}
