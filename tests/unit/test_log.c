/* The log and the drain together, without an interpreter: what is appended is in the capture, in order, however
 * many threads and chunks there are and whatever fails. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "format/capture.h"
#include "recorder/log.h"

static char folder[] = "/tmp/panopticon-test-XXXXXX", capture[PATH_MAX], process[PATH_MAX];

static void begin(void)
{
    char path[PATH_MAX];
    struct pnr_err err;
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/run.pnr", folder);
    rec_clock_init();
    cr_assert_eq(rec_log_start(path, capture, &err), 0, "%s", err.what);
    snprintf(process, sizeof process, "%.4000s/process-%d", capture, getpid());
}

static void end(void)
{
    char command[PATH_MAX + 16];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_expect_eq(system(command), 0);
}

static struct rec_log *new_log(const void *owner)
{
    struct rec_log *log = rec_log_new(owner, 7, (struct pnr_string){ "name", 4 });
    cr_assert(log);
    return log;
}

/* Appends as an engine does: the frame counts the thread's records. */
static void append(struct rec_log *log, uint64_t number)
{
    uint64_t ticks = rec_clock_ticks() - log->base;
    if (!rec_log_has_room(log, ticks)) {
        cr_assert(rec_log_turn(log, 0, 0));
        ticks = rec_clock_ticks() - log->base;
    }
    rec_log_store(log, ticks, PNR_CALL, number, log->thread);
}

/* Reads a thread's file: its records must be numbered 0, 1, ... in blocks 0, 1, .... Returns how many there are. */
static uint64_t count_in_file(uint32_t thread, bool *is_ended)
{
    static struct pnr_record records[PNR_BLOCK_RECORDS];
    static unsigned char data[1 << 20];
    char path[PATH_MAX + 32];
    uint32_t skippable[2], sequence = 0;
    uint64_t n = 0;
    struct pnr_block_header h;
    struct pnr_err err;
    struct pnr_block_coder *coder = pnr_block_coder_new();
    snprintf(path, sizeof path, "%s/thread-%u.zst", process, thread);
    FILE *file = fopen(path, "rb");
    *is_ended = false;
    while (file && fread(skippable, sizeof skippable, 1, file) == 1) {
        cr_assert_eq(skippable[0], PNR_BLOCK_SKIPPABLE);
        cr_assert_eq(fread(&h, sizeof h, 1, file), 1);
        cr_assert_eq(pnr_block_header_check(&h, false, 0, &err), 0, "%s", err.what);
        cr_assert_eq(h.sequence, sequence++);
        cr_assert_eq(fread(data, h.data_size, 1, file), 1);
        cr_assert_eq(pnr_block_decode(coder, &h, data, records, &err), 0, "%s", err.what);
        for (uint32_t i = 0; i < h.n_records; i++)
            cr_assert_eq(pnr_record_frame(records[i]), n++);
        *is_ended = h.flags & PNR_BLOCK_LAST;
    }
    if (file)
        fclose(file);
    pnr_block_coder_free(coder);
    return n;
}

Test(log, writes_every_record_in_order, .init = begin, .fini = end)
{
    const uint64_t n = 40 * PNR_BLOCK_RECORDS + 3;
    struct rec_log_totals totals;
    bool is_ended;
    struct rec_log *log = new_log(&n);
    for (uint64_t i = 0; i < n; i++)
        append(log, i);
    rec_log_stop(0, &totals);
    cr_expect_eq(totals.n_events, n);
    cr_expect_eq(totals.n_threads, 1);
    cr_expect_eq(totals.failure.code, PNR_OK);
    cr_expect_eq(count_in_file(1, &is_ended), n);
    cr_expect_not(is_ended);
    char live[PATH_MAX + 8];
    snprintf(live, sizeof live, "%s/live", process);
    cr_expect_neq(access(live, F_OK), 0, "the live mapping is gone after a clean end");
}

Test(log, marks_the_last_block_of_a_thread, .init = begin, .fini = end)
{
    struct rec_log_totals totals;
    bool is_ended;
    struct rec_log *log = new_log(&folder);
    append(log, 0);
    rec_log_end(log);
    rec_log_stop(0, &totals);
    cr_expect_eq(count_in_file(1, &is_ended), 1);
    cr_expect(is_ended);
}

Test(log, takes_chunks_from_others_when_all_are_held, .init = begin, .fini = end)
{
    enum { THREADS = 3 * REC_DRAIN_CHUNKS, ROUNDS = 5 };
    static struct rec_log *logs[THREADS];
    struct rec_log_totals totals;
    bool is_ended;
    for (int t = 0; t < THREADS; t++)
        logs[t] = new_log(&logs[t]);
    for (uint64_t round = 0; round < ROUNDS; round++)
        for (int t = 0; t < THREADS; t++)
            append(logs[t], round);
    rec_log_stop(0, &totals);
    cr_expect_eq(totals.n_events, THREADS * ROUNDS);
    for (uint32_t t = 1; t <= THREADS; t++)
        cr_expect_eq(count_in_file(t, &is_ended), ROUNDS, "thread %u", t);
}

