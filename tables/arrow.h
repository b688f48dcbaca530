/* The three structures of the Arrow C data interface and the Arrow C stream interface, as their specification fixes
 * them (Apache Arrow, docs/source/format/CDataInterface.rst and CStreamInterface.rst). Consumers in other languages
 * rely on each byte of them.
 *
 * Each structure is released by its own `release`, which sets `release` to NULL. What a structure points to belongs to
 * it. A consumer may move a structure by copying it and setting the `release` of the old one to NULL. */
#ifndef ARROW_H
#define ARROW_H

#include <stdint.h>

/* Bits of ArrowSchema.flags. */
#define ARROW_FLAG_NULLABLE 2

/* What one column is, or a batch of all columns. */
struct ArrowSchema {
    const char *format;                 /* "l" int64, "i" int32, "g" float64, "b" bool, "u" UTF-8, "+s" struct */
    const char *name;
    const char *metadata;               /* NULL, or pairs of a key and a value, see schema.c */
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;     /* of what an index stands for; else NULL */
    void (*release)(struct ArrowSchema *schema);
    void *private_data;
};

/* The values of one column, or of all. */
struct ArrowArray {
    int64_t length;
    int64_t null_count;
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;               /* [0]: a bit for each value, 0 for a null; NULL: there is no null */
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *array);
    void *private_data;
};

/* Releases the children and the dictionary of a schema or an array, except for those that the consumer has moved. */
#define ARROW_RELEASE_CHILDREN(parent) \
    do { \
        for (int64_t i = 0; i < (parent)->n_children; i++) \
            if ((parent)->children[i]->release) \
                (parent)->children[i]->release((parent)->children[i]); \
        if ((parent)->dictionary && (parent)->dictionary->release) \
            (parent)->dictionary->release((parent)->dictionary); \
    } while (0)

/* Gives batches, one after another. Functions return 0, or an errno. */
struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *stream, struct ArrowSchema *out);
    int (*get_next)(struct ArrowArrayStream *stream, struct ArrowArray *out);     /* a released one: the end */
    const char *(*get_last_error)(struct ArrowArrayStream *stream);
    void (*release)(struct ArrowArrayStream *stream);
    void *private_data;
};

#endif
