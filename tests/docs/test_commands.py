"""Each command of the documentation works: the blocks of README.md and docs/*.md are run as a user would run them, in
the order of the page, in a folder of its own. pages.py describes the comments that say what cannot be run, and why."""

import json
import re
import unittest

import pages

RECIPES = pages.ROOT / "docs" / "recipes.md"


def run_block(block):
    def test(self):
        if "not run" in block.markers:
            self.skipTest(f"not run: {block.markers['not run']}")
        if missing := self.user.missing(block):
            self.skipTest(f"{', '.join(missing)} not installed for this Python")
        status, output = self.user.run(block)
        self.assertEqual(status, 0, f"{block.text}{output}")

    return test


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.user = pages.User()
        cls.addClassCleanup(cls.user.close)


def add_pages(namespace):
    """Add a class of tests for each page, and to it a test for each block."""
    for path in pages.pages():
        tests = {f"test_line_{block.line:04}": run_block(block) for block in pages.blocks(path)
                 if block.language not in pages.SHOWN or "file" in block.markers}
        name = f"Page_{path.stem.replace('-', '_')}"
        if tests:
            namespace[name] = type(name, (Page,), {**tests, "__module__": __name__})


class Pages(unittest.TestCase):
    def test_languages(self):
        """Each block has a language that is run, or one that is known to be only shown."""
        known = pages.SHELL | pages.SHOWN | {"python"}
        self.assertEqual([f"{path.name}:{block.line}: {block.language}" for path in pages.pages()
                          for block in pages.blocks(path) if block.language not in known], [])

    def test_example(self):
        """The program of the tutorial is the one from which its pictures are made."""
        texts = {block.markers.get("file"): block.text for block in pages.blocks(pages.ROOT / "docs" / "tutorial.md")}
        example = (pages.ROOT / "examples" / "slow_await.py").read_text(encoding="utf-8")
        self.assertEqual(texts["slow_await.py"], example)


class Services(unittest.TestCase):
    """The command lines of the unit of systemd and of the Dockerfile, run as they are, except for their folders."""

    def find(self, language):
        return next(block.text for block in pages.blocks(RECIPES) if block.language == language)

    def run_command(self, command, folder):
        user = pages.User()
        self.addCleanup(user.close)
        (user.folder / folder).mkdir()
        status, output = user.run(pages.Block(1, "sh", command, {}))
        self.assertEqual(status, 0, output)
        self.assertTrue((user.folder / folder / "run.pnr").is_dir(), output)

    def test_systemd(self):
        command = re.search(r"^ExecStart=((?:.*\\\n)*.*)$", self.find("ini"), re.M)[1]
        for folder in "/opt/shop/bin/", "/opt/shop/":
            command = command.replace(folder, "")
        self.run_command(f"STATE_DIRECTORY=state\n{command}", "state")

    def test_container(self):
        words = json.loads(re.search(r"^CMD ((?:.*\\\n)*.*)$", self.find("dockerfile"), re.M)[1].replace("\\\n", ""))
        self.run_command(" ".join(words).replace("/traces/", "traces/"), "traces")


add_pages(globals())
