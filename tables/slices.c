#include "table_kinds.h"

#include <stdlib.h>
#include <string.h>

#include "convert/write/json_values.h"
#include "format/array.h"

struct slice_row {
    struct row of;
    uint64_t begin_ns, dur_ns, self_ns;
    uint32_t depth;
    uint32_t flags;                     /* enum slice_flag */
    struct row_string values;
    struct row_spent spent;
};

/* How much time the slices took that have ended at each depth of a thread, and whose parent has not. */
struct thread_levels {
    uint32_t sampled;                   /* as in struct sink_thread */
    uint64_t *inside_ns;                /* by depth; owned */
    size_t capacity;
};

struct slices_table {
    struct table table;
    struct sink sink;
    struct thread_levels *threads;      /* by number, of the present process; owned */
    size_t thread_capacity;
    const struct samples *samples;      /* as in struct sink_process, like the next */
    uint64_t zero_ns;
};

static const struct column slice_columns[] = {
    { "begin_ns", "ns", "begin, from the start of the trace", COLUMN_INT64, OF_ROW,
      offsetof(struct slice_row, begin_ns), 0, 0 },
    { "dur_ns", "ns", "duration", COLUMN_INT64, OF_ROW, offsetof(struct slice_row, dur_ns), 0, 0 },
    { "self_ns", "ns", "duration without that of the slices in it", COLUMN_INT64, OF_ROW,
      offsetof(struct slice_row, self_ns), 0, 0 },
    { "depth", NULL, "how many slices of the thread are around it", COLUMN_INT32, OF_ROW,
      offsetof(struct slice_row, depth), 0, 0 },
    COLUMNS_OF_FUNCTION,
    COLUMNS_OF_THREAD,
#define COLUMN_OF_FLAG(name, flag, about) \
    { name, NULL, about, COLUMN_BOOL, OF_ROW, offsetof(struct slice_row, flags), flag, 0 }
    COLUMN_OF_FLAG("exception", SLICE_EXCEPTION, "left by an exception"),
    COLUMN_OF_FLAG("unfinished", SLICE_UNFINISHED, "still open when the recording of its thread ended"),
    COLUMN_OF_FLAG("begin_unknown", SLICE_BEGIN_UNKNOWN, "its begin is when it was first known to be open"),
    COLUMN_OF_FLAG("exit_missing", SLICE_EXIT_MISSING, "its end is when it was first known to have ended"),
    COLUMN_OF_FLAG("cut", SLICE_CUT, "begins before, or ends after, the selected time"),
    COLUMN_OF_FLAG("noticed_late", SLICE_NOTICED_LATE, "its begin is when a muted function was seen to run"),
    COLUMN_OF_FLAG("flow_incomplete", SLICE_FLOW_INCOMPLETE, "slices of its frame before it are not recorded"),
    COLUMN_OF_FLAG("inexact", SLICE_INEXACT, "its begin or end may be wrong by more than 1 us"),
    { "values_json", NULL, "what the program gave it, a JSON object; null if that is nothing", COLUMN_STRING, OF_ROW,
      offsetof(struct slice_row, values), 0, 0 },
    COLUMNS_OF_SPENT(struct slice_row, "", "`dur_ns`"),
    COLUMNS_OF_CAPTURE,
};

static void forget_levels(struct slices_table *slices)
{
    for (size_t i = 0; i < slices->thread_capacity; i++)
        free(slices->threads[i].inside_ns);
    free(slices->threads);
    slices->threads = NULL;
    slices->thread_capacity = 0;
}

static struct slices_table *slices_of(struct sink *sink)
{
    return (struct slices_table *)((char *)sink - offsetof(struct slices_table, sink));
}

static void begin_slices_process(struct sink *sink, const struct sink_process *process)
{
    struct slices_table *slices = slices_of(sink);
    forget_levels(slices);
    slices->samples = process->samples;
    slices->zero_ns = process->zero_ns;
    names_process(&slices->table.names, process);
}

