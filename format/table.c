#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#define MIN_CAPACITY 256

uint64_t pnr_table_secret(void)
{
    const void *random = (const void *)getauxval(AT_RANDOM);    /* 16 bytes, drawn by the kernel for this process */
    uint64_t secret = (uintptr_t)&random;                       /* where the stack lies, which the kernel draws, too */
    if (random)
        memcpy(&secret, random, sizeof secret);
    return secret;
}

static int grow_table(struct pnr_table *table)
{
    struct pnr_table grown = *table;
    grown.capacity = table->capacity ? 2 * table->capacity : MIN_CAPACITY;
    if (!(grown.slots = calloc(grown.capacity, table->slot_size)))
        return -1;
    for (void *slot = NULL; (slot = pnr_table_next(table, slot));)
        memcpy(pnr_table_probe(&grown, *(uint64_t *)slot), slot, table->slot_size);
    free(table->slots);
    *table = grown;
    return 0;
}

void *pnr_table_add(struct pnr_table *table, uint64_t key)
{
    uint64_t *slot = pnr_table_find(table, key);
    if (slot)
        return slot;
    if (table->n >= table->capacity / 4 * 3 && grow_table(table) < 0)
        return NULL;
    slot = pnr_table_probe(table, key);
    *slot = key;
    table->n++;
    return slot;
}

/* Moves each later slot of the run back into the hole, unless it would come to lie before its home. */
void pnr_table_remove(struct pnr_table *table, void *slot)
{
    size_t mask = table->capacity - 1, hole = (size_t)((char *)slot - (char *)table->slots) / table->slot_size;
    for (size_t i = (hole + 1) & mask; pnr_table_key(table, i); i = (i + 1) & mask) {
        if (((i - pnr_table_home(table, pnr_table_key(table, i))) & mask) < ((i - hole) & mask))
            continue;
        memcpy(pnr_table_slot(table, hole), pnr_table_slot(table, i), table->slot_size);
        hole = i;
    }
    memset(pnr_table_slot(table, hole), 0, table->slot_size);
    table->n--;
}

void *pnr_table_next(const struct pnr_table *table, const void *slot)
{
    size_t i = slot ? (size_t)((const char *)slot - (const char *)table->slots) / table->slot_size + 1 : 0;
    while (i < table->capacity && !pnr_table_key(table, i))
        i++;
    return i < table->capacity ? pnr_table_slot(table, i) : NULL;
}

void pnr_table_clear(struct pnr_table *table)
{
    free(table->slots);
    table->slots = NULL;
    table->n = table->capacity = 0;
}
