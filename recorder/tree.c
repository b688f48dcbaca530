#include "tree.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

#include "retention.h"

#define MAX_DESCRIPTORS 1               /* the program may have left no more */

/* What nftw's function has no other place for. */
static _Thread_local struct {
    uint64_t size, bytes;
    uid_t owner;
    int failure;                        /* the first errno */
} state;

static int add_one(const char *path, const struct stat *st, int type, struct FTW *position)
{
    (void)path, (void)position;
    state.bytes += type == FTW_F ? (uint64_t)st->st_size : 0;
    state.size += rec_retention_size_on_disk((uint64_t)st->st_size);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *position)
{
    (void)st, (void)type, (void)position;
    if (remove(path) != 0 && !state.failure)
        state.failure = errno;
    return 0;
}

static int give_one(const char *path, const struct stat *st, int type, struct FTW *position)
{
    (void)st, (void)type, (void)position;
    if (lchown(path, state.owner, (gid_t)-1) != 0 && !state.failure)
        state.failure = errno;
    return 0;
}

void rec_tree_give(const char *path, uid_t user)
{
    state.owner = user;
    nftw(path, give_one, MAX_DESCRIPTORS, FTW_PHYS);
}

static int add_up(const char *path)
{
    state.size = state.bytes = 0;
    return nftw(path, add_one, MAX_DESCRIPTORS, FTW_PHYS) == 0 || errno == ENOENT ? 0 : -1;     /* what is gone takes nothing */
}

int rec_tree_size(const char *path, uint64_t *size)
{
    int result = add_up(path);
    *size = state.size;
    return result;
}

int rec_tree_bytes(const char *path, uint64_t *bytes)
{
    int result = add_up(path);
    *bytes = state.bytes;
    return result;
}

int rec_tree_remove(const char *path)
{
    state.failure = 0;
    if (nftw(path, remove_one, MAX_DESCRIPTORS, FTW_PHYS | FTW_DEPTH) == 0 && state.failure == 0)
        return 0;
    errno = state.failure ? state.failure : errno;
    return -1;
}
