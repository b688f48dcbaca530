/* The recording of this process: how it begins, pauses, is saved and ends, and what becomes of it in forked children.
 * There is one at a time, with one hook and one stream of events; several captures may be made of it (captures.h).
 * One table defines what is done when (states.def); its actions are here. All functions are called with the GIL,
 * except for rec_recording_set_limits.
 *
 *     rec_recording_init                  once a process
 *         rec_recording_start             for each capture
 *             rec_recording_pause, rec_recording_resume, rec_recording_save
 *             rec_recording_override_filter, rec_recording_set_limits
 *         rec_recording_stop
 *         rec_recording_end               the end of the process: of all captures */
#ifndef REC_RECORDING_H
#define REC_RECORDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <sys/types.h>

#include "../incidents.h"
#include "../session.h"
#include "../../format/filter.h"

/* Returns 0, or -1 with an exception set. */
int rec_recording_init(void);

/* Prepares for the forks of an interpreter. Returns 0, or -1 with an exception set. */
int rec_recording_watch_forks(void);

/* Starts a capture. path: a new one or, when joins, one that is there. properties: dict of str to str. options:
 * dict, which start_doc in module.c describes. on_path: called with the capture's path before the first event; or None.
 * The path that was taken is copied to taken (PATH_MAX bytes). Returns the number of the capture, from 1, or 0 with an
 * exception set. */
int rec_recording_start(const char *path, bool joins, PyObject *properties, PyObject *options, PyObject *on_path,
                        char *taken);

/* Ends the capture of this number, and the recording with the last one. Gives zeros in a forked child for a capture
 * that the parent began as a region: the child has no part in it. */
void rec_recording_stop(int number, struct rec_totals *totals);

/* Ends all captures. is_finalized: the interpreter is gone. Gives zeros in a forked child that has not
 * recorded anything. */
void rec_recording_end(bool is_finalized, struct rec_totals *totals);

/* True between start and stop, also in forked children that may be followed. */
bool rec_recording_is_on(void);

/* The name of the state, as in specs/recorder-states.md. */
const char *rec_recording_state(void);

/* True in the process that was started, not in its forked children. */
bool rec_recording_is_own(void);

/* The capture's absolute path. */
const char *rec_recording_path(void);

/* Finds the capture again, which the program may have moved. Called before the stop. Returns false when it is gone. */
bool rec_recording_locate(void);

/* Returns 0, or -1 with RuntimeError set: nothing is being recorded. */
int rec_recording_pause(void);
int rec_recording_resume(void);

/* Changes the filter by one more rule of a glob. What is open and is recorded from now on is in the records as open; what
 * is recorded no more has ended for them. Returns 0, or -1 with an exception set. */
int rec_recording_override_filter(enum pnr_filter_action action, const char *glob);

/* Adds limits to the properties of the capture: data may be evicted from now on. */
void rec_recording_announce_limits(const struct rec_limits *limits);

/* Keeps other limits from now on, also in children that are forked later. Called without the GIL. Returns 0, or -1 and
 * nothing has changed. */
int rec_recording_set_limits(const struct rec_limits *limits, struct pnr_err *err);

/* Ends all captures at somebody else's request, of which the program knows nothing: its own stops come later, and find
 * the totals (rec_recording_was_stopped_early). */
void rec_recording_stop_early(void);

/* True when the capture of this number has ended in that way; 0: when the recording has, and its end was not reported
 * yet. */
bool rec_recording_was_stopped_early(int number);

/* Saves what this process has recorded up to now as a capture of its own, at path or at the next free name, which is
 * copied to taken (PATH_MAX bytes). Other threads run meanwhile. Returns 0, or -1 with an exception set. */
int rec_recording_save(const char *path, char *taken);

/* Lets the time around an incident be saved (incidents.h). Returns false when it is not saved. */
bool rec_recording_report_incident(const struct rec_incident *incident, const struct rec_incident_limits *limits);

/* Calls func(arg), in which this process becomes this user, and makes sure that its recording can go on. */
void rec_recording_change_user(uid_t user, void (*func)(void *), void *arg);

/* An exception has ended the program. */
void rec_recording_report_exception(void);

/* Raises OSError or MemoryError. Returns NULL. */
PyObject *rec_recording_raise(const struct pnr_err *err);

#endif
