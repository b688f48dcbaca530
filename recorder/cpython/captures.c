#include "captures.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"
#include "occasions.h"
#include "recording.h"
#include "../diagnostics.h"
#include "../tree.h"

struct rec_captures rec_captures;

static struct {
    dev_t device;                       /* of the capture that is written, to find it again */
    ino_t inode;
} written_directory;

/* ---- where the capture is ---- */

void rec_captures_remember(void)
{
    struct stat st = { .st_ino = 0 };
    stat(rec_captures.written.path, &st);
    written_directory.device = st.st_dev;
    written_directory.inode = st.st_ino;
}

static bool is_written_directory(const char *path)
{
    struct stat st;
    return written_directory.inode && lstat(path, &st) == 0 && st.st_dev == written_directory.device &&
           st.st_ino == written_directory.inode;
}

/* Asks the kernel where the open files lie, of which some lie in a directory of the capture (/proc/self/fd). */
bool rec_captures_locate(void)
{
    char link[64], path[PATH_MAX];
    struct dirent *entry;
    bool is_found = is_written_directory(rec_captures.written.path);
    DIR *dir = is_found ? NULL : opendir("/proc/self/fd");
    while (dir && !is_found && (entry = readdir(dir))) {
        snprintf(link, sizeof link, "/proc/self/fd/%.20s", entry->d_name);
        ssize_t size = readlink(link, path, sizeof path - 1);
        path[size < 0 ? 0 : size] = 0;
        for (char *slash; !is_found && (slash = strrchr(path, '/')) && slash != path; ) {
            *slash = 0;
            is_found = is_written_directory(path);
        }
        if (is_found)
            strcpy(rec_captures.written.path, path);
    }
    if (dir)
        closedir(dir);
    return is_found;
}

/* ---- the list ---- */

static void add_region(struct rec_capture *region)
{
    pthread_mutex_lock(&rec_captures.lock);
    region->older = rec_captures.newest;
    rec_captures.newest = region;
    pthread_mutex_unlock(&rec_captures.lock);
}

/* Takes it out of the list; the caller frees it. */
static void remove_region(struct rec_capture *region)
{
    struct rec_capture **link = &rec_captures.newest;
    pthread_mutex_lock(&rec_captures.lock);
    while (*link != region)
        link = &(*link)->older;
    *link = region->older;
    pthread_mutex_unlock(&rec_captures.lock);
}

struct rec_capture *rec_captures_find(int number)
{
    struct rec_capture *region = rec_captures.newest;
    while (region && region->number != number)
        region = region->older;
    return region;
}

static void add_wanted(struct rec_wanted *wanted, const struct rec_options *options)
{
    wanted->c_calls |= options->c_calls != 0;
    wanted->exceptions |= options->exceptions != 0;
    wanted->collections |= options->collections != 0;
    if (options->samples_ns && (!wanted->samples_ns || options->samples_ns < wanted->samples_ns))
        wanted->samples_ns = options->samples_ns;
}

struct rec_wanted rec_captures_wanted(void)
{
    struct rec_wanted wanted = { .c_calls = false };
    add_wanted(&wanted, &rec_captures.written.options);
    for (struct rec_capture *region = rec_captures.newest; region; region = region->older)
        add_wanted(&wanted, &region->options);
    return wanted;
}

bool rec_captures_are_waiting(void)
{
    bool are = false;
    for (struct rec_capture *region = rec_captures.newest; region; region = region->older)
        are |= region->is_waiting;
    return are;
}

void rec_captures_begin_waiting(void)
{
    for (struct rec_capture *region = rec_captures.newest; region; region = region->older) {
        if (region->is_waiting)
            rec_session_postpone_region(&region->region);
        region->is_waiting = false;
    }
}

int rec_captures_count_lifting(void)
{
    int n = 0;
    for (struct rec_capture *region = rec_captures.newest; region; region = region->older)
        n += region->lifts_pause;
    return n;
}

