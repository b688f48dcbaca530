#include "profile.h"

#include <stdlib.h>

/* A profile while it is made. A capture does not choose the numbers of its functions, so a fixed hash will do. */
struct profile_maker {
    const struct call_tree *tree;
    const uint32_t *groups;
    bool has_callers;
    struct profile_line *lines;         /* owned, like the next */
    uint32_t *slots;                    /* index of the line + 1, 0 = empty */
    size_t n, capacity;                 /* of slots; lines are three quarters of that */
};

static size_t home_line(uint32_t group, uint32_t caller, size_t capacity)
{
    uint64_t hash = ((uint64_t)caller << 32 | group) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)((hash ^ hash >> 32) * UINT64_C(0xd6e8feb86659fd93) >> 32) & (capacity - 1);
}

/* Returns the slot of the line, or the empty one where it belongs. */
static size_t find_line_slot(const struct profile_maker *maker, uint32_t group, uint32_t caller)
{
    size_t at = home_line(group, caller, maker->capacity);
    for (; maker->slots[at]; at = (at + 1) & (maker->capacity - 1)) {
        const struct profile_line *line = &maker->lines[maker->slots[at] - 1];
        if (line->group == group && line->caller == caller)
            break;
    }
    return at;
}

static int grow_lines(struct profile_maker *maker)
{
    size_t capacity = maker->capacity ? 2 * maker->capacity : 256;
    struct profile_line *lines = realloc(maker->lines, capacity / 4 * 3 * sizeof *lines);
    if (!lines)
        return -1;
    maker->lines = lines;
    uint32_t *slots = calloc(capacity, sizeof *slots);
    if (!slots)
        return -1;
    free(maker->slots);
    maker->slots = slots;
    maker->capacity = capacity;
    for (size_t i = 0; i < maker->n; i++)
        slots[find_line_slot(maker, lines[i].group, lines[i].caller)] = (uint32_t)i + 1;
    return 0;
}

/* Returns the line, which is added if it is new; NULL when out of memory. */
static struct profile_line *find_line(struct profile_maker *maker, uint32_t group, uint32_t caller)
{
    if (maker->n == maker->capacity / 4 * 3 && grow_lines(maker) < 0)
        return NULL;
    size_t at = find_line_slot(maker, group, caller);
    if (!maker->slots[at]) {
        maker->lines[maker->n] = (struct profile_line){ .group = group, .caller = caller };
        maker->slots[at] = (uint32_t)++maker->n;
    }
    return &maker->lines[maker->slots[at] - 1];
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
    size_t at[2];
    int n = find_node_lines(maker, node, at);
    for (int i = 0; i < n; i++) {
        struct profile_line *line = &maker->lines[at[i]];
        if (line->n_open++ == 0) {
            line->primitive_calls += from->calls;
            line->cumulative_ns += from->total_ns;
        }
        line->calls += from->calls;
        line->self_ns += self_ns;
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
    struct profile_maker maker = { .tree = tree, .groups = groups, .has_callers = has_callers };
    int result = 0;
    uint32_t open = 0, node = 0;        /* open: the node entered last */
    while (result == 0 && (node = call_tree_next(tree, node)) != 0) {
        for (; open != tree->nodes[node].parent; open = tree->nodes[open].parent)
            leave_node_lines(&maker, open);
        result = enter_node_lines(&maker, node);
        open = node;
    }
    free(maker.slots);
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
