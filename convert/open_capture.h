/* An open capture, or several as one: a reader for each process that can be read and is selected, and what a conversion
 * counts of it.
 *
 *     capture_open()
 *     [align_captures(), if there are several]
 *     [rates_learn() with its rates; then has_rates is set]
 *     convert(), or conversion_begin() and so on
 *     capture_close() */
#ifndef OPEN_CAPTURE_H
#define OPEN_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>

#include "convert/read/reader.h"
#include "convert/slices/hidden_rates.h"
#include "convert/slices/selection.h"
#include "anomalies.h"

/* The captures that are opened as one. */
struct capture_paths {
    const char *const *paths;           /* borrowed, like the names */
    const char *const *groups;          /* under which names their processes are shown, the first ones of them */
    size_t n, n_groups;
};

struct capture {
    struct reader **readers;            /* owned, like the next */
    struct anomalies *anomalies;        /* of each */
    struct hidden_rates *rates;         /* of each; all 0: nothing is estimated */
    bool has_rates;
    size_t n;
    struct capture_paths from;
    uint32_t *origins;                  /* of each process: which path it is from; owned */
    struct pnr_string *groups;          /* of each process: under which name it is shown with others; NULL: there is one
                                           capture; owned */
};

/* Opens the processes of the captures that the selection, or NULL, may contain. Reports processes that cannot be read,
 * and of several captures those. selection is borrowed for the call, what the paths refer to and diagnostics until
 * capture_close(). Returns 0; -1 when there is no process, and fills err; its code is PNR_OK when all that is wrong has
 * been reported. */
int capture_open(struct capture *capture, const struct capture_paths *from, const struct selection *selection,
                 const struct diagnostics *diagnostics, struct pnr_err *err);

void capture_close(struct capture *capture);

/* Returns whether a later version wrote all that there is. */
bool capture_is_newer(const struct capture *capture);

#endif
