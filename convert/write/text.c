#include "text.h"

#include <string.h>

/* Returns the length of the well-formed UTF-8 character at bytes; 0 when there is none. */
static size_t utf8_length(const unsigned char *bytes, size_t size)
{
    unsigned char first = bytes[0];
    size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (length == 0 || length > size)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((first == 0xe0 && bytes[1] < 0xa0) || (first == 0xed && bytes[1] >= 0xa0) ||
        (first == 0xf0 && bytes[1] < 0x90) || (first == 0xf4 && bytes[1] >= 0x90))
        return 0;
    return length;
}

/* True for a surrogate that is encoded like a character of three bytes. */
static bool is_surrogate(const unsigned char *bytes, size_t size)
{
    return size >= 3 && bytes[0] == 0xed && bytes[1] >= 0xa0 && (bytes[2] & 0xc0) == 0x80 && bytes[1] < 0xc0;
}

size_t text_character(const char *bytes, size_t size, bool *is_valid)
{
    const unsigned char *at = (const unsigned char *)bytes;
    size_t length = utf8_length(at, size);
    *is_valid = length > 0 && *at != 0;
    return length > 0 ? length : is_surrogate(at, size) ? 3 : 1;
}

static char *put_text_bytes(char *to, const char *bytes, size_t size)
{
    memcpy(to, bytes, size);
    return to + size;
}

char *text_put_utf8(char *to, struct pnr_string string)
{
    for (size_t at = 0, length; at < string.size; at += length) {
        bool is_valid;
        length = text_character(string.bytes + at, string.size - at, &is_valid);
        to = is_valid ? put_text_bytes(to, string.bytes + at, length) : put_text_bytes(to, "\xef\xbf\xbd", 3);
    }
    return to;
}

/* Viewers refuse escaped surrogates, even in pairs, and cut a name at \u0000. Perfetto refuses an unescaped U+007F in a
 * value that it skips. */
char *text_put_json(char *to, struct pnr_string string)
{
    for (size_t at = 0, length; at < string.size; at += length) {
        unsigned char first = (unsigned char)string.bytes[at];
        length = 1;
        if (first == '"' || first == '\\') {
            *to++ = '\\';
            *to++ = (char)first;
        } else if (first >= 0x20 && first < 0x7f) {
            *to++ = (char)first;
        } else if (first > 0 && first < 0x80) {
            to = put_text_bytes(to, "\\u00", 4);
            *to++ = (char)('0' + (first >> 4));
            *to++ = "0123456789abcdef"[first & 15];
        } else {
            bool is_valid;
            length = text_character(string.bytes + at, string.size - at, &is_valid);
            to = is_valid ? put_text_bytes(to, string.bytes + at, length) : put_text_bytes(to, "\xef\xbf\xbd", 3);
        }
    }
    return to;
}
