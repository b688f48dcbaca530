/* Occasions: signals, and exceptions that end the program or a thread, at which captures want a snapshot or a pause;
 * and the snapshots that the program asks for. The drain's thread makes all snapshots, while the program runs. */
#ifndef REC_OCCASIONS_H
#define REC_OCCASIONS_H

#include "options.h"

/* Once a process. toggle: called with the GIL to pause or resume recording. */
void rec_occasions_init(void (*toggle)(void));

/* From now on a capture has the signals that it wants, and hears of exceptions. */
void rec_occasions_attend(const struct rec_options *options);

/* Gives back the signals that this capture wanted; or those of all captures. */
void rec_occasions_release(const struct rec_options *options);
void rec_occasions_release_all(void);

/* Sees to the occasions that have come. Called by the drain's thread, or when it is the last time for a capture. */
void rec_occasions_run(void);

/* For struct rec_drain_options: sees to what the drain was woken for. */
void rec_occasions_on_wake(void);

/* Saves a snapshot at path, or where there is room for it, which is copied to taken (PATH_MAX bytes). Other threads run
 * meanwhile. Returns 0, or -1 with an exception set. */
int rec_occasions_save(const char *path, char *taken);

/* Forgets, in a forked child, what is due in the parent. */
void rec_occasions_forked(void);

#endif
