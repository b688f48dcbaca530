#include "convert/slices/awaits.h"

#include "check.h"

enum { SLEEP = 1, PRIVATE, DUNDER, FETCH, WORKER, GENERATOR, AGEN, PY_AWAIT, UNKNOWN, N_FUNCTIONS = PY_AWAIT };

static struct awaited play(struct awaits *awaits, const uint32_t *row, uint32_t index)
{
    static const struct { const char *module, *name; uint8_t kind; } table[N_FUNCTIONS] = {
        { "asyncio.tasks", "sleep", PNR_FUNCTION_COROUTINE },
        { "asyncio.streams", "StreamReader._wait", PNR_FUNCTION_COROUTINE },
        { "asyncio.taskgroups", "TaskGroup.__aexit__", PNR_FUNCTION_COROUTINE },
        { "app", "fetch", PNR_FUNCTION_COROUTINE }, { "app", "worker", PNR_FUNCTION_COROUTINE },
        { "app", "numbers", PNR_FUNCTION_GENERATOR }, { "app", "each", PNR_FUNCTION_ASYNC_GENERATOR },
        { "asyncio.futures", "Future.__await__", PNR_FUNCTION_GENERATOR },
    };
    struct symbol functions[N_FUNCTIONS];
    for (int i = 0; i < N_FUNCTIONS; i++)
        functions[i] = (struct symbol){ .module = check_string(table[i].module), .name = check_string(table[i].name),
                                        .kind = table[i].kind, .is_known = true };
    struct symbols symbols = { .functions = functions, .n_functions = N_FUNCTIONS };
    for (; *row; row++)
        awaits_suspend(awaits, &symbols, *row, index++);
    return awaits->awaited;
}

Test(awaits, are_found_in_rows)
{
    static const struct { uint32_t row[5], what, where; } table[] = {
        { { WORKER }, 0, WORKER }, { { FETCH, WORKER }, 0, FETCH }, { { SLEEP, FETCH, WORKER }, SLEEP, FETCH },
        { { SLEEP }, SLEEP, 0 }, { { PRIVATE, WORKER }, PRIVATE, WORKER }, { { PRIVATE, DUNDER, WORKER }, DUNDER, WORKER },
        { { PRIVATE, SLEEP, DUNDER, WORKER }, SLEEP, WORKER }, { { FETCH, SLEEP, WORKER }, 0, FETCH },
        { { GENERATOR, WORKER }, 0, 0 }, { { AGEN, SLEEP, WORKER }, 0, 0 }, { { SLEEP, AGEN, WORKER }, SLEEP, AGEN },
        { { PY_AWAIT, SLEEP, WORKER }, PY_AWAIT, WORKER }, { { UNKNOWN, WORKER }, 0, 0 }, { { SLEEP, UNKNOWN }, SLEEP, UNKNOWN },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct awaits awaits = { .next = 0 };
        struct awaited found = play(&awaits, table[i].row, 7);
        cr_expect(found.what == table[i].what && found.where == table[i].where, "%zu: %u %u", i, found.what, found.where);
    }
}

Test(awaits, rows_are_broken_by_other_records)
{
    struct awaits awaits = { .next = 0 };
    play(&awaits, (uint32_t[]){ SLEEP, 0 }, 0);
    cr_expect_eq(play(&awaits, (uint32_t[]){ WORKER, 0 }, 1).what, SLEEP);
    cr_expect_eq(play(&awaits, (uint32_t[]){ WORKER, 0 }, 3).what, 0);         /* one in between */
    play(&awaits, (uint32_t[]){ SLEEP, 0 }, 5);
    awaits_end_block(&awaits, 6);
    cr_expect_eq(play(&awaits, (uint32_t[]){ WORKER, 0 }, 0).what, SLEEP);     /* the next block */
    play(&awaits, (uint32_t[]){ SLEEP, 0 }, 1);
    awaits_end_block(&awaits, 3);
    cr_expect_eq(play(&awaits, (uint32_t[]){ WORKER, 0 }, 0).what, 0);
    play(&awaits, (uint32_t[]){ SLEEP, 0 }, 1);
    awaits_end(&awaits);
    cr_expect_eq(play(&awaits, (uint32_t[]){ WORKER, 0 }, 2).what, 0);         /* a task has been suspended */
}
