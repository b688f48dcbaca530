"""Knowledge that stands in more than one place is the same in all of them: comments and documents name functions and files
that exist, and agree on versions and suffixes."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PRODUCT = [ROOT / folder for folder in ("format", "recorder", "convert")]
SOURCES = sorted(path for folder in (*PRODUCT, ROOT / "tests", ROOT / "bench") for path in folder.rglob("*.[ch]"))
SCRIPTS = sorted(path for folder in (*PRODUCT, ROOT / "tests", ROOT / "bench") for path in folder.rglob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/*.md")])
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)

# Files of others: a path below one of these folders is one of CPython's.
CPYTHON = ("Include/", "Lib/", "Modules/", "Objects/", "Parser/", "Python/")
OTHERS = {"Python.h", "greenlet.h", "pybind11.h", "pycore_interpframe.h", "_asynciomodule.c", "json.py", "locale.py"}
EXAMPLES = re.compile(r"(app|m|[A-Z]+)\.(py|json)|(build|[A-Z]+)/.*")
FILE = re.compile(r"(?<![\w*/.<>-])((?:[\w.-]+/)*[\w-]+\.(?:c|h|py|def|md|json))(?!\w)")


def read(path):
    return path.read_text(encoding="utf-8")


def comments(path):
    """(line number, text) of each comment of a C source or a Python script, or of a whole document."""
    text = read(path)
    if path in DOCUMENTS:
        return [(1, text)]
    found = COMMENT if path in SOURCES else re.compile(r'^"""[\s\S]*?"""|#[^\n]*')
    return [(1 + text.count("\n", 0, one.start()), one[0]) for one in found.finditer(text)]


def named(path, pattern):
    """(what stands at a match of the pattern in comments, where)."""
    for line, text in comments(path):
        for one in re.finditer(pattern, text):
            yield one[0], f"{path.relative_to(ROOT)}:{line + text.count(chr(10), 0, one.start())}"


class Drift(unittest.TestCase):
    def test_functions_that_comments_name(self):
        """What has the prefix of a module, such as rec_ or flows_, stands somewhere in the code, too."""
        code = {word for path in SOURCES for word in re.findall(r"\w+", COMMENT.sub(" ", read(path)))}
        modules = {path.stem for folder in PRODUCT for path in folder.rglob("*.h")}
        code |= {path.stem for path in SOURCES}
        names = rf"\b(?:{'|'.join(sorted(modules | {'rec', 'pnr'}))})_\w*[a-z0-9]\b"
        found = {(name, place) for path in SOURCES for name, place in named(path, names)}
        self.assertGreater(len(found), 100)
        self.assertEqual(sorted(f"{place}: {name}" for name, place in found if name not in code), [])

    def test_files_that_comments_and_documents_name(self):
        known = {path.name for path in ROOT.rglob("*") if not {".git", "build"} & set(path.parts)}
        wrong = []
        for path in (*SOURCES, *SCRIPTS, *DOCUMENTS):
            for name, place in named(path, FILE):
                if name.startswith(CPYTHON) or name in OTHERS or EXAMPLES.fullmatch(name):
                    continue
                is_there = name in known if "/" not in name else any((base / name).exists() for base in (ROOT, path.parent))
                if not is_there:
                    wrong.append(f"{place}: {name}")
        self.assertEqual(wrong, [])

    def test_versions_of_cpython(self):
        """The header has them: the oldest version that compiles, and the first one that is not known yet."""
        numbers = re.findall(r"PY_VERSION_HEX < 0x03([0-9A-F]{2})0000", read(ROOT / "recorder/cpython/cpython.h"))
        oldest, newest = int(numbers[0], 16), int(numbers[1], 16) - 1
        claims = [(path.relative_to(ROOT), *map(int, claim)) for path in DOCUMENTS if path.parent != ROOT / "bench"
                  for claim in re.findall(r"CPython 3\.(\d+) (?:to|-) 3\.(\d+)", read(path))]
        self.assertGreater(len(claims), 1)
        self.assertEqual({claim[1:] for claim in claims}, {(oldest, newest)}, claims)
        tested = {11, *map(int, re.findall(r'^    "\w+ +3\.(\d+) ', read(ROOT / ".ci/run"), re.M))}       # 3.11: Debian's
        self.assertEqual(tested, set(range(oldest, newest + 1)))

    def test_versions_of_panopticon(self):
        numbers = [re.search(pattern, read(ROOT / path), re.M)[1] for path, pattern in (
            ("recorder/panopticon_rec/__init__.py", r'^__version__ = "(.+)"'),
            ("convert/options.h", r'^#define OPTIONS_VERSION "(.+)"'))]
        self.assertEqual(len(set(numbers)), 1, numbers)

    def test_suffixes(self):
        """The recorder's command knows which names of outputs the converter takes, and so does the README."""
        table, = re.findall(r"^CONVERTED = \((.*)\)$", read(ROOT / "recorder/panopticon_rec/__main__.py"), re.M)
        known = set(re.findall(r'"(\.[\w-]+)"', table))
        converter = [set(re.findall(r'"(\.[a-z-]+)"', read(path))) for path in sorted((ROOT / "convert").glob("*.c"))]
        formats, = [found - {".gz", ".zst", ".pnr"} for found in converter if ".pftrace" in found]
        self.assertEqual(known, formats)
        row, = re.findall(r"^\| `--format=FORMAT` .*$", read(ROOT / "README.md"), re.M)
        self.assertEqual(set(re.findall(r"`(\.[\w-]+)`", row)), formats)


if __name__ == "__main__":
    unittest.main()
