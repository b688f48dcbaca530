#include "convert/read/reader.h"

#include <limits.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "check.h"

/* Keeps a report, from the segment or else from the last name of its path on. */
static void collect(void *arg, enum diagnostic_level level, const char *line)
{
    const char *name = strstr(line, "/segment-");
    if (!name)
        name = strrchr(line, '/');
    check_write(arg, "%c:%s;", level == DIAGNOSTIC_DAMAGE ? 'D' : 'F', name ? name + 1 : line);
}

/* Blocks, of which the k-th of a thread begins at 1000 * (k + 1), ends 2 later, and calls function 1, 2, 3, 1, ... */
struct sample {
    struct check_capture capture;
    size_t sizes[3];                    /* of the first ones */
    struct check_sink reports;          /* their text */
    bool has_evicted;                   /* what reader_has_evicted() returned at the end, and */
    uint64_t complete_ticks;
    uint32_t n_records;                 /* that were read */
    struct pnr_live live;               /* of a process that still runs */
    const struct reader_choice *choice; /* NULL: all threads */
    void (*run_on)(struct sample *);     /* what the process does after the reader has been opened; or NULL */
};

static void add_to(struct sample *sample, uint32_t thread, uint32_t sequence, unsigned flags)
{
    struct pnr_record records[] = { pnr_record_make(1, PNR_CALL, 0, sequence % 3 + 1),
                                    pnr_record_make(2, PNR_RETURN, 0, sequence % 3 + 1) };
    size_t size = check_block(&sample->capture, thread, sequence, flags, 1000 * (sequence + 1), records, 2);
    if (sequence < 3)
        sample->sizes[sequence] = size;
}

static void add(struct sample *sample, uint32_t sequence, unsigned flags)
{
    add_to(sample, 1, sequence, flags);
}

static void make(struct sample *sample, bool has_end)
{
    memset(sample, 0, sizeof *sample);
    check_capture_make(&sample->capture);
    if (has_end)
        check_property(&sample->capture, "end_ticks", "100000");
}

