#include "convert/convert.h"
#include "convert/identities.h"

#include "check.h"

static const struct flows_choice flows = { .flows = ~0u };

static void collect(void *arg, enum diagnostic_level level, const char *line)
{
    const char *from = strstr(line, "process-");
    check_write(arg, "%c:%s;", level == DIAGNOSTIC_DAMAGE ? 'D' : 'F', from ? from : line);
}

/* Converts the processes, n of them, and returns what the sink received. */
static void run(const char *const *paths, size_t n, struct check_sink *sink, struct check_sink *reports)
{
    struct diagnostics diagnostics = { collect, reports };
    struct reader *readers[4];
    struct convert_count count;
    struct anomalies anomalies[4] = { { .lost = 0 } };
    struct pnr_err err;
    check_sink_init(sink);
    check_sink_init(reports);
    for (size_t i = 0; i < n; i++)
        cr_assert_not_null(readers[i] = reader_open(paths[i], NULL, &diagnostics, &err));
    cr_assert_eq(convert(readers, n, &(struct convert_options){ .flows = flows }, &sink->sink, &count, anomalies, &err),
                 0);
    anomalies_report(readers, n, convert_zero_ns(readers, n), anomalies, &diagnostics);
    for (size_t i = 0; i < n; i++)
        reader_close(readers[i]);
}

static void name_thread(struct check_capture *capture, uint32_t number, uint32_t tid)
{
    check_name(capture, (struct pnr_name){ .type = PNR_NAME_THREAD, .index = number, .number = tid,
                                           .strings = { check_string("t"), { NULL, 0 }, { NULL, 0 } } });
}

/* A generator that runs in two threads alternately, with a block each: the records are taken in the order of time. */
Test(convert, merges_threads)
{
    struct check_capture capture;
    struct check_sink sink, reports;
    const struct pnr_record one[] = { pnr_record_make(0, PNR_START, 9, 4), pnr_record_make(100, PNR_YIELD, 9, 4),
                                      pnr_record_make(600, PNR_RESUME, 9, 4), pnr_record_make(700, PNR_FINISH, 9, 4) };
    const struct pnr_record two[] = { pnr_record_make(100, PNR_RESUME, 9, 4), pnr_record_make(200, PNR_YIELD, 9, 4) };
    check_capture_make(&capture);
    check_block(&capture, 1, 0, 0, 1000, one, 4);
    check_block(&capture, 2, 0, 0, 1200, two, 2);
    run((const char *[]){ capture.process }, 1, &sink, &reports);
    cr_expect_str_eq(sink.text, "process7=process-7 thread0=1 thread1=2 0:4[1000,1100] 0:s1@1001 1:4[1300,1400] "
                                "1:t1@1301 0:f1@1601 0:4[1600,1700]", "%s", sink.text);
    cr_expect_str_eq(reports.text, "");
    check_capture_remove(&capture);
}

/* Open at the end: at the end of its thread, if that has one, else at that of the process. */
Test(convert, closes_what_is_open)
{
    struct check_capture capture;
    struct check_sink sink, reports;
    const struct pnr_record call[] = { pnr_record_make(0, PNR_CALL, 0, 1), pnr_record_make(50, PNR_CREATE, 0, 0) };
    check_capture_make(&capture);
    check_property(&capture, "end_ticks", "5000");
    check_block(&capture, 1, 0, PNR_BLOCK_LAST, 1000, call, 2);
    check_block(&capture, 2, 0, 0, 2000, call, 2);
    run((const char *[]){ capture.process }, 1, &sink, &reports);
    cr_expect(strstr(sink.text, "0:1[1000,1051]u 1:1[2000,5000]u"), "%s", sink.text);
    check_capture_remove(&capture);
}

Test(convert, moves_times_that_run_backwards)
{
    struct check_capture capture;
    struct check_sink sink, reports;
    const struct pnr_record call[] = { pnr_record_make(0, PNR_CALL, 0, 1), pnr_record_make(50, PNR_RETURN, 0, 1) };
    check_capture_make(&capture);
    check_block(&capture, 1, 0, 0, 1000, call, 2);
    check_block(&capture, 1, 1, 0, 500, call, 2);
    run((const char *[]){ capture.process }, 1, &sink, &reports);
    cr_expect(strstr(sink.text, "0:1[1000,1050] 0:1[1051,1052]"), "%s", sink.text);
    cr_expect_str_eq(reports.text, "D:process-7: 2 records earlier than the one before (moved up to its time);");
    check_capture_remove(&capture);
}

