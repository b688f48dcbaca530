#include "thread_buffer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "finish.h"
#include "names.h"
#include "diagnostics.h"
#include "signals.h"
#include "tree.h"

#define LIVE_PARTS 8                    /* the live mapping is at most that part of the greatest size */
#define NAMES_PARTS 16                  /* ... and so are the names of functions and threads */
#define CHILD_CHUNKS 16                 /* of a process that joins: there may be many of them */
#define FINISH_WAIT_MS 1000             /* for another process of the capture that makes room at this moment */
#define KNOWN_NAMES 4096                /* functions that are found again by their names; a power of two */

uint64_t rec_min_duration_ticks;

/* A function in the name table, by the check of its entry. */
struct known_name {
    uint64_t check;
    uint32_t index;
};

static struct session {
    char capture_path[PATH_MAX];
    bool joins;                         /* the capture is another process's */
    struct rec_file names;
    uint64_t names_most;                /* bytes; what comes then has no name */
    uint32_t unnamed;                   /* the entry that stands for all those; 0: there is none yet */
    uint64_t n_unnamed;                 /* functions and threads */
    struct pnr_err failure;             /* of the name table */
    bool has_failed;
    struct rec_buffer *newest;
    uint32_t n_threads, n_tracks;       /* both are numbered in one row */
    uint32_t n_threads_ended;
    uint32_t n_functions;
    uint64_t n_events, n_lost;
    struct rec_region before;             /* where the capture that is written begins */
    struct known_name known[KNOWN_NAMES];
} session;

/* ---- name table ---- */

static void fail_names(void)
{
    char text[512];
    session.has_failed = true;
    rec_warn("%s; recording ends, what was recorded is kept",
               pnr_err_describe(&session.failure, text, sizeof text));
}

static void write_name(const struct pnr_name *name)
{
    if (!session.has_failed && rec_names_append(&session.names, name, &session.failure) != 0)
        fail_names();
}

void rec_session_add_property(const char *key, const char *value)
{
    if (!session.has_failed && rec_names_append_property(&session.names, key, value, &session.failure) != 0)
        fail_names();
}

void rec_session_add_number(const char *key, uint64_t value)
{
    if (!session.has_failed && rec_names_append_number(&session.names, key, value, &session.failure) != 0)
        fail_names();
}

static void write_instant(const char *which, struct pnr_clock_sample instant)
{
    if (!session.has_failed && rec_names_append_clock_sample(&session.names, which, instant, &session.failure) != 0)
        fail_names();
}

/* True when there is no room for more names. Says so once. */
static bool is_full(void)
{
    if ((uint64_t)session.names.size < session.names_most)
        return false;
    if (!session.n_unnamed++)
        rec_warn("%s: names take their part of --max-size: what is met from now on has none", session.names.path);
    return true;
}

/* Where a function of these names is kept, if it is. */
static struct known_name *find_known(const struct pnr_name *name, uint64_t *check)
{
    *check = pnr_check(&name->number, sizeof name->number) + name->kind;
    for (int i = 0; i < 3; i++)
        *check = pnr_check_more(*check + name->strings[i].size, name->strings[i].bytes, name->strings[i].size);
    return &session.known[*check % KNOWN_NAMES];
}

static uint32_t add_function(struct pnr_name *name)
{
    name->index = session.n_functions + 1;
    write_name(name);
    if (session.has_failed || name->index == 0)
        return 0;
    return session.n_functions = name->index;
}

uint32_t rec_session_add_function(enum pnr_function_kind kind, uint32_t line, const struct pnr_string strings[3])
{
    uint64_t check;
    struct pnr_name name = { .type = PNR_NAME_FUNCTION, .kind = (uint8_t)kind, .number = line,
                             .strings = { rec_names_cut(strings[0]), rec_names_cut(strings[1]), rec_names_cut(strings[2]) } };
    struct known_name *known = find_known(&name, &check);
    if (known->index && known->check == check)
        return known->index;
    if (is_full()) {
        if (!session.unnamed) {
            name = (struct pnr_name){ .type = PNR_NAME_FUNCTION, .strings = { rec_names_text(""), rec_names_text("[no room for names]") } };
            session.unnamed = add_function(&name);
        }
        return session.unnamed;
    }
    *known = (struct known_name){ check, add_function(&name) };
    return known->index;
}

