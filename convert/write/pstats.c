#include "pstats.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "format/record.h"
#include "profile.h"
#include "text.h"

/* ---- marshal: the types of objects that are needed, as r_object() in Python/marshal.c reads them ---- */

#define TYPE_NULL '0'                   /* ends a dict */
#define TYPE_INT 'i'                    /* i32 */
#define TYPE_LONG 'l'                   /* i32 number of digits, u16 digits of 15 bits, the lowest first */
#define TYPE_BINARY_FLOAT 'g'           /* f64 */
#define TYPE_UNICODE 'u'                /* i32 size, UTF-8 */
#define TYPE_TUPLE '('                  /* i32 size, objects */
#define TYPE_DICT '{'                   /* keys and values alternately, NULL */
#define TYPE_REF 'r'                    /* i32: the object that was the n-th one with FLAG_REF */
#define FLAG_REF 0x80

static void put_marshal_type(struct writer *writer, int type)
{
    writer_put(writer, &(char){ (char)type }, 1);
}

static void put_marshal_u32(struct writer *writer, uint32_t number)
{
    number = htole32(number);
    writer_put(writer, &number, sizeof number);
}

static void put_marshal_tuple(struct writer *writer, uint32_t n)
{
    put_marshal_type(writer, TYPE_TUPLE);
    put_marshal_u32(writer, n);
}

static void put_marshal_int(struct writer *writer, uint64_t number)
{
    uint32_t n_digits = 0;
    uint16_t digits[5];
    if (number <= INT32_MAX) {
        put_marshal_type(writer, TYPE_INT);
        put_marshal_u32(writer, (uint32_t)number);
        return;
    }
    for (; number; number >>= 15)
        digits[n_digits++] = htole16(number & 0x7fff);
    put_marshal_type(writer, TYPE_LONG);
    put_marshal_u32(writer, n_digits);
    writer_put(writer, digits, n_digits * sizeof *digits);
}

static void put_marshal_seconds(struct writer *writer, uint64_t ns)
{
    double seconds = (double)ns / 1e9;
    uint64_t bits;
    memcpy(&bits, &seconds, sizeof bits);
    bits = htole64(bits);
    put_marshal_type(writer, TYPE_BINARY_FLOAT);
    writer_put(writer, &bits, sizeof bits);
}

static void put_marshal_string(struct writer *writer, struct pnr_string string)
{
    put_marshal_type(writer, TYPE_UNICODE);
    put_marshal_u32(writer, string.size);
    writer_put(writer, string.bytes, string.size);
}

/* ---- keys ---- */

/* The key by which cProfile identifies a function. */
struct profile_key {
    struct pnr_string file, name;       /* UTF-8; file begins memory that is owned */
    uint32_t line;
    uint32_t function;
};

struct keys {
    struct profile_key *keys;           /* of all functions, sorted, so that a group lies together; owned */
    uint32_t *groups;                   /* of each function: index of the first key of its group; owned */
    uint32_t *refs;                     /* of each group: its number among the objects with FLAG_REF, + 1; owned */
    uint32_t n, n_refs;
};

/* Returns where the bare name begins: after the last dot of the qualified name. */
static uint32_t find_bare_name(struct pnr_string name)
{
    uint32_t at = name.size;
    while (at > 0 && name.bytes[at - 1] != '.')
        at--;
    return at;
}

static char *put_word(char *to, const char *text)
{
    size_t size = strlen(text);
    memcpy(to, text, size);
    return to + size;
}

/* Puts the name of a C function: that of a type's method, or else of a module's function (Modules/_lsprof.c,
 * normalizeUserObj). */
static char *put_c_name(char *to, const struct symbol *symbol)
{
    uint32_t at = find_bare_name(symbol->name);
    if (at == 0) {
        to = text_put_utf8(put_word(to, "<built-in method "), symbol->module);
        if (symbol->module.size)
            *to++ = '.';
        return put_word(text_put_utf8(to, symbol->name), ">");
    }
    to = text_put_utf8(put_word(to, "<method '"),
                       (struct pnr_string){ symbol->name.bytes + at, symbol->name.size - at });
    to = text_put_utf8(put_word(to, "' of '"), symbol->module);
    if (symbol->module.size)
        *to++ = '.';
    return put_word(text_put_utf8(to, (struct pnr_string){ symbol->name.bytes, at - 1 }), "' objects>");
}

