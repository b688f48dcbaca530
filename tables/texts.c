#include "texts.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "format/array.h"

struct text_slot {
    uint64_t key;
    uint64_t number;
};

void texts_init(struct texts *texts)
{
    *texts = (struct texts){ .by_text = { .slot_size = sizeof(struct text_slot), .secret = pnr_table_secret() } };
}

void texts_clear(struct texts *texts)
{
    pnr_table_clear(&texts->by_text);
    free(texts->offsets);
    free(texts->bytes);
    texts_release(texts->copy);
    texts->offsets = NULL;
    texts->bytes = NULL;
    texts->copy = NULL;
}

/* Returns a key for the table of texts: an odd number. */
static uint64_t hash_text(const struct texts *texts, struct pnr_string text)
{
    uint64_t hash = pnr_table_hash(texts->by_text.secret, text.size);
    for (uint32_t at = 0; at < text.size; at += 8) {
        uint64_t word = 0;
        memcpy(&word, text.bytes + at, text.size - at < 8 ? text.size - at : 8);
        hash = pnr_table_hash(hash, word);
    }
    return hash | 1;
}

static int store_text(struct texts *texts, struct pnr_string text)
{
    size_t end = texts->n ? (size_t)texts->offsets[texts->n] : 0;
    if (text.size > INT32_MAX - end ||
        pnr_array_reserve(&texts->offsets, &texts->offset_capacity, texts->n + 2) < 0 ||
        pnr_array_reserve(&texts->bytes, &texts->byte_capacity, end + text.size + 1) < 0)
        return -1;
    if (text.size)
        memcpy(texts->bytes + end, text.bytes, text.size);
    texts->offsets[texts->n] = (int32_t)end;
    texts->offsets[++texts->n] = (int32_t)(end + text.size);
    return 0;
}

static bool is_text(const struct texts *texts, size_t number, struct pnr_string text)
{
    size_t begin = (size_t)texts->offsets[number], end = (size_t)texts->offsets[number + 1];
    return end - begin == text.size && memcmp(texts->bytes + begin, text.bytes ? text.bytes : "", text.size) == 0;
}

uint32_t texts_add(struct texts *texts, struct pnr_string text)
{
    for (uint64_t key = hash_text(texts, text);; key += 2) {
        struct text_slot *slot = pnr_table_find(&texts->by_text, key);
        if (slot && is_text(texts, slot->number, text))
            return (uint32_t)slot->number;
        if (slot)
            continue;
        if (store_text(texts, text) < 0 || !(slot = pnr_table_add(&texts->by_text, key)))
            return TEXTS_FAILED;
        slot->number = texts->n - 1;
        return (uint32_t)slot->number;
    }
}

static struct texts_copy *copy_texts(const struct texts *texts)
{
    struct texts_copy *copy = malloc(sizeof *copy);
    if (!copy)
        return NULL;
    size_t size = texts->n ? (size_t)texts->offsets[texts->n] : 0;
    *copy = (struct texts_copy){ 1, texts->n, malloc((texts->n + 1) * sizeof *copy->offsets), malloc(size + 1) };
    if (!copy->offsets || !copy->bytes) {
        texts_release(copy);
        return NULL;
    }
    copy->offsets[0] = 0;
    if (texts->n) {
        memcpy(copy->offsets, texts->offsets, (texts->n + 1) * sizeof *copy->offsets);
        memcpy(copy->bytes, texts->bytes, size);
    }
    return copy;
}

struct texts_copy *texts_share(struct texts *texts)
{
    if (!texts->copy || texts->copy->n < texts->n) {
        struct texts_copy *copy = copy_texts(texts);
        if (!copy)
            return NULL;
        texts_release(texts->copy);
        texts->copy = copy;
    }
    __atomic_add_fetch(&texts->copy->n_users, 1, __ATOMIC_RELAXED);
    return texts->copy;
}

void texts_release(struct texts_copy *copy)
{
    if (!copy || __atomic_sub_fetch(&copy->n_users, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    free(copy->offsets);
    free(copy->bytes);
    free(copy);
}
