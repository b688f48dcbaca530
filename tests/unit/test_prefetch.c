/* convert/read/prefetch.h: which bytes of which files are read ahead. Only the beginnings of headers are: pread() of the
 * library is replaced by one that writes down what it is asked for. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "convert/read/files.h"
#include "convert/read/prefetch.h"
#include "format/block.h"

enum { MAX_FILES = 20, MAX_READS = 8, HEADER = 8 + 96 };

static char folder[] = "/tmp/panopticon-test-XXXXXX";
static ino_t inodes[MAX_FILES + 1];
static _Atomic int n_reads[MAX_FILES + 1];
static _Atomic off_t reads[MAX_FILES + 1][MAX_READS];      /* by the file's thread: where it was read */

ssize_t pread(int fd, void *bytes, size_t size, off_t at)
{
    struct stat st;
    ssize_t n = syscall(SYS_pread64, fd, bytes, size, at);
    for (int thread = 1; fstat(fd, &st) == 0 && thread <= MAX_FILES; thread++)
        if (st.st_ino == inodes[thread] && n_reads[thread] < MAX_READS) {
            reads[thread][n_reads[thread]] = at;
            n_reads[thread]++;
        }
    return n;
}

/* Makes the file of a thread, with blocks whose data are of these sizes; the last size is 0. */
static void make(uint32_t thread, const uint32_t *sizes)
{
    char path[PATH_MAX];
    struct stat st;
    snprintf(path, sizeof path, "%s/segment-1", folder);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/segment-1/thread-%u.zst", folder, thread);
    FILE *file = fopen(path, "wb");
    cr_assert(file);
    for (; *sizes; sizes++) {
        struct pnr_block_header header = { .thread = thread, .data_size = *sizes };
        uint32_t frame[] = { PNR_BLOCK_SKIPPABLE, sizeof header };
        fwrite(frame, sizeof frame, 1, file);
        fwrite(&header, sizeof header, 1, file);
        for (uint32_t i = 0; i < *sizes; i++)
            fputc('x', file);
    }
    fclose(file);
    cr_assert_eq(stat(path, &st), 0);
    inodes[thread] = st.st_ino;
}

static void begin(void)
{
    cr_assert(mkdtemp(folder));
}

static void end(void)
{
    char command[PATH_MAX];
    snprintf(command, sizeof command, "rm -r %s", folder);
    cr_assert_eq(system(command), 0);
}

static void expect_reads(uint32_t thread, int n, const off_t *expected)
{
    while (n_reads[thread] < n)
        sched_yield();
    for (int i = 0; i < n; i++)
        cr_expect_eq(reads[thread][i], expected[i], "read %d of thread %u at %ld", i, thread, (long)reads[thread][i]);
}

Test(prefetch, reads_each_header_but_of_the_first_file, .init = begin, .fini = end)
{
    make(1, (uint32_t[]){ 10, 20, 0 });
    make(2, (uint32_t[]){ 1000, 5, 70000, 0 });
    make(3, (uint32_t[]){ 1, 0 });
    struct file files[] = { { 1, 1, 0 }, { 1, 2, 0 }, { 1, 3, 0 } };
    struct prefetch *prefetch = prefetch_start(folder, files, 3);
    cr_assert(prefetch);
    expect_reads(2, 4, (off_t[]){ 0, HEADER + 1000, 2 * HEADER + 1005, 3 * HEADER + 71005 });       /* the last: the end */
    expect_reads(3, 2, (off_t[]){ 0, HEADER + 1 });
    prefetch_end(prefetch);
    cr_expect_eq(n_reads[1], 0, "the caller reads the first file at once");
    cr_expect_eq(n_reads[2] + n_reads[3], 6);
}

Test(prefetch, goes_on_to_the_next_file_when_one_is_no_file_of_blocks, .init = begin, .fini = end)
{
    make(1, (uint32_t[]){ 1, 0 });
    make(2, (uint32_t[]){ 1, 1, 0 });
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/segment-1/thread-2.zst", folder);
    int fd = open(path, O_WRONLY);
    cr_assert_eq(write(fd, "torn", 4), 4);
    close(fd);
    make(4, (uint32_t[]){ 3, 0 });
    struct file files[] = { { 1, 1, 0 }, { 1, 2, 0 }, { 1, 3, 0 }, { 1, 4, 0 } };        /* there is no file of thread 3 */
    struct prefetch *prefetch = prefetch_start(folder, files, 4);
    expect_reads(4, 2, (off_t[]){ 0, HEADER + 3 });
    expect_reads(2, 1, (off_t[]){ 0 });
    prefetch_end(prefetch);
    cr_expect_eq(n_reads[2], 1);
}

Test(prefetch, takes_more_files_than_it_has_threads, .init = begin, .fini = end)
{
    struct file files[MAX_FILES];
    for (uint32_t thread = 1; thread <= MAX_FILES; thread++) {
        make(thread, (uint32_t[]){ thread, 0 });
        files[thread - 1] = (struct file){ 1, thread, 0 };
    }
    struct prefetch *prefetch = prefetch_start(folder, files, MAX_FILES);
    for (uint32_t thread = 2; thread <= MAX_FILES; thread++)
        expect_reads(thread, 2, (off_t[]){ 0, HEADER + thread });
    prefetch_end(prefetch);
}

Test(prefetch, has_nothing_to_do_for_one_file)
{
    struct file file = { 1, 1, 0 };
    cr_expect_null(prefetch_start("nowhere", &file, 1));
    prefetch_end(NULL);
}