/* Makes the key of a function. Returns 0, or -1 when out of memory. */
static int make_key(const struct call_function *function, struct profile_key *key)
{
    const struct symbol *symbol = &function->symbol;
    bool is_c = symbol->kind == PNR_FUNCTION_C;
    bool has_file = !is_c && symbol->file.size;
    char *bytes = malloc(3 * ((size_t)symbol->module.size + symbol->name.size + symbol->file.size) + 64);
    if (!bytes)
        return -1;
    char *file_end = has_file ? text_put_utf8(bytes, symbol->file) : put_word(bytes, "~"), *end;
    bool is_estimated = function->type == CALL_ESTIMATED;
    uint32_t at = function->type == CALL_FUNCTION || is_estimated ? find_bare_name(symbol->name) : 0;
    end = is_estimated ? put_word(file_end, "~") : file_end;
    if (is_c)
        end = put_c_name(end, symbol);
    else
        end = text_put_utf8(end, (struct pnr_string){ symbol->name.bytes + at, symbol->name.size - at });
    key->file = (struct pnr_string){ bytes, (uint32_t)(file_end - bytes) };
    key->name = (struct pnr_string){ file_end, (uint32_t)(end - file_end) };
    key->line = is_c ? 0 : symbol->line;
    return 0;
}

static int compare_strings(struct pnr_string a, struct pnr_string b)
{
    int order = memcmp(a.bytes, b.bytes, a.size < b.size ? a.size : b.size);
    return order ? order : a.size < b.size ? -1 : a.size > b.size;
}

static int by_profile_key(const void *a, const void *b)
{
    const struct profile_key *x = a, *y = b;
    int order = compare_strings(x->file, y->file);
    if (order == 0)
        order = x->line < y->line ? -1 : x->line > y->line;
    return order ? order : compare_strings(x->name, y->name);
}

static void clear_keys(struct keys *keys)
{
    for (uint32_t i = 0; i < keys->n; i++)
        free((char *)keys->keys[i].file.bytes);
    free(keys->keys);
    free(keys->groups);
    free(keys->refs);
}

static int make_keys(const struct call_tree *tree, struct keys *keys)
{
    size_t n = (size_t)tree->n_functions + 1;
    *keys = (struct keys){ calloc(n, sizeof *keys->keys), calloc(n, sizeof *keys->groups),
                           calloc(n, sizeof *keys->refs), 0, 0 };
    if (!keys->keys || !keys->groups || !keys->refs)
        return -1;
    for (; keys->n < tree->n_functions; keys->n++) {
        if (make_key(&tree->functions[keys->n], &keys->keys[keys->n]) < 0)
            return -1;
        keys->keys[keys->n].function = keys->n;
    }
    qsort(keys->keys, keys->n, sizeof *keys->keys, by_profile_key);
    for (uint32_t i = 0, first = 0; i < keys->n; i++) {
        if (by_profile_key(&keys->keys[first], &keys->keys[i]) != 0)
            first = i;
        keys->groups[keys->keys[i].function] = first;
    }
    return 0;
}

/* Puts a key: the first time as a tuple, then as a reference to it. */
static void put_profile_key(struct writer *writer, struct keys *keys, uint32_t group)
{
    const struct profile_key *key = &keys->keys[group];
    if (keys->refs[group]) {
        put_marshal_type(writer, TYPE_REF);
        put_marshal_u32(writer, keys->refs[group] - 1);
        return;
    }
    keys->refs[group] = ++keys->n_refs;
    put_marshal_type(writer, TYPE_TUPLE | FLAG_REF);
    put_marshal_u32(writer, 3);
    put_marshal_string(writer, key->file);
    put_marshal_int(writer, key->line);
    put_marshal_string(writer, key->name);
}

/* ---- the dict ---- */

/* Writes the function whose lines begin at `at`, and returns the index after them. The last one is for all callers. */
static size_t put_profile_function(struct writer *writer, struct keys *keys, const struct profile *profile, size_t at)
{
    const struct profile_line *lines = profile->lines;
    size_t total = at;
    while (lines[total].caller != PROFILE_ALL)
        total++;
    put_profile_key(writer, keys, lines[total].group);
    put_marshal_tuple(writer, 5);
    put_marshal_int(writer, lines[total].primitive_calls);
    put_marshal_int(writer, lines[total].calls);
    put_marshal_seconds(writer, lines[total].self_ns);
    put_marshal_seconds(writer, lines[total].cumulative_ns);
    put_marshal_type(writer, TYPE_DICT);
    for (; at < total; at++) {
        put_profile_key(writer, keys, lines[at].caller);
        put_marshal_tuple(writer, 4);
        put_marshal_int(writer, lines[at].calls);
        put_marshal_int(writer, lines[at].primitive_calls);
        put_marshal_seconds(writer, lines[at].self_ns);
        put_marshal_seconds(writer, lines[at].cumulative_ns);
    }
    put_marshal_type(writer, TYPE_NULL);
    return total + 1;
}

int pstats_write(const struct call_tree *tree, struct writer *writer)
{
    struct keys keys;
    struct profile profile = { NULL, 0 };
    int result = -1;
    if (make_keys(tree, &keys) < 0 || profile_make(&profile, tree, keys.groups, true) < 0)
        goto end;
    put_marshal_type(writer, TYPE_DICT);
    for (size_t at = 0; at < profile.n;)
        at = put_profile_function(writer, &keys, &profile, at);
    put_marshal_type(writer, TYPE_NULL);
    result = 0;
end:
    profile_clear(&profile);
    clear_keys(&keys);
    return result;
}
