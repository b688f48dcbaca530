/* What the tests of the recorder share: events that are numbered, and reading them back from the files. */
#ifndef RECORDED_H
#define RECORDED_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/capture.h"
#include "recorder/fork_memory.h"
#include "recorder/name_table.h"
#include "recorder/session.h"
#include "recorder/worker.h"

/* A new thread's buffer, named "name". */
static inline struct rec_buffer *new_buffer(uint32_t native_id)
{
    struct rec_buffer *buffer = rec_fork_memory_new(sizeof *buffer);
    uint32_t number = rec_name_table_add_thread(native_id, (struct pnr_string){ "name", 4 });
    cr_assert(buffer && rec_buffer_begin(buffer, number));
    return buffer;
}

static inline void end_buffer(struct rec_buffer *buffer)
{
    rec_buffer_end(buffer);
    rec_fork_memory_free(buffer);
}

/* Appends as an engine does: the frame counts the thread's records. */
static inline void append(struct rec_buffer *buffer, uint64_t number)
{
    uint64_t ticks = rec_clock_ticks() - buffer->base;
    if (!rec_buffer_has_capacity(buffer, ticks)) {
        cr_assert(rec_buffer_start_chunk(buffer, 0, 0));
        ticks = rec_clock_ticks() - buffer->base;
    }
    rec_buffer_append(buffer, ticks, PNR_CALL, number, buffer->number);
}

/* What the segments hold of a thread. */
struct in_file {
    uint64_t n;                         /* records, without LOST */
    uint64_t n_lost;                    /* by LOST records */
    uint32_t n_blocks;
    bool is_ended;
};

static inline void read_block(FILE *file, const struct pnr_block_header *h, struct in_file *in_file)
{
    static struct pnr_record records[PNR_BLOCK_RECORDS];
    static unsigned char data[1 << 20];
    struct pnr_err err;
    struct pnr_block_coder *coder = pnr_block_coder_new();
    cr_assert_eq(h->sequence, in_file->n_blocks++);
    cr_assert_eq(fread(data, h->data_size, 1, file), 1);
    cr_assert_eq(pnr_block_decode(coder, h, data, records, &err), 0, "%s", err.what);
    for (uint32_t i = 0; i < h->n_records; i++) {
        if (pnr_record_kind(records[i]) == PNR_LOST)
            in_file->n_lost += pnr_record_function(records[i]);
        else if (pnr_record_kind(records[i]) != PNR_OPEN)
            cr_assert_eq(pnr_record_frame(records[i]), in_file->n++);
    }
    in_file->is_ended = h->flags & PNR_BLOCK_LAST;
    pnr_block_coder_free(coder);
}

/* Reads the blocks of a thread in one file, of which all must be whole, and this thread's if the file is that of
 * one. */
static inline void read_file(const char *path, uint32_t thread, bool is_shared, struct in_file *in_file)
{
    uint32_t skippable[2];
    struct pnr_block_header h;
    struct pnr_err err;
    FILE *file = fopen(path, "rb");
    cr_assert(file, "%s", path);
    while (fread(skippable, 1, sizeof skippable, file) != 0) {
        cr_assert_eq(skippable[0], PNR_BLOCK_SKIPPABLE);
        cr_assert_eq(fread(&h, sizeof h, 1, file), 1);
        cr_assert_eq(pnr_block_header_check(&h, false, 0, &err), 0, "%s", err.what);
        cr_assert(is_shared || h.thread == thread, "%s: thread %u", path, h.thread);
        if (h.thread == thread)
            read_block(file, &h, in_file);
        else
            fseek(file, h.data_size, SEEK_CUR);
    }
    fclose(file);
}

/* Reads a thread's blocks in the segments of a process: its records must be numbered 0, 1, ... in blocks 0, 1, ... */
static inline struct in_file read_thread(const char *process_path, uint32_t thread)
{
    const uint32_t names[] = { PNR_SHORT_THREADS, thread };
    char path[PATH_MAX];
    uint32_t *numbers;
    size_t n;
    struct in_file in_file = { 0 };
    struct pnr_err err;
    cr_assert_eq(pnr_capture_segments(process_path, &numbers, &n, &err), 0);
    for (size_t i = 0; i < n; i++) {
        for (int k = 0; k < 2; k++) {
            pnr_thread_path(process_path, numbers[i], names[k], path);
            if (access(path, F_OK) == 0)
                read_file(path, thread, k == 0, &in_file);
        }
    }
    free(numbers);
    return in_file;
}

/* Reads a process's name table. The bytes are valid until the next call. */
static inline const char *read_name_table(const char *process_path, size_t *size)
{
    static char bytes[4 << 20];
    char path[PATH_MAX];
    pnr_file_path(process_path, "names", path);
    FILE *file = fopen(path, "rb");
    cr_assert(file);
    *size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return bytes;
}

/* The value of a property in a process's name table; "" if it is not there. Counts the functions. */
static inline const char *find_property(const char *process_path, const char *key, uint32_t *n_functions)
{
    static char value[128];
    struct pnr_name name;
    struct pnr_err err;
    size_t at = PNR_NAMES_HEADER_SIZE, size;
    const char *bytes = read_name_table(process_path, &size);
    *value = 0;
    *n_functions = 0;
    while (pnr_name_decode(bytes, size, &at, &name, &err) == 1) {
        *n_functions += name.type == PNR_NAME_FUNCTION;
        if (name.type == PNR_NAME_PROPERTY && name.strings[0].size == strlen(key) &&
            memcmp(name.strings[0].bytes, key, strlen(key)) == 0)
            snprintf(value, sizeof value, "%.*s", (int)name.strings[1].size, name.strings[1].bytes);
    }
    return value;
}

#endif
