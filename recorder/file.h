/* An append-only file of the capture inside a program that knows nothing of it: its descriptor is high, so that
 * the program gets the numbers that it gets without us, and is looked at before each write, because the
 * program may close all descriptors (a daemon does) and open others under the same number.
 * Not thread-safe: one thread at a time. */
#ifndef REC_FILE_H
#define REC_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "../format/error.h"

struct rec_file {
    char path[PATH_MAX];
    int fd;                     /* -1: not open at present */
    dev_t device;
    ino_t inode;                /* 0 until it was opened */
    off_t size;                 /* what was appended whole */
};

/* Makes the file, which must not exist, for the owner alone (0600). Returns 0 or -1. */
int rec_file_create(struct rec_file *file, const char *directory, const char *name, struct pnr_err *err);

/* Opens the file to append to what is in it, or makes it as rec_file_create does. Returns 0 or -1. */
int rec_file_open(struct rec_file *file, const char *directory, const char *name, struct pnr_err *err);

/* The same, by its path below an open directory: that leads there also when the program has moved the directory, or its own
 * root, or may not pass through those above it any more. */
int rec_file_open_at(struct rec_file *file, int above, const char *below, const char *directory, const char *name,
                     struct pnr_err *err);

/* Says where the file lies: it has been moved, or another made it. Returns 0, or -1 when the path is too long. */
int rec_file_move(struct rec_file *file, const char *directory, const char *name, struct pnr_err *err);

/* Appends all the bytes or, as far as the system lets us, none; opens the file for it, also when there are no bytes.
 * Returns 0 or -1. */
int rec_file_append(struct rec_file *file, const void *bytes, size_t size, struct pnr_err *err);

/* Gives the descriptor back; a later append opens the file again. */
void rec_file_release(struct rec_file *file);

/* The same care for descriptors that are only read from: moves one out of the way of the program's own, as far as that can
 * be done, and returns what it is now; and tells whether one is still what it was. */
int rec_file_move_up(int fd);
bool rec_file_is_still(int fd, const struct stat *was);

#endif
