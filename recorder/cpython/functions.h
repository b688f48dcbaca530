/* Functions: their places in the name table, and what is decided of each once. What is known of a code object is its
 * mark, kept in its co_extra (PEP 523). All functions are called with the GIL; none runs Python code.
 *
 *     rec_functions_init                  once a process
 *         rec_functions_start             a recording begins: the marks of the last one are void
 *             rec_functions_mark          a function is seen */
#ifndef REC_FUNCTIONS_H
#define REC_FUNCTIONS_H

#include "cpython.h"

#include "../../format/names.h"

/* A mark: bits 0 to 31: index in the name table; 32 to 35: flags; 36 to 63: number of the recording. 0 is none. */
enum {
    REC_MARK_EXCLUDED = 1,              /* no records; what it calls has. Of the others it has only NAMES */
    REC_MARK_CONTINUABLE = 2,
    REC_MARK_NAMES = 4,                 /* a call of it is looked at: rec_threads_note */
    REC_MARK_SUBSCRIPT = 8              /* it is called __getitem__, or its locals are a namespace that may have one */
};
#define REC_MARK_SESSION_SHIFT 4        /* within the upper word */

struct rec_functions {
    uint32_t plain;                     /* upper word of a mark of this recording without flags */
    uint32_t session;
    Py_ssize_t extra_index;
};
extern struct rec_functions rec_functions __attribute__((visibility("hidden")));

/* own: prefix of the files whose functions are never recorded; borrowed for ever. Returns 0, or -1 with an exception
 * set. */
int rec_functions_init(const char *own);

void rec_functions_start(void);

/* The mark of the code that a frame runs; 0 when the name table cannot be written. Keeps the exception that is set. */
uint64_t rec_functions_mark(const cpython_frame *f);

/* The UTF-8 of a str, lone surrogates included; "?" for anything else. *owned is to be released after use. */
struct pnr_string rec_functions_text(PyObject *object, PyObject **owned);

static inline uint32_t rec_mark_flags(uint64_t mark)
{
    return (uint32_t)(mark >> 32) & ((1 << REC_MARK_SESSION_SHIFT) - 1);
}

static inline bool rec_mark_is_current(uint64_t mark)
{
    return mark >> (32 + REC_MARK_SESSION_SHIFT) == rec_functions.session;
}

/* The mark as it stands, perhaps of an earlier recording. */
static inline uint64_t rec_mark_peek(const cpython_frame *f)
{
    return cpython_code_value(cpython_code(f), rec_functions.extra_index);
}

#endif