/* Of thread 1, in the segment to which blocks are appended. */
static void overwrite(const struct sample *sample, size_t at, unsigned char byte)
{
    char path[PATH_MAX];
    check_thread_path(&sample->capture, 1, path);
    int fd = open(path, O_WRONLY);
    cr_assert_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

/* The same file. */
static void cut(const struct sample *sample, size_t size)
{
    char path[PATH_MAX];
    check_thread_path(&sample->capture, 1, path);
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

/* Reads all. The text: for each block "thread:function", "!" after a hole, "~" after a pause, "." for the last one of a
 * thread. */
static void read_all(struct sample *sample, char *text, size_t size)
{
    struct diagnostics diagnostics = { collect, &sample->reports };
    struct pnr_err err;
    struct reader *reader = reader_open(sample->capture.process, sample->choice, &diagnostics, &err);
    cr_assert_not_null(reader);
    *text = 0;
    if (sample->run_on)
        sample->run_on(sample);
    for (size_t i = 0; i < reader_n_threads(reader); i++) {
        struct reader_block block;
        uint64_t begin;
        while (reader_peek(reader, i, &begin)) {
            int status = reader_next(reader, i, &block, &err);
            cr_assert_geq(status, 0);
            if (status == 0)
                continue;
            size_t used = strlen(text);
            snprintf(text + used, size - used, "%s%s%s%u:%u%s", used ? " " : "", block.is_after_hole ? "!" : "",
                     block.is_after_pause ? "~" : "", reader_thread_number(reader, i),
                     block.n_records ? pnr_record_function(block.records[0]) : 0, block.is_last ? "." : "");
            sample->n_records += block.n_records;
        }
        cr_assert_eq(reader_next(reader, i, &block, &err), 0);
    }
    sample->has_evicted = reader_has_evicted(reader, &sample->complete_ticks);
    reader_close(reader);
}

static void expect(struct sample *sample, const char *blocks, const char *reports)
{
    char text[256];
    read_all(sample, text, sizeof text);
    cr_expect_str_eq(text, blocks, "\"%s\", not \"%s\"", text, blocks);
    cr_expect_str_eq(sample->reports.text, reports, "\"%s\", not \"%s\"", sample->reports.text, reports);
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

/* In a thread's first block RESYNC and PAUSED mean nothing. */
Test(reader, reports_pauses)
{
    struct sample sample;
    make(&sample, true);
    add(&sample, 0, PNR_BLOCK_RESYNC | PNR_BLOCK_PAUSED);
    add(&sample, 1, PNR_BLOCK_PAUSED);
    add(&sample, 2, PNR_BLOCK_PAUSED | PNR_BLOCK_RESYNC | PNR_BLOCK_LAST);
    expect(&sample, "1:1 ~1:2 !~1:3.", "");
}

/* Blocks of three threads alternately, not in the order of their begin, with an empty segment between. */
static void read_sequences(struct reader *reader, struct check_sink *found)
{
    struct reader_block block;
    struct pnr_err err;
    uint64_t ticks;
    for (size_t thread = 0; thread < 2; thread++) {
        check_write(found, "%u:", reader_thread_number(reader, thread));
        while (reader_peek(reader, thread, &ticks) && reader_next(reader, thread, &block, &err) == 1)
            check_write(found, "%u", (unsigned)(block.begin_ticks / 1000 - 1));
    }
}

/* Blocks 0 to 4 of thread 1, from 1000 * (k + 1) on, of which 2 is DEEPER; and block 0 of thread 2, which ended with
 * it. Row by row: ticks, whether it is known what is open at the first, and the sequences that are read of each; the
 * same when it is read again. */
Test(reader, delivers_no_more_than_is_needed)
{
    static const struct { uint64_t from, to; const char *expected; bool is_known; } table[] = {
        { 0, UINT64_MAX, "1: 0 1 2 3 4 2: 0", false },
        { 0, 2000, "1: 0 2: 0", false },
        { 1000, 2001, "1: 0 1 2: 0", false },
        { 1002, 1003, "1: 0 2: 0", false },
        { 1003, 1004, "1: 0 2:", false },
        { 2000, 2001, "1: 0 1 2:", false },
        { 2001, 2002, "1: 1 2:", false },
        { 3500, 4000, "1: 1 2 2:", false },
        { 4000, UINT64_MAX, "1: 1 2 3 4 2:", false },
        { 4001, UINT64_MAX, "1: 3 4 2:", false },
        { 9000, UINT64_MAX, "1: 4 2:", false },
        { 0, 500, "1: 2:", false },
        { 3500, 4000, "1: 2 2:", true },
        { 4000, UINT64_MAX, "1: 2 3 4 2:", true },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct sample sample;
        struct pnr_err err;
        struct check_sink found;
        make(&sample, true);
        add_to(&sample, 2, 0, PNR_BLOCK_LAST);
        for (uint32_t k = 0; k < 5; k++)
            add(&sample, k, k == 2 ? PNR_BLOCK_DEEPER : 0);
        check_sink_init(&sample.reports);
        const struct diagnostics diagnostics = { collect, &sample.reports };
        struct reader *reader = reader_open(sample.capture.process, NULL, &diagnostics, &err);
        cr_assert_not_null(reader);
        cr_expect_eq(reader_end(reader), 5002);
        for (int again = 0; again < 2; again++) {
            reader_set_range(reader, table[i].from, table[i].to, table[i].is_known);
            check_sink_init(&found);
            read_sequences(reader, &found);
            cr_expect_str_eq(found.text, table[i].expected, "row %zu: %s", i, found.text);
            cr_expect_eq(reader_rewind(reader), 0);
        }
        cr_expect(reader_size(reader)->n_blocks <= 6);
        cr_expect_str_eq(sample.reports.text, "");
        reader_stop(reader);
        reader_close(reader);
        check_capture_remove(&sample.capture);
    }
}

Test(reader, stops_before_the_end)
{
    struct sample sample;
    struct pnr_err err;
    struct reader_block block;
    uint64_t ticks;
    const struct diagnostics diagnostics = { collect, &sample.reports };
    make(&sample, true);
    for (uint32_t k = 0; k < 3; k++)
        add(&sample, k, 0);
    struct reader *reader = reader_open(sample.capture.process, NULL, &diagnostics, &err);
    cr_assert_eq(reader_next(reader, 0, &block, &err), 1);
    reader_stop(reader);
    cr_expect_not(reader_peek(reader, 0, &ticks));
    cr_expect_eq(reader_next(reader, 0, &block, &err), 0);
    reader_close(reader);
    check_capture_remove(&sample.capture);
}

Test(reader, finds_the_blocks_of_each_thread)
{
    struct sample sample;
    char path[PATH_MAX];
    make(&sample, true);
    add_to(&sample, 2, 0, 0);
    add_to(&sample, 1, 0, 0);
    add_to(&sample, 2, 1, 0);
    sample.capture.segment = 2;
    check_thread_path(&sample.capture, 1, path);
    check_append(path, "", 0);
    sample.capture.segment = 3;
    check_thread_path(&sample.capture, 1, path);        /* a segment without a file */
    sample.capture.segment = 4;
    sample.capture.is_short = true;
    add_to(&sample, 7, 0, PNR_BLOCK_LAST);
    add_to(&sample, 2, 2, 0);
    add_to(&sample, 4, 0, PNR_BLOCK_LAST);
    sample.capture.is_short = false;
    add_to(&sample, 1, 1, PNR_BLOCK_LAST);
    expect(&sample, "1:1 1:2. 2:1 2:2 2:3 4:1. 7:1.", "");
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
        overwrite(&sample, sample.sizes[0] + at, 0xa5);
        read_all(&sample, text, sizeof text);
        cr_expect_str_eq(text, "1:1 !1:3", "byte %zu: %s", at, text);
        cr_expect(strstr(sample.reports.text, "D:segment-1/thread-1.zst: "), "byte %zu: %s", at, sample.reports.text);
        cr_expect_null(strstr(sample.reports.text, "missing"), "byte %zu: %s", at, sample.reports.text);
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
                cr_expect(strstr(sample.reports.text, has_end ? "D:segment-1/thread-1.zst: byte" :
                                                            "F:segment-1/thread-1.zst: byte"), "%s",
                          sample.reports.text);
            else
                cr_expect_str_eq(sample.reports.text, "");
            check_capture_remove(&sample.capture);
        }
    }
}

Test(reader, reports_holes_and_repeats)
{
    struct sample sample;
    char reports[300];
    make(&sample, true);
    add(&sample, 0, 0);
    add(&sample, 2, 0);
    snprintf(reports, sizeof reports, "D:segment-2/thread-1.zst: byte 0: repeated block (ignored); "
             "D:segment-1/thread-1.zst: byte %zu: repeated block (ignored); "
             "D:process-7: block 1 of thread 1 is missing; D:process-7: blocks 3 to 5 of thread 1 are missing;",
             sample.sizes[0] + sample.sizes[2]);
    add(&sample, 2, 0);
    sample.capture.segment = 2;
    add(&sample, 0, 0);
    add(&sample, 6, 0);
    expect(&sample, "1:1 !1:3 !1:1", reports);
}

/* Reported damage may be all that is missing, but not when more blocks are. */
Test(reader, reports_more_missing_than_was_damaged)
{
    struct sample sample;
    char reports[200];
    make(&sample, true);
    add(&sample, 0, 0);
    add(&sample, 1, 0);
    add(&sample, 2, 0);
    add(&sample, 4, 0);
    overwrite(&sample, sample.sizes[0] + 8, 0xa5);
    snprintf(reports, sizeof reports, "D:segment-1/thread-1.zst: byte %zu: no block begins here; "
             "D:process-7: block 1 of thread 1 is missing; D:process-7: block 3 of thread 1 is missing;",
             sample.sizes[0]);
    expect(&sample, "1:1 !1:3 !1:2", reports);
}

Test(reader, reports_missing_segments)
{
    struct sample sample;
    make(&sample, true);
    add(&sample, 0, 0);
    sample.capture.segment = 3;
    add(&sample, 2, 0);
    sample.capture.segment = 7;
    add(&sample, 3, 0);
    expect(&sample, "1:1 !1:3 1:1", "D:process-7: segment 2 is missing; D:process-7: segments 4 to 6 are missing; "
                                    "D:process-7: block 1 of thread 1 is missing;");
}

/* Cut off in a segment that is not the last: damage, also when the process was killed. */
Test(reader, reads_what_is_after_a_cut)
{
    for (int has_end = 0; has_end < 2; has_end++) {
        struct sample sample;
        char reports[100];
        make(&sample, has_end);
        add(&sample, 0, 0);
        add(&sample, 1, 0);
        cut(&sample, sample.sizes[0] + 50);
        sample.capture.segment = 2;
        add(&sample, 2, 0);
        snprintf(reports, sizeof reports, "D:segment-1/thread-1.zst: byte %zu: file ends inside a block header;",
                 sample.sizes[0]);
        expect(&sample, "1:1 !1:3", reports);
    }
}

/* A cut that is no damage does not stand for a block that is missing. */
Test(reader, reports_holes_alongside_a_cut_by_a_kill)
{
    struct sample sample;
    char reports[200];
    make(&sample, false);
    add(&sample, 0, 0);
    add(&sample, 2, 0);
    snprintf(reports, sizeof reports, "F:segment-1/thread-1.zst: byte %zu: file ends inside a block header; "
             "D:process-7: block 1 of thread 1 is missing;", sample.sizes[0] + sample.sizes[2]);
    add(&sample, 3, 0);
    cut(&sample, sample.sizes[0] + sample.sizes[2] + 10);
    expect(&sample, "1:1 !1:3", reports);
}

Test(reader, opens_only_regular_files)
{
    static const char *const reports[] = { "cannot read: ", "byte 0: not a regular file", "byte 0: not a regular file" };
    for (int i = 0; i < 6; i++) {
        struct sample sample;
        char path[PATH_MAX], text[256], expected[100];
        bool is_segment = i >= 3;
        make(&sample, true);
        add(&sample, 0, 0);
        sample.capture.segment = 2;
        if (is_segment)
            pnr_segment_path(sample.capture.process, 2, path);
        else
            check_thread_path(&sample.capture, 2, path);
        cr_assert_eq(i == 0 ? symlink("thread-1.zst", path) : i == 1 ? mkdir(path, 0700) : i % 3 == 2 ? mkfifo(path, 0600) :
                     i == 3 ? symlink("segment-1", path) : close(creat(path, 0600)), 0);
        sample.capture.segment = 3;
        add(&sample, 1, 0);
        snprintf(expected, sizeof expected, "D:segment-2%s: %s", is_segment ? "" : "/thread-2.zst",
                 is_segment ? "byte 0: not a directory" : reports[i]);
        read_all(&sample, text, sizeof text);
        cr_expect_str_eq(text, "1:1 1:2", "row %d: %s", i, text);
        cr_expect_eq(strncmp(sample.reports.text, expected, strlen(expected)), 0, "row %d: %s", i, sample.reports.text);
        check_capture_remove(&sample.capture);
    }
}

/* A block in the file of another thread is none of either. */
Test(reader, rejects_blocks_of_other_threads)
{
    struct sample sample;
    char from[PATH_MAX], to[PATH_MAX], reports[200];
    make(&sample, true);
    add(&sample, 0, 0);
    add_to(&sample, 2, 0, 0);
    check_thread_path(&sample.capture, 2, from);
    check_thread_path(&sample.capture, 1, to);
    char *bytes = malloc(4096);
    int fd = open(from, O_RDONLY);
    ssize_t size = read(fd, bytes, 4096);
    close(fd);
    check_append(to, bytes, (size_t)size);
    free(bytes);
    cr_assert_eq(unlink(from), 0);
    snprintf(reports, sizeof reports, "D:segment-1/thread-1.zst: byte %zu: block of another thread;", sample.sizes[0]);
    add(&sample, 1, 0);
    expect(&sample, "1:1 1:2", reports);
}

/* More files than may be open, read alternately. */
Test(reader, opens_few_files_at_a_time)
{
    enum { N = 100 };
    struct sample sample;
    struct diagnostics diagnostics = { collect, &sample.reports };
    struct reader_block block;
    struct pnr_err err;
    make(&sample, true);
    for (uint32_t k = 0; k < 3; k++)
        for (uint32_t thread = 1; thread <= N; thread++)
            add_to(&sample, thread, k, 0);
    const struct rlimit few = { 20, 20 };
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    struct reader *reader = reader_open(sample.capture.process, NULL, &diagnostics, &err);
    cr_assert_not_null(reader);
    cr_assert_eq(reader_n_threads(reader), N);
    for (uint32_t k = 0; k < 3; k++)
        for (size_t thread = 0; thread < N; thread++)
            cr_expect_eq(reader_next(reader, thread, &block, &err), 1, "block %u of %zu", k, thread);
    cr_expect_str_eq(sample.reports.text, "");
    reader_close(reader);
    check_capture_remove(&sample.capture);
}

/* ---- threads that are wanted ---- */

static int begin_choice(void *arg, const struct reader *reader)
{
    cr_expect_eq(reader_symbols(reader)->n_known, CHECK_FUNCTIONS);
    return *(const unsigned *)arg > 0;
}

/* A bit for each thread. */
static bool has_bit(void *arg, uint32_t thread)
{
    return *(const unsigned *)arg >> thread & 1;
}

/* Threads 1 and 2 have files, 3 and 4 are short, 5 has a chunk only; a file of thread 2 is damaged. Those that are not
 * wanted are there, without a block, and nothing is reported of their files. */
Test(reader, reads_only_the_threads_that_are_wanted)
{
    static const struct { unsigned wanted; const char *text, *threads; bool is_reported; } table[] = {
        { 1 << 1, "1:1 1:2", "1 2 3 4 5", false },
        { 1 << 3, "3:1.", "1 2 3 4 5", false },
        { 1 << 5 | 1 << 1, "1:1 1:2 5:9", "1 2 3 4 5", false },
        { 1 << 2, "2:1", "1 2 3 4 5", true },
        { 1 << 9, "", "1 2 3 4 5", false },
        { 0, "", "", false },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct sample sample;
        struct check_sink threads;
        unsigned wanted = table[i].wanted;
        const struct reader_choice choice = { begin_choice, has_bit, &wanted };
        char text[256], path[PATH_MAX];
        make(&sample, false);
        sample.choice = &choice;
        add(&sample, 0, 0);
        add_to(&sample, 2, 0, 0);
        sample.capture.is_short = true;
        add_to(&sample, 4, 0, PNR_BLOCK_LAST);
        add_to(&sample, 3, 0, PNR_BLOCK_LAST);
        sample.capture.is_short = false;
        sample.capture.segment = 2;
        add(&sample, 1, 0);
        check_thread_path(&sample.capture, 2, path);
        cr_assert_eq(mkdir(path, 0700), 0);
        leave_chunk(&sample, 5, 0, 9);
        read_all(&sample, text, sizeof text);
        cr_expect_str_eq(text, table[i].text, "row %zu: %s", i, text);
        cr_expect_eq(sample.reports.text[0] != 0, table[i].is_reported, "row %zu: %s", i, sample.reports.text);
        check_sink_init(&threads);
        struct diagnostics diagnostics = { collect, &sample.reports };
        struct pnr_err err;
        struct reader *reader = reader_open(sample.capture.process, &choice, &diagnostics, &err);
        for (size_t k = 0; k < reader_n_threads(reader); k++)
            check_write(&threads, "%u", reader_thread_number(reader, k));
        cr_expect_str_eq(threads.text, table[i].threads, "row %zu: %s", i, threads.text);
        reader_close(reader);
        check_capture_remove(&sample.capture);
    }
}

/* Threads 1, 2, ... as their blocks are there; the lowest segment is this one. */
Test(reader, finds_from_when_on_nothing_was_evicted)
{
    static const struct {
        uint32_t segment;
        struct { uint32_t thread, sequence; } blocks[4];
        uint32_t n_names;               /* threads that are named */
        bool has_evicted;
        uint64_t complete_ticks;
        const char *text;
    } table[] = {
        { 1, { { 1, 0 }, { 1, 1 } }, 1, false, 0, "1:1 1:2" },
        { 2, { { 1, 4 }, { 1, 5 } }, 1, true, 5000, "1:2 1:3" },
        /* the latest first block of all threads; a thread without evicted blocks does not count */
        { 2, { { 1, 4 }, { 2, 6 }, { 3, 0 } }, 3, true, 7000, "1:2 2:1 3:1" },
        { 2, { { 1, 0 } }, 1, true, 0, "1:1" },
        /* of a thread nothing but its name is left: it had ended before the first block was written */
        { 2, { { 1, 0 }, { 1, 1 } }, 2, true, 1002, "1:1 1:2" },
        { 2, { { 1, 4 }, { 2, 8 } }, 3, true, 9000, "1:2 2:3" },
        { 2, { { 1, 8 }, { 2, 8 } }, 3, true, 9002, "1:3 2:3" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct sample sample;
        char text[256];
        make(&sample, true);
        check_property(&sample.capture, "max_size", "1000");
        for (uint32_t number = 1; number <= table[i].n_names; number++)
            check_name(&sample.capture, (struct pnr_name){ .type = PNR_NAME_THREAD, .index = number });
        sample.capture.segment = table[i].segment;
        for (int k = 0; k < 4 && table[i].blocks[k].thread; k++)
            add_to(&sample, table[i].blocks[k].thread, table[i].blocks[k].sequence, 0);
        read_all(&sample, text, sizeof text);
        cr_expect_str_eq(text, table[i].text, "row %zu: %s", i, text);
        cr_expect_str_eq(sample.reports.text, "", "row %zu: %s", i, sample.reports.text);
        cr_expect_eq(sample.has_evicted, table[i].has_evicted, "row %zu", i);
        cr_expect_eq(sample.complete_ticks, table[i].complete_ticks, "row %zu: %" PRIu64, i, sample.complete_ticks);
        check_capture_remove(&sample.capture);
    }
}

/* A hole after the first block is damage, whatever was evicted. */
Test(reader, reports_holes_after_evicted_blocks)
{
    struct sample sample;
    make(&sample, true);
    check_property(&sample.capture, "last_ns", "1");
    sample.capture.segment = 4;
    add(&sample, 7, PNR_BLOCK_RESYNC);
    add(&sample, 9, 0);
    expect(&sample, "1:2 !1:1", "D:process-7: block 8 of thread 1 is missing;");
}

/* A part of a recording begins with the segment of the property first_segment. */
Test(reader, takes_a_part_of_a_recording)
{
    struct sample sample;
    make(&sample, true);
    check_property(&sample.capture, "first_segment", "4");
    sample.capture.segment = 4;
    add(&sample, 7, PNR_BLOCK_RESYNC);
    add(&sample, 9, 0);
    expect(&sample, "1:2 !1:1", "D:process-7: block 8 of thread 1 is missing;");
    make(&sample, true);
    check_property(&sample.capture, "first_segment", "4");
    sample.capture.segment = 6;
    add(&sample, 7, 0);
    expect(&sample, "1:2", "D:process-7: segments 4 to 5 are missing;");
}

/* Without a limit nothing is evicted: absent segments are missing. */
Test(reader, reports_missing_first_segments)
{
    struct sample sample;
    make(&sample, true);
    sample.capture.segment = 4;
    add(&sample, 0, 0);
    expect(&sample, "1:1", "D:process-7: segments 1 to 3 are missing;");
    make(&sample, true);
    sample.capture.segment = 2;
    add(&sample, 1, 0);
    expect(&sample, "!1:2", "D:process-7: segment 1 is missing; D:process-7: block 0 of thread 1 is missing;");
    make(&sample, true);
    expect(&sample, "", "D:process-7: all segments are missing;");
    make(&sample, false);
    leave_chunk(&sample, 1, 3, 9);
    expect(&sample, "!1:9", "D:process-7: all segments are missing; D:process-7: blocks 0 to 2 of thread 1 are missing;");
}

/* Without a segment all were evicted, if there ever was one. */
Test(reader, takes_a_process_without_segments)
{
    static const struct { bool has_end, has_chunk; uint32_t sequence; const char *text; bool has_evicted; } table[] = {
        { true, false, 0, "", true },
        { false, false, 0, "", false },
        { false, true, 0, "1:9", false },
        { false, true, 3, "1:9", true },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct sample sample;
        char text[256];
        make(&sample, table[i].has_end);
        check_property(&sample.capture, "max_size", "1000");
        if (table[i].has_chunk)
            leave_chunk(&sample, 1, table[i].sequence, 9);
        read_all(&sample, text, sizeof text);
        cr_expect_str_eq(text, table[i].text, "row %zu: %s", i, text);
        cr_expect_str_eq(sample.reports.text, "", "row %zu: %s", i, sample.reports.text);
        cr_expect_eq(sample.has_evicted, table[i].has_evicted, "row %zu", i);
        check_capture_remove(&sample.capture);
    }
}

/* The chunk's block: not in the segment, torn there, damaged there, whole there. */
Test(reader, takes_from_the_live_mapping_what_the_segment_lacks)
{
    static const struct { const char *blocks, *reports; } table[] = {
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
            overwrite(&sample, sample.sizes[0] + PNR_BLOCK_PREFIX_SIZE + 12, 0xa5);
        leave_chunk(&sample, 1, i == 0 ? 2 : 1, 9);
        expect(&sample, table[i].blocks, table[i].reports);
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

/* The last known clock sample of a process that was killed gives the rate here: a tick is not
 * the nanosecond that it should be. Without an end nothing is missing, but what is cut off is damage. */
Test(reader, reads_what_another_process_has_finished)
{
    struct sample sample;
    char reports[100];
    struct diagnostics diagnostics = { collect, &sample.reports };
    struct pnr_err err;
    uint64_t until_ns;
    make(&sample, false);
    check_property(&sample.capture, "killed_ticks", "2000001000");
    check_property(&sample.capture, "killed_monotonic_ns", "1000001000");
    add(&sample, 0, 0);
    struct reader *reader = reader_open(sample.capture.process, NULL, &diagnostics, &err);
    cr_assert_not_null(reader);
    cr_expect_eq(reader_process(reader, &until_ns), PNR_PROCESS_GONE);
    uint64_t ns = timeline_ns(reader_timeline(reader), 1000001000);
    cr_expect(ns >= 500000990 && ns <= 500001010, "%" PRIu64, ns);
    reader_close(reader);
    cr_expect_str_eq(sample.reports.text, "");
    add(&sample, 1, 0);
    cut(&sample, sample.sizes[0] + 50);
    snprintf(reports, sizeof reports, "D:segment-1/thread-1.zst: byte %zu: file ends inside a block header;",
             sample.sizes[0]);
    expect(&sample, "1:1", reports);
}

/* ---- a process that goes on while it is read ---- */

#define N_FULL 5                        /* records of the chunk when it becomes a block */

/* The chunk's records call functions 4, 5, 6, ... */
static void store(struct sample *sample, uint32_t first, uint32_t n)
{
    for (uint32_t i = first; i < first + n; i++)
        pnr_live_store(&sample->live.records[i], pnr_record_make(i, PNR_CALL, 0, 4 + i));
}

/* A process with blocks 0 and 1 in segments of this number and the next, and two records of block 2 in chunk 0. */
static void make_running(struct sample *sample, uint32_t segment, void (*run_on)(struct sample *))
{
    struct pnr_err err;
    struct pnr_block_header header = { .thread = 1, .sequence = 2, .begin = { 3000, 3000, 3000 } };
    make(sample, false);
    sample->run_on = run_on;
    sample->capture.segment = segment;
    add(sample, 0, 0);
    sample->capture.segment = segment + 1;
    add(sample, 1, 0);
    cr_assert_eq(pnr_live_create(sample->capture.process, 2, &sample->live, &err), 0);
    pnr_block_header_seal(&header);
    pnr_live_begin(&sample->live, 0, &header);
    store(sample, 0, 2);
}

static void expect_running(struct sample *sample, const char *blocks, uint32_t n_records, const char *reports)
{
    expect(sample, blocks, reports);
    cr_expect_eq(sample->n_records, n_records, "%u records", sample->n_records);
    pnr_live_close(&sample->live, sample->capture.process, false);
}

static void fill(struct sample *sample)
{
    store(sample, 2, N_FULL - 2);
}

/* The chunk becomes a block of five records, with which the thread ends. */
static void write_chunk(struct sample *sample)
{
    fill(sample);
    check_block(&sample->capture, 1, 2, PNR_BLOCK_LAST, 3000, sample->live.records, N_FULL);
    pnr_live_free(&sample->live, 0);
    memset(sample->live.records, 0, PNR_CHUNK_SIZE);
}

static void write_chunk_to_next_segment(struct sample *sample)
{
    sample->capture.segment++;
    add_to(sample, 2, 0, 0);
    write_chunk(sample);
}

/* The next segment has no file of the thread, and the block lies in that of short threads after another one. */
static void write_chunk_as_short(struct sample *sample)
{
    sample->capture.segment++;
    add_to(sample, 2, 0, 0);
    sample->capture.segment++;
    sample->capture.is_short = true;
    add_to(sample, 3, 0, PNR_BLOCK_LAST);
    write_chunk(sample);
}

static void write_chunk_and_use_it_again(struct sample *sample)
{
    struct pnr_block_header header = { .thread = 1, .sequence = 3, .begin = { 4000, 4000, 4000 } };
    write_chunk(sample);
    pnr_block_header_seal(&header);
    pnr_live_begin(&sample->live, 0, &header);
    store(sample, 0, N_FULL);
}

/* The first record stays; the second is retracted, and others follow. */
static void retract_and_write_chunk(struct sample *sample)
{
    pnr_live_clear(&sample->live.records[1]);
    pnr_live_store(&sample->live.records[1], pnr_record_make(2, PNR_CALL, 0, 99));
    write_chunk(sample);
}

/* All of it is retracted: there will be another block 2. */
static void retract_chunk(struct sample *sample)
{
    pnr_live_clear(&sample->live.records[1]);
    pnr_live_clear(&sample->live.records[0]);
    pnr_live_free(&sample->live, 0);
}

static void give_chunk_back_and_write_another(struct sample *sample)
{
    retract_chunk(sample);
    store(sample, 0, N_FULL);
    check_block(&sample->capture, 1, 2, 0, 3100, sample->live.records, N_FULL);
}

static void evict_segment(struct sample *sample, uint32_t number)
{
    char path[PATH_MAX], away[PATH_MAX];
    pnr_segment_path(sample->capture.process, number, path);
    snprintf(away, sizeof away, "%s/away-%u", sample->capture.path, number);
    cr_assert_eq(rename(path, away), 0);
}

static void evict_first(struct sample *sample)
{
    evict_segment(sample, 4);
}

/* Both segments that there were, and one that was begun meanwhile, with the chunk's block. */
static void evict_all(struct sample *sample)
{
    evict_segment(sample, 4);
    evict_segment(sample, 5);
    sample->capture.segment = 7;
    add(sample, 3, 0);
    pnr_live_free(&sample->live, 0);
}

Test(reader, delivers_what_there_was_when_it_was_opened)
{
    static const struct { void (*run_on)(struct sample *); const char *blocks; uint32_t n_records; } table[] = {
        { fill, "1:1 1:2 1:4", 6 },
        { write_chunk, "1:1 1:2 1:4", 6 },
        { write_chunk_to_next_segment, "1:1 1:2 1:4", 6 },
        { write_chunk_as_short, "1:1 1:2 1:4", 6 },
        { write_chunk_and_use_it_again, "1:1 1:2 1:4", 6 },
        { retract_and_write_chunk, "1:1 1:2 1:4", 5 },
        { retract_chunk, "1:1 1:2", 4 },
        { give_chunk_back_and_write_another, "1:1 1:2 1:0", 4 },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct sample sample;
        make_running(&sample, 1, table[i].run_on);
        expect_running(&sample, table[i].blocks, table[i].n_records, "");
        cr_expect_not(sample.has_evicted, "row %zu", i);
    }
}

/* What is evicted before it could be read is no damage, and it is known from when on all is there. */
Test(reader, reports_what_was_evicted_meanwhile)
{
    struct sample sample;
    make_running(&sample, 4, evict_first);
    check_property(&sample.capture, "max_size", "1000");
    expect_running(&sample, "1:2 1:4", 4, "");
    cr_expect(sample.has_evicted);
    cr_expect_eq(sample.complete_ticks, 1002);
    make_running(&sample, 4, evict_all);
    check_property(&sample.capture, "max_size", "1000");
    expect_running(&sample, "", 0, "");
    cr_expect(sample.has_evicted);
    cr_expect_eq(sample.complete_ticks, 3001, "the chunk's last record");
    make_running(&sample, 4, evict_all);
    expect_running(&sample, "", 0, "D:process-7: segments 1 to 3 are missing; "
                                   "D:segment-4/thread-1.zst: cannot read: No such file or directory; "
                                   "D:segment-5/thread-1.zst: cannot read: No such file or directory; "
                                   "D:live: byte 4096: the block's segment is missing;");
    cr_expect_not(sample.has_evicted, "no limit allowed it");
}

/* A block that the process is writing, of a chunk that was taken after the snapshot of the chunks. */
Test(reader, distinguishes_running_from_killed)
{
    static const struct { long start; enum pnr_process_state state; const char *reports; } table[] = {
        { 0, PNR_PROCESS_RUNS, "" },
        { 1, PNR_PROCESS_GONE, "F:segment-2/thread-1.zst: byte %zu: file ends inside a block header;" },
    };
    for (size_t i = 0; i < 2; i++) {
        struct sample sample;
        struct diagnostics diagnostics = { collect, &sample.reports };
        struct pnr_err err;
        char process[160], reports[100];
        uint64_t until_ns;
        make_running(&sample, 1, NULL);
        pnr_live_free(&sample.live, 0);
        add(&sample, 2, 0);
        cut(&sample, sample.sizes[1] + 50);
        sample.live.header->process_start = pnr_process_start() - (uint64_t)table[i].start;
        sample.live.header->pid_namespace = pnr_process_namespace();
        snprintf(process, sizeof process, "%s/process-%d", sample.capture.path, (int)getpid());
        cr_assert_eq(rename(sample.capture.process, process), 0);
        struct reader *reader = reader_open(process, NULL, &diagnostics, &err);
        cr_assert_not_null(reader);
        cr_expect_eq(reader_process(reader, &until_ns), table[i].state);
        snprintf(reports, sizeof reports, table[i].reports, sample.sizes[1]);
        cr_expect_str_eq(sample.reports.text, reports, "%s", sample.reports.text);
        reader_close(reader);
        pnr_live_close(&sample.live, process, false);
        check_capture_remove(&sample.capture);
    }
}

Test(reader, reports_why_there_is_nothing_to_read)
{
    struct sample sample;
    struct diagnostics diagnostics = { collect, &sample.reports };
    struct pnr_err err;
    char path[160];
    make(&sample, true);
    snprintf(path, sizeof path, "%s/names", sample.capture.process);
    unlink(path);
    cr_expect_null(reader_open(sample.capture.process, NULL, &diagnostics, &err));
    cr_expect_eq(err.code, PNR_E_SYSTEM);
    check_append(path, "PNRNAMEX\1\0\0\0\0\0\0\0", 16);
    cr_expect_null(reader_open(sample.capture.process, NULL, &diagnostics, &err));
    cr_expect_eq(err.code, PNR_E_NOT_CAPTURE);
    check_capture_remove(&sample.capture);
}
