#include "table_kinds.h"

#include <stdlib.h>

#include "convert/write/call_tree.h"

struct stack_row {
    struct row of;
    uint64_t id, parent_id;
    uint64_t calls, total_ns, self_ns, max_ns;
    uint32_t depth;
    uint32_t process, thread;           /* numbers of texts */
    uint32_t is_estimated;
};

/* What a node of the call tree has of those around it. */
struct stack_context {
    uint32_t depth;
    uint32_t process, thread;
};

struct stacks_table {
    struct table table;
    struct call_tree *tree;             /* owned, like the next */
    struct stack_context *contexts;         /* by node; made when all is converted */
    uint32_t next;                      /* node */
};

#define STACK_NUMBER(name, unit, about) \
    { #name, unit, about, COLUMN_INT64, OF_ROW, offsetof(struct stack_row, name), 0, 0 }

static const struct column stack_columns[] = {
    STACK_NUMBER(id, NULL, "number of the stack, unique in the capture"),
    STACK_NUMBER(parent_id, NULL, "number of the stack without its innermost function; null for one function alone"),
    { "depth", NULL, "how many functions are around the innermost one", COLUMN_INT32, OF_ROW,
      offsetof(struct stack_row, depth), 0, 0 },
    COLUMNS_OF_FUNCTION,
    { "process", NULL, "command of the processes", COLUMN_TEXT, OF_ROW, offsetof(struct stack_row, process), 0,
      TEXT_PROCESS },
    { "thread", NULL, "name of the threads; `greenlets` for all of these", COLUMN_TEXT, OF_ROW,
      offsetof(struct stack_row, thread), 0, TEXT_THREAD },
    STACK_NUMBER(calls, NULL, "calls with exactly this stack"),
    STACK_NUMBER(total_ns, "ns", "their duration together"),
    STACK_NUMBER(self_ns, "ns", "their duration without that of the calls in them"),
    STACK_NUMBER(max_ns, "ns", "duration of the longest one; null if calls are estimated"),
    { "is_estimated", NULL, "the calls were not recorded, as the function was muted", COLUMN_BOOL, OF_ROW,
      offsetof(struct stack_row, is_estimated), 1, 0 },
    COLUMNS_OF_CAPTURE,
};

static const struct call_function *function_of(const struct call_tree *tree, uint32_t node)
{
    return &tree->functions[tree->nodes[node].function];
}

/* Finds the context of a root, a process or one of its threads. */
static struct stack_context find_root_context(struct stacks_table *stacks, uint32_t node)
{
    const struct call_tree *tree = stacks->tree;
    struct pnr_string name = function_of(tree, node)->symbol.name;
    struct names *names = &stacks->table.names;
    uint32_t parent = tree->nodes[node].parent;
    if (!parent)
        return (struct stack_context){ 0, names_add_text(names, TEXT_PROCESS, name), NAMES_NOTHING };
    return (struct stack_context){ 0, stacks->contexts[parent].process, names_add_text(names, TEXT_THREAD, name) };
}

static int add_stack_row(struct stacks_table *stacks, uint32_t node)
{
    const struct call_tree *tree = stacks->tree;
    const struct call_node *from = &tree->nodes[node];
    const struct call_function *function = function_of(tree, node);
    struct stack_context *context = &stacks->contexts[node];
    bool is_outermost = function_of(tree, from->parent)->type == CALL_ROOT;
    *context = stacks->contexts[from->parent];
    context->depth = is_outermost ? 0 : context->depth + 1;
    bool is_estimated = function->type == CALL_ESTIMATED;
    uint32_t number = names_add_function(&stacks->table.names, &function->symbol, is_estimated ? "~" : "",
                                         function->type == CALL_NO_FUNCTION ? "panopticon"
                                                                            : symbol_category(&function->symbol));
    struct stack_row *row = table_add(&stacks->table);
    if (!row)
        return -1;
    *row = (struct stack_row){
        .of = { number, 0 }, .id = node, .parent_id = is_outermost ? COLUMN_NULL : from->parent, .calls = from->calls,
        .total_ns = from->total_ns, .self_ns = call_tree_self(tree, node),
        .max_ns = is_estimated ? COLUMN_NULL : from->max_ns, .depth = context->depth, .process = context->process,
        .thread = context->thread, .is_estimated = is_estimated };
    return 0;
}

/* Prepares the walk over all nodes. Returns 0, or -1 when out of memory. */
static int begin_stacks(struct stacks_table *stacks)
{
    call_tree_settle(stacks->tree);
    stacks->table.n_left_out = stacks->tree->n_excluded;
    stacks->contexts = calloc(stacks->tree->n_nodes, sizeof *stacks->contexts);
    stacks->next = call_tree_next(stacks->tree, 0);
    return stacks->contexts ? 0 : -1;
}

static int fill_stacks(struct table *table)
{
    struct stacks_table *stacks = (struct stacks_table *)table;
    if (!stacks->contexts && begin_stacks(stacks) < 0)
        return -1;
    while (stacks->next && table->batch.n < TABLE_BATCH_ROWS) {
        if (function_of(stacks->tree, stacks->next)->type == CALL_ROOT)
            stacks->contexts[stacks->next] = find_root_context(stacks, stacks->next);
        else if (add_stack_row(stacks, stacks->next) < 0)
            return -1;
        stacks->next = call_tree_next(stacks->tree, stacks->next);
    }
    return stacks->next != 0;
}

static struct table *make_stacks(void)
{
    struct stacks_table *stacks = calloc(1, sizeof *stacks);
    if (!stacks || !(stacks->tree = call_tree_new(true))) {
        free(stacks);
        return NULL;
    }
    table_init(&stacks->table, &stacks_kind, &stacks->tree->sink, sizeof(struct stack_row));
    return &stacks->table;
}

static void free_stacks(struct table *table)
{
    struct stacks_table *stacks = (struct stacks_table *)table;
    call_tree_free(stacks->tree);
    free(stacks->contexts);
    free(stacks);
}

const struct table_kind stacks_kind = {
    .name = "stacks", .columns = stack_columns, .n_columns = sizeof stack_columns / sizeof *stack_columns,
    .has_estimates = true, .make = make_stacks, .fill = fill_stacks, .free = free_stacks,
};
