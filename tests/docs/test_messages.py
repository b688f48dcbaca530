"""docs/troubleshooting.md explains each message that recorder, converter and command can print, and no other."""

import unittest

import messages


class Messages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sources = messages.of_sources()
        cls.page = messages.of_page()

    def test_sources(self):
        """The sources have messages of each kind."""
        for text in ("recording ends, what was recorded is kept", "block header check does not match",
                     "nothing to run: give a FILE", "run the program with one of those", "out of memory"):
            self.assertTrue([message for message in self.sources if text in message], text)

    def test_explained(self):
        """A part of each message is in the page."""
        self.assertEqual([f"{name}: {message}" for message, name in self.sources.items()
                          if not any(part in message for part in self.page)], [])

    def test_exist(self):
        """What the page explains is a part of a message."""
        self.assertEqual([part for part in self.page if not any(part in message for message in self.sources)], [])

    def test_once(self):
        self.assertEqual(sorted({part for part in self.page if self.page.count(part) > 1}), [])


if __name__ == "__main__":
    unittest.main()