uint32_t rec_session_add_track(uint32_t native_id, struct pnr_string name)
{
    uint32_t number = session.n_threads + ++session.n_tracks;
    write_name(&(struct pnr_name){ .type = PNR_NAME_THREAD, .kind = PNR_THREAD_GREENLET, .index = number,
                                   .number = native_id, .strings = { is_full() ? rec_names_text("") : rec_names_cut(name) } });
    return number;
}

void rec_session_name_thread(const struct rec_buffer *buffer, uint32_t native_id, struct pnr_string name)
{
    if (!is_full())
        write_name(&(struct pnr_name){ .type = PNR_NAME_THREAD, .index = buffer->number, .number = native_id,
                                       .strings = { rec_names_cut(name) } });
}

/* ---- session ---- */

/* The program may change its directory: all later paths are absolute. */
static int make_absolute(const char *path, char *absolute, size_t size, struct pnr_err *err)
{
    char folder[PATH_MAX] = "";
    int path_size = (int)strlen(path);
    while (path_size > 1 && path[path_size - 1] == '/')
        path_size--;
    if (*path != '/' && !getcwd(folder, sizeof folder))
        return pnr_err_system(err, path, "cannot tell the current directory");
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
    live->header->instants[0] = rec_clock_sample();
    return 0;
}

/* The name table with what every reader needs, and the live mapping. */
static int begin_files(const char *process_path, uint32_t n_chunks, struct pnr_live *live, struct pnr_err *err)
{
    unsigned char header[PNR_NAMES_HEADER_SIZE];
    pnr_names_header_encode(header);
    if (rec_file_create(&session.names, process_path, "names", err) != 0 ||
        rec_file_append(&session.names, header, sizeof header, err) != 0)
        return -1;
    if (begin_live(process_path, n_chunks, live, err) != 0)
        return -1;
    rec_session_add_number("pid", (uint64_t)getpid());
    rec_session_add_property("clock", rec_clock_name());
    rec_session_add_number("ticks_per_second", rec_clock_rate());
    write_instant("start", live->header->instants[0]);
    if (session.has_failed) {
        *err = session.failure;
        pnr_live_close(live, process_path, true);
        return -1;
    }
    return 0;
}

/* Takes away what was begun: an empty folder would be taken for a process that was recorded. */
static void remove_begun(const char *capture_path, const char *process_path)
{
    rec_tree_remove(process_path);
    rmdir(capture_path);
}

/* How many bytes the name table may have. */
static uint64_t most_names(const struct rec_limits *limits)
{
    return limits->max_size ? limits->max_size / NAMES_PARTS : UINT64_MAX;
}

/* How many chunks a process has. */
static uint32_t count_chunks(bool joins, uint64_t max_size)
{
    uint64_t n = joins ? CHILD_CHUNKS : REC_DRAIN_CHUNKS, most = max_size / LIVE_PARTS / PNR_CHUNK_SIZE;
    return (uint32_t)(max_size && most < n ? most : n);
}

/* Makes the process's folder in the capture and all that is in it at first. */
static int begin_process(const char *capture_path, uint32_t n_chunks, const struct rec_drain_options *options,
                         struct pnr_err *err)
{
    static char path[PATH_MAX];         /* the stack of a thread that forks may be small; guarded by the GIL */
    struct pnr_live live = { 0 };
    long pid = (long)getpid();
    if (pnr_capture_begin_process(capture_path, path, sizeof path, err) != 0)
        return -1;
    if (begin_files(path, n_chunks, &live, err) == 0) {
        bool is_entered = pnr_capture_enter_process(capture_path, pid, path, sizeof path, err) == 0 &&
                          rec_file_move(&session.names, path, "names", err) == 0;
        if (!is_entered)
            pnr_live_close(&live, path, true);
        else if (rec_drain_start(path, live, options, err) == 0)
            return 0;
    }
    rec_file_release(&session.names);
    remove_begun(capture_path, path);
    return -1;
}

