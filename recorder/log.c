#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "notice.h"

struct rec_log rec_log_nobody;
struct rec_log *rec_current = &rec_log_nobody;
uint64_t rec_log_least_ticks;

static struct {
    struct rec_file names;
    struct pnr_err failure;             /* of the name table */
    bool has_failed;
    struct rec_log *newest;
    uint32_t n_threads, n_functions;
    uint64_t n_events, n_lost;
} session;

/* ---- name table ---- */

static void fail_names(void)
{
    char text[512];
    session.has_failed = true;
    rec_notice("%s; recording ends, what was recorded is kept",
               pnr_err_describe(&session.failure, text, sizeof text));
}

static void write_name(const struct pnr_name *name)
{
    unsigned char bytes[PNR_NAME_ENTRY_SIZE + 1024], *entry = bytes;
    size_t size = pnr_name_size(name);
    if (session.has_failed)
        return;
    if (size > sizeof bytes && !(entry = malloc(size))) {
        pnr_err_set(&session.failure, PNR_E_MEMORY, session.names.path, 0, "out of memory");
        fail_names();
        return;
    }
    pnr_name_encode(name, entry);
    if (rec_file_append(&session.names, entry, size, &session.failure) != 0)
        fail_names();
    if (entry != bytes)
        free(entry);
}

/* Cut to what an entry holds, at the edge of a character. */
static struct pnr_string cut(struct pnr_string s)
{
    if (s.size > PNR_NAME_MAX) {
        s.size = PNR_NAME_MAX;
        while (s.size && ((unsigned char)s.bytes[s.size] & 0xc0) == 0x80)
            s.size--;
    }
    return s;
}

static struct pnr_string text(const char *s)
{
    return cut((struct pnr_string){ s, (uint32_t)strlen(s) });
}

void rec_log_fact(const char *key, const char *value)
{
    write_name(&(struct pnr_name){ .type = PNR_NAME_FACT, .strings = { text(key), text(value) } });
}

void rec_log_fact_number(const char *key, uint64_t value)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, value);
    rec_log_fact(key, digits);
}

static void write_instant(const char *which, struct pnr_instant t)
{
    char key[32];
    snprintf(key, sizeof key, "%s_ticks", which);
    rec_log_fact_number(key, t.ticks);
    snprintf(key, sizeof key, "%s_monotonic_ns", which);
    rec_log_fact_number(key, t.monotonic_ns);
    snprintf(key, sizeof key, "%s_realtime_ns", which);
    rec_log_fact_number(key, t.realtime_ns);
}

uint32_t rec_log_function(enum pnr_function_kind kind, uint32_t line, const struct pnr_string strings[3])
{
    uint32_t index = session.n_functions + 1;
    write_name(&(struct pnr_name){ .type = PNR_NAME_FUNCTION, .kind = (uint8_t)kind, .index = index, .number = line,
                                   .strings = { cut(strings[0]), cut(strings[1]), cut(strings[2]) } });
    if (session.has_failed || index == 0)
        return 0;
    session.n_functions = index;
    return index;
}

