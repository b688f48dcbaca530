/* Which part of a capture is wanted: the options that select it, and the answers to those who convert. Hides how times,
 * ids and globs are written.
 *
 *     selection_new()
 *     for each option: selection_add()
 *     selection_settle()                      once the capture is open
 *     selection_has_process() and so on
 *     selection_free()
 *
 * The functions that answer accept NULL, which selects everything. */
#ifndef SELECTION_H
#define SELECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "convert/read/symbols.h"
#include "pipeline.h"

enum selection_option {
    SELECT_FROM, SELECT_TO,             /* a time: see specs/trace-mapping.md, section 9 */
    SELECT_PROCESS, SELECT_THREAD,      /* an id, or a glob for the whole name; several: any of them */
    SELECT_INCLUDE, SELECT_EXCLUDE,     /* a glob for the whole module, module.name or file; the last match decides */
    SELECT_MIN_DURATION,                /* a duration */
    SELECT_MAX_DEPTH                    /* a number from 1 on */
};

/* Process and thread ids of Linux lie below this. Ids that occur again are distinguished by adding multiples of it. */
#define SELECTION_ID_LIMIT (UINT32_C(1) << 22)

struct selection;

/* Selects everything. Returns NULL when out of memory. */
struct selection *selection_new(void);

/* Accepts NULL. */
void selection_free(struct selection *selection);

/* Adds an option. text is borrowed until selection_free. Returns NULL, or what the text is instead of a valid one, a
 * static string. */
const char *selection_add(struct selection *selection, enum selection_option option, const char *text);

/* The capture, for times that do not count from its start. */
struct selection_extent {
    uint64_t end_ns;                    /* of the trace */
    uint64_t start_realtime_ns;         /* its zero on the wall clock; 0: not known */
};

/* Fixes from and to. Returns NULL, or why that cannot be done, a static string. */
const char *selection_settle(struct selection *selection, const struct selection_extent *extent);

/* Replaces from and to, in nanoseconds of the trace. 0: there is no from; UINT64_MAX: there is no to. */
void selection_set_window(struct selection *selection, uint64_t from_ns, uint64_t to_ns);

/* True for NULL, and if no option was added and no window set. */
bool selection_is_all(const struct selection *selection);

/* Nanoseconds of the trace. 0: there is no from. UINT64_MAX: there is no to. */
uint64_t selection_from(const struct selection *selection);
uint64_t selection_to(const struct selection *selection);

/* id: as it is in the trace; own_id: before it was made unique. */
bool selection_has_process(const struct selection *selection, uint32_t id, uint32_t own_id, struct pnr_string name);
bool selection_has_thread(const struct selection *selection, uint32_t id, uint32_t own_id, struct pnr_string name);

/* Whether it may contain them, as long as the id in the trace is not known. */
bool selection_may_have_process(const struct selection *selection, uint32_t own_id, struct pnr_string name);
bool selection_may_have_thread(const struct selection *selection, uint32_t own_id, struct pnr_string name);

/* True when some processes, or threads, are excluded. */
bool selection_chooses(const struct selection *selection);

/* The minimum duration of a slice, in a process whose recorder had one. */
uint64_t selection_min_ns(const struct selection *selection, uint64_t recorded_ns);

/* Judges the functions of a process. The caller frees rules->is_hidden. Returns 0, or -1 when out of memory. */
int selection_make_rules(const struct selection *selection, const struct symbols *symbols, struct slice_rules *rules);

#endif