static int begin_with_room(const char *capture_path, uint32_t n_chunks, const struct rec_drain_options *options,
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
    rec_min_duration_ticks = 0;
    session.names.fd = -1;
    session.names_most = most_names(&options->limits);
    if ((joins ? make_absolute(path, taken, PATH_MAX, err) : rec_session_make_capture(path, taken, err)) != 0)
        return -1;
    strcpy(session.capture_path, taken);
    session.joins = joins;
    /* A signal takes back all that fallocate(2) has allocated on a tmpfs: beside a fast timer it would never end. */
    rec_signals_hold(0, &before);
    int result = begin_with_room(taken, n_chunks, options, err);
    rec_signals_release(SIGXFSZ, &before, result != 0 && err->sys_errno == EFBIG);
    if (result != 0 && !joins)
        rmdir(taken);
    return result;
}

void rec_session_forked(void)
{
    rec_drain_forked();
    rec_file_release(&session.names);
    memset(&session, 0, sizeof session);
    session.names.fd = -1;
}

void rec_session_set_min_duration(uint64_t ns)
{
    rec_min_duration_ticks = (uint64_t)((unsigned __int128)ns * rec_clock_rate() / 1000000000);
    rec_session_add_number("min_duration_ns", ns);
}

struct rec_buffer *rec_buffer_newest(void)
{
    return session.newest;
}

bool rec_session_is_closed(void)
{
    return session.has_failed || rec_drain_has_failed();
}

void rec_buffer_count_lost(struct rec_buffer *buffer)
{
    session.n_lost++;
    if (buffer)
        buffer->n_lost++;
}

void rec_buffer_emit_lost(struct rec_buffer *buffer)
{
    if (buffer->n_lost)
        rec_buffer_append(buffer, rec_clock_ticks() - buffer->base, PNR_LOST, 0, buffer->n_lost);
    buffer->n_lost = 0;
}

/* ---- buffers ---- */

bool rec_buffer_begin(struct rec_buffer *buffer)
{
    if (!(buffer->stream = rec_drain_stream(session.n_threads + session.n_tracks + 1)))
        return false;
    buffer->chunk = -1;
    buffer->number = ++session.n_threads + session.n_tracks;
    buffer->older = session.newest;
    if (session.newest)
        session.newest->newer = buffer;
    session.newest = buffer;
    return true;
}

static void put_chunk(struct rec_buffer *buffer, struct pnr_clock_sample end, uint16_t flags)
{
    uint32_t n = (uint32_t)(buffer->next - buffer->records);
    if (buffer->chunk < 0)
        return;
    uint32_t n_events = n > buffer->n_open ? n - buffer->n_open : 0;
    session.n_events += n_events;
    if (n)
        rec_drain_submit(buffer->chunk, n, n_events, end, flags);
    else
        rec_drain_release(buffer->chunk);
    buffer->chunk = -1;
    buffer->first = buffer->next = buffer->end = NULL;
}

/* All chunks are held by threads: takes the one of the thread whose buffer is oldest. Its next event turns. */
static void put_another(const struct rec_buffer *buffer)
{
    struct rec_buffer *victim = NULL;
    for (struct rec_buffer *l = session.newest; l; l = l->older)
        if (l != buffer && l->chunk >= 0)
            victim = l;
    if (victim)
        put_chunk(victim, rec_clock_sample(), 0);
}

void rec_buffer_flush_all(void)
{
    struct pnr_clock_sample now = rec_clock_sample();
    for (struct rec_buffer *buffer = session.newest; buffer; buffer = buffer->older)
        put_chunk(buffer, now, 0);
}

