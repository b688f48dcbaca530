/* The control socket of a process: a Unix socket `control` in its directory of the capture, by which its owner and root
 * ask what it records, and change that. specs/control.md has the protocol. The drain's thread serves it, when it looks
 * between its other work: while nobody is connected that costs two system calls each time. Where no socket can be
 * made the recording goes on without one. No Python dependency.
 *
 *     rec_control_start                   the process's directory is there; again when recording moves to another one
 *         rec_control_tend                on the drain's thread, often
 *     rec_control_stop                    the recording has ended; or
 *     rec_control_forked                  this is a forked child, and the socket is its parent's
 *
 * A client that sends nothing, or does not read, keeps nobody waiting: no call blocks, and when all connections are
 * taken the one that has been idle longest is closed for the next. */
#ifndef REC_CONTROL_H
#define REC_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "control_message.h"

/* The socket in a process's directory. Not for readers of the capture. */
#define REC_CONTROL_SOCKET "control"

/* Answers a request, a whole message. id: of its connection, never 0. Returns false when there is no answer yet: then it
 * is asked for the same again. Called by the drain's thread, and at the end once more by the one that stops. */
typedef bool (*rec_control_answer)(uint64_t id, const char *request, struct rec_reply *reply);

/* Makes the socket. With the recording lock. */
void rec_control_start(const char *process_path, rec_control_answer answer);

/* Accepts, reads, answers. Returns in how many ns it is to be called again at the latest; UINT64_MAX: when convenient. */
uint64_t rec_control_tend(void);

/* True while this connection is there. Called within an answer. */
bool rec_control_is_connected(uint64_t id);

/* Sends the answers that wait, and removes the socket. With the recording lock; the drain's thread has ended. */
void rec_control_stop(void);

/* Forgets the parent's socket in a forked child. */
void rec_control_forked(void);

#endif
