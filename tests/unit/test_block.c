#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "format/block.h"

/* ---- what the tests share ---- */

/* The same on every run (xorshift64). */
static uint64_t noise(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    return x ^= x << 17;
}

enum fill { REGULAR, RANDOM, SPARSE, BACKWARDS };

static void make_records(struct pnr_record *records, size_t n, enum fill fill)
{
    for (size_t i = 0; i < n; i++) {
        if (fill == RANDOM)
            records[i] = (struct pnr_record){ { noise(), noise() } };
        else if (fill == SPARSE)        /* bytes 0, 4, 5 and 15 */
            records[i] = (struct pnr_record){ { (noise() & 0xff) | (noise() & 0x1f) << 35, noise() << 56 } };
        else
            records[i] = pnr_record_make((fill == BACKWARDS ? n - i : i) * 37, i % 2 ? PNR_RETURN : PNR_CALL, 0, i % 5);
    }
}

static struct pnr_block_header make_header(uint32_t n_records)
{
    return (struct pnr_block_header){ .thread = 3, .sequence = 8, .n_records = n_records,
                                      .begin = { 11, 12, 13 }, .end = { 21, 22, 23 } };
}

/* What a reader does with a block that it found. Returns 0 or -1. */
static int decode(struct pnr_block_coder *coder, const unsigned char *block, struct pnr_record *records,
                  struct pnr_block_header *header)
{
    static const unsigned char frame[8] = { 0x5b, 0x2a, 0x4d, 0x18, 0x60, 0, 0, 0 };
    struct pnr_err err;
    memcpy(header, block + 8, sizeof *header);
    return memcmp(block, frame, 8) == 0 && pnr_block_header_check(header, false, 0, &err) == 0 ?
        pnr_block_decode(coder, header, block + PNR_BLOCK_PREFIX_SIZE, records, &err) : -1;
}

static const uint32_t sizes[] = { 1, 2, 7, 8, 9, 15, 16, 17, 1000, PNR_BLOCK_RECORDS - 1, PNR_BLOCK_RECORDS };

/* ---- the checks ---- */

