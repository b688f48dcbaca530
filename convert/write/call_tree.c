/* Nodes and functions are found by tables of their indices. Nothing is ever removed. */
#include "call_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/slices/subjects.h"
#include "format/array.h"
#include "format/table.h"

#define NO_NODE UINT32_MAX
#define NO_FUNCTION UINT32_MAX

struct tree_slot {
    uint64_t key;
    uint32_t index;                     /* of a node or function */
};

struct thread {
    uint32_t function;                  /* the root's */
    uint32_t node;                      /* 0 = not yet */
    uint32_t sampled;                   /* as in struct sink_thread */
};

struct call_tree_state {
    bool has_roots;
    struct pnr_table by_stack, by_name; /* of struct tree_slot */
    size_t node_capacity, function_capacity;
    const struct symbols *symbols;      /* of the present process; borrowed, like the next */
    const struct samples *samples;      /* or NULL */
    uint64_t zero_ns;
    uint32_t *known;                    /* by function number - 1: index in the tree + 1, 0 = not yet; owned */
    uint32_t process;                   /* the root's function */
    struct thread *threads;             /* of the present process; owned */
    size_t n_threads;
};

/* Breaks the tree for good, as it is out of memory. */
static void fail_tree(struct call_tree *tree)
{
    tree->sink.is_broken = true;
}

/* ---- functions ---- */

static uint64_t hash_string(uint64_t hash, struct pnr_string string)
{
    hash = pnr_table_hash(hash, string.size);
    for (uint32_t at = 0; at < string.size; at += 8) {
        uint64_t word = 0;
        memcpy(&word, string.bytes + at, string.size - at < 8 ? string.size - at : 8);
        hash = pnr_table_hash(hash, word);
    }
    return hash;
}

/* Returns a key for the table of functions: an odd number. */
static uint64_t hash_symbol(const struct call_tree *tree, const struct symbol *symbol, enum call_type type)
{
    uint64_t hash = pnr_table_hash(tree->state->by_name.secret ^ type, (uint64_t)symbol->line << 8 | symbol->kind);
    hash = hash_string(hash, symbol->module);
    hash = hash_string(hash, symbol->name);
    return hash_string(hash, symbol->file) | 1;
}

static bool is_equal_string(struct pnr_string a, struct pnr_string b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.bytes, b.bytes, a.size) == 0);
}

static struct pnr_string copy_string(char **to, struct pnr_string string)
{
    struct pnr_string copied = { *to, string.size };
    if (string.size)
        memcpy(*to, string.bytes, string.size);
    *to += string.size;
    return copied;
}

static int add_tree_function(struct call_tree *tree, const struct symbol *symbol, enum call_type type)
{
    if (pnr_array_reserve(&tree->functions, &tree->state->function_capacity, tree->n_functions + 1) < 0)
        return -1;
    char *bytes = malloc((size_t)symbol->module.size + symbol->name.size + symbol->file.size + 1);
    if (!bytes)
        return -1;
    struct call_function *function = &tree->functions[tree->n_functions++];
    *function = (struct call_function){ .symbol = *symbol, .type = type };
    function->symbol.module = copy_string(&bytes, symbol->module);     /* first: call_tree_free() frees that */
    function->symbol.name = copy_string(&bytes, symbol->name);
    function->symbol.file = copy_string(&bytes, symbol->file);
    return 0;
}

/* Returns the index of the function, which is added if it is new; NO_FUNCTION when out of memory. */
static uint32_t find_function(struct call_tree *tree, const struct symbol *symbol, enum call_type type)
{
    if (tree->sink.is_broken)           /* then a slot may be without its function */
        return NO_FUNCTION;
    for (uint64_t key = hash_symbol(tree, symbol, type);; key += 2) {
        size_t n_before = tree->state->by_name.n;
        struct tree_slot *slot = pnr_table_add(&tree->state->by_name, key);
        if (!slot)
            break;
        if (tree->state->by_name.n > n_before) {
            slot->index = tree->n_functions;
            if (add_tree_function(tree, symbol, type) < 0)
                break;
            return slot->index;
        }
        const struct call_function *found = &tree->functions[slot->index];
        if (found->type == type && found->symbol.line == symbol->line && found->symbol.kind == symbol->kind &&
            is_equal_string(found->symbol.name, symbol->name) &&
            is_equal_string(found->symbol.module, symbol->module) &&
            is_equal_string(found->symbol.file, symbol->file))
            return slot->index;
    }
    fail_tree(tree);
    return NO_FUNCTION;
}

