#include "ahead.h"

#include <stdlib.h>

/* Enough that none is waited for, as long as the order in which they are needed is foreseen. */
#define MOST 4

struct slot {
    struct job job;                     /* first: a job is a slot */
    const void *key;                    /* NULL = free */
    struct pnr_block_header header;
    struct pnr_block_coder *coder;      /* owned, like the next two */
    void *data;
    struct pnr_record *records;
    bool is_well;
};

struct ahead {
    struct jobs *jobs;
    struct slot slots[MOST];
};

static void decode(struct job *job)
{
    struct slot *slot = (struct slot *)job;
    struct pnr_err err;
    slot->is_well = pnr_block_decode(slot->coder, &slot->header, slot->data, slot->records, &err) == 0;
}

struct ahead *ahead_new(struct jobs *jobs)
{
    struct ahead *ahead = calloc(1, sizeof *ahead);
    if (!ahead)
        return NULL;
    ahead->jobs = jobs;
    for (size_t i = 0; i < MOST; i++) {
        struct slot *slot = &ahead->slots[i];
        slot->job.run = decode;
        slot->coder = pnr_block_coder_new();
        slot->data = malloc(pnr_block_data_bound());
        slot->records = malloc(PNR_BLOCK_RECORDS * sizeof *slot->records);
        if (!slot->coder || !slot->data || !slot->records) {
            ahead_free(ahead);
            return NULL;
        }
    }
    return ahead;
}

void ahead_free(struct ahead *ahead)
{
    if (!ahead)
        return;
    for (size_t i = 0; i < MOST; i++) {
        struct slot *slot = &ahead->slots[i];
        jobs_wait(ahead->jobs, &slot->job);
        pnr_block_coder_free(slot->coder);
        free(slot->data);
        free(slot->records);
    }
    free(ahead);
}

/* The slot of that key; NULL for none. */
static struct slot *find(struct ahead *ahead, const void *key)
{
    for (size_t i = 0; i < MOST; i++)
        if (ahead->slots[i].key == key)
            return &ahead->slots[i];
    return NULL;
}

void *ahead_room(struct ahead *ahead)
{
    struct slot *slot = find(ahead, NULL);
    return slot ? slot->data : NULL;
}

void ahead_start(struct ahead *ahead, const void *key, const struct pnr_block_header *header)
{
    struct slot *slot = find(ahead, NULL);
    slot->key = key;
    slot->header = *header;
    jobs_start(ahead->jobs, &slot->job);
}

bool ahead_take(struct ahead *ahead, const void *key, struct pnr_block_header *header, struct pnr_record **records)
{
    struct slot *slot = find(ahead, key);
    if (!slot)
        return false;
    jobs_wait(ahead->jobs, &slot->job);
    slot->key = NULL;
    if (!slot->is_well)
        return false;
    struct pnr_record *given = *records;
    *records = slot->records;
    *header = slot->header;
    slot->records = given;
    return true;
}
