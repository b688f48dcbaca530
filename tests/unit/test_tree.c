#include "check.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "recorder/tree.h"

#define NOBODY 65534
#define N_FILES 300
#define N_ROUNDS 20

static char folder[] = "/tmp/panopticon-test-XXXXXX";

static const char *below(const char *name)
{
    static char paths[4][PATH_MAX];
    static int next;
    next = (next + 1) % 4;
    snprintf(paths[next], PATH_MAX, "%s/%s", folder, name);
    return paths[next];
}

static void make_file(const char *name, size_t size)
{
    int fd = open(below(name), O_WRONLY | O_CREAT | O_EXCL, 0600);
    cr_assert(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    close(fd);
}

static void begin_folder(void)
{
    cr_assert(mkdtemp(folder) && chmod(folder, 0755) == 0);
    cr_assert(mkdir(below("tree"), 0700) == 0 && mkdir(below("tree/segment"), 0700) == 0 && mkdir(below("other"), 0700) == 0);
    make_file("tree/names", 5000);
    make_file("tree/segment/a", 1);
    make_file("other/a", 1);
}

static void end_folder(void)
{
    char command[PATH_MAX];
    snprintf(command, sizeof command, "rm -r %s", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(tree, .init = begin_folder, .fini = end_folder);

Test(tree, adds_up)
{
    uint64_t bytes, size;
    cr_assert_eq(symlink(below("other"), below("tree/link")), 0);
    cr_assert_eq(rec_tree_bytes(below("tree"), &bytes), 0);
    cr_expect_eq(bytes, 5001);
    cr_assert_eq(rec_tree_size(below("tree"), &size), 0);
    cr_expect(size >= 3 * 4096 && size % 4096 == 0);
    cr_assert_eq(rec_tree_bytes(below("none"), &bytes), 0);
    cr_expect_eq(bytes, 0);
}

Test(tree, removes_no_more_than_the_link)
{
    cr_assert_eq(symlink(below("other"), below("tree/link")), 0);
    cr_assert_eq(symlink(below("other"), below("link")), 0);
    cr_expect_eq(rec_tree_remove(below("tree")), 0);
    cr_expect_eq(rec_tree_remove(below("link")), 0);
    cr_expect_neq(access(below("tree"), F_OK), 0);
    cr_expect_eq(access(below("other/a"), F_OK), 0);
    cr_expect_neq(rec_tree_remove(below("none")), 0);
}

Test(tree, ends_in_a_deep_tree)
{
    char name[PATH_MAX] = "tree";
    uint64_t bytes;
    for (int i = 0; i < 300; i++) {
        strcat(name, "/d");
        cr_assert_eq(mkdir(below(name), 0700), 0);
    }
    cr_expect_eq(rec_tree_bytes(below("tree"), &bytes), -1);
    cr_expect_eq(rec_tree_remove(below("tree")), -1);
}

/* Puts a link to the other directory in the place of the segment, as soon as it may, and again. */
static pid_t begin_swaps(void)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    if (setuid(NOBODY) != 0)
        _exit(1);
    for (;;) {
        if (rename(below("tree/segment"), below("tree/away")) == 0 && symlink(below("other"), below("tree/segment")) != 0)
            _exit(1);
    }
}

static uid_t owner_of(const char *name)
{
    struct stat st;
    return lstat(below(name), &st) == 0 ? st.st_uid : 0;
}

/* The user to whom a tree is given may put links in it from the moment on when it is his. */
Test(tree, gives_nothing_else)
{
    char name[64];
    if (geteuid() != 0)
        cr_skip_test("only root gives files to others");
    for (int i = 0; i < N_FILES; i++) {
        snprintf(name, sizeof name, "tree/segment/f%d", i);
        make_file(name, 1);
        snprintf(name, sizeof name, "other/f%d", i);
        make_file(name, 1);
    }
    for (int round = 0; round < N_ROUNDS; round++) {
        pid_t pid = begin_swaps();
        rec_tree_give(below("tree"), NOBODY);
        cr_expect_eq(owner_of("tree"), NOBODY);
        cr_expect_eq(owner_of("tree/names"), NOBODY);
        usleep(1000);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        if (access(below("tree/away"), F_OK) == 0) {
            unlink(below("tree/segment"));
            cr_assert_eq(rename(below("tree/away"), below("tree/segment")), 0);
        }
        rec_tree_give(below("tree"), 0);
    }
    cr_expect_eq(owner_of("other"), 0);
    for (int i = 0; i < N_FILES; i++) {
        snprintf(name, sizeof name, "other/f%d", i);
        cr_expect_eq(owner_of(name), 0);
    }
}
