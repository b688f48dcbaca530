#include "report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/array.h"
#include "format/table.h"
#include "json.h"
#include "longest.h"
#include "top.h"

#define NO_ROW UINT32_MAX
#define NO_POSITION UINT32_MAX

struct report_thread {
    char *name;                         /* owned */
    uint32_t name_size, process, tid;
    bool is_greenlet;
    uint64_t slices, outermost_ns;      /* the length of the outermost ones */
    uint64_t first_ns, last_ns;         /* the begin of its first slice, the end of its last one */
};

/* A task that has not ended. */
struct live_task {
    uint64_t id;                        /* the key */
    struct longest_item item;
    uint64_t resumed_ns;
};

struct report {
    struct sink sink;                   /* first: a sink is a report */
    struct call_tree *tree;             /* owned, like all arrays */
    uint32_t process;                   /* the present one */
    struct report_thread *threads;      /* of all processes */
    size_t n_threads, thread_capacity;
    uint32_t *numbers;                  /* of the present process's threads, as the sink knows them: index in threads */
    size_t number_capacity;
    struct longest *calls;              /* of each function of the tree */
    size_t call_capacity;
    struct pnr_table live;              /* of struct live_task */
    struct longest tasks;
    uint64_t n_tasks;
};

/* ---- the sink ---- */

static void begin_report_process(struct sink *sink, const struct sink_process *process)
{
    struct report *report = (struct report *)sink;
    report->process = process->order;
    report->tree->sink.process(&report->tree->sink, process);
}

static void begin_report_thread(struct sink *sink, const struct sink_thread *thread)
{
    struct report *report = (struct report *)sink;
    char *name = malloc((size_t)thread->name.size + 1);
    report->tree->sink.thread(&report->tree->sink, thread);
    if (!name || pnr_array_reserve(&report->threads, &report->thread_capacity, report->n_threads + 1) < 0 ||
        pnr_array_reserve(&report->numbers, &report->number_capacity, (size_t)thread->thread + 1) < 0) {
        free(name);
        sink->is_broken = true;
        return;
    }
    if (thread->name.size)
        memcpy(name, thread->name.bytes, thread->name.size);
    report->numbers[thread->thread] = (uint32_t)report->n_threads;
    report->threads[report->n_threads++] = (struct report_thread){
        .name = name, .name_size = thread->name.size, .process = report->process, .tid = thread->tid,
        .is_greenlet = thread->is_greenlet, .first_ns = UINT64_MAX };
}

static uint32_t enter_report(struct sink *sink, uint32_t parent, uint32_t thread, uint32_t function,
                             enum pnr_subject subject)
{
    struct report *report = (struct report *)sink;
    return report->tree->sink.enter(&report->tree->sink, parent, thread, function, subject);
}

static bool is_root(const struct call_tree *tree, uint32_t node)
{
    return tree->functions[tree->nodes[node].function].type == CALL_ROOT;
}

/* Keeps the call if it is one of the longest of its function. Returns 0, or -1 when out of memory. */
static int keep_call(struct report *report, const struct slice *slice, uint32_t thread)
{
    uint32_t function = report->tree->nodes[slice->cookie].function;
    size_t n_before = report->call_capacity;
    struct longest_item item = { .ns = slice->end_ns - slice->begin_ns, .begin_ns = slice->begin_ns,
                                 .function = function, .thread = thread, .flags = slice->flags };
    if (pnr_array_reserve(&report->calls, &report->call_capacity, (size_t)function + 1) < 0)
        return -1;
    for (size_t i = n_before; i < report->call_capacity; i++)
        report->calls[i] = (struct longest){ .n = 0 };
    return longest_add(&report->calls[function], REPORT_CALLS_OF_FUNCTION, &item);
}

/* Counts a slice that the tree has counted. */
static void count_report_call(struct report *report, const struct slice *slice)
{
    const struct call_tree *tree = report->tree;
    if (report->sink.is_broken || tree->sink.is_broken)
        return;
    struct report_thread *thread = &report->threads[report->numbers[slice->thread]];
    thread->slices++;
    if (slice->begin_ns < thread->first_ns)
        thread->first_ns = slice->begin_ns;
    if (slice->end_ns > thread->last_ns)
        thread->last_ns = slice->end_ns;
    if (slice->cookie >= tree->n_nodes)
        return;                         /* too many stacks: the tree counts it */
    if (is_root(tree, tree->nodes[slice->cookie].parent))
        thread->outermost_ns += slice->end_ns - slice->begin_ns;
    if (keep_call(report, slice, report->numbers[slice->thread]) < 0)
        report->sink.is_broken = true;
}

