/* Remarks: what the program reported about itself, and the values of calls (specs/capture-format.md, section 4.2). Holds
 * what they need of a whole process: the spans of frames that are suspended, the identities of the program's own flows,
 * and the values of slices that are still open.
 *
 *     records                 stack            slices
 *     START c                 c
 *     SPAN s                  c s              s begins
 *     YIELD c                 (empty)          s ends; it is suspended with c
 *     RESUME c                c s              s begins again
 *     SPAN_END s              c                s ends */
#ifndef REMARKS_H
#define REMARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/table.h"
#include "format/values.h"

/* What is kept of a process at most. A block of a hundred bytes can have a thousand values: those beyond are counted,
 * and not kept. */
#define REMARKS_MAX_BYTES (64 << 20)
#define REMARKS_MAX_JOINED (1 << 16)    /* bytes of one slice */
#define REMARKS_MAX_FLOWS (1 << 20)

/* The values of a slice, as long as it is open or suspended. */
struct kept_values {
    struct pnr_values values;
    uint32_t n_users;
    size_t size;                        /* of this structure and of the memory for its bytes */
    unsigned char bytes[];
};

struct remarks {
    struct pnr_table suspended;         /* of struct suspended_frame, by frame identity */
    struct pnr_table flows;             /* of struct remark_flow, by a hash of the identity */
    size_t n_bytes;                     /* of the values that are kept, the suspended spans, and the names of tasks */
    uint64_t n_overflowed;              /* values, spans, names and flows that were not kept; of the present process */
    bool is_out_of_memory;              /* sticks */
};

void remarks_init(struct remarks *remarks);

/* Forgets the process. */
void remarks_clear(struct remarks *remarks);

/* Bytes that remarks_read_values() needs. */
#define REMARKS_BUFFER (PNR_VALUES_MAX + PNR_DATA_SIZE)

/* Reads the values of records[0], which has some, from the records after it, of n in all. Returns how many DATA
 * records that were. *values: borrowed from bytes, REMARKS_BUFFER of them; without bytes if they are not whole:
 * *is_whole. */
uint32_t remarks_read_values(const struct pnr_record *records, uint32_t n, struct pnr_values *values,
                             unsigned char *bytes, bool *is_whole);

/* Returns whether all of the values can be read. */
bool remarks_are_readable(const struct pnr_values *values);

/* Counts n bytes that are kept instead of n_before. Returns false, and counts one more that is not kept, if they are too
 * many. */
bool remarks_account(struct remarks *remarks, size_t n_before, size_t n);

/* Keeps values, for one user. Returns NULL when there are none, or too many are kept. */
struct kept_values *remarks_keep(struct remarks *remarks, const struct pnr_values *values);

/* Adds values to those that are kept, of which the caller is the only user; or NULL. Returns what is kept then: without the
 * added ones when that would be too much; NULL as remarks_keep() does. */
struct kept_values *remarks_join(struct remarks *remarks, struct kept_values *kept, const struct pnr_values *values);

/* A user needs them no more. */
void remarks_release(struct remarks *remarks, struct kept_values *kept);

/* Suspends a span with its frame, the outermost first. kept: its values, of
 * which this becomes a user in the caller's place; or NULL. */
void remarks_suspend(struct remarks *remarks, uint64_t frame, uint32_t label, struct kept_values *kept);

/* Takes the outermost span that is suspended with the frame. Returns false when there is none. *kept: the caller is its
 * user now; or NULL. */
bool remarks_resume(struct remarks *remarks, uint64_t frame, uint32_t *label, struct kept_values **kept);

/* Forgets the spans that are suspended with the frame: it has ended, or another one has its identity now. */
void remarks_forget(struct remarks *remarks, uint64_t frame);

/* True when spans are suspended. */
static inline bool remarks_has_suspended(const struct remarks *remarks)
{
    return remarks->suspended.n > 0;
}

/* Returns the number of the flow with the identity that is the first of the values; 0 when there is none. *is_new: it
 * is given the number `number` now. */
uint64_t remarks_find_flow(struct remarks *remarks, const struct pnr_values *values, uint64_t number, bool *is_new);

#endif
