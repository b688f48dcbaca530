#include "open_capture.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/capture.h"
#include "read_choice.h"

void capture_close(struct capture *capture)
{
    for (size_t i = 0; i < capture->n; i++) {
        reader_close(capture->readers[i]);
        if (capture->rates)
            hidden_rates_clear(&capture->rates[i]);
    }
    free(capture->rates);
    free(capture->readers);
    free(capture->anomalies);
    free(capture->origins);
    free(capture->groups);
    *capture = (struct capture){ .n = 0 };
}

/* Opens a process, or reports why not. */
static void open_process(struct capture *capture, const char *path, const struct reader_choice *of_threads,
                         const struct diagnostics *diagnostics)
{
    struct stat status;
    struct pnr_err err;
    struct reader *reader = reader_open(path, of_threads, diagnostics, &err);
    if (reader)
        capture->readers[capture->n++] = reader;
    else if (lstat(path, &status) == 0 || errno != ENOENT)
        diagnostics_err(diagnostics, DIAGNOSTIC_DAMAGE, &err);
    else
        diagnostics_report(diagnostics, DIAGNOSTIC_INFO, "%s: evicted meanwhile (--max-size, --last)", path);
}

/* Makes room for n processes more. Returns 0, or -1 when out of memory. */
static int grow(struct capture *capture, size_t n)
{
    n += capture->n + 1;
    struct reader **readers = realloc(capture->readers, n * sizeof *readers);
    capture->readers = readers ? readers : capture->readers;
    uint32_t *origins = realloc(capture->origins, n * sizeof *origins);
    capture->origins = origins ? origins : capture->origins;
    return readers && origins ? 0 : -1;
}

/* Opens the processes of a capture. Returns 0, or -1 and fills err. */
static int open_processes(struct capture *capture, uint32_t origin, const struct reader_choice *of_threads,
                          const struct diagnostics *diagnostics, struct pnr_err *err)
{
    const char *path = capture->from.paths[origin];
    struct pnr_list list;
    if (pnr_capture_processes(path, &list, err) < 0)
        return -1;
    bool has_memory = grow(capture, list.n) == 0;
    for (size_t i = 0; has_memory && i < list.n; i++) {
        char process_path[PATH_MAX];
        snprintf(process_path, sizeof process_path, "%s/%s", path, list.names[i]);
        capture->origins[capture->n] = origin;
        open_process(capture, process_path, of_threads, diagnostics);
    }
    pnr_list_clear(&list);
    return has_memory ? 0 : pnr_err_set(err, PNR_E_MEMORY, NULL, 0, "out of memory");
}

static bool have_same_text(struct pnr_string a, struct pnr_string b)
{
    return a.size == b.size && memcmp(a.bytes, b.bytes, a.size) == 0;
}

/* The host of a capture names its processes if no other capture is of that host; else its path does. A name that was
 * given comes before both. */
static struct pnr_string name_group(const struct capture *capture, size_t process)
{
    uint32_t origin = capture->origins[process];
    const char *path = origin < capture->from.n_groups ? capture->from.groups[origin] : capture->from.paths[origin];
    const struct pnr_string name = { path, (uint32_t)strlen(path) };
    struct pnr_string host = symbols_property(reader_symbols(capture->readers[process]), "host");
    if (host.size == 0 || origin < capture->from.n_groups)
        return name;
    for (size_t i = 0; i < capture->n; i++)
        if (capture->origins[i] != capture->origins[process] && (i == 0 || capture->origins[i] != capture->origins[i - 1]) &&
            have_same_text(host, symbols_property(reader_symbols(capture->readers[i]), "host")))
            return name;
    return host;
}

/* Returns 0, or -1 when out of memory. */
static int name_groups(struct capture *capture)
{
    if (capture->from.n < 2)
        return 0;
    capture->groups = calloc(capture->n + 1, sizeof *capture->groups);
    for (size_t i = 0; capture->groups && i < capture->n; i++)
        capture->groups[i] = i > 0 && capture->origins[i] == capture->origins[i - 1] ? capture->groups[i - 1] :
                             name_group(capture, i);
    return capture->groups ? 0 : -1;
}

/* Opens what can be opened. Returns 0, or -1 and fills err. */
static int open_all(struct capture *capture, const struct reader_choice *of_threads,
                    const struct diagnostics *diagnostics, struct pnr_err *err)
{
    for (uint32_t i = 0; i < capture->from.n; i++) {
        if (open_processes(capture, i, of_threads, diagnostics, err) == 0)
            continue;
        if (err->code == PNR_E_MEMORY || capture->from.n == 1)
            return -1;
        diagnostics_err(diagnostics, DIAGNOSTIC_DAMAGE, err);
    }
    capture->anomalies = calloc(capture->n + 1, sizeof *capture->anomalies);
    capture->rates = calloc(capture->n + 1, sizeof *capture->rates);
    bool has_memory = capture->anomalies && capture->rates && name_groups(capture) == 0;
    pnr_err_set(err, has_memory ? PNR_OK : PNR_E_MEMORY, NULL, 0, has_memory ? "" : "out of memory");
    return has_memory ? 0 : -1;
}

int capture_open(struct capture *capture, const struct capture_paths *from, const struct selection *selection,
                 const struct diagnostics *diagnostics, struct pnr_err *err)
{
    struct read_choice choice;
    const struct reader_choice *of_threads = read_choice_init(&choice, selection);
    *capture = (struct capture){ .from = *from };
    int result = open_all(capture, of_threads, diagnostics, err);
    read_choice_clear(&choice);
    if (result == 0 && capture->n > 0)
        return 0;
    capture_close(capture);
    return -1;
}

bool capture_is_newer(const struct capture *capture)
{
    bool has_newer = false;
    uint64_t n_found = 0;
    for (size_t i = 0; i < capture->n; i++) {
        has_newer |= reader_size(capture->readers[i])->has_newer;
        n_found += reader_size(capture->readers[i])->n_found;
    }
    return has_newer && n_found == 0;
}
