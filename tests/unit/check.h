/* What the tests of convert/ share: a sink that writes down what it is given, name tables made in memory, and small
 * captures made in a temporary directory with the encoders of format/. */
#ifndef CHECK_H
#define CHECK_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/write/call_tree.h"
#include "convert/slices/call_stack.h"
#include "convert/slices/sink.h"
#include "convert/write/writer.h"
#include "format/block.h"
#include "format/capture.h"
#include "format/names.h"

/* ---- a sink that writes down ---- */

struct check_sink {
    struct sink sink;
    char text[4096];                    /* a word for each event, separated by spaces */
};

static inline void check_write(struct check_sink *check, const char *format, ...)
{
    size_t used = strlen(check->text);
    va_list args;
    va_start(args, format);
    if (used)
        check->text[used++] = ' ';
    vsnprintf(check->text + used, sizeof check->text - used, format, args);
    va_end(args);
}

/* Writes "2:7[10,20]eu" for thread 2, function 7, from 10 to 20, with the flags e(xception), u(nfinished), b(egin
 * unknown), l (exit missing) and c(ut). */
static inline void check_slice(struct sink *sink, const struct slice *slice)
{
    char flags[6] = "";
    for (int i = 0; i < 5; i++)
        strncat(flags, slice->flags >> i & 1 ? (const char *[]){ "e", "u", "b", "l", "c" }[i] : "", 1);
    if (slice->subject == PNR_SUBJECT_UNRECORDED)
        check_write((struct check_sink *)sink, "%u:gap%u[%" PRIu64 ",%" PRIu64 "]%s", slice->thread, slice->function,
                    slice->begin_ns, slice->end_ns, flags);
    else
        check_write((struct check_sink *)sink, "%u:%u[%" PRIu64 ",%" PRIu64 "]%s", slice->thread, slice->function,
                    slice->begin_ns, slice->end_ns, flags);
}

static inline void check_instant(struct sink *sink, uint32_t thread, uint64_t ns, const char *text)
{
    check_write((struct check_sink *)sink, "%u:%s@%" PRIu64, thread, text, ns);
}

/* Writes "2:s1@15" for the start of flow 1 in thread 2 at 15; "2:S1@15" for that of a spawn arrow. */
static inline void check_flow_event(struct sink *sink, const struct flow_event *event)
{
    check_write((struct check_sink *)sink, "%u:%c%" PRIu64 "@%" PRIu64, event->thread,
                (event->origin ? "S?F" : "stf")[event->phase], event->flow, event->ns);
}

/* Writes "2:b1@10" for the begin of task 1 in thread 2 at 10; r(esume), w(ait) and e(nd), the last one with
 * u(nfinished) or c(ut). */
static inline void check_task(struct sink *sink, const struct task_event *event)
{
    check_write((struct check_sink *)sink, "%u:%c%" PRIu64 "@%" PRIu64 "%s", event->thread, "brwe"[event->phase],
                event->task, event->ns,
                event->flags & SLICE_UNFINISHED ? "u" : event->flags & SLICE_CUT ? "c" : "");
}

static inline void check_process(struct sink *sink, const struct sink_process *process)
{
    check_write((struct check_sink *)sink, "process%u=%.*s", process->pid, (int)process->name.size,
                process->name.bytes);
}

static inline void check_thread(struct sink *sink, const struct sink_thread *thread)
{
    check_write((struct check_sink *)sink, "thread%u=%u", thread->thread, thread->tid);
}

static inline void check_sink_init(struct check_sink *check)
{
    *check = (struct check_sink){ { .process = check_process, .thread = check_thread, .slice = check_slice,
                                    .instant = check_instant, .flow_event = check_flow_event,
                                    .task = check_task }, "" };
}

/* ---- name tables ---- */

static inline struct pnr_string check_string(const char *text)
{
    return (struct pnr_string){ text, (uint32_t)strlen(text) };
}

/* Function k is called f<k>; 1 to 3 are plain, 4 and 5 generators, 6 a coroutine, 7 an async generator, 8 an iterable
 * coroutine, 9 a C function. */
#define CHECK_FUNCTIONS 9

static inline const struct symbols *check_symbols(void)
{
    static struct symbol functions[CHECK_FUNCTIONS];
    static struct symbols symbols = { .functions = functions, .n_functions = CHECK_FUNCTIONS,
                                      .n_known = CHECK_FUNCTIONS };
    static const char *const names[] = { "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9" };
    static const uint8_t kinds[] = { 0, 0, 0, 1, 1, 2, 3, 4, 5 };
    for (int i = 0; i < CHECK_FUNCTIONS; i++)
        functions[i] = (struct symbol){ check_string("m"), check_string(names[i]), check_string("m.py"),
                                        (uint32_t)i + 1, kinds[i], true };
    return &symbols;
}

/* ---- records ---- */

/* Converts the records of a block that begins at that time. */
static inline void check_records(struct call_stack *stack, const struct pnr_record *records, uint32_t n, uint64_t ns)
{
    static struct timeline timeline;    /* a tick is a nanosecond */
    if (timeline.n == 0) {
        timeline_init(&timeline, 0);
        timeline_add(&timeline, 0, 0);
        timeline_finish(&timeline);
    }
    struct call_stack_input input = { .timeline = &timeline, .records = records, .n = n, .begin_ticks = ns };
    call_stack_records(stack, &input, UINT64_MAX);
}

