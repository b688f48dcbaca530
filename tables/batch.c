#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "format/array.h"

/* The specification recommends that buffers begin at multiples of this, and have sizes that are. */
#define BUFFER_ALIGNMENT 64

/* Rows for which there is space at first. */
#define FIRST_ROWS (1 << 10)

/* What an array consists of; its private_data. */
struct array_memory {
    const void *buffers[3];
    void *owned[3];                     /* those of the buffers that are not in texts */
    struct texts_copy *texts;           /* that buffers belong to; or NULL */
    struct ArrowArray *children;
    struct ArrowArray **pointers;       /* to the children */
    struct ArrowArray dictionary;
};

int batch_grow(struct batch *batch)
{
    size_t capacity = batch->capacity ? 2 * batch->capacity : FIRST_ROWS;
    char *rows = realloc(batch->rows, capacity * batch->row_size);
    if (!rows)
        return -1;
    batch->rows = rows;
    batch->capacity = capacity;
    return 0;
}

char *batch_reserve_string(struct batch *batch, size_t max)
{
    if (max > INT32_MAX - batch->n_bytes ||
        pnr_array_reserve(&batch->bytes, &batch->byte_capacity, batch->n_bytes + max) < 0)
        return NULL;
    return batch->bytes + batch->n_bytes;
}

struct row_string batch_add_string(struct batch *batch, const char *end)
{
    size_t begin = batch->n_bytes;
    batch->n_bytes = (size_t)(end - batch->bytes);
    return (struct row_string){ (uint32_t)begin, (uint32_t)(batch->n_bytes - begin) };
}

void batch_clear(struct batch *batch)
{
    free(batch->rows);
    free(batch->bytes);
    *batch = (struct batch){ .row_size = batch->row_size };
}

static void release_array(struct ArrowArray *array)
{
    struct array_memory *memory = array->private_data;
    ARROW_RELEASE_CHILDREN(array);
    texts_release(memory->texts);
    for (size_t i = 0; i < sizeof memory->owned / sizeof *memory->owned; i++)
        free(memory->owned[i]);
    free(memory->children);
    free(memory->pointers);
    free(memory);
    array->release = NULL;
}

/* Makes an array without buffers and children. Returns its memory, or NULL when out of memory. */
static struct array_memory *begin_array(struct ArrowArray *array, size_t length, int64_t n_buffers)
{
    struct array_memory *memory = calloc(1, sizeof *memory);
    *array = (struct ArrowArray){ .length = (int64_t)length, .n_buffers = n_buffers };
    if (!memory)
        return NULL;
    array->buffers = memory->buffers;
    array->release = release_array;
    array->private_data = memory;
    return memory;
}

static void *allocate_buffer(struct array_memory *memory, int i, size_t size)
{
    size_t padded = (size + BUFFER_ALIGNMENT - 1) / BUFFER_ALIGNMENT * BUFFER_ALIGNMENT;
    memory->owned[i] = aligned_alloc(BUFFER_ALIGNMENT, padded ? padded : BUFFER_ALIGNMENT);
    memory->buffers[i] = memory->owned[i];
    return memory->owned[i];
}

/* ---- values ---- */

/* Where a column has its fields. */
struct fields {
    const char *rows;                   /* at the field if the row has it, else at the row's number of its owner */
    size_t row_size;
    const char *owners;                 /* at the field of the first; NULL: the row has it */
    size_t owner_size;
};

static struct fields find_fields(const struct batch *batch, const struct column *column, const struct names *names)
{
    struct fields fields = { .rows = batch->rows, .row_size = batch->row_size };
    switch (column->owner) {
    case OF_ROW:
        fields.rows += column->offset;
        break;
    case OF_FUNCTION:
        fields.rows += offsetof(struct row, function);
        fields.owners = (const char *)names->functions + column->offset;
        fields.owner_size = sizeof *names->functions;
        break;
    case OF_THREAD:
        fields.rows += offsetof(struct row, thread);
        fields.owners = (const char *)names->threads + column->offset;
        fields.owner_size = sizeof *names->threads;
        break;
    case OF_CAPTURE:                    /* it is the same one for all rows */
        fields.rows = (const char *)&names->capture + column->offset;
        fields.row_size = 0;
        break;
    }
    return fields;
}

static inline const void *field_at(const struct fields *fields, size_t i)
{
    const char *at = fields->rows + i * fields->row_size;
    return fields->owners ? fields->owners + *(const uint32_t *)at * fields->owner_size : at;
}

static size_t fill_64_bits(uint64_t *to, const struct fields *fields, size_t n, uint64_t null)
{
    size_t n_null = 0;
    for (size_t i = 0; i < n; i++) {
        to[i] = *(const uint64_t *)field_at(fields, i);
        n_null += to[i] == null;
    }
    return n_null;
}

static size_t fill_32_bits(uint32_t *to, const struct fields *fields, size_t n, uint32_t null)
{
    size_t n_null = 0;
    for (size_t i = 0; i < n; i++) {
        to[i] = *(const uint32_t *)field_at(fields, i);
        n_null += to[i] == null;
    }
    return n_null;
}

