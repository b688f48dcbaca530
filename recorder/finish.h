/* Finishes other processes of the capture that a signal or a crash has ended. Writes the records of their live mapping
 * as blocks to their files, adds to their name table that they were killed, and removes the mapping. Also removes what
 * is left of processes that were ended while they started. No Python dependency. specs/recording.md, section 9.
 *
 * A process that is killed while it finishes others loses nothing: the mapping is removed last, and a block that is
 * in a file is not written again. So the work can be broken off at any time, too. Called by one thread of a
 * process at a time. */
#ifndef REC_FINISH_H
#define REC_FINISH_H

#include <stdbool.h>
#include <stdint.h>

/* The time between two checks. */
#define REC_FINISH_PERIOD_NS UINT64_C(2000000000)

/* Finishes others now and then, once for all the processes that record into the capture. process_path: the caller's
 * own. Breaks off when is_needed says that the caller has something more urgent to do. *next_ns: when the next check
 * is due. */
void rec_finish_tick(const char *process_path, uint64_t now_ns, bool (*is_needed)(void), uint64_t *next_ns);

/* Finishes others now, unless another process has the capture locked for so many ms. The caller has stopped
 * recording. */
void rec_finish_all(const char *capture_path, int max_wait_ms);

#endif
