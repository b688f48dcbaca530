/* Writes name tables: appends entries to a file (specs/capture-format.md, section 6). The table of this process is
 * name_table.h's. No Python dependency. A file belongs to one thread at a time. */
#ifndef REC_NAMES_H
#define REC_NAMES_H

#include <stdint.h>

#include "file.h"
#include "../format/block.h"
#include "../format/names.h"

/* Returns a string for an entry, cut to PNR_NAME_MAX bytes between two characters. The second takes a C string. */
struct pnr_string rec_names_cut(struct pnr_string s);
struct pnr_string rec_names_text(const char *s);

/* Appends an entry. Returns 0 or -1. */
int rec_names_append(struct rec_file *file, const struct pnr_name *name, struct pnr_err *err);

/* Appends a property. Returns 0 or -1. */
int rec_names_append_property(struct rec_file *file, const char *key, const char *value, struct pnr_err *err);
int rec_names_append_number(struct rec_file *file, const char *key, uint64_t value, struct pnr_err *err);

/* Appends three properties, <which>_ticks, <which>_monotonic_ns and <which>_realtime_ns. Returns 0 or -1. */
int rec_names_append_clock_sample(struct rec_file *file, const char *which, struct pnr_clock_sample sample,
                                  struct pnr_err *err);

/* Reads a name table. Returns its bytes, owned by the caller, and how many of them, up to the end of the last whole
 * entry; or NULL. */
unsigned char *rec_names_read(const char *path, size_t *size, struct pnr_err *err);

#endif