static void fill_booleans(unsigned char *to, const struct fields *fields, size_t n, uint32_t bits)
{
    memset(to, 0, (n + 7) / 8);
    for (size_t i = 0; i < n; i++)
        to[i / 8] |= (unsigned char)((*(const uint32_t *)field_at(fields, i) & bits ? 1 : 0) << i % 8);
}

/* Fills in which values are no nulls. size: of each value, 4 or 8. */
static void fill_validity(unsigned char *to, const void *values, size_t n, size_t size)
{
    memset(to, 0, (n + 7) / 8);
    for (size_t i = 0; i < n; i++) {
        bool is_null = size == 8 ? ((const uint64_t *)values)[i] == COLUMN_NULL
                                 : ((const uint32_t *)values)[i] == (uint32_t)COLUMN_NULL;
        to[i / 8] |= (unsigned char)(!is_null << i % 8);
    }
}

/* Fills in where each string begins, and how many are null; copies the bytes. Returns 0, or -1 when out of memory.
 * */
static int fill_strings(struct ArrowArray *array, struct array_memory *memory, const struct batch *batch,
                        const struct fields *fields)
{
    int32_t *offsets = allocate_buffer(memory, 1, (batch->n + 1) * sizeof *offsets);
    char *bytes = allocate_buffer(memory, 2, batch->n_bytes);
    unsigned char *validity = allocate_buffer(memory, 0, (batch->n + 7) / 8);
    int32_t end = 0;
    if (!offsets || !bytes || !validity)
        return -1;
    memset(validity, 0, (batch->n + 7) / 8);
    offsets[0] = 0;
    for (size_t i = 0; i < batch->n; i++) {
        const struct row_string *string = field_at(fields, i);
        bool is_null = string->offset == NAMES_NOTHING;
        if (!is_null) {
            memcpy(bytes + end, batch->bytes + string->offset, string->size);
            end += (int32_t)string->size;
        }
        validity[i / 8] |= (unsigned char)(!is_null << i % 8);
        array->null_count += is_null;
        offsets[i + 1] = end;
    }
    return 0;
}

/* Fills in the values of a column, and how many are null. Returns 0, or -1 when out of memory. */
static int fill_values(struct ArrowArray *array, struct array_memory *memory, const struct column *column,
                       const struct fields *fields, size_t n)
{
    size_t size = column->type == COLUMN_INT64 || column->type == COLUMN_FLOAT64 ? 8 : 4, n_null = 0;
    void *values = allocate_buffer(memory, 1, column->type == COLUMN_BOOL ? (n + 7) / 8 : n * size);
    if (!values)
        return -1;
    if (column->type == COLUMN_BOOL)
        fill_booleans(values, fields, n, column->bits);
    else if (size == 8)
        n_null = fill_64_bits(values, fields, n, COLUMN_NULL);
    else
        n_null = fill_32_bits(values, fields, n, (uint32_t)COLUMN_NULL);
    if (!n_null || column->type == COLUMN_FLOAT64)
        return 0;
    array->null_count = (int64_t)n_null;
    unsigned char *validity = allocate_buffer(memory, 0, (n + 7) / 8);
    if (!validity)
        return -1;
    fill_validity(validity, values, n, size);
    return 0;
}

/* ---- arrays ---- */

static int add_dictionary(struct ArrowArray *array, struct array_memory *memory, struct texts *texts)
{
    struct texts_copy *copy = texts_share(texts);
    if (!copy)
        return -1;
    struct array_memory *inner = begin_array(&memory->dictionary, copy->n, 3);
    if (!inner) {
        texts_release(copy);
        return -1;
    }
    inner->texts = copy;
    inner->buffers[1] = copy->offsets;
    inner->buffers[2] = copy->bytes;
    array->dictionary = &memory->dictionary;
    return 0;
}

/* Makes the array of one column. Returns 0, or -1 when out of memory: then it is released. */
static int make_column(struct ArrowArray *array, const struct batch *batch, const struct column *column,
                       struct names *names)
{
    bool has_strings = column->type == COLUMN_STRING;
    struct array_memory *memory = begin_array(array, batch->n, has_strings ? 3 : 2);
    if (!memory)
        return -1;
    const struct fields fields = find_fields(batch, column, names);
    int result = has_strings ? fill_strings(array, memory, batch, &fields)
                             : fill_values(array, memory, column, &fields, batch->n);
    if (result == 0 &&
        (column->type != COLUMN_TEXT || add_dictionary(array, memory, &names->texts[column->texts]) == 0))
        return 0;
    release_array(array);
    return -1;
}

int batch_export(struct batch *batch, const struct column *const *columns, size_t n, struct names *names,
                 struct ArrowArray *out)
{
    struct array_memory *memory = begin_array(out, batch->n, 1);
    if (!memory)
        return -1;
    memory->children = calloc(n + 1, sizeof *memory->children);
    memory->pointers = calloc(n + 1, sizeof *memory->pointers);
    out->children = memory->pointers;
    bool has_failed = !memory->children || !memory->pointers;
    for (size_t i = 0; i < n && !has_failed; i++) {
        memory->pointers[i] = &memory->children[i];
        has_failed = make_column(&memory->children[i], batch, columns[i], names) < 0;
        if (!has_failed)
            out->n_children++;
    }
    if (has_failed) {
        release_array(out);
        return -1;
    }
    batch->n = batch->n_bytes = 0;
    return 0;
}