bool rec_buffer_start_chunk(struct rec_buffer *buffer, uint16_t flags, uint32_t n_open)
{
    struct pnr_clock_sample now = rec_clock_sample();
    put_chunk(buffer, now, 0);
    int chunk = -1;
    while (!session.has_failed && (chunk = rec_drain_take()) < 0 && !rec_drain_has_failed() && !rec_drain_is_behind())
        put_another(buffer);
    if (chunk < 0)
        return false;
    buffer->chunk = chunk;
    buffer->records = rec_drain_begin(chunk, buffer->stream, now, flags, n_open, buffer->track.number);
    buffer->track.block = ++buffer->block;
    buffer->next = buffer->records;
    buffer->first = buffer->records + n_open;
    buffer->n_open = n_open;
    buffer->end = buffer->records + PNR_BLOCK_RECORDS;
    buffer->base = now.ticks;
    rec_buffer_renew_counter(buffer);
    return true;
}

void rec_buffer_renew_counter(struct rec_buffer *buffer)
{
    uint64_t begin = rec_clock_ticks() & ~(uint64_t)UINT32_MAX;
    if ((begin + UINT32_MAX - buffer->base) >> PNR_TICKS_BITS) {
        buffer->end = buffer->next;           /* the chunk's ticks come to their end: a turn is due */
        return;
    }
    buffer->high = (uint32_t)(begin >> 32);
    buffer->call = begin - buffer->base + ((uint64_t)PNR_CALL << PNR_TICKS_BITS);
    buffer->ret = begin - buffer->base + ((uint64_t)PNR_RETURN << PNR_TICKS_BITS);
}

bool rec_buffer_elide(struct rec_buffer *buffer, uint64_t ticks, enum pnr_kind exit, uint64_t frame, uint32_t function)
{
    const struct pnr_record *entry = buffer->next;
    if (!rec_min_duration_ticks)
        return false;
    do {
        if (entry == buffer->first)
            return false;
        entry--;
    } while (pnr_record_kind(*entry) == PNR_CREATE);
    if (!rec_buffer_is_record(*entry, pnr_kind_effect(exit).entry, frame, function) ||
        ticks - pnr_record_ticks(*entry) >= rec_min_duration_ticks)
        return false;
    while (buffer->next != entry)
        rec_buffer_retract(buffer);
    if (buffer->next != buffer->first && rec_buffer_is_record(buffer->next[-1], PNR_CREATE, frame, function))
        rec_buffer_retract(buffer);         /* of a frame that has come and gone */
    return true;
}

/* Events were lost, and nothing came after that could tell of it. A block without OPEN records that is DEEPER says
 * nothing of the stack. */
static void tell_lost_at_end(struct rec_buffer *buffer)
{
    if (buffer->n_lost && buffer->chunk < 0 && rec_buffer_start_chunk(buffer, PNR_BLOCK_DEEPER, 0))
        rec_buffer_emit_lost(buffer);
}

void rec_buffer_end(struct rec_buffer *buffer)
{
    tell_lost_at_end(buffer);
    put_chunk(buffer, rec_clock_sample(), PNR_BLOCK_LAST);
    rec_drain_end(buffer->stream);
    if (buffer->newer)
        buffer->newer->older = buffer->older;
    else
        session.newest = buffer->older;
    if (buffer->older)
        buffer->older->newer = buffer->newer;
    session.n_threads_ended++;
}

/* Adds the properties of the end to a name table. Returns 0 or -1. */
static int write_end(struct rec_file *names, const struct rec_totals *totals, struct pnr_clock_sample end,
                     struct pnr_err *err)
{
    char text[512];
    int result = rec_names_append_number(names, "lost", totals->n_lost, err);
    if (result == 0 && session.n_unnamed)
        result = rec_names_append_number(names, "unnamed", session.n_unnamed, err);
    if (result == 0 && totals->failure.code != PNR_OK)
        return rec_names_append_property(names, "stopped", pnr_err_describe(&totals->failure, text, sizeof text), err);
    if (result == 0)
        result = rec_names_append_number(names, "events", totals->n_events, err);
    return result == 0 ? rec_names_append_clock_sample(names, "end", end, err) : -1;
}

