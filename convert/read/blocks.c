#include "blocks.h"

#include <stdlib.h>

#include "format/file.h"

void blocks_init(struct blocks *blocks, const char *path)
{
    *blocks = (struct blocks){ .coder = NULL };
    files_init(&blocks->files, path);
}

void blocks_clear(struct blocks *blocks)
{
    blocks_release(blocks);
    files_clear(&blocks->files);
}

int blocks_allocate(struct blocks *blocks)
{
    blocks->coder = pnr_block_coder_new();
    blocks->data = malloc(pnr_block_data_bound());
    blocks->records = malloc(PNR_BLOCK_RECORDS * sizeof *blocks->records);
    return blocks->coder && blocks->data && blocks->records ? 0 : -1;
}

void blocks_release(struct blocks *blocks)
{
    files_release(&blocks->files);
    if (blocks->live.header)
        pnr_live_close(&blocks->live, blocks->files.path, false);
    pnr_block_coder_free(blocks->coder);
    free(blocks->data);
    free(blocks->records);
    placing_free(blocks->placing);
    blocks->placing = NULL;
    blocks->coder = NULL;
    blocks->data = NULL;
    blocks->records = NULL;
}

int blocks_read_data(struct blocks *blocks, const struct block_ref *ref, struct pnr_block_header *header, void *data,
                     struct pnr_err *err)
{
    uint64_t at = ref->at + PNR_BLOCK_PREFIX_SIZE;
    int fd = files_open(&blocks->files, ref->segment, block_ref_file(ref), NULL, err);
    if (fd < 0)
        return -1;
    if (pnr_file_read(fd, header, sizeof *header, (off_t)(at - sizeof *header)) != sizeof *header ||
        header->check != ref->check || pnr_block_header_check(header, false, 0, err) < 0)
        return pnr_err_set(err, PNR_E_CORRUPT, NULL, ref->at, "the file changed while it was read");
    if (pnr_file_read(fd, data, header->data_size, (off_t)at) != (ssize_t)header->data_size)
        return pnr_err_set(err, PNR_E_TRUNCATED, NULL, at, "data frame cannot be read to its end");
    return 0;
}

int blocks_read(struct blocks *blocks, const struct block_ref *ref, struct pnr_block_header *header,
                struct pnr_err *err)
{
    if (blocks_read_data(blocks, ref, header, blocks->data, err) < 0)
        return -1;
    return pnr_block_decode(blocks->coder, header, blocks->data, blocks->records, err);
}

int blocks_spread(struct blocks *blocks, const struct pnr_block_header *header)
{
    if (!(header->flags & PNR_BLOCK_SPARSE))
        return 0;
    if (!blocks->placing && !(blocks->placing = placing_new(blocks->ticks_per_second)))
        return -1;
    placing_apply(blocks->placing, header, blocks->records, &blocks->placed);
    return 0;
}

int blocks_read_chunk(struct blocks *blocks, const struct block_ref *ref, struct pnr_block_header *header)
{
    struct pnr_live_chunk chunk;
    struct pnr_err err;
    if (!blocks->live.header)
        return 0;
    int n = pnr_live_read(&blocks->live, (uint32_t)ref->at, &chunk, blocks->records);
    if (n < 0)
        return -1;
    *header = chunk.block;
    if (chunk.state != PNR_CHUNK_IN_USE || header->check != ref->check ||
        pnr_block_header_check(header, true, 0, &err) < 0)
        return 0;
    header->n_records = (uint32_t)n;
    return 1;
}
