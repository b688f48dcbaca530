#include "works.h"

/* Appends a record whose time is read. from: the innermost frame that has its entry record. */
static void append_work(struct rec_thread *thread, enum pnr_kind kind, uint64_t identity, cpython_frame *from)
{
    struct rec_buffer *buffer = &thread->buffer;
    uint64_t ticks = rec_clock_ticks() - buffer->base;
    rec_sparse_break();
    if (unlikely(!rec_buffer_has_capacity(buffer, ticks))) {
        if (!rec_threads_start_chunk(thread, 0, from, rec_no_frame))
            return;                     /* it is counted as lost */
        ticks = rec_clock_ticks() - buffer->base;
    }
    rec_buffer_append(buffer, ticks, kind, identity, 0);
}

/* Appends a record about the object whose method is entered in a frame. */
static void append_work_of(PyThreadState *ts, const cpython_frame *f, struct rec_thread *thread, enum pnr_kind kind)
{
    PyObject *self = cpython_argument(f, 0);            /* borrowed */
    cpython_frame *from = rec_threads_innermost(ts);
    if (self)
        append_work(thread, kind, (uintptr_t)self >> 4, from == f ? cpython_previous(f) : from);
}

void rec_works_submit(PyThreadState *ts, const cpython_frame *f, struct rec_thread *thread)
{
    append_work_of(ts, f, thread, PNR_SUBMIT);
}

void rec_works_take(PyThreadState *ts, const cpython_frame *f, struct rec_thread *thread)
{
    append_work_of(ts, f, thread, PNR_TAKE);
}

void rec_works_end(PyThreadState *ts, struct rec_thread *thread)
{
    append_work(thread, PNR_TAKE, 0, rec_threads_innermost(ts));
}
