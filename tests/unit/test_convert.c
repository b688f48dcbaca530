#include "convert/convert.h"

#include "check.h"

#define KINDS (~0u)

static void collect(void *arg, enum note_level level, const char *line)
{
    const char *from = strstr(line, "process-");
    check_write(arg, "%c:%s;", level == NOTE_DAMAGE ? 'D' : 'F', from ? from : line);
}

/* Converts the processes, n of them, and gives what the sink was told. */
static void run(const char *const *paths, size_t n, struct check_sink *sink, struct check_sink *said)
{
    struct notes notes = { collect, said };
    struct reader *readers[4];
    struct convert_count count;
    struct pnr_err err;
    check_sink_init(sink);
    check_sink_init(said);
    for (size_t i = 0; i < n; i++)
        cr_assert_not_null(readers[i] = reader_open(paths[i], &notes, &err));
    cr_assert_eq(convert(readers, n, KINDS, &sink->sink, &notes, &count, &err), 0);
    for (size_t i = 0; i < n; i++)
        reader_close(readers[i]);
}

static void name_thread(struct check_capture *capture, uint32_t number, uint32_t tid)
{
    check_name(capture, (struct pnr_name){ .type = PNR_NAME_THREAD, .index = number, .number = tid,
                                           .strings = { check_string("t"), { NULL, 0 }, { NULL, 0 } } });
}

/* A generator that runs in two threads by turns, with a block each: the records are taken in the order of time. */
Test(convert, merges_threads)
{
    struct check_capture capture;
    struct check_sink sink, said;
    const struct pnr_record one[] = { pnr_record_make(0, PNR_START, 9, 4), pnr_record_make(100, PNR_YIELD, 9, 4),
                                      pnr_record_make(600, PNR_RESUME, 9, 4), pnr_record_make(700, PNR_FINISH, 9, 4) };
    const struct pnr_record two[] = { pnr_record_make(100, PNR_RESUME, 9, 4), pnr_record_make(200, PNR_YIELD, 9, 4) };
    check_capture_make(&capture);
    check_block(&capture, 1, 0, 0, 1000, one, 4);
    check_block(&capture, 2, 0, 0, 1200, two, 2);
    run((const char *[]){ capture.process }, 1, &sink, &said);
    cr_expect_str_eq(sink.text, "process7=process-7 thread0=1 thread1=2 0:4[1000,1100] 0:s1@1099 1:4[1300,1400] "
                                "1:t1@1301 0:f1@1601 0:4[1600,1700]", "%s", sink.text);
    cr_expect_str_eq(said.text, "");
    check_capture_remove(&capture);
}

/* Open at the end: at the end of its thread, if that has one, else at that of the process. */
Test(convert, closes_what_is_open)
{
    struct check_capture capture;
    struct check_sink sink, said;
    const struct pnr_record call[] = { pnr_record_make(0, PNR_CALL, 0, 1), pnr_record_make(50, PNR_CREATE, 0, 0) };
    check_capture_make(&capture);
    check_fact(&capture, "end_ticks", "5000");
    check_block(&capture, 1, 0, PNR_BLOCK_LAST, 1000, call, 2);
    check_block(&capture, 2, 0, 0, 2000, call, 2);
    run((const char *[]){ capture.process }, 1, &sink, &said);
    cr_expect(strstr(sink.text, "0:1[1000,1050]u 1:1[2000,5000]u"), "%s", sink.text);
    check_capture_remove(&capture);
}

Test(convert, moves_times_that_run_backwards)
{
    struct check_capture capture;
    struct check_sink sink, said;
    const struct pnr_record call[] = { pnr_record_make(0, PNR_CALL, 0, 1), pnr_record_make(50, PNR_RETURN, 0, 1) };
    check_capture_make(&capture);
    check_block(&capture, 1, 0, 0, 1000, call, 2);
    check_block(&capture, 1, 1, 0, 500, call, 2);
    run((const char *[]){ capture.process }, 1, &sink, &said);
    cr_expect(strstr(sink.text, "0:1[1000,1050] 0:1[1051,1052]"), "%s", sink.text);
    cr_expect_str_eq(said.text, "D:process-7: records earlier than the one before them, moved up: 2;");
    check_capture_remove(&capture);
}