void rec_session_stop(struct rec_totals *totals)
{
    struct rec_drain_totals written;
    struct pnr_clock_sample end = rec_clock_sample();
    rec_drain_wait();
    while (session.newest) {
        tell_lost_at_end(session.newest);
        put_chunk(session.newest, end, 0);      /* without LAST: the thread lives on */
        rec_buffer_end(session.newest);
    }
    rec_drain_stop(&written);
    *totals = (struct rec_totals){ .n_events = session.n_events - session.before.n_events,
                                       .n_lost = session.n_lost - session.before.n_lost,
                                       .n_threads = session.n_threads - session.before.n_threads_ended,
                                       .failure = session.has_failed ? session.failure : written.failure };
    if (!session.has_failed && write_end(&session.names, totals, end, &session.failure) != 0)
        fail_names();
    rec_drain_remove();                 /* whoever is killed before that is finished by another process */
    if (totals->failure.code == PNR_OK && session.has_failed)
        totals->failure = session.failure;
    totals->n_bytes = written.n_bytes + (uint64_t)session.names.size;
    rec_file_release(&session.names);
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
    strcpy(process_path, session.names.path);
    *strrchr(process_path, '/') = 0;
    remove_begun(session.capture_path, process_path);
}

/* ---- saving ---- */

/* Copies the name table as far as it is whole into a process's directory, and says where the part begins, if it is one.
 * Leaves the file open. Returns 0 or -1. */
static int copy_names(struct rec_file *file, const char *process_path, const struct rec_region *part, struct pnr_err *err)
{
    size_t size;
    unsigned char *bytes = rec_names_read(session.names.path, &size, err);
    file->fd = -1;
    int result = bytes ? rec_file_create(file, process_path, "names", err) : -1;
    if (result == 0)
        result = rec_file_append(file, bytes, size, err);
    free(bytes);
    if (result == 0 && part)
        result = rec_names_append_clock_sample(file, "start", part->start, err);
    if (result == 0 && part)
        result = rec_names_append_number(file, "first_segment", part->first_segment, err);
    return result;
}

int rec_session_snapshot(const char *path, const struct rec_region *part, char *taken, struct pnr_err *err)
{
    char process_path[PATH_MAX];
    struct rec_file names = { .fd = -1 };
    struct pnr_clock_sample end;
    if (rec_session_make_capture(path, taken, err) != 0)
        return -1;
    if (pnr_capture_begin_process(taken, process_path, sizeof process_path, err) != 0) {
        rmdir(taken);
        return -1;
    }
    int result = rec_drain_save(process_path, part ? part->first_segment : 1, &end, err);
    if (result == 0)
        result = copy_names(&names, process_path, part, err);
    if (result == 0)
        result = rec_names_append_clock_sample(&names, "end", end, err);
    rec_file_release(&names);
    if (result == 0)
        result = pnr_capture_enter_process(taken, (long)getpid(), process_path, sizeof process_path, err);
    if (result != 0)
        remove_begun(taken, process_path);
    return result;
}

/* ---- parts ---- */

/* Returns 0, or -1 and the part is what it was. */
static int begin_here(struct rec_region *part, struct pnr_err *err)
{
    uint32_t segment;
    rec_buffer_flush_all();
    struct pnr_clock_sample start = rec_clock_sample();
    if (rec_drain_cut(&segment, err) != 0)
        return -1;
    part->first_segment = segment;
    part->start = start;
    part->n_events = session.n_events;
    part->n_lost = session.n_lost;
    part->n_threads_ended = session.n_threads_ended;
    return 0;
}

int rec_session_begin_region(const char *path, struct rec_region *part, struct pnr_err *err)
{
    if (pnr_capture_begin_process(path, part->process_path, sizeof part->process_path, err) != 0)
        return -1;
    if (begin_here(part, err) == 0)
        return 0;
    rmdir(part->process_path);
    return -1;
}

void rec_session_postpone_region(struct rec_region *part)
{
    struct pnr_err err;
    begin_here(part, &err);
}

