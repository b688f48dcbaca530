/* The ledger: what is in its blocks, and that its records are no events of the program. */
#include "session_fixture.h"

#include "recorder/ledger.h"

#define MAX_BLOCKS 16

/* What is in the files of a process of the ledger, which is its thread 1. A line for each record, such as "MUTE 0 7". */
static struct {
    char text[4096];
    uint32_t n_blocks, last_sequence;
} found;

static void read_ledger_block(FILE *file, const struct pnr_block_header *h)
{
    static const char *const names[PNR_KINDS] = {
#define PNR_KIND(number, name, ...) [number] = #name,
#include "format/kinds.def"
    };
    static struct pnr_record records[PNR_BLOCK_RECORDS];
    static unsigned char data[1 << 20];
    struct pnr_err err;
    struct pnr_block_coder *coder = pnr_block_coder_new();
    cr_assert_eq(fread(data, h->data_size, 1, file), 1);
    cr_assert_eq(pnr_block_decode(coder, h, data, records, &err), 0);
    cr_assert(!found.n_blocks || h->sequence == found.last_sequence + 1);
    found.n_blocks++;
    found.last_sequence = h->sequence;
    strcat(found.text, h->flags & PNR_BLOCK_RESYNC ? "|!" : "|");
    for (uint32_t i = 0; i < h->n_records; i++) {
        size_t used = strlen(found.text);
        snprintf(found.text + used, sizeof found.text - used, " %s %d %u", names[pnr_record_kind(records[i])],
                 (int)pnr_record_frame(records[i]), pnr_record_function(records[i]));
    }
    pnr_block_coder_free(coder);
}

/* Reads the ledger's blocks of all segments: "| MUTE 0 7 ADMIT 0 7|...", with "|!" for the flag RESYNC. */
static const char *read_ledger(void)
{
    char path[PATH_MAX];
    uint32_t skippable[2], *numbers;
    size_t n;
    struct pnr_block_header h;
    struct pnr_err err;
    memset(&found, 0, sizeof found);
    cr_assert_eq(pnr_capture_segments(process, &numbers, &n, &err), 0);
    for (size_t i = 0; i < n; i++) {
        pnr_thread_path(process, numbers[i], 1, path);
        FILE *file = fopen(path, "rb");
        while (file && fread(skippable, 1, sizeof skippable, file) != 0) {
            cr_assert_eq(fread(&h, sizeof h, 1, file), 1);
            read_ledger_block(file, &h);
        }
        if (file)
            fclose(file);
    }
    free(numbers);
    return found.text;
}

static void note(enum rec_order_kind kind, uint32_t function)
{
    rec_ledger_note((struct rec_order){ (uint8_t)kind, function }, rec_clock_ticks());
}

static struct rec_totals stop(void)
{
    struct rec_totals totals;
    rec_ledger_stop();
    rec_session_stop(&totals);
    return totals;
}

Test(ledger, has_no_block_without_a_record, .init = begin, .fini = end)
{
    cr_assert(rec_ledger_begin());
    rec_ledger_renew();
    rec_buffer_flush_all();
    struct rec_totals totals = stop();
    cr_expect_str_eq(read_ledger(), "");
    cr_expect_eq(totals.n_threads, 0);
}

Test(ledger, writes_what_is_muted, .init = begin, .fini = end)
{
    cr_assert(rec_ledger_begin());
    note(REC_ORDER_MUTE, 7);
    note(REC_ORDER_MUTE, 7);            /* changes nothing */
    note(REC_ORDER_MUTE_C, 7);
    note(REC_ORDER_MUTE_C, 3000);
    cr_expect_eq(rec_ledger_count_muted(), 2);
    rec_ledger_cost(100000000, 3000000, rec_clock_ticks());
    note(REC_ORDER_WINDOW, 0);
    note(REC_ORDER_WINDOW_END, 0);
    note(REC_ORDER_ADMIT, 7);
    struct rec_totals totals = stop();
    cr_expect_str_eq(read_ledger(), "| MUTE 0 7 MUTE 1 7 MUTE 1 3000 COST 100000000 3000000 WINDOW 0 2 WINDOW_END 0 2"
                                    " ADMIT 0 7");
    cr_expect_eq(totals.n_events, 0, "they are no events");
    cr_expect_eq(totals.n_threads, 0);
    cr_expect_eq(totals.failure.code, PNR_OK);
}

