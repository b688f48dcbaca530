#include "convert/reader.h"

#include "check.h"

static void collect(void *arg, enum note_level level, const char *line)
{
    const char *name = strrchr(line, '/');
    check_write(arg, "%c:%s;", level == NOTE_DAMAGE ? 'D' : 'F', name ? name + 1 : line);
}

/* A thread of three blocks, whose records call the functions 1, 2 and 3. */
struct sample {
    struct check_capture capture;
    size_t sizes[3];
    struct check_sink said;             /* its text: what the reader said */
};

static void add(struct sample *sample, uint32_t sequence, unsigned flags)
{
    struct pnr_record records[] = { pnr_record_make(1, PNR_CALL, 0, sequence % 3 + 1),
                                    pnr_record_make(2, PNR_RETURN, 0, sequence % 3 + 1) };
    size_t size = check_block(&sample->capture, 1, sequence, flags, 1000 * (sequence + 1), records, 2);
    if (sequence < 3)
        sample->sizes[sequence] = size;
}

static void make(struct sample *sample, bool has_end)
{
    memset(sample, 0, sizeof *sample);
    check_capture_make(&sample->capture);
    if (has_end)
        check_fact(&sample->capture, "end_ticks", "100000");
}

static void thread_path(const struct sample *sample, char *path)
{
    snprintf(path, 160, "%s/thread-1.zst", sample->capture.process);
}

