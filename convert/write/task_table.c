#include "task_table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/array.h"
#include "format/table.h"
#include "task_waits.h"

/* A task that has not ended. */
struct running_task {
    uint64_t task;                      /* the key */
    uint32_t function;                  /* its index in the tree */
    uint64_t since_ns;                  /* of its last event */
    bool is_suspended;                  /* it has been */
    uint32_t what, where;               /* that it waits for since then: as in struct task_wait */
};

/* What all tasks of one coroutine did. */
struct task_sum {
    uint32_t function;
    uint64_t n, runs;
    uint64_t running_ns, suspended_ns, longest_ns;
};

struct task_table {
    struct sink sink;                   /* first: a sink is a table */
    struct call_tree *tree;             /* for the names of coroutines; it counts nothing */
    struct pnr_table live;              /* of struct running_task. No secret: a capture does not choose the numbers of tasks */
    struct task_sum *sums;              /* by function of the tree; owned */
    size_t n;
    struct task_waits waits;
};

/* ---- the sink ---- */

static void begin_table_process(struct sink *sink, const struct sink_process *process)
{
    struct task_table *table = (struct task_table *)sink;
    table->tree->sink.process(&table->tree->sink, process);
    sink->is_broken |= table->tree->sink.is_broken;
}

/* Returns what the tasks of the function did; NULL when out of memory. */
static struct task_sum *find_task_sum(struct task_table *table, uint32_t function)
{
    if (table->tree->sink.is_broken || pnr_array_reserve_number(&table->sums, &table->n, function) != 0)
        return NULL;
    table->sums[function].function = function;
    return &table->sums[function];
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
    if (task_waits_add(&table->waits, task->function, task->what, task->where, ns - task->since_ns) < 0)
        table->sink.is_broken = true;
}

static void count_task_event(struct sink *sink, const struct task_event *event)
{
    struct task_table *table = (struct task_table *)sink;
    struct running_task *task = sink->is_broken ? NULL : pnr_table_add(&table->live, event->task);
    if (task && event->phase == TASK_BEGIN)
        task->function = call_tree_function(table->tree, event->function);
    struct task_sum *sum = task ? find_task_sum(table, task->function) : NULL;
    if (!sum) {
        sink->is_broken = true;
        return;
    }
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
    return x->function < y->function ? -1 : x->function > y->function;
}

static int put_json_tasks(struct writer *writer, const struct task_table *table, uint64_t n_lost)
{
    writer_format(writer, "{\"lost_events\":%" PRIu64 ",\"tasks\":[", n_lost);
    for (size_t i = 0; i < table->n; i++) {
        const struct task_sum *sum = &table->sums[i];
        writer_format(writer, "%s\n{", i ? "," : "");
        if (top_put_json_names(writer, &table->tree->functions[sum->function]) < 0)
            return -1;
        writer_format(writer, "\"tasks\":%" PRIu64 ",\"runs\":%" PRIu64 ",\"running_ns\":%" PRIu64 ",\"suspended_ns\":%"
                      PRIu64 ",\"longest_run_ns\":%" PRIu64, sum->n, sum->runs, sum->running_ns, sum->suspended_ns,
                      sum->longest_ns);
        if (task_waits_put_json(writer, &table->waits, table->tree, sum->function) < 0)
            return -1;
        writer_format(writer, "}");
    }
    writer_format(writer, "\n]}\n");
    return 0;
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
        if (top_put_table_name(writer, &table->tree->functions[sum->function], 0) < 0)
            return -1;
        writer_format(writer, "\n");
    }
    if (n < table->n)
        writer_format(writer, "and %zu more coroutines; --json has all\n", table->n - n);
    return task_waits_put_table(writer, &table->waits, table->tree);
}

int task_table_write(struct task_table *table, const struct top_form *form, struct writer *writer)
{
    size_t n = 0;
    if (table->sink.is_broken)
        return -1;
    for (size_t i = 0; i < table->n; i++)
        if (table->sums[i].n)
            table->sums[n++] = table->sums[i];
    table->n = n;
    if (n)
        qsort(table->sums, n, sizeof *table->sums, by_running);
    task_waits_sort(&table->waits);
    return form->is_json ? put_json_tasks(writer, table, form->n_lost) : put_table_tasks(writer, table);
}
