/* A hash table of slots: structs of the caller's that begin with their key, a uint64_t other than 0.
 *
 *     struct visits { uint64_t key; uint32_t n; };
 *     struct pnr_table table = { .slot_size = sizeof(struct visits), .secret = pnr_table_secret() };
 *     struct visits *visits = pnr_table_add(&table, key);         a new slot is 0 except for its key
 *     for (visits = NULL; (visits = pnr_table_next(&table, visits));)
 *         ...                                                     in no order
 *     pnr_table_clear(&table);
 *
 * Slots lie in the table itself and move: a pointer to one lasts until the next pnr_table_add() or pnr_table_remove().
 * Open addressing with linear probing, at most three quarters full. What has no key of 64 bits is found by a hash of
 * it: a caller that finds something else under that key tries key + 1. */
#ifndef PNR_TABLE_H
#define PNR_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct pnr_table {
    void *slots;                        /* owned; at first all is 0 except slot_size and secret */
    size_t slot_size;                   /* a multiple of 8 */
    size_t n, capacity;                 /* slots in use; in all: a power of two, or 0 */
    uint64_t secret;                    /* may be 0 where nobody hostile chooses the keys */
};

/* A number that the author of a capture cannot guess. Without one he could choose keys that all have the same home
 * slot, and each would be searched for among all others. */
uint64_t pnr_table_secret(void);

/* Spreads a word over all bits, the high ones best. Chained (hash ^ next word) it hashes several words. */
static inline uint64_t pnr_table_hash(uint64_t secret, uint64_t word)
{
    word = (word ^ secret) * (secret | 1);
    return (word ^ word >> 32) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline void *pnr_table_slot(const struct pnr_table *table, size_t i)
{
    return (char *)table->slots + i * table->slot_size;
}

static inline uint64_t pnr_table_key(const struct pnr_table *table, size_t i)
{
    return *(const uint64_t *)pnr_table_slot(table, i);
}

/* The home slot of a key, from which probing starts. */
static inline size_t pnr_table_home(const struct pnr_table *table, uint64_t key)
{
    return (size_t)(pnr_table_hash(table->secret, key) >> 32) & (table->capacity - 1);
}

/* The slot of the key, or the free one where it belongs: capacity is not 0. */
static inline void *pnr_table_probe(const struct pnr_table *table, uint64_t key)
{
    size_t i = pnr_table_home(table, key);
    while (pnr_table_key(table, i) && pnr_table_key(table, i) != key)
        i = (i + 1) & (table->capacity - 1);
    return pnr_table_slot(table, i);
}

/* Finds the slot of a key; NULL when there is none. */
static inline void *pnr_table_find(const struct pnr_table *table, uint64_t key)
{
    void *slot = table->capacity ? pnr_table_probe(table, key) : NULL;
    return slot && *(uint64_t *)slot ? slot : NULL;
}

/* Finds the slot of a key, or makes it; NULL when out of memory. */
void *pnr_table_add(struct pnr_table *table, uint64_t key);

/* Removes a slot of the table. */
void pnr_table_remove(struct pnr_table *table, void *slot);

/* The slot after this one, the first one after NULL; NULL at the end. Nothing is added or removed meanwhile. */
void *pnr_table_next(const struct pnr_table *table, const void *slot);

/* Removes all slots and frees their memory; slot_size and secret stay. */
void pnr_table_clear(struct pnr_table *table);

#endif
