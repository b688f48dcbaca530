/* Snapshots: what is in the chunks of a live mapping at a moment, while traced threads fill them, copied and then
 * written as a segment. No Python dependency.
 *
 *     rec_snapshot_take
 *         rec_snapshot_write
 *     rec_snapshot_clear                      in any case
 *
 * A snapshot belongs to one thread. */
#ifndef REC_SNAPSHOT_H
#define REC_SNAPSHOT_H

#include "../format/capture.h"

struct rec_snapshot {
    struct rec_chunk_copy *copies;      /* owned */
    uint32_t n;
    struct pnr_clock_sample end;        /* the moment up to which it reaches */
};

/* Copies what is in the chunks. The caller ensures that no chunk becomes free meanwhile. Returns 0, or -1: out of
 * memory. */
int rec_snapshot_take(struct rec_snapshot *snapshot, const struct pnr_live *live);

/* Writes the copies as the segment of this number in a process's directory. Returns 0 or -1. */
int rec_snapshot_write(struct rec_snapshot *snapshot, const char *process_path, uint32_t number, struct pnr_err *err);

void rec_snapshot_clear(struct rec_snapshot *snapshot);

#endif
