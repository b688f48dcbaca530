#include "array.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MIN_CAPACITY 16
#define MIN_NUMBERS 1024                /* by which an array of numbered elements grows */

static int set_capacity(void *array, size_t *capacity, size_t n, size_t element_size)
{
    void *elements;
    memcpy(&elements, array, sizeof elements);          /* array is a T **, whatever T is */
    if (n > SIZE_MAX / element_size || !(elements = realloc(elements, n * element_size)))
        return -1;
    memcpy(array, &elements, sizeof elements);
    *capacity = n;
    return 0;
}

int pnr_array_grow(void *array, size_t *capacity, size_t n, size_t element_size)
{
    size_t grown = 2 * *capacity > n ? 2 * *capacity : n;
    return set_capacity(array, capacity, grown < MIN_CAPACITY ? MIN_CAPACITY : grown, element_size);
}

int pnr_array_grow_zeroed(void *array, size_t *capacity, size_t number, size_t element_size)
{
    size_t before = *capacity;
    char *elements;
    if (set_capacity(array, capacity, number + before / 4 + MIN_NUMBERS, element_size) != 0)
        return -1;
    memcpy(&elements, array, sizeof elements);
    memset(elements + before * element_size, 0, (*capacity - before) * element_size);
    return 0;
}
