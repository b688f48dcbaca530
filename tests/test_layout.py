"""The one-way rules: recorder -> format <- convert <- tables, and who may know what. It reads the #include lines and no more."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = {"format": {"format"}, "recorder": {"recorder", "format"}, "convert": {"convert", "format"},
           "tables": {"tables", "convert", "format"}}
CONVERTER = ["read", "slices", "write"]         # folders of convert/, which see those before them
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.[ch]"))

# Headers of the C library and the kernel, as far as anything here may need them.
LIBC = re.compile(r"(sys|linux)/\w+\.h|(" + "|".join("""
    assert ctype cpuid dirent dlfcn endian errno fcntl fenv fnmatch float ftw getopt inttypes limits locale math poll
    pthread sched semaphore signal stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings threads time uchar
    unistd wchar x86intrin
    """.split()) + r")\.h")


def includes(path):
    """(line number, "<" or the quote, name) of each #include."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if found := re.match(r'\s*#\s*include\s*([<"])([^>"]+)', line):
            yield number, *found.groups()


def may_see_python(path):
    return path.parent == ROOT / "recorder" / "cpython" or path == ROOT / "tables" / "module.c"


class Layout(unittest.TestCase):
    def check(self, rule):
        """rule(path, quote, name) returns what is wrong with an #include, or None."""
        wrong = [f"{path.relative_to(ROOT)}:{number}: {message}" for path in SOURCES
                 for number, quote, name in includes(path) if (message := rule(path, quote, name))]
        self.assertTrue(SOURCES)
        self.assertEqual(wrong, [])

    def test_folders(self):
        def rule(path, quote, name):
            if quote == "<":
                return None
            target = next((base / name for base in (path.parent, ROOT) if (base / name).exists()), None)
            if target is None:
                return f"{name} is not there"
            here, there = (p.resolve().relative_to(ROOT).parts[0] for p in (path, target))
            return None if there in FOLDERS[here] else f"{here} must not see {there}"
        self.check(rule)

    def test_converter(self):
        """Reading knows nothing of slices, and these nothing of how they are written; all know what works for all."""
        def rank(path):
            if path.parent == ROOT / "convert":
                return len(CONVERTER) if path.stem not in ("jobs", "diagnostics") else 0
            return CONVERTER.index(path.parent.name)

        def rule(path, quote, name):
            target = next((base / name for base in (path.parent, ROOT) if (base / name).exists()), None)
            if quote == "<" or not path.is_relative_to(ROOT / "convert") or not target.is_relative_to(ROOT / "convert"):
                return None
            return f"must not see {name}" if rank(target) > rank(path) else None
        self.check(rule)

    def test_libraries(self):
        def rule(path, quote, name):
            if quote == '"' or LIBC.fullmatch(name) or may_see_python(path):
                return None
            if name == "zstd.h" and path.parent.name == "format":
                return None
            if name in ("zlib.h", "zstd.h") and path == ROOT / "convert" / "write" / "output.c":
                return None
            return f"<{name}> is none of the libraries that {path.parent.name} knows"
        self.check(rule)

    def test_python(self):
        def rule(path, quote, name):
            if may_see_python(path) or not re.search(r"Python\.h|(^|/)(py|cpython)", name):
                return None
            return f"only recorder/cpython/ and tables/module.c may see {name}"
        self.check(rule)

    def test_json(self):
        knows = [str(path.relative_to(ROOT)) for path in SOURCES if r"\"ph\"" in path.read_text(encoding="utf-8")]
        self.assertLessEqual(set(knows), {"convert/write/trace_json.c"})


if __name__ == "__main__":
    unittest.main()
