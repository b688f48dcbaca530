/* The record: one event of one thread, 16 bytes, the same in memory, in the live mapping and, after the
 * block transform is undone, in a segment (specs/capture-format.md, section 4). Little-endian:
 *
 *    0  u40  ticks     clock ticks since the begin of the block
 *    5  u8   kind      enum pnr_kind; 0 = never written
 *    6  u48  frame     identity of a continuable frame (its address >> 4); 0 for a plain one
 *   12  u32  function  index in the name table, or what the kind says
 *
 * Two words, so that the recorder stores a record with two moves: the second word first, then the first,
 * whose kind makes the record valid. A process killed between the two leaves kind 0: no record. */
#ifndef PNR_RECORD_H
#define PNR_RECORD_H

#include <stdint.h>

#define PNR_RECORD_SIZE 16
#define PNR_TICKS_BITS 40
#define PNR_TICKS_MAX ((UINT64_C(1) << PNR_TICKS_BITS) - 1)
#define PNR_FRAME_BITS 48

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are written as they lie in memory");

enum pnr_kind {
    PNR_EMPTY = 0,              /* never written: the end of a live chunk */
    PNR_CALL = 1,               /* a plain frame is entered */
    PNR_RETURN = 2,             /* ... left by return */
    PNR_UNWIND = 3,             /* ... left by an exception */
    PNR_START = 4,              /* a continuable frame is entered for the first time */
    PNR_RESUME = 5,             /* ... entered again, also by throw() and close() */
    PNR_YIELD = 6,              /* ... left and may be resumed */
    PNR_FINISH = 7,             /* ... left by return, for ever */
    PNR_FINISH_UNWIND = 8,      /* ... left by an exception, for ever */
    PNR_CREATE = 9,             /* the running frame made a continuable one; it has not been entered */
    PNR_C_CALL = 10,            /* a C function is called */
    PNR_C_RETURN = 11,          /* ... returned */
    PNR_C_RAISE = 12,           /* ... raised */
    PNR_OPEN = 13,              /* a frame that was open when the block began, outermost first; or at a SWITCH */
    PNR_LEFT = 14,              /* the `function` innermost frames were left, unseen, since the record before */
    PNR_GAP = 15,               /* nothing below the running frame is recorded from here on; function = enum pnr_gap */
    PNR_GAP_END = 16,           /* ... until here */
    PNR_LOST = 17,              /* `function` records of this thread could not be kept since the record before */
    PNR_SWITCH = 18,            /* from here on the records are of track `function`; frame: enum pnr_switch */
    PNR_KINDS                   /* one more than the highest kind of this version */
};

enum pnr_gap {
    PNR_GAP_STACK = 1           /* the thread's C stack is a quarter full: specs/recording.md, section 3 */
};

enum {
    PNR_OPEN_C_CALL = 1         /* an OPEN record's frame, which is no address: the call of a C function */
};

enum pnr_switch {
    PNR_SWITCH_OPEN = 1,        /* the OPEN records that follow tell all frames that are open in the track */
    PNR_SWITCH_DEEPER = 2       /* ... or, when there are more, the innermost */
};

struct pnr_record {
    uint64_t word[2];
};

_Static_assert(sizeof(struct pnr_record) == PNR_RECORD_SIZE, "no padding: written as it lies in memory");

/* ticks and frame must fit their fields; the caller sees to it. */
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
