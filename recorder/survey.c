#include "survey.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "names.h"
#include "tree.h"
#include "../format/capture.h"
#include "../format/file.h"

/* A shared lock on the capture's file `order`. A child inherits it from its parent, and it lasts until both have closed
 * it. */
static struct {
    int fd;                             /* or -1 */
    struct stat was;
} fork_lock = { .fd = -1 };

/* One process of a capture. */
struct process {
    bool is_running, has_events;
    uint32_t n_threads;
    uint64_t n_events, n_lost;
    struct rec_cost *cost;              /* the sum over all processes */
};

/* True for the process that asks: it has stopped its recording, or was another program when it started this one. */
static bool is_own_process(const char *name, const struct pnr_live_header *header)
{
    return strtol(name + strcspn(name, "0123456789"), NULL, 10) == (long)getpid() &&
           header->process_start == pnr_process_start() && header->pid_namespace == pnr_process_namespace();
}

/* True for another process that may still run. Gives the events in the blocks that it has written so far; else 0. */
static bool is_process_running(const char *path, const char *name, uint64_t *n_events)
{
    struct pnr_live live;
    struct pnr_err err;
    *n_events = 0;
    if (pnr_live_open(path, &live, &err) != 1)
        return false;
    bool is_other = !is_own_process(name, live.header);
    bool is = is_other && pnr_live_process(path, live.header) != PNR_PROCESS_GONE;
    *n_events = is_other ? live.header->n_events : 0;
    pnr_live_close(&live, path, false);
    return is;
}

static bool is_key(struct pnr_string s, const char *text)
{
    return s.size == strlen(text) && memcmp(s.bytes, text, s.size) == 0;
}

static uint64_t parse_property(struct pnr_string s)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%.*s", (int)(s.size < sizeof digits ? s.size : 0), s.bytes);
    return strtoull(digits, NULL, 10);
}

/* Adds an entry of the name table. Threads are numbered in the order of their first entries; a later one renames. */
static void add_entry_of(struct process *process, const struct pnr_name *name, uint32_t *last_thread)
{
    const struct pnr_string *key = &name->strings[0], *value = &name->strings[1];
    if (name->type == PNR_NAME_THREAD && name->index > *last_thread) {
        *last_thread = name->index;
        process->n_threads += name->kind == PNR_THREAD_OWN;
    }
    if (name->type != PNR_NAME_PROPERTY)
        return;
    if (is_key(*key, "events")) {
        process->has_events = true;
        process->n_events = parse_property(*value);
    } else if (is_key(*key, "lost")) {
        process->n_lost = parse_property(*value);
    } else {
        rec_cost_read(process->cost, key, value);
    }
}

static void add_names(const char *process_path, struct process *process)
{
    char path[PATH_MAX];
    struct pnr_name name;
    struct pnr_err err;
    uint32_t last_thread = 0;
    size_t size, at = PNR_NAMES_HEADER_SIZE;
    pnr_file_path(process_path, "names", path);
    unsigned char *bytes = rec_names_read(path, &size, &err);
    if (bytes && pnr_names_header_check(bytes, size, &err) == 0)
        while (pnr_name_decode(bytes, size, &at, &name, &err) == 1)
            add_entry_of(process, &name, &last_thread);
    free(bytes);
}

static int open_order(const char *capture_path)
{
    char path[PATH_MAX];
    pnr_file_path(capture_path, PNR_CAPTURE_ORDER, path);
    return rec_file_move_up(pnr_file_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
}

void rec_survey_fork(const char *capture_path)
{
    if (fork_lock.fd >= 0)
        return;                         /* this process is such a child itself */
    fork_lock.fd = open_order(capture_path);
    if (fork_lock.fd < 0)
        return;
    if (fstat(fork_lock.fd, &fork_lock.was) != 0 || flock(fork_lock.fd, LOCK_SH | LOCK_NB) != 0) {
        close(fork_lock.fd);
        fork_lock.fd = -1;
    }
}

void rec_survey_forked(void)
{
    if (fork_lock.fd >= 0 && rec_file_is_still(fork_lock.fd, &fork_lock.was))
        close(fork_lock.fd);
    fork_lock.fd = -1;
}

/* True when there is a forked child that has not started to record yet. */
static bool has_waiting_child(const char *capture_path)
{
    int fd = open_order(capture_path);
    bool is = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (fd >= 0)
        close(fd);
    return is;
}

/* True when another process is starting to record, has a child that has not started yet, or has made the directory of a
 * region. */
static bool has_starting_process(const char *capture_path)
{
    struct dirent *entry;
    enum pnr_process_state state;
    bool is = has_waiting_child(capture_path);
    DIR *dir = is ? NULL : opendir(capture_path);
    while (dir && !is && (entry = readdir(dir)))
        is = pnr_capture_is_partial(entry->d_name, &state) && state != PNR_PROCESS_GONE;
    if (dir)
        closedir(dir);
    return is;
}

void rec_survey_take(const char *capture_path, struct rec_survey *survey)
{
    char path[PATH_MAX];
    struct pnr_list list;
    struct pnr_err err;
    /* Looks for starting processes first: one that has started meanwhile is counted below. */
    *survey = (struct rec_survey){ .n_running = has_starting_process(capture_path) };
    if (pnr_capture_processes(capture_path, &list, &err) != 0)
        return;
    for (size_t i = 0; i < list.n; i++) {
        struct process process = { .cost = &survey->cost };
        pnr_file_path(capture_path, list.names[i], path);
        uint64_t n_written;
        process.is_running = is_process_running(path, list.names[i], &n_written);
        add_names(path, &process);
        if (!process.has_events)
            process.n_events = n_written;
        survey->n_processes++;
        survey->n_running += process.is_running;
        survey->n_killed += !process.is_running && !process.has_events;
        survey->n_threads += process.n_threads;
        survey->n_events += process.n_events;
        survey->n_lost += process.n_lost;
    }
    pnr_list_clear(&list);
    rec_tree_bytes(capture_path, &survey->n_bytes);
}

bool rec_survey_runs(const char *capture_path)
{
    char path[PATH_MAX];
    struct pnr_list list;
    struct pnr_err err;
    bool runs = false;
    if (has_starting_process(capture_path))
        return true;
    if (pnr_capture_processes(capture_path, &list, &err) != 0)
        return false;
    for (size_t i = 0; i < list.n && !runs; i++) {
        pnr_file_path(capture_path, list.names[i], path);
        uint64_t n_written;
        runs = is_process_running(path, list.names[i], &n_written);
    }
    pnr_list_clear(&list);
    return runs;
}
