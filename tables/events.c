/* The tables of counters and of flows: each row is one event. */
#include "table_kinds.h"

#include <stdlib.h>

struct counter_row {
    struct row of;
    uint64_t ns;
    double value;
    uint32_t label, series;             /* numbers of texts */
};

struct flow_row {
    struct row of;
    uint64_t ns, flow;
    uint32_t phase;                     /* number of a text */
    uint32_t is_creation, is_work;
};

struct events_table {
    struct table table;
    struct sink sink;
};

static const struct column counter_columns[] = {
    { "time_ns", "ns", "time, from the start of the trace", COLUMN_INT64, OF_ROW, offsetof(struct counter_row, ns), 0,
      0 },
    { "counter", NULL, "the counter's name", COLUMN_TEXT, OF_ROW, offsetof(struct counter_row, label), 0, TEXT_LABEL },
    { "series", NULL, "which of the counter's numbers", COLUMN_TEXT, OF_ROW, offsetof(struct counter_row, series), 0,
      TEXT_SERIES },
    { "value", NULL, "the number, as it is from then on", COLUMN_FLOAT64, OF_ROW,
      offsetof(struct counter_row, value), 0, 0 },
    COLUMNS_OF_THREAD,
    COLUMNS_OF_CAPTURE,
};

static const struct column flow_columns[] = {
    { "time_ns", "ns", "time, from the start of the trace", COLUMN_INT64, OF_ROW, offsetof(struct flow_row, ns), 0, 0 },
    { "flow", NULL, "number of the flow, unique in the capture", COLUMN_INT64, OF_ROW, offsetof(struct flow_row, flow),
      0, 0 },
    { "phase", NULL, "start, step or end", COLUMN_TEXT, OF_ROW, offsetof(struct flow_row, phase), 0, TEXT_PHASE },
    { "is_creation", NULL, "of the arrow from where a generator or coroutine was made to its first slice", COLUMN_BOOL,
      OF_ROW, offsetof(struct flow_row, is_creation), 1, 0 },
    { "is_work", NULL, "of the arrow from where work was handed to a pool of threads to where it is done", COLUMN_BOOL,
      OF_ROW, offsetof(struct flow_row, is_work), 1, 0 },
    COLUMNS_OF_FUNCTION,
    COLUMNS_OF_THREAD,
    COLUMNS_OF_CAPTURE,
};

static struct events_table *events_table_of(struct sink *sink)
{
    return (struct events_table *)((char *)sink - offsetof(struct events_table, sink));
}

static void begin_events_process(struct sink *sink, const struct sink_process *process)
{
    names_process(&events_table_of(sink)->table.names, process);
}

static void begin_events_thread(struct sink *sink, const struct sink_thread *thread)
{
    names_thread(&events_table_of(sink)->table.names, thread);
}

/* Finds the number that a value is. Returns false for what is not one. */
static bool find_number(const struct pnr_value *value, double *number)
{
    switch (value->type) {
    case PNR_VALUE_INTEGER:
        *number = (double)value->integer;
        return true;
    case PNR_VALUE_FLOAT:
        *number = value->real;
        return value->real - value->real == 0;
    case PNR_VALUE_FALSE:
    case PNR_VALUE_TRUE:
        *number = value->type == PNR_VALUE_TRUE;
        return true;
    default:
        return false;
    }
}

static void add_counter_row(struct sink *sink, const struct sink_remark *remark, const struct pnr_value *value,
                            double number)
{
    struct table *table = &events_table_of(sink)->table;
    struct names *names = &table->names;
    uint32_t label = names_add_text(names, TEXT_LABEL, names_label(names, remark->label));
    uint32_t series = names_add_text(names, TEXT_SERIES, symbols_key(names->symbols, value));
    struct counter_row *row = table_add(table);
    if (row)
        *row = (struct counter_row){ { 0, names_find_thread(names, remark->thread) }, remark->ns, number, label,
                                     series };
}

static void add_counter_rows(struct sink *sink, const struct sink_remark *remark)
{
    struct pnr_value value;
    double number;
    size_t at = 0;
    if (remark->kind != PNR_COUNTER || !remark->values->bytes)
        return;
    while (!sink->is_broken && pnr_value_next(remark->values, &at, &value) > 0)
        if (find_number(&value, &number))
            add_counter_row(sink, remark, &value, number);
}

static void add_flow_row(struct sink *sink, const struct flow_event *event)
{
    static const struct pnr_string phases[] = { [FLOW_START] = { "start", 5 }, [FLOW_STEP] = { "step", 4 },
                                                [FLOW_END] = { "end", 3 } };
    struct table *table = &events_table_of(sink)->table;
    struct names *names = &table->names;
    uint32_t function = names_find_function(names, PNR_SUBJECT_PYTHON, event->function);
    uint32_t phase = names_add_text(names, TEXT_PHASE, phases[event->phase]);
    struct flow_row *row = table_add(table);
    if (row)
        *row = (struct flow_row){ { function, names_find_thread(names, event->thread) }, event->ns, event->flow, phase,
                                  event->origin == FLOW_OF_CREATION, event->origin == FLOW_OF_WORK };
}

static struct table *make_events(const struct table_kind *kind, struct sink sink, size_t row_size)
{
    struct events_table *events = calloc(1, sizeof *events);
    if (!events)
        return NULL;
    table_init(&events->table, kind, &events->sink, row_size);
    events->sink = sink;
    events->sink.process = begin_events_process;
    events->sink.thread = begin_events_thread;
    return &events->table;
}

static void free_events(struct table *table)
{
    free(table);
}

static struct table *make_counters(void)
{
    return make_events(&counters_kind, (struct sink){ .remark = add_counter_rows }, sizeof(struct counter_row));
}

static struct table *make_flows(void)
{
    return make_events(&flows_kind, (struct sink){ .flow_event = add_flow_row }, sizeof(struct flow_row));
}

const struct table_kind counters_kind = {
    .name = "counters", .columns = counter_columns, .n_columns = sizeof counter_columns / sizeof *counter_columns,
    .make = make_counters, .free = free_events,
};

const struct table_kind flows_kind = {
    .name = "flows", .columns = flow_columns, .n_columns = sizeof flow_columns / sizeof *flow_columns,
    .flows = { .flows = ~0u, .spawns = ~0u, .has_works = true }, .make = make_flows, .free = free_events,
};