Test(log, takes_a_record_back, .init = begin, .fini = end)
{
    struct rec_log_totals totals;
    bool is_ended;
    struct rec_log *log = new_log(&folder);
    append(log, 0);
    append(log, 99);
    rec_log_take_back(log);
    cr_expect_eq(pnr_record_kind(*log->next), PNR_EMPTY, "a reader of the live mapping must not see it");
    append(log, 1);
    rec_log_stop(0, &totals);
    cr_expect_eq(totals.n_events, 2);
    cr_expect_eq(count_in_file(1, &is_ended), 2);
}

/* Below 100 ticks: what is stored, the exit that comes, and how many records then are left. */
Test(log, drops_short_calls, .init = begin, .fini = end)
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
        { { { 10, PNR_CALL, 0, 1 }, { 11, PNR_GAP, 0, 1 }, { 12, PNR_GAP_END, 0, 1 } }, 20, PNR_RETURN, 0, 1, 3, false },
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
    struct rec_log_totals totals;
    struct rec_log *log = new_log(&folder);
    rec_log_set_min_duration(1000000000);
    cr_expect_geq(rec_log_least_ticks, 1000000, "a second has as many ticks at the least");
    rec_log_least_ticks = 100;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        cr_assert(rec_log_turn(log, 0, 1));
        rec_log_store(log, 0, PNR_OPEN, 0, 1);
        for (int k = 0; k < 6 && table[i].records[k].kind; k++)
            rec_log_store(log, table[i].records[k].ticks, table[i].records[k].kind, table[i].records[k].frame,
                          table[i].records[k].function);
        bool is_dropped = rec_log_drop(log, table[i].ticks, table[i].exit, table[i].frame, table[i].function);
        cr_expect_eq(is_dropped, table[i].is_dropped, "row %zu", i);
        cr_expect_eq(log->next - log->first, table[i].left, "row %zu", i);
        cr_expect_eq(pnr_record_kind(*log->next), PNR_EMPTY, "row %zu", i);
        cr_expect_eq(log->next->word[1], 0, "row %zu", i);
    }
    rec_log_least_ticks = 0;
    rec_log_store(log, 10, PNR_CALL, 0, 1);
    cr_expect_not(rec_log_drop(log, 11, PNR_RETURN, 0, 1), "there is no minimum");
    rec_log_stop(0, &totals);
}

/* What lies before the chunk's own records is another's. */
Test(log, drops_nothing_of_the_chunk_before, .init = begin, .fini = end)
{
    struct rec_log_totals totals;
    struct rec_log *log = new_log(&folder);
    cr_assert(rec_log_turn(log, 0, 1));
    rec_log_store(log, 0, PNR_CALL, 0, 1);      /* in the place of an OPEN record */
    rec_log_least_ticks = 100;
    cr_expect_not(rec_log_drop(log, 11, PNR_RETURN, 0, 1));
    cr_expect_eq(log->next - log->records, 1);
    rec_log_stop(0, &totals);
}

Test(log, turns_before_ticks_overflow, .init = begin, .fini = end)
{
    struct rec_log_totals totals;
    bool is_ended;
    struct rec_log *log = new_log(&folder);
    append(log, 0);
    log->base -= PNR_TICKS_MAX + 1;     /* as if the block had begun so long ago */
    append(log, 1);
    cr_expect_eq(log->next - log->records, 1, "the second record begins a block");
    rec_log_stop(0, &totals);
    cr_expect_eq(count_in_file(1, &is_ended), 2);
}

/* A child that is killed leaves in the live mapping what was not yet in a file. */
Test(log, keeps_records_of_a_killed_process)
{
    const uint64_t n = 5 * PNR_BLOCK_RECORDS + 17;
    int to_parent[2];
    char path[PATH_MAX];
    struct pnr_err err;
    struct pnr_live live;
    bool is_ended;
    cr_assert(mkdtemp(folder));
    cr_assert_eq(pipe(to_parent), 0);
    pid_t pid = fork();
    if (pid == 0) {
        snprintf(path, sizeof path, "%s/run.pnr", folder);
        rec_clock_init();
        rec_log_start(path, capture, &err);
        struct rec_log *log = rec_log_new(&n, 7, (struct pnr_string){ "", 0 });
        for (uint64_t i = 0; i < n; i++)
            append(log, i);
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
            in_live += pnr_live_count(&live, k);
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

Test(log, keeps_what_it_has_when_a_write_fails, .init = begin, .fini = end)
{
    const uint64_t n = 4 * PNR_BLOCK_RECORDS;
    struct rec_log_totals totals;
    struct pnr_live live;
    struct pnr_err err;
    bool is_ended;
    struct rec_log *log = new_log(&n);
    rec_log_fact("before", "the limit");
    for (uint64_t i = 0; i < n; i++)
        append(log, i);
    limit_files(10);
    rec_log_turn(log, 0, 0);            /* puts the last chunk, whose write must fail now */
    rec_log_stop(0, &totals);
    cr_expect_neq(totals.failure.code, PNR_OK);
    limit_files(RLIM_INFINITY);
    uint64_t in_file = count_in_file(1, &is_ended), in_live = 0;
    cr_assert_eq(pnr_live_open(process, &live, &err), 1, "the live mapping stays");
    for (uint32_t k = 0; k < live.header->n_chunks; k++)
        if (live.chunks[k].state == PNR_CHUNK_IN_USE)
            in_live += pnr_live_count(&live, k);
    cr_expect_eq(in_file + in_live, n);
    pnr_live_close(&live, process, false);
}
