/* open(2) and pread(2) of which a signal that interrupts them is of no account. */
#ifndef PNR_FILE_H
#define PNR_FILE_H

#include <stddef.h>
#include <sys/types.h>

/* With O_CLOEXEC, and 0600 for a file that is made. Returns the descriptor, or -1 and errno. */
int pnr_file_open(const char *path, int flags);

/* The same for a path below an open directory. */
int pnr_file_open_at(int directory, const char *path, int flags);

/* Reads `size` bytes, or as many as there are from `at` on. Returns how many, or -1 and errno. */
ssize_t pnr_file_read(int fd, void *bytes, size_t size, off_t at);

#endif
