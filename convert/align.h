/* Puts several captures on one timeline. CLOCK_MONOTONIC counts from the boot of a machine, so the captures of one boot
 * fit as they are. Between boots there is the wall clock, which is slightly wrong on each machine; or ids that were seen
 * on both, of which one side's time lies within the other's:
 *
 *     client   |------------ id 4bf9 ------------|         100 .. 900
 *     server          |---- id 4bf9 ----|                  300 - x .. 700 - x: x is between -200 and 200
 *
 * Each id limits how much the server's clock may be wrong; what most of them allow is taken, in the middle. */
#ifndef ALIGN_H
#define ALIGN_H

#include "convert/diagnostics.h"
#include "open_capture.h"

enum align_by {
    ALIGN_WALL,                         /* the wall clocks */
    ALIGN_IDS,                          /* ids that were seen on both */
    ALIGN_START,                        /* each capture begins at the same time */
    ALIGN_LABEL                         /* an instant or a span, its first one in each capture */
};

struct align_choice {
    enum align_by by;
    const char *label;                  /* its name */
};

/* Aligns the captures, which have been opened with all that they contain, and reports how their clocks differ. Does
 * nothing to a single capture. Returns 0; -1 when it cannot be done, and fills err: its code is PNR_OK when that has
 * been reported. */
int align_captures(struct capture *capture, const struct align_choice *choice, const struct diagnostics *diagnostics,
                   struct pnr_err *err);

/* Returns whether captures must be read as a whole for that. */
bool align_reads_all(const struct align_choice *choice);

#endif
