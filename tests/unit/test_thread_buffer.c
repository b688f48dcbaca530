/* The buffer and the drain together, without an interpreter: what is appended is in the capture, in order, however
 * many threads and chunks there are and whatever fails. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "recorded.h"

static char folder[] = "/tmp/panopticon-test-XXXXXX", capture[PATH_MAX], process[PATH_MAX];

static void begin_with(struct rec_drain_options options)
{
    char path[PATH_MAX];
    struct pnr_err err;
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/run.pnr", folder);
    rec_clock_init();
    cr_assert_eq(rec_session_start(path, false, &options, capture, &err), 0, "%s", err.what);
    snprintf(process, sizeof process, "%.4000s/process-%d", capture, getpid());
}

static void begin(void)
{
    begin_with((struct rec_drain_options){ .drops = false });
}

/* With eight chunks. */
static void begin_small(void)
{
    begin_with((struct rec_drain_options){ .limits = { .max_size = REC_MIN_SIZE }, .drops = true });
}

static void end(void)
{
    char command[PATH_MAX + 16];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_expect_eq(system(command), 0);
}

static uint64_t count_in_file(uint32_t thread, bool *is_ended)
{
    struct in_file in_file = read_thread(process, thread);
    *is_ended = in_file.is_ended;
    return in_file.n;
}

Test(buffer, writes_every_record_in_order, .init = begin, .fini = end)
{
    const uint64_t n = 40 * PNR_BLOCK_RECORDS + 3;
    struct rec_totals totals;
    bool is_ended;
    struct rec_buffer *buffer = new_buffer(7);
    for (uint64_t i = 0; i < n; i++)
        append(buffer, i);
    rec_session_stop(&totals);
    cr_expect_eq(totals.n_events, n);
    cr_expect_eq(totals.n_threads, 1);
    cr_expect_eq(totals.failure.code, PNR_OK);
    cr_expect_eq(count_in_file(1, &is_ended), n);
    cr_expect_not(is_ended);
    char live[PATH_MAX + 8];
    snprintf(live, sizeof live, "%s/live", process);
    cr_expect_neq(access(live, F_OK), 0, "the live mapping is gone after a clean end");
}

Test(buffer, marks_the_last_block_of_a_thread, .init = begin, .fini = end)
{
    struct rec_totals totals;
    bool is_ended;
    struct rec_buffer *buffer = new_buffer(7);
    append(buffer, 0);
    end_buffer(buffer);
    rec_session_stop(&totals);
    cr_expect_eq(count_in_file(1, &is_ended), 1);
    cr_expect(is_ended);
}

/* Threads that come and go with few events need no file each; one that lives on has one. */
Test(buffer, keeps_short_threads_together, .init = begin, .fini = end)
{
    enum { THREADS = 1000 };
    struct rec_totals totals;
    struct rec_buffer *buffer = new_buffer(7);
    uint32_t *threads;
    size_t n;
    bool is_ended;
    struct pnr_err err;
    append(buffer, 0);
    for (int i = 0; i < THREADS; i++) {
        struct rec_buffer *other = new_buffer(7);
        append(other, 0);
        end_buffer(other);
    }
    append(buffer, 1);
    rec_session_stop(&totals);
    cr_assert_eq(pnr_capture_threads(process, 1, &threads, &n, &err), 0);
    cr_assert_eq(n, 2);
    cr_expect_eq(threads[0], PNR_SHORT_THREADS);
    cr_expect_eq(threads[1], 1, "it lived on");
    free(threads);
    for (uint32_t i = 1; i <= THREADS + 1; i++) {
        cr_expect_eq(count_in_file(i, &is_ended), i == 1 ? 2 : 1, "thread %u", i);
        cr_expect_eq(is_ended, i != 1);
    }
}

