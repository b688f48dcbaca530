/* Reads objects of the program as values (../../format/values.h). What is plain is copied without calling any code of
 * the program: int, float, bool, None, str, bytes, and lists, tuples, dicts, sets and frozensets of these, each exactly
 * of this type. Anything else shows its type, or its repr() if that is wanted.
 *
 *     rec_reading_begin
 *         rec_reading_read ...            the values of one call, whose reprs may take REC_REPR_MAX_NS together
 */
#ifndef REC_VALUE_READING_H
#define REC_VALUE_READING_H

#include "cpython.h"

#include "../../format/values.h"

#define REC_READ_MEMBERS 20             /* of a container that are shown */
#define REC_READ_DEPTH 4                /* of containers in containers */
#define REC_REPR_MAX_NS UINT64_C(50000000)      /* then the reprs of a call have taken too long */

struct rec_reading {
    bool calls_repr;                    /* cleared when they have taken too long */
    bool has_run;                       /* code of the program may have run */
    uint32_t n_failed;                  /* reprs that raised, or came too late */
    uint64_t began_ns, ended_ns;        /* when the first one was called, and the last one ended; 0: none was */
    uint32_t size;                      /* of the text that is being made */
    bool is_cut;
    char text[PNR_TEXT_MAX];
};

static inline void rec_reading_begin(struct rec_reading *reading, bool calls_repr)
{
    reading->calls_repr = calls_repr;
    reading->has_run = false;
    reading->n_failed = 0;
    reading->began_ns = 0;              /* the rest is set with each value */
}

/* Sets type and content of a value; its key stays. object: the caller's, which is held meanwhile. *owned: released by the
 * caller after use, or NULL. The text of a value lies in the reading: it is valid until the next one. No exception is
 * set before and after. */
void rec_reading_read(struct rec_reading *reading, PyObject *object, struct pnr_value *value, PyObject **owned);

#endif
