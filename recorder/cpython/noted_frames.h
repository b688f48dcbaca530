/* Noted frames: open frames of muted functions, of which no event tells whether they are still open. A note says
 * whether the records have the frame as open, and ends with the frame.
 *
 * A plain frame is noted by its mark: a dict in the frame's f_locals. Functions have none there (a function gets one by
 * locals() on 3.12 alone, which fills ours as it would fill its own). The interpreter frees it when the frame has been
 * left and cleared (Python/frame.c, _PyFrame_ClearLocals), and PyDict_AddWatcher reports that. So the end of this very
 * call is seen, at no cost for any other call of the function. A frame that a traceback or a frame object keeps is
 * cleared later. A continuable frame is noted by its address: its mark would outlast the run.
 *
 * All functions are called with the GIL. None runs Python code. */
#ifndef REC_NOTED_FRAMES_H
#define REC_NOTED_FRAMES_H

#include "cpython.h"

/* What is known of a noted frame. */
enum rec_note {
    REC_NOTE_NOTHING,                   /* a mark that has no meaning any more */
    REC_NOTE_WATCHED,                   /* it was open at a look, and the records do not have it */
    REC_NOTE_TOLD,                      /* the records have it as open: its exit is recorded */
    REC_NOTE_UNTOLD                     /* its function is recorded again, but not this frame: nor is its exit */
};

struct rec_noted {
    uint64_t key;                       /* address of the mark; of a continuable frame, its own */
    const cpython_frame *frame;
    const PyThreadState *owner;         /* compared, never dereferenced */
    uint64_t since;                     /* ticks when it was known to be open */
    uint32_t function;
    uint32_t size;                      /* of the frame, in words of the data stack */
    uint8_t note;                       /* enum rec_note */
    bool is_continuable;
    bool is_ours;                       /* the mark was made by rec_noted_add */
};

/* Prepares the watcher. Returns false, without an exception, where the interpreter has none left. */
bool rec_noted_init(void);

/* Called when a plain frame that is noted has been cleared. noted: valid until the function returns; it is removed
 * already. */
extern void (*rec_noted_on_cleared)(const struct rec_noted *noted);

/* Returns the note of a frame, or NULL. It lasts until the next call of rec_noted_add or rec_noted_remove. */
struct rec_noted *rec_noted_find(const cpython_frame *f);

/* Notes a frame that is not noted. Returns NULL when that cannot be done: out of memory, or something else is
 * where the mark belongs: exec() of a function's code puts its variables there. */
struct rec_noted *rec_noted_add(const PyThreadState *ts, cpython_frame *f, uint32_t function, enum rec_note note);

/* True while the plain frame of a note is open in its thread. */
bool rec_noted_is_open(const PyThreadState *owner, const struct rec_noted *noted);

/* Removes the note. f: its frame, which is open. */
void rec_noted_remove(struct rec_noted *noted, cpython_frame *f);

/* The note after this one, the first one after NULL; NULL at the end. */
struct rec_noted *rec_noted_next(const struct rec_noted *noted);

/* Forgets the note of a frame that may be gone. */
void rec_noted_drop(struct rec_noted *noted);

/* Forgets all notes. Marks stay in their frames, and have no meaning. */
void rec_noted_forget(void);

#endif
