#include "jobs.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

struct queue {
    struct job *first, **end;
};

struct jobs {
    pthread_mutex_t lock;               /* of all below, and of the private part of every job */
    pthread_cond_t has_work, has_done;
    struct queue queued;
    struct queue unfinished;            /* those with finish_jobs, in the order of their starts */
    bool is_finishing;                  /* a thread is in finish_jobs() */
    bool is_stopping;
    unsigned n_workers;
    pthread_t workers[];
};

/* ---- with the lock held, which is released while a job is executed ---- */

/* Removes a job from the queue. */
static void start_job(struct jobs *jobs, struct job *job)
{
    struct job **at = &jobs->queued.first;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    if (!*at)
        jobs->queued.end = at;
    job->state = JOB_EXECUTES;
}

/* Finishes the jobs that come next in the order of starts and have been executed, unless another thread does. */
static void finish_jobs(struct jobs *jobs)
{
    struct job *job;
    if (jobs->is_finishing)
        return;
    jobs->is_finishing = true;
    while ((job = jobs->unfinished.first) && job->state == JOB_EXECUTED) {
        pthread_mutex_unlock(&jobs->lock);
        job->finish(job);
        pthread_mutex_lock(&jobs->lock);
        if (!(jobs->unfinished.first = job->next_to_finish))
            jobs->unfinished.end = &jobs->unfinished.first;
        job->state = JOB_DONE;
        pthread_cond_signal(&jobs->has_done);
    }
    jobs->is_finishing = false;
}

static void run_job(struct jobs *jobs, struct job *job)
{
    start_job(jobs, job);
    pthread_mutex_unlock(&jobs->lock);
    job->execute(job);
    pthread_mutex_lock(&jobs->lock);
    job->state = job->finish ? JOB_EXECUTED : JOB_DONE;
    if (job->finish)
        finish_jobs(jobs);
    else
        pthread_cond_signal(&jobs->has_done);
}

/* ---- threads ---- */

static void *run_worker(void *arg)
{
    struct jobs *jobs = arg;
    pthread_mutex_lock(&jobs->lock);
    while (!jobs->is_stopping) {
        if (jobs->queued.first)
            run_job(jobs, jobs->queued.first);
        else
            pthread_cond_wait(&jobs->has_work, &jobs->lock);
    }
    pthread_mutex_unlock(&jobs->lock);
    return NULL;
}

/* Blocks all signals in the workers, except for SIGPIPE, which comes to the thread that writes to a closed pipe. */
static void start_workers(struct jobs *jobs, unsigned n)
{
    sigset_t all_but_pipe, old;
    sigfillset(&all_but_pipe);
    sigdelset(&all_but_pipe, SIGPIPE);
    pthread_sigmask(SIG_SETMASK, &all_but_pipe, &old);
    while (jobs->n_workers < n && pthread_create(&jobs->workers[jobs->n_workers], NULL, run_worker, jobs) == 0)
        jobs->n_workers++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

struct jobs *jobs_new(unsigned n_threads)
{
    struct jobs *jobs = calloc(1, sizeof *jobs + (n_threads - 1) * sizeof *jobs->workers);
    if (!jobs)
        return NULL;
    pthread_mutex_init(&jobs->lock, NULL);
    pthread_cond_init(&jobs->has_work, NULL);
    pthread_cond_init(&jobs->has_done, NULL);
    jobs->queued.end = &jobs->queued.first;
    jobs->unfinished.end = &jobs->unfinished.first;
    start_workers(jobs, n_threads - 1);
    return jobs;
}

void jobs_free(struct jobs *jobs)
{
    if (!jobs)
        return;
    pthread_mutex_lock(&jobs->lock);
    jobs->is_stopping = true;
    pthread_cond_broadcast(&jobs->has_work);
    pthread_mutex_unlock(&jobs->lock);
    for (unsigned i = 0; i < jobs->n_workers; i++)
        pthread_join(jobs->workers[i], NULL);
    pthread_cond_destroy(&jobs->has_done);
    pthread_cond_destroy(&jobs->has_work);
    pthread_mutex_destroy(&jobs->lock);
    free(jobs);
}

unsigned jobs_n_threads(const struct jobs *jobs)
{
    return jobs->n_workers + 1;
}

void jobs_start(struct jobs *jobs, struct job *job)
{
    pthread_mutex_lock(&jobs->lock);
    job->state = JOB_QUEUED;
    job->next = job->next_to_finish = NULL;
    *jobs->queued.end = job;
    jobs->queued.end = &job->next;
    if (job->finish) {
        *jobs->unfinished.end = job;
        jobs->unfinished.end = &job->next_to_finish;
    }
    if (jobs->n_workers == 0)
        run_job(jobs, job);
    else
        pthread_cond_signal(&jobs->has_work);
    pthread_mutex_unlock(&jobs->lock);
}

void jobs_wait(struct jobs *jobs, struct job *job)
{
    pthread_mutex_lock(&jobs->lock);
    while (job->state != JOB_NONE && job->state != JOB_DONE) {
        if (job->state == JOB_QUEUED)
            run_job(jobs, job);
        else if (jobs->queued.first)
            run_job(jobs, jobs->queued.first);
        else
            pthread_cond_wait(&jobs->has_done, &jobs->lock);
    }
    pthread_mutex_unlock(&jobs->lock);
}
