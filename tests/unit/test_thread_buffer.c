/* Thread buffers and the drain together, without an interpreter: what is appended is in the capture, in order,
 * however many threads and chunks there are. */
#include "session_fixture.h"

Test(thread_buffer, writes_every_record_in_order, .init = begin, .fini = end)
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

Test(thread_buffer, marks_the_last_block_of_a_thread, .init = begin, .fini = end)
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
Test(thread_buffer, keeps_short_threads_together, .init = begin, .fini = end)
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

Test(thread_buffer, takes_chunks_from_others_when_all_are_held, .init = begin, .fini = end)
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

Test(thread_buffer, retracts_a_record, .init = begin, .fini = end)
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
/* An entry goes with its arguments, but not with those of another function, nor with another record's values. */
Test(thread_buffer, retracts_an_entry_with_its_arguments, .init = begin, .fini = end)
{
    struct rec_totals totals;
    bool is_ended;
    struct rec_buffer *buffer = new_buffer(7);
    struct pnr_values_writer values = { .size = 25 };
    append(buffer, 0);
    struct pnr_record *before = buffer->next;
    append(buffer, 1);
    rec_buffer_append_values(buffer, rec_clock_ticks() - buffer->base, PNR_ARGUMENTS, 5, &values);
    cr_assert_eq(buffer->next - before, 1 + 1 + 3);
    cr_expect_eq(rec_buffer_before_arguments(buffer, 6), buffer->next);
    cr_expect_eq(rec_buffer_before_arguments(buffer, 5), before + 1);
    rec_buffer_retract_from(buffer, before);
    cr_expect_eq(buffer->next, before);
    cr_expect_eq(buffer->n_data, 0);
    for (int i = 0; i < 5; i++)
        cr_expect(!before[i].word[0] && !before[i].word[1]);
    rec_buffer_append_values(buffer, rec_clock_ticks() - buffer->base, PNR_INSTANT, 5, &values);
    cr_expect_eq(rec_buffer_before_arguments(buffer, 5), buffer->next);
    rec_buffer_retract_from(buffer, before);
    append(buffer, 1);
    rec_session_stop(&totals);
    cr_expect_eq(totals.n_events, 2);
    cr_expect_eq(count_in_file(1, &is_ended), 2);
}