Test(block, check_is_fnv_1a)
{
    static const struct { const char *text; uint64_t check; } rows[] = {     /* the hash's published test vectors */
        { "", 0xcbf29ce484222325 }, { "a", 0xaf63dc4c8601ec8c }, { "foobar", 0x85944171f73967e8 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(pnr_check(rows[i].text, strlen(rows[i].text)), rows[i].check, "row %zu", i);
}

Test(block, seals_the_header_of_the_spec)
{
    /* specs/capture-format.md, section 12.2 */
    static const unsigned char example[PNR_BLOCK_HEADER_SIZE] = {
        0x50, 0x4e, 0x52, 0x42, 1, 0, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0x15, 0, 0, 0, 0x23, 0x10, 0, 0,
        0x00, 0xf2, 0x05, 0x2a, 0x01, 0x00, 0x00, 0x00, 0x00, 0xf2, 0x05, 0x2a, 0x01, 0x00, 0x00, 0x00,
        0x00, 0xa2, 0xf6, 0x38, 0x73, 0x98, 0x97, 0x17, 0xa0, 0x01, 0x06, 0x2a, 0x01, 0x00, 0x00, 0x00,
        0xa0, 0x01, 0x06, 0x2a, 0x01, 0x00, 0x00, 0x00, 0xa0, 0xb1, 0xf6, 0x38, 0x73, 0x98, 0x97, 0x17,
        0, 0, 0, 0, 0, 0, 0, 0, 0x9a, 0x33, 0x23, 0x3c, 0x1c, 0x0f, 0xdc, 0xc6,
    };
    struct pnr_block_header h = {
        .flags = PNR_BLOCK_LAST, .thread = 1, .n_records = 2, .data_size = 21, .planes = 0x1023,
        .begin = { 5000000000, 5000000000, 1699995005000000000 },
        .end = { 5000004000, 5000004000, 1699995005000004000 },
    };
    pnr_block_header_seal(&h);
    cr_expect_arr_eq((unsigned char *)&h, example, sizeof h);
}

/* One field of a good header is changed; sealed says whether the check is made anew, so that the field itself has to
 * be found out. */
Test(block, header_check_covers_each_field)
{
    enum { ANY, FILE_ONLY, LIVE_ONLY };
    static const struct { const char *name; size_t at, size; uint64_t value; int where; enum pnr_code code; } rows[] = {
        { "magic", 0, 4, 0x42524e51, ANY, PNR_E_CORRUPT },
        { "version 0", 4, 2, 0, ANY, PNR_E_CORRUPT },
        { "version 2 without its flag", 4, 2, 2, ANY, PNR_E_CORRUPT },
        { "version 3", 4, 2, 3, ANY, PNR_E_VERSION },
        { "version 65535", 4, 2, 65535, ANY, PNR_E_VERSION },
        { "sparse in version 1", 6, 2, 16, ANY, PNR_E_CORRUPT },
        { "flags", 6, 2, 32, ANY, PNR_E_CORRUPT },
        { "flags", 6, 2, 0x8001, ANY, PNR_E_CORRUPT },
        { "thread", 8, 4, 0, ANY, PNR_E_CORRUPT },
        { "n_records 0", 16, 4, 0, FILE_ONLY, PNR_E_CORRUPT },
        { "n_records too many", 16, 4, PNR_BLOCK_RECORDS + 1, FILE_ONLY, PNR_E_CORRUPT },
        { "n_records too many", 16, 4, UINT32_MAX, FILE_ONLY, PNR_E_CORRUPT },
        { "n_records in live", 16, 4, 1, LIVE_ONLY, PNR_E_CORRUPT },
        { "n_open above n_records", 20, 4, 101, FILE_ONLY, PNR_E_CORRUPT },
        { "n_open", 20, 4, PNR_BLOCK_RECORDS + 1, ANY, PNR_E_CORRUPT },
        { "data_size 0", 24, 4, 0, FILE_ONLY, PNR_E_CORRUPT },
        { "data_size too large", 24, 4, 263169, FILE_ONLY, PNR_E_CORRUPT },
        { "data_size in live", 24, 4, 1, LIVE_ONLY, PNR_E_CORRUPT },
        { "no planes", 28, 2, 0, FILE_ONLY, PNR_E_CORRUPT },
        { "planes without the kinds", 28, 2, 0xffdf, FILE_ONLY, PNR_E_CORRUPT },
        { "planes in live", 28, 2, 0x20, LIVE_ONLY, PNR_E_CORRUPT },
        { "tick_shift", 30, 1, 40, FILE_ONLY, PNR_E_CORRUPT },
        { "tick_shift", 30, 1, 255, FILE_ONLY, PNR_E_CORRUPT },
        { "tick_shift in live", 30, 1, 1, LIVE_ONLY, PNR_E_CORRUPT },
        { "reserved", 31, 1, 1, ANY, PNR_E_CORRUPT },
        { "end in live", 56, 8, 1, LIVE_ONLY, PNR_E_CORRUPT },
        { "reserved2", 84, 4, 1, ANY, PNR_E_CORRUPT },
    };
    for (int live = 0; live < 2; live++) {
        struct pnr_block_header good = make_header(live ? 0 : 100);
        struct pnr_err err;
        good.data_size = live ? 0 : 50;
        good.planes = live ? 0 : 0x1021;
        if (live)
            good.end = (struct pnr_clock_sample){ 0 };
        pnr_block_header_seal(&good);
        cr_expect_eq(pnr_block_header_check(&good, live, 0, &err), 0, "live %d", live);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            struct pnr_block_header h = good;
            if (rows[i].where == (live ? FILE_ONLY : LIVE_ONLY))
                continue;
            memcpy((char *)&h + rows[i].at, &rows[i].value, rows[i].size);
            h.check = pnr_check(&h, 88);
            cr_expect_eq(pnr_block_header_check(&h, live, 4112, &err), -1, "%s, live %d", rows[i].name, live);
            cr_expect_eq(err.code, rows[i].code, "%s, live %d", rows[i].name, live);
            cr_expect_str_empty(err.path);
            if (err.code == PNR_E_CORRUPT)
                cr_expect_eq(err.offset, 4112, "%s, live %d", rows[i].name, live);
        }
    }
}

Test(block, header_check_accepts_the_limits)
{
    struct pnr_block_header h = make_header(PNR_BLOCK_RECORDS);
    struct pnr_err err;
    cr_expect_eq(pnr_block_data_bound(), 263168, "specs/capture-format.md, section 5.1");
    h.flags = PNR_BLOCK_FLAGS & ~PNR_BLOCK_SPARSE;
    h.thread = h.sequence = UINT32_MAX;
    h.n_open = PNR_BLOCK_RECORDS;
    h.data_size = 263168;
    h.planes = UINT16_MAX;
    h.tick_shift = 39;
    h.begin = (struct pnr_clock_sample){ UINT64_MAX, UINT64_MAX, UINT64_MAX };
    h.end = (struct pnr_clock_sample){ 0 };
    pnr_block_header_seal(&h);
    cr_expect_eq(pnr_block_header_check(&h, false, 0, &err), 0);
    h.flags = PNR_BLOCK_FLAGS;
    pnr_block_header_seal(&h);
    cr_expect_eq(pnr_block_header_check(&h, false, 0, &err), 0);
}

Test(block, header_check_finds_each_changed_bit)
{
    struct pnr_block_header good = make_header(100);
    good.data_size = 50;
    good.planes = 0x1021;
    pnr_block_header_seal(&good);
    for (size_t bit = 0; bit < sizeof good * 8; bit++) {
        struct pnr_block_header h = good;
        struct pnr_err err;
        ((unsigned char *)&h)[bit / 8] ^= 1 << bit % 8;
        cr_expect_eq(pnr_block_header_check(&h, false, 0, &err), -1, "bit %zu", bit);
    }
}

/* ---- the data ---- */

Test(block, round_trip_keeps_all_records)
{
    static struct pnr_record records[PNR_BLOCK_RECORDS], got[PNR_BLOCK_RECORDS];
    struct pnr_block_coder *coder = pnr_block_coder_new();
    cr_assert(coder);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (enum fill fill = REGULAR; fill <= BACKWARDS; fill++) {
            struct pnr_block_header header = make_header(sizes[i]), read;
            size_t size;
            make_records(records, sizes[i], fill);
            const void *block = pnr_block_encode(coder, &header, records, &size);
            cr_assert(block);
            cr_expect_eq(size, PNR_BLOCK_PREFIX_SIZE + header.data_size);
            cr_expect_leq(header.data_size, pnr_block_data_bound());
            memset(got, 0xee, sizeof got);
            cr_expect_eq(decode(coder, block, got, &read), 0, "%u records, fill %d", sizes[i], fill);
            cr_expect_eq(memcmp(&read, &header, sizeof read), 0, "%u records, fill %d", sizes[i], fill);
            cr_expect_eq(memcmp(got, records, sizes[i] * sizeof *got), 0, "%u records, fill %d", sizes[i], fill);
        }
    pnr_block_coder_free(coder);
}

/* By the words of specs/capture-format.md, section 5.2, one byte at a time. Returns how many are wrong. */
static uint32_t count_wrong_bytes(const struct pnr_block_header *header, const struct pnr_record *records,
                                  const unsigned char *content)
{
    uint32_t n = header->n_records, n_wrong = 0, position = 0;
    for (unsigned k = 0; k < 16; k++) {
        bool is_there = header->planes >> k & 1, is_used = k == 5;
        for (uint32_t r = 0; r < n; r++) {
            uint64_t before = r ? pnr_record_ticks(records[r - 1]) >> header->tick_shift : 0;
            uint64_t difference = ((pnr_record_ticks(records[r]) >> header->tick_shift) - before) & PNR_TICKS_MAX;
            unsigned char byte = k < 5 ? (unsigned char)(difference >> 8 * k) : ((unsigned char *)&records[r])[k];
            is_used |= byte != 0;
            n_wrong += byte != (is_there ? content[position * n + r] : 0);
        }
        n_wrong += is_there != is_used;
        position += is_there;
    }
    return n_wrong;
}

Test(block, data_frame_holds_planes)
{
    static struct pnr_record records[PNR_BLOCK_RECORDS];
    static unsigned char content[PNR_RECORD_SIZE * PNR_BLOCK_RECORDS];
    static const uint8_t shifts[] = { 0, 3, 39 };
    struct pnr_block_coder *coder = pnr_block_coder_new();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (enum fill fill = REGULAR; fill <= BACKWARDS; fill++)
            for (size_t s = 0; s < sizeof shifts; s++) {
                struct pnr_block_header header = make_header(sizes[i]);
                size_t size;
                header.tick_shift = shifts[s];
                make_records(records, sizes[i], fill);
                const unsigned char *block = pnr_block_encode(coder, &header, records, &size);
                const unsigned char *data = block + PNR_BLOCK_PREFIX_SIZE;
                unsigned long long content_size = (unsigned long long)__builtin_popcount(header.planes) * sizes[i];
                cr_assert_eq(ZSTD_getFrameContentSize(data, header.data_size), content_size,
                             "the frame says its content's size");
                cr_expect(data[4] & 4, "the frame has a checksum");
                cr_assert_eq(ZSTD_decompress(content, sizeof content, data, header.data_size), content_size);
                cr_expect_eq(count_wrong_bytes(&header, records, content), 0, "%u records, fill %d, shift %d", sizes[i],
                             fill, shifts[s]);
            }
    pnr_block_coder_free(coder);
}

Test(block, round_trip_rounds_ticks_down)
{
    static struct pnr_record records[1000], got[1000];
    struct pnr_block_coder *coder = pnr_block_coder_new();
    for (uint8_t shift = 0; shift < PNR_TICKS_BITS; shift++)
        for (enum fill fill = REGULAR; fill <= BACKWARDS; fill++) {
            struct pnr_block_header header = make_header(1000), read;
            size_t size;
            header.tick_shift = shift;
            make_records(records, 1000, fill);
            const void *block = pnr_block_encode(coder, &header, records, &size);
            cr_expect_eq(decode(coder, block, got, &read), 0);
            for (size_t i = 0; i < 1000; i++)
                records[i].word[0] &= ~((UINT64_C(1) << shift) - 1);
            cr_expect_eq(memcmp(got, records, sizeof records), 0, "shift %d, fill %d", shift, fill);
        }
    pnr_block_coder_free(coder);
}

/* ---- sparse blocks ---- */

Test(block, seals_a_sparse_header_with_version_2)
{
    struct pnr_block_header h = make_header(1);
    pnr_block_header_seal(&h);
    cr_expect_eq(h.version, 1);
    h.flags = PNR_BLOCK_SPARSE | PNR_BLOCK_LAST;
    pnr_block_header_seal(&h);
    cr_expect_eq(h.version, 2);
}

/* Makes records of which some have ticks 0, at the begin, at the end, and in runs of all lengths; and what these are
 * to become. */
static void make_sparse_records(struct pnr_record *records, struct pnr_record *filled, size_t n, unsigned shift)
{
    uint64_t now = 0, before = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t ticks = noise() % 3 ? 0 : (now += 1 + noise() % 100000) << shift & PNR_TICKS_MAX;
        before = ticks ? ticks : before;
        records[i] = pnr_record_make(ticks, i % 2 ? PNR_RETURN : PNR_CALL, 0, (uint32_t)(i % 5));
        filled[i] = pnr_record_make(before, i % 2 ? PNR_RETURN : PNR_CALL, 0, (uint32_t)(i % 5));
    }
}

