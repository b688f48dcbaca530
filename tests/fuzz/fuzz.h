/* What the fuzz targets share. Their inputs are real bytes: a file of a segment, a name table, or several files in one.
 * Checksums reject almost all blind mutations. So inputs are also changed by their structure: a field of a header, a
 * record or a string is changed, and the checksum is made again.
 *
 *     blocks         the file as it is
 *     names          the file as it is
 *     live           96 bytes of the live header; u8 k, up to 16; k chunk headers of 128 bytes; for each of them u16 n
 *                    and n records. The file is made of that: everything else in it is 0. Its size is that of n_chunks
 *                    chunks; if the input has more bytes, the last one says how many pages fewer
 *     capture        6 x u32 sizes, and the files in the order of fuzz_names. Empty files, and segments
 *                    without a file, are not made
 *
 * tests/fuzz/seeds.py makes such inputs of captures. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

#define FUZZ_PARTS 6

/* The files of a capture's process; the first is `names`, the last `live`. */
extern const char *const fuzz_names[FUZZ_PARTS];

/* Change the bytes in place, up to max of them. Return the new size. */
size_t fuzz_mutate_blocks(uint8_t *bytes, size_t size, size_t max, unsigned seed);
size_t fuzz_mutate_names(uint8_t *bytes, size_t size, size_t max, unsigned seed);
size_t fuzz_mutate_live(uint8_t *bytes, size_t size, size_t max, unsigned seed);
size_t fuzz_mutate_capture(uint8_t *bytes, size_t size, size_t max, unsigned seed);

/* Returns the path of process-1 in a temporary directory, which is removed at the end. */
const char *fuzz_directory(void);

/* Writes the file into that directory, and makes its segment. Removes the file if there are no bytes, and a segment
 * that is empty then. */
void fuzz_write(const char *name, const uint8_t *bytes, size_t size);

/* Writes `live`, which is made of its input. */
void fuzz_write_live(const uint8_t *bytes, size_t size);

/* Splits a capture's input into its files. */
void fuzz_split(const uint8_t *bytes, size_t size, const uint8_t *parts[FUZZ_PARTS], size_t sizes[FUZZ_PARTS]);

#endif
