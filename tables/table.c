#include "table.h"

#include <string.h>

#include "table_kinds.h"

const struct table_kind *const table_kinds[] = { &slices_kind, &functions_kind, &stacks_kind, &counters_kind,
                                                 &flows_kind, NULL };

const struct table_kind *table_find(const char *name)
{
    for (const struct table_kind *const *kind = table_kinds; *kind; kind++)
        if (strcmp((*kind)->name, name) == 0)
            return *kind;
    return NULL;
}

void table_init(struct table *table, const struct table_kind *kind, struct sink *sink, size_t row_size)
{
    *table = (struct table){ .kind = kind, .sink = sink, .batch = { .row_size = row_size } };
    names_init(&table->names);
}

void table_free(struct table *table)
{
    if (!table)
        return;
    batch_clear(&table->batch);
    names_clear(&table->names);
    table->kind->free(table);
}

void *table_add(struct table *table)
{
    void *row = table->names.is_out_of_memory ? NULL : batch_add(&table->batch);
    table->sink->is_broken |= !row;
    return row;
}
