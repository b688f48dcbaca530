/* The lives of generators and coroutines of libraries, of which only those runs are recorded that own code makes
 * (REC_TAG_BOUNDARY). The record of the first of these runs must be START, wherever the life began: a frame identity is
 * used again, and RESUME would continue the life that had it before. All functions are called with the GIL.
 *
 *     own code            library code                    records
 *     next(a)                                             START, YIELD
 *                         exhausts a, which is freed      none
 *                         makes b in its place; next(b)   none
 *     next(b)                                             START, YIELD: RESUME would be a's
 *     next(b)                                             RESUME, ... */
#ifndef REC_LIVES_H
#define REC_LIVES_H

#include <stdbool.h>
#include <stdint.h>

/* At a run that is recorded, or is open where records begin: returns whether it is the first one of its life. is_first:
 * it is the first of all runs. */
bool rec_lives_enter(uint64_t frame, bool is_first);

/* At an end, recorded or not; or at the first of all runs, if it is not recorded. */
void rec_lives_end(uint64_t frame);

/* Forgets all, because a recording begins. */
void rec_lives_start(void);

#endif
