#include "task_waits.h"

#include <inttypes.h>
#include <stdlib.h>

#include "format/array.h"
#include "json.h"
#include "top.h"

struct numbered {
    uint64_t key;
    uint32_t number;                    /* from 1 on */
};

/* Returns the number of a pair, which is new if it is as high as there are; 0 when out of memory. */
static uint32_t number_of(struct pnr_table *table, uint32_t a, uint32_t b)
{
    if (!table->capacity)
        *table = (struct pnr_table){ .slot_size = sizeof(struct numbered), .secret = pnr_table_secret() };
    struct numbered *numbered = pnr_table_add(table, ((uint64_t)a << 32 | b) + 1);
    if (numbered && !numbered->number)
        numbered->number = (uint32_t)table->n;
    return numbered ? numbered->number : 0;
}

int task_waits_add(struct task_waits *waits, uint32_t row, uint32_t coroutine, uint32_t what, uint32_t where, uint64_t ns)
{
    uint32_t pair = number_of(&waits->pairs, what, where);
    uint32_t number = pair ? number_of(&waits->numbers, row, pair) : 0;
    if (!number || pnr_array_reserve(&waits->waits, &waits->capacity, number) < 0)
        return -1;
    struct task_wait *wait = &waits->waits[number - 1];
    if (number > waits->n) {
        *wait = (struct task_wait){ row, coroutine, what, where, 0, 0 };
        waits->n = number;
    }
    wait->n++;
    wait->ns += ns;
    return 0;
}

static int by_time(const void *a, const void *b)
{
    const struct task_wait *x = a, *y = b;
    if (x->ns != y->ns)
        return x->ns > y->ns ? -1 : 1;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    if (x->what != y->what)
        return x->what < y->what ? -1 : 1;
    return x->where < y->where ? -1 : x->where > y->where;
}

static int by_row_and_time(const void *a, const void *b)
{
    const struct task_wait *x = a, *y = b;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return by_time(a, b);
}

void task_waits_sort(struct task_waits *waits)
{
    if (waits->n)
        qsort(waits->waits, waits->n, sizeof *waits->waits, by_row_and_time);
}

/* Returns the index of the first one of a row, or where it would be. */
static size_t find_first_wait(const struct task_waits *waits, uint32_t row)
{
    size_t low = 0, high = waits->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (waits->waits[middle].row < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- JSON ---- */

static int put_json_name(struct writer *writer, const char *key, const struct call_function *function)
{
    char *bytes = malloc(call_tree_name_size(function));
    if (!bytes)
        return -1;
    struct pnr_string name = { bytes, (uint32_t)(call_tree_put_name(bytes, function) - bytes) };
    int result = json_put_member(writer, key, name);
    free(bytes);
    return result;
}

int task_waits_put_json(struct writer *writer, const struct task_waits *waits, const struct call_tree *tree,
                        uint32_t row)
{
    size_t first = find_first_wait(waits, row);
    writer_format(writer, ",\"waits\":[");
    for (size_t i = first; i < waits->n && waits->waits[i].row == row; i++) {
        const struct task_wait *wait = &waits->waits[i];
        writer_format(writer, i > first ? ",{" : "{");
        if ((wait->what && put_json_name(writer, "for", &tree->functions[wait->what - 1]) < 0) ||
            (wait->where && put_json_name(writer, "in", &tree->functions[wait->where - 1]) < 0))
            return -1;
        writer_format(writer, "\"count\":%" PRIu64 ",\"ns\":%" PRIu64 "}", wait->n, wait->ns);
    }
    writer_format(writer, "]");
    return 0;
}

/* ---- the table ---- */

static int put_table_wait(struct writer *writer, const struct task_wait *wait, const struct call_tree *tree)
{
    top_cell waited;
    top_format_time(waited, wait->ns);
    writer_format(writer, "%8" PRIu64 "  %8s  ", wait->n, waited);
    if (top_put_table_name(writer, &tree->functions[wait->coroutine], 0) < 0)
        return -1;
    writer_format(writer, " for ");
    if (!wait->what)
        writer_format(writer, "what is not known");
    else if (top_put_table_name(writer, &tree->functions[wait->what - 1], 0) < 0)
        return -1;
    if (wait->where && wait->where - 1 != wait->coroutine) {
        writer_format(writer, ", in ");
        if (top_put_table_name(writer, &tree->functions[wait->where - 1], 0) < 0)
            return -1;
    }
    writer_format(writer, "\n");
    return 0;
}

int task_waits_put_table(struct writer *writer, struct task_waits *waits, const struct call_tree *tree)
{
    size_t n = waits->n < TOP_MAX_LINES ? waits->n : TOP_MAX_LINES;
    if (!n)
        return 0;
    qsort(waits->waits, waits->n, sizeof *waits->waits, by_time);
    writer_format(writer, "\n%8s  %8s  which coroutine, and for what\n", "times", "waited");
    for (size_t i = 0; i < n; i++)
        if (put_table_wait(writer, &waits->waits[i], tree) < 0)
            return -1;
    if (n < waits->n)
        writer_format(writer, "and %zu more; --json has all\n", waits->n - n);
    return 0;
}

void task_waits_clear(struct task_waits *waits)
{
    free(waits->waits);
    pnr_table_clear(&waits->pairs);
    pnr_table_clear(&waits->numbers);
}
