/* Where this process runs: its host, the boot of that, and its container. Captures of different machines are brought
 * together by that (specs/capture-format.md, section 6.3). No Python dependency. */
#ifndef REC_MACHINE_H
#define REC_MACHINE_H

/* Adds the properties that are known to the name table. */
void rec_machine_write(void);

#endif
