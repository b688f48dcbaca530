#include "incidents.h"

#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "diagnostics.h"
#include "json_text.h"
#include "name_table.h"
#include "session.h"
#include "snapshot_list.h"
#include "worker.h"

#define MAX_LIST 60000                  /* bytes of the incidents of one snapshot: they are a property, too */
#define MAX_STEM 80                     /* bytes that a name of a file takes of the capture's name ... */
#define MAX_NAME 60                     /* ... of the section's ... */
#define MAX_ID 64                       /* ... and of the id */

/* A snapshot that waits for its time, or is being saved. */
struct due_snapshot {
    char *watch;                        /* owned */
    char *capture_path;                 /* owned: which it is of; the program may have moved it meanwhile */
    char *summary;                      /* owned: the first incident, for the user */
    char file_name[MAX_STEM + MAX_NAME + MAX_ID + 64];
    struct rec_json_text incidents;     /* "{...},{...}" */
    uint64_t begin_ns;                  /* of the first section */
    uint64_t from_ns, due_ns;           /* CLOCK_MONOTONIC */
    struct due_snapshot *next;
};

/* When a section of this name was saved last. */
struct last_save {
    char *watch;                        /* owned */
    uint64_t ns;
    struct last_save *next;
};

static struct {
    pthread_mutex_t lock;
    struct due_snapshot *due;           /* owned */
    struct last_save *saves;            /* owned */
    uint64_t n_saves, n_not_saved;
} incidents = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Converts when an incident began to CLOCK_REALTIME. */
static uint64_t find_realtime_ns(const struct rec_incident *incident)
{
    struct pnr_clock_sample now = rec_clock_sample();
    return now.realtime_ns - (now.monotonic_ns - incident->begin_ns);
}

/* Adds an incident as an object of JSON to a list. Returns false, and the list is what it was, when out of memory. */
static bool add_incident(struct rec_json_text *list, const struct rec_incident *incident)
{
    struct rec_json_text one = { 0 }, *note = &one;
    size_t size = list->size;
    rec_json_add_format(note, "%s{\"watch\":", list->size ? "," : "");
    rec_json_add_string(note, incident->watch);
    if (incident->id) {
        rec_json_add_format(note, ",\"id\":");
        rec_json_add_string(note, incident->id);
    }
    rec_json_add_format(note, ",\"why\":\"%s\",\"begin_realtime_ns\":%" PRIu64 ",\"begin_monotonic_ns\":%" PRIu64
                        ",\"duration_ns\":%" PRIu64 ",\"thread\":%" PRIu64 "}",
                        incident->is_exception ? "exception" : "slow",
                        find_realtime_ns(incident), incident->begin_ns,
                        incident->end_ns - incident->begin_ns, incident->thread);
    if (!one.is_cut)
        rec_json_add_text(list, &one);
    free(one.bytes);
    list->is_cut = false;               /* what does not fit is left out as a whole */
    return list->size > size;
}

/* ---- names of files ---- */

static bool is_safe(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_';
}

/* Appends "-" and a text to the name of a file. What is not safe in one becomes '-', several at once one. Returns the
 * new end. */
static char *put_safe(char *at, const char *text, size_t max)
{
    char *end = at + max;
    *at++ = '-';
    for (; *text && at < end; text++)
        if (is_safe(*text))
            *at++ = *text;
        else if (at[-1] != '-')
            *at++ = '-';
    return at[-1] == '-' ? at - 1 : at;
}

/* Makes a name such as run-checkout-20261130T120000.123Z-4bf92f3577b34da6.pnr, for a capture run.pnr. */
static void name_file(char *name, const char *capture_path, const struct rec_incident *incident)
{
    const char *base = strrchr(capture_path, '/') + 1, *dot = strrchr(base, '.');
    size_t stem = dot && dot > base ? (size_t)(dot - base) : strlen(base);
    uint64_t ns = find_realtime_ns(incident);
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm utc;
    char *at = name + sprintf(name, "%.*s", (int)(stem < MAX_STEM ? stem : MAX_STEM), base);
    at = put_safe(at, incident->watch, MAX_NAME);
    gmtime_r(&seconds, &utc);
    at += strftime(at, 32, "-%Y%m%dT%H%M%S", &utc);
    at += sprintf(at, ".%03uZ", (unsigned)(ns / 1000000 % 1000));
    if (incident->id)
        at = put_safe(at, incident->id, MAX_ID);
    strcpy(at, ".pnr");
}

/* ---- saving ---- */

static void free_due(struct due_snapshot *snapshot)
{
    free(snapshot->watch);
    free(snapshot->capture_path);
    free(snapshot->summary);
    free(snapshot->incidents.bytes);
    free(snapshot);
}