static void begin_slices_thread(struct sink *sink, const struct sink_thread *thread)
{
    struct slices_table *slices = slices_of(sink);
    names_thread(&slices->table.names, thread);
    if (pnr_array_reserve_number(&slices->threads, &slices->thread_capacity, thread->thread) < 0)
        sink->is_broken = true;
    else
        slices->threads[thread->thread].sampled = thread->sampled;
}

/* Makes space for the time at that depth and at the next one. Returns 0, or -1 when out of memory. */
static int reserve_levels(struct thread_levels *thread, uint32_t depth)
{
    size_t before = thread->capacity;
    if (pnr_array_reserve(&thread->inside_ns, &thread->capacity, (size_t)depth + 2) < 0)
        return -1;
    for (size_t i = before; i < thread->capacity; i++)
        thread->inside_ns[i] = 0;
    return 0;
}

/* Adds to the time in the slice around this one. Returns the time of the slices in this one, which are forgotten. */
static uint64_t take_inside(struct slices_table *slices, const struct slice *slice)
{
    struct thread_levels *thread = &slices->threads[slice->thread];
    if (reserve_levels(thread, slice->depth) < 0) {
        slices->sink.is_broken = true;
        return 0;
    }
    uint64_t *inside_ns = thread->inside_ns + slice->depth, taken = inside_ns[1];
    inside_ns[1] = 0;
    inside_ns[0] += slice->end_ns - slice->begin_ns;
    return taken;
}

/* Adds the values of a slice to the batch, as JSON. */
static struct row_string add_values(struct slices_table *slices, const struct slice *slice)
{
    const struct symbols *symbols = slices->table.names.symbols;
    struct batch *batch = &slices->table.batch;
    if (!slice->values)
        return (struct row_string){ .offset = NAMES_NOTHING };
    char *to = batch_reserve_string(batch, json_values_size(symbols, slice->values) + 2);
    if (!to) {
        slices->sink.is_broken = true;
        return (struct row_string){ .offset = NAMES_NOTHING };
    }
    to = json_values_put(stpcpy(to, "{"), symbols, slice->values, true, false);
    *to++ = '}';
    return batch_add_string(batch, to);
}

static struct row_spent find_spent(const struct slices_table *slices, const struct slice *slice)
{
    struct spent_time spent = { .known_ns = 0 };
    if (slices->samples)
        spent = samples_spent(slices->samples, slices->threads[slice->thread].sampled, slices->zero_ns + slice->begin_ns,
                              slices->zero_ns + slice->end_ns);
    return row_spent_of(&spent);
}

static void add_slice_row(struct sink *sink, const struct slice *slice)
{
    struct slices_table *slices = slices_of(sink);
    struct names *names = &slices->table.names;
    if (sink->is_broken)
        return;
    uint32_t function = names_find_function(names, slice->subject, slice->function);
    uint64_t dur_ns = slice->end_ns - slice->begin_ns, inside_ns = take_inside(slices, slice);
    struct row_string values = add_values(slices, slice);
    struct slice_row *row = table_add(&slices->table);
    if (row)
        *row = (struct slice_row){ { function, names_find_thread(names, slice->thread) }, slice->begin_ns, dur_ns,
                                   dur_ns > inside_ns ? dur_ns - inside_ns : 0, slice->depth, slice->flags,
                                   values, find_spent(slices, slice) };
}

static struct table *make_slices(void)
{
    struct slices_table *slices = calloc(1, sizeof *slices);
    if (!slices)
        return NULL;
    table_init(&slices->table, &slices_kind, &slices->sink, sizeof(struct slice_row));
    slices->sink = (struct sink){ .process = begin_slices_process, .thread = begin_slices_thread,
                                  .slice = add_slice_row };
    return &slices->table;
}

static void free_slices(struct table *table)
{
    struct slices_table *slices = (struct slices_table *)table;
    forget_levels(slices);
    free(slices);
}

const struct table_kind slices_kind = {
    .name = "slices", .columns = slice_columns, .n_columns = sizeof slice_columns / sizeof *slice_columns,
    .make = make_slices, .free = free_slices,
};
