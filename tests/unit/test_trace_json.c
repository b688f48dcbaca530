#include "convert/write/trace_json.h"

#include "check.h"

#define N_THREADS 3

/* A trace in a file, for reading back. */
struct file {
    char path[64];
    struct jobs *jobs;
    struct output *output;
    struct trace *trace;
    struct sink *sink;
};

static struct file begin(const struct symbols *symbols)
{
    struct file file = { .path = "/tmp/panopticon-test-XXXXXX" };
    struct pnr_err err;
    struct sink_process process = { .pid = 7, .order = 0, .name = check_string("p"), .symbols = symbols };
    struct sink_thread thread = { .thread = 0, .tid = 70, .order = 1, .name = check_string("t") };
    close(mkstemp(file.path));
    file.jobs = jobs_new(N_THREADS);
    cr_assert_not_null(file.output = output_open(file.path, file.jobs, &err));
    struct trace_about about = { .version = "9", .command = check_string("app \"x\"") };
    file.trace = trace_new(&trace_json, &about, file.output, N_THREADS);
    file.sink = trace_sink(file.trace);
    file.sink->process(file.sink, &process);
    file.sink->thread(file.sink, &thread);
    return file;
}

/* All that was written; the caller frees. */
static char *end(struct file *file)
{
    struct pnr_err err;
    cr_assert_eq(trace_end(file->trace, &err), 0);
    size_t size = trace_bytes(file->trace);
    char *text = calloc(1, size + 1);
    trace_free(file->trace);
    cr_assert_eq(output_keep(file->output, &err), 0);
    cr_assert_eq(output_bytes(file->output), size);
    output_close(file->output);
    jobs_free(file->jobs);
    FILE *stream = fopen(file->path, "r");
    cr_assert_eq(fread(text, 1, size + 1, stream), size);
    fclose(stream);
    unlink(file->path);
    return text;
}

Test(trace_json, writes_the_whole_file)
{
    static const char expected[] =
        "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n"
        "{\"name\":\"process_name\",\"cat\":\"__metadata\",\"ph\":\"M\","
        "\"ts\":0,\"pid\":7,\"tid\":7,\"args\":{\"name\":\"p\"}},\n"
        "{\"name\":\"process_sort_index\",\"cat\":\"__metadata\",\"ph\":\"M\","
        "\"ts\":0,\"pid\":7,\"tid\":7,\"args\":{\"sort_index\":0}},\n"
        "{\"name\":\"thread_name\",\"cat\":\"__metadata\",\"ph\":\"M\","
        "\"ts\":0,\"pid\":7,\"tid\":70,\"args\":{\"name\":\"t\"}},\n"
        "{\"name\":\"thread_sort_index\",\"cat\":\"__metadata\",\"ph\":\"M\","
        "\"ts\":0,\"pid\":7,\"tid\":70,\"args\":{\"sort_index\":1}},\n"
        "{\"name\":\"m.f4\",\"cat\":\"generator\",\"ph\":\"X\","
        "\"ts\":1.002,\"dur\":0.040,\"pid\":7,\"tid\":70,\"sf\":4},\n"
        "{\"name\":\"[lost 5 events]\",\"cat\":\"panopticon\",\"ph\":\"i\","
        "\"s\":\"t\",\"ts\":1.500,\"pid\":7,\"tid\":70},\n"
        "{\"name\":\"m.f4\",\"cat\":\"generator\",\"ph\":\"s\","
        "\"bp\":\"e\",\"id\":3,\"ts\":1.041,\"pid\":7,\"tid\":70}\n"
        "],\"stackFrames\":{\n"
        "\"4\":{\"name\":\"m.py:4\"}\n"
        "},\"otherData\":{\"converter\":\"panopticon-convert 9\",\"command\":\"app \\\"x\\\"\"}}\n";
    struct file file = begin(check_symbols());
    struct slice slice = { .begin_ns = 1002, .end_ns = 1042, .function = 4 };
    struct flow_event event = { .ns = 1041, .flow = 3, .function = 4, .phase = FLOW_START };
    file.sink->slice(file.sink, &slice);
    file.sink->instant(file.sink, 0, 1500, "[lost 5 events]");
    file.sink->flow_event(file.sink, &event);
    char *text = end(&file);
    cr_expect_str_eq(text, expected);
    free(text);
}

/* The last event of a file that has only one apart from the metadata. */
static char *only_slice(const struct symbols *symbols, struct slice slice)
{
    struct file file = begin(symbols);
    file.sink->slice(file.sink, &slice);
    char *text = end(&file);
    char *from = strstr(text, "\"sort_index\":1}},\n") + strlen("\"sort_index\":1}},\n");
    *strstr(from, "\n],") = 0;
    memmove(text, from, strlen(from) + 1);
    return text;
}

