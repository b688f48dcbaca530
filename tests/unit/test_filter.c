#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/filter.h"

static struct pnr_string string(const char *text)
{
    return (struct pnr_string){ text, (uint32_t)strlen(text) };
}

static struct pnr_filter filter;

/* Each rule is a sign and a text: + includes, - excludes, / excludes below, = is own code, @ is a library. */
static void set(const char *const *rules)
{
    pnr_filter_clear(&filter);
    for (; *rules; rules++)
        cr_assert_eq(pnr_filter_add(&filter, **rules == '+' ? PNR_FILTER_INCLUDE : **rules == '-' ? PNR_FILTER_EXCLUDE :
                                    **rules == '=' ? PNR_FILTER_OWN : **rules == '@' ? PNR_FILTER_LIBRARY :
                                    PNR_FILTER_EXCLUDE_BELOW, *rules + 1), 0);
}

static int judge(const char *module, const char *name, const char *file)
{
    return pnr_filter_judge(&filter, (struct pnr_string[]){ string(module), string(name), string(file) }, false);
}

/* The functions are all called f. */
Test(filter, lets_the_last_match_decide)
{
    static const struct { const char *rules[6], *module, *file; bool excludes; } table[] = {
        { { NULL }, "json", "/lib/json/__init__.py", false },
        /* only exclusions: the rest is included */
        { { "-json.*" }, "json.decoder", "/lib/json/decoder.py", true },
        { { "-json.?*.*" }, "json", "/lib/json/__init__.py", false },
        { { "-json.*" }, "json", "/lib/json/__init__.py", true },       /* json.f */
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
        /* the module, module.name or the file */
        { { "-json.f" }, "json", "/lib/json/__init__.py", true },
        { { "-f" }, "json", "/lib/json/__init__.py", false },
        { { "-*.f", "+json*" }, "json", "/lib/json/__init__.py", false },
        { { "-builtins" }, "", "", true },
        { { "-f" }, "", "", true },
        { { "-builtins.f" }, "", "", false },
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
        cr_expect_eq(judge(table[i].module, "f", table[i].file), table[i].excludes,
                     "row %zu", i);
    }
    pnr_filter_clear(&filter);
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
        { "a?c", "a\xc3\xa9" "c", true },        /* a character of two bytes */
        { "[\xc3\xa8-\xc3\xaa]", "\xc3\xa9", true },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        cr_expect_eq(pnr_glob_matches(table[i].glob, table[i].text), table[i].matches, "row %zu", i);
    }
}

Test(filter, forgets_its_rules)
{
    set((const char *[]){ "+app", NULL });
    cr_expect(judge("other", "f", "/other.py"));
    pnr_filter_clear(&filter);
    cr_expect_not(judge("other", "f", "/other.py"));
}

/* Folders that are not there are taken as they are. */
Test(filter, separates_own_code_from_libraries)
{
    enum { RECORDED = PNR_FILTER_RECORDED, EXCLUDED = PNR_FILTER_EXCLUDED, BOUNDARY = PNR_FILTER_BOUNDARY };
    static const struct { const char *rules[6], *module, *file; bool is_made; int outcome; } table[] = {
        { { "@", "=/none/app/" }, "pkg", "/none/app/pkg.py", false, RECORDED },
        { { "@", "=/none/app/" }, "pkg", "/none/app2/pkg.py", false, BOUNDARY },
        { { "@", "=/none/app/" }, "json", "/lib/json/__init__.py", false, BOUNDARY },
        { { "@", "=/none/app/" }, "os", "<frozen os>", false, BOUNDARY },
        { { "@", "=/none/app/" }, "builtins", "", false, BOUNDARY },
        { { "@", "=/none/app/" }, "pkg", "app/pkg.py", false, BOUNDARY },
        /* installed packages */
        { { "@", "=/none/app/" }, "six", "/none/app/site-packages/six.py", false, BOUNDARY },
        { { "@", "=/none/app/" }, "six", "/none/app/.venv/lib/python3/site-packages/six.py", false, BOUNDARY },
        { { "@", "=/none/app/" }, "six", "/none/app/lib/dist-packages/a/six.py", false, BOUNDARY },
        { { "@", "=/none/app/" }, "six", "/none/app/my-site-packages/six.py", false, RECORDED },
        { { "@", "=/none/site-packages/pkg/" }, "pkg", "/none/site-packages/pkg/a.py", false, RECORDED },
        { { "@", "=/none/", "@/none/lib/" }, "json", "/none/lib/json.py", false, BOUNDARY },
        /* the program itself */
        { { "@", "=/none/app/" }, "__main__", "/none/tool.py", false, RECORDED },
        { { "@", "=/none/app/" }, "__main__", "<string>", false, RECORDED },
        { { "@", "=/none/app/" }, "__main__", "<string>", true, BOUNDARY },
        { { "@", "=/none/app/" }, "__main__", "/none/site-packages/pytest/__main__.py", false, BOUNDARY },
        { { "@", "=/none/app/", "@/none/lib/" }, "__main__", "/none/lib/timeit.py", false, BOUNDARY },
        /* other rules after it */
        { { "@", "=/none/app/", "-json*" }, "json", "/lib/json/__init__.py", false, EXCLUDED },
        { { "@", "=/none/app/", "+json*" }, "json", "/lib/json/__init__.py", false, RECORDED },
        { { "@", "=/none/app/", "+json*" }, "other", "/lib/other.py", false, BOUNDARY },
        { { "@", "=/none/app/", "//lib/" }, "json", "/lib/json/__init__.py", false, EXCLUDED },
        { { "@", "=/none/app/", "-app" }, "app", "/none/app/app.py", false, EXCLUDED },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        set(table[i].rules);
        const struct pnr_string strings[3] = { string(table[i].module), string("f"), string(table[i].file) };
        cr_expect_eq(pnr_filter_judge(&filter, strings, table[i].is_made), table[i].outcome, "row %zu", i);
    }
    pnr_filter_clear(&filter);
}

