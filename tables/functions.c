#include "table_kinds.h"

#include <stdlib.h>

#include "convert/write/top.h"

struct function_row {
    struct row of;
    uint64_t calls, primitive_calls;
    uint64_t total_ns, self_ns, mean_ns, p50_ns, p99_ns, max_ns;
    uint64_t flows, running_ns, suspended_ns;
    struct row_spent spent;
    uint32_t is_estimated;
};

struct functions_table {
    struct table table;
    struct call_tree *tree;             /* owned */
    struct profile profile;             /* made when all is converted */
    bool has_profile;
    size_t next;                        /* line of the profile */
};

#define FUNCTION_COLUMN(name, unit, about) \
    { #name, unit, about, COLUMN_INT64, OF_ROW, offsetof(struct function_row, name), 0, 0 }

static const struct column function_columns[] = {
    COLUMNS_OF_FUNCTION,
    FUNCTION_COLUMN(calls, NULL, "slices of the function"),
    FUNCTION_COLUMN(primitive_calls, NULL, "those that are not in another one of the function"),
    FUNCTION_COLUMN(total_ns, "ns", "duration of the primitive calls together"),
    FUNCTION_COLUMN(self_ns, "ns", "duration of all calls without that of the calls in them"),
    FUNCTION_COLUMN(mean_ns, "ns", "mean duration of a call"),
    FUNCTION_COLUMN(p50_ns, "ns", "duration that half of the calls do not exceed; null if calls are estimated"),
    FUNCTION_COLUMN(p99_ns, "ns", "duration that 99 % of the calls do not exceed; null if calls are estimated"),
    FUNCTION_COLUMN(max_ns, "ns", "duration of the longest call; null if calls are estimated"),
    FUNCTION_COLUMN(flows, NULL, "generators or coroutines that ran; null for other functions"),
    FUNCTION_COLUMN(running_ns, "ns", "duration of their slices together; null for other functions"),
    FUNCTION_COLUMN(suspended_ns, "ns", "time between their slices; null for other functions"),
    { "is_estimated", NULL, "the calls were not recorded, as the function was muted", COLUMN_BOOL, OF_ROW,
      offsetof(struct function_row, is_estimated), 1, 0 },
    COLUMNS_OF_SPENT(struct function_row, "self_", "`self_ns`"),
    COLUMNS_OF_CAPTURE,
};

static uint32_t name_call_function(struct names *names, const struct call_function *function)
{
    return names_add_function(names, &function->symbol, function->type == CALL_ESTIMATED ? "~" : "",
                              function->type == CALL_NO_FUNCTION ? "panopticon" : symbol_category(&function->symbol));
}

static int add_function_row(struct functions_table *functions, const struct profile_line *line)
{
    const struct call_function *function = &functions->tree->functions[line->group];
    bool is_continuable = top_is_continuable(function), has_durations = function->durations.n > 0;
    uint32_t number = name_call_function(&functions->table.names, function);
    struct function_row *row = table_add(&functions->table);
    if (!row)
        return -1;
    *row = (struct function_row){
        .of = { number, 0 }, .calls = line->calls, .primitive_calls = line->primitive_calls,
        .total_ns = line->cumulative_ns, .self_ns = line->self_ns, .mean_ns = line->sum_ns / line->calls,
        .p50_ns = has_durations ? top_percentile(line, function, 50) : COLUMN_NULL,
        .p99_ns = has_durations ? top_percentile(line, function, 99) : COLUMN_NULL,
        .max_ns = has_durations ? line->max_ns : COLUMN_NULL,
        .flows = is_continuable ? function->n_frames : COLUMN_NULL,
        .running_ns = is_continuable ? line->sum_ns : COLUMN_NULL,
        .suspended_ns = is_continuable ? function->suspended_ns : COLUMN_NULL,
        .spent = row_spent_of(&line->self_spent), .is_estimated = function->type == CALL_ESTIMATED };
    return 0;
}

static int fill_functions(struct table *table)
{
    struct functions_table *functions = (struct functions_table *)table;
    if (!functions->has_profile) {
        call_tree_settle(functions->tree);
        table->n_left_out = functions->tree->n_excluded;
        if (top_make(&functions->profile, functions->tree) < 0)
            return -1;
        functions->has_profile = true;
    }
    while (functions->next < functions->profile.n && table->batch.n < TABLE_BATCH_ROWS)
        if (add_function_row(functions, &functions->profile.lines[functions->next++]) < 0)
            return -1;
    return functions->next < functions->profile.n;
}

static struct table *make_functions(void)
{
    struct functions_table *functions = calloc(1, sizeof *functions);
    if (!functions || !(functions->tree = call_tree_new(false))) {
        free(functions);
        return NULL;
    }
    table_init(&functions->table, &functions_kind, &functions->tree->sink, sizeof(struct function_row));
    return &functions->table;
}

static void free_functions(struct table *table)
{
    struct functions_table *functions = (struct functions_table *)table;
    profile_clear(&functions->profile);
    call_tree_free(functions->tree);
    free(functions);
}

const struct table_kind functions_kind = {
    .name = "functions", .columns = function_columns, .n_columns = sizeof function_columns / sizeof *function_columns,
    .flows = { .flows = ~0u }, .has_estimates = true, .make = make_functions, .fill = fill_functions,
    .free = free_functions,
};
