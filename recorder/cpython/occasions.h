/* Occasions: signals, and exceptions that end the program or a thread, at which captures want a snapshot or a pause;
 * and the snapshots that the program asks for. The drain's thread makes all snapshots, while the program runs. */
#ifndef REC_OCCASIONS_H
#define REC_OCCASIONS_H

#include "options.h"

/* Prepares the module, once a process. toggle: called with the GIL to pause or resume recording. */
void rec_occasions_init(void (*toggle)(void));

/* Installs handlers for the signals that a capture wants. From now on rec_occasions_run acts for it. */
void rec_occasions_attend(const struct rec_options *options);

/* Restores the handlers that the program had for the signals of this capture, or of all captures. */
void rec_occasions_release(const struct rec_options *options);
void rec_occasions_release_all(void);

/* Does what is due: snapshots and the toggle. Called by the drain's thread, and a last time when a capture ends. */
void rec_occasions_run(void);

/* Handles what the drain was woken for. For struct rec_drain_options. */
void rec_occasions_on_wake(void);

/* Saves a snapshot at path or at the next free name, which is copied to taken (PATH_MAX bytes). Other threads run
 * meanwhile. Returns 0, or -1 with an exception set. */
int rec_occasions_save(const char *path, char *taken);

/* Forgets, in a forked child, what is due in the parent. */
void rec_occasions_forked(void);

#endif
