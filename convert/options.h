/* The command line of panopticon-convert. Hides what goes together, how the format is told, and what is said of mistakes. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "convert/slices/flows.h"
#include "convert/slices/selection.h"
#include "convert/write/trace.h"

#define OPTIONS_VERSION "0.1"

enum format { CATAPULT, PERFETTO, FOLDED, PSTATS, TOP };

struct options {
    char *capture;
    const char *output;                 /* NULL = beside the capture */
    struct selection *selection;        /* owned */
    enum format format;
    struct flows_choice flows;
    unsigned n_threads;
    uint64_t split_size;                /* 0 = one file */
    bool is_logical, is_info, is_verify, is_json, is_quiet;
};

/* Returns 1 to go on, else 0 or -1: the work is done, well or badly. argv is borrowed, and changed; options->selection is
 * the caller's to free in any case. */
int options_parse(int argc, char **argv, struct options *options);

/* How the trace is written; NULL for a format that is made of a call tree. */
const struct trace_format *options_trace(const struct options *options);

/* Where to write: if no option says so, beside the capture. Returns 0, or -1 when the name is too long, having said so. */
int options_name_output(const struct options *options, char path[PATH_MAX]);

#endif
