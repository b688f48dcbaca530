/* Messages of the control socket: any bytes, in just as much memory as there are. */
#include <stdlib.h>
#include <string.h>

#include "recorder/control_message.h"

/* Builds the message again from its fields. */
static void check_message(const char *message, size_t size)
{
    struct rec_reply reply = { 0 };
    const char *field;
    uint64_t number;
    for (size_t i = 0; (field = rec_message_field(message, i)); i++) {
        rec_message_number(field, &number);
        rec_reply_add(&reply, field);
    }
    rec_reply_end(&reply);
    if (reply.size != size || memcmp(reply.bytes, message, size) != 0)
        abort();
    rec_reply_clear(&reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *own = malloc(size ? size : 1);
    memcpy(own, bytes, size);
    size_t end = rec_message_find_end(own, size);
    if (end > size)
        abort();
    for (size_t i = 0; end && i + 1 < end; i++)         /* no part of it is whole */
        if (rec_message_find_end(own, i))
            abort();
    if (end)
        check_message(own, end);
    free(own);
    return 0;
}
