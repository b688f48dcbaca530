#include "ledger.h"

#include <stdlib.h>

#include "format/array.h"

/* A function that has been muted, or its calls of C functions. It stays when it is admitted. */
struct muted_slot {
    uint64_t key;                       /* muted_key() */
    bool is_muted;
    size_t at;                          /* where it is among those that are muted */
    uint32_t since;                     /* how many windows had ended then */
    uint64_t n_blocks;                  /* when a MUTED record listed it last */
};

static uint64_t muted_key(uint32_t function, bool is_c_calls)
{
    return (uint64_t)function << 1 | is_c_calls;
}

/* ---- the state at one moment ---- */

void ledger_view_init(struct ledger_view *view, const struct ledger *ledger)
{
    *view = (struct ledger_view){ .ledger = ledger, .is_known = true,
                                  .functions = { .slot_size = sizeof(struct muted_slot) } };
    view->functions.secret = pnr_table_secret();
}

void ledger_view_clear(struct ledger_view *view)
{
    pnr_table_clear(&view->functions);
    free(view->muted);
    view->muted = NULL;
    view->n_muted = view->muted_capacity = 0;
}

static struct muted_slot *muted_slot(const struct ledger_view *view, size_t i)
{
    return pnr_table_find(&view->functions, view->muted[i]);
}

static void forget_all_muted(struct ledger_view *view)
{
    for (size_t i = 0; i < view->n_muted; i++)
        muted_slot(view, i)->is_muted = false;
    view->n_muted = 0;
}

static void mute(struct ledger_view *view, uint64_t key)
{
    struct muted_slot *slot = pnr_table_add(&view->functions, key);
    if (!slot || pnr_array_reserve(&view->muted, &view->muted_capacity, view->n_muted + 1) < 0) {
        view->is_out_of_memory = true;
        return;
    }
    if (slot->is_muted)
        return;
    slot->is_muted = true;
    slot->since = view->n_windows;
    slot->at = view->n_muted;
    view->muted[view->n_muted++] = key;
}

/* Puts the last one of those that are muted in its place. */
static void admit(struct ledger_view *view, uint64_t key)
{
    struct muted_slot *slot = pnr_table_find(&view->functions, key);
    if (!slot || !slot->is_muted)
        return;
    view->muted[slot->at] = view->muted[--view->n_muted];
    muted_slot(view, slot->at)->at = slot->at;
    slot->is_muted = false;
}

/* Changes the state as the event says. */
static void apply_ledger_event(struct ledger_view *view, const struct ledger_event *event)
{
    bool was_in_window = view->in_window;
    switch (event->kind) {
    case LEDGER_MUTE:
        mute(view, muted_key(event->number, event->is_c_calls));
        break;
    case LEDGER_ADMIT:
        admit(view, muted_key(event->number, event->is_c_calls));
        break;
    case LEDGER_WINDOW:
    case LEDGER_WINDOW_END:
        view->in_window = event->kind == LEDGER_WINDOW;
        break;
    case LEDGER_UNKNOWN:
    case LEDGER_KNOWN:
        forget_all_muted(view);
        view->is_known = event->kind == LEDGER_KNOWN;
        view->in_window = view->is_known && event->number;
        break;
    default:
        break;
    }
    view->n_windows += was_in_window && !view->in_window;
}

const struct ledger_event *ledger_view_step(struct ledger_view *view, uint64_t ticks)
{
    const struct ledger *ledger = view->ledger;
    if (view->next == ledger->n || ledger->events[view->next].ticks > ticks)
        return NULL;
    const struct ledger_event *event = &ledger->events[view->next++];
    apply_ledger_event(view, event);
    return event;
}

bool ledger_view_muted_since(const struct ledger_view *view, uint32_t function, bool is_c_calls, uint32_t *n_windows)
{
    const struct muted_slot *slot = function ? pnr_table_find(&view->functions, muted_key(function, is_c_calls)) : NULL;
    if (!slot || !slot->is_muted)
        return false;
    *n_windows = slot->since;
    return true;
}

bool ledger_view_is_muted(const struct ledger_view *view, uint32_t function, bool is_c_calls)
{
    uint32_t n_windows;
    return ledger_view_muted_since(view, function, is_c_calls, &n_windows);
}

bool ledger_view_was_muted(const struct ledger_view *view, uint32_t function)
{
    return function && pnr_table_find(&view->functions, muted_key(function, false));
}

bool ledger_view_hides(const struct ledger_view *view, uint32_t function)
{
    return !view->is_known || (!view->in_window && ledger_view_is_muted(view, function, false));
}

/* ---- reading ---- */

static void keep_event(struct ledger *ledger, struct ledger_event event)
{
    if (ledger->is_cut || ledger->is_out_of_memory)
        return;
    if (ledger->n == LEDGER_MAX) {
        ledger->is_cut = true;
        event = (struct ledger_event){ .ticks = event.ticks, .kind = LEDGER_UNKNOWN };
    }
    if (pnr_array_reserve(&ledger->events, &ledger->capacity, ledger->n + 1) < 0) {
        ledger->is_out_of_memory = true;
        return;
    }
    ledger->events[ledger->n++] = event;
    apply_ledger_event(&ledger->end, &event);
    ledger->is_out_of_memory |= ledger->end.is_out_of_memory;
}

static void keep_change(struct ledger *ledger, enum ledger_kind kind, uint32_t function, bool is_c_calls)
{
    keep_event(ledger, (struct ledger_event){ .ticks = ledger->ticks, .number = function, .kind = (uint8_t)kind,
                                              .is_c_calls = is_c_calls });
}

