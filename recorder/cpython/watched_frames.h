/* Watched frames: open frames of muted functions. No event would tell apart whether such a frame is still open, so each
 * has an entry here, which ends with the frame.
 *
 * A plain frame is watched by its token: a dict in the frame's f_locals. Functions have none there. (On 3.12 locals()
 * makes one; it fills the token as it would fill its own.) The interpreter frees it when the frame has been left and
 * cleared (Python/frame.c, _PyFrame_ClearLocals), and PyDict_AddWatcher reports that. So the end of this very call is
 * seen, and no other call of the function costs anything. A frame that a traceback or a frame object keeps is cleared
 * later.
 *
 * A continuable frame is watched by its address alone: a token would outlast the run.
 *
 * All functions are called with the GIL. None runs Python code. */
#ifndef REC_WATCHED_FRAMES_H
#define REC_WATCHED_FRAMES_H

#include "cpython.h"

/* What is known of a watched frame. */
enum rec_watch {
    REC_WATCH_NOTHING,                  /* a token without a meaning */
    REC_WATCH_SEEN,                     /* it was open at a look, and the records do not have it */
    REC_WATCH_REPORTED,                 /* the records have it as open: its exit is recorded */
    REC_WATCH_UNREPORTED                /* its function is recorded again, but not this frame: nor is its exit */
};

struct rec_watched {
    uint64_t key;                       /* address of the token; of a continuable frame, its own */
    const cpython_frame *frame;
    const PyThreadState *owner;         /* compared, never dereferenced */
    const PyCodeObject *code;           /* compared, too */
    const void *data_stack;             /* that the frame is on; compared, too */
    uint64_t since;                     /* ticks when it was known to be open */
    uint32_t function;
    uint32_t size;                      /* of the frame, in words of the data stack */
    uint8_t state;                      /* enum rec_watch */
    bool is_continuable;
    bool is_ours;                       /* the token was made by rec_watched_add */
};

/* Prepares the watcher. Returns false, without an exception, where the interpreter has none left. */
bool rec_watched_init(void);

/* Called when a plain frame that is watched has been cleared. watched: valid until the function returns; its entry is
 * removed already. */
extern void (*rec_watched_on_cleared)(const struct rec_watched *watched);

/* Returns the entry of a frame, or NULL. It lasts until the next call of rec_watched_add or rec_watched_remove. */
struct rec_watched *rec_watched_find(const cpython_frame *f);

/* Watches a frame that is not watched. data_stack: that it is on. Returns NULL when that cannot be done: out of memory,
 * something else is where the token belongs, or the program would see the token. exec() of a function's code puts its
 * variables there. A function that imports gives what is there to an __import__ of the program's own. */
struct rec_watched *rec_watched_add(const PyThreadState *ts, const void *data_stack, cpython_frame *f, uint32_t function,
                                    enum rec_watch state);

/* True for a watched frame whose end will not be seen when it is left: the program holds its frame object, or its
 * locals(). */
bool rec_watched_is_kept(const cpython_frame *f);

/* Where the plain frame of an entry is. */
enum rec_watched_position {
    REC_WATCHED_OPEN,                   /* on the stack that its thread runs */
    REC_WATCHED_LEFT,                   /* on no stack any more: it is kept */
    REC_WATCHED_ELSEWHERE               /* on a stack that does not run, such as a greenlet's; or it was left there */
};
enum rec_watched_position rec_watched_position(const PyThreadState *owner, const struct rec_watched *watched);

/* Removes an entry. f: its frame, which is open. */
void rec_watched_remove(struct rec_watched *watched, cpython_frame *f);

/* The entry after this one, the first one after NULL; NULL at the end. */
struct rec_watched *rec_watched_next(const struct rec_watched *watched);

/* Removes the entry of a frame that may be gone. Returns after which entry rec_watched_next goes on. */
struct rec_watched *rec_watched_release(struct rec_watched *watched);

/* Removes all entries. Tokens stay in their frames, without a meaning. */
void rec_watched_forget_all(void);

/* The interpreter is gone, and with it the watcher and all tokens. */
void rec_watched_forget_interpreter(void);

#endif
