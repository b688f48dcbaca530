/* The commands of the control socket (../control.h): what each does, and where. specs/control.md describes them.
 *
 * A command that only asks, or concerns files, is done on the drain's thread, while the program runs. The others change
 * what is recorded, which needs the GIL: a pending call does them, between two instructions of the program. One of these
 * is under way at a time. */
#ifndef REC_COMMANDS_H
#define REC_COMMANDS_H

#include <stdbool.h>
#include <stdint.h>

#include "../control_message.h"

/* Answers a request: a rec_control_answer. */
bool rec_commands_answer(uint64_t id, const char *request, struct rec_reply *reply);

/* Forgets what was asked of the last recording, because another one begins. */
void rec_commands_start(void);

/* Forgets, in a forked child, what was asked of the parent. The filter has the parent's rules. */
void rec_commands_forked(void);

#endif
