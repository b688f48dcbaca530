/* Memory for one kind of struct that a forked child finds zeroed, however it was forked: also by _Fork and by the bare
 * system calls, of which neither Python nor libc tells (MADV_WIPEONFORK). Free of Python. One thread at a time. */
#ifndef REC_FORK_MEMORY_H
#define REC_FORK_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#define REC_CACHE_LINE 64

/* From now on rec_fork_memory_is_forked tells of forks. All that was given is void. */
void rec_fork_memory_start(void);

/* True in a forked child, until rec_fork_memory_start. Not in one that shares its parent's memory (vfork). */
bool rec_fork_memory_is_forked(void);

/* Zeroed memory at a cache line, always of the same size, a multiple of that; NULL when out of memory. */
void *rec_fork_memory_new(size_t size);

void rec_fork_memory_free(void *memory);

#endif
