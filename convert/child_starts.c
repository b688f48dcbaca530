#include "child_starts.h"

#include <stdlib.h>
#include <string.h>

#include "identities.h"

struct child_start {
    uint64_t ticks;                     /* of the parent's clock */
    uint64_t *positions;                /* the child's */
};

static int by_start(const void *a, const void *b)
{
    const struct child_start *x = a, *y = b;
    return x->ticks < y->ticks ? -1 : x->ticks > y->ticks;
}

/* Ids of other machines are others'. */
static bool is_same_capture(const struct reader *a, const struct reader *b)
{
    const char *slash = strrchr(reader_path(a), '/');
    size_t n = slash ? (size_t)(slash - reader_path(a)) + 1 : 0;
    return strncmp(reader_path(a), reader_path(b), n) == 0 && !strchr(reader_path(b) + n, '/');
}

int child_starts_find(struct child_starts *children, struct reader **readers, size_t n, uint64_t *positions)
{
    uint64_t parent;
    *children = (struct child_starts){ .positions = positions, .starts = calloc(n, sizeof *children->starts) };
    if (!children->starts)
        return -1;
    for (size_t i = 1; i < n; i++) {
        const struct symbols *symbols = reader_symbols(readers[i]);
        if (symbols_number(symbols, "parent_pid", &parent) && parent == process_pid(readers[0]) &&
            is_same_capture(readers[0], readers[i]))
            children->starts[children->n++] = (struct child_start){
                timeline_ticks(reader_timeline(readers[0]), reader_start(readers[i])), &positions[i] };
    }
    qsort(children->starts, children->n, sizeof *children->starts, by_start);
    return 0;
}

uint64_t child_starts_pass(struct child_starts *children, uint64_t ticks)
{
    for (; children->next < children->n; children->next++) {
        const struct child_start *start = &children->starts[children->next];
        if (start->ticks > ticks)
            return start->ticks - 1;
        *start->positions = *children->positions;
    }
    return UINT64_MAX;
}

void child_starts_clear(struct child_starts *children)
{
    free(children->starts);
    children->starts = NULL;
    children->n = children->next = 0;
}