Test(block, unread_ticks_become_those_of_the_record_before)
{
    static struct pnr_record records[PNR_BLOCK_RECORDS], filled[PNR_BLOCK_RECORDS], got[PNR_BLOCK_RECORDS];
    struct pnr_block_coder *coder = pnr_block_coder_new();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (uint8_t shift = 0; shift < 8; shift++) {
            struct pnr_block_header header = make_header(sizes[i]), read;
            size_t size;
            header.tick_shift = shift;
            header.flags = PNR_BLOCK_SPARSE;
            make_sparse_records(records, filled, sizes[i], shift);
            const void *block = pnr_block_encode(coder, &header, pnr_block_filled(coder, &header, records), &size);
            memset(got, 0xee, sizeof got);
            cr_expect_eq(decode(coder, block, got, &read), 0);
            cr_expect_eq(read.version, 2);
            cr_expect_eq(memcmp(got, filled, sizes[i] * sizeof *got), 0, "%u records, shift %u", sizes[i], shift);
            pnr_block_fill_ticks(records, sizes[i]);
            cr_expect_eq(memcmp(records, filled, sizes[i] * sizeof *got), 0, "%u records", sizes[i]);
        }
    pnr_block_coder_free(coder);
}

/* What was never read costs no plane. */
Test(block, unread_ticks_have_no_planes)
{
    struct pnr_record records[100];
    struct pnr_block_coder *coder = pnr_block_coder_new();
    struct pnr_block_header header = make_header(100);
    size_t size;
    for (size_t i = 0; i < 100; i++)
        records[i] = pnr_record_make(i ? 0 : 7, PNR_CALL, 0, 1);
    header.flags = PNR_BLOCK_SPARSE;
    cr_assert(pnr_block_encode(coder, &header, pnr_block_filled(coder, &header, records), &size));
    cr_expect_eq(header.planes, 1 | 1 << 5 | 1 << 12);
    header.flags = 0;
    cr_expect_eq(pnr_block_filled(coder, &header, records), records);
    cr_assert(pnr_block_encode(coder, &header, records, &size));
    cr_expect_eq(header.planes, 0x1f | 1 << 5 | 1 << 12, "0 after 7 is a difference of five bytes");
    pnr_block_coder_free(coder);
}