/* The exit of what was open before a pause and is no more is missing. A hole is worse than a pause. */
Test(convert, reports_pauses_and_holes)
{
    struct check_capture capture;
    struct check_sink sink, reports;
    const struct pnr_record calls[] = { pnr_record_make(0, PNR_CALL, 0, 1), pnr_record_make(50, PNR_CALL, 0, 2) };
    const struct pnr_record open[] = { pnr_record_make(0, PNR_OPEN, 0, 1), pnr_record_make(50, PNR_RETURN, 0, 1) };
    const struct pnr_record call[] = { pnr_record_make(0, PNR_CALL, 0, 3), pnr_record_make(50, PNR_RETURN, 0, 3) };
    check_capture_make(&capture);
    check_block(&capture, 1, 0, PNR_BLOCK_PAUSED, 1000, calls, 2);
    check_block(&capture, 1, 1, PNR_BLOCK_PAUSED, 2000, open, 2);
    check_block(&capture, 1, 2, PNR_BLOCK_PAUSED | PNR_BLOCK_RESYNC, 3000, call, 2);
    run((const char *[]){ capture.process }, 1, &sink, &reports);
    cr_expect(strstr(sink.text, "thread0=1 0:[recording was paused]@2000 0:2[1050,2001]l 0:1[1000,2050] "
                                "0:[events may be missing]@3000 0:3[3001,3050]"), "%s", sink.text);
    cr_expect_str_eq(reports.text, "F:process-7: 1 place where events may be missing;", "%s", reports.text);
    check_capture_remove(&capture);
}

/* Times are rounded up: from then on nothing is missing. */
Test(convert, reports_what_was_evicted)
{
    struct check_capture capture, all;
    struct check_sink sink, reports;
    const struct pnr_record call[] = { pnr_record_make(0, PNR_CALL, 0, 1), pnr_record_make(50, PNR_RETURN, 0, 1) };
    check_capture_make(&capture);
    capture.segment = 3;
    check_block(&capture, 1, 8, 0, 2345000001, call, 2);
    check_property(&capture, "max_size", "1000");
    check_capture_make(&all);
    check_property(&all, "max_size", "1000");
    check_property(&all, "end_ticks", "5000");
    run((const char *[]){ capture.process, all.process }, 2, &sink, &reports);
    cr_expect(strstr(sink.text, " 0:1[2345000001,2345000051]"), "%s", sink.text);
    cr_expect_str_eq(reports.text, "F:process-7: older events were evicted (--max-size, --last): complete from 2.346 s "
                                "on; F:process-7: all events were evicted (--max-size, --last);", "%s", reports.text);
    check_capture_remove(&capture);
    check_capture_remove(&all);
}

Test(convert, makes_ids_unique)
{
    struct check_capture one, two;
    struct check_sink sink, reports;
    const struct pnr_record call[] = { pnr_record_make(0, PNR_CALL, 0, 1), pnr_record_make(50, PNR_RETURN, 0, 1) };
    check_capture_make(&one);
    check_capture_make(&two);
    for (uint32_t i = 1; i <= 4; i++) {
        check_block(&one, i, 0, 0, 1000, call, 2);
        name_thread(&one, i, i == 3 ? 71 : 70);
    }
    run((const char *[]){ one.process, two.process }, 2, &sink, &reports);
    cr_expect_eq(strncmp(sink.text, "process7=process-7 thread0=70 thread1=4194374 thread2=71 thread3=8388678 ", 73), 0,
                 "%s", sink.text);
    cr_expect(strstr(sink.text, " process4194311=process-7"), "%s", sink.text);
    check_capture_remove(&one);
    check_capture_remove(&two);
}

static void name_track(struct check_capture *capture, uint32_t number)
{
    check_name(capture, (struct pnr_name){ .type = PNR_NAME_THREAD, .kind = PNR_THREAD_GREENLET, .index = number,
                                           .strings = { check_string("g"), { NULL, 0 }, { NULL, 0 } } });
}

/* Returns what the sink received after the names of all threads. */
static const char *events_of(const struct check_sink *sink)
{
    const char *events = sink->text;
    for (const char *at = sink->text; (at = strstr(at, "thread")); at++)
        events = at;
    events = strchr(events, ' ');
    return events ? events + 1 : "";
}

