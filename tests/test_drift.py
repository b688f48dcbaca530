"""Comments and documents name functions and files that exist. tests/test_versions.py compares the versions of CPython
that they name, tests/format/test_options.py the options, suffixes and the project's own version."""

import os
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PRODUCT = [ROOT / folder for folder in ("format", "recorder", "convert", "tables")]
SOURCES = sorted(path for folder in (*PRODUCT, ROOT / "tests", ROOT / "bench") for path in folder.rglob("*.[ch]"))
SCRIPTS = sorted(path for folder in (*PRODUCT, ROOT / "tests", ROOT / "bench") for path in folder.rglob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/*.md")])
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)

# Files of others: a path below one of these folders is one of CPython's, or one of Linux's.
CPYTHON = ("Include/", "Lib/", "Modules/", "Objects/", "Parser/", "Python/")
LINUX = ("arch/", "kernel/", "mm/")
OTHERS = {"Python.h", "greenlet.h", "pybind11.h", "pycore_interpframe.h", "_asynciomodule.c", "json.py", "locale.py",
          "manage.py", "shop/manage.py"}
EXAMPLES = re.compile(r"(app|file|m|[A-Z]+)\.(py|json)|(build|[A-Z]+)/.*")
FILE = re.compile(r"(?<![\w*/.<>\\-])((?:[\w.-]+/)*[\w-]+\.(?:c|h|py|def|md|json))(?!\w)")


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
    maxDiff = None

    def test_functions_that_comments_name(self):
        """What has the prefix of a module, such as rec_ or flows_, stands somewhere in the code, too. Not what a Python
        class has, as in Profile.snapshot_stats."""
        code = {word for path in SOURCES for word in re.findall(r"\w+", COMMENT.sub(" ", read(path)))}
        modules = {path.stem for folder in PRODUCT for path in folder.rglob("*.h")}
        code |= {path.stem for path in SOURCES}
        names = rf"(?<!\w\.)\b(?:{'|'.join(sorted(modules | {'rec', 'pnr'}))})_\w*[a-z0-9]\b"
        found = {(name, place) for path in SOURCES for name, place in named(path, names)}
        self.assertGreater(len(found), 100)
        self.assertEqual(sorted(f"{place}: {name}" for name, place in found if name not in code), [])

    def test_files_that_comments_and_documents_name(self):
        known = set()
        for _, folders, files in os.walk(ROOT):
            folders[:] = set(folders) - {".git", "build"}       # other tests make and remove files there meanwhile
            known.update(folders, files)
        known |= {name for path in DOCUMENTS for name in re.findall(r"<!-- file: (\S+) -->", read(path))}
        wrong = []
        for path in (*SOURCES, *SCRIPTS, *DOCUMENTS):
            for name, place in named(path, FILE):
                if name.startswith((*CPYTHON, *LINUX)) or name in OTHERS or EXAMPLES.fullmatch(name):
                    continue
                bases = ROOT, ROOT / "recorder", path.parent        # recorder/ is the parent of panopticon_rec
                is_there = name in known if "/" not in name else any((base / name).exists() for base in bases)
                if not is_there:
                    wrong.append(f"{place}: {name}")
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
