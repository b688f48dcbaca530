/* Memory that a forked child finds zeroed (MADV_WIPEONFORK), for one kind of struct. It makes every fork known, also
 * one by _Fork(3) or a bare system call, for which no handler of pthread_atfork(3) is called. No Python dependency.
 *
 *     rec_fork_memory_start
 *         rec_fork_memory_new, rec_fork_memory_free ...
 *         rec_fork_memory_is_forked
 *
 * All functions but rec_fork_memory_is_forked are called with the recording lock (thread_buffer.h). */
#ifndef REC_FORK_MEMORY_H
#define REC_FORK_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#define REC_CACHE_LINE 64

/* Makes rec_fork_memory_is_forked report forks of this process from now on. Frees all memory that was given out. */
void rec_fork_memory_start(void);

/* True in a forked child until it calls rec_fork_memory_start, except in one that shares its parent's memory
 * (vfork). Any thread may ask at any time. */
bool rec_fork_memory_is_forked(void);

/* Returns zeroed memory that begins a cache line; NULL when out of memory. size: always the same, a multiple of a
 * line's. */
void *rec_fork_memory_new(size_t size);

void rec_fork_memory_free(void *memory);

#endif