/* Blocks of thread 1, from 1000 and 2000 on; greenlets 2 and 3 are known, 4 runs in thread 5. Slices of thread 1 are
 * shown as 0:, those of thread 5 as 1:, those of the greenlets as 2:, 3:, 4:. */
Test(convert, gives_tracks_stacks_of_their_own)
{
    enum { CALL = PNR_CALL, RET = PNR_RETURN, OPEN = PNR_OPEN, SWITCH = PNR_SWITCH, LOST = PNR_LOST,
           LISTED = PNR_SWITCH_OPEN, DEEPER = PNR_SWITCH_OPEN | PNR_SWITCH_DEEPER, ADDED = PNR_SWITCH_ADDED };
    static const struct {
        struct { uint64_t ticks; unsigned kind; uint64_t frame; uint32_t function; } records[2][8];
        uint32_t track;                 /* of the second block */
        unsigned flags;                 /* also its */
        const char *events;
        const char *reports;
    } table[] = {
        /* alternately, with the same function in all; at equal ticks */
        { { { { 0, CALL, 0, 1 }, { 10, SWITCH, LISTED, 2 }, { 10, CALL, 0, 1 }, { 20, SWITCH, 0, 0 }, { 20, RET, 0, 1 },
              { 30, SWITCH, 0, 2 }, { 30, RET, 0, 1 } } }, 0, 0, "0:1[1000,1020] 2:1[1010,1030]", "" },
        /* what OPEN records after a SWITCH list: nothing is new; something left; something found; only the innermost */
        { { { { 0, SWITCH, LISTED, 2 }, { 10, CALL, 0, 1 }, { 20, CALL, 0, 2 } },
            { { 0, CALL, 0, 3 }, { 10, SWITCH, LISTED, 2 }, { 10, OPEN, 0, 1 }, { 10, OPEN, 0, 2 },
              { 30, RET, 0, 2 } } },
          0, 0, "2:2[1020,2030] 0:3[2000,2030]u 2:1[1010,2031]u", "" },
        { { { { 0, SWITCH, LISTED, 2 }, { 10, CALL, 0, 1 }, { 20, CALL, 0, 2 } },
            { { 10, SWITCH, LISTED, 2 }, { 10, OPEN, 0, 1 }, { 30, RET, 0, 1 } } }, 0, 0,
          "2:2[1020,2010]l 2:1[1010,2030]", "" },
        { { { { 0, CALL, 0, 3 }, { 10, SWITCH, LISTED, 2 }, { 10, OPEN, 0, 1 }, { 30, RET, 0, 1 } } }, 0, 0,
          "2:1[1010,1030]b 0:3[1000,1030]u", "" },
        { { { { 0, SWITCH, LISTED, 2 }, { 10, CALL, 0, 1 }, { 20, CALL, 0, 2 } },
            { { 10, SWITCH, DEEPER, 2 }, { 10, OPEN, 0, 2 }, { 30, RET, 0, 2 } } }, 0, 0,
          "2:2[1020,2030] 2:1[1010,2031]u", "" },
        /* added frames: of a recursion, though its innermost frames look the same; with bit 0 it is a list */
        { { { { 0, CALL, 0, 1 }, { 10, CALL, 0, 1 }, { 20, SWITCH, ADDED, 0 }, { 20, OPEN, 0, 1 }, { 30, RET, 0, 1 },
              { 40, RET, 0, 1 }, { 50, RET, 0, 1 } } }, 0, 0, "0:1[1020,1030]b 0:1[1010,1040] 0:1[1000,1050]", "" },
        { { { { 0, CALL, 0, 1 }, { 10, CALL, 0, 1 }, { 20, SWITCH, LISTED | ADDED, 0 }, { 20, OPEN, 0, 1 },
              { 30, RET, 0, 1 } } }, 0, 0, "0:1[1010,1020]l 0:1[1000,1030]", "" },
        /* exits of frames that a list has left out, which is known until there is a whole list */
        { { { { 0, SWITCH, DEEPER, 0 }, { 0, OPEN, 0, 1 }, { 10, RET, 0, 1 }, { 20, RET, 0, 2 }, { 30, CALL, 0, 1 },
              { 40, RET, 0, 1 }, { 50, RET, 0, 2 } } }, 0, 0, "0:1[1000,1010]b 0:1[1030,1040]", "" },
        { { { { 0, SWITCH, DEEPER, 0 }, { 0, OPEN, 0, 1 }, { 10, RET, 0, 2 }, { 20, RET, 0, 1 }, { 30, SWITCH, LISTED, 0 },
              { 40, RET, 0, 2 } } }, 0, 0, "0:1[1000,1020]b",
          "F:process-7: 2 function exits without a matching entry (ignored);" },
        /* a block that begins in a track; its instants are that one's, and all tracks end with their thread */
        { { { { 0, CALL, 0, 3 }, { 10, SWITCH, LISTED, 2 }, { 10, CALL, 0, 1 } },
            { { 0, OPEN, 0, 1 }, { 5, LOST, 0, 7 }, { 10, CALL, 0, 2 }, { 20, SWITCH, LISTED, 0 }, { 20, OPEN, 0, 3 },
              { 30, CALL, 0, 2 } } }, 2, PNR_BLOCK_PAUSED | PNR_BLOCK_LAST,
          "2:[recording was paused]@2000 2:[lost 7 events]@2005 0:2[2030,2031]u 0:3[1000,2032]u 2:2[2010,2030]u "
          "2:1[1010,2031]u", "F:process-7: 7 events lost by the recorder;" },
        /* no such track: its OPEN records are passed over, the one before goes on */
        { { { { 0, CALL, 0, 3 }, { 10, SWITCH, LISTED, 9 }, { 10, OPEN, 0, 1 }, { 20, CALL, 0, 2 } },
            { { 0, OPEN, 0, 1 }, { 10, RET, 0, 2 }, { 20, RET, 0, 3 } } }, 9, PNR_BLOCK_RESYNC,
          "0:[events may be missing]@2000 0:2[1020,2010] 0:3[1000,2020]",
          "F:process-7: 1 place where events may be missing;"
          " D:process-7: 2 switch records to a greenlet that has no name or belongs to another thread (skipped);" },
        /* a thread is not a track; a track that has run in another thread is not one of this thread */
        { { { { 0, CALL, 0, 3 }, { 0, SWITCH, 0, 5 }, { 10, SWITCH, LISTED, 4 }, { 20, RET, 0, 3 } } }, 0, 0,
          "0:3[1000,1020]",
          "D:process-7: 2 switch records to a greenlet that has no name or belongs to another thread (skipped);" },
        /* OPEN records that the SWITCH does not announce */
        { { { { 0, CALL, 0, 3 }, { 10, SWITCH, 0, 2 }, { 10, OPEN, 0, 1 }, { 20, SWITCH, 0, 0 }, { 30, RET, 0, 3 } } },
          0, 0, "0:3[1000,1030]", "D:process-7: 1 record of an unknown kind (skipped);" },
    };
    const struct pnr_record other = pnr_record_make(0, PNR_SWITCH, PNR_SWITCH_OPEN, 4);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct check_capture capture;
        struct check_sink sink, reports;
        check_capture_make(&capture);
        for (uint32_t number = 0; number <= 4; number++)
            if (number != 1)
                name_track(&capture, number);
        name_thread(&capture, 1, 70);
        name_thread(&capture, 5, 71);
        check_block(&capture, 5, 0, 0, 500, &other, 1);
        for (uint32_t k = 0; k < 2; k++) {
            struct pnr_record records[8];
            uint32_t n = 0;
            for (; n < 8 && table[i].records[k][n].kind; n++)
                records[n] = pnr_record_make(table[i].records[k][n].ticks, table[i].records[k][n].kind,
                                             table[i].records[k][n].frame, table[i].records[k][n].function);
            capture.track = k ? table[i].track : 0;
            if (n)
                check_block(&capture, 1, k, k ? table[i].flags : 0, 1000 + 1000 * k, records, n);
        }
        run((const char *[]){ capture.process }, 1, &sink, &reports);
        cr_expect_eq(strncmp(sink.text, "process7=process-7 thread0=70 thread1=71 thread2=2147483650 "
                             "thread3=2147483651 thread4=2147483652 ", 98), 0, "%s", sink.text);
        cr_expect_str_eq(events_of(&sink), table[i].events, "row %zu: %s", i, sink.text);
        cr_expect_str_eq(reports.text, table[i].reports, "row %zu: %s", i, reports.text);
        check_capture_remove(&capture);
    }
}

