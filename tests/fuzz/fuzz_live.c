/* The live mapping, and what the reader of the converter would do with each chunk. */
#include <stdlib.h>

#include "format/capture.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct pnr_live live;
    struct pnr_err err;
    fuzz_write_live(bytes, size);
    if (pnr_live_open(fuzz_directory(), &live, &err) != 1)
        return 0;
    for (uint32_t k = 0; k < live.header->n_chunks; k++) {
        if (live.chunks[k].state == PNR_CHUNK_FREE || pnr_block_header_check(&live.chunks[k].block, true, 0, &err) != 0)
            continue;
        struct pnr_record *records = malloc(PNR_CHUNK_SIZE);
        struct pnr_live_chunk chunk;
        int n = pnr_live_read(&live, k, &chunk, records);
        if (n < 0 || n > PNR_BLOCK_RECORDS || chunk.block.check != live.chunks[k].block.check)
            abort();
        free(records);
    }
    pnr_live_close(&live, fuzz_directory(), false);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    return fuzz_mutate_live(bytes, size, max, seed);
}
