/* Writes to a file through a buffer. The first failure sticks and is reported at the end: what is written after it is
 * discarded.
 *
 *     writer_init(), writer_put() and the like, writer_end() */
#ifndef WRITER_H
#define WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "format/error.h"
#include "output.h"

struct writer {
    int fd;                             /* the caller's, like the next */
    struct output *output;              /* NULL: writes to fd */
    int sys_errno;                      /* of the first failure, else 0 */
    uint64_t n_bytes;                   /* so far */
    size_t used;
    char buffer[1 << 16];
};

void writer_init(struct writer *writer, int fd);

/* Writes to an output, whose failures output_keep() reports. */
void writer_init_output(struct writer *writer, struct output *output);

void writer_put(struct writer *writer, const void *bytes, size_t size);

/* Writes 1,023 bytes at most: for numbers and short words, not for names. */
void writer_format(struct writer *writer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Flushes. Returns 0, or -1 when any of it could not be written. */
int writer_end(struct writer *writer, struct pnr_err *err);

#endif
