/* Opens and reads files, whatever signals interrupt the calls. */
#ifndef PNR_FILE_H
#define PNR_FILE_H

#include <stddef.h>
#include <sys/types.h>

/* Opens a file with O_CLOEXEC, and with mode 0600 if it is created. Returns the descriptor, or -1 and errno. */
int pnr_file_open(const char *path, int flags);

/* Opens a path below an open directory, likewise. */
int pnr_file_open_at(int directory, const char *path, int flags);

/* Reads `size` bytes from `at` on, or as many as there are. Returns how many, or -1 and errno. */
ssize_t pnr_file_read(int fd, void *bytes, size_t size, off_t at);

#endif