static void count_report_slice(struct sink *sink, const struct slice *slice)
{
    struct report *report = (struct report *)sink;
    report->tree->sink.slice(&report->tree->sink, slice);
    count_report_call(report, slice);
}

static void count_hiding_report_slice(struct sink *sink, const struct slice *slice, const struct hidden_calls *calls,
                                      size_t n)
{
    struct report *report = (struct report *)sink;
    report->tree->sink.hiding_slice(&report->tree->sink, slice, calls, n);
    count_report_call(report, slice);
}

static void count_report_resume(struct sink *sink, uint32_t function, bool is_first, uint64_t suspended_ns)
{
    struct report *report = (struct report *)sink;
    report->tree->sink.resume(&report->tree->sink, function, is_first, suspended_ns);
}

static void end_report_task(struct report *report, struct live_task *task, const struct task_event *event)
{
    task->item.ns = event->ns - task->item.begin_ns;
    task->item.flags = event->flags;
    if (longest_add(&report->tasks, REPORT_TASKS, &task->item) < 0)
        report->sink.is_broken = true;
    report->n_tasks++;
    pnr_table_remove(&report->live, task);
}

static void follow_task(struct sink *sink, const struct task_event *event)
{
    struct report *report = (struct report *)sink;
    if (sink->is_broken || report->tree->sink.is_broken)
        return;
    struct live_task *task = pnr_table_add(&report->live, event->task);
    uint32_t function = task && event->phase == TASK_BEGIN ? call_tree_function(report->tree, event->function) : 0;
    if (!task || report->tree->sink.is_broken) {
        sink->is_broken = true;
        return;
    }
    switch (event->phase) {
    case TASK_BEGIN:
        task->item = (struct longest_item){ .begin_ns = event->ns, .function = function,
                                            .thread = report->numbers[event->thread] };
        break;
    case TASK_RESUME:
        task->resumed_ns = event->ns;
        task->item.slices++;
        break;
    case TASK_SUSPEND:
        task->item.running_ns += event->ns - task->resumed_ns;
        break;
    case TASK_END:
        end_report_task(report, task, event);
    }
}

/* ---- the report ---- */

struct report *report_new(void)
{
    struct report *report = calloc(1, sizeof *report);
    if (!report)
        return NULL;
    report->sink = (struct sink){ .process = begin_report_process, .thread = begin_report_thread,
                                  .slice = count_report_slice,
                                  .hiding_slice = count_hiding_report_slice, .enter = enter_report,
                                  .resume = count_report_resume,
                                  .task = follow_task };
    report->live = (struct pnr_table){ .slot_size = sizeof(struct live_task) };
    report->tree = call_tree_new(true);
    if (report->tree)
        return report;
    report_free(report);
    return NULL;
}

void report_free(struct report *report)
{
    if (!report)
        return;
    for (size_t i = 0; i < report->n_threads; i++)
        free(report->threads[i].name);
    for (size_t i = 0; i < report->call_capacity; i++)
        free(report->calls[i].items);
    free(report->threads);
    free(report->numbers);
    free(report->calls);
    free(report->tasks.items);
    pnr_table_clear(&report->live);
    call_tree_free(report->tree);
    free(report);
}

struct sink *report_sink(struct report *report)
{
    return &report->sink;
}

const struct call_tree *report_tree(const struct report *report)
{
    return report->tree;
}

/* ---- threads, calls, tasks ---- */