Test(buffer, takes_chunks_from_others_when_all_are_held, .init = begin, .fini = end)
{
    enum { THREADS = 3 * REC_DRAIN_CHUNKS, ROUNDS = 5 };
    static struct rec_buffer *buffers[THREADS];
    struct rec_totals totals;
    bool is_ended;
    for (int t = 0; t < THREADS; t++)
        buffers[t] = new_buffer(7);
    for (uint64_t round = 0; round < ROUNDS; round++)
        for (int t = 0; t < THREADS; t++)
            append(buffers[t], round);
    rec_session_stop(&totals);
    cr_expect_eq(totals.n_events, THREADS * ROUNDS);
    for (uint32_t t = 1; t <= THREADS; t++)
        cr_expect_eq(count_in_file(t, &is_ended), ROUNDS, "thread %u", t);
}

Test(buffer, takes_a_record_back, .init = begin, .fini = end)
{
    struct rec_totals totals;
    bool is_ended;
    struct rec_buffer *buffer = new_buffer(7);
    append(buffer, 0);
    append(buffer, 99);
    rec_buffer_retract(buffer);
    cr_expect_eq(pnr_record_kind(*buffer->next), PNR_EMPTY, "a reader of the live mapping must not see it");
    append(buffer, 1);
    rec_session_stop(&totals);
    cr_expect_eq(totals.n_events, 2);
    cr_expect_eq(count_in_file(1, &is_ended), 2);
}

/* Below 100 ticks: what is stored, the exit that comes, and how many records then are left. */
Test(buffer, drops_short_calls, .init = begin, .fini = end)
{
    enum { F = 8, G = 9 };              /* frames of functions 2 and 3 */
    static const struct {
        struct { uint64_t ticks; enum pnr_kind kind; uint64_t frame; uint32_t function; } records[6];
        uint64_t ticks;
        enum pnr_kind exit;
        uint64_t frame;
        uint32_t function;
        int left;
        bool is_dropped;
    } table[] = {
        { { { 10, PNR_CALL, 0, 1 } }, 109, PNR_RETURN, 0, 1, 0, true },
        { { { 10, PNR_CALL, 0, 1 } }, 110, PNR_RETURN, 0, 1, 1, false },
        { { { 10, PNR_CALL, 0, 1 } }, 20, PNR_UNWIND, 0, 1, 0, true },
        { { { 10, PNR_C_CALL, 0, 1 } }, 20, PNR_C_RETURN, 0, 1, 0, true },
        { { { 10, PNR_C_CALL, 0, 1 } }, 20, PNR_C_RAISE, 0, 1, 0, true },
        /* what is around it stays */
        { { { 10, PNR_CALL, 0, 4 }, { 11, PNR_CALL, 0, 1 } }, 20, PNR_RETURN, 0, 1, 1, true },
        /* something in it; another's entry; none */
        { { { 10, PNR_CALL, 0, 1 }, { 11, PNR_UNRECORDED, 0, 1 }, { 12, PNR_UNRECORDED_END, 0, 1 } }, 20, PNR_RETURN, 0, 1, 3, false },
        { { { 10, PNR_CALL, 0, 1 } }, 20, PNR_RETURN, 0, 2, 1, false },
        { { { 10, PNR_CALL, 0, 1 } }, 20, PNR_C_RETURN, 0, 1, 1, false },
        { { { 0 } }, 20, PNR_RETURN, 0, 1, 0, false },
        /* a step of a continuable frame; a whole life; but no first step or last one alone */
        { { { 10, PNR_RESUME, F, 2 } }, 20, PNR_YIELD, F, 2, 0, true },
        { { { 10, PNR_START, F, 2 } }, 20, PNR_FINISH, F, 2, 0, true },
        { { { 10, PNR_START, F, 2 } }, 20, PNR_FINISH_UNWIND, F, 2, 0, true },
        { { { 10, PNR_START, F, 2 } }, 20, PNR_YIELD, F, 2, 1, false },
        { { { 10, PNR_RESUME, F, 2 } }, 20, PNR_FINISH, F, 2, 1, false },
        { { { 10, PNR_RESUME, G, 2 } }, 20, PNR_YIELD, F, 2, 1, false },
        /* CREATE is nothing in a call; a whole life takes its own with it, however old, and no other */
        { { { 10, PNR_CALL, 0, 1 }, { 11, PNR_CREATE, F, 2 }, { 12, PNR_CREATE, G, 3 } }, 20, PNR_RETURN, 0, 1, 0, true },
        { { { 10, PNR_CALL, 0, 1 }, { 11, PNR_CREATE, F, 2 } }, 120, PNR_RETURN, 0, 1, 2, false },
        { { { 10, PNR_CREATE, F, 2 }, { 300, PNR_START, F, 2 }, { 301, PNR_CREATE, G, 3 } }, 310, PNR_FINISH, F, 2, 0,
          true },
        { { { 10, PNR_CREATE, G, 3 }, { 300, PNR_START, F, 2 } }, 310, PNR_FINISH, F, 2, 1, true },
        { { { 10, PNR_CREATE, F, 2 } }, 20, PNR_RETURN, 0, 1, 1, false },
    };
    struct rec_totals totals;
    struct rec_buffer *buffer = new_buffer(7);
    rec_session_set_min_duration(1000000000);
    cr_expect_geq(rec_min_duration_ticks, 1000000, "a second has as many ticks at the least");
    rec_min_duration_ticks = 100;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        cr_assert(rec_buffer_start_chunk(buffer, 0, 1));
        rec_buffer_append(buffer, 0, PNR_OPEN, 0, 1);
        for (int k = 0; k < 6 && table[i].records[k].kind; k++)
            rec_buffer_append(buffer, table[i].records[k].ticks, table[i].records[k].kind, table[i].records[k].frame,
                          table[i].records[k].function);
        bool is_dropped = rec_buffer_elide(buffer, table[i].ticks, table[i].exit, table[i].frame, table[i].function);
        cr_expect_eq(is_dropped, table[i].is_dropped, "row %zu", i);
        cr_expect_eq(buffer->next - buffer->first, table[i].left, "row %zu", i);
        cr_expect_eq(pnr_record_kind(*buffer->next), PNR_EMPTY, "row %zu", i);
        cr_expect_eq(buffer->next->word[1], 0, "row %zu", i);
    }
    rec_min_duration_ticks = 0;
    rec_buffer_append(buffer, 10, PNR_CALL, 0, 1);
    cr_expect_not(rec_buffer_elide(buffer, 11, PNR_RETURN, 0, 1), "there is no minimum");
    rec_session_stop(&totals);
}

