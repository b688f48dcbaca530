/* Grows an array that its owner holds as a pointer, a number of elements and a capacity.
 *
 *     struct block_ref *blocks;           owned: free(blocks)
 *     size_t n_blocks, capacity;          both 0 at first, with blocks NULL
 *     if (pnr_array_reserve(&blocks, &capacity, n_blocks + 1) < 0)
 *         out of memory
 *     blocks[n_blocks++] = block;
 *
 * A grown array moves: pointers to its elements last until the next reservation. */
#ifndef PNR_ARRAY_H
#define PNR_ARRAY_H

#include <stddef.h>

/* Makes room for n elements in all. array: T **; capacity: size_t *. Returns 0, or -1 when out of memory; then nothing
 * has changed. */
#define pnr_array_reserve(array, capacity, n) \
    ((n) <= *(capacity) ? 0 : pnr_array_grow((array), (capacity), (n), sizeof **(array)))

/* The out-of-line half of pnr_array_reserve(): doubles, so that n appended elements are copied at most twice. */
int pnr_array_grow(void *array, size_t *capacity, size_t n, size_t element_size);

/* Makes room for the element of this number, and those before it, in an array where new elements are 0. It grows by a
 * quarter, and by a thousand at least: such arrays have as many elements as a program has functions. array, capacity,
 * and the result: as for pnr_array_reserve(). */
#define pnr_array_reserve_number(array, capacity, number) \
    ((number) < *(capacity) ? 0 : pnr_array_grow_zeroed((array), (capacity), (number), sizeof **(array)))

/* The out-of-line half of pnr_array_reserve_number(). */
int pnr_array_grow_zeroed(void *array, size_t *capacity, size_t number, size_t element_size);

#endif
