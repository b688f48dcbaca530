/* recorder/session.h: the start and the end of a process in a capture, and what is left when something fails. */
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "session_fixture.h"

/* Another process, here the same again, in the same capture. */
Test(session, joins_a_capture, .init = begin, .fini = end)
{
    struct rec_totals totals;
    struct pnr_err err;
    char taken[PATH_MAX], path[PATH_MAX + 8];
    bool is_ended;
    append(new_buffer(7), 0);
    rec_session_stop(&totals);
    cr_assert_eq(rec_session_start(capture, true, &(struct rec_drain_options){ .discards = false }, taken, &err), 0);
    cr_expect_str_eq(taken, capture);
    append(new_buffer(7), 0);
    rec_session_stop(&totals);
    cr_expect_eq(totals.n_events, 1);
    cr_expect_eq(count_in_file(1, &is_ended), 1);
    snprintf(path, sizeof path, "%s-2", process);
    cr_expect_eq(read_thread(path, 1).n, 1);
}

/* A child that is killed leaves in the live mapping what was not yet in a file. */
Test(session, keeps_records_of_a_killed_process)
{
    const uint64_t n = 5 * PNR_BLOCK_RECORDS + 17;
    int to_parent[2];
    static struct pnr_record records[PNR_BLOCK_RECORDS];
    char path[PATH_MAX];
    struct pnr_err err;
    struct pnr_live live;
    struct pnr_live_chunk chunk;
    bool is_ended;
    const struct rec_drain_options options = { .discards = false };
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
Test(session, leaves_nothing_when_it_cannot_start, .init = begin, .fini = end)
{
    struct rec_totals totals;
    struct pnr_err err;
    char path[PATH_MAX], taken[PATH_MAX];
    struct pnr_list list;
    const struct rec_drain_options options = { .discards = false };
    rec_session_stop(&totals);
    snprintf(path, sizeof path, "%s/other.pnr", folder);
    limit_files(100000);                /* too small for the live mapping */
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

Test(session, keeps_what_it_has_when_a_write_fails, .init = begin, .fini = end)
{
    const uint64_t n = 4 * PNR_BLOCK_RECORDS;
    struct rec_totals totals;
    static struct pnr_record records[PNR_BLOCK_RECORDS];
    struct pnr_live_chunk chunk;
    struct pnr_live live;
    struct pnr_err err;
    bool is_ended;
    struct rec_buffer *buffer = new_buffer(7);
    rec_name_table_add_property("before", "the limit");
    for (uint64_t i = 0; i < n; i++)
        append(buffer, i);
    limit_files(10);
    rec_buffer_start_chunk(buffer, 0, 0);            /* submits the last chunk, whose write must fail now */
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