/* What lies before the chunk's own records is another's. */
Test(buffer, drops_nothing_of_the_chunk_before, .init = begin, .fini = end)
{
    struct rec_totals totals;
    struct rec_buffer *buffer = new_buffer(7);
    cr_assert(rec_buffer_start_chunk(buffer, 0, 1));
    rec_buffer_append(buffer, 0, PNR_CALL, 0, 1);      /* in the place of an OPEN record */
    rec_min_duration_ticks = 100;
    cr_expect_not(rec_buffer_elide(buffer, 11, PNR_RETURN, 0, 1));
    cr_expect_eq(buffer->next - buffer->records, 1);
    rec_session_stop(&totals);
}

Test(buffer, turns_before_ticks_overflow, .init = begin, .fini = end)
{
    struct rec_totals totals;
    bool is_ended;
    struct rec_buffer *buffer = new_buffer(7);
    append(buffer, 0);
    buffer->base -= PNR_TICKS_MAX + 1;     /* as if the block had begun so long ago */
    append(buffer, 1);
    cr_expect_eq(buffer->next - buffer->records, 1, "the second record begins a block");
    rec_session_stop(&totals);
    cr_expect_eq(count_in_file(1, &is_ended), 2);
}

/* Recording pauses: what was stored is written, and the threads go on with new blocks. */
Test(buffer, puts_the_chunks_of_all, .init = begin, .fini = end)
{
    struct rec_totals totals;
    struct rec_buffer *buffers[] = { new_buffer(7), new_buffer(7), new_buffer(7) };
    append(buffers[0], 0);
    append(buffers[1], 0);
    rec_buffer_flush_all();
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(buffers[i]->chunk, -1);
        cr_expect_not(rec_buffer_has_capacity(buffers[i], 0), "its next event turns");
    }
    append(buffers[0], 1);
    rec_session_stop(&totals);
    cr_expect_eq(totals.n_events, 3);
    static const uint32_t n_blocks[] = { 2, 1, 0 };
    for (uint32_t i = 0; i < 3; i++) {
        struct in_file in_file = read_thread(process, i + 1);
        cr_expect_eq(in_file.n_blocks, n_blocks[i]);
        cr_expect_eq(in_file.n, n_blocks[i]);
    }
}

