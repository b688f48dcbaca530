#include "tree.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

#include "retention.h"

#define MAX_DESCRIPTORS 3               /* a process's directory, a segment in it, and one to spare */

static uint64_t total;

static int add_one(const char *path, const struct stat *st, int type, struct FTW *position)
{
    (void)path, (void)type, (void)position;
    total += rec_retention_size_on_disk((uint64_t)st->st_size);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *position)
{
    (void)st, (void)type, (void)position;
    remove(path);
    return 0;
}

static uid_t owner;

static int give_one(const char *path, const struct stat *st, int type, struct FTW *position)
{
    (void)st, (void)type, (void)position;
    return lchown(path, owner, (gid_t)-1);
}

void rec_tree_give(const char *path, uid_t user)
{
    owner = user;
    nftw(path, give_one, MAX_DESCRIPTORS, FTW_PHYS);
}

int rec_tree_size(const char *path, uint64_t *size)
{
    total = 0;
    int result = nftw(path, add_one, MAX_DESCRIPTORS, FTW_PHYS);
    *size = total;
    return result == 0 || errno == ENOENT ? 0 : -1;     /* what is gone takes nothing */
}

void rec_tree_remove(const char *path)
{
    nftw(path, remove_one, MAX_DESCRIPTORS, FTW_PHYS | FTW_DEPTH);
}
