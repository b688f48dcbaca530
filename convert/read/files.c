#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/array.h"
#include "format/capture.h"

void files_init(struct files *files, const char *path)
{
    *files = (struct files){ .path = path };
    for (size_t i = 0; i < FILES_OPEN; i++)
        files->open[i].fd = -1;
}

void files_clear(struct files *files)
{
    files_release(files);
    files_free_list(files);
}

/* ---- the list ---- */

bool files_has_segment(const struct files *files, uint32_t segment)
{
    char path[PATH_MAX];
    struct stat status;
    pnr_segment_path(files->path, segment, path);
    return segment > 0 && lstat(path, &status) == 0;
}

bool files_is_gone(const struct pnr_err *err)
{
    return err->code == PNR_E_SYSTEM && err->sys_errno == ENOENT;
}

/* Lists the threads that have a file in a segment. Returns 0 or -1. */
static int list_threads(const struct files *files, uint32_t segment, uint32_t **threads, size_t *n,
                        struct pnr_err *err)
{
    char path[PATH_MAX];
    struct stat status;
    pnr_segment_path(files->path, segment, path);
    if (lstat(path, &status) < 0)
        return pnr_err_system(err, path, "cannot read");
    if (!S_ISDIR(status.st_mode))
        return pnr_err_set(err, PNR_E_CORRUPT, path, 0, "not a directory");
    return pnr_capture_threads(files->path, segment, threads, n, err);
}

/* Returns 0 for a file that has disappeared: files_open() will report it. */
static uint64_t size_now(const struct files *files, uint32_t segment, uint32_t thread)
{
    char path[PATH_MAX];
    struct stat status;
    pnr_thread_path(files->path, segment, thread, path);
    return lstat(path, &status) == 0 && S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
}

/* Removes all files from the list: their segment was evicted before it was listed, and so were all before it. */
static void forget_evicted(struct files *files)
{
    files->n = 0;
    files->has_lost = true;
}

/* Adds the files of a segment. is_last: its files may still grow. Returns 0, or -1 when out of memory. */
static int list_segment(struct files *files, uint32_t segment, bool is_last, const struct diagnostics *diagnostics)
{
    struct pnr_err problem;
    uint32_t *threads;
    size_t n;
    if (list_threads(files, segment, &threads, &n, &problem) < 0) {
        if (problem.code == PNR_E_MEMORY)
            return -1;
        if (files_is_gone(&problem)) {
            forget_evicted(files);
            return 0;
        }
        diagnostics_err(diagnostics, DIAGNOSTIC_DAMAGE, &problem);
        files->n_damaged++;
        files->damaged = segment;
        return 0;
    }
    int result = pnr_array_reserve(&files->list, &files->capacity, files->n + n);
    for (size_t i = 0; result == 0 && i < n; i++) {
        uint64_t size = is_last ? size_now(files, segment, threads[i]) : FILES_FINISHED;
        files->list[files->n++] = (struct file){ segment, threads[i], size };
    }
    free(threads);
    return result;
}

void files_report_missing(const struct files *files, const struct diagnostics *diagnostics, uint32_t first,
                          uint32_t last)
{
    if (first == last)
        diagnostics_report(diagnostics, DIAGNOSTIC_DAMAGE, "%s: segment %" PRIu32 " is missing", files->path, first);
    else
        diagnostics_report(diagnostics, DIAGNOSTIC_DAMAGE, "%s: segments %" PRIu32 " to %" PRIu32 " are missing",
                           files->path, first, last);
}

/* Lists the segments of these numbers, and those that began since the numbers were read. Asks whether there is a next
 * segment before it lists one: if there is, the one is finished, and is listed whole. Returns 0, or -1 when out of
 * memory. */
static int list_segments(struct files *files, const uint32_t *numbers, size_t n, const struct diagnostics *diagnostics)
{
    size_t i = 0;
    for (uint32_t number = numbers[0];; number++) {
        while (i < n && numbers[i] <= number)
            i++;
        bool has_next = files_has_segment(files, number + 1);
        if (list_segment(files, number, !has_next && i == n, diagnostics) < 0)
            return -1;
        files->last = number;
        if (has_next)
            continue;
        if (i == n)
            return 0;
        if (files_has_segment(files, number))
            files_report_missing(files, diagnostics, number + 1, numbers[i] - 1);
        else
            forget_evicted(files);
        number = numbers[i] - 1;
    }
}

void files_free_list(struct files *files)
{
    free(files->list);
    files->list = NULL;
    files->n = files->capacity = 0;
}

int files_list(struct files *files, const struct diagnostics *diagnostics, struct pnr_err *err)
{
    uint32_t *numbers;
    size_t n;
    if (pnr_capture_segments(files->path, &numbers, &n, err) < 0)
        return -1;
    int result = n ? list_segments(files, numbers, n, diagnostics) : 0;
    if (n)
        files->lowest = numbers[0];
    free(numbers);
    return result == 0 ? 0 : pnr_err_set(err, PNR_E_MEMORY, files->path, 0, "out of memory");
}

/* ---- descriptors ---- */

static int open_regular(const char *path, uint64_t *size, struct pnr_err *err)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &status) < 0)
        pnr_err_system(err, path, "cannot read");
    else if (!S_ISREG(status.st_mode))
        pnr_err_set(err, PNR_E_CORRUPT, path, 0, "not a regular file");
    else {
        *size = (uint64_t)status.st_size;
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Finds the descriptor of a file, or evicts the one that was used least recently for it. */
static struct files_descriptor *find_descriptor(struct files *files, uint32_t segment, uint32_t thread)
{
    struct files_descriptor *oldest = &files->open[0];
    for (struct files_descriptor *one = files->open; one < files->open + FILES_OPEN; one++) {
        if (one->fd >= 0 && one->segment == segment && one->thread == thread)
            return one;
        if (one->used < oldest->used)
            oldest = one;
    }
    if (oldest->fd >= 0)
        close(oldest->fd);
    *oldest = (struct files_descriptor){ .fd = -1 };
    return oldest;
}

int files_open(struct files *files, uint32_t segment, uint32_t thread, uint64_t *size, struct pnr_err *err)
{
    char path[PATH_MAX];
    uint64_t now;
    struct files_descriptor *one = find_descriptor(files, segment, thread);
    if (one->fd < 0) {
        pnr_thread_path(files->path, segment, thread, path);
        int fd = open_regular(path, &now, err);
        if (fd < 0 && (err->sys_errno == EMFILE || err->sys_errno == ENFILE)) {
            files_release(files);
            fd = open_regular(path, &now, err);
        }
        if (fd < 0)
            return -1;
        *one = (struct files_descriptor){ fd, segment, thread, now, 0 };
    }
    if (size)
        *size = one->size;
    one->used = ++files->n_calls;
    return one->fd;
}

void files_release(struct files *files)
{
    for (struct files_descriptor *one = files->open; one < files->open + FILES_OPEN; one++) {
        if (one->fd >= 0)
            close(one->fd);
        *one = (struct files_descriptor){ .fd = -1 };
    }
}
