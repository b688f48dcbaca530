/* Incidents: sections of the program that took too long or ended by an exception. The time around each is saved as a
 * snapshot next to the capture: by the recorder's thread, some time after the section has ended. Limits how many, and
 * enters them in the list of snapshots. No Python dependency. specs/recording.md, section 9.2.
 *
 *     rec_incidents_report                    in the thread of the section: only takes a note
 *         rec_incidents_wait_ns               on the recorder's thread, often: wakes it when a snapshot is due
 *             rec_incidents_save_due          on the recorder's thread, once it is awake
 *     rec_incidents_end                       the recording ends: saves those that wait
 *
 * Any thread may call rec_incidents_report, the others are called as rec_session_snapshot is. */
#ifndef REC_INCIDENTS_H
#define REC_INCIDENTS_H

#include <stdbool.h>
#include <stdint.h>

struct rec_incident {
    const char *watch;                  /* the name of the section, UTF-8 */
    const char *id;                     /* of the request that it worked for, UTF-8; or NULL */
    bool is_exception;                  /* an exception has ended the section */
    uint64_t begin_ns, end_ns;          /* of the section, CLOCK_MONOTONIC */
    uint64_t thread;                    /* in which it ended, the operating system's number */
};

struct rec_incident_limits {
    uint64_t keep_ns;                   /* how much is saved of what precedes the section, and of what follows it */
    uint64_t every_ns;                  /* one snapshot of the same name in this time at most */
    uint64_t at_most;                   /* snapshots of this process in all */
};

/* Lets the time around an incident be saved, unless the limits forbid that. One that a snapshot of its name waits for
 * already joins it, whatever the limits. Returns false when it is not saved, which is counted. */
bool rec_incidents_report(const struct rec_incident *incident, const struct rec_incident_limits *limits);

/* Returns in how many ns the next snapshot is due, UINT64_MAX for never; wakes the recorder's thread when it is now. */
uint64_t rec_incidents_wait_ns(void);

/* Saves what is due. */
void rec_incidents_save_due(void);

/* Saves all that waits, although what follows the sections is short then. Reports how many incidents were not saved. */
void rec_incidents_end(void);

/* Forgets the parent's incidents in a forked child, which has limits of its own. */
void rec_incidents_forked(void);

#endif
