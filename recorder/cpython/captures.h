/* The captures that are made of the recording of this process: the one that is written as the events come, and regions,
 * which become captures of their own when they stop. specs/recording.md, section 9.1.
 *
 * The list belongs to the thread that has the GIL; the drain's thread reads it with the lock. */
#ifndef REC_CAPTURES_H
#define REC_CAPTURES_H

#include "options.h"

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "../session.h"

struct rec_capture {
    int number;                         /* from 1 */
    char path[PATH_MAX];                /* absolute */
    struct rec_options options;         /* texts and lists are not valid after the start */
    struct rec_region region;           /* not of the capture that is written */
    bool is_waiting;                    /* the region begins when the program resumes recording */
    bool lifts_pause;                   /* a pause is lifted as long as it lasts */
    struct rec_capture *older;
};

struct rec_captures {
    pthread_mutex_t lock;               /* held while the list or what is written changes */
    struct rec_capture written;
    struct rec_capture *newest;         /* of the regions; owned */
    int n_started;                      /* captures, in all */
};
extern struct rec_captures rec_captures __attribute__((visibility("hidden")));

void rec_captures_init(void);

/* Remembers which directory the capture that is written is. */
void rec_captures_remember(void);

/* Finds the capture that is written again, which the program may have moved. Returns false when it is nowhere: removed,
 * or moved and out of sight. May be called without the GIL. */
bool rec_captures_locate(void);

/* Begins a region, whose capture goes to path or, if that is taken, to the next free name. dict: its options. Returns
 * the region, which the list owns, or NULL with an exception set. */
struct rec_capture *rec_captures_begin_region(const char *path, PyObject *dict);

/* Discards a region that has just begun. */
void rec_captures_discard_region(struct rec_capture *region);

/* Makes the capture of a region, and removes the region from the list. */
void rec_captures_save_region(struct rec_capture *region, struct rec_totals *totals);

/* The region of this number, or NULL. */
struct rec_capture *rec_captures_find(int number);

/* Ends the capture that is written, and continues in that of the region that began first. drain: the drain's callbacks.
 * *is_waiting: that region has yet to begin. Returns false if that is not possible, and nothing has changed. */
bool rec_captures_move(struct rec_drain_options *drain, bool *is_waiting, struct rec_totals *totals);

/* Begins the regions that wait for the program to resume recording. */
void rec_captures_begin_waiting(void);

/* True when a region waits for the program to resume recording. */
bool rec_captures_are_waiting(void);

/* Ends the lifting of a pause for regions, because the program has paused or resumed recording itself. */
void rec_captures_settle(void);

/* Returns how many regions lift a pause. */
int rec_captures_count_lifting(void);

/* What some capture wants, beyond the calls of Python functions. */
struct rec_wanted {
    bool c_calls, exceptions, collections;
    uint64_t samples_ns;                /* the shortest period; 0: no samples */
};
struct rec_wanted rec_captures_wanted(void);

/* Forgets the regions in a forked child, as they are the parent's. */
void rec_captures_forked(void);

/* Gives the regions' directories, to which this process still writes, to another user. */
void rec_captures_give(uid_t user);

#endif
