#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "budget.h"
#include "stretches.h"
#include "diagnostics.h"
#include "file.h"
#include "finish.h"
#include "ledger.h"
#include "name_table.h"
#include "names.h"
#include "samples.h"
#include "signals.h"
#include "tree.h"

#define LIVE_SHARE 8                    /* the live mapping takes at most this part of the maximum size */
#define NAMES_SHARE 16                  /* ... and so do the names of functions and threads */
#define CHILD_CHUNKS 16                 /* of a process that joins: there may be many of them */
#define FINISH_WAIT_MS 1000             /* for another process that has the capture locked */

static struct {
    char capture_path[PATH_MAX];
    bool joins;                         /* the capture is another process's */
    struct rec_buffer_counts before;    /* what was recorded before the present capture began */
} session;

/* ---- start ---- */

/* The program may change its directory: all later paths are absolute. */
static int make_absolute(const char *path, char *absolute, size_t size, struct pnr_err *err)
{
    char folder[PATH_MAX] = "";
    int path_size = (int)strlen(path);
    while (path_size > 1 && path[path_size - 1] == '/')
        path_size--;
    if (*path != '/' && !getcwd(folder, sizeof folder))
        return pnr_err_system(err, path, "cannot determine the current directory");
    if ((size_t)snprintf(absolute, size, "%s%s%.*s", folder, *folder ? "/" : "", path_size, path) >= size) {
        errno = ENAMETOOLONG;
        return pnr_err_system(err, path, "cannot make the capture's directory");
    }
    return 0;
}

int rec_session_make_capture(const char *path, char *taken, struct pnr_err *err)
{
    char absolute[PATH_MAX];
    return make_absolute(path, absolute, sizeof absolute, err) != 0 ? -1 :
           pnr_capture_make(absolute, taken, PATH_MAX, err);
}

/* Makes the live mapping of this process. Returns 0 or -1. */
static int begin_live(const char *process_path, uint32_t n_chunks, struct pnr_live *live, struct pnr_err *err)
{
    if (pnr_live_create(process_path, n_chunks, live, err) != 0)
        return -1;
    live->header->process_start = pnr_process_start();
    live->header->pid_namespace = pnr_process_namespace();
    live->header->clock_samples[0] = rec_clock_sample();
    return 0;
}

/* Returns how many bytes the name table may have. */
static uint64_t max_names_size(const struct rec_limits *limits)
{
    return limits->max_size ? limits->max_size / NAMES_SHARE : UINT64_MAX;
}

/* Returns how many chunks a process has. */
static uint32_t count_chunks(bool joins, uint64_t max_size)
{
    uint64_t n = joins ? CHILD_CHUNKS : REC_DRAIN_CHUNKS, max = max_size / LIVE_SHARE / PNR_CHUNK_SIZE;
    return (uint32_t)(max_size && max < n ? max : n);
}

/* Makes the name table with what every reader needs, and the live mapping. Returns 0 or -1. */
static int begin_files(const char *process_path, uint32_t n_chunks, const struct rec_limits *limits,
                       struct pnr_live *live, struct pnr_err *err)
{
    if (rec_name_table_start(process_path, max_names_size(limits), err) != 0 ||
        begin_live(process_path, n_chunks, live, err) != 0)
        return -1;
    rec_name_table_add_number("pid", (uint64_t)getpid());
    rec_name_table_add_property("clock", rec_clock_name());
    rec_name_table_add_number("ticks_per_second", rec_clock_rate());
    rec_name_table_add_clock_sample("start", live->header->clock_samples[0]);
    if (rec_name_table_has_failed()) {
        *err = *rec_name_table_failure();
        pnr_live_close(live, process_path, true);
        return -1;
    }
    return 0;
}

/* Removes a partial process, and its capture: an empty directory would be taken for a process that was recorded. */
static void remove_partial(const char *capture_path, const char *process_path)
{
    rec_tree_remove(process_path);
    rmdir(capture_path);
}

