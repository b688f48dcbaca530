/* The file that a conversion writes. Hides where it lies until it is whole, how it is compressed, and what happens to
 * it when the conversion is interrupted.
 *
 *     output_open()
 *     for each part: output_add(), and output_wait() before its memory is used for something else
 *     output_keep()
 *     output_close()
 *
 * A regular file is written under a temporary name beside its own and gets its name from output_keep(): until then
 * there is none under it, or the old one. A signal that ends the program removes the temporary one; if that is SIGKILL,
 * the next output_open() with the same path does: it is locked as long as someone writes it. A name that ends in
 * .gz or .zst makes a file of that kind; - is standard output.
 *
 * Parts are made and compressed by threads beside one another, and written in the order in which they were added. The
 * first failure stays: what follows is in vain. All calls are those of the owner of the jobs. */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/jobs.h"
#include "format/error.h"

struct output;

/* To be embedded in what makes the part. The caller sets make; the rest is 0 at first, and hidden. */
struct output_part {
    struct job job;
    /* Called by any thread: puts the bytes into output_room(), sets size. Returns 0, or -1 when out of memory. */
    int (*make)(struct output_part *part);
    size_t size;
    struct output *output;
    struct output_room *room;
    void *packed;                       /* what is written, if it is not the bytes themselves; owned */
    size_t packed_size, packed_capacity;
    uint32_t check;                     /* of the bytes */
};

/* jobs is borrowed until output_close(). Handles SIGINT, SIGTERM and SIGHUP from now on. Returns NULL when the file
 * cannot be made. */
struct output *output_open(const char *path, struct jobs *jobs, struct pnr_err *err);

/* advance(arg) is called whenever a part is added. */
void output_watch(struct output *output, void (*advance)(void *arg), void *arg);

/* Removes what was not kept. Accepts NULL. */
void output_close(struct output *output);

/* part is borrowed until output_wait() returns. */
void output_add(struct output *output, struct output_part *part);

/* For make(): room for so many bytes, which it need not fill. NULL when out of memory. */
char *output_room(struct output_part *part, size_t size);

/* Returns when the part has been written. One that was never added has been. */
void output_wait(struct output *output, struct output_part *part);

/* Gives back what the part owns; it must have been waited for. */
void output_part_clear(struct output_part *part);

/* True when something could not be written or made. */
bool output_is_broken(const struct output *output);

/* Writes bytes that are there, behind all parts that were added. */
void output_write(struct output *output, const void *bytes, size_t size);

/* The file's descriptor, to ask what it is. Borrowed. */
int output_fd(const struct output *output);

/* How many bytes at the end of the path tell that the file is compressed. */
size_t output_suffix(const char *path);

/* How many bytes have been written so far: those of the file. */
uint64_t output_bytes(const struct output *output);

/* Completes the file, all parts of which must have been waited for, and gives it its name. Returns 0, or -1 when any of
 * it could not be written. */
int output_keep(struct output *output, struct pnr_err *err);

#endif
