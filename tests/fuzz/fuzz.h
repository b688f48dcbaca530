/* What the fuzz targets share. Their inputs are real bytes: a file of a segment, a name table, or several files in one. As
 * checks stand in the way of blind mutation, inputs are also changed as what they are: a field of a header, a record, a
 * string; and sealed again.
 *
 *     blocks         the file as it is
 *     names          the file as it is
 *     live           96 bytes of the live header; u8 k, up to 16; k chunk headers of 128 bytes; for each of them u16 n
 *                    and n records. The file is made of that: all else in it is 0, and its size is what n_chunks asks
 *                    for, less as many pages as the last byte has, if anything is left after all that
 *     capture        6 x u32 sizes, and the files in the order of fuzz_names. An empty file is not there, nor is a segment
 *                    without a file
 *
 * tests/fuzz/seeds.py makes such inputs of captures. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

#define FUZZ_PARTS 6

/* The files of a capture's process; the first is `names`, the last `live`. */
extern const char *const fuzz_names[FUZZ_PARTS];

/* Changes the bytes where they lie, up to max of them. Returns how many they are then. */
size_t fuzz_mutate_blocks(uint8_t *bytes, size_t size, size_t max, unsigned seed);
size_t fuzz_mutate_names(uint8_t *bytes, size_t size, size_t max, unsigned seed);
size_t fuzz_mutate_live(uint8_t *bytes, size_t size, size_t max, unsigned seed);
size_t fuzz_mutate_capture(uint8_t *bytes, size_t size, size_t max, unsigned seed);

/* The path of a directory that is removed at the end: process-1 in one of its own. */
const char *fuzz_directory(void);

/* Makes the file in that directory, and the segment for it; removes it if there are no bytes, and an empty segment. */
void fuzz_write(const char *name, const uint8_t *bytes, size_t size);

/* The same for `live`, which is made of its input. */
void fuzz_write_live(const uint8_t *bytes, size_t size);

/* Finds the parts of a capture's input. */
void fuzz_split(const uint8_t *bytes, size_t size, const uint8_t *parts[FUZZ_PARTS], size_t sizes[FUZZ_PARTS]);

#endif
