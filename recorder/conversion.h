/* Runs the converter at the end of a recorded process, when its interpreter is gone. Free of Python.
 *
 *     rec_conversion_catch
 *         rec_conversion_run */
#ifndef REC_CONVERSION_H
#define REC_CONVERSION_H

#include <signal.h>

/* The program has ended: from now on INT, TERM, HUP and QUIT do not change its exit status. Those that it ignores it
 * ignores still. One that comes ends a conversion, or keeps it from beginning. */
void rec_conversion_catch(void);

/* Converts the capture. mask: the converter's signal mask. Returns the converter's exit status; 2 when it could not be run,
 * or was ended by a signal. It never outlives this process. */
int rec_conversion_run(const char *converter, const char *output, const char *capture, const sigset_t *mask);

#endif
