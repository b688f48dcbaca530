/* Executes jobs in a few threads, of which the owner is one. Hides threads, locks, and which thread does what.
 *
 *     jobs_new()
 *     jobs_start(): the job is executed once, by any thread, alongside others
 *     jobs_wait(), for every job before its memory is used for something else
 *     jobs_free()
 *
 * A thread that waits helps: the owner executes the job that it waits for if no thread has begun it, and others
 * meanwhile. With one thread in all, which is the owner, jobs_start() executes the job itself.
 *
 * Only the owner may call these: a job starts no other, and waits for none. */
#ifndef JOBS_H
#define JOBS_H

enum job_state { JOB_NONE, JOB_QUEUED, JOB_EXECUTES, JOB_EXECUTED, JOB_DONE };

/* Is embedded in what the job is about. The caller sets the functions; the rest is 0 at first, and private. */
struct job {
    void (*execute)(struct job *job);
    void (*finish)(struct job *job);    /* NULL, or called after execute: one job at a time, in order of start */
    enum job_state state;
    struct job *next;                   /* in the queue */
    struct job *next_to_finish;
};

struct jobs;

/* n_threads: at least 1, the owner included. There are fewer if the system makes no more. Returns NULL when out of
 * memory. */
struct jobs *jobs_new(unsigned n_threads);

/* Stops the threads; all jobs must have been waited for. Accepts NULL. */
void jobs_free(struct jobs *jobs);

/* The number of threads, the owner included. */
unsigned jobs_n_threads(const struct jobs *jobs);

/* Queues a job, which is borrowed until jobs_wait() returns. */
void jobs_start(struct jobs *jobs, struct job *job);

/* Returns when the job is done, at once for one that was never started. */
void jobs_wait(struct jobs *jobs, struct job *job);

#endif
