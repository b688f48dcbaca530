#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int pnr_file_open_at(int directory, const char *path, int flags)
{
    int fd;
    do
        fd = openat(directory, path, flags | O_CLOEXEC, 0600);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int pnr_file_open(const char *path, int flags)
{
    return pnr_file_open_at(AT_FDCWD, path, flags);
}

ssize_t pnr_file_read(int fd, void *bytes, size_t size, off_t at)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, (char *)bytes + done, size - done, at + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}
