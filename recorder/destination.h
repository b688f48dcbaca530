/* Chooses where a recording of the command line goes. A capture that is in use is never replaced, and an output that
 * is promised to one recording is not promised to another. No Python dependency.
 *
 *     rec_destination_choose_capture or rec_destination_choose_output
 *         rec_destination_clear               immediately before the recording starts
 *     rec_destination_settle                  it has started, or could not
 *
 * From the first call to the last the directory is locked (flock), so that recordings that start at the same time
 * choose in sequence. A lock that is held for longer than that takes is not waited for. --force moves the
 * old capture aside, to .NAME.replaced, and removes it when the new one has started. A recorder that is killed in
 * between leaves it there. The next --force moves it back, or removes it if another capture has its path. One thread
 * at a time. */
#ifndef REC_DESTINATION_H
#define REC_DESTINATION_H

#include <limits.h>
#include <stdbool.h>

#include "../format/error.h"

struct rec_destination {
    int lock;                           /* -1: none */
    bool replaces;                      /* the capture that is at `capture` now */
    char capture[PATH_MAX];             /* where the new one is to be made; pnr_capture_make may number it */
    char aside[PATH_MAX];               /* where the old one is until the new one has started; "": nowhere */
};

/* Chooses a capture at path. replaces: one that is there is to be removed, but none that is in use, and no other file.
 * Returns 0 or -1. */
int rec_destination_choose_capture(struct rec_destination *destination, const char *path, bool replaces,
                                   struct pnr_err *err);

/* Chooses a capture alongside the output that it will be converted to. When another capture that is in use will be
 * converted to the same output, out-2.trace, ... is taken instead. Copies the output to taken (PATH_MAX bytes).
 * Returns 0 or -1. */
int rec_destination_choose_output(struct rec_destination *destination, const char *output, char *taken,
                                  struct pnr_err *err);

/* Moves what is to be replaced aside. Returns 0 or -1. */
int rec_destination_clear(struct rec_destination *destination, struct pnr_err *err);

/* Removes what was moved aside or, when the recording has not started, moves it back. Releases the lock. */
void rec_destination_settle(struct rec_destination *destination, bool has_begun);

#endif
