/* The fuzz targets' common part. Their inputs are real bytes: a file of a segment, a name table, or several files in one.
 * Checks would stop blind mutations, so inputs are also mutated by their structure, a field of a header, a record, a
 * string, and sealed again.
 *
 *     blocks         the file as it is
 *     names          the file as it is
 *     live           96 bytes of the live header; u8 k, up to 16; k chunk headers of 128 bytes; for each of them u16 n
 *                    and n records. The file is made of that: all else in it is 0, and its size is what n_chunks
 *                    needs, less as many pages as the last byte says if any byte follows all that
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

/* Mutate the bytes in place, up to max of them. Return how many there are then. */
size_t fuzz_mutate_blocks(uint8_t *bytes, size_t size, size_t max, unsigned seed);
size_t fuzz_mutate_names(uint8_t *bytes, size_t size, size_t max, unsigned seed);
size_t fuzz_mutate_live(uint8_t *bytes, size_t size, size_t max, unsigned seed);
size_t fuzz_mutate_capture(uint8_t *bytes, size_t size, size_t max, unsigned seed);

/* Returns the path of a directory process-1, in one of its own, which is removed at the end. */
const char *fuzz_directory(void);

/* Makes the file in that directory, and the segment for it; removes it if there are no bytes, and an empty segment. */
void fuzz_write(const char *name, const uint8_t *bytes, size_t size);

/* Makes the file `live` of its input, likewise. */
void fuzz_write_live(const uint8_t *bytes, size_t size);

/* Finds the parts of a capture's input. */
void fuzz_split(const uint8_t *bytes, size_t size, const uint8_t *parts[FUZZ_PARTS], size_t sizes[FUZZ_PARTS]);

#endif
