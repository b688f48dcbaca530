"""The list of supported versions of CPython, recorder/cpython/versions.h, and everything else that names them."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHECKED_ELSEWHERE = {"3.11"}            # Debian's own Python, which ./test takes


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def supported(name):
    return int(re.search(rf"^#define CPYTHON_{name} (\d+)", read("recorder/cpython/versions.h"), re.MULTILINE)[1])


OLDEST, NEWEST, MONITORING = map(supported, ("OLDEST", "NEWEST", "MONITORING"))
SUPPORTED = [f"3.{minor}" for minor in range(OLDEST, NEWEST + 1)]


class Versions(unittest.TestCase):
    def found(self, path, pattern):
        """What the groups of the pattern match in a file, in which it stands once."""
        found = re.findall(pattern, read(path), re.MULTILINE)
        self.assertEqual(len(found), 1, (path, pattern))
        return found[0]

    def test_documents(self):
        """All documents that name the oldest and the newest version name the same ones. The porting guide is about the
        next version; benchmarks name those that were measured."""
        claims = {str(path.relative_to(ROOT)): re.findall(r"CPython (3\.\d+) (?:to|-) (3\.\d+)", read(path))
                  for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("specs/*.md"), *ROOT.glob("docs/*.md")])
                  if path.name not in ("CHANGELOG.md", "porting.md")}
        claims = {path: found for path, found in claims.items() if found}
        self.assertLessEqual({"README.md", "specs/recording.md"}, claims.keys())
        self.assertEqual({claim for found in claims.values() for claim in found}, {(SUPPORTED[0], SUPPORTED[-1])},
                         claims)

    def test_specification(self):
        path = "specs/recording.md"
        self.assertEqual(self.found(path, r"\| `frame`, the default \| (3\.\d+) to (3\.\d+) \|"),
                         (SUPPORTED[0], SUPPORTED[-1]))
        self.assertEqual(self.found(path, r"\| `monitoring` \| (3\.\d+) and later \|"), f"3.{MONITORING}")
        self.assertNotIn(f"3.{NEWEST + 1}", read(path))

    def test_package(self):
        self.assertEqual(self.found("pyproject.toml", r'^requires-python = "(.*)"'), f">=3.{OLDEST},<3.{NEWEST + 1}")
        self.assertEqual(re.findall(r'"Programming Language :: Python :: (3\.\d+)"', read("pyproject.toml")), SUPPORTED)

    def test_continuous_integration(self):
        """All supported versions are tested."""
        others = re.search(r"^others=\(\n(.*?)^\)", read(".ci/run"), re.MULTILINE | re.DOTALL)[1]
        tested = {line.split()[1] for line in re.findall(r'"(.+)"', others)}
        self.assertEqual(sorted(tested | CHECKED_ELSEWHERE), SUPPORTED)

    def test_layout(self):
        """The table of offsets has a column for each, in order, and selects it."""
        text = read("recorder/cpython/layout.h")
        selected = re.findall(r"#(?:el)?if PY_MINOR_VERSION == (\d+)\n#define CPYTHON_BY_VERSION\((.*)\) v(\d+)\n", text)
        columns = ", ".join(f"v{minor}" for minor in range(OLDEST, NEWEST + 1))
        self.assertEqual(selected, [(str(minor), columns, str(minor)) for minor in range(OLDEST, NEWEST + 1)])
        rows = re.findall(r"^CPYTHON_(OFFSET|EXPECT)\((.*)\);", text, re.MULTILINE)
        self.assertTrue(rows)
        for _, row in rows:
            self.assertEqual(len(row.split(",")), 3 + len(SUPPORTED), row)

    def test_the_oldest(self):
        """What is refused at once, without the extension."""
        self.assertEqual(self.found("recorder/panopticon_rec/__init__.py", r"sys\.version_info < \(3, (\d+)\)"), str(OLDEST))
        self.assertEqual(self.found("recorder/panopticon_rec/__init__.py", r"records CPython (3\.\d+) and later"), SUPPORTED[0])
        self.assertEqual(self.found("recorder/panopticon_rec/follow/sitecustomize.py", r"sys\.version_info >= \(3, (\d+)\)"),
                         str(OLDEST))

    def test_free_threaded(self):
        """Where the one version stands whose free-threaded build can be recorded."""
        version = str(supported("FREE_THREADED"))
        self.assertEqual(self.found("recorder/panopticon_rec/__init__.py", r"^FREE_THREADED = \(3, (\d+)\)"), version)
        self.assertEqual(self.found("recorder/panopticon_rec/__init__.py", r"no free-threaded Python but 3\.(\d+)"), version)
        self.assertEqual(self.found("packaging/hatch_build.py", r"no free-threaded Python but 3\.(\d+)"), version)
        self.assertEqual(self.found("packaging/hatch_build.py", r'"Py_GIL_DISABLED"\) and .* != \(3, (\d+)\)'), version)
        self.assertEqual(self.found("docs/compatibility.md", r"^\| 3\.(\d+) \| free-threaded \| x86-64 \|"), version)
        self.assertEqual(self.found("docs/limits.md", r"free-threaded build of CPython 3\.(\d+)\]"), version)

    def test_help(self):
        """The help of --engine. tests/format/test_options.py compares docs/command-line.md, which is made from it."""
        path = "recorder/panopticon_rec/options.py"
        self.assertEqual(self.found(path, r"`monitoring` \(CPython (3\.\d+) and later\)"), f"3.{MONITORING}")
        wrong = re.findall(r".*monitoring.{0,12}\(.*", read("recorder/panopticon_rec/command_line.py"))
        self.assertEqual(wrong, [], "this is left to the table of options")

    def test_porting_guide(self):
        """It speaks of the next version, and the files that it links to are there."""
        text = read("docs/porting.md")
        self.assertIn(f"when CPython 3.{NEWEST + 1} comes", text)
        links = re.findall(r"\]\(([^)#:]+)\)", text)
        self.assertTrue(links)
        self.assertEqual([link for link in links if not (ROOT / "docs" / link).exists()], [])

    def test_tests_ask_the_list(self):
        """No test decides by a version of its own whether there is an engine, or greenlets."""
        for path in sorted((ROOT / "tests" / "e2e").glob("*.py")):
            wrong = re.findall(r".*(?:skip\w*\(|ENGINES = |WAYS = |MODES = ).*VERSION.*(?:engine|greenlet|monitoring).*",
                               path.read_text(encoding="utf-8"))
            self.assertEqual(wrong, [], path.name)


if __name__ == "__main__":
    unittest.main()
