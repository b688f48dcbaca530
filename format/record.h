/* The record: one event of one thread, 16 bytes, the same in memory, in the live mapping and, after the block
 * transform is undone, in a segment (specs/capture-format.md, section 4). Little-endian:
 *
 *    0  u40  ticks     clock ticks since the begin of the block
 *    5  u8   kind      enum pnr_kind (kinds.def); 0: never written
 *    6  u48  frame     identity of a continuable frame (its address >> 4); 0 for a plain one
 *   12  u32  function  index in the name table, or what the kind says
 *
 * It is two words, so that the recorder stores it with two moves: the second word first, then the first, whose kind
 * makes the record valid. A process killed between the two leaves kind 0: no record. */
#ifndef PNR_RECORD_H
#define PNR_RECORD_H

#include <stdint.h>

#include "kinds.h"

#define PNR_RECORD_SIZE 16
#define PNR_TICKS_BITS 40
#define PNR_TICKS_MAX ((UINT64_C(1) << PNR_TICKS_BITS) - 1)
#define PNR_FRAME_BITS 48

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are written as they lie in memory");

enum pnr_unrecorded_reason {
    PNR_UNRECORDED_STACK = 1    /* the thread's C stack is a quarter full: specs/recording.md, section 3 */
};

enum {
    PNR_OPEN_C_CALL = 1         /* in the field `frame` of an OPEN record: a call of a C function */
};

enum {
    PNR_MUTE_C_CALLS = 1        /* in the field `frame` of MUTE, ADMIT and MUTED: only the function's calls of C functions */
};

enum pnr_switch {
    PNR_SWITCH_OPEN = 1,        /* all frames that are open in the track follow as OPEN records */
    PNR_SWITCH_DEEPER = 2,      /* ... or, when there are too many, the innermost ones */
    PNR_SWITCH_ADDED = 4        /* alone: frames follow that lie inwards of all that are open; those stay */
};

/* In the field `frame` of a SAMPLE record. */
enum pnr_gil {
    PNR_GIL_UNKNOWN = 0,
    PNR_GIL_FREE = 1,
    PNR_GIL_HELD = 2            /* by the thread `function`; 0: by one without a number */
};

/* The field `frame` of RAN and QUEUED records: so many nanoseconds since the SAMPLE record so many before the present
 * one. The greatest number of each stands for that and more. */
#define PNR_SPENT_NS_MAX UINT32_MAX
#define PNR_SPENT_SINCE_MAX 65535

static inline uint64_t pnr_spent_frame(uint64_t ns, uint64_t since)
{
    return (ns < PNR_SPENT_NS_MAX ? ns : PNR_SPENT_NS_MAX) |
           (since < PNR_SPENT_SINCE_MAX ? since : PNR_SPENT_SINCE_MAX) << 32;
}

static inline uint32_t pnr_spent_ns(uint64_t frame) { return (uint32_t)frame; }
static inline uint32_t pnr_spent_since(uint64_t frame) { return frame >> 32 & PNR_SPENT_SINCE_MAX; }

/* In the field `frame` of a SCHEDULE record, besides how many nanoseconds before the SAMPLE it was. The greatest number
 * stands for that and more. */
enum pnr_schedule {
    PNR_SCHEDULE_RUNS = 0,      /* the thread gets a processor */
    PNR_SCHEDULE_WAITS = 1,     /* it loses it, and cannot run */
    PNR_SCHEDULE_QUEUES = 2,    /* it loses it, although it could run */
    PNR_SCHEDULE_MISSING = 3    /* not all changes before the RAN are known */
};

static inline uint64_t pnr_schedule_frame(uint64_t before_ns, enum pnr_schedule what)
{
    return (before_ns < PNR_SPENT_NS_MAX ? before_ns : PNR_SPENT_NS_MAX) | (uint64_t)what << 32;
}

static inline uint32_t pnr_schedule_before_ns(uint64_t frame) { return (uint32_t)frame; }
static inline enum pnr_schedule pnr_schedule_what(uint64_t frame) { return (enum pnr_schedule)(frame >> 32 & 3); }

/* In the field `frame` of a COLLECT_END record. The greatest number of each stands for that and more. */
#define PNR_COLLECTED_MAX UINT32_MAX
#define PNR_UNCOLLECTABLE_MAX 65535

static inline uint64_t pnr_collect_frame(uint64_t n_collected, uint64_t n_uncollectable)
{
    return n_collected | n_uncollectable << 32;
}

static inline uint32_t pnr_collected(uint64_t frame) { return (uint32_t)frame; }
static inline uint32_t pnr_uncollectable(uint64_t frame) { return frame >> 32 & PNR_UNCOLLECTABLE_MAX; }

struct pnr_record {
    uint64_t word[2];
};

_Static_assert(sizeof(struct pnr_record) == PNR_RECORD_SIZE, "no padding: written as it lies in memory");

/* Makes a record; the caller ensures that ticks and frame fit their fields. */
static inline struct pnr_record pnr_record_make(uint64_t ticks, enum pnr_kind kind, uint64_t frame, uint32_t function)
{
    return (struct pnr_record){ { ticks | (uint64_t)kind << PNR_TICKS_BITS | frame << 48,
                                  frame >> 16 | (uint64_t)function << 32 } };
}

static inline uint64_t pnr_record_ticks(struct pnr_record r) { return r.word[0] & PNR_TICKS_MAX; }
static inline unsigned pnr_record_kind(struct pnr_record r) { return r.word[0] >> PNR_TICKS_BITS & 0xff; }
static inline uint64_t pnr_record_frame(struct pnr_record r)
{
    return r.word[0] >> 48 | (r.word[1] & 0xffffffff) << 16;
}
static inline uint32_t pnr_record_function(struct pnr_record r) { return r.word[1] >> 32; }

#endif
