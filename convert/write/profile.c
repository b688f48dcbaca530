#include "profile.h"

#include <stdlib.h>

#include "format/array.h"
#include "format/table.h"

struct line_slot {
    uint64_t key;
    size_t index;                       /* of the line */
};

/* A profile while it is made. */
struct profile_maker {
    const struct call_tree *tree;
    const uint32_t *groups;
    bool has_callers;
    struct profile_line *lines;         /* owned, like the next */
    size_t n, capacity;
    struct pnr_table slots;             /* of struct line_slot. No secret: a capture does not choose the numbers of its
                                           functions */
};

/* Returns the line, which is added if it is new; NULL when out of memory. */
static struct profile_line *find_line(struct profile_maker *maker, uint32_t group, uint32_t caller)
{
    if (pnr_array_reserve(&maker->lines, &maker->capacity, maker->n + 1) < 0)
        return NULL;
    struct line_slot *slot = pnr_table_add(&maker->slots, ((uint64_t)caller << 32 | group) + 1);
    if (!slot)
        return NULL;
    if (maker->slots.n > maker->n) {
        slot->index = maker->n++;
        maker->lines[slot->index] = (struct profile_line){ .group = group, .caller = caller };
    }
    return &maker->lines[slot->index];
}

static uint32_t group_of(const struct profile_maker *maker, uint32_t node)
{
    uint32_t function = maker->tree->nodes[node].function;
    return maker->groups ? maker->groups[function] : function;
}

/* Finds the lines in which a node counts. Returns how many, or -1 when out of memory. */
static int find_node_lines(struct profile_maker *maker, uint32_t node, size_t at[2])
{
    uint32_t parent = maker->tree->nodes[node].parent, group = group_of(maker, node);
    int n = maker->has_callers && parent ? 2 : 1;
    for (int i = 0; i < n; i++) {
        struct profile_line *line = find_line(maker, group, i == 0 ? PROFILE_ALL : group_of(maker, parent));
        if (!line)
            return -1;
        at[i] = (size_t)(line - maker->lines);
    }
    return n;
}

static int enter_node_lines(struct profile_maker *maker, uint32_t node)
{
    const struct call_node *from = &maker->tree->nodes[node];
    uint64_t self_ns = call_tree_self(maker->tree, node);
    struct spent_time self_spent = call_tree_self_spent(maker->tree, node);
    size_t at[2];
    int n = find_node_lines(maker, node, at);
    for (int i = 0; i < n; i++) {
        struct profile_line *line = &maker->lines[at[i]];
        if (line->n_open++ == 0) {
            line->primitive_calls += from->calls;
            line->cumulative_ns += from->total_ns;
            spent_time_add(&line->cumulative_spent, &from->spent);
        }
        line->calls += from->calls;
        line->self_ns += self_ns;
        spent_time_add(&line->self_spent, &self_spent);
        line->sum_ns += from->total_ns;
        if (from->max_ns > line->max_ns)
            line->max_ns = from->max_ns;
    }
    return n < 0 ? -1 : 0;
}

static void leave_node_lines(struct profile_maker *maker, uint32_t node)
{
    size_t at[2];
    int n = find_node_lines(maker, node, at);   /* they exist */
    for (int i = 0; i < n; i++)
        maker->lines[at[i]].n_open--;
}

static int by_group(const void *a, const void *b)
{
    const struct profile_line *x = a, *y = b;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    return x->caller < y->caller ? -1 : x->caller > y->caller;
}

int profile_make(struct profile *profile, const struct call_tree *tree, const uint32_t *groups, bool has_callers)
{
    struct profile_maker maker = { .tree = tree, .groups = groups, .has_callers = has_callers,
                                   .slots = { .slot_size = sizeof(struct line_slot) } };
    int result = 0;
    uint32_t open = 0, node = 0;        /* open: the node entered last */
    while (result == 0 && (node = call_tree_next(tree, node)) != 0) {
        for (; open != tree->nodes[node].parent; open = tree->nodes[open].parent)
            leave_node_lines(&maker, open);
        result = enter_node_lines(&maker, node);
        open = node;
    }
    pnr_table_clear(&maker.slots);
    *profile = (struct profile){ maker.lines, maker.n };
    if (result < 0)
        profile_clear(profile);
    else if (profile->n)
        qsort(profile->lines, profile->n, sizeof *profile->lines, by_group);
    return result;
}

void profile_clear(struct profile *profile)
{
    free(profile->lines);
    *profile = (struct profile){ NULL, 0 };
}