static uint32_t find_named_function(struct call_tree *tree, const char *name, size_t size, enum call_type type)
{
    return find_function(tree, &(struct symbol){ .name = { name, (uint32_t)size } }, type);
}

uint32_t call_tree_function(struct call_tree *tree, uint32_t number)
{
    struct call_tree_state *state = tree->state;
    const struct symbol *symbol = symbols_function(state->symbols, number);
    if (!symbol) {
        char name[48];
        int size = snprintf(name, sizeof name, "[unknown function %u]", (unsigned)number);
        return find_named_function(tree, name, (size_t)size, CALL_UNKNOWN);
    }
    if (!state->known[number - 1]) {
        uint32_t index = find_function(tree, symbol, CALL_FUNCTION);
        if (index == NO_FUNCTION)
            return index;
        state->known[number - 1] = index + 1;
    }
    return state->known[number - 1] - 1;
}

static uint32_t tree_subject(struct call_tree *tree, enum pnr_subject subject)
{
    const char *name = subject_name(subject);
    return find_named_function(tree, name, strlen(name), CALL_NO_FUNCTION);
}

/* ---- nodes ---- */

static int add_node(struct call_tree *tree, uint32_t parent, uint32_t function)
{
    if (pnr_array_reserve(&tree->nodes, &tree->state->node_capacity, tree->n_nodes + 1) < 0)
        return -1;
    struct call_node *nodes = tree->nodes;
    uint32_t index = tree->n_nodes++, last = nodes[parent].last_child;
    nodes[index] = (struct call_node){ .parent = parent, .function = function,
                                       .next = last ? nodes[last].next : index };
    if (last)
        nodes[last].next = index;
    nodes[parent].last_child = index;
    return 0;
}

/* Returns the node of the function in its parent, which is added if it is new; NO_NODE when there are too many. */
static uint32_t find_node(struct call_tree *tree, uint32_t parent, uint32_t function)
{
    if (parent == NO_NODE || function == NO_FUNCTION || tree->sink.is_broken)
        return NO_NODE;
    uint64_t key = ((uint64_t)parent << 32 | function) + 1;
    struct tree_slot *slot = pnr_table_find(&tree->state->by_stack, key);
    if (slot)
        return slot->index;
    if (tree->n_nodes == CALL_TREE_MAX)
        return NO_NODE;
    if (!(slot = pnr_table_add(&tree->state->by_stack, key)) || add_node(tree, parent, function) < 0) {
        fail_tree(tree);
        return NO_NODE;
    }
    return slot->index = tree->n_nodes - 1;
}

/* ---- the sink ---- */

static void forget_tree_process(struct call_tree_state *state)
{
    free(state->known);
    free(state->threads);
    state->known = NULL;
    state->threads = NULL;
    state->n_threads = 0;
}

static void begin_tree_process(struct sink *sink, const struct sink_process *process)
{
    struct call_tree *tree = (struct call_tree *)sink;
    struct call_tree_state *state = tree->state;
    forget_tree_process(state);
    state->symbols = process->symbols;
    state->samples = process->samples;
    state->zero_ns = process->zero_ns;
    state->known = calloc((size_t)process->symbols->n_functions + 1, sizeof *state->known);
    if (!state->known)
        fail_tree(tree);
    else if (state->has_roots)
        state->process = find_named_function(tree, process->name.bytes, process->name.size, CALL_ROOT);
}

static void begin_tree_thread(struct sink *sink, const struct sink_thread *thread)
{
    static const char greenlets[] = "greenlets";
    struct call_tree *tree = (struct call_tree *)sink;
    struct call_tree_state *state = tree->state;
    if (sink->is_broken || !(state->has_roots || state->samples))
        return;
    if (pnr_array_reserve(&state->threads, &state->n_threads, (size_t)thread->thread + 1) < 0) {
        fail_tree(tree);
        return;
    }
    state->threads[thread->thread] = (struct thread){ .sampled = thread->sampled };
    if (!state->has_roots)
        return;
    struct pnr_string name = thread->name;
    if (thread->is_greenlet)
        name = (struct pnr_string){ greenlets, sizeof greenlets - 1 };
    state->threads[thread->thread].function = find_named_function(tree, name.bytes, name.size, CALL_ROOT);
}

