/* The name table of this process: gives functions, threads and tracks the numbers that stand in records, and writes
 * the file `names` (specs/capture-format.md, section 6). An entry is in the file before its number is in a record,
 * so that a process that is killed leaves no record without a name. No Python dependency.
 *
 *     rec_name_table_start
 *         rec_name_table_move                 the process's directory has been renamed
 *         rec_name_table_add_function, rec_name_table_add_thread, rec_name_table_add_property ...
 *         rec_name_table_copy                 into another capture
 *             rec_name_table_replace          recording goes on in that one
 *     rec_name_table_end
 *
 * The table is guarded by the recording lock (thread_buffer.h), except for rec_name_table_copy. When a write fails
 * the table reports it once; from then on nothing more is written, and the recording ends. */
#ifndef REC_NAME_TABLE_H
#define REC_NAME_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "file.h"
#include "../format/block.h"
#include "../format/names.h"

/* Makes the file in the directory of a process. max_size: bytes; later functions and threads have no name. Returns 0
 * or -1. */
int rec_name_table_start(const char *process_path, uint64_t max_size, struct pnr_err *err);

/* Sets the path of the process's directory after it was renamed. Returns 0 or -1. */
int rec_name_table_move(const char *process_path, struct pnr_err *err);

/* Adds a property (specs/capture-format.md, section 6.3). */
void rec_name_table_add_property(const char *key, const char *value);
void rec_name_table_add_number(const char *key, uint64_t value);
void rec_name_table_add_clock_sample(const char *which, struct pnr_clock_sample sample);

/* Adds a function; strings are module, qualified name and file, cut to PNR_NAME_MAX. A function that has all of this
 * in common with an earlier one may get its number. Returns its number, or 0 when it could not be written. */
uint32_t rec_name_table_add_function(enum pnr_function_kind kind, uint32_t line, const struct pnr_string strings[3]);

/* Adds a thread, or another track of a thread. native_id: of the thread, in the operating system. Returns its
 * number; threads and tracks are numbered in one sequence. */
uint32_t rec_name_table_add_thread(uint32_t native_id, struct pnr_string name);
uint32_t rec_name_table_add_track(enum pnr_thread_kind kind, uint32_t native_id, struct pnr_string name);

/* Gives a thread another name: the last one counts. */
void rec_name_table_rename_thread(uint32_t number, uint32_t native_id, struct pnr_string name);

/* True once a write has failed. */
bool rec_name_table_has_failed(void);

/* The first failure; code PNR_OK when there was none. Borrowed. */
const struct pnr_err *rec_name_table_failure(void);

/* How a recording ended. */
struct rec_end {
    uint64_t n_events, n_lost;
    const struct pnr_err *failure;      /* code PNR_OK when there was none; borrowed */
    struct pnr_clock_sample sample;
};

/* Appends the properties of the end to a copy of the table. Returns 0 or -1. */
int rec_name_table_append_end(struct rec_file *copy, const struct rec_end *end, struct pnr_err *err);

/* Adds the properties of the end, and closes the file. */
void rec_name_table_end(const struct rec_end *end);

/* Returns the path of the file. Borrowed until the table moves. */
const char *rec_name_table_path(void);

/* Returns the size of the file. */
uint64_t rec_name_table_size(void);

/* Copies the entries that are whole from the directory of this process, where it lies now, into that of another one.
 * Leaves the copy open. Any thread may call it. Returns 0 or -1. */
int rec_name_table_copy(struct rec_file *copy, const char *from, const char *process_path, struct pnr_err *err);

/* Adds the properties of the end, closes the file, and continues in this copy of the table. Gives the failure, if
 * any. */
void rec_name_table_replace(const struct rec_file *copy, uint64_t max_size, const struct rec_end *end,
                            struct pnr_err *err);

/* Closes the file of a table that is not ended. */
void rec_name_table_release(void);

#endif