static void wait_for_turn(struct rec_buffer *buffer)
{
    for (int i = 0; i < 5000 && !rec_buffer_start_chunk(buffer, 0, 0); i++)
        usleep(1000);
    cr_assert(rec_buffer_has_capacity(buffer, 0));
}

/* With `drops` a thread that finds no free chunk goes without, while some wait to be written. */
Test(buffer, goes_without_rather_than_wait, .init = begin_small, .fini = end)
{
    const uint64_t n = 8 * PNR_BLOCK_RECORDS;
    struct rec_totals totals;
    struct rec_buffer *buffer = new_buffer(7), *other = new_buffer(7);
    rec_drain_park();                  /* nobody writes */
    for (uint64_t i = 0; i < n; i++)
        append(buffer, i);
    cr_expect_not(rec_buffer_start_chunk(buffer, 0, 0));
    cr_expect_not(rec_session_is_closed());
    for (int i = 0; i < 5; i++)
        rec_buffer_count_lost(buffer);
    rec_buffer_count_lost(NULL);
    for (int i = 0; i < 100 && !rec_drain_unpark(); i++)
        usleep(1000);
    wait_for_turn(buffer);
    rec_buffer_emit_lost(buffer);
    rec_buffer_emit_lost(buffer);             /* it has been told */
    append(buffer, n);
    wait_for_turn(other);
    append(other, 0);
    rec_buffer_emit_lost(other);           /* there is nothing to tell */
    rec_session_stop(&totals);
    cr_expect_eq(totals.n_lost, 6);
    cr_expect_eq(totals.failure.code, PNR_OK);
    struct in_file in_file = read_thread(process, 1);
    cr_expect_eq(in_file.n, n + 1);
    cr_expect_eq(in_file.n_lost, 5);
    in_file = read_thread(process, 2);
    cr_expect_eq(in_file.n, 1);
    cr_expect_eq(in_file.n_lost, 0);
}

/* Another process, here the same again, in the same capture. */
Test(buffer, joins_a_capture, .init = begin, .fini = end)
{
    struct rec_totals totals;
    struct pnr_err err;
    char taken[PATH_MAX], path[PATH_MAX + 8];
    bool is_ended;
    append(new_buffer(7), 0);
    rec_session_stop(&totals);
    cr_assert_eq(rec_session_start(capture, true, &(struct rec_drain_options){ .drops = false }, taken, &err), 0);
    cr_expect_str_eq(taken, capture);
    append(new_buffer(7), 0);
    rec_session_stop(&totals);
    cr_expect_eq(totals.n_events, 1);
    cr_expect_eq(count_in_file(1, &is_ended), 1);
    snprintf(path, sizeof path, "%s-2", process);
    cr_expect_eq(read_thread(path, 1).n, 1);
}

static struct pnr_string string(const char *text)
{
    return (struct pnr_string){ text, (uint32_t)strlen(text) };
}

