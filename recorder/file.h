/* An append-only file of the capture, in a program that knows nothing of it. Its descriptor is high, so that the
 * program gets the same low numbers as without the recorder. It is checked before each write, because the program
 * may close all descriptors (daemons do) and open other files under the same number. No Python dependency.
 *
 *     rec_file_create, rec_file_open or rec_file_open_at
 *         rec_file_append ...
 *         rec_file_move                       the directory has been renamed
 *     rec_file_release
 *
 * A file belongs to one thread at a time. */
#ifndef REC_FILE_H
#define REC_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "../format/error.h"

struct rec_file {
    char path[PATH_MAX];
    int fd;                             /* -1: not open at present */
    dev_t device;
    ino_t inode;                        /* 0 until it was opened */
    off_t size;                         /* what was appended whole */
};

/* Makes the file, which must not exist, for the owner alone (0600). Returns 0 or -1. */
int rec_file_create(struct rec_file *file, const char *directory, const char *name, struct pnr_err *err);

/* Opens the file to append to it, or makes it as rec_file_create does. Returns 0 or -1. */
int rec_file_open(struct rec_file *file, const char *directory, const char *name, struct pnr_err *err);

/* Opens the file as rec_file_open does, by its path below an open directory. That works also when the program has
 * moved the directory, has changed its own root, or may no longer pass through the directories above. */
int rec_file_open_at(struct rec_file *file, int above, const char *below, const char *directory, const char *name,
                     struct pnr_err *err);

/* Sets the file's path after it was moved. Returns 0, or -1 when the path is too long. */
int rec_file_move(struct rec_file *file, const char *directory, const char *name, struct pnr_err *err);

/* Appends all the bytes or, as far as that can be done, none. Opens the file if it is closed, also for no bytes.
 * Returns 0 or -1. */
int rec_file_append(struct rec_file *file, const void *bytes, size_t size, struct pnr_err *err);

/* Closes the descriptor. A later append opens the file again. */
void rec_file_release(struct rec_file *file);

/* Cuts off what a file has beyond this size, if it is still the file that it was. Symbolic links are not followed. Returns 0 or
 * -1. */
int rec_file_cut(const char *path, const struct stat *was, off_t size);

/* Moves a descriptor up, out of the way of the program's own, as far as that can be done. Accepts -1. Returns its
 * number. */
int rec_file_move_up(int fd);

/* True when a descriptor is still the file that it was: the program has not closed it. */
bool rec_file_is_still(int fd, const struct stat *was);

#endif