void rec_log_rename(const struct rec_log *log, struct pnr_string name)
{
    write_name(&(struct pnr_name){ .type = PNR_NAME_THREAD, .index = log->thread, .number = log->native_id,
                                   .strings = { cut(name) } });
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

/* The name table with what every reader needs, and the live mapping. */
static int begin_files(const char *process_path, struct pnr_live *live, struct pnr_err *err)
{
    unsigned char header[PNR_NAMES_HEADER_SIZE];
    pnr_names_header_encode(header);
    if (rec_file_create(&session.names, process_path, "names", err) != 0 ||
        rec_file_append(&session.names, header, sizeof header, err) != 0)
        return -1;
    if (pnr_live_create(process_path, REC_DRAIN_CHUNKS, live, err) != 0)
        return -1;
    rec_log_fact("clock", rec_clock_name());
    rec_log_fact_number("ticks_per_second", rec_clock_rate());
    write_instant("start", live->header->instants[0] = rec_clock_instant());
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
    static const char *const names[] = { "names", "live" };
    char path[PATH_MAX];
    rec_file_release(&session.names);
    for (int i = 0; i < 2; i++)
        if (snprintf(path, sizeof path, "%s/%s", process_path, names[i]) < (int)sizeof path)
            unlink(path);
    rmdir(process_path);
    rmdir(capture_path);
}

int rec_log_start(const char *path, char *taken, struct pnr_err *err)
{
    char absolute[PATH_MAX], process_path[PATH_MAX];
    struct pnr_live live = { 0 };
    long pid = (long)getpid();
    memset(&session, 0, sizeof session);
    rec_log_least_ticks = 0;
    session.names.fd = -1;
    if (make_absolute(path, absolute, sizeof absolute, err) != 0 ||
        pnr_capture_make(absolute, taken, PATH_MAX, err) != 0)
        return -1;
    if (pnr_capture_begin_process(taken, pid, process_path, sizeof process_path, err) != 0) {
        rmdir(taken);
        return -1;
    }
    if (begin_files(process_path, &live, err) == 0) {
        bool is_entered = pnr_capture_enter_process(taken, pid, process_path, sizeof process_path, err) == 0 &&
                          rec_file_move(&session.names, process_path, "names", err) == 0;
        if (is_entered && rec_drain_start(process_path, live, err) == 0)
            return 0;
        if (!is_entered)
            pnr_live_close(&live, process_path, true);
    }
    remove_begun(taken, process_path);
    return -1;
}

void rec_log_set_min_duration(uint64_t ns)
{
    rec_log_least_ticks = (uint64_t)((unsigned __int128)ns * rec_clock_rate() / 1000000000);
    rec_log_fact_number("min_duration_ns", ns);
}

struct rec_log *rec_log_newest(void)
{
    return session.newest;
}

void rec_log_lose(uint64_t n)
{
    session.n_lost += n;
}

/* ---- logs ---- */

struct rec_log *rec_log_new(const void *owner, uint32_t native_id, struct pnr_string name)
{
    struct rec_log *log = calloc(1, sizeof *log);
    if (!log || !(log->stream = rec_drain_stream(session.n_threads + 1))) {
        free(log);
        return NULL;
    }
    log->owner = owner;
    log->chunk = -1;
    log->thread = ++session.n_threads;
    log->native_id = native_id;
    log->older = session.newest;
    if (session.newest)
        session.newest->newer = log;
    session.newest = log;
    rec_log_rename(log, name);
    return log;
}

static void put_chunk(struct rec_log *log, struct pnr_instant end, uint16_t flags)
{
    uint32_t n = (uint32_t)(log->next - log->records);
    if (log->chunk < 0)
        return;
    session.n_events += (uint64_t)(log->next - log->first);
    if (n)
        rec_drain_put(log->chunk, n, end, flags);
    else
        rec_drain_give_back(log->chunk);
    log->chunk = -1;
    log->next = log->end = NULL;
}

/* All chunks are held by threads: takes the one of the thread whose log is oldest. Its next event turns. */
static void put_another(const struct rec_log *log)
{
    struct rec_log *victim = NULL;
    for (struct rec_log *l = session.newest; l; l = l->older)
        if (l != log && l->chunk >= 0)
            victim = l;
    if (victim)
        put_chunk(victim, rec_clock_instant(), 0);
}

bool rec_log_turn(struct rec_log *log, uint16_t flags, uint32_t n_open)
{
    struct pnr_instant now = rec_clock_instant();
    put_chunk(log, now, 0);
    int chunk = -1;
    while (!session.has_failed && (chunk = rec_drain_take()) < 0 && !rec_drain_has_failed())
        put_another(log);
    if (chunk < 0)
        return false;
    log->chunk = chunk;
    log->records = rec_drain_begin(chunk, log->stream, now, flags, n_open);
    log->next = log->records;
    log->first = log->records + n_open;
    log->end = log->records + PNR_BLOCK_RECORDS;
    log->base = now.ticks;
    rec_log_renew(log);
    return true;
}

void rec_log_renew(struct rec_log *log)
{
    uint64_t begin = rec_clock_ticks() & ~(uint64_t)UINT32_MAX;
    if ((begin + UINT32_MAX - log->base) >> PNR_TICKS_BITS) {
        log->end = log->next;           /* the chunk's ticks come to their end: a turn is due */
        return;
    }
    log->high = (uint32_t)(begin >> 32);
    log->call = begin - log->base + ((uint64_t)PNR_CALL << PNR_TICKS_BITS);
    log->ret = begin - log->base + ((uint64_t)PNR_RETURN << PNR_TICKS_BITS);
}

/* The entry of what such an exit leaves. */
static enum pnr_kind entry_of(enum pnr_kind exit)
{
    switch (exit) {
    case PNR_YIELD:
        return PNR_RESUME;
    case PNR_FINISH:
    case PNR_FINISH_UNWIND:
        return PNR_START;
    case PNR_C_RETURN:
    case PNR_C_RAISE:
        return PNR_C_CALL;
    default:
        return PNR_CALL;
    }
}

bool rec_log_drop(struct rec_log *log, uint64_t ticks, enum pnr_kind exit, uint64_t frame, uint32_t function)
{
    const struct pnr_record *entry = log->next;
    if (!rec_log_least_ticks)
        return false;
    do {
        if (entry == log->first)
            return false;
        entry--;
    } while (pnr_record_kind(*entry) == PNR_CREATE);
    if (!rec_log_is(*entry, entry_of(exit), frame, function) || ticks - pnr_record_ticks(*entry) >= rec_log_least_ticks)
        return false;
    while (log->next != entry)
        rec_log_take_back(log);
    if (log->next != log->first && rec_log_is(log->next[-1], PNR_CREATE, frame, function))
        rec_log_take_back(log);         /* of a frame that has come and gone */
    return true;
}

void rec_log_end(struct rec_log *log)
{
    put_chunk(log, rec_clock_instant(), PNR_BLOCK_LAST);
    rec_drain_end(log->stream);
    if (log->newer)
        log->newer->older = log->older;
    else
        session.newest = log->older;
    if (log->older)
        log->older->newer = log->newer;
    if (rec_current == log)
        rec_current = &rec_log_nobody;
    free(log);
}

void rec_log_stop(uint64_t forks, struct rec_log_totals *totals)
{
    char text[512];
    struct rec_drain_totals written;
    struct pnr_instant end = rec_clock_instant();
    rec_current = &rec_log_nobody;
    while (session.newest) {
        put_chunk(session.newest, end, 0);      /* without LAST: the thread lives on */
        rec_log_end(session.newest);
    }
    rec_drain_stop(&written);
    *totals = (struct rec_log_totals){ .n_events = session.n_events, .n_lost = session.n_lost,
                                       .n_threads = session.n_threads,
                                       .failure = session.has_failed ? session.failure : written.failure };
    rec_log_fact_number("lost", session.n_lost);
    rec_log_fact_number("forks", forks);
    if (totals->failure.code == PNR_OK) {
        rec_log_fact_number("events", session.n_events);
        write_instant("end", end);
        totals->failure = session.has_failed ? session.failure : totals->failure;
    } else {
        rec_log_fact("stopped", pnr_err_describe(&totals->failure, text, sizeof text));
    }
    totals->n_bytes = written.n_bytes + (uint64_t)session.names.size;
    rec_file_release(&session.names);
}
