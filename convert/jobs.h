/* Some threads that run_job for one owner, which is itself one of them. Hides threads, locks, and who does what.
 *
 *     jobs_new()
 *     jobs_start(): the job is run once, by any thread, beside others
 *     jobs_wait(), for every job before its memory is used for something else
 *     jobs_free()
 *
 * Whoever waits helps: the owner runs the job that it waits for if nobody has begun it, and others while it runs. So
 * one thread in all is the owner: then jobs_start() runs the job itself, and no thread is made.
 *
 * All calls are the owner's: a job starts no other, and waits for none. */
#ifndef JOBS_H
#define JOBS_H

enum job_state { JOB_NONE, JOB_QUEUED, JOB_EXECUTES, JOB_EXECUTED, JOB_DONE };

/* To be embedded in what the job is about. The caller sets the functions; the rest is 0 at first, and hidden. */
struct job {
    void (*execute)(struct job *job);
    void (*finish)(struct job *job);    /* NULL, or called after run: one job at a time, in the order of their starts */
    enum job_state state;
    struct job *next;                   /* of those that wait */
    struct job *next_to_finish;
};

struct jobs;

/* n_threads: the owner among them, at least 1. There are fewer if the system gives no more. Returns NULL when out of
 * memory. */
struct jobs *jobs_new(unsigned n_threads);

/* All jobs must have been waited for. Accepts NULL. */
void jobs_free(struct jobs *jobs);

/* How many threads there are. */
unsigned jobs_n_threads(const struct jobs *jobs);

/* job is borrowed until jobs_wait() returns. */
void jobs_start(struct jobs *jobs, struct job *job);

/* Returns when the job is done. One that was never started is. */
void jobs_wait(struct jobs *jobs, struct job *job);

#endif