static void poke(const struct sample *sample, size_t at, unsigned char byte)
{
    char path[160];
    thread_path(sample, path);
    int fd = open(path, O_WRONLY);
    cr_assert_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

static void cut(const struct sample *sample, size_t size)
{
    char path[160];
    thread_path(sample, path);
    cr_assert_eq(truncate(path, (off_t)size), 0);
}

/* A live mapping with one chunk, in use: its records call `function`. */
static void leave_chunk(const struct sample *sample, uint32_t thread, uint32_t sequence, uint32_t function)
{
    struct pnr_live live;
    struct pnr_err err;
    cr_assert_eq(pnr_live_create(sample->capture.process, 2, &live, &err), 0);
    live.chunks[1].block = (struct pnr_block_header){ .thread = thread, .sequence = sequence,
                                                      .begin = { 9000, 9000, 9000 } };
    pnr_block_header_seal(&live.chunks[1].block);
    live.records[PNR_BLOCK_RECORDS] = pnr_record_make(5, PNR_CALL, 0, function);
    live.chunks[1].state = PNR_CHUNK_IN_USE;
    pnr_live_close(&live, sample->capture.process, false);
}

/* Reads all. The text: for each block "thread:function", "!" after a hole, "." for the last one of a thread. */
static void read_all(struct sample *sample, char *text, size_t size)
{
    struct notes notes = { collect, &sample->said };
    struct pnr_err err;
    struct reader *reader = reader_open(sample->capture.process, &notes, &err);
    cr_assert_not_null(reader);
    *text = 0;
    for (size_t i = 0; i < reader_n_threads(reader); i++) {
        struct reader_block block;
        uint64_t begin;
        int step;
        while (reader_begin(reader, i, &begin) && (step = reader_next(reader, i, &block, &err)) == 1) {
            size_t used = strlen(text);
            snprintf(text + used, size - used, "%s%s%u:%u%s", used ? " " : "", block.is_after_hole ? "!" : "",
                     reader_thread_number(reader, i), pnr_record_function(block.records[0]), block.is_last ? "." : "");
        }
        cr_assert_eq(reader_next(reader, i, &block, &err), 0);
    }
    reader_close(reader);
}

static void expect(struct sample *sample, const char *blocks, const char *said)
{
    char text[256];
    read_all(sample, text, sizeof text);
    cr_expect_str_eq(text, blocks, "%s", text);
    cr_expect_str_eq(sample->said.text, said, "%s", sample->said.text);
    check_capture_remove(&sample->capture);
}

Test(reader, reads_blocks_in_order)
{
    struct sample sample;
    make(&sample, true);
    add(&sample, 0, 0);
    add(&sample, 1, PNR_BLOCK_RESYNC);
    add(&sample, 2, PNR_BLOCK_LAST);
    expect(&sample, "1:1 !1:2 1:3.", "");
}

Test(reader, takes_a_resync_of_the_first_block_for_none)
{
    struct sample sample;
    make(&sample, true);
    add(&sample, 0, PNR_BLOCK_RESYNC);
    expect(&sample, "1:1", "");
}

/* Wherever the second block is damaged, the other two are found. */
Test(reader, skips_damaged_blocks)
{
    for (size_t at = 0, size = 1; at < size; at++) {
        struct sample sample;
        char text[256];
        make(&sample, true);
        add(&sample, 0, 0);
        add(&sample, 1, 0);
        add(&sample, 2, 0);
        size = sample.sizes[1];
        poke(&sample, sample.sizes[0] + at, 0xa5);
        read_all(&sample, text, sizeof text);
        cr_expect_str_eq(text, "1:1 !1:3", "byte %zu: %s", at, text);
        cr_expect(strstr(sample.said.text, "D:thread-1.zst: "), "byte %zu: %s", at, sample.said.text);
        cr_expect_null(strstr(sample.said.text, "missing"), "byte %zu: %s", at, sample.said.text);
        check_capture_remove(&sample.capture);
    }
}

/* Wherever the file is cut: what is whole before is read. This is damage only if the process ended cleanly. */
Test(reader, reads_what_is_before_a_cut)
{
    for (int has_end = 0; has_end < 2; has_end++) {
        for (size_t left = 0; left < PNR_BLOCK_PREFIX_SIZE + 20; left += 7) {
            struct sample sample;
            char text[256];
            make(&sample, has_end);
            add(&sample, 0, 0);
            add(&sample, 1, 0);
            cut(&sample, sample.sizes[0] + left);
            read_all(&sample, text, sizeof text);
            cr_expect_str_eq(text, "1:1");
            if (left)
                cr_expect(strstr(sample.said.text, has_end ? "D:thread-1.zst: byte" : "F:thread-1.zst: byte"), "%s",
                          sample.said.text);
            else
                cr_expect_str_eq(sample.said.text, "");
            check_capture_remove(&sample.capture);
        }
    }
}

Test(reader, tells_of_holes_and_repeats)
{
    struct sample sample;
    char said[200];
    make(&sample, true);
    add(&sample, 0, 0);
    add(&sample, 2, 0);
    snprintf(said, sizeof said, "D:thread-1.zst: block 1 is missing; D:thread-1.zst: byte %zu: block comes again; "
             "D:thread-1.zst: blocks 3 to 5 are missing;", sample.sizes[0] + sample.sizes[2]);
    add(&sample, 2, 0);
    add(&sample, 6, 0);
    expect(&sample, "1:1 !1:3 !1:1", said);
}

/* The chunk's block: not in the file, torn there, damaged there, whole there. */
Test(reader, takes_from_the_live_mapping_what_the_file_lacks)
{
    static const struct { const char *blocks, *said; } table[] = {
        { "1:1 1:2 1:9", "" },
        { "1:1 1:9", "" },
        { "1:1 1:9 1:3", "" },
        { "1:1 1:2 1:3", "" },
    };
    for (size_t i = 0; i < 4; i++) {
        struct sample sample;
        make(&sample, false);
        add(&sample, 0, 0);
        add(&sample, 1, 0);
        if (i == 1)
            cut(&sample, sample.sizes[0] + 110);
        if (i >= 2)
            add(&sample, 2, 0);
        if (i == 2)
            poke(&sample, sample.sizes[0] + PNR_BLOCK_PREFIX_SIZE + 12, 0xa5);
        leave_chunk(&sample, 1, i == 0 ? 2 : 1, 9);
        expect(&sample, table[i].blocks, table[i].said);
    }
}

Test(reader, finds_threads_that_are_only_in_the_live_mapping)
{
    struct sample sample;
    make(&sample, false);
    add(&sample, 0, 0);
    leave_chunk(&sample, 5, 0, 9);
    expect(&sample, "1:1 5:9", "");
}

Test(reader, says_why_there_is_nothing_to_read)
{
    struct sample sample;
    struct notes notes = { collect, &sample.said };
    struct pnr_err err;
    char path[160];
    make(&sample, true);
    snprintf(path, sizeof path, "%s/names", sample.capture.process);
    unlink(path);
    cr_expect_null(reader_open(sample.capture.process, &notes, &err));
    cr_expect_eq(err.code, PNR_E_SYSTEM);
    check_append(path, "PNRNAMEX\1\0\0\0\0\0\0\0", 16);
    cr_expect_null(reader_open(sample.capture.process, &notes, &err));
    cr_expect_eq(err.code, PNR_E_NOT_CAPTURE);
    check_capture_remove(&sample.capture);
}