/* Returns the node that contains the thread's outermost slices. */
static uint32_t find_thread_root(struct call_tree *tree, uint32_t thread)
{
    if (!tree->state->has_roots)
        return 0;
    struct thread *root = &tree->state->threads[thread];
    if (!root->node)
        root->node = find_node(tree, find_node(tree, 0, tree->state->process), root->function);
    return root->node;
}

static uint32_t enter_node(struct sink *sink, uint32_t parent, uint32_t thread, uint32_t function,
                           enum pnr_subject subject)
{
    struct call_tree *tree = (struct call_tree *)sink;
    if (sink->is_broken)
        return NO_NODE;
    return find_node(tree, parent ? parent : find_thread_root(tree, thread),
                     pnr_subject_is_named(subject) ? call_tree_function(tree, function)
                                                   : tree_subject(tree, subject));
}

void spent_time_add(struct spent_time *sum, const struct spent_time *spent)
{
    sum->known_ns += spent->known_ns;
    for (int what = 0; what < SAMPLES_WHATS; what++)
        sum->ns[what] += spent->ns[what];
}

/* Adds what the thread spent in the slice. */
static void count_spent(const struct call_tree_state *state, struct call_node *node, const struct slice *slice)
{
    struct spent_time spent = samples_spent(state->samples, state->threads[slice->thread].sampled,
                                            state->zero_ns + slice->begin_ns, state->zero_ns + slice->end_ns);
    spent_time_add(&node->spent, &spent);
}

static void count_slice(struct sink *sink, const struct slice *slice)
{
    struct call_tree *tree = (struct call_tree *)sink;
    if (slice->cookie == NO_NODE) {
        tree->n_excluded++;
        return;
    }
    struct call_node *node = &tree->nodes[slice->cookie];
    uint64_t ns = slice->end_ns - slice->begin_ns;
    node->calls++;
    node->total_ns += ns;
    if (ns > node->max_ns)
        node->max_ns = ns;
    if (tree->state->samples && !sink->is_broken)
        count_spent(tree->state, node, slice);
    if (durations_add(&tree->functions[node->function].durations, ns) < 0)
        fail_tree(tree);
}

/* Returns the index in functions of the estimated calls of a function. */
static uint32_t find_estimated(struct call_tree *tree, uint32_t number)
{
    uint32_t function = call_tree_function(tree, number);
    if (function == NO_FUNCTION || tree->functions[function].type != CALL_FUNCTION)
        return NO_FUNCTION;
    const struct symbol symbol = tree->functions[function].symbol;     /* the array may move */
    return find_function(tree, &symbol, CALL_ESTIMATED);
}

static void count_hiding_slice(struct sink *sink, const struct slice *slice, const struct hidden_calls *calls, size_t n)
{
    struct call_tree *tree = (struct call_tree *)sink;
    count_slice(sink, slice);
    for (size_t i = 0; i < n; i++) {
        uint32_t node = find_node(tree, slice->cookie, find_estimated(tree, calls[i].function));
        if (node == NO_NODE)
            continue;
        tree->nodes[node].estimated_calls += calls[i].calls;
        tree->nodes[node].estimated_ns += calls[i].ns;
    }
}

static void count_resume(struct sink *sink, uint32_t function, bool is_first, uint64_t suspended_ns)
{
    struct call_tree *tree = (struct call_tree *)sink;
    uint32_t index = sink->is_broken ? NO_FUNCTION : call_tree_function(tree, function);
    if (index == NO_FUNCTION)
        return;
    tree->functions[index].n_frames += is_first;
    tree->functions[index].suspended_ns += suspended_ns;
}

/* ---- the tree ---- */

struct call_tree *call_tree_new(bool has_roots)
{
    struct call_tree *tree = calloc(1, sizeof *tree);
    if (!tree || !(tree->state = calloc(1, sizeof *tree->state)))
        goto fail_tree;
    tree->sink = (struct sink){ .process = begin_tree_process, .thread = begin_tree_thread, .slice = count_slice,
                                .hiding_slice = count_hiding_slice, .enter = enter_node, .resume = count_resume };
    tree->state->has_roots = has_roots;
    tree->state->by_stack = tree->state->by_name = (struct pnr_table){ .slot_size = sizeof(struct tree_slot),
                                                                       .secret = pnr_table_secret() };
    if (pnr_array_reserve(&tree->nodes, &tree->state->node_capacity, 1) < 0)
        goto fail_tree;
    tree->nodes[tree->n_nodes++] = (struct call_node){ .parent = 0 };
    return tree;
fail_tree:
    call_tree_free(tree);
    return NULL;
}