/* What was open before a pause and is no more is left unseen; a hole is worse than a pause. */
Test(convert, tells_of_pauses_and_holes)
{
    struct check_capture capture;
    struct check_sink sink, said;
    const struct pnr_record calls[] = { pnr_record_make(0, PNR_CALL, 0, 1), pnr_record_make(50, PNR_CALL, 0, 2) };
    const struct pnr_record open[] = { pnr_record_make(0, PNR_OPEN, 0, 1), pnr_record_make(50, PNR_RETURN, 0, 1) };
    const struct pnr_record call[] = { pnr_record_make(0, PNR_CALL, 0, 3), pnr_record_make(50, PNR_RETURN, 0, 3) };
    check_capture_make(&capture);
    check_block(&capture, 1, 0, PNR_BLOCK_PAUSED, 1000, calls, 2);
    check_block(&capture, 1, 1, PNR_BLOCK_PAUSED, 2000, open, 2);
    check_block(&capture, 1, 2, PNR_BLOCK_PAUSED | PNR_BLOCK_RESYNC, 3000, call, 2);
    run((const char *[]){ capture.process }, 1, &sink, &said);
    cr_expect(strstr(sink.text, "thread0=1 0:[recording was paused]@2000 0:2[1050,2001]l 0:1[1000,2050] "
                                "0:[events may be missing]@3000 0:3[3001,3050]"), "%s", sink.text);
    cr_expect_str_eq(said.text, "F:process-7: places where events may be missing: 1;", "%s", said.text);
    check_capture_remove(&capture);
}

/* Times are rounded up: from then on nothing is missing. */
Test(convert, tells_what_was_dropped)
{
    struct check_capture capture, all;
    struct check_sink sink, said;
    const struct pnr_record call[] = { pnr_record_make(0, PNR_CALL, 0, 1), pnr_record_make(50, PNR_RETURN, 0, 1) };
    check_capture_make(&capture);
    capture.segment = 3;
    check_block(&capture, 1, 8, 0, 2345000001, call, 2);
    check_capture_make(&all);
    check_fact(&all, "end_ticks", "5000");
    run((const char *[]){ capture.process, all.process }, 2, &sink, &said);
    cr_expect(strstr(sink.text, " 0:1[2345000001,2345000051]"), "%s", sink.text);
    cr_expect_str_eq(said.text, "F:process-7: older events were dropped (--max-size, --last): complete from 2.346 s "
                                "on; F:process-7: all events were dropped (--max-size, --last);", "%s", said.text);
    check_capture_remove(&capture);
    check_capture_remove(&all);
}

Test(convert, makes_ids_unique)
{
    struct check_capture one, two;
    struct check_sink sink, said;
    const struct pnr_record call[] = { pnr_record_make(0, PNR_CALL, 0, 1), pnr_record_make(50, PNR_RETURN, 0, 1) };
    check_capture_make(&one);
    check_capture_make(&two);
    for (uint32_t i = 1; i <= 4; i++) {
        check_block(&one, i, 0, 0, 1000, call, 2);
        name_thread(&one, i, i == 3 ? 71 : 70);
    }
    run((const char *[]){ one.process, two.process }, 2, &sink, &said);
    cr_expect_eq(strncmp(sink.text, "process7=process-7 thread0=70 thread1=4194374 thread2=71 thread3=8388678 ", 73), 0,
                 "%s", sink.text);
    cr_expect(strstr(sink.text, " process4194311=process-7"), "%s", sink.text);
    check_capture_remove(&one);
    check_capture_remove(&two);
}

/* A process killed while it wrote the OPEN records of a chunk: what was open stays open. */
Test(convert, passes_over_open_records_that_were_cut_off)
{
    struct check_capture capture;
    struct check_sink sink, said;
    struct pnr_live live;
    struct pnr_err err;
    const struct pnr_record calls[] = { pnr_record_make(0, PNR_CALL, 0, 1), pnr_record_make(50, PNR_CALL, 0, 2) };
    check_capture_make(&capture);
    check_block(&capture, 1, 0, 0, 1000, calls, 2);
    cr_assert_eq(pnr_live_create(capture.process, 1, &live, &err), 0);
    live.chunks[0].block = (struct pnr_block_header){ .thread = 1, .sequence = 1, .n_open = 2,
                                                      .begin = { 2000, 2000, 2000 } };
    pnr_block_header_seal(&live.chunks[0].block);
    live.records[0] = pnr_record_make(0, PNR_OPEN, 0, 1);
    live.chunks[0].state = PNR_CHUNK_IN_USE;
    pnr_live_close(&live, capture.process, false);
    run((const char *[]){ capture.process }, 1, &sink, &said);
    cr_expect(strstr(sink.text, " 0:2[1050,2000]u 0:1[1000,2001]u"), "%s", sink.text);
    check_capture_remove(&capture);
}
