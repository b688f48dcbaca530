/* What a recording with a budget has cost: as properties of each process of a capture (specs/capture-format.md, section
 * 6.3), and in words for the line at the end. No Python dependency.
 *
 *     rec_cost_write_budget               a recording starts
 *         rec_cost_write_unseen           looks for slow calls come late
 *         rec_cost_write                  it has stopped
 *             rec_cost_read               for each property of each process
 *                 rec_cost_describe */
#ifndef REC_COST_H
#define REC_COST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../format/names.h"

/* Zeros without a budget. */
struct rec_cost {
    uint64_t cpu_ns;                    /* CPU time of the program, without that of the recorder's thread */
    uint64_t cost_ns;                   /* what recording took of it, as accounted */
    uint64_t n_muted;                   /* functions that were muted some time */
    uint64_t n_calls, n_calls_hidden;   /* of these functions, estimated; those of them that were not recorded */
    uint64_t n_late_looks;              /* looks for slow calls that came late */
    uint64_t unseen_ns;                 /* how long a call of a muted function was at most that no look saw; 0: none */
    char budget[16];                    /* percent, such as "0.5"; only by rec_cost_read */
};

/* Adds the property of the budget, of so many millionths, to the name table. */
void rec_cost_write_budget(unsigned long long ppm);

/* Adds the property of how long calls may be that are missing: what a killed process leaves of it. */
void rec_cost_write_unseen(uint64_t ns);

/* Adds the properties of the end to the name table. */
void rec_cost_write(const struct rec_cost *cost);

/* Adds a property of a process to a sum over processes, if it is one of those above. Of unseen_ns the largest counts. */
void rec_cost_read(struct rec_cost *sum, const struct pnr_string *key, const struct pnr_string *value);

/* Returns the cost in percent of the CPU time; 0 if there was none. */
double rec_cost_percent(const struct rec_cost *cost);

/* Describes a sum, as in "; cost 2.9 % (budget 3 %), 17 functions muted some time, ~84 % of their calls not recorded".
 * Empty without a budget. Returns text. */
const char *rec_cost_describe(const struct rec_cost *sum, char *text, size_t size);

#endif
