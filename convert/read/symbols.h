/* The name table of one process in memory: functions, threads and properties. Hides the file `names` and its faults: a
 * damaged entry is reported and skipped; a last entry that is cut off is what a kill leaves.
 *
 *     symbols_load() ... symbols_function(), symbols_thread(), symbols_property() ... symbols_free()
 *
 * Read-only once loaded. */
#ifndef SYMBOLS_H
#define SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/diagnostics.h"
#include "format/names.h"
#include "format/values.h"

struct symbol {
    struct pnr_string module, name, file;       /* borrowed from the symbols */
    uint32_t line;
    uint8_t kind;                               /* enum pnr_function_kind */
    bool is_known;                              /* false: a hole in the table */
};

struct symbols {
    void *bytes;                                /* the file, as far as it was read; an owned mapping */
    size_t size, mapped_size;                          /* bytes read; mapped */
    struct symbol *functions;                   /* [0 .. n_functions), that of index i at i - 1; owned */
    uint32_t n_functions;                       /* holes included */
    uint32_t n_known;
    bool has_labels;                            /* some of them are labels */
    struct pnr_name *threads;                   /* one each, its latest name, by number; owned */
    size_t n_threads;
    struct pnr_name *properties;                /* in the order of the file; owned */
    size_t n_properties;
    size_t function_capacity, thread_capacity, property_capacity;
};

/* Loads process_path/names. is_growing: the process may still run. Returns NULL when there is nothing to work with: no
 * such file, not a name table, a later version, out of memory. */
struct symbols *symbols_load(const char *process_path, bool is_growing, const struct diagnostics *diagnostics,
                             struct pnr_err *err);

/* Accepts NULL. */
void symbols_free(struct symbols *symbols);

/* Finds a function by its index; NULL when the table does not have it. Borrowed. */
static inline const struct symbol *symbols_function(const struct symbols *symbols, uint32_t index)
{
    const struct symbol *symbol = index - 1 < symbols->n_functions ? &symbols->functions[index - 1] : NULL;
    return symbol && symbol->is_known ? symbol : NULL;
}

/* Names the kind of a function in one word; NULL stands for an unknown function. Static. */
const char *symbol_category(const struct symbol *symbol);

/* Returns the text of a value's key; "?" when the name table does not have it. Borrowed, as the value is. */
struct pnr_string symbols_key(const struct symbols *symbols, const struct pnr_value *value);

/* Finds a thread by its number, or returns NULL. Borrowed. */
const struct pnr_name *symbols_thread(const struct symbols *symbols, uint32_t number);

/* True for the number of a thread that is a ledger: the log of what is muted, and no thread. */
bool symbols_is_ledger(const struct symbols *symbols, uint32_t number);

/* The number of the ledger that counts: the lowest one, should there be several; 0 if there is none. */
uint32_t symbols_ledger(const struct symbols *symbols);

/* True for the number of samples: what the recorder saw of threads, and no thread. symbols_samples: those that count. */
bool symbols_is_samples(const struct symbols *symbols, uint32_t number);
uint32_t symbols_samples(const struct symbols *symbols);

/* True for the number of a ledger, or of samples. */
bool symbols_is_of_recorder(const struct symbols *symbols, uint32_t number);

/* Finds the latest value of a property; without bytes when the property is absent. Borrowed. */
struct pnr_string symbols_property(const struct symbols *symbols, const char *key);

/* Finds the latest value of a property that is a decimal number. Returns false when it is absent or no number. */
bool symbols_number(const struct symbols *symbols, const char *key, uint64_t *value);

/* The latest value of a property that is a decimal number, with a fraction or without; 0 when it is absent or none. */
double symbols_decimal(const struct symbols *symbols, const char *key);

/* True when the process is written to its end: by its recorder or, after a kill, by another process. */
bool symbols_has_end(const struct symbols *symbols);

#endif
