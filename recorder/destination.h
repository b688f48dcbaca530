/* Where a recording of the command line goes: a capture that is in use is never replaced, and what is promised to one
 * recording is not promised to another. Free of Python.
 *
 *     rec_destination_choose_capture or rec_destination_choose_output
 *         rec_destination_clear             immediately before the recording begins
 *     rec_destination_settle                it has begun, or it could not
 *
 * From the first call to the last there is a lock on the folder (flock), which two recordings that begin at the same
 * time take by turns; one that is held for longer than that takes is not waited for. --force moves the old capture
 * aside, to .NAME.replaced, and removes it when the new one has begun. A recorder that is killed in between leaves it
 * there; the next --force moves it back, or removes it if another capture has taken its place. */
#ifndef REC_DESTINATION_H
#define REC_DESTINATION_H

#include <limits.h>
#include <stdbool.h>

#include "../format/error.h"

struct rec_destination {
    int lock;                           /* -1: none */
    bool replaces;                      /* what is at capture now */
    char capture[PATH_MAX];             /* where it is to be made; pnr_capture_make numbers it */
    char aside[PATH_MAX];               /* where the old one is until the new one has begun; "": nowhere */
};

/* A capture at path; if it replaces, one that is there goes, but not one that is in use, nor anything else. Returns 0 or
 * -1. */
int rec_destination_choose_capture(struct rec_destination *place, const char *path, bool replaces, struct pnr_err *err);

/* A capture beside output, which is made of it. When another one that is in use has promised the same output, out-2.trace,
 * ... is taken instead. Copies the output to taken (PATH_MAX bytes). Returns 0 or -1. */
int rec_destination_choose_output(struct rec_destination *place, const char *output, char *taken, struct pnr_err *err);

/* Moves what is to be replaced aside. Returns 0 or -1. */
int rec_destination_clear(struct rec_destination *place, struct pnr_err *err);

/* Removes what was moved aside or, when the recording has not begun, moves it back; gives the lock back. */
void rec_destination_settle(struct rec_destination *place, bool has_begun);

#endif