/* A generator goes on in another greenlet of its thread, and then in another thread. */
Test(convert, continues_flows_in_other_tracks)
{
    struct check_capture capture;
    struct check_sink sink, reports;
    const struct pnr_record one[] = {
        pnr_record_make(0, PNR_START, 9, 4), pnr_record_make(100, PNR_YIELD, 9, 4),
        pnr_record_make(100, PNR_SWITCH, PNR_SWITCH_OPEN, 2), pnr_record_make(100, PNR_RESUME, 9, 4),
        pnr_record_make(200, PNR_YIELD, 9, 4) };
    const struct pnr_record two[] = { pnr_record_make(0, PNR_RESUME, 9, 4), pnr_record_make(100, PNR_FINISH, 9, 4) };
    check_capture_make(&capture);
    name_track(&capture, 2);
    check_block(&capture, 1, 0, 0, 1000, one, 5);
    check_block(&capture, 3, 0, 0, 1300, two, 2);
    run((const char *[]){ capture.process }, 1, &sink, &reports);
    cr_expect_str_eq(events_of(&sink), "0:4[1000,1100] 0:s1@1001 2:4[1100,1200] 2:t1@1101 1:f1@1301 1:4[1300,1400]",
                     "%s", sink.text);
    check_capture_remove(&capture);
}