/* Functions that have all in common share a number. */
Test(buffer, finds_functions_again, .init = begin, .fini = end)
{
    static const struct { enum pnr_function_kind kind; uint32_t line; const char *strings[3]; } functions[] = {
        { PNR_FUNCTION_PLAIN, 1, { "m", "f", "m.py" } }, { PNR_FUNCTION_PLAIN, 2, { "m", "f", "m.py" } },
        { PNR_FUNCTION_GENERATOR, 1, { "m", "f", "m.py" } }, { PNR_FUNCTION_PLAIN, 1, { "mf", "", "m.py" } },
        { PNR_FUNCTION_PLAIN, 1, { "m", "fm", ".py" } }, { PNR_FUNCTION_PLAIN, 1, { "", "", "" } },
    };
    struct rec_totals totals;
    uint32_t n_functions;
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < sizeof functions / sizeof *functions; i++) {
            const struct pnr_string strings[3] = { string(functions[i].strings[0]), string(functions[i].strings[1]),
                                                   string(functions[i].strings[2]) };
            cr_expect_eq(rec_session_add_function(functions[i].kind, functions[i].line, strings), i + 1, "row %u", i);
        }
    }
    rec_session_stop(&totals);
    cr_expect_str_eq(find_property(process, "unnamed", &n_functions), "");
    cr_expect_eq(n_functions, sizeof functions / sizeof *functions);
}

/* Names take an eighth of the greatest size: what comes then shares one entry. */
Test(buffer, keeps_names_to_their_part, .init = begin_small, .fini = end)
{
    static char name[60000];
    struct rec_totals totals;
    uint32_t n_functions, index, expected = 1;
    memset(name, 'x', sizeof name);
    const struct pnr_string strings[3] = { { name, sizeof name }, string("f"), string("m.py") };
    while ((index = rec_session_add_function(PNR_FUNCTION_PLAIN, expected, strings)) == expected && expected < 1000)
        expected++;
    cr_expect_eq(index, expected - 1, "the second that has no room has the first one's entry");
    cr_expect_eq(rec_session_add_function(PNR_FUNCTION_PLAIN, 1, strings), 1, "what has a number keeps it");
    rec_session_stop(&totals);
    cr_expect_str_eq(find_property(process, "unnamed", &n_functions), "2");
    cr_expect_eq(n_functions, expected - 1);
    cr_expect_geq((n_functions - 1) * sizeof name, REC_MIN_SIZE / 16 - sizeof name);
    cr_expect_leq((n_functions - 1) * sizeof name, REC_MIN_SIZE / 16 + sizeof name);
}

/* ---- tracks ---- */

/* Threads and tracks are numbered in one row. */
Test(buffer, numbers_threads_and_tracks, .init = begin, .fini = end)
{
    static const struct { uint32_t index, number; uint8_t kind; const char *name; } expected[] = {
        { 1, 7, 0, "name" }, { 2, 7, PNR_THREAD_GREENLET, "one" }, { 3, 7, 0, "name" },
        { 4, 7, PNR_THREAD_GREENLET, "two" }, { 5, 7, PNR_THREAD_GREENLET, "three" }, { 6, 7, 0, "name" },
        { 3, 7, 0, "other" } };
    struct rec_totals totals;
    struct rec_buffer *other;
    struct pnr_name entry;
    struct pnr_err err;
    char path[PATH_MAX], bytes[4096];
    size_t at = PNR_NAMES_HEADER_SIZE, n = 0;
    new_buffer(7);
    cr_expect_eq(rec_session_add_track(7, string("one")), 2);
    other = new_buffer(7);
    cr_expect_eq(rec_session_add_track(7, string("two")), 4);
    cr_expect_eq(rec_session_add_track(7, string("three")), 5);
    new_buffer(7);
    rec_session_name_thread(other, 7, string("other"));
    rec_session_stop(&totals);
    cr_expect_eq(totals.n_threads, 3);
    pnr_file_path(process, "names", path);
    FILE *file = fopen(path, "rb");
    cr_assert(file);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    while (pnr_name_decode(bytes, size, &at, &entry, &err) == 1) {
        if (entry.type != PNR_NAME_THREAD)
            continue;
        cr_assert_lt(n, sizeof expected / sizeof *expected);
        cr_expect_eq(entry.index, expected[n].index, "entry %zu", n);
        cr_expect_eq(entry.number, expected[n].number, "entry %zu", n);
        cr_expect_eq(entry.kind, expected[n].kind, "entry %zu", n);
        cr_expect_eq(entry.strings[0].size, strlen(expected[n].name), "entry %zu", n);
        cr_expect_eq(memcmp(entry.strings[0].bytes, expected[n].name, entry.strings[0].size), 0, "entry %zu", n);
        n++;
    }
    cr_expect_eq(n, sizeof expected / sizeof *expected);
}

