#include "writer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void writer_init(struct writer *writer, int fd)
{
    writer->fd = fd;
    writer->output = NULL;
    writer->sys_errno = 0;
    writer->n_bytes = 0;
    writer->used = 0;
}

void writer_init_output(struct writer *writer, struct output *output)
{
    writer_init(writer, -1);
    writer->output = output;
}

static void write_through(struct writer *writer, const char *bytes, size_t size)
{
    if (writer->output && size > 0) {
        output_write(writer->output, bytes, size);
        return;
    }
    while (size > 0 && !writer->sys_errno) {
        ssize_t n = write(writer->fd, bytes, size);
        if (n > 0) {
            bytes += n;
            size -= (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            writer->sys_errno = n == 0 ? EIO : errno;
        }
    }
}

static void flush_writer(struct writer *writer)
{
    write_through(writer, writer->buffer, writer->used);
    writer->used = 0;
}

void writer_put(struct writer *writer, const void *bytes, size_t size)
{
    writer->n_bytes += size;
    if (size > sizeof writer->buffer - writer->used)
        flush_writer(writer);
    if (size > sizeof writer->buffer) {
        write_through(writer, bytes, size);
        return;
    }
    memcpy(writer->buffer + writer->used, bytes, size);
    writer->used += size;
}

void writer_format(struct writer *writer, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    writer_put(writer, text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
}

int writer_end(struct writer *writer, struct pnr_err *err)
{
    flush_writer(writer);
    errno = writer->sys_errno;
    return writer->sys_errno ? pnr_err_system(err, NULL, "cannot write") : 0;
}