void ledger_init(struct ledger *ledger, bool is_whole)
{
    *ledger = (struct ledger){ .exists = true };
    ledger_view_init(&ledger->end, ledger);
    if (!is_whole)
        keep_change(ledger, LEDGER_UNKNOWN, 0, false);
}

void ledger_clear(struct ledger *ledger)
{
    ledger_view_clear(&ledger->end);
    free(ledger->events);
    ledger->events = NULL;
    ledger->n = ledger->capacity = 0;
}

void ledger_lose(struct ledger *ledger)
{
    if (ledger->end.is_known)
        keep_change(ledger, LEDGER_UNKNOWN, 0, false);
}

void ledger_begin_block(struct ledger *ledger, uint64_t begin_ticks)
{
    if (begin_ticks > ledger->ticks)
        ledger->ticks = begin_ticks;
    ledger->n_blocks++;
    ledger->is_in_head = true;
    if (ledger->end.is_known)
        return;
    keep_change(ledger, LEDGER_KNOWN, 0, false);
    ledger->known_at = ledger->is_cut || ledger->is_out_of_memory ? 0 : ledger->n;
}

/* What the block lists as muted was muted when it began. */
static void list_muted(struct ledger *ledger, uint32_t function, bool is_c_calls)
{
    if (!ledger_view_is_muted(&ledger->end, function, is_c_calls))
        keep_change(ledger, LEDGER_MUTE, function, is_c_calls);
    struct muted_slot *slot = pnr_table_find(&ledger->end.functions, muted_key(function, is_c_calls));
    if (slot)
        slot->n_blocks = ledger->n_blocks;
}

/* What the block does not list was not muted when it began, even if no record says that it was admitted. */
static void end_head(struct ledger *ledger)
{
    if (!ledger->is_in_head)
        return;
    ledger->is_in_head = false;
    for (size_t i = ledger->end.n_muted; i-- > 0;) {    /* one that is admitted leaves the list */
        uint64_t key = ledger->end.muted[i];
        if (muted_slot(&ledger->end, i)->n_blocks != ledger->n_blocks)
            keep_change(ledger, LEDGER_ADMIT, (uint32_t)(key >> 1), key & 1);
    }
}

/* A window that ends without having begun had begun before its block, if that is the first one after a hole. */
static void change_window(struct ledger *ledger, bool is_begin)
{
    if (!is_begin && ledger->known_at) {
        ledger->events[ledger->known_at - 1].number = 1;
        ledger->end.in_window = true;
    }
    ledger->known_at = 0;
    if (ledger->end.in_window != is_begin)
        keep_change(ledger, is_begin ? LEDGER_WINDOW : LEDGER_WINDOW_END, 0, false);
}

static void change_muted(struct ledger *ledger, bool is_muted, uint32_t function, bool is_c_calls)
{
    if (ledger_view_is_muted(&ledger->end, function, is_c_calls) != is_muted)
        keep_change(ledger, is_muted ? LEDGER_MUTE : LEDGER_ADMIT, function, is_c_calls);
}

void ledger_add(struct ledger *ledger, uint64_t ticks, struct pnr_record record)
{
    unsigned kind = pnr_record_kind(record);
    uint64_t frame = pnr_record_frame(record);
    uint32_t function = pnr_record_function(record);
    bool is_of_function = kind == PNR_MUTE || kind == PNR_ADMIT || kind == PNR_MUTED;
    if (kind != PNR_MUTED)
        end_head(ledger);               /* at the block's begin */
    if (ticks > ledger->ticks)
        ledger->ticks = ticks;
    else if (!ledger->is_in_head && ticks < ledger->ticks)
        ledger->n_backwards++;
    if ((is_of_function && (frame > 1 || function == 0)) || (kind == PNR_MUTED && !ledger->is_in_head)) {
        ledger->n_unknown_kinds++;
        return;
    }
    if (kind == PNR_MUTED) {
        list_muted(ledger, function, frame == 1);
        return;
    }
    if (is_of_function)
        change_muted(ledger, kind == PNR_MUTE, function, frame == 1);
    else if (kind == PNR_WINDOW || kind == PNR_WINDOW_END)
        change_window(ledger, kind == PNR_WINDOW);
    else if (kind == PNR_COST)
        keep_event(ledger, (struct ledger_event){ .ticks = ledger->ticks, .cpu_ns = frame, .number = function,
                                                  .kind = LEDGER_COST });
    else if (kind != PNR_LOST)          /* the reader calls ledger_lose() for that */
        ledger->n_unknown_kinds++;
}

void ledger_end_block(struct ledger *ledger, uint64_t end_ticks)
{
    end_head(ledger);
    if (end_ticks > ledger->ticks)
        ledger->ticks = end_ticks;
}

/* ---- as a whole ---- */

struct ledger_sum ledger_add_up(const struct ledger *ledger)
{
    struct ledger_sum sum = { .n_windows = 0 };
    for (size_t i = 0; i < ledger->n; i++) {
        const struct ledger_event *event = &ledger->events[i];
        sum.n_windows += event->kind == LEDGER_WINDOW || (event->kind == LEDGER_KNOWN && event->number);
        sum.n_unknown += event->kind == LEDGER_UNKNOWN;
        if (event->kind == LEDGER_COST) {
            sum.cpu_ns += event->cpu_ns;
            sum.cost_ns += event->number;
        }
    }
    const struct pnr_table *functions = &ledger->end.functions;
    for (const struct muted_slot *slot = NULL; (slot = pnr_table_next(functions, slot));) {
        const struct muted_slot *whole = slot->key & 1 ? pnr_table_find(functions, slot->key - 1) : NULL;
        sum.n_functions += !whole;      /* one that was muted as a whole, too, counts there */
        sum.n_muted += slot->is_muted && !(whole && whole->is_muted);
    }
    return sum;
}