Test(trace_json, marks_slices)
{
    static const struct { struct slice slice; const char *part; } table[] = {
        { { .function = 1, .flags = SLICE_EXCEPTION }, ",\"sf\":1,\"args\":{\"exception\":true}}" },
        { { .function = 1, .flags = SLICE_UNFINISHED | SLICE_BEGIN_UNKNOWN },
          ",\"sf\":1,\"args\":{\"unfinished\":true,\"begin_unknown\":true}}" },
        { { .function = 1, .flags = SLICE_EXIT_MISSING }, ",\"sf\":1,\"args\":{\"exit_missing\":true}}" },
        { { .function = 99 }, "{\"name\":\"[unknown function 99]\",\"cat\":\"python\",\"ph\":\"X\"" },
        { { .function = 99 }, "\"tid\":70}" },
        { { .function = 99, .flags = SLICE_UNFINISHED }, "\"tid\":70,\"args\":{\"unfinished\":true}}" },
        { { .function = 1, .subject = PNR_SUBJECT_UNRECORDED },
          "{\"name\":\"[not recorded]\",\"cat\":\"panopticon\"" },
        { { .function = 1, .subject = PNR_SUBJECT_UNRECORDED }, "\"args\":{\"reason\":\"C stack guard\"}}" },
        { { .function = 9, .subject = PNR_SUBJECT_UNRECORDED, .flags = SLICE_UNFINISHED },
          "{\"reason\":\"unknown\",\"unfinished\":true}}" },
        { { .function = 9 }, "\"cat\":\"c_function\"" },
        { { .function = 8 }, "\"cat\":\"iterable_coroutine\"" },
        { { .begin_ns = 0, .end_ns = 1, .function = 1 }, "\"ts\":0.000,\"dur\":0.001," },
        { { .begin_ns = UINT64_C(123456789012345678), .end_ns = UINT64_C(123456789012345978), .function = 1 },
          "\"ts\":123456789012345.678,\"dur\":0.300," },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char *text = only_slice(check_symbols(), table[i].slice);
        cr_expect(strstr(text, table[i].part), "row %zu: %s", i, text);
        free(text);
    }
}

Test(trace_json, writes_creations_and_tasks)
{
    static const char expected[] =
        "{\"name\":\"m.f6\",\"cat\":\"creation\",\"ph\":\"s\",\"bp\":\"e\",\"id\":3,\"ts\":1.041,\"pid\":7,\"tid\":70},\n"
        "{\"name\":\"m.f6\",\"cat\":\"creation\",\"ph\":\"f\",\"bp\":\"e\",\"id\":3,\"ts\":1.042,\"pid\":7,\"tid\":70},\n"
        "{\"name\":\"m.f6\",\"cat\":\"task\",\"ph\":\"b\",\"id\":5,\"ts\":1.050,\"pid\":7,\"tid\":70,\"sf\":6},\n"
        "{\"name\":\"[running]\",\"cat\":\"task\",\"ph\":\"b\",\"id\":5,\"ts\":1.050,\"pid\":7,\"tid\":70},\n"
        "{\"name\":\"[running]\",\"cat\":\"task\",\"ph\":\"e\",\"id\":5,\"ts\":1.060,\"pid\":7,\"tid\":70},\n"
        "{\"name\":\"m.f6\",\"cat\":\"task\",\"ph\":\"e\",\"id\":5,\"ts\":1.060,\"pid\":7,\"tid\":70},\n"
        "{\"name\":\"m.f6\",\"cat\":\"task\",\"ph\":\"e\",\"id\":6,\"ts\":1.070,\"pid\":7,\"tid\":70,"
        "\"args\":{\"cut\":true}}\n]";
    struct file file = begin(check_symbols());
    struct flow_event event = { .ns = 1041, .flow = 3, .function = 6, .phase = FLOW_START, .origin = FLOW_OF_CREATION };
    file.sink->flow_event(file.sink, &event);
    event.ns++;
    event.phase = FLOW_END;
    file.sink->flow_event(file.sink, &event);
    for (enum task_phase phase = TASK_BEGIN; phase <= TASK_END; phase++)
        file.sink->task(file.sink, &(struct task_event){ phase < TASK_SUSPEND ? 1050 : 1060, 5, 0, 6, phase, 0, { 0, 0 }, { NULL, 0 }, { NULL, 0 } });
    file.sink->task(file.sink, &(struct task_event){ 1070, 6, 0, 6, TASK_END, SLICE_CUT, { 0, 0 }, { NULL, 0 }, { NULL, 0 } });
    char *text = end(&file);
    cr_expect(strstr(text, expected), "%s", text);
    free(text);
}

