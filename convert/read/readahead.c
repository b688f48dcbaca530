#include "readahead.h"

#include <stdlib.h>

/* Enough that none is waited for, as long as blocks are taken in the order in which they were started. */
#define MAX_SLOTS 4

struct slot {
    struct job job;                     /* first: a job is a slot */
    const struct readahead *readahead;
    const void *key;                    /* NULL: free */
    struct pnr_block_header header;
    struct pnr_block_coder *coder;      /* owned, like the next two */
    void *data;
    struct pnr_record *records;
    struct placing *placing;            /* owned; made when first needed */
    struct placing_count placed;
    bool spreads, is_ok;
};

struct readahead {
    struct jobs *jobs;
    uint64_t ticks_per_second;
    struct slot slots[MAX_SLOTS];
};

static bool spread_slot(struct slot *slot)
{
    if (!slot->placing && !(slot->placing = placing_new(slot->readahead->ticks_per_second)))
        return false;
    placing_apply(slot->placing, &slot->header, slot->records, &slot->placed);
    return true;
}

static void decode_slot(struct job *job)
{
    struct slot *slot = (struct slot *)job;
    struct pnr_err err;
    slot->is_ok = pnr_block_decode(slot->coder, &slot->header, slot->data, slot->records, &err) == 0;
    if (slot->is_ok && slot->spreads)
        slot->is_ok = spread_slot(slot);
}

struct readahead *readahead_new(struct jobs *jobs, uint64_t ticks_per_second)
{
    struct readahead *readahead = calloc(1, sizeof *readahead);
    if (!readahead)
        return NULL;
    readahead->jobs = jobs;
    readahead->ticks_per_second = ticks_per_second;
    for (size_t i = 0; i < MAX_SLOTS; i++) {
        struct slot *slot = &readahead->slots[i];
        slot->job.execute = decode_slot;
        slot->readahead = readahead;
        slot->coder = pnr_block_coder_new();
        slot->data = malloc(pnr_block_data_bound());
        slot->records = malloc(PNR_BLOCK_RECORDS * sizeof *slot->records);
        if (!slot->coder || !slot->data || !slot->records) {
            readahead_free(readahead);
            return NULL;
        }
    }
    return readahead;
}

void readahead_free(struct readahead *readahead)
{
    if (!readahead)
        return;
    for (size_t i = 0; i < MAX_SLOTS; i++) {
        struct slot *slot = &readahead->slots[i];
        jobs_wait(readahead->jobs, &slot->job);
        pnr_block_coder_free(slot->coder);
        free(slot->data);
        free(slot->records);
        placing_free(slot->placing);
    }
    free(readahead);
}

/* Finds the slot of a key. Returns NULL when there is none. */
static struct slot *find_slot(struct readahead *readahead, const void *key)
{
    for (size_t i = 0; i < MAX_SLOTS; i++)
        if (readahead->slots[i].key == key)
            return &readahead->slots[i];
    return NULL;
}

void *readahead_buffer(struct readahead *readahead)
{
    struct slot *slot = find_slot(readahead, NULL);
    return slot ? slot->data : NULL;
}

void readahead_start(struct readahead *readahead, const void *key, const struct pnr_block_header *header, bool spreads)
{
    struct slot *slot = find_slot(readahead, NULL);
    slot->key = key;
    slot->header = *header;
    slot->spreads = spreads && (header->flags & PNR_BLOCK_SPARSE);
    jobs_start(readahead->jobs, &slot->job);
}

bool readahead_take(struct readahead *readahead, const void *key, struct pnr_block_header *header,
                    struct pnr_record **records, struct placing_count *placed)
{
    struct slot *slot = find_slot(readahead, key);
    if (!slot)
        return false;
    jobs_wait(readahead->jobs, &slot->job);
    slot->key = NULL;
    if (!slot->is_ok)
        return false;
    struct pnr_record *unused = *records;
    *records = slot->records;
    *header = slot->header;
    if (slot->spreads)
        *placed = slot->placed;
    slot->records = unused;
    return true;
}