void rec_session_discard_region(const char *path, const struct rec_region *part)
{
    remove_begun(path, part->process_path);
}

/* What was recorded since a part began, its chunks all put. */
static struct rec_totals totals_since(const struct rec_region *part)
{
    return (struct rec_totals){ .n_events = session.n_events - part->n_events, .n_lost = session.n_lost - part->n_lost,
                                    .n_threads = session.n_threads - part->n_threads_ended };
}

/* What was made of a part goes, and its directory is as it was. */
static void begin_again(const struct rec_region *part, const char *process_path)
{
    rec_tree_remove(process_path);
    mkdir(part->process_path, 0700);
}

/* Puts the segments and names of a part up to now into its directory, whose path is copied to process_path and which is
 * not in the capture yet. The names are left open. Returns 0, or -1 and it is empty. */
static int begin_copy(const struct rec_region *part, char *process_path, struct rec_file *names, struct pnr_err *err)
{
    static char path[PATH_MAX];         /* as in begin_process */
    uint32_t next;
    strcpy(process_path, part->process_path);
    pnr_segment_path(process_path, part->first_segment, path);
    if (rec_drain_cut(&next, err) != 0)
        return -1;
    if (rec_drain_link(process_path, part->first_segment, err) == 0 &&
        (mkdir(path, 0700) == 0 || errno == EEXIST) && copy_names(names, process_path, part, err) == 0)
        return 0;
    rec_file_release(names);
    begin_again(part, process_path);
    return -1;
}

int rec_session_save_region(const char *path, const struct rec_region *part, struct rec_totals *totals, struct pnr_err *err)
{
    static char process_path[PATH_MAX]; /* as in begin_process, like the next */
    static struct rec_file names;
    struct pnr_clock_sample end = rec_clock_sample();
    rec_buffer_flush_all();
    *totals = totals_since(part);
    int result = begin_copy(part, process_path, &names, err);
    if (result == 0) {
        result = write_end(&names, totals, end, err);
        rec_file_release(&names);
    }
    if (result == 0)
        result = pnr_capture_enter_process(path, (long)getpid(), process_path, PATH_MAX, err);
    if (result == 0)
        rec_tree_bytes(process_path, &totals->n_bytes);
    else
        rec_session_discard_region(path, part);
    return result;
}

static struct {
    struct rec_file names;              /* of the capture that recording moves to */
    struct pnr_clock_sample end;             /* of the one that it leaves */
    struct rec_totals *totals;
} moved;

/* The drain moves. */
static void take_moved_names(void)
{
    write_end(&session.names, moved.totals, moved.end, &moved.totals->failure);
    rec_file_release(&session.names);
    session.names = moved.names;
}

int rec_session_move(const char *path, const struct rec_region *part, const struct rec_drain_options *options,
                 struct rec_totals *totals, struct pnr_err *err)
{
    static char process_path[PATH_MAX]; /* as in begin_process */
    struct pnr_live live = { 0 };
    moved.end = rec_clock_sample();
    moved.totals = totals;
    rec_buffer_flush_all();
    *totals = totals_since(&session.before);
    totals->n_bytes = (uint64_t)session.names.size + rec_drain_size();
    if (begin_copy(part, process_path, &moved.names, err) != 0)
        return -1;
    if (begin_live(process_path, count_chunks(false, options->limits.max_size), &live, err) != 0)
        goto fail;
    live.header->n_events = session.n_events - part->n_events;          /* what the segments hold that go with it */
    if (pnr_capture_enter_process(path, (long)getpid(), process_path, PATH_MAX, err) != 0 ||
        rec_file_move(&moved.names, process_path, "names", err) != 0) {
        pnr_live_close(&live, process_path, true);
        goto fail;
    }
    if (rec_drain_move(process_path, live, options, take_moved_names, err) != 0)
        goto fail;
    strcpy(session.capture_path, path);
    session.joins = false;
    session.names_most = most_names(&options->limits);
    session.before = *part;
    return 0;
fail:
    rec_file_release(&moved.names);
    begin_again(part, process_path);
    return -1;
}
