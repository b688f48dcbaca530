/* What the recorder says to the user of a program that is not its own: lines on standard error, as long as descriptor 2
 * is the file that it was when recording began. A child process says nothing in its streams: its lines go to the file
 * `messages` of the capture, and the process that began the capture says at its end that there are some. */
#ifndef REC_DIAGNOSTICS_H
#define REC_DIAGNOSTICS_H

#include <sys/types.h>

/* Remembers which file descriptor 2 is. */
void rec_diagnostics_init(void);

/* Nothing is said until the next rec_diagnostics_init. */
void rec_diagnostics_hold(void);

/* This is a child process: from now on what it has to say goes to this capture, whose path is borrowed. NULL: it is
 * none. */
void rec_diagnostics_redirect(const char *capture_path);

/* Writes "panopticon: " and the formatted text with a newline, in one write(2) of at most 1,024 bytes. */
void rec_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* With PANOPTICON_DEBUG=1 in the environment: writes "panopticon: PID: " and the text on standard error, also in child
 * processes: what the recorder decides. */
void rec_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Once a process: reads the environment, and remembers which file descriptor 2 is, to which rec_debug writes. */
void rec_debug_init(void);

/* Makes the file to which the children of this capture append, if they could not make it themselves: those that will
 * run as another user. They can do nothing else with it. */
void rec_diagnostics_open_to_all(const char *capture_path);

/* The process that began the capture is about to become this user: it will still read the messages. */
void rec_diagnostics_give(const char *capture_path, uid_t user);

/* Says what child processes had to say: the first line, and how many there are more. Removes the file. */
void rec_diagnostics_pass_on(const char *capture_path);

#endif
