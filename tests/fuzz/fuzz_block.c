/* Blocks: whatever a header's check lets through is decoded into just as much memory as it may take; and what was
 * decoded is the same when it has been encoded and decoded once more. The events of a sparse block are placed in their
 * order, and readings keep their ticks. DATA records are not events: they have the time of the one before. */
#include <stdlib.h>
#include <string.h>

#include "convert/read/placing.h"
#include "format/block.h"
#include "fuzz.h"

static void *copy(const void *bytes, size_t size)
{
    void *own = malloc(size);
    memcpy(own, bytes, size);
    return own;
}

static void check_again(struct pnr_block_coder *coder, struct pnr_block_header header, const struct pnr_record *records)
{
    struct pnr_err err;
    size_t size, n = header.n_records * sizeof *records;
    struct pnr_record *again = malloc(n);
    header.flags &= (uint16_t)~PNR_BLOCK_SPARSE;        /* in a sparse one, ticks that go back to 0 would change */
    const unsigned char *block = pnr_block_encode(coder, &header, records, &size);
    if (!block || size > PNR_BLOCK_PREFIX_SIZE + pnr_block_data_bound())
        abort();
    unsigned char *data = copy(block + PNR_BLOCK_PREFIX_SIZE, header.data_size);
    if (pnr_block_header_check(&header, false, 0, &err) != 0 ||
        pnr_block_decode(coder, &header, data, again, &err) != 0 || memcmp(again, records, n) != 0)
        abort();
    free(data);
    free(again);
}

static void check_placing(const struct pnr_block_header *header, struct pnr_record *records)
{
    static struct placing *placing;
    struct placing_count count;
    struct pnr_record *decoded = copy(records, header->n_records * sizeof *records);
    uint64_t before = 0, latest = 0;
    if (!placing)
        placing = placing_new(header->begin.ticks % 5000000000);
    placing_apply(placing, header, records, &count);
    for (uint32_t i = 0; i < header->n_records; i++) {
        uint64_t read = pnr_record_ticks(decoded[i]), at = pnr_record_ticks(records[i]);
        bool is_event = pnr_record_kind(decoded[i]) != PNR_OPEN && pnr_record_kind(decoded[i]) != PNR_DATA;
        if (is_event && read != before && at != read)
            abort();
        if (is_event && read == before && at < latest)
            abort();
        if (at > latest && is_event)
            latest = at;
        before = read;
        if (records[i].word[1] != decoded[i].word[1])
            abort();
    }
    if (count.n_unread > count.n_events || count.n_inexact > count.n_unread)
        abort();
    free(decoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct pnr_block_coder *coder = pnr_block_coder_new();
    for (size_t at = 0; size - at > PNR_BLOCK_PREFIX_SIZE;) {
        struct pnr_block_header header;
        struct pnr_err err;
        memcpy(&header, bytes + at + 8, sizeof header);
        at += PNR_BLOCK_PREFIX_SIZE;
        pnr_block_header_check(&header, true, at, &err);
        if (pnr_block_header_check(&header, false, at, &err) != 0 || header.data_size > size - at)
            break;
        unsigned char *data = copy(bytes + at, header.data_size);
        struct pnr_record *records = malloc(header.n_records * sizeof *records);
        if (pnr_block_decode(coder, &header, data, records, &err) == 0) {
            check_again(coder, header, records);
            if (header.flags & PNR_BLOCK_SPARSE)
                check_placing(&header, records);
        }
        free(records);
        free(data);
        at += header.data_size;
    }
    pnr_block_coder_free(coder);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    return fuzz_mutate_blocks(bytes, size, max, seed);
}
