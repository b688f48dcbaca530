/* Keeps the longest of many items, in memory for `max` of them: the shortest one that is kept makes room for a longer
 * one. Of items of the same length the earlier one counts as longer. */
#ifndef LONGEST_H
#define LONGEST_H

#include <stddef.h>
#include <stdint.h>

/* A call or a task. */
struct longest_item {
    uint64_t ns;                        /* its length */
    uint64_t begin_ns;
    uint32_t function, thread;          /* numbers of the owner's */
    uint32_t flags;                     /* enum slice_flag */
    uint64_t slices, running_ns;        /* of a task: while it ran */
};

struct longest {
    struct longest_item *items;         /* owned: free(items); in no order */
    size_t n, capacity;
};

/* Returns 0, or -1 when out of memory. */
int longest_add(struct longest *longest, size_t max, const struct longest_item *item);

/* Sorts what is kept, the longest first; nothing may be added after that. */
void longest_sort(struct longest *longest);

#endif