Test(thread_buffer, elides_short_calls, .init = begin, .fini = end)
{
    enum { F = 8, G = 9 };              /* frames of functions 2 and 3 */
    static const struct {
        struct { uint64_t ticks; enum pnr_kind kind; uint64_t frame; uint32_t function; } records[6];
        uint64_t ticks;
        enum pnr_kind exit;
        uint64_t frame;
        uint32_t function;
        int left;
        bool is_elided;
    } table[] = {
        { { { 10, PNR_CALL, 0, 1 } }, 109, PNR_RETURN, 0, 1, 0, true },
        { { { 10, PNR_CALL, 0, 1 } }, 110, PNR_RETURN, 0, 1, 1, false },
        { { { 10, PNR_CALL, 0, 1 } }, 20, PNR_UNWIND, 0, 1, 0, true },
        { { { 10, PNR_C_CALL, 0, 1 } }, 20, PNR_C_RETURN, 0, 1, 0, true },
        { { { 10, PNR_C_CALL, 0, 1 } }, 20, PNR_C_RAISE, 0, 1, 0, true },
        /* what is around it stays */
        { { { 10, PNR_CALL, 0, 4 }, { 11, PNR_CALL, 0, 1 } }, 20, PNR_RETURN, 0, 1, 1, true },
        /* something in it; another's entry; none */
        { { { 10, PNR_CALL, 0, 1 }, { 11, PNR_UNRECORDED, 0, 1 }, { 12, PNR_UNRECORDED_END, 0, 1 } },
          20, PNR_RETURN, 0, 1, 3, false },
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
        { { { 10, PNR_CALL, 0, 1 }, { 11, PNR_CREATE, F, 2 }, { 12, PNR_CREATE, G, 3 } },
          20, PNR_RETURN, 0, 1, 0, true },
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
        bool is_elided = rec_buffer_elide(buffer, table[i].ticks, table[i].exit, table[i].frame, table[i].function);
        cr_expect_eq(is_elided, table[i].is_elided, "row %zu", i);
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
Test(thread_buffer, elides_nothing_before_the_chunk, .init = begin, .fini = end)
{
    struct rec_totals totals;
    struct rec_buffer *buffer = new_buffer(7);
    cr_assert(rec_buffer_start_chunk(buffer, 0, 1));
    rec_buffer_append(buffer, 0, PNR_CALL, 0, 1);      /* where an OPEN record would be */
    rec_min_duration_ticks = 100;
    cr_expect_not(rec_buffer_elide(buffer, 11, PNR_RETURN, 0, 1));
    cr_expect_eq(buffer->next - buffer->records, 1);
    rec_session_stop(&totals);
}

Test(thread_buffer, starts_a_chunk_before_ticks_overflow, .init = begin, .fini = end)
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
Test(thread_buffer, flushes_all_chunks, .init = begin, .fini = end)
{
    struct rec_totals totals;
    struct rec_buffer *buffers[] = { new_buffer(7), new_buffer(7), new_buffer(7) };
    append(buffers[0], 0);
    append(buffers[1], 0);
    rec_buffer_flush_all();
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(buffers[i]->chunk, -1);
        cr_expect_not(rec_buffer_has_capacity(buffers[i], 0), "its next event needs a new chunk");
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

static void wait_for_chunk(struct rec_buffer *buffer)
{
    for (int i = 0; i < 5000 && !rec_buffer_start_chunk(buffer, 0, 0); i++)
        usleep(1000);
    cr_assert(rec_buffer_has_capacity(buffer, 0));
}

/* If the drain discards, a thread that finds no free chunk records nothing while some are waiting to be written. */
Test(thread_buffer, discards_on_overflow, .init = begin_small, .fini = end)
{
    const uint64_t n = 8 * PNR_BLOCK_RECORDS;
    struct rec_totals totals;
    struct rec_buffer *buffer = new_buffer(7), *other = new_buffer(7);
    rec_worker_park();                  /* nobody writes */
    for (uint64_t i = 0; i < n; i++)
        append(buffer, i);
    cr_expect_not(rec_buffer_start_chunk(buffer, 0, 0));
    cr_expect_not(rec_session_is_closed());
    for (int i = 0; i < 5; i++)
        rec_buffer_count_lost(buffer);
    rec_buffer_count_lost(NULL);
    for (int i = 0; i < 100 && !rec_worker_unpark(); i++)
        usleep(1000);
    wait_for_chunk(buffer);
    rec_buffer_emit_lost(buffer);
    rec_buffer_emit_lost(buffer);             /* it has been recorded */
    append(buffer, n);
    wait_for_chunk(other);
    append(other, 0);
    rec_buffer_emit_lost(other);           /* nothing was lost */
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

/* ---- tracks ---- */

/* A chunk has OPEN records of the track that it begins with, and of no other. */
Test(thread_buffer, knows_which_track_a_chunk_begins_with, .init = begin, .fini = end)
{
    struct rec_totals totals;
    struct rec_buffer *buffer = new_buffer(7);
    append(buffer, 0);
    cr_expect_eq(buffer->track.block, buffer->block, "a block opens with the stack of its track");
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
    cr_expect_neq(kept.block, buffer->block, "a new block has no stack of other tracks");
    rec_session_stop(&totals);
    cr_expect_eq(totals.n_events, 2);
}

/* The header says in which track the block begins; OPEN records are no events, wherever they stand. */
Test(thread_buffer, begins_blocks_in_tracks, .init = begin, .fini = end)
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

/* ---- limits ---- */

static int n_full;
static void count_full(void) { n_full++; }

Test(thread_buffer, limits_chunks, .init = begin, .fini = end)
{
    struct rec_totals totals;
    bool is_ended;
    struct rec_buffer *buffer = new_buffer(7), *other = new_buffer(8);
    append(buffer, 0);
    append(other, 0);
    cr_expect_eq(rec_buffer_count_all(), 2);
    rec_buffer_limit(10, count_full);
    rec_buffer_limit_present(3);
    for (uint64_t i = 1; i <= 3; i++)
        append(buffer, i);
    cr_expect_eq(n_full, 0);
    append(buffer, 4);
    cr_expect_eq(n_full, 1, "the fourth after the limit begins a chunk");
    cr_expect_leq(buffer->end - buffer->records, 12);
    for (uint64_t i = 5; i < 40; i++)
        append(buffer, i);
    cr_expect_geq(n_full, 4);
    cr_expect_eq(rec_buffer_count_all(), 41, "also what is in chunks that are being filled");
    rec_buffer_limit(PNR_BLOCK_RECORDS, NULL);
    rec_buffer_limit_present(0);
    append(buffer, 40);
    append(other, 1);
    cr_expect_eq(buffer->next - buffer->records, 1, "each thread begins a chunk with its next event");
    cr_expect_eq(other->next - other->records, 1);
    cr_expect_geq(buffer->end - buffer->records, PNR_BLOCK_RECORDS);
    rec_session_stop(&totals);
    cr_expect_eq(totals.n_events, 43);
    cr_expect_eq(count_in_file(1, &is_ended), 41);
    cr_expect_eq(count_in_file(2, &is_ended), 2);
}
