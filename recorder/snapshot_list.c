#include "snapshot_list.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "signals.h"
#include "../format/capture.h"
#include "../format/file.h"

static const char *const cause_names[] = {
    [REC_CAUSE_PROGRAM] = "program", [REC_CAUSE_SIGNAL] = "signal", [REC_CAUSE_EXCEPTION] = "exception",
    [REC_CAUSE_CTL] = "ctl", [REC_CAUSE_WATCH] = "watch",
};

/* Returns the path as the list has it: the name of what lies in the directory that has the capture, so that both can be
 * moved together; or else the absolute path. */
static const char *relative_to_capture(const char *path, const char *capture_path)
{
    size_t folder = (size_t)(strrchr(capture_path, '/') + 1 - capture_path);
    bool is_next_to = strncmp(path, capture_path, folder) == 0 && !strchr(path + folder, '/');
    return is_next_to ? path + folder : path;
}

static void write_entry(struct rec_json_text *line, const struct rec_snapshot_entry *entry, const char *capture_path)
{
    rec_json_add_format(line, "{\"pid\":%ld,\"realtime_ns\":%" PRIu64 ",\"cause\":\"%s\"", (long)getpid(),
                        rec_clock_sample().realtime_ns, cause_names[entry->cause]);
    if (entry->incidents) {
        rec_json_add_format(line, ",\"incidents\":[");
        rec_json_add_text(line, entry->incidents);
        rec_json_add_format(line, "]");
    }
    if (entry->missing_ns)
        rec_json_add_format(line, ",\"missing_ns\":%" PRIu64, entry->missing_ns);
    if (entry->n_not_saved)
        rec_json_add_format(line, ",\"not_saved\":%" PRIu64, entry->n_not_saved);
    if (entry->failure || entry->path) {
        rec_json_add_format(line, entry->failure ? ",\"failure\":" : ",\"snapshot\":");
        rec_json_add_string(line, entry->failure ? entry->failure : relative_to_capture(entry->path, capture_path));
    }
    rec_json_add_format(line, "}\n");
}

static bool append_line(const char *path, const struct rec_json_text *line)
{
    sigset_t before;
    int fd = pnr_file_open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CREAT);
    if (fd < 0)
        return false;
    rec_signals_hold(SIGXFSZ, &before);
    bool is_written = write(fd, line->bytes, line->size) == (ssize_t)line->size;
    rec_signals_release(SIGXFSZ, &before, !is_written && errno == EFBIG);
    close(fd);
    return is_written;
}

bool rec_snapshot_list_add(const char *capture_path, const struct rec_snapshot_entry *entry)
{
    char path[PATH_MAX];
    struct rec_json_text line = { 0 };
    write_entry(&line, entry, capture_path);
    pnr_file_path(capture_path, PNR_CAPTURE_SNAPSHOTS, path);
    bool is_added = !line.is_cut && append_line(path, &line);
    free(line.bytes);
    return is_added;
}
