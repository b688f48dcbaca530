/* Under which names and ids an output shows processes and threads. Hides where they come from, and how ids that occur
 * more than once become unique.
 *
 *     processes of the capture           pid in the trace
 *     process-70                         70
 *     process-71                         71
 *     process-70-2 (the id again)        4194374 = 70 + 4,194,304
 *
 * Ids of Linux lie below IDENTITY_LIMIT, so the sums are unique. They stay below 2^32, as viewers take larger ids for
 * one and the same. */
#ifndef IDENTITIES_H
#define IDENTITIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/read/reader.h"
#include "convert/slices/selection.h"

#define IDENTITY_LIMIT SELECTION_ID_LIMIT

/* Memory for the name of a thread that has none. */
#define IDENTITY_NAME_SIZE 32

/* Returns the process's command, or its directory's name, with what distinguishes it from others of that command. The
 * caller frees its bytes; they are NULL when out of memory. */
struct pnr_string process_name(const struct reader *reader);

/* The process id, by its properties or else by its directory's name. */
uint32_t process_pid(const struct reader *reader);

/* Fills ids with the ids of n processes in the trace. Returns 0, or -1 when out of memory. */
int identify_processes(struct reader **readers, size_t n, uint32_t *ids);

/* Fills ids with the ids of the threads of a process. Returns 0, or -1 when out of memory. */
int identify_threads(const struct reader *reader, uint32_t *ids);

/* The kernel's id of a thread, or its number if that is not known. entry: its latest name, or NULL. */
uint32_t thread_id(const struct pnr_name *entry, uint32_t number);

/* The id of a greenlet, above the ids of all threads. */
uint32_t track_id(uint32_t number);

/* Returns the name of a thread or greenlet; text holds that of one that has none. */
struct pnr_string thread_name(const struct pnr_name *entry, uint32_t number, char text[IDENTITY_NAME_SIZE]);

/* True for the name of a greenlet. */
bool names_greenlet(const struct pnr_name *entry);

#endif
