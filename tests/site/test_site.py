"""The site of the documentation, as docs/build has made it: it is whole, and loads nothing from another server."""

import html.parser
import json
import pathlib
import subprocess
import unittest
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SITE = ROOT / "build" / "site"


class Page(html.parser.HTMLParser):
    """What a page loads, where its links lead, and which anchors it has."""

    def __init__(self, path):
        super().__init__()
        self.loads, self.links, self.anchors = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a":
            self.links += [given["href"]] if given.get("href") else []
        elif tag != "link" or given.get("rel") in ("stylesheet", "icon", "preload", "modulepreload"):
            self.loads += [given[name] for name in ("src", "href") if given.get(name)]


class Site(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        built = subprocess.run([ROOT / "docs" / "build"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if built.returncode:
            raise AssertionError(f"docs/build ended with {built.returncode}:\n{built.stdout}")
        cls.pages = {path: Page(path) for path in SITE.rglob("*.html") if path.name != "404.html"}

    def test_all_documents_are_pages(self):
        wanted = {path.relative_to(ROOT / "docs") for path in ROOT.glob("docs/*.md")}
        wanted |= {path.relative_to(ROOT) for folder in (".", "specs") for path in (ROOT / folder).glob("*.md")}
        wanted -= {pathlib.Path("README.md")}   # the page of the repository; the site begins with docs/index.md
        self.assertGreater(len(wanted), 20)
        found = {path.relative_to(SITE) for path in self.pages}
        self.assertEqual({path.with_suffix(".html") for path in wanted} - found, set())

    def test_nothing_is_loaded_from_elsewhere(self):
        for path, page in self.pages.items():
            self.assertTrue(page.loads)
            self.assertEqual([one for one in page.loads if urllib.parse.urlsplit(one).netloc], [], path)

    def test_links(self):
        """Each leads to a file of the site, and to an anchor that is in it."""
        wrong = []
        for path, page in self.pages.items():
            for link in [*page.links, *page.loads]:
                parts = urllib.parse.urlsplit(link)
                if parts.scheme:
                    continue
                there = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
                anchor = urllib.parse.unquote(parts.fragment)
                if not there.is_file() or anchor and there in self.pages and anchor not in self.pages[there].anchors:
                    wrong.append(f"{path.relative_to(SITE)}: {link}")
        self.assertEqual(wrong, [])

    def test_search_index(self):
        """It lies in a script, which a page can load without a server, and has all pages."""
        text = (SITE / "search" / "search_index.js").read_text(encoding="utf-8")
        found = {entry["location"].partition("#")[0] for entry in json.loads(text.partition("=")[2])["docs"]}
        self.assertEqual({path.relative_to(SITE).as_posix() for path in self.pages} - found, set())


if __name__ == "__main__":
    unittest.main()