/* Converts a block of one record. */
static inline void check_record(struct call_stack *stack, struct pnr_record record, uint64_t ns)
{
    check_records(stack, &record, 1, ns);
}

/* ---- call trees ---- */

/* A process with a thread, 0. */
static inline void check_tree_begin(struct call_tree *tree, const struct symbols *symbols)
{
    struct sink *sink = &tree->sink;
    sink->process(sink, &(struct sink_process){ .pid = 7, .name = check_string("p"), .symbols = symbols });
    sink->thread(sink, &(struct sink_thread){ .thread = 0, .tid = 70, .name = check_string("t") });
}

/* A call of that length; gives its node. What is called in it comes before or after. */
static inline uint32_t check_tree_call(struct call_tree *tree, uint32_t parent, uint32_t function, uint64_t ns)
{
    struct slice slice = { .end_ns = ns, .function = function };
    slice.cookie = tree->sink.enter(&tree->sink, parent, 0, function, false);
    tree->sink.slice(&tree->sink, &slice);
    return slice.cookie;
}

/* All that a writer writes to the file, which is closed; the caller frees. */
static inline char *check_read(FILE *file, struct writer *writer)
{
    struct pnr_err err;
    cr_assert_eq(writer_end(writer, &err), 0);
    char *text = calloc(1, writer->n_bytes + 1);
    rewind(file);
    cr_assert_eq(fread(text, 1, writer->n_bytes + 1, file), writer->n_bytes);
    fclose(file);
    return text;
}

/* ---- captures ---- */

struct check_capture {
    char path[64];
    char process[128];
    uint32_t segment;                   /* to which blocks are appended */
    bool is_short;                      /* to its file of short threads, not to that of their own */
    uint32_t track;                     /* in which they begin */
    struct pnr_block_coder *coder;
};

static inline void check_append(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    cr_assert(fd >= 0 && write(fd, bytes, size) == (ssize_t)size, "%s", path);
    close(fd);
}

static inline void check_name(struct check_capture *capture, struct pnr_name name)
{
    char path[160], bytes[1024];
    snprintf(path, sizeof path, "%s/names", capture->process);
    pnr_name_encode(&name, bytes);
    check_append(path, bytes, pnr_name_size(&name));
}

static inline void check_property(struct check_capture *capture, const char *key, const char *value)
{
    check_name(capture, (struct pnr_name){ .type = PNR_NAME_PROPERTY,
                                           .strings = { check_string(key), check_string(value), { NULL, 0 } } });
}

/* A capture of one process with a name table, without segments; ticks are nanoseconds. */
static inline void check_capture_make(struct check_capture *capture)
{
    char path[160], header[PNR_NAMES_HEADER_SIZE];
    struct pnr_err err;
    strcpy(capture->path, "/tmp/panopticon-test-XXXXXX");
    cr_assert_not_null(mkdtemp(capture->path));
    cr_assert_eq(pnr_capture_make_partial(capture->path, capture->process, sizeof capture->process, &err), 0);
    cr_assert_eq(pnr_capture_publish_process(capture->path, 7, capture->process, sizeof capture->process, &err), 0);
    snprintf(path, sizeof path, "%s/names", capture->process);
    pnr_names_header_encode(header);
    check_append(path, header, sizeof header);
    check_property(capture, "start_monotonic_ns", "0");
    check_property(capture, "ticks_per_second", "1000000000");
    for (uint32_t i = 0; i < CHECK_FUNCTIONS; i++) {
        const struct symbol *symbol = symbols_function(check_symbols(), i + 1);
        check_name(capture, (struct pnr_name){ .type = PNR_NAME_FUNCTION, .kind = symbol->kind, .index = i + 1,
                                               .number = symbol->line,
                                               .strings = { symbol->module, symbol->name, symbol->file } });
    }
    capture->segment = 1;
    capture->is_short = false;
    capture->track = 0;
    capture->coder = pnr_block_coder_new();
}

static inline void check_capture_remove(struct check_capture *capture)
{
    char command[128];
    pnr_block_coder_free(capture->coder);
    snprintf(command, sizeof command, "rm -r %s", capture->path);
    cr_assert_eq(system(command), 0);
}

/* The file of the segment to which blocks of the thread are appended; PATH_MAX bytes. Makes the segment if there is
 * none. */
static inline void check_thread_path(const struct check_capture *capture, uint32_t thread, char *path)
{
    pnr_segment_path(capture->process, capture->segment, path);
    mkdir(path, 0700);
    pnr_thread_path(capture->process, capture->segment, capture->is_short ? PNR_SHORT_THREADS : thread, path);
}

/* Appends a block to its file in the segment; its records' ticks count from begin. Gives its size. */
static inline size_t check_block(struct check_capture *capture, uint32_t thread, uint32_t sequence, unsigned flags,
                                 uint64_t begin, const struct pnr_record *records, uint32_t n)
{
    char path[PATH_MAX];
    size_t size;
    uint64_t end = begin + pnr_record_ticks(records[n - 1]);
    struct pnr_block_header header = { .thread = thread, .sequence = sequence, .flags = (uint16_t)flags,
                                       .n_records = n, .begin = { begin, begin, begin }, .end = { end, end, end },
                                       .track = capture->track };
    while (header.n_open < n && pnr_record_kind(records[header.n_open]) == PNR_OPEN)
        header.n_open++;
    check_thread_path(capture, thread, path);
    const void *block = pnr_block_encode(capture->coder, &header, records, &size);
    check_append(path, block, size);
    return size;
}

#endif
