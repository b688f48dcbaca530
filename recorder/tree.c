#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "retention.h"

#define MAX_DEPTH 8                     /* of directories; a capture has 3. Each takes a descriptor and some stack */

struct walk {
    int (*visit)(int above, const char *name, const struct stat *st, struct walk *walk);
    uint64_t size, bytes;
    uid_t owner;
    int failure;                        /* the first errno, or 0 */
};

/* What has gone meanwhile counts least. */
static void keep_failure(struct walk *walk)
{
    if (walk->failure == 0 || walk->failure == ENOENT)
        walk->failure = errno;
}

static void visit_tree(int above, const char *name, int depth, struct walk *walk);

/* The directory may be another user's, who may put a symbolic link in its place at any moment. So what is in it is
 * reached by its descriptor. */
static void visit_entries(int above, const char *name, int depth, struct walk *walk)
{
    struct dirent *entry;
    errno = ELOOP;
    int fd = depth > MAX_DEPTH ? -1 :
        rec_file_move_up(openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir && errno != EACCES)
        keep_failure(walk);
    if (!dir && fd >= 0)
        close(fd);
    while (dir && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            visit_tree(fd, entry->d_name, depth + 1, walk);
    if (dir)
        closedir(dir);
}

/* Visits what is in a directory before the directory. */
static void visit_tree(int above, const char *name, int depth, struct walk *walk)
{
    struct stat st;
    if (fstatat(above, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        keep_failure(walk);
        return;
    }
    if (S_ISDIR(st.st_mode))
        visit_entries(above, name, depth, walk);
    if (walk->visit(above, name, &st, walk) != 0)
        keep_failure(walk);
}

static int add_one(int above, const char *name, const struct stat *st, struct walk *walk)
{
    (void)above, (void)name;
    walk->bytes += S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
    walk->size += rec_retention_size_on_disk((uint64_t)st->st_size);
    return 0;
}

static int remove_one(int above, const char *name, const struct stat *st, struct walk *walk)
{
    (void)walk;
    return unlinkat(above, name, S_ISDIR(st->st_mode) ? AT_REMOVEDIR : 0);
}

static int give_one(int above, const char *name, const struct stat *st, struct walk *walk)
{
    (void)st;
    return fchownat(above, name, walk->owner, (gid_t)-1, AT_SYMLINK_NOFOLLOW);
}

/* The directory is given last: until then nobody else can change what is in it. */
void rec_tree_give(const char *path, uid_t user)
{
    struct walk walk = { .visit = give_one, .owner = user };
    visit_tree(AT_FDCWD, path, 0, &walk);
}

/* Adds up all that is there. A file that disappears meanwhile takes nothing. Returns 0, or -1 and errno. */
static int add_tree(const char *path, struct walk *walk)
{
    *walk = (struct walk){ .visit = add_one };
    visit_tree(AT_FDCWD, path, 0, walk);
    errno = walk->failure;
    return walk->failure == 0 || walk->failure == ENOENT ? 0 : -1;
}

int rec_tree_size(const char *path, uint64_t *size)
{
    struct walk walk;
    int result = add_tree(path, &walk);
    *size = walk.size;
    return result;
}

int rec_tree_bytes(const char *path, uint64_t *bytes)
{
    struct walk walk;
    int result = add_tree(path, &walk);
    *bytes = walk.bytes;
    return result;
}

int rec_tree_remove(const char *path)
{
    struct walk walk = { .visit = remove_one };
    visit_tree(AT_FDCWD, path, 0, &walk);
    errno = walk.failure;
    return walk.failure ? -1 : 0;
}
