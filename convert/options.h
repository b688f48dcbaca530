/* The command line of panopticon-convert (options.def). Hides how options are written, which go together, and what
 * is reported of mistakes. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "convert/slices/flows.h"
#include "convert/slices/selection.h"
#include "convert/write/trace.h"
#include "align.h"

enum format {
#define FORMAT(constant, name, suffix, other_suffix, trace) constant,
#include "options.def"
#undef FORMAT
    TOP, ANY_FORMAT                     /* the table of --top; no option has chosen one */
};

struct options {
    const char *capture;                /* its path; of several captures: how many there are */
    struct capture_paths captures;      /* all */
    struct align_choice align;
    const char *output;                 /* NULL = next to the capture */
    struct selection *selection;        /* owned; NULL = all */
    enum format format;
    struct flows_choice flows;
    unsigned n_threads;
    uint64_t split_size;                /* 0 = one file */
    bool is_logical, is_exact, is_top, has_exceptions, is_busy, is_info, is_verify, is_json, is_quiet, is_help, is_version;
};

/* Returns 1 to go on, else 0 or -1: the program ends, with success or not. argv is borrowed, and changed;
 * options->selection is the caller's to free in any case. */
int options_parse(int argc, char **argv, struct options *options);

/* The format that the end of a file's name stands for; ANY_FORMAT if for none. */
enum format options_find_format(const char *name);

/* How the trace is written; NULL for a format that is made of a call tree. */
const struct trace_format *options_trace(const struct options *options);

/* Where to write: without --output, next to the capture. Returns 0, or -1 after it has reported that the name is too
 * long. */
int options_name_output(const struct options *options, char path[PATH_MAX]);

#endif
