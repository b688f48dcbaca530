#include "task_table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/array.h"
#include "format/block.h"
#include "format/table.h"
#include "json.h"
#include "task_waits.h"

/* More rows with a name are not made: then a task counts in the row of its coroutine. */
#define MAX_NAMED_ROWS 4096

/* Which row of the table, by the coroutine or by a hash of its name, too. */
struct row_number {
    uint64_t key;
    uint32_t row;
};

/* A task that has not ended. */
struct running_task {
    uint64_t task;                      /* the key */
    uint32_t row;
    uint64_t since_ns;                  /* of its last event */
    bool is_suspended;                  /* it has been */
    uint32_t what, where;               /* that it waits for since then: as in struct task_wait */
};

/* What all tasks of one coroutine did, those that have a name of their own apart. */
struct task_sum {
    uint32_t row;
    uint32_t function;                  /* its index in the tree */
    struct pnr_string name;             /* owned; empty: of all others */
    uint64_t n, runs;
    uint64_t running_ns, suspended_ns, longest_ns;
};

struct task_table {
    struct sink sink;                   /* first: a sink is a table */
    struct call_tree *tree;             /* for the names of coroutines; it counts nothing */
    struct pnr_table live;              /* of struct running_task. No secret: a capture does not choose the numbers of tasks */
    struct pnr_table plain, named;      /* of struct row_number */
    struct task_sum *sums;              /* by row; owned */
    size_t n, capacity;
    struct task_waits waits;
};

/* ---- the sink ---- */

static void begin_table_process(struct sink *sink, const struct sink_process *process)
{
    struct task_table *table = (struct task_table *)sink;
    table->tree->sink.process(&table->tree->sink, process);
    sink->is_broken |= table->tree->sink.is_broken;
}

/* True for what asyncio calls a task that the program gives no name. */
static bool is_default_name(struct pnr_string name)
{
    bool is_default = name.size > 5 && memcmp(name.bytes, "Task-", 5) == 0;
    for (uint32_t i = 5; i < name.size; i++)
        is_default &= name.bytes[i] >= '0' && name.bytes[i] <= '9';
    return is_default || !name.size;
}

/* Adds a row. Returns its number from 1 on, or 0 when out of memory. */
static uint32_t add_task_row(struct task_table *table, uint32_t function, struct pnr_string name)
{
    char *copy = malloc(name.size + 1u);
    if (!copy || pnr_array_reserve(&table->sums, &table->capacity, table->n + 1) < 0) {
        free(copy);
        return 0;
    }
    if (name.size)
        memcpy(copy, name.bytes, name.size);
    table->sums[table->n] = (struct task_sum){ .row = (uint32_t)table->n, .function = function,
                                               .name = { copy, name.size } };
    return (uint32_t)++table->n;
}

/* Finds the row of a key, or adds it. Returns its number from 1 on, or 0 when out of memory. */
static uint32_t find_task_row(struct task_table *table, struct pnr_table *numbers, uint64_t key, uint32_t function,
                              struct pnr_string name)
{
    struct row_number *number = pnr_table_add(numbers, key);
    if (number && !number->row)
        number->row = add_task_row(table, function, name);
    return number ? number->row : 0;
}

/* Returns the number of the row for a task, from 1 on; 0 when out of memory. */
static uint32_t row_of_task(struct task_table *table, uint32_t function, struct pnr_string name)
{
    const struct pnr_string none = { "", 0 };
    if (table->tree->sink.is_broken)
        return 0;
    uint32_t row = 0;
    uint64_t key = pnr_table_hash(table->named.secret ^ pnr_check(name.bytes, name.size), function);
    if (!is_default_name(name) && (table->named.n < MAX_NAMED_ROWS || pnr_table_find(&table->named, key + !key))) {
        row = find_task_row(table, &table->named, key + !key, function, name);
        const struct task_sum *sum = row ? &table->sums[row - 1] : NULL;
        if (!sum || (sum->function == function && sum->name.size == name.size &&
                     memcmp(sum->name.bytes, name.bytes, name.size) == 0))
            return row;
    }
    return find_task_row(table, &table->plain, (uint64_t)function + 1, function, none);
}

/* Returns 1 + the function's index in the tree; 0 for one that is not known. */
static uint32_t index_awaited(struct task_table *table, uint32_t function)
{
    return function ? call_tree_function(table->tree, function) + 1 : 0;
}

/* Counts that a task was suspended, up to ns. */
static void count_task_wait(struct task_table *table, struct task_sum *sum, const struct running_task *task, uint64_t ns)
{
    sum->suspended_ns += ns - task->since_ns;
    if (task_waits_add(&table->waits, sum->row, sum->function, task->what, task->where, ns - task->since_ns) < 0)
        table->sink.is_broken = true;
}

