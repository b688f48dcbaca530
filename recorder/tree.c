#include "tree.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

#include "retention.h"

#define MAX_DESCRIPTORS 1               /* the program may have used up all others */

/* What nftw(3) has no parameter for. */
static _Thread_local struct {
    uint64_t size, bytes;
    uid_t owner;
    int failure;                        /* the first errno */
} walk;

static int add_one(const char *path, const struct stat *st, int type, struct FTW *position)
{
    (void)path, (void)position;
    walk.bytes += type == FTW_F ? (uint64_t)st->st_size : 0;
    walk.size += rec_retention_size_on_disk((uint64_t)st->st_size);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *position)
{
    (void)st, (void)type, (void)position;
    if (remove(path) != 0 && !walk.failure)
        walk.failure = errno;
    return 0;
}

static int give_one(const char *path, const struct stat *st, int type, struct FTW *position)
{
    (void)st, (void)type, (void)position;
    if (lchown(path, walk.owner, (gid_t)-1) != 0 && !walk.failure)
        walk.failure = errno;
    return 0;
}

void rec_tree_give(const char *path, uid_t user)
{
    walk.owner = user;
    nftw(path, give_one, MAX_DESCRIPTORS, FTW_PHYS);
}

/* Adds up all that is there. A file that disappears meanwhile takes nothing. */
static int add_tree(const char *path)
{
    walk.size = walk.bytes = 0;
    return nftw(path, add_one, MAX_DESCRIPTORS, FTW_PHYS) == 0 || errno == ENOENT ? 0 : -1;
}

int rec_tree_size(const char *path, uint64_t *size)
{
    int result = add_tree(path);
    *size = walk.size;
    return result;
}

int rec_tree_bytes(const char *path, uint64_t *bytes)
{
    int result = add_tree(path);
    *bytes = walk.bytes;
    return result;
}

int rec_tree_remove(const char *path)
{
    walk.failure = 0;
    if (nftw(path, remove_one, MAX_DESCRIPTORS, FTW_PHYS | FTW_DEPTH) == 0 && walk.failure == 0)
        return 0;
    errno = walk.failure ? walk.failure : errno;
    return -1;
}
