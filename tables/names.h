/* What the rows of a table refer to: functions and threads, each described once for all rows, and the texts of its
 * columns. Hides that functions of several processes are one if their names, file, line and kind are the same.
 *
 *     names_init(), names_capture()
 *     for each process: names_process(), names_thread(); then names_find_function(), names_find_thread()
 *     names_clear()
 *
 * Memory grows with the different functions and the threads that occur in rows. */
#ifndef NAMES_H
#define NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/slices/sink.h"
#include "texts.h"

/* In place of a number: nothing is known, which is a null in the table; out of memory. */
#define NAMES_NOTHING UINT32_MAX
#define NAMES_FAILED TEXTS_FAILED

/* The columns that have texts: each has its own numbers. */
enum text_column {
    TEXT_FUNCTION, TEXT_MODULE, TEXT_NAME, TEXT_FILE, TEXT_KIND, TEXT_HOST, TEXT_PROCESS, TEXT_THREAD, TEXT_LABEL, TEXT_SERIES,
    TEXT_PHASE, TEXT_CAPTURE, TEXT_COLUMNS
};

/* Numbers of texts, but line. */
struct named_function {
    uint32_t function;                  /* module, `.` and name */
    uint32_t module, name, file;
    uint32_t kind;
    uint32_t line;
};

struct named_thread {
    uint64_t pid, tid;
    uint32_t process, thread;           /* numbers of texts, like the next */
    uint32_t host;                      /* NAMES_NOTHING: not known */
    uint32_t is_greenlet;
};

struct named_capture {
    uint64_t start_realtime_ns;         /* UINT64_MAX: not known */
    uint32_t path;                      /* number of a text */
};

struct names {
    struct texts texts[TEXT_COLUMNS];
    struct named_function *functions;   /* owned, like the next */
    struct named_thread *threads;
    struct named_capture capture;       /* that all rows are from */
    size_t n_functions, function_capacity, n_threads, thread_capacity;
    struct pnr_table by_function;       /* functions by what they are */
    const struct symbols *symbols;      /* of the present process; borrowed */
    uint32_t *known;                    /* number of each of its functions, plus one; 0: not yet known; owned */
    uint32_t *thread_numbers;           /* number of each of its threads; owned */
    size_t thread_number_capacity;
    uint64_t pid;
    uint32_t process, host;             /* numbers of its texts; host as in struct named_thread */
    bool is_out_of_memory;              /* sticks */
};

void names_init(struct names *names);

void names_clear(struct names *names);

/* start_realtime_ns: of the capture's trace; 0: not known. */
void names_capture(struct names *names, const char *path, uint64_t start_realtime_ns);

void names_process(struct names *names, const struct sink_process *process);

void names_thread(struct names *names, const struct sink_thread *thread);

/* Returns the number in functions of what a slice of the present process is about; or NAMES_FAILED. */
uint32_t names_find_function(struct names *names, enum pnr_subject subject, uint32_t function);

/* Returns the number in functions of a symbol, whose texts are any bytes; or NAMES_FAILED. prefix: comes before the
 * names, or "". kind: a word. */
uint32_t names_add_function(struct names *names, const struct symbol *symbol, const char *prefix, const char *kind);

/* Returns the number in threads of a thread of the present process. */
static inline uint32_t names_find_thread(const struct names *names, uint32_t thread)
{
    return names->thread_numbers[thread];
}

/* Returns the number of a text of that column, of any bytes; or NAMES_FAILED. */
uint32_t names_add_text(struct names *names, enum text_column column, struct pnr_string text);

/* Returns the text of a label of the present process. */
struct pnr_string names_label(const struct names *names, uint32_t label);

#endif