static void count_task_event(struct sink *sink, const struct task_event *event)
{
    struct task_table *table = (struct task_table *)sink;
    struct running_task *task = sink->is_broken ? NULL : pnr_table_add(&table->live, event->task);
    if (task && event->phase == TASK_BEGIN)
        task->row = row_of_task(table, call_tree_function(table->tree, event->function), event->name);
    if (!task || !task->row) {
        sink->is_broken = true;
        return;
    }
    struct task_sum *sum = &table->sums[task->row - 1];
    uint64_t ns = event->ns - task->since_ns;
    switch (event->phase) {
    case TASK_BEGIN:
        sum->n++;
        break;
    case TASK_RESUME:
        if (task->is_suspended)
            count_task_wait(table, sum, task, event->ns);
        sum->runs++;
        break;
    case TASK_SUSPEND:
        sum->running_ns += ns;
        sum->longest_ns = ns > sum->longest_ns ? ns : sum->longest_ns;
        task->is_suspended = true;
        task->what = index_awaited(table, event->awaited.what);
        task->where = index_awaited(table, event->awaited.where);
        break;
    case TASK_END:
        if (ns)
            count_task_wait(table, sum, task, event->ns);
        pnr_table_remove(&table->live, task);
        return;
    }
    task->since_ns = event->ns;
}

/* ---- the table ---- */

struct task_table *task_table_new(void)
{
    struct task_table *table = calloc(1, sizeof *table);
    if (!table)
        return NULL;
    table->sink = (struct sink){ .process = begin_table_process, .task = count_task_event };
    table->live = (struct pnr_table){ .slot_size = sizeof(struct running_task) };
    table->plain = (struct pnr_table){ .slot_size = sizeof(struct row_number) };
    table->named = (struct pnr_table){ .slot_size = sizeof(struct row_number), .secret = pnr_table_secret() };
    if ((table->tree = call_tree_new(false)))
        return table;
    task_table_free(table);
    return NULL;
}

void task_table_free(struct task_table *table)
{
    if (!table)
        return;
    call_tree_free(table->tree);
    pnr_table_clear(&table->live);
    task_waits_clear(&table->waits);
    pnr_table_clear(&table->plain);
    pnr_table_clear(&table->named);
    for (size_t i = 0; i < table->n; i++)
        free((char *)table->sums[i].name.bytes);
    free(table->sums);
    free(table);
}

struct sink *task_table_sink(struct task_table *table) { return &table->sink; }

/* Sorts by the time that the tasks ran, the longest first. */
static int by_running(const void *a, const void *b)
{
    const struct task_sum *x = a, *y = b;
    if (x->running_ns != y->running_ns)
        return x->running_ns > y->running_ns ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static int put_json_tasks(struct writer *writer, const struct task_table *table, uint64_t n_lost)
{
    writer_format(writer, "{\"lost_events\":%" PRIu64 ",\"tasks\":[", n_lost);
    for (size_t i = 0; i < table->n; i++) {
        const struct task_sum *sum = &table->sums[i];
        writer_format(writer, "%s\n{", i ? "," : "");
        if (top_put_json_names(writer, &table->tree->functions[sum->function]) < 0 ||
            (sum->name.size && json_put_member(writer, "task_name", sum->name) < 0))
            return -1;
        writer_format(writer, "\"tasks\":%" PRIu64 ",\"runs\":%" PRIu64 ",\"running_ns\":%" PRIu64 ",\"suspended_ns\":%"
                      PRIu64 ",\"longest_run_ns\":%" PRIu64, sum->n, sum->runs, sum->running_ns, sum->suspended_ns,
                      sum->longest_ns);
        if (task_waits_put_json(writer, &table->waits, table->tree, sum->row) < 0)
            return -1;
        writer_format(writer, "}");
    }
    writer_format(writer, "\n]}\n");
    return 0;
}

/* Writes the name of a row after that of its coroutine: a line of valid text. Returns 0, or -1 when out of memory. */
static int put_task_name(struct writer *writer, struct pnr_string name)
{
    const struct call_function text = { .symbol = { .name = name } };
    if (!name.size)
        return 0;
    writer_format(writer, ", ");
    return top_put_table_name(writer, &text, 0);
}

static int put_table_tasks(struct writer *writer, struct task_table *table)
{
    size_t n = table->n < TOP_MAX_LINES ? table->n : TOP_MAX_LINES;
    if (!n) {
        writer_format(writer, "no tasks in the capture\n");
        return 0;
    }
    writer_format(writer, "%8s  %8s  %8s  %9s  %11s  coroutine\n", "tasks", "runs", "running", "suspended", "longest run");
    for (size_t i = 0; i < n; i++) {
        const struct task_sum *sum = &table->sums[i];
        top_cell running, suspended, longest;
        top_format_time(running, sum->running_ns);
        top_format_time(suspended, sum->suspended_ns);
        top_format_time(longest, sum->longest_ns);
        writer_format(writer, "%8" PRIu64 "  %8" PRIu64 "  %8s  %9s  %11s  ", sum->n, sum->runs, running, suspended, longest);
        if (top_put_table_name(writer, &table->tree->functions[sum->function], 0) < 0 ||
            put_task_name(writer, sum->name) < 0)
            return -1;
        writer_format(writer, "\n");
    }
    if (n < table->n)
        writer_format(writer, "and %zu more coroutines; --json has all\n", table->n - n);
    return task_waits_put_table(writer, &table->waits, table->tree);
}

int task_table_write(struct task_table *table, const struct top_form *form, struct writer *writer)
{
    if (table->sink.is_broken)
        return -1;
    if (table->n)
        qsort(table->sums, table->n, sizeof *table->sums, by_running);
    task_waits_sort(&table->waits);
    return form->is_json ? put_json_tasks(writer, table, form->n_lost) : put_table_tasks(writer, table);
}