void rec_captures_settle(void)
{
    for (struct rec_capture *region = rec_captures.newest; region; region = region->older)
        region->lifts_pause = false;
}

/* ---- regions ---- */

struct rec_capture *rec_captures_begin_region(const char *path, PyObject *dict)
{
    struct pnr_err err;
    struct rec_capture *region = calloc(1, sizeof *region);
    if (!region) {
        PyErr_NoMemory();
        return NULL;
    }
    if (rec_options_parse(dict, &region->options) != 0)
        goto fail;
    bool has_budget = region->options.max_overhead_ppm > 0;
    if ((region->options.engine || has_budget) && !rec_engine_find(region->options.engine, has_budget))
        goto fail;
    if (rec_session_make_capture(path, region->path, &err) != 0) {
        rec_recording_raise(&err);
        goto fail;
    }
    if (rec_session_begin_region(region->path, &region->region, &err) != 0) {
        rec_recording_raise(&err);
        rmdir(region->path);
        goto fail;
    }
    region->is_waiting = region->options.starts_paused;
    add_region(region);
    return region;
fail:
    free(region);
    return NULL;
}

void rec_captures_discard_region(struct rec_capture *region)
{
    remove_region(region);
    rec_session_discard_region(region->path, &region->region);
    free(region);
}

void rec_captures_save_region(struct rec_capture *region, struct rec_totals *totals)
{
    char text[512];
    struct pnr_err err;
    rec_occasions_run();                /* the drain's thread may be away, and it is the last time for this capture */
    if (region->is_waiting)
        rec_session_postpone_region(&region->region);       /* and there is nothing in it */
    if (rec_session_save_region(region->path, &region->region, totals, &err) != 0) {
        totals->failure = err;
        rec_warn("%s; %s is not made", pnr_err_describe(&err, text, sizeof text), region->path);
    }
    rec_occasions_release(&region->options);
    remove_region(region);
    free(region);
}

/* The region that has begun first: it has all segments that the others need. One that waits has yet to begin. */
static struct rec_capture *find_first(void)
{
    struct rec_capture *first = rec_captures.newest;
    for (struct rec_capture *region = first->older; region; region = region->older) {
        bool is_earlier = region->region.start.monotonic_ns <= first->region.start.monotonic_ns;
        if (first->is_waiting || (!region->is_waiting && is_earlier))
            first = region;
    }
    return first;
}

bool rec_captures_move(struct rec_drain_options *drain, bool *is_waiting, struct rec_totals *totals)
{
    struct pnr_err err;
    char text[512];
    struct rec_capture *first = find_first();
    drain->limits = (struct rec_limits){ first->options.max_size, first->options.last_ns };
    drain->discards = first->options.discards;
    *is_waiting = first->is_waiting;
    if (first->is_waiting)
        rec_session_postpone_region(&first->region);
    if (rec_session_move(first->path, &first->region, drain, totals, &err) != 0) {
        rec_warn("%s; the recordings inside this one end with it", pnr_err_describe(&err, text, sizeof text));
        return false;
    }
    rec_occasions_release(&rec_captures.written.options);
    remove_region(first);
    pthread_mutex_lock(&rec_captures.lock);
    rec_captures.written = *first;
    pthread_mutex_unlock(&rec_captures.lock);
    rec_captures_remember();
    free(first);
    return true;
}

void rec_captures_forked(void)
{
    pthread_mutex_init(&rec_captures.lock, NULL);       /* another thread may have had it */
    while (rec_captures.newest) {       /* their signals still do not end the process */
        struct rec_capture *region = rec_captures.newest;
        rec_captures.newest = region->older;
        free(region);
    }
}

void rec_captures_give(uid_t user)
{
    for (struct rec_capture *region = rec_captures.newest; region; region = region->older)
        rec_tree_give(region->path, user);
}

void rec_captures_init(void)
{
    pthread_mutex_init(&rec_captures.lock, NULL);
}
