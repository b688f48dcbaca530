/* The columns of a table: what each is, and where a row has it. */
#ifndef COLUMN_H
#define COLUMN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/read/samples.h"
#include "names.h"

/* A field that has this value is a null in the table: all bits are 1. Texts have NAMES_NOTHING, which is the same. */
#define COLUMN_NULL UINT64_MAX

/* Which type of field, and which of Arrow. */
enum column_type {
    COLUMN_INT64,                       /* uint64_t; int64, as not every consumer has unsigned numbers */
    COLUMN_INT32,                       /* uint32_t; int32 */
    COLUMN_FLOAT64,                     /* double; float64, never null */
    COLUMN_BOOL,                        /* bits of a uint32_t: true if any of them is set; bool, never null */
    COLUMN_TEXT,                        /* uint32_t, number of a text; a dictionary of UTF-8 with int32 indexes */
    COLUMN_STRING                       /* struct row_string; UTF-8, of which most are different */
};

/* What has the field. */
enum column_owner { OF_ROW, OF_FUNCTION, OF_THREAD, OF_CAPTURE };

struct column {
    const char *name;                   /* ends in its unit, if it has one */
    const char *unit;                   /* in the schema's metadata; NULL: it has none */
    const char *about;                  /* what it is; in the schema's metadata */
    enum column_type type;
    enum column_owner owner;
    size_t offset;                      /* of the field in its owner */
    uint32_t bits;                      /* of COLUMN_BOOL */
    enum text_column texts;             /* of COLUMN_TEXT */
};

/* A string of a row. */
struct row_string {
    uint32_t offset;                    /* in the bytes of its batch; NAMES_NOTHING: a null */
    uint32_t size;
};

/* What threads spent in a time; all are nulls where they were not sampled. */
struct row_spent {
    uint64_t known_ns, ran_ns, queued_ns, waited_ns, held_gil_ns;
};

static inline struct row_spent row_spent_of(const struct spent_time *spent)
{
    if (!spent->known_ns)
        return (struct row_spent){ COLUMN_NULL, COLUMN_NULL, COLUMN_NULL, COLUMN_NULL, COLUMN_NULL };
    return (struct row_spent){ spent->known_ns, spent->ns[SAMPLES_RAN], spent->ns[SAMPLES_QUEUED],
                               spent_waited_ns(spent), spent->ns[SAMPLES_HELD] };
}

/* Every row begins with what it refers to. */
struct row {
    uint32_t function;                  /* its number in names; 0 if no column is OF_FUNCTION */
    uint32_t thread;                    /* its number in names; 0 if no column is OF_THREAD */
};

/* The columns of a function and of a thread, for tables that have them. */
#define COLUMN_OF_FUNCTION(field, texts, about) \
    { #field, NULL, about, COLUMN_TEXT, OF_FUNCTION, offsetof(struct named_function, field), 0, texts }
#define COLUMNS_OF_FUNCTION \
    COLUMN_OF_FUNCTION(function, TEXT_FUNCTION, "module and qualified name"), \
    COLUMN_OF_FUNCTION(module, TEXT_MODULE, "module; null if it has none"), \
    COLUMN_OF_FUNCTION(name, TEXT_NAME, "qualified name"), \
    COLUMN_OF_FUNCTION(kind, TEXT_KIND, "what kind of function it is"), \
    COLUMN_OF_FUNCTION(file, TEXT_FILE, "source file; null if it has none"), \
    { "line", NULL, "first line of the function in its file; null without a file", COLUMN_INT32, OF_FUNCTION, \
      offsetof(struct named_function, line), 0, 0 }
#define COLUMNS_OF_THREAD \
    { "pid", NULL, "process id, unique in the capture", COLUMN_INT64, OF_THREAD, \
      offsetof(struct named_thread, pid), 0, 0 }, \
    { "process", NULL, "the process's command", COLUMN_TEXT, OF_THREAD, \
      offsetof(struct named_thread, process), 0, TEXT_PROCESS }, \
    { "tid", NULL, "thread id, unique in the process", COLUMN_INT64, OF_THREAD, \
      offsetof(struct named_thread, tid), 0, 0 }, \
    { "thread", NULL, "the thread's name", COLUMN_TEXT, OF_THREAD, \
      offsetof(struct named_thread, thread), 0, TEXT_THREAD }, \
    { "host", NULL, "the machine; null if it is not known", COLUMN_TEXT, OF_THREAD, \
      offsetof(struct named_thread, host), 0, TEXT_HOST }, \
    { "is_greenlet", NULL, "a greenlet, which has a stack of its own in a thread", COLUMN_BOOL, OF_THREAD, \
      offsetof(struct named_thread, is_greenlet), 1, 0 }

/* Those of a row's `spent`. prefix: of their names; of: what they are a part of. */
#define COLUMN_OF_SPENT(row_type, prefix, field, about) \
    { prefix #field, "ns", about, COLUMN_INT64, OF_ROW, offsetof(row_type, spent.field), 0, 0 }
#define COLUMNS_OF_SPENT(row_type, prefix, of) \
    COLUMN_OF_SPENT(row_type, prefix, known_ns, "how much of " of " was sampled; null, as the next four, if none was"), \
    COLUMN_OF_SPENT(row_type, prefix, ran_ns, "... in which its thread was on a processor"), \
    COLUMN_OF_SPENT(row_type, prefix, queued_ns, "... in which it could have run, but had no processor"), \
    COLUMN_OF_SPENT(row_type, prefix, waited_ns, "... in which it could not run"), \
    COLUMN_OF_SPENT(row_type, prefix, held_gil_ns, "... in which it held the GIL, whatever else it did")

/* The columns of the capture that rows are from, which all tables have. */
#define COLUMNS_OF_CAPTURE \
    { "capture", NULL, "path of the capture", COLUMN_TEXT, OF_CAPTURE, offsetof(struct named_capture, path), 0, \
      TEXT_CAPTURE }, \
    { "start_realtime_ns", "ns", "wall clock at the start of the capture's trace, since 1970; null if it is not known", \
      COLUMN_INT64, OF_CAPTURE, offsetof(struct named_capture, start_realtime_ns), 0, 0 }

#endif
