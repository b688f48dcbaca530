#include "lives.h"

#include "../../format/table.h"

/* The frame identities whose life has a START record. */
static struct pnr_table begun = { .slot_size = sizeof(uint64_t) };

bool rec_lives_enter(uint64_t frame, bool is_first)
{
    bool has_begun = !is_first && pnr_table_find(&begun, frame);
    if (!has_begun)
        pnr_table_add(&begun, frame);   /* without memory the next run is taken for the first one again */
    return !has_begun;
}

void rec_lives_end(uint64_t frame)
{
    uint64_t *slot = pnr_table_find(&begun, frame);
    if (slot)
        pnr_table_remove(&begun, slot);
}

void rec_lives_start(void)
{
    pnr_table_clear(&begun);
}
