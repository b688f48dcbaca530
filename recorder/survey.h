/* Surveys a capture for the recorder that has written into it: totals over its processes, and how many still record. No
 * Python dependency. One thread at a time. */
#ifndef REC_SURVEY_H
#define REC_SURVEY_H

#include <stdbool.h>
#include <stdint.h>

#include "cost.h"

struct rec_survey {
    uint32_t n_processes;
    uint32_t n_running;                 /* that record, except for this one; those that are starting count as one */
    uint32_t n_killed;                  /* that no longer record, and that nobody has finished */
    uint32_t n_threads;                 /* of all processes */
    uint64_t n_events;                  /* of processes that still record only those in blocks */
    uint64_t n_lost;                    /* of processes that have stopped */
    uint64_t n_bytes;                   /* of all files */
    struct rec_cost cost;               /* of processes that have stopped */
};

/* Reads the name tables of all processes, not their data. Those that cannot be read are skipped. */
void rec_survey_take(const char *capture_path, struct rec_survey *survey);

/* True when another process may still record into the capture, is starting to, or has a child that may. The live
 * headers say so. A program that this process was before an exec is not another process. */
bool rec_survey_runs(const char *capture_path);

/* Makes a child of the coming fork known as one that will record into the capture, if that has a file `order`. It is
 * known until the parent and the child have each called rec_survey_forked, have ended, or have become another program.
 */
void rec_survey_fork(const char *capture_path);

/* Called in the parent after the fork, in the child when it has started to record. */
void rec_survey_forked(void);

#endif
