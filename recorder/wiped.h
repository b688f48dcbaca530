/* Memory for one kind of struct that a forked child finds zeroed, however it was forked: also by _Fork and by the bare
 * system calls, of which neither Python nor libc tells (MADV_WIPEONFORK). Free of Python. One thread at a time. */
#ifndef REC_WIPED_H
#define REC_WIPED_H

#include <stdbool.h>
#include <stddef.h>

/* From now on rec_wiped_is_forked tells of forks. All that was given is void. */
void rec_wiped_start(void);

/* True in a forked child, until rec_wiped_start. Not in one that shares its parent's memory (vfork). */
bool rec_wiped_is_forked(void);

/* Zeroed memory, always of the same size; NULL when out of memory. */
void *rec_wiped_new(size_t size);

void rec_wiped_free(void *memory);

#endif