/* Makes the process's directory in the capture and all that is in it at first. Returns 0 or -1. */
static int begin_process(const char *capture_path, uint32_t n_chunks, const struct rec_drain_options *options,
                         struct pnr_err *err)
{
    static char path[PATH_MAX];         /* not on the stack, which may be a small thread's; by the recording lock */
    struct pnr_live live = { 0 };
    if (pnr_capture_make_partial(capture_path, path, sizeof path, err) != 0)
        return -1;
    if (begin_files(path, n_chunks, &options->limits, &live, err) == 0) {
        bool is_entered = pnr_capture_publish_process(capture_path, (long)getpid(), path, sizeof path, err) == 0 &&
                          rec_name_table_move(path, err) == 0;
        if (!is_entered)
            pnr_live_close(&live, path, true);
        else if (rec_drain_start(path, live, options, err) == 0)
            return 0;
    }
    rec_name_table_release();
    remove_partial(capture_path, path);
    return -1;
}

/* Reserves in the capture what the process takes at first, and begins it. Returns 0 or -1. */
static int begin_within_limits(const char *capture_path, uint32_t n_chunks, const struct rec_drain_options *options,
                               struct pnr_err *err)
{
    int lock;
    uint64_t size = (uint64_t)n_chunks * PNR_CHUNK_SIZE + rec_retention_segment_size(&options->limits);
    if (rec_retention_reserve(capture_path, &options->limits, size, &lock, err) != 0)
        return -1;
    int result = begin_process(capture_path, n_chunks, options, err);
    rec_retention_release(lock);
    return result;
}

int rec_session_start(const char *path, bool joins, const struct rec_drain_options *options, char *taken,
                      struct pnr_err *err)
{
    sigset_t before;
    uint32_t n_chunks = count_chunks(joins, options->limits.max_size);
    memset(&session, 0, sizeof session);
    rec_buffer_reset();
    if ((joins ? make_absolute(path, taken, PATH_MAX, err) : rec_session_make_capture(path, taken, err)) != 0)
        return -1;
    strcpy(session.capture_path, taken);
    session.joins = joins;
    /* A signal undoes an fallocate(2) on a tmpfs (Linux, mm/shmem.c, shmem_fallocate): with a fast timer it never
     * ends. */
    rec_signals_hold(0, &before);
    int result = begin_within_limits(taken, n_chunks, options, err);
    rec_signals_release(SIGXFSZ, &before, result != 0 && err->sys_errno == EFBIG);
    if (result != 0 && !joins)
        rmdir(taken);
    return result;
}

void rec_session_forked(void)
{
    rec_drain_forked();
    rec_stretches_stop();
    rec_budget_forked();
    rec_ledger_forked();
    rec_samples_forked();
    rec_name_table_release();
    rec_buffer_reset();
    memset(&session, 0, sizeof session);
}

void rec_session_set_min_duration(uint64_t ns)
{
    rec_min_duration_ticks = (uint64_t)((unsigned __int128)ns * rec_clock_rate() / 1000000000);
    rec_name_table_add_number("min_duration_ns", ns);
}

bool rec_session_set_sparse_clock(void)
{
    if (rec_min_duration_ticks)
        return true;
    rec_name_table_add_property("clock_mode", "sparse");
    return rec_stretches_start(rec_clock_rate());
}

bool rec_session_is_closed(void)
{
    return rec_name_table_has_failed() || rec_drain_has_failed();
}

/* ---- stop ---- */

/* Returns what was recorded after this. All chunks have been submitted. */
static struct rec_totals totals_since(const struct rec_buffer_counts *before)
{
    struct rec_buffer_counts now = rec_buffer_count();
    return (struct rec_totals){ .n_events = now.n_events - before->n_events, .n_lost = now.n_lost - before->n_lost,
                                .n_threads = now.n_threads - before->n_threads_ended };
}

/* Describes an end for the name table. totals: borrowed by the result. */
static struct rec_end end_of(const struct rec_totals *totals, struct pnr_clock_sample sample)
{
    return (struct rec_end){ totals->n_events, totals->n_lost, &totals->failure, sample };
}