/* A chunk tells the stack of the track that it begins with, and of no other. */
Test(buffer, keeps_tracks, .init = begin, .fini = end)
{
    struct rec_totals totals;
    struct rec_buffer *buffer = new_buffer(7);
    append(buffer, 0);
    cr_expect_eq(buffer->track.block, buffer->block, "a block tells the track that it begins with");
    const struct rec_track own = buffer->track;
    cr_expect_eq(own.number, 0);
    buffer->track = (struct rec_track){ .number = 2 };
    append(buffer, 1);
    buffer->track.block = buffer->block;
    const struct rec_track kept = buffer->track;
    buffer->track = own;
    cr_expect_eq(buffer->track.block, buffer->block, "the block has both stacks");
    cr_assert(rec_buffer_start_chunk(buffer, 0, 0));
    cr_expect_eq(buffer->track.block, buffer->block);
    cr_expect_neq(kept.block, buffer->block, "a new block tells nothing of other tracks");
    rec_session_stop(&totals);
    cr_expect_eq(totals.n_events, 2);
}

/* The header says in which track the block begins; OPEN records are no events, wherever they stand. */
Test(buffer, begins_blocks_in_tracks, .init = begin, .fini = end)
{
    static const uint32_t tracks[] = { 0, 2, 2, 0 };
    struct rec_totals totals;
    struct rec_buffer *buffer = new_buffer(7);
    struct pnr_block_header h;
    char path[PATH_MAX];
    uint32_t skippable[2], n = 0;
    for (uint32_t i = 0; i < 4; i++) {
        buffer->track = (struct rec_track){ .number = tracks[i] };
        cr_assert(rec_buffer_start_chunk(buffer, 0, 1));
        rec_buffer_append(buffer, 0, PNR_OPEN, 0, 1);
        rec_buffer_append(buffer, 0, PNR_SWITCH, PNR_SWITCH_OPEN, 3);
        rec_buffer_append(buffer, 0, PNR_OPEN, 0, 1);
        buffer->n_open++;
    }
    rec_session_stop(&totals);
    cr_expect_eq(totals.n_events, 4);
    pnr_thread_path(process, 1, 1, path);
    FILE *file = fopen(path, "rb");
    cr_assert(file);
    for (; fread(skippable, sizeof skippable, 1, file) == 1; n++) {
        cr_assert_eq(fread(&h, sizeof h, 1, file), 1);
        cr_assert_lt(n, 4);
        cr_expect_eq(h.track, tracks[n], "block %u", n);
        cr_expect_eq(h.n_open, 1);
        fseek(file, h.data_size, SEEK_CUR);
    }
    cr_expect_eq(n, 4);
    fclose(file);
}

/* ---- saving ---- */

static char saved[PATH_MAX];
static sem_t is_saved;

static void save(void)
{
    char path[PATH_MAX];
    struct pnr_err err;
    snprintf(path, sizeof path, "%s/saved.pnr", folder);
    if (rec_session_snapshot(path, NULL, saved, &err) != 0)
        *saved = 0;
    sem_post(&is_saved);
}

static void begin_to_save(void)
{
    sem_init(&is_saved, 0, 0);
    begin_with((struct rec_drain_options){ .on_wake = save });
}

static void save_now(void)
{
    rec_drain_wake();
    sem_wait(&is_saved);
    cr_assert(*saved);
}

