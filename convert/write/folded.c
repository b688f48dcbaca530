#include "folded.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/array.h"
#include "text.h"

/* The stack that is written now. */
struct stack_path {
    char *bytes;                        /* owned */
    size_t capacity;
    uint32_t depth;                     /* frames; roots, too */
    size_t ends[FOLDED_DEPTH + 3];      /* of the text of as many frames, without the semicolon after it */
};

/* Replaces what would break a line: `;` ends a frame, a control character the line, and a space in the last frame the
 * stack. */
static char *clean_frame(char *from, char *end, bool is_root)
{
    for (char *c = from; c < end; c++) {
        if (*c == ';')
            *c = ':';
        else if (*c == ' ' && !is_root)
            *c = '_';
        else if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    return end;
}

/* Appends a frame to the path. Returns 0, or -1 when out of memory. */
static int append_frame(struct stack_path *path, const struct call_function *function)
{
    size_t at = path->ends[path->depth], raw_size = call_tree_name_size(function), needed = at + 1 + 4 * raw_size + 1;
    if (pnr_array_reserve(&path->bytes, &path->capacity, needed) < 0)
        return -1;
    char *to = path->bytes + at;
    if (at)
        *to++ = ';';
    char *raw = to + 3 * raw_size + 1;  /* after the bytes that become of it */
    struct pnr_string name = { raw, (uint32_t)(call_tree_put_name(raw, function) - raw) };
    char *end = clean_frame(to, text_put_utf8(to, name), function->type == CALL_ROOT);
    if (end == to)
        *end++ = '?';
    path->ends[++path->depth] = (size_t)(end - path->bytes);
    return 0;
}

static bool has_several_children(const struct call_tree *tree, uint32_t node)
{
    uint32_t last = tree->nodes[node].last_child;
    return last && tree->nodes[last].next != last;
}

static bool is_root_node(const struct call_tree *tree, uint32_t node)
{
    return tree->functions[tree->nodes[node].function].type == CALL_ROOT;
}

/* Decides which of the two levels of roots are shown: processes, threads. */
static void choose_roots(const struct call_tree *tree, bool shown[2])
{
    shown[0] = has_several_children(tree, 0);
    shown[1] = false;
    for (uint32_t node = call_tree_next(tree, 0); node && !shown[1]; node = call_tree_skip(tree, node))
        shown[1] = has_several_children(tree, node);
}

int folded_write(const struct call_tree *tree, struct writer *writer)
{
    struct stack_path path = { .bytes = NULL };
    bool shown[2], is_cut = false;
    uint32_t node = 0, open = 0, level = 0;     /* level: nodes from the process to the one entered last, open */
    choose_roots(tree, shown);
    while (!writer->sys_errno && (node = is_cut ? call_tree_skip(tree, node) : call_tree_next(tree, node))) {
        for (; open != tree->nodes[node].parent; open = tree->nodes[open].parent) {
            level--;
            path.depth -= level >= 2 || shown[level];
        }
        open = node;
        is_cut = false;
        if (level++ < 2 && !shown[level - 1])
            continue;
        if (append_frame(&path, &tree->functions[tree->nodes[node].function]) < 0) {
            free(path.bytes);
            return -1;
        }
        if (is_root_node(tree, node))
            continue;
        is_cut = level == FOLDED_DEPTH + 2 || path.ends[path.depth] > FOLDED_SIZE;
        uint64_t ns = is_cut ? tree->nodes[node].total_ns : call_tree_self(tree, node);
        if (ns < 500)
            continue;
        writer_put(writer, path.bytes, path.ends[path.depth]);
        writer_format(writer, " %" PRIu64 "\n", (ns + 500) / 1000);
    }
    free(path.bytes);
    return 0;
}
