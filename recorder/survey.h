/* What lies in a capture, for the recorder that has written into it: totals over its processes, and which of them run
 * still. Free of Python. */
#ifndef REC_SURVEY_H
#define REC_SURVEY_H

#include <stdbool.h>
#include <stdint.h>

struct rec_survey {
    uint32_t n_processes;
    uint32_t n_running;                 /* that record still, other than this process; those that begin count as one */
    uint32_t n_killed;                  /* that do not record any more, and nobody has finished what they left */
    uint32_t n_threads;                 /* of all processes */
    uint64_t n_events;                  /* of those others as far as they are in blocks */
    uint64_t n_lost;                    /* of those that told it at their end */
    uint64_t n_bytes;                   /* of all files */
};

/* Reads the name tables of all processes, not their data. What cannot be read is left out. */
void rec_survey_take(const char *capture_path, struct rec_survey *survey);

/* Whether a process other than this one may record into the capture, as far as the live headers tell, or what a process
 * begins there, or a child that has not come to begin. A program that this process was before an exec does not. */
bool rec_survey_runs(const char *capture_path);

/* Before a fork: from now on a child is known of that will record into the capture, if that has an order. In the parent until it
 * calls rec_survey_forked, in the child until it does so, or ends, or becomes another program. */
void rec_survey_fork(const char *capture_path);

/* In the parent behind the fork, in the child when it has begun. */
void rec_survey_forked(void);

#endif
