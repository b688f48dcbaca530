/* Runs the converter at the end of a recorded process, after the program. No Python dependency.
 *
 *     rec_conversion_catch
 *         rec_conversion_run
 *
 * Called by the process's last thread. */
#ifndef REC_CONVERSION_H
#define REC_CONVERSION_H

#include <signal.h>

/* Handles INT, TERM, HUP and QUIT from now on: the program has ended, and they no longer change its exit status.
 * Such a signal ends a conversion, or prevents it. Signals that the program ignores stay ignored. */
void rec_conversion_catch(void);

/* Converts the capture. mask: the converter's signal mask. Returns the converter's exit status, or 2 when it could
 * not be run or was ended by a signal. The converter never outlives this process. */
int rec_conversion_run(const char *converter, const char *output, const char *capture, const sigset_t *mask);

#endif
