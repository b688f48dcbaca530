"""Writes a capture as one HTML page, which needs no network: `panopticon report run.pnr -o run.html`.

panopticon-convert adds up the capture; page.html, page.css and page.js show that, or a comparison (command/diff), with the libraries that `scons
report` bundles (bundle.js, bundle.css, licences.txt). The names in a capture are anybody's text: they reach the page as
JSON, and its policy allows no script but the two that are written here.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import subprocess
import sys

import panopticon_rec

from ..files import write_file

FOLDER = os.path.dirname(os.path.abspath(__file__))
DESCRIPTION = """Writes one HTML page that needs no network: flame graph, functions, longest calls, threads, tasks, and
what is missing. Options of panopticon-convert that select a part of the capture work here, too: --from, --to,
--process, --thread, --include, --exclude, --min-duration, --max-depth."""


def main(words):
    """Run the subcommand. Returns its exit status: that of the converter, 2 if there is no page."""
    parser = argparse.ArgumentParser("panopticon report", "panopticon report CAPTURE [-o FILE] [options]", DESCRIPTION,
                                     allow_abbrev=False)
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write [CAPTURE's name with .html]; - is "
                        "standard output")
    parser.add_argument("-q", "--quiet", action="store_true", help="no last line; warnings are still shown")
    end = words.index("--") if "--" in words else len(words)
    options, others = parser.parse_known_args(words[:end])
    try:
        data, status = convert(others, words[end + 1:])
        if data is not None:
            write(page(data, title(data)), options.output or default_output(data["capture"]), options.quiet)
    except ReportError as error:
        sys.stderr.write(f"panopticon report: {error}\n")
        return 2
    return status


class ReportError(Exception):
    """There is no page, for the reason that the text gives."""


def convert(words, captures):
    """Return what the converter gathers, or None, and its exit status. words: options, and maybe the capture. captures:
    what follows `--`."""
    converter = panopticon_rec.find_converter()
    if not converter:
        raise ReportError(panopticon_rec.NO_CONVERTER)
    # The first word is the name under which the converter reports what is wrong.
    finished = subprocess.run(["panopticon report", *words, "--quiet", "--format=report", "--output=-", "--", *captures],
                              executable=converter, stdout=subprocess.PIPE)
    if finished.returncode not in (0, 1) or not finished.stdout.startswith(b"{"):      # such as that of --version
        sys.stdout.buffer.write(finished.stdout)
        return None, finished.returncode if finished.returncode >= 0 else 2
    data = json.loads(finished.stdout)
    data["options"] = [word for word in words if word.rstrip("/") != data["capture"]]
    return data, finished.returncode


def default_output(capture):
    folder, name = os.path.split(os.path.normpath(capture))
    if name in ("", ".", "..") or "\ufffd" in capture:          # U+FFFD: the name is no UTF-8
        raise ReportError("give the page a name with -o")
    return os.path.join(folder, name.removesuffix(".pnr") + ".html")


def page(data, title):
    """Return the text of a page: of a capture, or of the comparison that panopticon diff makes. Raises ReportError."""
    parts = {name: read(name) for name in ("page.css", "page.js", "bundle.css", "bundle.js", "licences.txt")}
    scripts = [parts["bundle.js"], parts["page.js"]]
    parts["policy"] = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
                               for text in scripts)
    parts["licences.txt"] = escape(parts["licences.txt"])
    parts["title"] = escape(f"{title} \u2013 Panopticon")
    # No `<`: then no text in it ends the element.
    parts["data"] = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return re.sub(r"\{\{([\w.]+)\}\}", lambda found: parts[found[1]], read("page.html"))


def read(name):
    try:
        with open(os.path.join(FOLDER, name), encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        raise ReportError(f"{name} is missing here: run `scons report` in the checkout, which needs npm, and install again, "
                          "or take the package from PyPI") from None


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def title(data):
    processes = [process for process in data["processes"] if process["shown"]] or data["processes"]
    return processes[0]["name"]


def write(text, path, is_quiet):
    """Write the page to standard output, to a device, or as a file."""
    content = text.encode()
    try:
        if path == "-":
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
            return
        write_file(path, [content])
    except OSError as error:
        raise ReportError(f"{'standard output' if path == '-' else path}: cannot write: {error.strerror}") from None
    if not is_quiet and os.path.isfile(path):
        sys.stderr.write(f"panopticon: {path}, {len(content) / 1e6:.1f} MB: open it in a browser, it needs no network\n")