static int put_threads(struct writer *writer, const struct report *report)
{
    writer_format(writer, "\"threads\":[");
    for (size_t i = 0; i < report->n_threads; i++) {
        const struct report_thread *thread = &report->threads[i];
        writer_format(writer, "%s\n{", i ? "," : "");
        if (json_put_member(writer, "name", (struct pnr_string){ thread->name, thread->name_size }) < 0)
            return -1;
        writer_format(writer, "\"process\":%" PRIu32 ",\"tid\":%" PRIu32 ",\"greenlet\":%s,\"slices\":%" PRIu64
                      ",\"outermost_ns\":%" PRIu64, thread->process, thread->tid,
                      thread->is_greenlet ? "true" : "false", thread->slices, thread->outermost_ns);
        if (thread->slices)
            writer_format(writer, ",\"begin_ns\":%" PRIu64 ",\"end_ns\":%" PRIu64, thread->first_ns, thread->last_ns);
        writer_format(writer, "}");
    }
    writer_format(writer, "\n]");
    return 0;
}

/* positions: of the functions in the list that is written. One has none if none of its calls has a node. */
static void put_items(struct writer *writer, const char *key, const struct longest *longest, size_t max, bool are_tasks,
                      const uint32_t *positions)
{
    static const char *const names[] = { "exception", "unfinished", "begin_unknown", "exit_missing", "cut",
                                         "noticed_late", "flow_incomplete", "inexact" };
    writer_format(writer, ",\n\"%s\":[", key);
    for (size_t i = 0; i < longest->n && i < max; i++) {
        const struct longest_item *item = &longest->items[i];
        writer_format(writer, "%s\n{\"thread\":%" PRIu32 ",\"begin_ns\":%" PRIu64 ",\"ns\":%" PRIu64, i ? "," : "",
                      item->thread, item->begin_ns, item->ns);
        if (positions[item->function] != NO_POSITION)
            writer_format(writer, ",\"function\":%" PRIu32, positions[item->function]);
        if (are_tasks)
            writer_format(writer, ",\"slices\":%" PRIu64 ",\"running_ns\":%" PRIu64, item->slices, item->running_ns);
        for (size_t flag = 0; flag < sizeof names / sizeof *names; flag++)
            if (item->flags >> flag & 1)
                writer_format(writer, ",\"%s\":true", names[flag]);
        writer_format(writer, "}");
    }
    writer_format(writer, "\n]");
}

/* Writes the longest calls of all functions. Returns 0, or -1 when out of memory. */
static int put_calls(struct writer *writer, const struct report *report, const uint32_t *positions)
{
    struct longest all = { .n = 0 };
    int result = 0;
    for (size_t i = 0; i < report->call_capacity && result == 0; i++)
        for (size_t k = 0; k < report->calls[i].n && result == 0; k++)
            result = longest_add(&all, REPORT_CALLS, &report->calls[i].items[k]);
    longest_sort(&all);
    put_items(writer, "calls", &all, REPORT_CALLS, false, positions);
    free(all.items);
    return result;
}

static void put_tasks(struct writer *writer, struct report *report, const uint32_t *positions)
{
    longest_sort(&report->tasks);
    writer_format(writer, ",\n\"n_tasks\":%" PRIu64, report->n_tasks);
    put_items(writer, "tasks", &report->tasks, REPORT_TASKS, true, positions);
}

/* ---- functions ---- */

/* Writes all functions, and fills positions. Returns 0, or -1 when out of memory. */
static int put_functions(struct writer *writer, const struct call_tree *tree, uint32_t *positions)
{
    struct profile profile;
    uint32_t n = 0;
    int result = top_make(&profile, tree);
    writer_format(writer, ",\n\"functions\":[");
    for (size_t i = 0; i < profile.n && result == 0; i++) {
        const struct profile_line *line = &profile.lines[i];
        if (tree->functions[line->group].type == CALL_ROOT)
            continue;
        positions[line->group] = n;
        writer_format(writer, "%s\n", n++ ? "," : "");
        result = top_put_function(writer, tree, line);
    }
    writer_format(writer, "\n]");
    profile_clear(&profile);
    return result;
}

/* ---- stacks ---- */

/* The nodes that are written: those with the longest total times. */
struct stack_choice {
    uint64_t *totals;                   /* of all nodes, also of roots; owned */
    uint32_t *rows;                     /* of the nodes that are written; NO_ROW = not; owned */
    uint32_t n_stacks;                  /* in the tree, without roots */
    uint64_t min_ns;                  /* what is shorter is left out */
};

static int by_total(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x > y ? -1 : x < y;
}

