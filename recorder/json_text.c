#include "json_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../format/array.h"

static void grow_text(struct rec_json_text *text, const char *bytes, size_t size)
{
    if (pnr_array_reserve(&text->bytes, &text->capacity, text->size + size + 1) < 0) {
        text->is_cut = true;
        return;
    }
    memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
    text->bytes[text->size] = 0;
}

void rec_json_add_format(struct rec_json_text *text, const char *format, ...)
{
    char bytes[512];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(bytes, sizeof bytes, format, args);
    va_end(args);
    grow_text(text, bytes, (size_t)size < sizeof bytes ? (size_t)size : sizeof bytes - 1);
}

void rec_json_add_string(struct rec_json_text *text, const char *string)
{
    grow_text(text, "\"", 1);
    for (const char *at = string; *at; at++) {
        unsigned char c = (unsigned char)*at;
        if (c == '"' || c == '\\')
            rec_json_add_format(text, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            rec_json_add_format(text, "\\u%04x", c);
        else
            grow_text(text, at, 1);
    }
    grow_text(text, "\"", 1);
}

void rec_json_add_text(struct rec_json_text *text, const struct rec_json_text *other)
{
    grow_text(text, other->size ? other->bytes : "", other->size);
    text->is_cut |= other->is_cut;
}
