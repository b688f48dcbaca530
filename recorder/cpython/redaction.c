#include "redaction.h"

#include <stdlib.h>
#include <string.h>

#define MAX_NAME 256                    /* bytes of a name that are looked at */

static struct {
    char *words;                        /* owned; each ends with a NUL, in lower case; NULL: only the default ones */
    size_t size;
} redaction;

void rec_redaction_start(void)
{
    free(redaction.words);
    redaction.words = NULL;
    redaction.size = 0;
}

static char simple(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c == '-' ? '_' : c;
}

int rec_redaction_add(const char *words)
{
    size_t size = strlen(words) + 1;
    char *grown = realloc(redaction.words, redaction.size + size);
    if (!grown)
        return -1;
    for (size_t i = 0; i < size; i++)
        grown[redaction.size + i] = words[i] == '|' ? 0 : simple(words[i]);
    redaction.words = grown;
    redaction.size += size;
    return 0;
}

/* words: one after another, each of them ended by a NUL. */
static bool contains_any(const char *name, const char *words, size_t size)
{
    for (size_t at = 0; at < size; at += strlen(words + at) + 1)
        if (words[at] && strstr(name, words + at))
            return true;
    return false;
}

bool rec_redaction_matches(struct pnr_string name)
{
    static const char fixed[] = "password\0passwd\0passphrase\0secret\0token\0credential\0cookie\0authorization\0"
                                "api_key\0apikey\0access_key\0private_key";     /* options.py lists them, too */
    char lower[MAX_NAME + 1];
    size_t size = name.size < MAX_NAME ? name.size : MAX_NAME;
    for (size_t i = 0; i < size; i++)
        lower[i] = name.bytes[i] ? simple(name.bytes[i]) : ' ';
    lower[size] = 0;
    return contains_any(lower, fixed, sizeof fixed) || contains_any(lower, redaction.words, redaction.size);
}
