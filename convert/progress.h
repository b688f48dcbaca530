/* The line on standard error that says how far a conversion is, while it lasts longer than a moment: only if that is a
 * terminal. There is one standard error, so there is one line. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* What there is to say. */
struct progress {
    uint64_t n_read, n_blocks;          /* of the capture */
    uint64_t bytes, events;             /* written */
};

/* From now on there may be a line. */
void progress_begin(void);

/* True when it should be written anew: at most 10 times a second. */
bool progress_is_due(void);

void progress_show(const struct progress *progress);

/* Removes the line before something else is said; progress_show() brings it back. */
void progress_hide(void);

#endif