Test(trace_json, escapes_names)
{
    static const struct { const char *name; uint32_t size; const char *json; } table[] = {
        { "plain", 5, "plain" },
        { "a\"b\\c", 5, "a\\\"b\\\\c" },
        { "tab\tnl\nesc\x1b", 11, "tab\\u0009nl\\u000aesc\\u001b" },
        { "\x7f", 1, "\\u007f" },
        { "\xc3\xa9 \xe2\x82\xac", 6, "\xc3\xa9 \xe2\x82\xac" },
        { "\xf0\x9f\x99\x82", 4, "\xf0\x9f\x99\x82" },                      /* beyond the BMP, as it is */
        { "a\0b", 3, "a\xef\xbf\xbd" "b" },
        { "a\xed\xa0\x80z", 5, "a\xef\xbf\xbdz" },                          /* a lone surrogate */
        { "\xed\xa0\xbd\xed\xb9\x82", 6, "\xef\xbf\xbd\xef\xbf\xbd" },      /* a pair of them */
        { "\xff\xc0\xaf", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "a\xe2\x82", 3, "a\xef\xbf\xbd\xef\xbf\xbd" },                    /* cut */
        { "\xe0\x80\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },      /* too long a form */
        { "\xf4\x90\x80\x80", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },  /* above U+10FFFF */
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct symbol function = { .name = { table[i].name, table[i].size }, .is_known = true };
        struct symbols symbols = { .functions = &function, .n_functions = 1 };
        char expected[200];
        char *text = only_slice(&symbols, (struct slice){ .function = 1 });
        snprintf(expected, sizeof expected, "{\"name\":\"%s\",\"cat\":", table[i].json);
        cr_expect_eq(strncmp(text, expected, strlen(expected)), 0, "row %zu: %s", i, text);
        free(text);
    }
}

/* Longer than the buffer, when every byte has to be escaped. */
Test(trace_json, keeps_long_names_whole)
{
    static char name[65535];
    memset(name, 1, sizeof name);
    struct symbol function = { { name, sizeof name }, { name, sizeof name }, { name, sizeof name }, 1, 0, true };
    struct symbols symbols = { .functions = &function, .n_functions = 1 };
    char *text = only_slice(&symbols, (struct slice){ .function = 1 });
    cr_expect_gt(strlen(text), 2 * 6 * sizeof name);
    free(text);
}

/* In the order in which they were given, however many batches that makes. */
Test(trace_json, keeps_the_order_of_many)
{
    enum { N = 100000 };
    struct file file = begin(check_symbols());
    for (unsigned i = 0; i < N; i++) {
        struct slice slice = { .begin_ns = i, .end_ns = i + 1, .function = 1 + i % 3 };
        struct flow_event event = { .ns = i, .flow = i, .function = 4, .phase = FLOW_STEP };
        file.sink->slice(file.sink, &slice);
        if (i % 1000 == 0)
            file.sink->flow_event(file.sink, &event);
        if (i % 999 == 0)
            file.sink->instant(file.sink, 0, i, "[word]");
    }
    cr_expect_eq(trace_events(file.trace), 4 + N + N / 1000 + N / 999 + 1);
    char *text = end(&file), *at = text, expected[64];
    for (unsigned i = 0; i < N; i++) {
        snprintf(expected, sizeof expected, "\"ts\":%u.%03u,\"dur\":0.001,", i / 1000, i % 1000);
        cr_assert_not_null(at = strstr(at, expected), "%u", i);
        if (i % 1000 == 0) {
            snprintf(expected, sizeof expected, "\"ph\":\"t\",\"bp\":\"e\",\"id\":%u,\"ts\":%u.%03u,", i, i / 1000,
                     i % 1000);
            cr_assert_not_null(at = strstr(at, expected), "%u", i);
        }
        cr_assert(i % 999 != 0 || (at = strstr(at, "\"name\":\"[word]\"")), "%u", i);
    }
    free(text);
}

Test(trace_json, stops_when_nothing_can_be_written)
{
    struct trace_about about = { .version = "9" };
    struct slice slice = { .begin_ns = 1, .end_ns = 2, .function = 1 };
    struct sink_process process = { .pid = 7, .name = check_string("p"), .symbols = check_symbols() };
    struct sink_thread thread = { .thread = 0 };
    struct pnr_err err;
    struct jobs *jobs = jobs_new(N_THREADS);
    struct output *output = output_open("/dev/full", jobs, &err);
    struct trace *trace = trace_new(&trace_json, &about, output, N_THREADS);
    struct sink *sink = trace_sink(trace);
    sink->process(sink, &process);
    sink->thread(sink, &thread);
    for (int i = 0; i < 1000000 && !sink->is_broken; i++)
        sink->slice(sink, &slice);
    cr_expect(sink->is_broken);
    cr_expect_eq(trace_end(trace, &err), 0);
    cr_expect_eq(output_keep(output, &err), -1);
    cr_expect_eq(err.code, PNR_E_SYSTEM);
    trace_free(trace);
    output_close(output);
    jobs_free(jobs);
}
