#include "convert/slices/open_stack_snapshot.h"

#include "check.h"

static void add(struct open_stack_snapshot *stacks, uint32_t process, uint32_t thread, uint32_t n, uint32_t function)
{
    struct open_frame *frames = open_stack_snapshot_add(stacks, process, thread, n);
    cr_assert_not_null(frames);
    for (uint32_t i = 0; i < n; i++)
        frames[i] = (struct open_frame){ .function = function + i };
}

static void expect(const struct open_stack_snapshot *stacks, uint32_t process, uint32_t thread, const char *expected)
{
    struct check_sink found;
    size_t n;
    check_sink_init(&found);
    const struct open_frame *frames = open_stack_snapshot_find(stacks, process, thread, &n);
    check_write(&found, frames ? "known" : "not");
    for (size_t i = 0; i < n; i++)
        check_write(&found, "%u", frames[i].function);
    cr_expect_str_eq(found.text, expected, "%u/%u: %s", process, thread, found.text);
}

/* Those of before count where there are no newer ones. */
Test(stacks, finds_the_latest)
{
    struct open_stack_snapshot before = { .n = 0 }, stacks = { .n = 0 };
    expect(NULL, 0, 0, "not");
    expect(&stacks, 0, 0, "not");
    add(&before, 1, 2, 2, 10);
    add(&before, 0, 7, 1, 20);
    add(&before, 0, 3, 3, 30);
    open_stack_snapshot_complete(&before, NULL);
    add(&stacks, 1, 2, 0, 0);
    add(&stacks, 0, 3, 1, 40);
    for (uint32_t i = 100; i < 400; i++)
        add(&stacks, 0, i, 2, i);
    open_stack_snapshot_complete(&stacks, &before);
    expect(&before, 0, 3, "known 30 31 32");
    expect(&stacks, 0, 3, "known 40");
    expect(&stacks, 0, 7, "known 20");
    expect(&stacks, 1, 2, "known");
    expect(&stacks, 1, 3, "not");
    expect(&stacks, 0, 399, "known 399 400");
    open_stack_snapshot_clear(&before);
    open_stack_snapshot_clear(&stacks);
    expect(&stacks, 0, 3, "not");
}