/* Finds the time from which on at most REPORT_STACKS nodes remain. Returns 0, or -1 when out of memory. */
static int choose_min(const struct call_tree *tree, struct stack_choice *choice)
{
    uint64_t *sorted = malloc(tree->n_nodes * sizeof *sorted);
    if (!sorted)
        return -1;
    for (uint32_t node = 0; (node = call_tree_next(tree, node));)
        if (!is_root(tree, node))
            sorted[choice->n_stacks++] = tree->nodes[node].total_ns;
    if (choice->n_stacks > REPORT_STACKS) {
        qsort(sorted, choice->n_stacks, sizeof *sorted, by_total);
        choice->min_ns = sorted[REPORT_STACKS] + 1;
    }
    free(sorted);
    return 0;
}

static int make_choice(const struct call_tree *tree, struct stack_choice *choice)
{
    *choice = (struct stack_choice){ .totals = malloc(tree->n_nodes * sizeof *choice->totals),
                                     .rows = malloc(tree->n_nodes * sizeof *choice->rows) };
    if (!choice->totals || !choice->rows || choose_min(tree, choice) < 0)
        return -1;
    for (uint32_t node = 0; node < tree->n_nodes; node++) {
        choice->totals[node] = tree->nodes[node].total_ns;
        choice->rows[node] = NO_ROW;
    }
    for (uint32_t node = tree->n_nodes; node-- > 1;)    /* a parent comes before its children */
        if (!tree->nodes[node].parent || is_root(tree, tree->nodes[node].parent))
            choice->totals[tree->nodes[node].parent] += choice->totals[node];
    return 0;
}

/* Writes [row of the parent, function or a root's name, calls, total time]. Returns 0, or -1 when out of memory. */
static int put_stack(struct writer *writer, const struct call_tree *tree, const struct stack_choice *choice,
                     uint32_t node, const uint32_t *positions)
{
    const struct call_node *one = &tree->nodes[node];
    if (one->parent)
        writer_format(writer, "[%" PRIu32 ",", choice->rows[one->parent]);
    else
        writer_format(writer, "[-1,");
    if (!is_root(tree, node))
        writer_format(writer, "%" PRIu32, positions[one->function]);
    else if (json_put_string(writer, tree->functions[one->function].symbol.name) < 0)
        return -1;
    writer_format(writer, ",%" PRIu64 ",%" PRIu64 "]", one->calls, choice->totals[node]);
    return 0;
}

static int put_stacks(struct writer *writer, const struct call_tree *tree, const uint32_t *positions)
{
    struct stack_choice choice;
    uint32_t node = 0, open = 0, depth = 0, n_rows = 0, n_put = 0;
    bool is_left_out = false;
    int result = make_choice(tree, &choice);
    writer_format(writer, ",\n\"stacks\":[");
    while (result == 0 && (node = is_left_out ? call_tree_skip(tree, node) : call_tree_next(tree, node)) != 0) {
        for (; open != tree->nodes[node].parent; open = tree->nodes[open].parent)
            depth--;
        is_left_out = !is_root(tree, node) &&
                      (choice.totals[node] < choice.min_ns || depth == REPORT_DEPTH + 2);
        if (is_left_out)
            continue;
        writer_format(writer, "%s\n", n_rows ? "," : "");
        choice.rows[node] = n_rows++;
        n_put += !is_root(tree, node);
        open = node;
        depth++;
        result = put_stack(writer, tree, &choice, node, positions);
    }
    writer_format(writer, "\n],\"left_out_stacks\":%" PRIu32, choice.n_stacks - n_put);
    free(choice.totals);
    free(choice.rows);
    return result;
}

int report_put(struct report *report, struct writer *writer)
{
    const struct call_tree *tree = report->tree;
    call_tree_settle(report->tree);
    uint32_t *positions = malloc(((size_t)tree->n_functions + 1) * sizeof *positions);
    for (uint32_t i = 0; positions && i < tree->n_functions; i++)
        positions[i] = NO_POSITION;
    int result = positions ? put_threads(writer, report) : -1;
    if (result == 0)
        result = put_functions(writer, tree, positions);
    if (result == 0)
        result = put_calls(writer, report, positions);
    if (result == 0) {
        put_tasks(writer, report, positions);
        result = put_stacks(writer, tree, positions);
    }
    free(positions);
    return result;
}
