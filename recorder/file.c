#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "signals.h"
#include "../format/file.h"

#define MIN_DESCRIPTOR 4000             /* of the recorder's; the kernel's table grows with the highest number */
#define BELOW_LIMIT 64                  /* ... and with a lower RLIMIT_NOFILE so far below that */

int rec_file_move_up(int fd)
{
    struct rlimit limit;
    rlim_t low = MIN_DESCRIPTOR;
    if (fd < 0)
        return fd;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < low + BELOW_LIMIT)
        low = limit.rlim_cur > BELOW_LIMIT ? limit.rlim_cur - BELOW_LIMIT : 0;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, (int)low);
    if (high < 0)
        return fd;
    close(fd);
    return high;
}

static bool is_descriptor_of(int fd, dev_t device, ino_t inode)
{
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

bool rec_file_is_still(int fd, const struct stat *was)
{
    return is_descriptor_of(fd, was->st_dev, was->st_ino);
}

int rec_file_cut(const char *path, const struct stat *was, off_t size)
{
    int fd = rec_file_move_up(pnr_file_open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK));
    if (!rec_file_is_still(fd, was))
        return -1;
    int result = ftruncate(fd, size);
    close(fd);
    return result;
}

/* Opens the file by its path below an open directory. Returns 0 or -1. */
static int open_below(struct rec_file *file, int above, const char *below, int flags, off_t *size, struct pnr_err *err)
{
    struct stat st;
    int fd = pnr_file_open_at(above, below, flags | O_WRONLY | O_APPEND | O_NOFOLLOW);
    if (fd < 0)
        return pnr_err_system(err, file->path, "cannot open");
    if (fstat(fd, &st) != 0) {
        pnr_err_system(err, file->path, "cannot look at the file");
        close(fd);
        return -1;
    }
    file->fd = rec_file_move_up(fd);
    file->device = st.st_dev;
    file->inode = st.st_ino;
    *size = st.st_size;
    return 0;
}

int rec_file_move(struct rec_file *file, const char *directory, const char *name, struct pnr_err *err)
{
    if (snprintf(file->path, sizeof file->path, "%s/%s", directory, name) < (int)sizeof file->path)
        return 0;
    errno = ENAMETOOLONG;
    return pnr_err_system(err, directory, "cannot make a file");
}

/* Opens a file for the first time. below: the path below an open directory; NULL: the file's own path. Returns 0 or
 * -1. */
static int open_new(struct rec_file *file, int above, const char *below, const char *directory, const char *name,
                    int flags, struct pnr_err *err)
{
    file->fd = -1;
    file->size = 0;
    file->inode = 0;
    return rec_file_move(file, directory, name, err) != 0 ? -1 :
           open_below(file, above, below ? below : file->path, flags, &file->size, err);
}

int rec_file_create(struct rec_file *file, const char *directory, const char *name, struct pnr_err *err)
{
    return open_new(file, AT_FDCWD, NULL, directory, name, O_CREAT | O_EXCL, err);
}

int rec_file_open(struct rec_file *file, const char *directory, const char *name, struct pnr_err *err)
{
    return open_new(file, AT_FDCWD, NULL, directory, name, O_CREAT, err);
}

int rec_file_open_at(struct rec_file *file, int above, const char *below, const char *directory, const char *name,
                     struct pnr_err *err)
{
    return open_new(file, above, below, directory, name, O_CREAT, err);
}

static bool is_file_open(const struct rec_file *file)
{
    return is_descriptor_of(file->fd, file->device, file->inode);
}

static int write_bytes(struct rec_file *file, const char *at, size_t size, struct pnr_err *err)
{
    size_t left = size;
    while (left) {
        ssize_t n = write(file->fd, at, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (n == 0)
                errno = EIO;
            pnr_err_system(err, file->path, "cannot write");
            if (left < size && ftruncate(file->fd, file->size) != 0)
                err->what = "cannot write, and what was written in part stays";
            return -1;
        }
        at += n;
        left -= (size_t)n;
    }
    file->size += (off_t)size;
    return 0;
}

int rec_file_append(struct rec_file *file, const void *bytes, size_t size, struct pnr_err *err)
{
    sigset_t before;
    off_t size_now;                     /* not used: it may include what an earlier write has left in part */
    if (!is_file_open(file) && open_below(file, AT_FDCWD, file->path, 0, &size_now, err) != 0)
        return -1;
    rec_signals_hold(SIGXFSZ, &before);
    int result = write_bytes(file, bytes, size, err);
    rec_signals_release(SIGXFSZ, &before, result != 0 && err->sys_errno == EFBIG);
    return result;
}

void rec_file_release(struct rec_file *file)
{
    if (is_file_open(file))
        close(file->fd);
    file->fd = -1;
}
