/* recorder/file.h: a file that outlives what the program does to descriptors. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "recorder/file.h"

static char folder[] = "/tmp/panopticon-test-XXXXXX";
static struct rec_file file;
static struct pnr_err err;

static void begin(void)
{
    cr_assert(mkdtemp(folder));
    cr_assert_eq(rec_file_create(&file, folder, "data", &err), 0, "%s", err.what);
}

static void end(void)
{
    rec_file_release(&file);
    unlink(file.path);
    rmdir(folder);
}

static void expect_content(const char *expected)
{
    char text[64] = "";
    FILE *stream = fopen(file.path, "rb");
    cr_assert(stream);
    size_t n = fread(text, 1, sizeof text - 1, stream);
    fclose(stream);
    cr_expect_eq(n, strlen(expected));
    cr_expect_str_eq(text, expected);
}

Test(file, is_for_the_owner_alone_and_out_of_the_way, .init = begin, .fini = end)
{
    struct stat st;
    cr_expect_eq(stat(file.path, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    cr_expect_gt(file.fd, 100, "a low descriptor is the program's");
    cr_expect(fcntl(file.fd, F_GETFD) & FD_CLOEXEC);
}

Test(file, is_not_made_where_something_is, .init = begin, .fini = end)
{
    struct rec_file other;
    cr_expect_eq(rec_file_create(&other, folder, "data", &err), -1);
    cr_expect_eq(err.code, PNR_E_SYSTEM);
}

Test(file, is_opened_again_when_the_program_closed_it, .init = begin, .fini = end)
{
    cr_expect_eq(rec_file_append(&file, "one ", 4, &err), 0);
    close(file.fd);
    cr_expect_eq(rec_file_append(&file, "two", 3, &err), 0);
    expect_content("one two");
}

Test(file, does_not_write_into_a_file_that_took_its_descriptor, .init = begin, .fini = end)
{
    char other[64];
    snprintf(other, sizeof other, "%s/other", folder);
    int fd = open(other, O_RDWR | O_CREAT, 0600), stolen = file.fd;
    struct stat st;
    cr_assert_eq(dup2(fd, stolen), stolen);
    cr_expect_eq(rec_file_append(&file, "mine", 4, &err), 0);
    cr_expect_eq(fstat(fd, &st), 0);
    cr_expect_eq(st.st_size, 0);
    expect_content("mine");
    cr_expect_eq(fstat(stolen, &st), 0, "what the program opened stays open");
    unlink(other);
}

Test(file, fails_when_it_was_removed_and_its_descriptor_closed, .init = begin, .fini = end)
{
    unlink(file.path);
    close(file.fd);
    cr_expect_eq(rec_file_append(&file, "x", 1, &err), -1);
    cr_expect_eq(err.code, PNR_E_SYSTEM);
}
