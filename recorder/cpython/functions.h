/* Functions: their places in the name table, and what is decided of each once. What is known of a code object is its
 * tag, kept in its co_extra (PEP 523). All functions are called with the GIL; none runs Python code.
 *
 *     rec_functions_init                  once a process
 *         rec_functions_start             a recording begins: the tags of the last one are void
 *             rec_functions_tag          a function is seen */
#ifndef REC_FUNCTIONS_H
#define REC_FUNCTIONS_H

#include "cpython.h"

#include "../../format/filter.h"
#include "../../format/names.h"

/* A tag: bits 0 to 31: index in the name table; 32 to 35: flags; 36 to 63: number of the recording. 0 is none. */
enum {
    REC_TAG_EXCLUDED = 1,              /* no records; what it calls has. Of the others it has only NAMES */
    REC_TAG_CONTINUABLE = 2,
    REC_TAG_WATCHED = 4,                 /* a call of it is looked at: rec_threads_on_watched_call */
    REC_TAG_SUBSCRIPT = 8              /* it is called __getitem__, or its locals are a namespace that may have one */
};
#define REC_TAG_SESSION_SHIFT 4        /* within the upper word */

struct rec_functions {
    uint32_t plain;                     /* upper word of a tag of this recording without flags */
    uint32_t session;
    Py_ssize_t extra_index;
    struct pnr_filter filter;           /* which functions are recorded */
};
extern struct rec_functions rec_functions __attribute__((visibility("hidden")));

/* own: prefix of the files whose functions are never recorded; borrowed for ever. Returns 0, or -1 with an exception
 * set. */
int rec_functions_init(const char *own);

void rec_functions_start(void);

/* The tag of the code that a frame runs; 0 when the name table cannot be written. Keeps the exception that is set. */
uint64_t rec_functions_tag(const cpython_frame *f);

/* The UTF-8 of a str, lone surrogates included; "?" for anything else. *owned is to be released after use. */
struct pnr_string rec_functions_text(PyObject *object, PyObject **owned);

static inline uint32_t rec_tag_flags(uint64_t tag)
{
    return (uint32_t)(tag >> 32) & ((1 << REC_TAG_SESSION_SHIFT) - 1);
}

static inline bool rec_tag_is_current(uint64_t tag)
{
    return tag >> (32 + REC_TAG_SESSION_SHIFT) == rec_functions.session;
}

/* The tag as it stands, perhaps of an earlier recording. */
static inline uint64_t rec_tag_peek(const cpython_frame *f)
{
    return cpython_code_value(cpython_code(f), rec_functions.extra_index);
}

#endif
