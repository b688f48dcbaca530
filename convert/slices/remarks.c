#include "remarks.h"

#include <stdlib.h>
#include <string.h>

#include "format/array.h"
#include "format/block.h"

struct suspended_span {
    uint32_t label;
    struct kept_values *kept;           /* or NULL */
};

struct suspended_frame {
    uint64_t frame;                     /* the key */
    struct suspended_span *spans;       /* the outermost first; owned */
    size_t n, capacity, next;           /* those before `next` have been resumed */
};

struct remark_flow {
    uint64_t key;
    uint64_t number;
};

void remarks_init(struct remarks *remarks)
{
    uint64_t secret = pnr_table_secret();
    *remarks = (struct remarks){ .suspended = { .slot_size = sizeof(struct suspended_frame), .secret = secret },
                                 .flows = { .slot_size = sizeof(struct remark_flow), .secret = secret } };
}

void remarks_clear(struct remarks *remarks)
{
    for (struct suspended_frame *slot = NULL; (slot = pnr_table_next(&remarks->suspended, slot));) {
        for (size_t i = slot->next; i < slot->n; i++)
            remarks_release(remarks, slot->spans[i].kept);
        free(slot->spans);
    }
    pnr_table_clear(&remarks->suspended);
    pnr_table_clear(&remarks->flows);
}

/* ---- values ---- */

uint32_t remarks_read_values(const struct pnr_record *records, uint32_t n, struct pnr_values *values,
                             unsigned char *bytes, bool *is_whole)
{
    uint64_t frame = pnr_record_frame(records[0]);
    uint32_t size = pnr_values_size(frame), n_data = 0, max = n - 1;
    *values = (struct pnr_values){ .n_left_out = pnr_values_left_out(frame) };
    *is_whole = size <= PNR_VALUES_MAX;
    if (!*is_whole)
        return 0;
    if (max > pnr_values_records(size))
        max = pnr_values_records(size);
    for (; n_data < max && pnr_record_kind(records[1 + n_data]) == PNR_DATA; n_data++)
        pnr_values_copy(records[1 + n_data], bytes + (size_t)n_data * PNR_DATA_SIZE);
    *is_whole = n_data == pnr_values_records(size);
    if (*is_whole && size) {
        values->bytes = bytes;
        values->size = size;
    }
    return n_data;
}

bool remarks_are_readable(const struct pnr_values *values)
{
    struct pnr_value value;
    size_t at = 0;
    int found = 0;
    while (values->bytes && (found = pnr_value_next(values, &at, &value)) > 0)
        ;
    return found == 0;
}

bool remarks_account(struct remarks *remarks, size_t n_before, size_t n)
{
    if (remarks->n_bytes - n_before + n > REMARKS_MAX_BYTES) {
        remarks->n_overflowed++;
        return false;
    }
    remarks->n_bytes += n - n_before;
    return true;
}

/* Takes memory for values of this size, besides what is kept. Returns NULL when that would be too much, or out of memory. */
static struct kept_values *allocate_kept(struct remarks *remarks, struct kept_values *kept, size_t n_bytes)
{
    size_t n_before = kept ? kept->size : 0, size = sizeof *kept + n_bytes;
    if (!remarks_account(remarks, n_before, size))
        return NULL;
    struct kept_values *grown = realloc(kept, size);
    if (!grown) {
        remarks->is_out_of_memory = true;
        return NULL;
    }
    grown->size = size;
    grown->values.bytes = grown->bytes;
    return grown;
}

struct kept_values *remarks_keep(struct remarks *remarks, const struct pnr_values *values)
{
    if (!values->size && !values->n_left_out)
        return NULL;
    struct kept_values *kept = allocate_kept(remarks, NULL, values->size);
    if (!kept)
        return NULL;
    kept->values = (struct pnr_values){ kept->bytes, values->size, values->n_left_out };
    kept->n_users = 1;
    if (values->size)
        memcpy(kept->bytes, values->bytes, values->size);
    return kept;
}

struct kept_values *remarks_join(struct remarks *remarks, struct kept_values *kept, const struct pnr_values *values)
{
    if (!kept)
        return remarks_keep(remarks, values);
    size_t n_bytes = kept->values.size + values->size;
    struct kept_values *both = kept;
    if (n_bytes > REMARKS_MAX_JOINED) {
        remarks->n_overflowed++;
        return kept;
    }
    if (sizeof *kept + n_bytes > kept->size)    /* twice as much as before, as there may be many more */
        both = allocate_kept(remarks, kept, n_bytes + kept->values.size);
    if (!both)
        return kept;
    if (values->size)
        memcpy(both->bytes + both->values.size, values->bytes, values->size);
    both->values.size += values->size;
    both->values.n_left_out += values->n_left_out;
    return both;
}

void remarks_release(struct remarks *remarks, struct kept_values *kept)
{
    if (!kept || --kept->n_users)
        return;
    remarks->n_bytes -= kept->size;
    free(kept);
}

/* ---- suspended spans ---- */

void remarks_suspend(struct remarks *remarks, uint64_t frame, uint32_t label, struct kept_values *kept)
{
    if (!remarks_account(remarks, 0, sizeof(struct suspended_frame))) {
        remarks_release(remarks, kept);
        return;
    }
    struct suspended_frame *slot = pnr_table_add(&remarks->suspended, frame);
    if (!slot || pnr_array_reserve(&slot->spans, &slot->capacity, slot->n + 1) < 0) {
        remarks->is_out_of_memory = true;
        remarks_release(remarks, kept);
        return;
    }
    slot->spans[slot->n++] = (struct suspended_span){ label, kept };
}

bool remarks_resume(struct remarks *remarks, uint64_t frame, uint32_t *label, struct kept_values **kept)
{
    struct suspended_frame *slot = pnr_table_find(&remarks->suspended, frame);
    if (!slot)
        return false;
    if (slot->next == slot->n) {
        free(slot->spans);
        pnr_table_remove(&remarks->suspended, slot);
        return false;
    }
    *label = slot->spans[slot->next].label;
    *kept = slot->spans[slot->next++].kept;
    remarks->n_bytes -= sizeof *slot;
    return true;
}

void remarks_forget(struct remarks *remarks, uint64_t frame)
{
    uint32_t label;
    struct kept_values *kept;
    while (remarks_resume(remarks, frame, &label, &kept))
        remarks_release(remarks, kept);
}

/* ---- flows ---- */

uint64_t remarks_find_flow(struct remarks *remarks, const struct pnr_values *values, uint64_t number, bool *is_new)
{
    struct pnr_value value;
    size_t at = 0;
    *is_new = false;
    if (!values->bytes || pnr_value_next(values, &at, &value) <= 0)
        return 0;
    uint64_t hash = pnr_table_hash(remarks->flows.secret, value.type);
    hash = pnr_table_hash(hash ^ remarks->flows.secret, (uint64_t)value.integer);
    hash = pnr_table_hash(hash ^ remarks->flows.secret, pnr_check(value.text.bytes, value.text.size));
    hash += !hash;
    struct remark_flow *flow = pnr_table_find(&remarks->flows, hash);
    if (flow)
        return flow->number;
    if (remarks->flows.n == REMARKS_MAX_FLOWS) {
        remarks->n_overflowed++;
        return 0;
    }
    if (!(flow = pnr_table_add(&remarks->flows, hash))) {
        remarks->is_out_of_memory = true;
        return 0;
    }
    *is_new = true;
    return flow->number = number;
}
