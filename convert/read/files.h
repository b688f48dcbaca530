/* The files of a process that hold its blocks, as they were at one moment. Hides directories, what may stand in the
 * place of one, segments that come and go while they are listed, and descriptors: few are open at a time, however many
 * files there are.
 *
 *     files_init()
 *     files_list()            the moment
 *     [files_free_list()]     when the list is not needed any more: it may have a million entries
 *     files_open() ...        to read one file; files_release() in between
 *     files_clear()
 *
 * One thread at a time. */
#ifndef FILES_H
#define FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/diagnostics.h"
#include "format/error.h"

#define FILES_OPEN 32

/* The size of a file of a segment that is not the last: as long as it is. Such files do not change, and to ask for all
 * their sizes would take as long as to open them. */
#define FILES_FINISHED UINT64_MAX

struct file {
    uint32_t segment;
    uint32_t thread;                    /* or PNR_SHORT_THREADS */
    uint64_t size;                      /* at that moment, or FILES_FINISHED */
};

struct files_descriptor {
    int fd;                             /* -1: none */
    uint32_t segment, thread;
    uint64_t size;                      /* when it was opened */
    uint64_t used;                      /* when it was opened or used last, counted in calls */
};

struct files {
    const char *path;                   /* of the process; borrowed */
    struct file *list;                  /* by segment, then by thread; owned */
    size_t n, capacity;
    uint32_t lowest, last;              /* segments that there were; 0: none */
    bool has_lost;                      /* a segment disappeared before it was listed */
    uint64_t n_damaged;                 /* segments that could not be listed, which has been reported */
    uint32_t damaged;                   /* the last of them; 0: none */
    struct files_descriptor open[FILES_OPEN];
    uint64_t n_calls;
};

/* path is borrowed until files_clear(). */
void files_init(struct files *files, const char *path);

void files_clear(struct files *files);

/* Lists all files, and reports segments that are missing between others or cannot be read. A segment that begins after
 * the last one was found is not of this moment. Returns 0, or -1 and fills err. */
int files_list(struct files *files, const struct diagnostics *diagnostics, struct pnr_err *err);

void files_free_list(struct files *files);

/* Reports segments as missing. */
void files_report_missing(const struct files *files, const struct diagnostics *diagnostics, uint32_t first,
                          uint32_t last);

/* True when there is something of that segment's name now. */
bool files_has_segment(const struct files *files, uint32_t segment);

/* Opens a file to read it, whether or not it is listed. size: receives its size when it was opened, unless it is NULL.
 * Returns a descriptor, borrowed until the next call; or -1, and fills err. */
int files_open(struct files *files, uint32_t segment, uint32_t thread, uint64_t *size, struct pnr_err *err);

/* True for an error that means: the file is not there. */
bool files_is_gone(const struct pnr_err *err);

/* Closes all descriptors; files_open() opens them again. */
void files_release(struct files *files);

#endif
