/* Directories with all that is in them. Symbolic links are not followed. Any thread may call any function. No Python
 * dependency. */
#ifndef REC_TREE_H
#define REC_TREE_H

#include <stdint.h>
#include <sys/types.h>

/* Gives how many bytes the directory, or file, and all below it take on disk; 0 when it is not there. Returns 0, or
 * -1 and errno when it cannot be read. */
int rec_tree_size(const char *path, uint64_t *size);

/* Gives the bytes in all files below the directory; 0 when it is not there. Returns 0, or -1 and errno. */
int rec_tree_bytes(const char *path, uint64_t *bytes);

/* Makes the user the owner of the directory and all below it. */
void rec_tree_give(const char *path, uid_t user);

/* Removes the directory and all below it, as far as that can be done. Returns 0, or -1 and errno. */
int rec_tree_remove(const char *path);

#endif
