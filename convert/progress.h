/* The line on standard error that shows how far a conversion is, once it takes longer than a moment, and only if that
 * is a terminal. There is one standard error, so there is one line. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* What the line shows. */
struct progress {
    uint64_t n_read, n_blocks;          /* of the capture */
    uint64_t bytes, events;             /* written */
};

/* Allows the line from now on. */
void progress_begin(void);

/* True when the line should be updated: at most 10 times a second. */
bool progress_is_due(void);

void progress_show(const struct progress *progress);

/* Removes the line before something else is printed; progress_show() brings it back. */
void progress_hide(void);

#endif
