/* The file that a conversion writes. Hides where it is until it is complete, how it is compressed, and what happens
 * to it when the conversion is interrupted.
 *
 *     output_open()
 *     for each part: output_add(), and output_wait() before its memory is reused
 *     output_keep()
 *     output_close()
 *
 * A regular file is written under a temporary name in the same directory. output_keep() renames it; until then the old
 * file, if there is one, stays. A signal that ends the program removes the temporary file. After SIGKILL the next
 * output_open() with the same path does: the file is locked as long as it is written. A name that ends in .gz or .zst
 * makes a file of that kind; - is standard output.
 *
 * Parts are made and compressed by several threads at a time, and written in the order in which they were added. The
 * first failure sticks: what follows is discarded. The owner of the jobs makes all calls. */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/jobs.h"
#include "format/error.h"

struct output;

/* To be embedded in what makes the part. The caller sets make; the other members are 0 at first, and private. */
struct output_part {
    struct job job;
    /* Called by any thread: puts the bytes into output_buffer(), and sets size. Returns 0, or -1 when out of memory. */
    int (*make)(struct output_part *part);
    size_t size;
    struct output *output;
    struct output_buffer *buffer;
    void *compressed;                   /* what is written instead of the bytes; owned */
    size_t compressed_size, compressed_capacity;
    uint32_t check;                     /* of the bytes */
};

/* jobs is borrowed until output_close(). Handles SIGINT, SIGTERM and SIGHUP from now on. Returns NULL when the file
 * cannot be made. */
struct output *output_open(const char *path, struct jobs *jobs, struct pnr_err *err);

/* advance(arg) is called whenever a part is added. */
void output_watch(struct output *output, void (*advance)(void *arg), void *arg);

/* Removes a file that was not kept. Accepts NULL. */
void output_close(struct output *output);

/* part is borrowed until output_wait() returns. */
void output_add(struct output *output, struct output_part *part);

/* For make(): returns a buffer of at least size bytes; NULL when out of memory. */
char *output_buffer(struct output_part *part, size_t size);

/* Returns when the part has been written, at once if it was never added. */
void output_wait(struct output *output, struct output_part *part);

/* Releases what the part owns; it must have been waited for. */
void output_part_clear(struct output_part *part);

/* True when something could not be written or made. */
bool output_is_broken(const struct output *output);

/* Writes bytes after all parts that were added. */
void output_write(struct output *output, const void *bytes, size_t size);

/* Returns the file's descriptor, to ask what kind of file it is. Borrowed. */
int output_fd(const struct output *output);

/* Returns the size of the suffix that makes the file a compressed one; 0 for others. */
size_t output_suffix(const char *path);

/* Returns how many bytes of the file have been written so far. */
uint64_t output_bytes(const struct output *output);

/* Completes the file, whose parts must all have been waited for, and gives it its name. Returns 0, or -1 when any of it
 * could not be written. */
int output_keep(struct output *output, struct pnr_err *err);

#endif
