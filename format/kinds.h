/* The kinds of records, and what each does to the stack of its thread: kinds.def in C.
 *
 *     record             effect    subject               the stack, outermost first
 *     CALL f             ENTER     PYTHON                f
 *     C_CALL len         ENTER     C                     f len
 *     C_RETURN len       LEAVE     C                     f
 *     UNRECORDED         ENTER     UNRECORDED            f (unrecorded region)
 *     UNRECORDED_END     LEAVE     UNRECORDED            f
 *     CREATE g           NONE      PYTHON                f
 *     RETURN f           LEAVE     PYTHON                (empty) */
#ifndef PNR_KINDS_H
#define PNR_KINDS_H

#include <stdbool.h>
#include <stdint.h>

enum pnr_kind {
#define PNR_KIND(number, name, ...) PNR_##name = (number),
#include "kinds.def"
    PNR_KINDS                           /* one more than the highest kind of this version */
};

enum pnr_effect {
    PNR_EFFECT_NONE,                    /* the stack stays as it is */
    PNR_EFFECT_ENTER,                   /* an entry is pushed on the stack */
    PNR_EFFECT_LEAVE,                   /* the innermost entry is popped */
    PNR_EFFECT_LEAVE_SEVERAL,           /* as many Python frames as `function` says are popped, with all inside them */
    PNR_EFFECT_LIST,                    /* an entry is on the stack: listed at a block's begin, and after a CHANGE */
    PNR_EFFECT_CHANGE                   /* the thread goes on with another of its stacks */
};

enum pnr_subject {
#define PNR_SUBJECT(name, ...) PNR_SUBJECT_##name,
#include "kinds.def"
    PNR_SUBJECTS
};

enum pnr_trait {
    PNR_EXCEPTION = 1,                  /* left by an exception */
    PNR_CONTINUABLE = 2,                /* the frame is a continuable one, and `frame` its identity */
    PNR_FIRST = 4,                      /* the first entry of a continuable frame */
    PNR_LAST = 8                        /* its last exit */
};

struct pnr_kind_effect {
    uint8_t effect;                     /* enum pnr_effect */
    uint8_t subject;                    /* enum pnr_subject */
    uint8_t traits;                     /* enum pnr_trait */
    uint8_t entry;                      /* enum pnr_kind: see kinds.def */
};

static const struct pnr_kind_effect pnr_kind_effects[PNR_KINDS] = {
#define PNR_KIND(number, name, effect, subject, traits, entry, ...) \
    [number] = { PNR_EFFECT_##effect, PNR_SUBJECT_##subject, traits, PNR_##entry },
#include "kinds.def"
};

/* A kind of a later version has the effect of EMPTY: none. */
static inline struct pnr_kind_effect pnr_kind_effect(unsigned kind)
{
    return pnr_kind_effects[kind < PNR_KINDS ? kind : PNR_EMPTY];
}

/* True for CALL, START and RESUME. Compares with each, because hot paths of the recorder call it and a look-up in the
 * table takes more instructions. */
static inline bool pnr_kind_enters_frame(enum pnr_kind kind)
{
    return false
#define PNR_KIND(number, name, effect, subject, ...) \
           || (PNR_EFFECT_##effect == PNR_EFFECT_ENTER && PNR_SUBJECT_##subject == PNR_SUBJECT_PYTHON && \
               kind == PNR_##name)
#include "kinds.def"
           ;
}

/* True for what only the ledger has. */
static inline bool pnr_kind_is_of_ledger(unsigned kind)
{
    return kind >= PNR_MUTE && kind <= PNR_COST;
}

/* True for what only the samples have. */
static inline bool pnr_kind_is_of_samples(unsigned kind)
{
    return (kind >= PNR_SAMPLE && kind <= PNR_MEMORY) || kind == PNR_SCHEDULE;
}

/* True for what counts as an event of the program. */
static inline bool pnr_kind_is_event(unsigned kind)
{
    return kind != PNR_EMPTY && kind != PNR_OPEN && kind != PNR_DATA && !pnr_kind_is_of_ledger(kind) &&
           !pnr_kind_is_of_samples(kind);
}

/* True for what is a function. */
static inline bool pnr_subject_is_function(enum pnr_subject subject)
{
    return subject <= PNR_SUBJECT_C;
}

/* True when `function` is a number of the name table: of a function or a label. */
static inline bool pnr_subject_is_named(enum pnr_subject subject)
{
    return subject <= PNR_SUBJECT_SPAN;
}

/* True for a record with values: its `frame` is their size. */
static inline bool pnr_kind_has_values(unsigned kind)
{
    return (kind >= PNR_SPAN && kind <= PNR_FLOW && kind != PNR_SPAN_END) || kind == PNR_ARGUMENTS || kind == PNR_RESULT ||
           kind == PNR_TASK;
}

#endif
