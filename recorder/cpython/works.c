#include "works.h"

/* Appends a record about the object whose method is entered in a frame. Should a new chunk be due, it does not list the
 * frame, whose entry record follows: rec_threads_append would. */
static void append_work_of(PyThreadState *ts, const cpython_frame *f, struct rec_thread *thread, enum pnr_kind kind)
{
    struct rec_buffer *buffer = &thread->buffer;
    PyObject *self = cpython_argument(f, 0);            /* borrowed */
    cpython_frame *from = rec_threads_innermost(ts);
    if (!self)
        return;
    uint64_t ticks = rec_clock_ticks() - buffer->base;
    rec_sparse_break();
    if (unlikely(!rec_buffer_has_capacity(buffer, ticks))) {
        if (!rec_threads_start_chunk(thread, 0, from == f ? cpython_previous(f) : from, rec_no_frame))
            return;                     /* it is counted as lost */
        ticks = rec_clock_ticks() - buffer->base;
    }
    rec_buffer_append(buffer, ticks, kind, (uintptr_t)self >> 4, 0);
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
    rec_threads_append(ts, thread, PNR_TAKE, rec_no_frame, rec_no_frame);
}