struct paths {
    char capture[PATH_MAX], wanted[2 * PATH_MAX], taken[PATH_MAX];
};

/* Copies the path of the capture that a snapshot is of: where it lies now, if it is still the one that is written. */
static void find_capture(const struct due_snapshot *snapshot, char *path)
{
    if (strcmp(snapshot->capture_path, rec_session_path()) == 0)
        rec_session_locate(path);
    else
        strcpy(path, snapshot->capture_path);
}

/* Adds a snapshot to the list, or why it failed. */
static void list_incidents(const struct due_snapshot *snapshot, const struct paths *paths, uint64_t complete_ns,
                           const char *failure)
{
    struct rec_snapshot_entry entry = {
        .cause = REC_CAUSE_WATCH, .path = paths->taken, .failure = failure, .incidents = &snapshot->incidents,
        .missing_ns = complete_ns > snapshot->begin_ns ? complete_ns - snapshot->begin_ns : 0 };
    if (!rec_snapshot_list_add(paths->capture, &entry))
        rec_warn("%s cannot be entered in the list of snapshots", failure ? "a failure" : paths->taken);
}

/* With paths that are too long for the stack of a small thread, which may end the recording. */
static void save_incidents(struct due_snapshot *snapshot)
{
    struct paths *paths = malloc(sizeof *paths);
    struct rec_excerpt excerpt = { .from_ns = snapshot->from_ns, .key = "incidents" };
    struct rec_json_text property = { 0 };
    struct pnr_err err;
    char text[512];
    rec_json_add_format(&property, "[");
    rec_json_add_text(&property, &snapshot->incidents);
    rec_json_add_format(&property, "]");
    if (!paths || property.is_cut) {
        rec_warn("out of memory; the time around '%s' is not saved, recording goes on", snapshot->watch);
        goto done;
    }
    excerpt.value = property.bytes;
    find_capture(snapshot, paths->capture);
    int folder = (int)(strrchr(paths->capture, '/') - paths->capture);
    snprintf(paths->wanted, sizeof paths->wanted, "%.*s/%s", folder, paths->capture, snapshot->file_name);
    bool is_saved = rec_session_save_excerpt(paths->wanted, &excerpt, paths->taken, &err) == 0;
    const char *failure = is_saved ? NULL : pnr_err_describe(&err, text, sizeof text);
    if (is_saved && rec_diagnostics_are_direct())       /* of the messages of children the first line is shown */
        rec_warn("%s: %s", paths->taken, snapshot->summary);
    if (!is_saved)
        rec_warn("%s; the time around '%s' is not saved, recording goes on", failure, snapshot->watch);
    list_incidents(snapshot, paths, excerpt.complete_ns, failure);
done:
    free(property.bytes);
    free(paths);
}

/* Takes the first snapshot that is due at this time out of the list. Returns NULL when there is none. */
static struct due_snapshot *take_due(uint64_t now_ns)
{
    pthread_mutex_lock(&incidents.lock);
    struct due_snapshot **link = &incidents.due;
    while (*link && (*link)->due_ns > now_ns)
        link = &(*link)->next;
    struct due_snapshot *snapshot = *link;
    if (snapshot)
        *link = snapshot->next;
    pthread_mutex_unlock(&incidents.lock);
    return snapshot;
}

static void save_all_due(uint64_t now_ns)
{
    for (struct due_snapshot *snapshot; (snapshot = take_due(now_ns)); ) {
        save_incidents(snapshot);
        free_due(snapshot);
    }
}

void rec_incidents_save_due(void) { save_all_due(rec_clock_monotonic_ns()); }

uint64_t rec_incidents_wait_ns(void)
{
    uint64_t due_ns = UINT64_MAX;
    pthread_mutex_lock(&incidents.lock);
    for (struct due_snapshot *snapshot = incidents.due; snapshot; snapshot = snapshot->next)
        due_ns = snapshot->due_ns < due_ns ? snapshot->due_ns : due_ns;
    pthread_mutex_unlock(&incidents.lock);
    if (due_ns == UINT64_MAX)
        return due_ns;
    uint64_t now_ns = rec_clock_monotonic_ns();
    if (due_ns <= now_ns)
        rec_worker_wake();
    return due_ns <= now_ns ? UINT64_MAX : due_ns - now_ns;
}

void rec_incidents_end(void)
{
    char path[PATH_MAX];
    save_all_due(UINT64_MAX);
    if (!incidents.n_not_saved)
        return;
    rec_name_table_add_number("incidents_not_saved", incidents.n_not_saved);
    rec_session_locate(path);
    rec_snapshot_list_add(path, &(struct rec_snapshot_entry){ .cause = REC_CAUSE_WATCH,
                                                              .n_not_saved = incidents.n_not_saved });
    if (rec_diagnostics_are_direct())
        rec_warn("%" PRIu64 " slow or failed sections were not saved, by the limits of their watches",
                 incidents.n_not_saved);
    incidents.n_not_saved = 0;
}

