/* Diagnostics: the recorder's messages to the user, as lines on standard error. They are written only while
 * descriptor 2 is the file that it was when recording began, because the program may have put one of its own there.
 * A child process writes nothing to its streams: its lines go to the file `messages` of the capture, and the process
 * that began the capture reports them at its end. No Python dependency.
 *
 *     rec_diagnostics_hold                    a recording starts
 *         rec_diagnostics_init                it has started
 *         rec_diagnostics_redirect
 *             rec_warn ...                    any thread
 *     rec_diagnostics_pass_on
 *
 * All functions except rec_warn, rec_print and rec_debug are called with the recording lock (thread_buffer.h), which guards what
 * they set. */
#ifndef REC_DIAGNOSTICS_H
#define REC_DIAGNOSTICS_H

#include <stdbool.h>
#include <sys/types.h>

/* Remembers which file descriptor 2 is. */
void rec_diagnostics_init(void);

/* Suppresses all messages until the next rec_diagnostics_init: what fails at the start is raised. */
void rec_diagnostics_hold(void);

/* Sends the messages of a child process to this capture from now on. The path is borrowed. NULL: this is no child. */
void rec_diagnostics_redirect(const char *capture_path);

/* True when lines are written at once: this is not a child process, whose lines are shown at the end. */
bool rec_diagnostics_are_direct(void);

/* Writes "panopticon: " and the formatted text with a newline, in one write(2) of at most 1,024 bytes. */
void rec_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes only the text, with a newline: a command that the user may copy. */
void rec_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes "panopticon: PID: " and the text to standard error, also in child processes, if the environment has
 * PANOPTICON_DEBUG=1: what the recorder decides. */
void rec_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* True when rec_debug writes. A caller that would have to make its text first may ask. */
bool rec_debug_is_on(void);

/* Reads the environment and remembers which file descriptor 2 is. Called once a process, before rec_debug. */
void rec_debug_init(void);

/* Makes the file `messages` in advance, so that children that run as another user can append to it. They can do
 * nothing else with it. */
void rec_diagnostics_open_to_all(const char *capture_path);

/* Gives the file `messages` to this user, whom the process that began the capture is about to become: it will read
 * it. */
void rec_diagnostics_give(const char *capture_path, uid_t user);

/* Reports the messages of child processes: the first line, and how many more there are. Removes the file. */
void rec_diagnostics_pass_on(const char *capture_path);

#endif
