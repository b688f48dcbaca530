/* What becomes of a recording when the program gives up its rights: os.setuid and its kind. The recorder goes on to write its
 * files, so they are given to the user that the process becomes. specs/recording.md, section 9. */
#ifndef REC_SETUID_H
#define REC_SETUID_H

/* Once a process: stands in front of os.setuid, os.seteuid, os.setreuid and os.setresuid. The program finds the functions
 * that it always finds. */
void rec_setuid_watch(void);

#endif
