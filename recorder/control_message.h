/* Messages of the control socket (control.h): specs/control.md has the bytes. A message is a sequence of fields, each of
 * one byte or more, with a NUL after each; an empty field ends it. So any text but an empty one can be a field. No Python
 * dependency.
 *
 *     rec_message_find_end, rec_message_field     what was received
 *     rec_reply_add ...                           what is to be sent
 *         rec_reply_end
 *     rec_reply_clear */
#ifndef REC_CONTROL_MESSAGE_H
#define REC_CONTROL_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Returns the size of the message that these bytes begin with, or 0 when its end is not among them. */
size_t rec_message_find_end(const char *bytes, size_t size);

/* Returns a field of a whole message, from 0; NULL when it has fewer. */
const char *rec_message_field(const char *message, size_t n);

/* Reads a field as a decimal number. Returns false when it is not one, or is above UINT64_MAX. */
bool rec_message_number(const char *field, uint64_t *number);

/* A message to be sent. */
struct rec_reply {
    char *bytes;                        /* owned */
    size_t size, capacity;
    bool has_failed;                    /* out of memory: the message is cut, and has no end */
};

/* Adds a field. An empty text becomes "-", as no field is empty. */
void rec_reply_add(struct rec_reply *reply, const char *text);

/* Adds two fields, a name and a value. */
void rec_reply_add_pair(struct rec_reply *reply, const char *name, const char *value);
void rec_reply_add_number(struct rec_reply *reply, const char *name, uint64_t value);

/* Ends the message. */
void rec_reply_end(struct rec_reply *reply);

void rec_reply_clear(struct rec_reply *reply);

#endif
