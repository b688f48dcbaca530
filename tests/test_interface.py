"""docs/api.md describes the Python interface as it is: signatures with their defaults, and all that it offers. It needs
no build. docs/generate.py makes the table of keywords."""

import inspect
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "recorder"))
import panopticon_rec

TEXT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def parameters(signature):
    """Name, kind and default of each parameter; annotations and self are left out."""
    return [(one.name, one.kind, one.default) for one in signature.parameters.values() if one.name != "self"]


def written(text):
    """The signature that a page has between parentheses."""
    names = {}
    exec(f"def described({text}): pass", names)
    return inspect.signature(names["described"])


class Interface(unittest.TestCase):
    maxDiff = None

    def documented(self):
        """(dotted name, object, text between its parentheses) of each line that is a signature."""
        found = re.findall(r"^    (?:class )?panopticon_rec\.([\w.]+)\((.*)\)$", TEXT, re.M)
        self.assertTrue(found)
        for name, text in found:
            thing = panopticon_rec
            for part in name.split("."):
                thing = getattr(thing, part)
            yield name, thing, text

    def test_signatures(self):
        for name, thing, text in self.documented():
            with self.subTest(name):
                self.assertEqual(parameters(written(text)), parameters(inspect.signature(thing)))

    def test_all_is_documented(self):
        """What the module offers, and the public methods of its classes. `record` is another name of Recorder."""
        names = {name for name, _, _ in self.documented()} | set(re.findall(r"^### (\w+)$", TEXT, re.M))
        wanted = set()
        for name in panopticon_rec.__all__:
            thing = getattr(panopticon_rec, name)
            name = thing.__name__
            wanted.add(name)
            if inspect.isclass(thing):
                wanted |= {f"{name}.{method}" for method, function in vars(thing).items()
                           if inspect.isfunction(function) and not method.startswith("_")}
        self.assertEqual(wanted - names, set())
        self.assertIn("panopticon_rec.record", TEXT)
        self.assertIs(panopticon_rec.record, panopticon_rec.Recorder)


if __name__ == "__main__":
    unittest.main()
