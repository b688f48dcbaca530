#include "open_capture.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "format/capture.h"
#include "read_choice.h"

void capture_close(struct capture *capture)
{
    for (size_t i = 0; i < capture->n; i++) {
        reader_close(capture->readers[i]);
        hidden_rates_clear(&capture->rates[i]);
    }
    free(capture->rates);
    free(capture->readers);
    free(capture->anomalies);
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

int capture_open(struct capture *capture, const char *path, const struct selection *selection,
                 const struct diagnostics *diagnostics, struct pnr_err *err)
{
    struct read_choice choice;
    const struct reader_choice *of_threads = read_choice_init(&choice, selection);
    struct pnr_list list;
    *capture = (struct capture){ .n = 0 };
    if (pnr_capture_processes(path, &list, err) < 0) {
        read_choice_clear(&choice);
        return -1;
    }
    capture->readers = calloc(list.n, sizeof *capture->readers);
    capture->anomalies = calloc(list.n, sizeof *capture->anomalies);
    capture->rates = calloc(list.n, sizeof *capture->rates);
    bool has_memory = capture->readers && capture->anomalies && capture->rates;
    for (size_t i = 0; has_memory && i < list.n; i++) {
        char process_path[PATH_MAX];
        snprintf(process_path, sizeof process_path, "%s/%s", path, list.names[i]);
        open_process(capture, process_path, of_threads, diagnostics);
    }
    pnr_err_set(err, has_memory ? PNR_OK : PNR_E_MEMORY, NULL, 0, has_memory ? "" : "out of memory");
    pnr_list_clear(&list);
    read_choice_clear(&choice);
    if (capture->n > 0)
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
