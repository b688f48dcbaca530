#include "destination.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "diagnostics.h"
#include "survey.h"
#include "tree.h"
#include "../format/capture.h"
#include "../format/file.h"

#define LOCK_TRIES 1000
#define MAX_NUMBERED 100000

/* True while the process that is to convert the capture at its end runs or ends. The file `order` says which it is. */
static bool is_to_be_converted(const char *capture)
{
    char path[PATH_MAX], text[256];
    unsigned long long start, namespace;
    long pid;
    pnr_file_path(capture, PNR_CAPTURE_ORDER, path);
    int fd = pnr_file_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    ssize_t size = fd < 0 ? -1 : pnr_file_read(fd, text, sizeof text - 1, 0);
    if (fd >= 0)
        close(fd);
    if (size <= 0)
        return false;
    text[size] = 0;
    const char *next = text + strlen(text) + 1;
    return next < text + size && strncmp(next, "output=", 7) == 0 &&
           sscanf(text, "by=%ld-%llu-%llu", &pid, &start, &namespace) == 3 && pid != (long)getpid() &&
           pnr_process_look(pid, start, namespace) == PNR_PROCESS_RUNS;
}

static bool is_capture_in_use(const char *capture)
{
    return rec_survey_runs(capture) || is_to_be_converted(capture);
}

/* Copies the directory part of a path; "." for a name alone. */
static void copy_directory(const char *path, char *folder)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        strcpy(folder, ".");
    else
        snprintf(folder, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

/* Locks the directory of a path. Returns the lock, or -1 where there is none: not every directory can be locked. */
static int take_lock(const char *path)
{
    char folder[PATH_MAX];
    copy_directory(path, folder);
    int lock = pnr_file_open(folder, O_RDONLY | O_DIRECTORY);
    for (int i = 0; lock >= 0 && i < LOCK_TRIES && flock(lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; i++)
        usleep(1000);                   /* not for ever: the process that has it may have been stopped */
    return lock;
}

static int start_choice(struct rec_destination *destination, const char *path, const char *extension,
                        struct pnr_err *err)
{
    size_t size = strlen(path);
    *destination = (struct rec_destination){ .lock = -1 };
    while (size > 1 && path[size - 1] == '/')
        size--;
    if (snprintf(destination->capture, sizeof destination->capture, "%.*s%s", (int)size, path, extension) >=
        (int)(sizeof destination->capture - sizeof "/..replaced")) {
        errno = ENAMETOOLONG;
        return pnr_err_system(err, path, "cannot make the capture's directory");
    }
    destination->lock = take_lock(destination->capture);
    return 0;
}

static int refuse_choice(struct rec_destination *destination, const char *what, struct pnr_err *err)
{
    pnr_err_set(err, PNR_E_NOT_CAPTURE, destination->capture, 0, what);
    rec_destination_settle(destination, false);
    return -1;
}

static bool is_path_taken(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

/* Moves back, or removes, what an earlier --force left aside because it was killed. */
static void tidy_aside(const struct rec_destination *destination, const char *aside)
{
    if (!pnr_capture_is(aside) || is_capture_in_use(aside))
        return;
    if (!is_path_taken(destination->capture))
        rename(aside, destination->capture);
    else
        rec_tree_remove(aside);
}

static void name_aside(const char *capture, char *aside)
{
    const char *slash = strrchr(capture, '/'), *name = slash ? slash + 1 : capture;
    if (snprintf(aside, PATH_MAX, "%.*s.%s.replaced", (int)(name - capture), capture, name) >= PATH_MAX)
        *aside = 0;                     /* cannot happen: start_choice ensures that the path is short enough */
}

int rec_destination_choose_capture(struct rec_destination *destination, const char *path, bool replaces,
                                   struct pnr_err *err)
{
    char aside[PATH_MAX];
    struct stat st;
    if (start_choice(destination, path, "", err) != 0)
        return -1;
    if (!replaces)
        return 0;
    name_aside(destination->capture, aside);
    tidy_aside(destination, aside);
    if (lstat(destination->capture, &st) != 0)
        return 0;
    if (!S_ISDIR(st.st_mode) || !pnr_capture_is(destination->capture))
        return refuse_choice(destination, "not a capture, so --force does not remove it", err);
    if (is_capture_in_use(destination->capture))
        return refuse_choice(destination, "a process may still record into it, so --force does not remove it", err);
    destination->replaces = true;
    return 0;
}

/* True when a capture that is in use lies alongside this output and is named after it. */
static bool is_output_promised(const char *output)
{
    char folder[PATH_MAX], path[PATH_MAX];
    struct dirent *entry;
    bool is = false;
    const char *slash = strrchr(output, '/'), *name = slash ? slash + 1 : output;
    size_t size = strlen(name);
    copy_directory(output, folder);
    DIR *dir = opendir(folder);
    while (dir && !is && (entry = readdir(dir))) {
        size_t length = strlen(entry->d_name);
        if (length < size + 4 || strncmp(entry->d_name, name, size) != 0 ||
            strcmp(entry->d_name + length - 4, ".pnr") != 0)
            continue;
        pnr_file_path(folder, entry->d_name, path);
        is = is_capture_in_use(path);
    }
    if (dir)
        closedir(dir);
    return is;
}

/* Returns where a number is inserted into a name: before .trace.gz as well as before .trace. */
static size_t stem_size(const char *output)
{
    const char *slash = strrchr(output, '/'), *name = slash ? slash + 1 : output, *dot = strrchr(name, '.');
    if (dot && (strcmp(dot, ".gz") == 0 || strcmp(dot, ".zst") == 0)) {
        const char *inner = memrchr(name, '.', (size_t)(dot - name));
        dot = inner ? inner : dot;
    }
    return dot ? (size_t)(dot - output) : strlen(output);
}

int rec_destination_choose_output(struct rec_destination *destination, const char *output, char *taken,
                                  struct pnr_err *err)
{
    size_t stem = stem_size(output);
    if (start_choice(destination, output, ".pnr", err) != 0)
        return -1;
    strcpy(taken, output);
    for (int k = 2; is_output_promised(taken) && k < MAX_NUMBERED; k++)
        if (snprintf(taken, PATH_MAX - sizeof ".pnr", "%.*s-%d%s", (int)stem, output, k, output + stem) >=
            (int)(PATH_MAX - sizeof ".pnr"))
            return refuse_choice(destination, "no free name alongside it is short enough", err);
    snprintf(destination->capture, sizeof destination->capture, "%s.pnr", taken);
    return 0;
}

int rec_destination_clear(struct rec_destination *destination, struct pnr_err *err)
{
    if (!destination->replaces)
        return 0;
    name_aside(destination->capture, destination->aside);
    if (rename(destination->capture, destination->aside) == 0)
        return 0;
    pnr_err_system(err, destination->capture, "cannot be removed");
    destination->aside[0] = 0;
    return -1;
}

void rec_destination_settle(struct rec_destination *destination, bool has_begun)
{
    if (destination->aside[0] && has_begun && rec_tree_remove(destination->aside) != 0)
        rec_warn("%s: cannot be removed: %s", destination->aside, strerror(errno));
    if (destination->aside[0] && !has_begun)
        rename(destination->aside, destination->capture);
    if (destination->lock >= 0)
        close(destination->lock);
    *destination = (struct rec_destination){ .lock = -1 };
}
