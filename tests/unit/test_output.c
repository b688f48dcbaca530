#include "convert/write/output.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

#define N_PARTS 300
#define PART_SIZE 5000

static char folder[] = "/tmp/panopticon-test-XXXXXX";

static void begin(void)
{
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
}

static void end(void)
{
    cr_expect_eq(rmdir(folder), 0, "nothing is left");
}

struct part {
    struct output_part part;            /* first: a part is one of these */
    unsigned number;
};

/* Some are empty. */
static size_t fill(char *bytes, unsigned number)
{
    size_t size = number % 5 == 4 ? 0 : PART_SIZE - number;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)('a' + (i * i + number) % 26);
    return size;
}

static int make(struct output_part *output_part)
{
    char *buffer = output_buffer(output_part, PART_SIZE);
    if (buffer)
        output_part->size = fill(buffer, ((struct part *)output_part)->number);
    return buffer ? 0 : -1;
}

static int make_nothing(struct output_part *part)
{
    (void)part;
    return -1;
}

/* Adds all parts, 7 at a time. */
static void write_parts(struct output *output, int (*make_one)(struct output_part *))
{
    static struct part parts[7];
    memset(parts, 0, sizeof parts);
    for (unsigned i = 0; i < N_PARTS; i++) {
        struct part *part = &parts[i % 7];
        output_wait(output, &part->part);
        part->part.make = make_one;
        part->number = i;
        output_add(output, &part->part);
    }
    for (unsigned i = 0; i < 7; i++) {
        output_wait(output, &parts[i].part);
        output_part_clear(&parts[i].part);
    }
}

/* What the command prints is all parts, one after another. */
static void expect_content(const char *command)
{
    char bytes[PART_SIZE], read[PART_SIZE];
    FILE *stream = popen(command, "r");
    for (unsigned i = 0; i < N_PARTS; i++) {
        size_t size = fill(bytes, i);
        cr_assert_eq(fread(read, 1, size, stream), size, "part %u", i);
        cr_assert_arr_eq(read, bytes, size, "part %u", i);
    }
    cr_expect_eq(fgetc(stream), EOF);
    cr_expect_eq(pclose(stream), 0);
}

Test(output, writes_parts_in_order_and_of_each_kind, .init = begin, .fini = end)
{
    static const struct { const char *name, *command; } table[] = {
        { "plain", "cat plain" },
        { "x.gz", "gzip -t x.gz && gzip -dc x.gz" },
        { "x.zst", "zstd -qt x.zst && zstd -qdc x.zst" },
        { ".gz", "cat .gz" },           /* nothing is left of the name without it */
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        for (unsigned n_threads = 1; n_threads <= 5; n_threads++) {
            struct pnr_err err;
            struct stat status;
            struct jobs *jobs = jobs_new(n_threads);
            struct output *output = output_open(table[i].name, jobs, &err);
            cr_assert_not_null(output);
            write_parts(output, make);
            cr_expect(access(table[i].name, F_OK) != 0, "it has its name when it is whole");
            cr_expect_eq(output_keep(output, &err), 0);
            cr_expect_eq(stat(table[i].name, &status), 0);
            cr_expect_eq((uint64_t)status.st_size, output_bytes(output));
            output_close(output);
            jobs_free(jobs);
            expect_content(table[i].command);
            unlink(table[i].name);
        }
    }
}

/* What is not kept leaves nothing, and the old file as it was. */
Test(output, what_is_not_kept_is_gone, .init = begin, .fini = end)
{
    struct pnr_err err;
    struct jobs *jobs = jobs_new(2);
    check_append("old", "before", 6);
    struct output *output = output_open("old", jobs, &err);
    write_parts(output, make);
    output_close(output);
    output_close(NULL);
    jobs_free(jobs);
    cr_expect_eq(system("test \"$(cat old)\" = before"), 0);
    unlink("old");
}

Test(output, goes_where_a_link_leads, .init = begin, .fini = end)
{
    struct pnr_err err;
    struct stat status;
    struct jobs *jobs = jobs_new(1);
    umask(027);
    check_append("file", "before", 6);
    cr_assert_eq(symlink("file", "link"), 0);
    struct output *output = output_open("link", jobs, &err);
    write_parts(output, make);
    cr_expect_eq(output_keep(output, &err), 0);
    output_close(output);
    jobs_free(jobs);
    expect_content("cat file");
    cr_expect_eq(lstat("link", &status), 0);
    cr_expect(S_ISLNK(status.st_mode));
    cr_expect_eq(stat("file", &status), 0);
    cr_expect_eq(status.st_mode & 0777, 0640);
    unlink("file");
    unlink("link");
}

Test(output, keeps_the_first_failure)
{
    static const struct { const char *name; int (*make)(struct output_part *); enum pnr_code code; } table[] = {
        { "/dev/full", make, PNR_E_SYSTEM }, { "/dev/null", make_nothing, PNR_E_MEMORY },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
            struct pnr_err err;
            struct jobs *jobs = jobs_new(n_threads);
            struct output *output = output_open(table[i].name, jobs, &err);
            write_parts(output, table[i].make);
            cr_expect(output_is_broken(output));
            cr_expect_eq(output_keep(output, &err), -1);
            cr_expect_eq(err.code, table[i].code);
            cr_expect_str_eq(err.path, table[i].name);
            output_close(output);
            jobs_free(jobs);
        }
    }
}

Test(output, says_what_cannot_be_made)
{
    struct pnr_err err;
    struct jobs *jobs = jobs_new(1);
    cr_expect_null(output_open("/nowhere/x", jobs, &err));
    cr_expect_str_eq(err.path, "/nowhere/x");
    cr_expect_null(output_open("/tmp", jobs, &err));
    jobs_free(jobs);
}