Test(filter, resolves_folders_and_keeps_errno)
{
    char folder[] = "/tmp/panopticon-XXXXXX", real[64], link[64], own[80], file[80], other[80];
    cr_assert(mkdtemp(folder));
    snprintf(real, sizeof real, "%s/real", folder);
    snprintf(link, sizeof link, "%s/link", folder);
    snprintf(own, sizeof own, "=%s/", real);
    snprintf(file, sizeof file, "%s/link/../link/a.py", folder);
    snprintf(other, sizeof other, "%s/real/../a.py", folder);
    cr_assert_eq(mkdir(real, 0700), 0);
    cr_assert_eq(symlink(real, link), 0);
    set((const char *const[]){ "@", own, NULL });
    for (int round = 0; round < 3; round++) {
        errno = EDOM;
        cr_expect_eq(judge("a", "f", file), PNR_FILTER_RECORDED);
        cr_expect_eq(judge("a", "f", other), PNR_FILTER_BOUNDARY);
        cr_expect_eq(errno, EDOM);
    }
    pnr_filter_clear(&filter);
    unlink(link);
    rmdir(real);
    rmdir(folder);
}

/* What no rule matches stays as it was, and the last rule that matches decides. */
Test(filter, is_overridden)
{
    set((const char *[]){ NULL });
    cr_assert_eq(pnr_filter_override(&filter, PNR_FILTER_INCLUDE, "json"), 0);
    cr_expect_eq(judge("app", "f", "/app.py"), PNR_FILTER_RECORDED);
    cr_assert_eq(pnr_filter_override(&filter, PNR_FILTER_EXCLUDE, "json"), 0);
    cr_expect_eq(judge("json", "f", "/json.py"), PNR_FILTER_EXCLUDED);
    cr_expect_eq(filter.n, 1);
    set((const char *[]){ "+app.*", "-app.test", NULL });
    cr_assert_eq(pnr_filter_override(&filter, PNR_FILTER_INCLUDE, "app.test"), 0);
    cr_expect_eq(judge("app.test", "f", "/test.py"), PNR_FILTER_RECORDED);
    cr_assert_eq(pnr_filter_override(&filter, PNR_FILTER_EXCLUDE, "app.*"), 0);
    cr_expect_eq(judge("app.other", "f", "/other.py"), PNR_FILTER_EXCLUDED);
    cr_expect_eq(judge("app.test", "f", "/test.py"), PNR_FILTER_EXCLUDED);
    cr_expect_eq(judge("json", "f", "/json.py"), PNR_FILTER_EXCLUDED);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(pnr_filter_override(&filter, i % 2 ? PNR_FILTER_INCLUDE : PNR_FILTER_EXCLUDE, "x"), 0);
    cr_expect_eq(judge("x", "f", "/x.py"), PNR_FILTER_RECORDED);
    cr_expect_eq(filter.n, 3);
}
