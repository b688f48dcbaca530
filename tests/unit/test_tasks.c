#include "convert/slices/tasks.h"

#include "check.h"

enum { PLAIN_OF_PROGRAM = 1, STEP, RUNNER, ALIKE, OF_UVLOOP, PACKAGE, MAIN, IMPORT, DEBUG, RUNNING, OWN_RUNNING,
       N_FUNCTIONS = OWN_RUNNING };

static struct symbols symbols_of(struct symbol functions[N_FUNCTIONS], bool has_loop)
{
    static const char *const names[N_FUNCTIONS][2] = {
        { "__main__", "Handle._run" }, { "asyncio.events", "Handle._run" }, { "asyncio.runners", "Runner.run" },
        { "asyncio_like", "run" }, { "uvloop", "run" }, { "asyncio", "run" },
        { "__main__", "<module>" }, { "types", "<module>" }, { "asyncio.base_events", "BaseEventLoop.get_debug" },
        { "asyncio.base_events", "BaseEventLoop.is_running" }, { "__main__", "BaseEventLoop.is_running" },
    };
    for (int i = 0; i < N_FUNCTIONS; i++)
        functions[i] = (struct symbol){ .module = check_string(names[i][0]), .name = check_string(names[i][1]),
                                        .is_known = i + 1 != STEP || has_loop };
    return (struct symbols){ .functions = functions, .n_functions = N_FUNCTIONS };
}

Test(tasks, are_run_by_functions_of_asyncio)
{
    struct symbol functions[N_FUNCTIONS];
    struct symbols symbols = symbols_of(functions, true);
    struct tasks tasks;
    tasks_process(&tasks, &symbols);
    cr_expect(tasks_runs(&tasks, STEP, false) && tasks_runs(&tasks, RUNNER, false) &&
              tasks_runs(&tasks, PACKAGE, false) && tasks_runs(&tasks, OF_UVLOOP, false));
    cr_expect(!tasks_runs(&tasks, PLAIN_OF_PROGRAM, false) && !tasks_runs(&tasks, ALIKE, false));
    cr_expect(!tasks_runs(&tasks, 99, false) && !tasks_runs(&tasks, 0, false) && !tasks_runs(&tasks, RUNNER, true));
}

/* Then whatever is not awaited is one. */
Test(tasks, are_guessed_where_the_loop_is_not_recorded)
{
    struct symbol functions[N_FUNCTIONS];
    struct symbols symbols = symbols_of(functions, false);
    struct tasks tasks;
    tasks_process(&tasks, &symbols);
    cr_expect(tasks_runs(&tasks, RUNNER, false) && tasks_runs(&tasks, ALIKE, false) && tasks_runs(&tasks, 99, false) &&
              tasks_runs(&tasks, 0, false));
    cr_expect(!tasks_runs(&tasks, RUNNER, true) && !tasks_runs(&tasks, ALIKE, true));
    cr_expect(tasks_runs(&tasks, MAIN, false) && !tasks_runs(&tasks, IMPORT, false));
}

Test(tasks, begin_at_once_when_the_loop_was_asked)
{
    struct symbol functions[N_FUNCTIONS];
    struct symbols symbols = symbols_of(functions, true);
    struct tasks tasks;
    tasks_process(&tasks, &symbols);
    cr_expect(tasks_starts(&tasks, DEBUG, RUNNING));
    cr_expect(!tasks_starts(&tasks, RUNNING, DEBUG) && !tasks_starts(&tasks, DEBUG, DEBUG) &&
              !tasks_starts(&tasks, DEBUG, OWN_RUNNING) && !tasks_starts(&tasks, DEBUG, 99) &&
              !tasks_starts(&tasks, 0, RUNNING));
}
