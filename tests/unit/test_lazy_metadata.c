#include "convert/slices/lazy_metadata.h"

#include "check.h"

static void emit_metadata(struct sink *sink, uint32_t pid, uint32_t n_threads)
{
    char name[2] = "p", thread[2] = "t";        /* not there any more when they are passed on */
    sink->process(sink, &(struct sink_process){ .pid = pid, .name = check_string(name) });
    for (uint32_t i = 0; i < n_threads; i++)
        sink->thread(sink, &(struct sink_thread){ .thread = i, .tid = 70 + i, .name = check_string(thread) });
    name[0] = thread[0] = '?';
}

/* Metadata come just before the first event. */
Test(lazy_metadata, names_what_is_shown)
{
    struct check_sink check;
    struct lazy_metadata lazy;
    check_sink_init(&check);
    lazy_metadata_init(&lazy, &check.sink);
    struct sink *sink = &lazy.sink;
    cr_expect_null(sink->enter);
    emit_metadata(sink, 7, 40);
    emit_metadata(sink, 8, 40);
    sink->slice(sink, &(struct slice){ .begin_ns = 1, .end_ns = 2, .thread = 33, .function = 1 });
    sink->slice(sink, &(struct slice){ .begin_ns = 3, .end_ns = 4, .thread = 33, .function = 1 });
    emit_metadata(sink, 9, 2);
    sink->instant(sink, 1, 5, "[x]");
    sink->flow_event(sink, &(struct flow_event){ 6, 1, 0, 4, FLOW_START, false });
    emit_metadata(sink, 10, 2);
    sink->task(sink, &(struct task_event){ 7, 1, 1, 6, TASK_BEGIN, 0, { 0, 0 }, { NULL, 0 }, { NULL, 0 } });
    cr_expect_str_eq(check.text, "process8=p thread33=103 33:1[1,2] 33:1[3,4] process9=p thread1=71 1:[x]@5 thread0=70 "
                                 "0:s1@6 process10=p thread1=71 1:b1@7", "%s", check.text);
    cr_expect_eq(lazy.n_threads, 4);
    lazy_metadata_clear(&lazy);
}

Test(lazy_metadata, breaks_with_the_next_sink)
{
    struct check_sink check;
    struct lazy_metadata lazy;
    check_sink_init(&check);
    lazy_metadata_init(&lazy, &check.sink);
    emit_metadata(&lazy.sink, 7, 1);
    check.sink.is_broken = true;
    lazy.sink.instant(&lazy.sink, 0, 5, "[x]");
    cr_expect(lazy.sink.is_broken);
    cr_expect_not(lazy.is_out_of_memory);
    lazy_metadata_clear(&lazy);
}

/* A call tree learns of processes and threads before the first entry. */
Test(lazy_metadata, passes_entries_on)
{
    struct call_tree *tree = call_tree_new(true);
    struct lazy_metadata lazy;
    lazy_metadata_init(&lazy, &tree->sink);
    struct sink *sink = &lazy.sink;
    for (uint32_t i = 0; i < 2; i++) {
        sink->process(sink, &(struct sink_process){ .pid = i, .name = check_string("p"), .symbols = check_symbols() });
        sink->thread(sink, &(struct sink_thread){ .thread = 0, .tid = 70, .name = check_string("t") });
    }
    sink->resume(sink, 4, true, 0);
    struct slice slice = { .end_ns = 10, .function = 4 };
    slice.cookie = sink->enter(sink, 0, 0, 4, false);
    sink->slice(sink, &slice);
    cr_expect_eq(tree->n_nodes, 4);             /* none, process, thread, function */
    cr_expect_eq(tree->nodes[slice.cookie].calls, 1);
    lazy_metadata_clear(&lazy);
    call_tree_free(tree);
}
