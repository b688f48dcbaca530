#include "awaits.h"

#include <string.h>

#include "tasks.h"

/* The function's own name, without the classes and functions around it. */
static struct pnr_string name_alone(struct pnr_string qualified)
{
    uint32_t begin = qualified.size;
    while (begin > 0 && qualified.bytes[begin - 1] != '.')
        begin--;
    return (struct pnr_string){ qualified.bytes + begin, qualified.size - begin };
}

static bool is_dunder(struct pnr_string name)
{
    return name.size > 4 && memcmp(name.bytes, "__", 2) == 0 && memcmp(name.bytes + name.size - 2, "__", 2) == 0;
}

static bool is_public_name(struct pnr_string name)
{
    return name.size > 0 && (name.bytes[0] != '_' || is_dunder(name));
}

/* True for a frame that is suspended because what it awaits is: it has not yielded a value. Future.__await__ is a
 * generator where futures are written in Python. */
static bool can_only_await(const struct symbol *symbol)
{
    return symbol && (symbol->kind == PNR_FUNCTION_COROUTINE || symbol->kind == PNR_FUNCTION_ITERABLE_COROUTINE ||
                      (symbol->kind == PNR_FUNCTION_GENERATOR && is_dunder(name_alone(symbol->name))));
}

static void add_to_row(struct awaits *awaits, const struct symbol *symbol, uint32_t function)
{
    if (awaits->is_complete)
        return;
    if (!symbol || !tasks_is_of_asyncio(symbol)) {
        awaits->awaited.where = function;
        awaits->is_complete = true;
    } else if (!awaits->is_public) {
        awaits->is_public = is_public_name(name_alone(symbol->name));
        if (awaits->is_public || !awaits->awaited.what)
            awaits->awaited.what = function;
    }
}

void awaits_suspend(struct awaits *awaits, const struct symbols *symbols, uint32_t function, uint32_t index)
{
    const struct symbol *symbol = symbols_function(symbols, function);
    if (!awaits->is_open || awaits->next != index)
        *awaits = (struct awaits){ .is_complete = !can_only_await(symbol) };
    add_to_row(awaits, symbol, function);
    awaits->is_open = true;
    awaits->next = index + 1;
}
