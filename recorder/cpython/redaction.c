#include "redaction.h"

#include <stdlib.h>
#include <string.h>

#define MAX_NAME 1024                   /* bytes of a name: what a longer one contains is not looked for */

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

/* Puts the characters that count in lower case: api_key, apiKey and API-Key are one name. Returns how many. */
static size_t simplify(const char *from, size_t size, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        char c = from[i];
        if (c != '_' && c != '-' && c != ' ')
            to[n++] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c ? c : ' ';
    }
    return n;
}

int rec_redaction_add(const char *words)
{
    char *grown = realloc(redaction.words, redaction.size + strlen(words) + 1);
    if (!grown)
        return -1;
    redaction.words = grown;
    for (size_t size; *words; words += size + (words[size] == '|')) {
        size = strcspn(words, "|");
        redaction.size += simplify(words, size, grown + redaction.size);
        grown[redaction.size++] = 0;
    }
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
                                "apikey\0accesskey\0privatekey";         /* options.py lists them, too */
    char lower[MAX_NAME + 1];
    if (name.size > MAX_NAME)
        return true;
    lower[simplify(name.bytes, name.size, lower)] = 0;
    return contains_any(lower, fixed, sizeof fixed) || contains_any(lower, redaction.words, redaction.size);
}