void call_tree_settle(struct call_tree *tree)
{
    for (uint32_t i = 0; i < tree->n_nodes; i++) {
        struct call_node *node = &tree->nodes[i];
        node->calls += (uint64_t)(node->estimated_calls + 0.5);
        if (node->calls)
            node->total_ns += (uint64_t)(node->estimated_ns + 0.5);
        node->estimated_calls = node->estimated_ns = 0;
    }
}

void call_tree_free(struct call_tree *tree)
{
    if (!tree)
        return;
    for (uint32_t i = 0; i < tree->n_functions; i++) {
        free((char *)tree->functions[i].symbol.module.bytes);
        durations_clear(&tree->functions[i].durations);
    }
    free(tree->functions);
    free(tree->nodes);
    if (tree->state) {
        forget_tree_process(tree->state);
        pnr_table_clear(&tree->state->by_stack);
        pnr_table_clear(&tree->state->by_name);
    }
    free(tree->state);
    free(tree);
}

static bool is_listed(const struct call_tree *tree, uint32_t node)
{
    return tree->nodes[node].calls || tree->functions[tree->nodes[node].function].type == CALL_ROOT;
}

/* Returns the first of the children from `child` on that has calls or is a root, else 0. */
static uint32_t find_listed(const struct call_tree *tree, uint32_t child, uint32_t last)
{
    while (!is_listed(tree, child)) {
        if (child == last)
            return 0;
        child = tree->nodes[child].next;
    }
    return child;
}

uint32_t call_tree_skip(const struct call_tree *tree, uint32_t node)
{
    for (; node; node = tree->nodes[node].parent) {
        uint32_t last = tree->nodes[tree->nodes[node].parent].last_child;
        uint32_t sibling = node == last ? 0 : find_listed(tree, tree->nodes[node].next, last);
        if (sibling)
            return sibling;
    }
    return 0;
}

uint32_t call_tree_next(const struct call_tree *tree, uint32_t node)
{
    uint32_t last = tree->nodes[node].last_child;
    uint32_t child = last ? find_listed(tree, tree->nodes[last].next, last) : 0;
    return child ? child : call_tree_skip(tree, node);
}

uint64_t call_tree_self(const struct call_tree *tree, uint32_t node)
{
    uint64_t inside = 0;
    uint32_t last = tree->nodes[node].last_child;
    for (uint32_t child = last; child;) {
        inside += tree->nodes[child].total_ns;
        child = tree->nodes[child].next;
        if (child == last)
            break;
    }
    return tree->nodes[node].total_ns > inside ? tree->nodes[node].total_ns - inside : 0;
}

static uint64_t without(uint64_t all, uint64_t part)
{
    return all > part ? all - part : 0;
}

struct spent_time call_tree_self_spent(const struct call_tree *tree, uint32_t node)
{
    struct spent_time self = tree->nodes[node].spent, inside = { .known_ns = 0 };
    uint32_t last = tree->nodes[node].last_child;
    for (uint32_t child = last; child;) {
        spent_time_add(&inside, &tree->nodes[child].spent);
        child = tree->nodes[child].next;
        if (child == last)
            break;
    }
    self.known_ns = without(self.known_ns, inside.known_ns);
    for (int what = 0; what < SAMPLES_WHATS; what++)
        self.ns[what] = without(self.ns[what], inside.ns[what]);
    return self;
}

size_t call_tree_name_size(const struct call_function *function)
{
    return (size_t)function->symbol.module.size + 2 + function->symbol.name.size;
}

/* A string of 0 bytes may have none. */
static char *put_name_part(char *to, struct pnr_string part)
{
    if (part.size)
        memcpy(to, part.bytes, part.size);
    return to + part.size;
}

char *call_tree_put_name(char *to, const struct call_function *function)
{
    const struct symbol *symbol = &function->symbol;
    if (function->type == CALL_ESTIMATED)
        *to++ = '~';
    to = put_name_part(to, symbol->module);
    if (symbol->module.size && symbol->name.size)
        *to++ = '.';
    return put_name_part(to, symbol->name);
}
