"""The type hints of the recorder's options name those of the table, and no others. They are read as text:
tests/integrations has what needs a type checker."""

import ast
import importlib.util
import pathlib
import unittest

PACKAGE = pathlib.Path(__file__).resolve().parent.parent / "recorder" / "panopticon_rec"


class Hints(unittest.TestCase):
    def test_options(self):
        spec = importlib.util.spec_from_file_location("options", PACKAGE / "options.py")
        options = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(options)
        tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
        table, = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "_Options")
        self.assertEqual([line.target.id for line in table.body], list(options.KEYWORDS))

    def test_all(self):
        """Both list the same names."""
        listed = []
        for name in "__init__.py", "__init__.pyi":
            for node in ast.parse((PACKAGE / name).read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                    listed.append(ast.literal_eval(node.value))
        self.assertEqual(listed[0], listed[1])


if __name__ == "__main__":
    unittest.main()
