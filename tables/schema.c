#include "schema.h"

#include <stdlib.h>
#include <string.h>

/* What a schema consists of; its private_data. */
struct schema_memory {
    char *metadata;
    struct ArrowSchema *children;
    struct ArrowSchema **pointers;      /* to the children */
    struct ArrowSchema dictionary;
};

static void release_schema(struct ArrowSchema *schema)
{
    struct schema_memory *memory = schema->private_data;
    ARROW_RELEASE_CHILDREN(schema);
    free(memory->metadata);
    free(memory->children);
    free(memory->pointers);
    free(memory);
    schema->release = NULL;
}

static char *put_int32(char *to, size_t number)
{
    int32_t value = (int32_t)number;
    memcpy(to, &value, sizeof value);
    return to + sizeof value;
}

static char *put_sized(char *to, const char *text)
{
    size_t size = strlen(text);
    to = put_int32(to, size);
    memcpy(to, text, size);
    return to + size;
}

/* Encodes metadata: how many entries; of each key and value the size and the bytes. Returns NULL when out of memory. */
static char *encode_metadata(const struct schema_entry *entries, size_t n)
{
    size_t size = sizeof(int32_t);
    for (size_t i = 0; i < n; i++)
        size += 2 * sizeof(int32_t) + strlen(entries[i].key) + strlen(entries[i].value);
    char *bytes = malloc(size);
    if (!bytes)
        return NULL;
    char *to = put_int32(bytes, n);
    for (size_t i = 0; i < n; i++) {
        to = put_sized(to, entries[i].key);
        to = put_sized(to, entries[i].value);
    }
    return bytes;
}

/* Makes a schema without children. Returns its memory, or NULL when out of memory: then it is released. */
static struct schema_memory *begin_schema(struct ArrowSchema *schema, const char *format, const char *name,
                                          const struct schema_entry *metadata, size_t n)
{
    struct schema_memory *memory = calloc(1, sizeof *memory);
    *schema = (struct ArrowSchema){ .format = format, .name = name };
    if (!memory)
        return NULL;
    schema->release = release_schema;
    schema->private_data = memory;
    if (n && !(memory->metadata = encode_metadata(metadata, n))) {
        release_schema(schema);
        return NULL;
    }
    schema->metadata = memory->metadata;
    return memory;
}

static int make_column_schema(struct ArrowSchema *schema, const struct column *column)
{
    static const char *const formats[] = {
        [COLUMN_INT64] = "l", [COLUMN_INT32] = "i", [COLUMN_FLOAT64] = "g", [COLUMN_BOOL] = "b", [COLUMN_TEXT] = "i",
        [COLUMN_STRING] = "u",
    };
    const struct schema_entry metadata[] = { { "description", column->about }, { "unit", column->unit } };
    struct schema_memory *memory = begin_schema(schema, formats[column->type], column->name, metadata,
                                                column->unit ? 2 : 1);
    if (!memory)
        return -1;
    if (column->type != COLUMN_BOOL && column->type != COLUMN_FLOAT64)
        schema->flags = ARROW_FLAG_NULLABLE;
    if (column->type != COLUMN_TEXT)
        return 0;
    if (!begin_schema(&memory->dictionary, "u", "", NULL, 0)) {
        release_schema(schema);
        return -1;
    }
    schema->dictionary = &memory->dictionary;
    return 0;
}

int schema_make(struct ArrowSchema *out, const struct column *const *columns, size_t n,
                const struct schema_entry *metadata, size_t n_metadata)
{
    struct schema_memory *memory = begin_schema(out, "+s", "", metadata, n_metadata);
    if (!memory)
        return -1;
    memory->children = calloc(n + 1, sizeof *memory->children);
    memory->pointers = calloc(n + 1, sizeof *memory->pointers);
    out->children = memory->pointers;
    bool has_failed = !memory->children || !memory->pointers;
    for (size_t i = 0; i < n && !has_failed; i++) {
        memory->pointers[i] = &memory->children[i];
        has_failed = make_column_schema(&memory->children[i], columns[i]) < 0;
        if (!has_failed)
            out->n_children++;
    }
    if (!has_failed)
        return 0;
    release_schema(out);
    return -1;
}