/* Ends the budget, if there is one, and writes what it has cost. */
static void stop_budget(struct rec_cost *cost)
{
    struct rec_budget_totals totals;
    if (!rec_budget_is_on())
        return;
    rec_budget_stop(&totals);
    *cost = (struct rec_cost){ totals.cpu_ns, totals.cost_ns, totals.n_muted, totals.n_calls, totals.n_calls_hidden,
                               totals.n_late_looks, totals.unseen_ns, "" };
    rec_cost_write(cost);
    rec_ledger_stop();
}

void rec_session_write_cost(uint64_t ticks)
{
    uint64_t cpu_ns;
    uint32_t cost_ns;
    if (rec_budget_is_on() && rec_budget_take_cost(&cpu_ns, &cost_ns))
        rec_ledger_cost(cpu_ns, cost_ns, ticks);
}

void rec_session_stop(struct rec_totals *totals)
{
    struct rec_drain_totals written;
    struct pnr_clock_sample now = rec_clock_sample();
    rec_drain_block_on_overflow();
    rec_session_write_cost(now.ticks);
    rec_buffer_end_all(now);
    rec_drain_stop(&written);
    rec_stretches_stop();
    *totals = totals_since(&session.before);
    stop_budget(&totals->cost);
    totals->failure = rec_name_table_has_failed() ? *rec_name_table_failure() : written.failure;
    struct rec_end end = end_of(totals, now);
    rec_name_table_end(&end);
    rec_drain_remove();                 /* a process that is killed before this is finished by another one */
    if (totals->failure.code == PNR_OK)
        totals->failure = *rec_name_table_failure();
    totals->n_bytes = written.n_bytes + rec_name_table_size();
    if (!session.joins)
        rec_session_finish_others();
}

void rec_session_finish_others(void)
{
    rec_finish_all(session.capture_path, FINISH_WAIT_MS);
}

void rec_session_discard(struct rec_totals *totals)
{
    char process_path[PATH_MAX];
    rec_session_stop(totals);
    strcpy(process_path, rec_name_table_path());
    *strrchr(process_path, '/') = 0;
    remove_partial(session.capture_path, process_path);
}

/* ---- copies of what there is: snapshots and regions ---- */

/* Copies the name table into a process's directory, and adds where the region begins, if it is one. Leaves the copy
 * open. Returns 0 or -1. */
static int copy_names(struct rec_file *copy, const char *process_path, const struct rec_region *region,
                      struct pnr_err *err)
{
    char from[PATH_MAX];
    rec_drain_locate(from);
    int result = rec_name_table_copy(copy, from, process_path, err);
    if (result == 0 && region)
        result = rec_names_append_clock_sample(copy, "start", region->start, err);
    if (result == 0 && region)
        result = rec_names_append_number(copy, "first_segment", region->first_segment, err);
    return result;
}

/* What is saved of the session, from a segment on: all of it, a region, or an excerpt. Two are NULL. */
struct selected_part {
    uint32_t first_segment;
    bool joins;                         /* the capture that is there, as one more process */
    const struct rec_region *region;
    const struct rec_excerpt *excerpt;
};

/* Writes the name table of a snapshot that ends here. Returns 0 or -1. */
static int write_names_of_part(const char *process_path, const struct selected_part *part, struct pnr_clock_sample end,
                               struct pnr_err *err)
{
    struct rec_file names = { .fd = -1 };
    int result = copy_names(&names, process_path, part->region, err);
    if (result == 0 && part->excerpt && part->first_segment > 1)
        result = rec_names_append_number(&names, "first_segment", part->first_segment, err);
    if (result == 0 && part->excerpt)
        result = rec_names_append_property(&names, part->excerpt->key, part->excerpt->value, err);
    if (result == 0)
        result = rec_names_append_clock_sample(&names, "end", end, err);
    rec_file_release(&names);
    return result;
}

