/* recorder/snapshot.h: what there is becomes a capture while recording goes on. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "session_fixture.h"

static char saved[PATH_MAX];
static sem_t is_saved;

static void save(void)
{
    char path[PATH_MAX];
    struct pnr_err err;
    snprintf(path, sizeof path, "%s/saved.pnr", folder);
    if (rec_session_snapshot(path, REC_CAUSE_PROGRAM, false, NULL, saved, &err) != 0)
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
    rec_worker_wake();
    sem_wait(&is_saved);
    cr_assert(*saved);
}

/* What is in segments and in chunks at that moment, as a capture that has ended; and recording goes on. */
Test(snapshot, saves_what_there_is, .init = begin_to_save, .fini = end)
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
Test(snapshot, saves_no_part_of_a_segment, .init = begin_to_save, .fini = end)
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
