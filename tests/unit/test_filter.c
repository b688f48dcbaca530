#include <criterion/criterion.h>
#include <string.h>

#include "recorder/filter.h"

static struct pnr_string string(const char *text)
{
    return (struct pnr_string){ text, (uint32_t)strlen(text) };
}

/* Each rule is a sign and a text: + includes, - excludes, / excludes below. */
static void set(const char *const *rules)
{
    rec_filter_clear();
    for (; *rules; rules++)
        cr_assert_eq(rec_filter_add(**rules == '+' ? REC_FILTER_INCLUDE : **rules == '-' ? REC_FILTER_EXCLUDE :
                                    REC_FILTER_EXCLUDE_BELOW, *rules + 1), 0);
}

Test(filter, lets_the_last_match_decide)
{
    static const struct { const char *rules[6], *module, *file; bool excludes; } table[] = {
        { { NULL }, "json", "/lib/json/__init__.py", false },
        /* only exclusions: the rest is included */
        { { "-json.*" }, "json.decoder", "/lib/json/decoder.py", true },
        { { "-json.*" }, "json", "/lib/json/__init__.py", false },
        { { "-json.*", "-app" }, "other", "/other.py", false },
        /* only inclusions: the rest is not */
        { { "+json.*" }, "json.decoder", "/lib/json/decoder.py", false },
        { { "+json.*" }, "app", "/app.py", true },
        { { "+json.*", "+app" }, "app", "/app.py", false },
        /* both: the first glob decides about the rest */
        { { "+app.*", "-app.tests.*" }, "app.main", "/app/main.py", false },
        { { "+app.*", "-app.tests.*" }, "app.tests.one", "/app/tests/one.py", true },
        { { "+app.*", "-app.tests.*" }, "other", "/other.py", true },
        { { "-json.*", "+json.decoder" }, "json.decoder", "/lib/json/decoder.py", false },
        { { "-json.*", "+json.decoder" }, "json.encoder", "/lib/json/encoder.py", true },
        { { "-json.*", "+json.decoder" }, "other", "/other.py", false },
        { { "+app*", "-app.a", "+app.a", "-app.a" }, "app.a", "/app/a.py", true },
        { { "+app*", "-app.a", "+app.a", "-app.a", "+*" }, "app.a", "/app/a.py", false },
        /* the module or the file */
        { { "-*/vendor/*" }, "six", "/app/vendor/six.py", true },
        { { "-*/vendor/*" }, "vendor.six", "/app/six.py", false },
        { { "+app", "-*.py" }, "app", "/app.py", true },
        /* a prefix is no glob: it does not decide about the rest */
        { { "//lib/python/" }, "json", "/lib/python/json/__init__.py", true },
        { { "//lib/python/" }, "app", "/app.py", false },
        { { "//lib/python/", "+app" }, "other", "/other.py", true },
        { { "//lib/python/", "+json" }, "json", "/lib/python/json/__init__.py", false },
        { { "+json", "//lib/python/" }, "json", "/lib/python/json/__init__.py", true },
        { { "//lib/python/" }, "x", "/lib/python3/x.py", false },
        { { "//lib/python/" }, "x", "/lib/python/site-packages/x.py", false },
        { { "//lib/python/" }, "x", "/lib/python/dist-packages/x.py", false },
        { { "//lib/python/" }, "x", "/lib/python/site-packages.py", true },
        { { "//lib/python/" }, "x", "/lib/python/test/site-packages/x.py", true },
        { { "-x", "//lib/python/" }, "x", "/lib/python/site-packages/x.py", true },
        { { "/<frozen " }, "os", "<frozen os>", true },
        { { "/<frozen " }, "os", "<string>", false },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        set(table[i].rules);
        cr_expect_eq(rec_filter_excludes(string(table[i].module), string(table[i].file)), table[i].excludes,
                     "row %zu", i);
    }
    rec_filter_clear();
}

Test(filter, matches_as_fnmatch_does)
{
    static const struct { const char *glob, *text; bool matches; } table[] = {
        { "json", "json", true },
        { "json", "jsonx", false },
        { "JSON", "json", false },
        { "*", "", true },
        { "a*", "a/b.c/d", true },
        { "*.d", "a.b.c.d", true },
        { "*", ".hidden/.x", true },
        { "a?c", "a/c", true },
        { "a?c", "a.c", true },
        { "a?c", "ac", false },
        { "[a-c]x", "bx", true },
        { "[!a-c]x", "bx", false },
        { "[!a-c]x", "dx", true },
        { "[[]x", "[x", true },
        { "a\\*", "a\\b", true },
        { "a\\*", "a*", false },
        { "[", "[", true },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        rec_filter_clear();
        cr_assert_eq(rec_filter_add(REC_FILTER_EXCLUDE, table[i].glob), 0);
        cr_expect_eq(rec_filter_excludes(string(table[i].text), string("")), table[i].matches, "row %zu", i);
    }
    rec_filter_clear();
}

Test(filter, forgets_its_rules)
{
    set((const char *[]){ "+app", NULL });
    cr_expect(rec_filter_excludes(string("other"), string("/other.py")));
    rec_filter_clear();
    cr_expect_not(rec_filter_excludes(string("other"), string("/other.py")));
}
