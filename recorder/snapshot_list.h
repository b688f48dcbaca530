/* The list of snapshots: the capture's file `snapshots`, to which all its processes append lines of JSON. Hides how a line
 * looks and is written. No Python dependency. specs/recording.md, section 9.3. */
#ifndef REC_SNAPSHOT_LIST_H
#define REC_SNAPSHOT_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "json_text.h"

/* Who asked for a snapshot. */
enum rec_snapshot_cause {
    REC_CAUSE_PROGRAM,                  /* panopticon_rec.snapshot() */
    REC_CAUSE_SIGNAL,
    REC_CAUSE_EXCEPTION,                /* that has ended the program or a thread */
    REC_CAUSE_CTL,                      /* the control socket */
    REC_CAUSE_WATCH                     /* watched sections */
};

/* A line of the list. One of path, failure and n_not_saved says what happened. */
struct rec_snapshot_entry {
    enum rec_snapshot_cause cause;
    const char *path;                   /* of the snapshot, absolute; or NULL */
    const char *failure;                /* why it was not made, in words; or NULL */
    uint64_t n_not_saved;               /* incidents that the limits kept from being saved; or 0 */
    const struct rec_json_text *incidents;      /* of watched sections, objects with commas between them; or NULL */
    uint64_t missing_ns;                /* of the first section's begin: was no longer there; or 0 */
};

/* Appends a line to the list of the capture at this path, in one write(2). Any thread may call it. Returns whether it is
 * there as a whole. */
bool rec_snapshot_list_add(const char *capture_path, const struct rec_snapshot_entry *entry);

#endif