/* ---- damage ---- */

Test(block, changed_bit_never_gives_other_records)
{
    struct pnr_record records[64], got[64];
    struct pnr_block_coder *coder = pnr_block_coder_new(), *other = pnr_block_coder_new();
    for (enum fill fill = REGULAR; fill <= RANDOM; fill++) {
        struct pnr_block_header header = make_header(64), read;
        size_t size;
        make_records(records, 64, fill);
        const void *block = pnr_block_encode(coder, &header, records, &size);
        unsigned char *copy = malloc(size);     /* of exact size: a sanitizer finds reads beyond it */
        for (size_t bit = 0; bit < size * 8; bit++) {
            memcpy(copy, block, size);
            copy[bit / 8] ^= 1 << bit % 8;
            if (decode(other, copy, got, &read) == 0)       /* zstd's frames have bits that mean nothing */
                cr_expect_eq(memcmp(got, records, sizeof records), 0, "bit %zu", bit);
        }
        free(copy);
    }
    pnr_block_coder_free(coder);
    pnr_block_coder_free(other);
}

Test(block, data_must_be_one_frame_of_the_right_size)
{
    static unsigned char content[16 * 100], data[4096];
    struct pnr_block_coder *coder = pnr_block_coder_new();
    struct pnr_record got[101];
    ZSTD_CCtx *compressor = ZSTD_createCCtx();
    enum { GOOD, NO_CHECKSUM, NO_SIZE, LONGER, SHORTER, TWICE, CUT, JUNK_BEHIND, SKIPPABLE, EMPTY_FRAME, N_CASES };
    for (int which = GOOD; which < N_CASES; which++) {
        struct pnr_block_header header = make_header(which == LONGER ? 99 : which == SHORTER ? 101 : 100);
        header.planes = UINT16_MAX;
        struct pnr_err err;
        ZSTD_CCtx_setParameter(compressor, ZSTD_c_checksumFlag, which != NO_CHECKSUM);
        ZSTD_CCtx_setParameter(compressor, ZSTD_c_contentSizeFlag, which != NO_SIZE);
        size_t size = ZSTD_compress2(compressor, data, sizeof data, content, which == EMPTY_FRAME ? 0 : sizeof content);
        cr_assert(!ZSTD_isError(size));
        if (which == TWICE)
            memcpy(data + size, data, size);
        if (which == SKIPPABLE)
            memcpy(data, "\x5b\x2a\x4d\x18\x04\0\0\0....", size = 12);
        header.data_size = (uint32_t)(which == TWICE ? 2 * size : which == CUT ? size - 1 :
                                      which == JUNK_BEHIND ? size + 1 : size);
        pnr_block_header_seal(&header);
        memset(got, 0xee, sizeof got);
        cr_expect_eq(pnr_block_decode(coder, &header, data, got, &err), which == GOOD ? 0 : -1, "case %d", which);
        if (which != GOOD) {
            cr_expect_eq(err.code, PNR_E_CORRUPT, "case %d", which);
            cr_expect_eq(err.offset, 0, "case %d", which);
        }
        cr_expect_eq(((unsigned char *)got)[sizeof got - 1], 0xee, "case %d writes too far", which);
    }
    ZSTD_freeCCtx(compressor);
    pnr_block_coder_free(coder);
}

Test(block, coder_works_after_damage)
{
    struct pnr_record records[64], got[64];
    struct pnr_block_coder *coder = pnr_block_coder_new();
    struct pnr_block_header header = make_header(64), read;
    size_t size;
    make_records(records, 64, REGULAR);
    const void *block = pnr_block_encode(coder, &header, records, &size);
    unsigned char *copy = malloc(size);
    memcpy(copy, block, size);
    copy[size - 1] ^= 1;
    cr_expect_eq(decode(coder, copy, got, &read), -1);
    copy[size - 1] ^= 1;
    cr_expect_eq(decode(coder, copy, got, &read), 0);
    free(copy);
    pnr_block_coder_free(coder);
}

Test(block, coder_free_accepts_null)
{
    pnr_block_coder_free(NULL);
    pnr_block_coder_free(pnr_block_coder_new());
}
