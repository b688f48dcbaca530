/* Finishes what other processes of the capture left behind that were ended by a signal or a crash: turns what is in their
 * live mapping into blocks in their files, notes in their name table that they were killed, and removes the mapping. Removes
 * what is left of processes that were ended while they began. No Python dependency. specs/recording.md, section 9.
 *
 * Whoever is killed in the midst of it loses nothing: the mapping is removed last, and a block that is in a file already
 * is not written again. One thread of the process at a time. */
#ifndef REC_FINISH_H
#define REC_FINISH_H

#include <stdint.h>

/* Does it now and then, once for all the processes that record into the capture. *next_ns: when it is due, 0 at first. */
void rec_finish_tick(const char *capture_path, uint64_t now_ns, uint64_t *next_ns);

/* Does it now, unless another process has the capture locked for so many ms. */
void rec_finish_all(const char *capture_path, int max_wait_ms);

#endif
