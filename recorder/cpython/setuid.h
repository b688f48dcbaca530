/* Dropping privileges: os.setuid and its kind. The recorder continues to write its files, so it gives them to the user
 * that the process becomes. specs/recording.md, section 9. */
#ifndef REC_SETUID_H
#define REC_SETUID_H

/* Makes os.setuid, os.seteuid, os.setreuid and os.setresuid call the recorder first. They stay the same objects. Called
 * once a process. */
void rec_setuid_watch(void);

#endif