/* Makes a capture of a part. Copies the path of its process to process_path (PATH_MAX bytes). Returns 0 or -1. */
static int save_part(const char *path, const struct selected_part *part, char *taken, char *process_path,
                     struct pnr_err *err)
{
    struct pnr_clock_sample end;
    int made = part->joins ? make_absolute(path, taken, PATH_MAX, err) : rec_session_make_capture(path, taken, err);
    if (made != 0)
        return -1;
    if (pnr_capture_make_partial(taken, process_path, PATH_MAX, err) != 0) {
        rmdir(taken);
        return -1;
    }
    int result = rec_drain_snapshot(process_path, part->first_segment, &end, err);
    if (result == 0)
        result = write_names_of_part(process_path, part, end, err);
    if (result == 0)
        result = pnr_capture_publish_process(taken, (long)getpid(), process_path, PATH_MAX, err);
    if (result != 0)
        remove_partial(taken, process_path);
    return result;
}

const char *rec_session_path(void) { return session.capture_path; }

void rec_session_locate(char *path)
{
    rec_drain_locate(path);
    *strrchr(path, '/') = 0;
}

/* Reports a snapshot that is there, but not in the list. */
static void list_snapshot(const char *path, enum rec_snapshot_cause cause)
{
    char capture_path[PATH_MAX];
    rec_session_locate(capture_path);
    if (!rec_snapshot_list_add(capture_path, &(struct rec_snapshot_entry){ .cause = cause, .path = path }))
        rec_warn("%s cannot be entered in the list of snapshots", path);
}

int rec_session_snapshot(const char *path, enum rec_snapshot_cause cause, bool joins, const struct rec_region *region,
                         char *taken, struct pnr_err *err)
{
    char process_path[PATH_MAX];
    struct selected_part part = { region ? region->first_segment : 1, joins, region, NULL };
    int result = save_part(path, &part, taken, process_path, err);
    if (result == 0)
        list_snapshot(taken, cause);
    return result;
}

/* Returns from when on a process that was saved from this segment on has everything; 0: from the segment's begin. */
static uint64_t find_complete_ns(const char *process_path, uint32_t first_segment)
{
    uint32_t *numbers;
    size_t n;
    struct pnr_err err;
    uint64_t ns = 0;
    if (pnr_capture_segments(process_path, &numbers, &n, &err) != 0)
        return 0;
    if (n > 0 && numbers[0] > first_segment)
        ns = rec_drain_segment_begin_ns(numbers[0]);
    free(numbers);
    return ns;
}

int rec_session_save_excerpt(const char *path, struct rec_excerpt *excerpt, char *taken, struct pnr_err *err)
{
    char process_path[PATH_MAX];
    struct selected_part part = { rec_drain_find_segment(excerpt->from_ns), false, NULL, excerpt };
    int result = save_part(path, &part, taken, process_path, err);
    excerpt->complete_ns = result == 0 ? find_complete_ns(process_path, part.first_segment) : 0;
    return result;
}

/* Makes a region begin now. Returns 0, or -1 and the region is what it was. */
static int start_region(struct rec_region *region, struct pnr_err *err)
{
    uint32_t segment;
    rec_buffer_flush_all();
    struct pnr_clock_sample start = rec_clock_sample();
    if (rec_drain_cut(&segment, err) != 0)
        return -1;
    rec_ledger_renew();
    region->first_segment = segment;
    region->start = start;
    region->before = rec_buffer_count();
    return 0;
}

int rec_session_begin_region(const char *path, struct rec_region *region, struct pnr_err *err)
{
    if (pnr_capture_make_partial(path, region->process_path, sizeof region->process_path, err) != 0)
        return -1;
    if (start_region(region, err) == 0)
        return 0;
    rmdir(region->process_path);
    return -1;
}

void rec_session_postpone_region(struct rec_region *region)
{
    struct pnr_err err;
    start_region(region, &err);
}

void rec_session_discard_region(const char *path, const struct rec_region *region)
{
    remove_partial(path, region->process_path);
}

