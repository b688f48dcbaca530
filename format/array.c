#include "array.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MIN_CAPACITY 16

int pnr_array_grow(void *array, size_t *capacity, size_t n, size_t element_size)
{
    void *elements;
    memcpy(&elements, array, sizeof elements);          /* array is a T **, whatever T is */
    size_t grown = 2 * *capacity > n ? 2 * *capacity : n;
    if (grown < MIN_CAPACITY)
        grown = MIN_CAPACITY;
    if (grown > SIZE_MAX / element_size || !(elements = realloc(elements, grown * element_size)))
        return -1;
    memcpy(array, &elements, sizeof elements);
    *capacity = grown;
    return 0;
}