/* What is in segments and in chunks at that moment, as a capture that has ended; and recording goes on. */
Test(buffer, saves_what_there_is, .init = begin_to_save, .fini = end)
{
    const uint64_t n = 3 * PNR_BLOCK_RECORDS + 5;
    struct rec_totals totals;
    char path[PATH_MAX + 32];
    uint32_t n_functions;
    struct rec_buffer *buffer = new_buffer(7), *other = new_buffer(7), *third = new_buffer(7);
    for (uint64_t i = 0; i < n; i++)
        append(buffer, i);
    append(other, 0);
    save_now();
    append(buffer, n);
    append(third, 0);
    snprintf(path, sizeof path, "%s/process-%d", saved, getpid());
    cr_expect_eq(read_thread(path, 1).n, n);
    cr_expect_eq(read_thread(path, 2).n, 1);
    cr_expect_eq(read_thread(path, 3).n, 0);
    cr_expect_str_neq(find_property(path, "end_ticks", &n_functions), "");
    cr_expect_str_eq(find_property(process, "end_ticks", &n_functions), "");
    save_now();
    cr_expect(strstr(saved, "/saved-2.pnr"), "%s", saved);
    snprintf(path, sizeof path, "%s/process-%d", saved, getpid());
    cr_expect_eq(read_thread(path, 1).n, n + 1);
    rec_session_stop(&totals);
    cr_expect_eq(read_thread(process, 1).n, n + 1);
    cr_expect_eq(read_thread(process, 2).n, 1);
    cr_expect_eq(read_thread(process, 3).n, 1);
}

/* The linking of files is this file's: another process evicts a segment meanwhile. */
static const char *evicted;             /* the segment, when its n-th file is linked */
static int evicted_at;

