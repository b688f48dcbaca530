#include "convert/slices/tasks.h"

#include "check.h"

enum { PLAIN_OF_PROGRAM = 1, STEP, RUNNER, ALIKE, OF_UVLOOP, PACKAGE, N_FUNCTIONS = PACKAGE };

static struct symbols symbols_of(struct symbol functions[N_FUNCTIONS], bool has_loop)
{
    static const char *const names[N_FUNCTIONS][2] = {
        { "__main__", "Handle._run" }, { "asyncio.events", "Handle._run" }, { "asyncio.runners", "Runner.run" },
        { "asyncio_like", "run" }, { "uvloop", "run" }, { "asyncio", "run" },
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
}
