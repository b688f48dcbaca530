/* Functions: their numbers in the name table, and what is decided of each once. It is kept in the code object as its
 * tag, a co_extra value (PEP 523). All functions are called with the GIL. None runs Python code.
 *
 *     rec_functions_init                  once a process
 *         rec_functions_start             a recording begins: the tags of the last one are void
 *             rec_functions_tag           a function is called, or found on a stack
 *             rec_functions_override_filter   while it goes on */
#ifndef REC_FUNCTIONS_H
#define REC_FUNCTIONS_H

#include "cpython.h"

#include "../../format/filter.h"
#include "../../format/names.h"

/* A tag: bits 0 to 31: index in the name table; 32 to 37: flags; 38 to 40: row in the table of watched functions
 * (threads.c), 0 for others; 41 to 63: number of the recording. 0 is no tag. */
enum {
    REC_TAG_EXCLUDED = 1,               /* it has no records; what it calls has */
    REC_TAG_CONTINUABLE = 2,
    REC_TAG_SUBSCRIPT = 4,              /* each call is reported to rec_inlining_on_call */
    REC_TAG_BOUNDARY = 8,               /* it has records when its caller is recorded in full; index 0: not named yet */
    REC_TAG_SLOW = 16,                  /* each of its events takes the slow path, as the budget wants it */
    REC_TAG_VALUES = 32                 /* its arguments or results are recorded (arguments.h) */
};
#define REC_TAG_NOT_FULL (REC_TAG_EXCLUDED | REC_TAG_BOUNDARY)
#define REC_TAG_WATCHED_SHIFT 6         /* like the next one, in the upper word */
#define REC_TAG_MAX_WATCHED 7
#define REC_TAG_SESSION_SHIFT 9

struct rec_functions {
    uint32_t plain;                     /* upper word of a tag of this recording without flags */
    uint32_t session;                   /* raised also when the filter changes, as that makes tags void, */
    uint32_t recording;                 /* and this only when a recording begins */
    Py_ssize_t extra_index;
    struct pnr_filter filter;           /* which functions are recorded */
};
extern struct rec_functions rec_functions __attribute__((visibility("hidden")));

/* Prepares the tags. own: prefix of the files whose functions are never recorded, borrowed for ever. Returns 0, or -1
 * with an exception set. */
int rec_functions_init(const char *own);

/* keeps_filter: the filters are those of the last recording, as in a child of a fork. */
void rec_functions_start(bool keeps_filter);

/* Changes the filter by one more rule of a glob, and has all functions judged anew: the tags are void. Called in a pause
 * of the engine, after which each thread's block opens with its stack. Returns 0, or -1 when out of memory. */
int rec_functions_override_filter(enum pnr_filter_action action, const char *glob);

/* Gets the tag of the code that a frame runs, or makes it, and then gives the code object its events (codes.h). Returns
 * 0 when the name table cannot be written. Keeps the exception that is set. */
uint64_t rec_functions_tag(const cpython_frame *f);

/* Gets the tag of one call: of a boundary function it is the one with its index, or one that says excluded, as its
 * caller decides. f: the frame of the call; caller: the next one outwards, or NULL. Returns 0 as rec_functions_tag. */
uint64_t rec_functions_tag_call(const cpython_frame *f, const cpython_frame *caller);

/* True when a function that is recorded in full runs in the frame that Python code sees here: this one, or outwards of
 * it. caller: a frame or NULL. */
bool rec_functions_is_full(const cpython_frame *caller);

/* Gets the UTF-8 of a str, lone surrogates included; "?" for anything else. The caller releases *owned after use. */
struct pnr_string rec_functions_text(PyObject *object, PyObject **owned);

/* As rec_functions_text, for a str that the caller holds while it uses the text: ASCII is not copied. */
static inline struct pnr_string rec_functions_held_text(PyObject *object, PyObject **owned)
{
    if (unlikely(!PyUnicode_Check(object)) || unlikely(!PyUnicode_IS_COMPACT_ASCII(object)))
        return rec_functions_text(object, owned);
    Py_ssize_t size = PyUnicode_GET_LENGTH(object);
    *owned = NULL;
    return (struct pnr_string){ (const char *)PyUnicode_DATA(object),
                                (uint32_t)(size < PNR_NAME_MAX ? size : PNR_NAME_MAX) };
}

static inline uint32_t rec_tag_flags(uint64_t tag)
{
    return (uint32_t)(tag >> 32) & ((1 << REC_TAG_WATCHED_SHIFT) - 1);
}

/* The row in the table of watched functions; 0: the function is not watched. */
static inline uint32_t rec_tag_watched(uint64_t tag)
{
    return (uint32_t)(tag >> (32 + REC_TAG_WATCHED_SHIFT)) & REC_TAG_MAX_WATCHED;
}

static inline bool rec_tag_is_current(uint64_t tag)
{
    return tag >> (32 + REC_TAG_SESSION_SHIFT) == rec_functions.session;
}

/* True for a function that is recorded in full. tag: 0 for one that is not known. */
static inline bool rec_tag_is_full(uint64_t tag)
{
    return tag && !(rec_tag_flags(tag) & REC_TAG_NOT_FULL);
}

/* The tag as it stands, which may be an earlier recording's. */
static inline uint64_t rec_tag_peek(const cpython_frame *f)
{
    return cpython_code_value(cpython_code(f), rec_functions.extra_index);
}

#endif