int link(const char *from, const char *to)
{
    char path[PATH_MAX];
    if (evicted && strncmp(from, evicted, strlen(evicted)) == 0 && evicted_at-- == 0) {
        pnr_file_path(process, "evicted", path);
        cr_assert_eq(rename(evicted, path), 0);
    }
    return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* A segment that is evicted while it is saved is missing as a whole: a part of the first one would look like damage. */
Test(buffer, saves_no_part_of_a_segment, .init = begin_to_save, .fini = end)
{
    for (int at = 0; at < 2; at++) {
        struct rec_totals totals;
        struct rec_drain_options options = { .on_wake = save };
        char path[PATH_MAX + 32], segment[PATH_MAX + 32], taken[PATH_MAX];
        struct rec_buffer *buffer = new_buffer(7), *other = new_buffer(7);
        struct pnr_err err;
        uint32_t *numbers;
        size_t n;
        for (uint64_t i = 0; i < 3; i++) {      /* what is in chunks goes into a segment of its own */
            append(buffer, i);
            append(other, i);
            rec_buffer_flush_all();
            while (read_thread(process, 1).n <= i || read_thread(process, 2).n <= i)
                usleep(1000);
            save_now();
        }
        snprintf(segment, sizeof segment, "%s/segment-1/", process);
        evicted_at = at;
        evicted = segment;
        save_now();
        evicted = NULL;
        snprintf(path, sizeof path, "%s/process-%d", saved, getpid());
        cr_assert_eq(pnr_capture_segments(path, &numbers, &n, &err), 0);
        cr_assert_geq(n, 2);
        for (size_t i = 0; i < n; i++)
            cr_expect_eq(numbers[i], i + 2, "%zu: %u", i, numbers[i]);
        free(numbers);
        rec_session_stop(&totals);
        if (at == 1)
            return;
        cr_assert_eq(rec_session_start(capture, true, &options, taken, &err), 0);
        snprintf(process, sizeof process, "%.4000s/process-%d-2", capture, getpid());
    }
}

/* A child that is killed leaves in the live mapping what was not yet in a file. */
Test(buffer, keeps_records_of_a_killed_process)
{
    const uint64_t n = 5 * PNR_BLOCK_RECORDS + 17;
    int to_parent[2];
    static struct pnr_record records[PNR_BLOCK_RECORDS];
    char path[PATH_MAX];
    struct pnr_err err;
    struct pnr_live live;
    struct pnr_live_chunk chunk;
    bool is_ended;
    const struct rec_drain_options options = { .drops = false };
    cr_assert(mkdtemp(folder));
    cr_assert_eq(pipe(to_parent), 0);
    pid_t pid = fork();
    if (pid == 0) {
        snprintf(path, sizeof path, "%s/run.pnr", folder);
        rec_clock_init();
        rec_session_start(path, false, &options, capture, &err);
        struct rec_buffer *buffer = new_buffer(7);
        for (uint64_t i = 0; i < n; i++)
            append(buffer, i);
        if (write(to_parent[1], "", 1) == 1)
            pause();
        _exit(1);
    }
    cr_assert_eq(read(to_parent[0], path, 1), 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    snprintf(process, sizeof process, "%s/run.pnr/process-%d", folder, pid);
    uint64_t in_file = count_in_file(1, &is_ended), in_live = 0;
    uint32_t sequence = (uint32_t)(in_file / PNR_BLOCK_RECORDS);
    cr_assert_eq(pnr_live_open(process, &live, &err), 1, "%s", err.what);
    for (uint32_t k = 0; k < live.header->n_chunks; k++)
        if (live.chunks[k].state == PNR_CHUNK_IN_USE && live.chunks[k].block.sequence >= sequence)
            in_live += (uint64_t)pnr_live_read(&live, k, &chunk, records);
    cr_expect_eq(in_file + in_live, n);
    pnr_live_close(&live, process, false);
    end();
}

/* No file may grow beyond this, as on a full disk: EFBIG. */
static void limit_files(rlim_t size)
{
    struct rlimit limit = { size, RLIM_INFINITY };
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static int count_entries(const char *path)
{
    struct dirent *entry;
    int n = 0;
    DIR *dir = opendir(path);
    while ((entry = readdir(dir)))
        n += *entry->d_name != '.';
    closedir(dir);
    return n;
}

/* What cannot be made leaves nothing, and what was there stays. */
Test(buffer, leaves_nothing_when_it_cannot_start, .init = begin, .fini = end)
{
    struct rec_totals totals;
    struct pnr_err err;
    char path[PATH_MAX], taken[PATH_MAX];
    struct pnr_list list;
    const struct rec_drain_options options = { .drops = false };
    rec_session_stop(&totals);
    snprintf(path, sizeof path, "%s/other.pnr", folder);
    limit_files(100000);                /* no room for the live mapping */
    cr_expect_eq(rec_session_start(path, false, &options, taken, &err), -1);
    cr_expect_neq(access(path, F_OK), 0);
    cr_expect_eq(rec_session_start(capture, true, &options, taken, &err), -1);
    cr_expect_eq(access(process, F_OK), 0);
    cr_assert(pnr_capture_is(capture));
    cr_assert_eq(pnr_capture_processes(capture, &list, &err), 0);
    cr_expect_eq(list.n, 1);
    pnr_list_clear(&list);
    cr_expect_eq(count_entries(capture), 1);
    limit_files(RLIM_INFINITY);
    cr_expect_eq(rec_session_start(path, true, &options, taken, &err), -1, "there is nothing to join");
    cr_expect_neq(access(path, F_OK), 0);
}

Test(buffer, keeps_what_it_has_when_a_write_fails, .init = begin, .fini = end)
{
    const uint64_t n = 4 * PNR_BLOCK_RECORDS;
    struct rec_totals totals;
    static struct pnr_record records[PNR_BLOCK_RECORDS];
    struct pnr_live_chunk chunk;
    struct pnr_live live;
    struct pnr_err err;
    bool is_ended;
    struct rec_buffer *buffer = new_buffer(7);
    rec_session_add_property("before", "the limit");
    for (uint64_t i = 0; i < n; i++)
        append(buffer, i);
    limit_files(10);
    rec_buffer_start_chunk(buffer, 0, 0);            /* puts the last chunk, whose write must fail now */
    rec_session_stop(&totals);
    cr_expect_neq(totals.failure.code, PNR_OK);
    limit_files(RLIM_INFINITY);
    uint64_t in_file = count_in_file(1, &is_ended), in_live = 0;
    cr_assert_eq(pnr_live_open(process, &live, &err), 1, "the live mapping stays");
    for (uint32_t k = 0; k < live.header->n_chunks; k++)
        if (live.chunks[k].state == PNR_CHUNK_IN_USE)
            in_live += (uint64_t)pnr_live_read(&live, k, &chunk, records);
    cr_expect_eq(in_file + in_live, n);
    pnr_live_close(&live, process, false);
}
