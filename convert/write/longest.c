/* A heap: an item is never longer than the two at 2i + 1 and 2i + 2, so [0] is the shortest. */
#include "longest.h"

#include <stdbool.h>
#include <stdlib.h>

#include "format/array.h"

static bool is_shorter(const struct longest_item *a, const struct longest_item *b)
{
    return a->ns != b->ns ? a->ns < b->ns : a->begin_ns > b->begin_ns;
}

static void swap_items(struct longest_item *a, struct longest_item *b)
{
    struct longest_item item = *a;
    *a = *b;
    *b = item;
}

static void raise_item(struct longest *longest, size_t i)
{
    for (; i > 0 && is_shorter(&longest->items[i], &longest->items[(i - 1) / 2]); i = (i - 1) / 2)
        swap_items(&longest->items[i], &longest->items[(i - 1) / 2]);
}

static void sink_item(struct longest *longest, size_t i)
{
    for (;;) {
        size_t shortest = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < longest->n; child++)
            if (is_shorter(&longest->items[child], &longest->items[shortest]))
                shortest = child;
        if (shortest == i)
            return;
        swap_items(&longest->items[i], &longest->items[shortest]);
        i = shortest;
    }
}

int longest_add(struct longest *longest, size_t max, const struct longest_item *item)
{
    if (longest->n == max) {
        if (is_shorter(&longest->items[0], item)) {
            longest->items[0] = *item;
            sink_item(longest, 0);
        }
        return 0;
    }
    if (pnr_array_reserve(&longest->items, &longest->capacity, longest->n + 1) < 0)
        return -1;
    longest->items[longest->n] = *item;
    raise_item(longest, longest->n++);
    return 0;
}

static int by_length(const void *a, const void *b)
{
    return is_shorter(a, b) ? 1 : is_shorter(b, a) ? -1 : 0;
}

void longest_sort(struct longest *longest)
{
    if (longest->n)
        qsort(longest->items, longest->n, sizeof *longest->items, by_length);
}
