#include "control_message.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../format/array.h"

size_t rec_message_find_end(const char *bytes, size_t size)
{
    size_t at = 0;
    while (at < size) {
        const char *end = memchr(bytes + at, 0, size - at);
        if (!end)
            return 0;
        if (end == bytes + at)
            return at + 1;
        at = (size_t)(end - bytes) + 1;
    }
    return 0;
}

const char *rec_message_field(const char *message, size_t n)
{
    while (n-- && *message)
        message += strlen(message) + 1;
    return *message ? message : NULL;
}

bool rec_message_number(const char *field, uint64_t *number)
{
    char *end;
    size_t n_digits = strspn(field, "0123456789");
    if (!n_digits || field[n_digits])
        return false;
    errno = 0;
    *number = strtoull(field, &end, 10);
    return errno == 0;
}

static void add_bytes(struct rec_reply *reply, const char *bytes, size_t size)
{
    if (reply->has_failed)
        return;
    reply->has_failed = pnr_array_reserve(&reply->bytes, &reply->capacity, reply->size + size) < 0;
    if (reply->has_failed)
        return;
    memcpy(reply->bytes + reply->size, bytes, size);
    reply->size += size;
}

void rec_reply_add(struct rec_reply *reply, const char *text)
{
    text = *text ? text : "-";
    add_bytes(reply, text, strlen(text) + 1);
}

void rec_reply_add_pair(struct rec_reply *reply, const char *name, const char *value)
{
    rec_reply_add(reply, name);
    rec_reply_add(reply, value);
}

void rec_reply_add_number(struct rec_reply *reply, const char *name, uint64_t value)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, value);
    rec_reply_add_pair(reply, name, digits);
}

void rec_reply_end(struct rec_reply *reply)
{
    add_bytes(reply, "", 1);
}

void rec_reply_clear(struct rec_reply *reply)
{
    free(reply->bytes);
    *reply = (struct rec_reply){ 0 };
}