/* Removes the copy that was made of a region; its directory is empty again. */
static void undo_copy(const struct rec_region *region, const char *process_path)
{
    rec_tree_remove(process_path);
    mkdir(region->process_path, 0700);
}

/* Puts the region's segments and names, up to now, into its directory, whose path is copied to process_path. Leaves
 * the copy of the names open. Returns 0, or -1 and the directory is empty. */
static int copy_region(const struct rec_region *region, char *process_path, struct rec_file *names, struct pnr_err *err)
{
    static char path[PATH_MAX];         /* the stack may be small; guarded by the recording lock */
    uint32_t next;
    strcpy(process_path, region->process_path);
    pnr_segment_path(process_path, region->first_segment, path);
    if (rec_drain_cut(&next, err) != 0)
        return -1;
    if (rec_drain_link(process_path, region->first_segment, err) == 0 &&
        (mkdir(path, 0700) == 0 || errno == EEXIST) && copy_names(names, process_path, region, err) == 0)
        return 0;
    rec_file_release(names);
    undo_copy(region, process_path);
    return -1;
}

int rec_session_save_region(const char *path, const struct rec_region *region, struct rec_totals *totals,
                            struct pnr_err *err)
{
    /* Not on the stack, which may be a small thread's. The recording lock guards both. */
    static char process_path[PATH_MAX];
    static struct rec_file names;
    struct pnr_clock_sample now = rec_clock_sample();
    rec_buffer_flush_all();
    *totals = totals_since(&region->before);
    struct rec_end end = end_of(totals, now);
    int result = copy_region(region, process_path, &names, err);
    if (result == 0) {
        result = rec_name_table_append_end(&names, &end, err);
        rec_file_release(&names);
    }
    if (result == 0)
        result = pnr_capture_publish_process(path, (long)getpid(), process_path, PATH_MAX, err);
    if (result == 0)
        rec_tree_bytes(process_path, &totals->n_bytes);
    else
        rec_session_discard_region(path, region);
    return result;
}

/* ---- moving to the capture of a region ---- */

static struct {
    struct rec_file names;              /* of the capture that recording moves to */
    uint64_t max_names_size;
    struct rec_totals *totals;          /* of the one that it leaves */
    struct rec_end end;
} move;

/* Ends the old name table. Called by the drain when the move can fail no more. */
static void move_names(void)
{
    rec_name_table_replace(&move.names, move.max_names_size, &move.end, &move.totals->failure);
}

int rec_session_move(const char *path, const struct rec_region *region, const struct rec_drain_options *options,
                     struct rec_totals *totals, struct pnr_err *err)
{
    static char process_path[PATH_MAX]; /* the stack may be small; guarded by the recording lock */
    struct pnr_live live = { 0 };
    struct pnr_clock_sample now = rec_clock_sample();
    move.max_names_size = max_names_size(&options->limits);
    rec_buffer_flush_all();
    *totals = totals_since(&session.before);
    totals->n_bytes = rec_name_table_size() + rec_drain_size();
    move.totals = totals;
    move.end = end_of(totals, now);
    if (copy_region(region, process_path, &move.names, err) != 0)
        return -1;
    if (begin_live(process_path, count_chunks(false, options->limits.max_size), &live, err) != 0)
        goto fail;
    live.header->n_events = rec_buffer_count().n_events - region->before.n_events;  /* in the region's segments */
    if (pnr_capture_publish_process(path, (long)getpid(), process_path, PATH_MAX, err) != 0 ||
        rec_file_move(&move.names, process_path, "names", err) != 0) {
        pnr_live_close(&live, process_path, true);
        goto fail;
    }
    if (rec_drain_move(process_path, live, options, move_names, err) != 0)
        goto fail;
    strcpy(session.capture_path, path);
    session.joins = false;
    session.before = region->before;
    return 0;
fail:
    rec_file_release(&move.names);
    undo_copy(region, process_path);
    return -1;
}
