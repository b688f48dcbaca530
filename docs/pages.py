"""A hook of mkdocs, which mkdocs.yml names: pages, pictures and sources outside of docs/ become part of the site, and
links lead to where they are there.

In the repository all links between documents are relative to the file, so that they work where it is browsed. On the
site docs/ is the top folder, and whatever lies outside of it keeps its path. A source file that a page links to is a
plain text file of the site. A link to a folder becomes its name, since the site has no listings.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md", "packaging/README.md",
         *(f"specs/{path.name}" for path in sorted((ROOT / "specs").glob("*.md")))]
SHOWN_AS_THEY_ARE = {".md", ".png", ".svg"}
CODE = re.compile(r"^```.*?^```|^(?:    [^\n]*\n)+", re.M | re.S)
LINK = re.compile(r"(?<!\\)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
DEFINITION = re.compile(r"^(\[[^\]]+\]: )([^\s#]+)(#\S*)?()$", re.M)


def in_repository(uri):
    """Return the path of a page in the repository, given that on the site."""
    return f"docs/{uri}" if (ROOT / "docs" / uri).exists() else uri


def site_path(path):
    """Return the path on the site of what lies at this path in the repository."""
    if path == "README.md":
        return "index.md"
    path = path.removeprefix("docs/")
    return path if Path(path).suffix in SHOWN_AS_THEY_ARE else f"{path}.txt"


def target_of(uri, link):
    """Return the path in the repository to which a link of a page leads; None when it leads to another server."""
    if re.match(r"\w+:", link):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(in_repository(uri)), link))


def links(text):
    prose = CODE.sub("", text)
    return [found[2] for pattern in (LINK, DEFINITION) for found in pattern.finditer(prose)]


def on_files(files, config):
    """Add what lies outside of docs/: the pages, what pages link to, and the script that docs/build has fetched."""
    def add(path, uri):
        if uri not in files.src_uris:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))

    add("build/docs-environment/package/shim/index.js", config.extra["polyfills"][0])
    for path in PAGES:
        add(path, site_path(path))
    for page in list(files.documentation_pages()):
        for link in links(page.content_string):
            target = target_of(page.src_uri, link)
            if target and (ROOT / target).is_file():
                add(target, site_path(target))
    return files


def on_page_markdown(markdown, page, config, files):
    """Make the links those of the site."""
    uri = page.file.src_uri

    def replace(found):
        target = target_of(uri, found[2])
        if target is None:
            return found[0]
        if (ROOT / target).is_dir():
            return found[1] if "`" in found[1] else f"`{found[1]}`"
        link = posixpath.relpath(site_path(target), posixpath.dirname(uri)) + (found[3] or "")
        return f"[{found[1]}]({link})" if found.re is LINK else f"{found[1]}{link}"

    def replace_in_prose(text):
        text = DEFINITION.sub(replace, LINK.sub(replace, text))
        # In a table GitHub wants a backslash before the bar of a code span, and shows it without.
        return re.sub(r"^\|.*", lambda row: re.sub(r"`[^`]*`", lambda code: code[0].replace("\\|", "|"), row[0]), text,
                      flags=re.M)

    parts, at = [], 0
    for code in CODE.finditer(markdown):
        parts += [replace_in_prose(markdown[at:code.start()]), code[0]]
        at = code.end()
    return "".join([*parts, replace_in_prose(markdown[at:])])