/* ---- incidents ---- */

/* With the lock. */
static struct due_snapshot *find_due(const char *watch)
{
    struct due_snapshot *snapshot = incidents.due;
    while (snapshot && strcmp(snapshot->watch, watch) != 0)
        snapshot = snapshot->next;
    return snapshot;
}

/* With the lock. Returns false when the snapshot has no place for another incident. */
static bool join_due(struct due_snapshot *snapshot, const struct rec_incident *incident, uint64_t from_ns)
{
    if (snapshot->incidents.size > MAX_LIST || !add_incident(&snapshot->incidents, incident))
        return false;
    if (from_ns < snapshot->from_ns)
        snapshot->from_ns = from_ns;
    return true;
}

/* With the lock. Counts a snapshot of this name. Returns false when the limits forbid it. */
static bool admit_save(const struct rec_incident *incident, const struct rec_incident_limits *limits)
{
    struct last_save *save = incidents.saves;
    if (incidents.n_saves >= limits->at_most)
        return false;
    while (save && strcmp(save->watch, incident->watch) != 0)
        save = save->next;
    if (save && incident->end_ns < save->ns + limits->every_ns)
        return false;
    if (!save) {
        if (!(save = calloc(1, sizeof *save)) || !(save->watch = strdup(incident->watch))) {
            free(save);
            return false;
        }
        save->next = incidents.saves;
        incidents.saves = save;
    }
    save->ns = incident->end_ns;
    incidents.n_saves++;
    return true;
}

/* Returns a text for the user: "checkout took 312.4 ms (id 4bf9)". Owned by the caller. */
static char *summarize(const struct rec_incident *incident)
{
    struct rec_json_text note = { 0 };
    double ms = (double)(incident->end_ns - incident->begin_ns) / 1e6;
    rec_json_add_string(&note, incident->watch);
    if (incident->is_exception)
        rec_json_add_format(&note, " ended by an exception after %.1f ms", ms);
    else
        rec_json_add_format(&note, " took %.1f ms", ms);
    if (incident->id) {
        rec_json_add_format(&note, ", id ");
        rec_json_add_string(&note, incident->id);
    }
    return note.bytes;
}

/* Returns NULL when out of memory. */
static struct due_snapshot *make_due_snapshot(const struct rec_incident *incident, uint64_t from_ns, uint64_t keep_ns)
{
    struct due_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (!snapshot)
        return NULL;
    snapshot->watch = strdup(incident->watch);
    snapshot->capture_path = strdup(rec_session_path());
    snapshot->summary = summarize(incident);
    snapshot->begin_ns = incident->begin_ns;
    snapshot->from_ns = from_ns;
    snapshot->due_ns = incident->end_ns + keep_ns < keep_ns ? UINT64_MAX : incident->end_ns + keep_ns;
    name_file(snapshot->file_name, rec_session_path(), incident);
    bool is_whole = add_incident(&snapshot->incidents, incident);
    if (is_whole && snapshot->watch && snapshot->capture_path && snapshot->summary)
        return snapshot;
    free_due(snapshot);
    return NULL;
}

bool rec_incidents_report(const struct rec_incident *incident, const struct rec_incident_limits *limits)
{
    struct due_snapshot *made = NULL;
    uint64_t from_ns = incident->begin_ns > limits->keep_ns ? incident->begin_ns - limits->keep_ns : 0;
    pthread_mutex_lock(&incidents.lock);
    struct due_snapshot *waiting = find_due(incident->watch);
    bool has_joined = waiting && join_due(waiting, incident, from_ns);
    if (!has_joined && admit_save(incident, limits))
        made = make_due_snapshot(incident, from_ns, limits->keep_ns);
    if (made) {
        made->next = incidents.due;
        incidents.due = made;
    }
    bool is_saved = has_joined || made;
    incidents.n_not_saved += !is_saved;
    pthread_mutex_unlock(&incidents.lock);
    if (made)
        rec_worker_post();              /* it waits for less long now */
    return is_saved;
}

void rec_incidents_forked(void)
{
    pthread_mutex_init(&incidents.lock, NULL);          /* another thread may have had it */
    while (incidents.due) {
        struct due_snapshot *snapshot = incidents.due;
        incidents.due = snapshot->next;
        free_due(snapshot);
    }
    while (incidents.saves) {
        struct last_save *save = incidents.saves;
        incidents.saves = save->next;
        free(save->watch);
        free(save);
    }
    incidents.n_saves = incidents.n_not_saved = 0;
}