/* With equal ticks the thread with the lower number comes first, whichever ran before: here it begins a flow. */
Test(convert, merges_equal_ticks_by_threads)
{
    struct check_capture capture;
    struct check_sink sink, reports;
    const struct pnr_record one[] = { pnr_record_make(0, PNR_START, 9, 4), pnr_record_make(100, PNR_YIELD, 9, 4) };
    const struct pnr_record two[] = { pnr_record_make(0, PNR_CALL, 0, 1), pnr_record_make(200, PNR_RESUME, 9, 4),
                                      pnr_record_make(300, PNR_FINISH, 9, 4) };
    check_capture_make(&capture);
    check_block(&capture, 1, 0, 0, 1200, one, 2);
    check_block(&capture, 2, 0, 0, 1000, two, 3);
    run((const char *[]){ capture.process }, 1, &sink, &reports);
    cr_expect(strstr(sink.text, " 0:s1@"), "%s", sink.text);
    check_capture_remove(&capture);
}

static void expect_name(const char *command, const char *name, const char *start_method, const char *expected)
{
    struct check_capture capture;
    struct check_sink reports;
    const struct diagnostics diagnostics = { collect, &reports };
    struct pnr_err err;
    check_sink_init(&reports);
    check_capture_make(&capture);
    if (command)
        check_property(&capture, "command", command);
    if (name)
        check_property(&capture, "process_name", name);
    if (start_method)
        check_property(&capture, "born", start_method);
    struct reader *reader = reader_open(capture.process, NULL, &diagnostics, &err);
    cr_assert_not_null(reader);
    struct pnr_string found = process_name(reader);
    cr_expect(found.size == strlen(expected) && memcmp(found.bytes, expected, found.size) == 0, "%.*s, not %s",
              (int)found.size, found.bytes, expected);
    free((char *)found.bytes);
    reader_close(reader);
    check_capture_remove(&capture);
}

Test(convert, names_processes)
{
    expect_name("app.py x", NULL, NULL, "app.py x");
    expect_name("app.py", NULL, "fork", "app.py (fork)");
    expect_name("app.py", NULL, "exec", "app.py");
    expect_name("app.py", "", "fork", "app.py (fork)");
    expect_name("app.py", "Process-1", "fork", "Process-1: app.py");
    expect_name("app.py", "Process-1", "exec", "Process-1: app.py");
    expect_name("app.py", "main", NULL, "main: app.py");
    expect_name(NULL, "main", NULL, "main: process-7");
    expect_name("", NULL, "fork", "process-7 (fork)");
}

/* A process killed while it wrote the OPEN records of a chunk: what was open stays open. */
Test(convert, passes_over_open_records_that_were_cut_off)
{
    struct check_capture capture;
    struct check_sink sink, reports;
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
    run((const char *[]){ capture.process }, 1, &sink, &reports);
    cr_expect(strstr(sink.text, " 0:2[1050,2000]u 0:1[1000,2001]u"), "%s", sink.text);
    check_capture_remove(&capture);
}
