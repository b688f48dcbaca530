/* Finishes what other processes of the capture left behind that were ended by a signal or a crash: turns what is in their
 * live mapping into blocks in their files, notes in their name table that they were killed, and removes the mapping. Removes
 * what is left of processes that were ended while they began. No Python dependency. specs/recording.md, section 9.
 *
 * Whoever is killed in the midst of it loses nothing: the mapping is removed last, and a block that is in a file already
 * is not written again. So it can be broken off at any time, too. */
#ifndef REC_FINISH_H
#define REC_FINISH_H

#include <stdbool.h>
#include <stdint.h>

/* Between two looks. */
#define REC_FINISH_PERIOD_NS UINT64_C(2000000000)

/* Does it now and then, once for all the processes that record into the capture. process_path: the caller's own, beside
 * which it looks. Breaks off when is_needed says that the caller has something better to do. *next_ns: when it is due. */
void rec_finish_tick(const char *process_path, uint64_t now_ns, bool (*is_needed)(void), uint64_t *next_ns);

/* Does it now, unless another process has the capture locked for so many ms. The caller has ended its own recording. */
void rec_finish_all(const char *capture_path, int max_wait_ms);

#endif