Test(ledger, begins_each_block_with_what_is_muted, .init = begin, .fini = end)
{
    cr_assert(rec_ledger_begin());
    note(REC_ORDER_MUTE, 5);
    note(REC_ORDER_MUTE_C, 9);
    rec_buffer_flush_all();
    note(REC_ORDER_ADMIT, 5);
    rec_buffer_flush_all();
    note(REC_ORDER_WINDOW, 0);
    stop();
    cr_expect_str_eq(read_ledger(), "| MUTE 0 5 MUTE 1 9| MUTED 0 5 MUTED 1 9 ADMIT 0 5| MUTED 1 9 WINDOW 0 1");
}

Test(ledger, says_that_a_window_is_open, .init = begin, .fini = end)
{
    cr_assert(rec_ledger_begin());
    note(REC_ORDER_MUTE, 5);
    note(REC_ORDER_WINDOW, 0);
    rec_buffer_flush_all();
    note(REC_ORDER_WINDOW_END, 0);
    rec_buffer_flush_all();
    note(REC_ORDER_ADMIT, 5);
    stop();
    cr_expect_str_eq(read_ledger(), "| MUTE 0 5 WINDOW 0 1| MUTED 0 5 WINDOW 0 1 WINDOW_END 0 1| MUTED 0 5 ADMIT 0 5");
}

/* All chunks are full, and what finds none is discarded. */
Test(ledger, says_that_records_are_missing, .init = begin_small, .fini = end)
{
    cr_assert(rec_ledger_begin());
    rec_worker_park();
    int n = 0;
    struct rec_buffer *buffer = new_buffer(7);
    for (; !rec_drain_has_overflowed(); n++) {
        if (!rec_buffer_start_chunk(buffer, 0, 0))
            break;
        rec_buffer_append(buffer, 0, PNR_CALL, (uint64_t)n, 1);
    }
    note(REC_ORDER_MUTE, 5);
    rec_worker_unpark_now();
    while (rec_drain_has_overflowed())
        usleep(1000);
    note(REC_ORDER_MUTE, 6);
    stop();
    cr_expect_str_eq(read_ledger(), "|! MUTED 0 5 MUTE 0 6");
}

Test(ledger, goes_on_when_its_block_is_full, .init = begin, .fini = end)
{
    cr_assert(rec_ledger_begin());
    note(REC_ORDER_MUTE, 5);
    for (int i = 0; i < PNR_BLOCK_RECORDS; i++)
        rec_ledger_cost(1, 1, rec_clock_ticks());
    struct rec_buffer *buffer = new_buffer(7);
    append(buffer, 0);
    struct rec_totals totals = stop();
    cr_expect_eq(totals.n_events, 1);
    cr_expect_eq(totals.n_threads, 1);
    uint32_t n_functions;
    cr_expect_str_eq(find_property(process, "events", &n_functions), "1");
}

Test(ledger, begins_anew_with_a_region, .init = begin, .fini = end)
{
    char path[PATH_MAX], taken[PATH_MAX];
    struct pnr_err err;
    static struct rec_region region;
    struct rec_totals totals;
    cr_assert(rec_ledger_begin());
    note(REC_ORDER_MUTE, 5);
    snprintf(path, sizeof path, "%s/region.pnr", folder);
    cr_assert_eq(rec_session_make_capture(path, taken, &err), 0);
    cr_assert_eq(rec_session_begin_region(taken, &region, &err), 0);
    cr_assert_eq(rec_session_save_region(taken, &region, &totals, &err), 0);
    note(REC_ORDER_ADMIT, 5);
    stop();
    cr_expect_str_eq(read_ledger(), "| MUTE 0 5| MUTED 0 5| MUTED 0 5 ADMIT 0 5");
    snprintf(process, sizeof process, "%.4000s/process-%d", taken, getpid());
    cr_expect_str_eq(read_ledger() + 1, " MUTED 0 5");
}
