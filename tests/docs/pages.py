"""The pages of the documentation, taken apart into blocks of code, and a user's shell that runs them.

    for block in blocks(path):
        status, output = user.run(block)

A block is fenced and has a language, or is indented. An indented block is of commands, unless it shows how a command or
a function is called: those have `[options]`, or parentheses. A comment before a block says what the page cannot show:

    <!-- not run: needs a browser -->       why it is not run: what it needs, or what it is
    <!-- needs: fastapi panopticon-rec -->  what it needs: modules; what pip has installed, with a `-` in its name; a file
                                            of a module: `panopticon_rec/bundle.js`; a version: `python3.12` or later.
                                            It is not run without them
    <!-- file: api.py -->                   it is the text of this file, which the blocks after it use
    <!-- serves: http://127.0.0.1:8000/ --> a server, which ends by SIGTERM once it has answered this request

A comment before the first block, `<!-- not run on this page: REASON -->`, holds for all blocks of the page.

PANOPTICON_BUILD    the build directory, or `installed`: what pip has installed for PANOPTICON_PYTHON   [build/release]
PANOPTICON_PYTHON   the interpreter that is `python3`   [the running one]
"""

import collections
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
IS_INSTALLED = os.environ.get("PANOPTICON_BUILD") == "installed"
BUILD = pathlib.Path(os.environ.get("PANOPTICON_BUILD", ROOT / "build/release")).resolve()
PYTHON = os.environ.get("PANOPTICON_PYTHON", sys.executable)
SECONDS = 100
SHELL = {"sh", "bash"}
SHOWN = {"text", "json", "ini", "toml", "yaml", "dockerfile", "html", "diff", "c", "jinja", "mermaid"}      # not run
PORT = "8000"                           # in the pages; another one that is free in its place
COMMAND = f"""#!{PYTHON}
import sys
from panopticon_rec.command import main
sys.exit(main())
"""                                     # as pip makes it
FORM_OF_CALL = re.compile(r"\[options|^[\w.]+ CAPTURE|^(?:class )?[\w.]+\(.*\)$", re.M)
MARKERS = ("not run", "needs", "file", "serves")

# line: its first one, from 1. language: of a fence; "sh" for an indented block. markers: dict of MARKERS to text.
Block = collections.namedtuple("Block", "line language text markers")


def pages():
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path):
    """Yield the blocks of a page. Raises ValueError for a fence without a language or end, or an unknown marker."""
    lines = path.read_text(encoding="utf-8").splitlines()
    page_markers, before, number, is_list = {}, [], 0, False
    while number < len(lines):
        line, first = lines[number], number + 1
        number += 1
        if line.startswith("```"):
            end = next((n for n in range(number, len(lines)) if lines[n].rstrip() == "```"), None)
            if not line[3:].strip() or end is None:
                raise ValueError(f"{path.name}:{first}: a fence without a language, or without an end")
            text, number = lines[number:end], end + 1
            yield Block(first, line[3:].split()[0], "\n".join(text) + "\n", markers(path, first, before, page_markers))
        elif line.startswith("    ") and not is_list and not lines[number - 2].strip():
            while number < len(lines) and (lines[number].startswith("    ") or not lines[number].strip()):
                number += 1
            text = "\n".join(one[4:] for one in lines[first - 1:number])
            if not FORM_OF_CALL.search(text):
                yield Block(first, "sh", text.rstrip() + "\n", markers(path, first, before, page_markers))
        elif found := re.fullmatch(r"<!-- not run on this page: (.+) -->", line):
            page_markers = {"not run": found[1]}
        elif line.startswith("<!-- "):
            before.append(line)
            continue
        elif line.strip():
            is_list = bool(re.match(r"[-*] |\d+\. ", line)) or is_list and line.startswith(" ")
        if line.strip():
            before = []


def markers(path, line, before, page_markers):
    found = dict(page_markers)
    for comment in before:
        kind, colon, text = comment.removeprefix("<!-- ").removesuffix(" -->").partition(": ")
        if not colon or kind not in MARKERS:
            raise ValueError(f"{path.name}:{line}: {comment}: such comments before a block are {', '.join(MARKERS)}")
        found[kind] = text
    return found


def find(name):
    """Return the Python that fails unless there is what a block needs."""
    if version := re.fullmatch(r"python(\d+)\.(\d+)", name):
        return f"import sys; sys.exit(sys.version_info < ({version[1]}, {version[2]}))"
    module, slash, file = name.partition("/")
    if slash:
        return f"from importlib import resources; (resources.files('{module}') / '{file}').read_bytes()"
    return f"from importlib import metadata; metadata.distribution('{name}')" if "-" in name else f"import {name}"


class User:
    """Runs blocks of a page, one after another, in a folder that has the files of tests/docs/files, and run.pnr."""

    def __init__(self):
        self._all = pathlib.Path(tempfile.mkdtemp())
        self.folder = self._all / "work"
        shutil.copytree(HERE / "files", self.folder)
        programs = self._all / "bin"
        programs.mkdir()
        self._add_program(programs / "python3", f'#!/bin/sh\nexec {PYTHON} "$@"\n')
        before = [str(programs), os.path.dirname(PYTHON)]
        self._env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PANOPTICON"))}
        self._env |= {"HOME": str(self._all), "PYTHONDONTWRITEBYTECODE": "1"}
        if not IS_INSTALLED:
            self._add_program(programs / "panopticon", COMMAND)
            self._env["PYTHONPATH"] = str(BUILD)
            before.insert(1, f"{BUILD}/bin")
        self._env["PATH"] = ":".join([*before, os.environ["PATH"]])
        self._run(["python3", "-m", "panopticon_rec", "-q", "app.py"])

    @staticmethod
    def _add_program(path, text):
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def close(self):
        shutil.rmtree(self._all, ignore_errors=True)

    def missing(self, block):
        """Return what the block needs and this Python does not have."""
        return [name for name in block.markers.get("needs", "").split()
                if self._run(["python3", "-c", find(name)])[0] != 0]

    def run(self, block):
        """Return (status, what it printed). status: 0 if it works; else an exit status, or text about the fault."""
        if "file" in block.markers:
            (self.folder / block.markers["file"]).write_text(block.text, encoding="utf-8")
            return 0, ""
        if "serves" in block.markers:
            return self._serve(block)
        if block.language == "python":
            return self._run(["python3", "-c", f"from sample import *\n{block.text}"])
        return self._run(["bash", "-e", "-o", "pipefail", "-c", block.text])

    def _start(self, command):
        return subprocess.Popen(command, cwd=self.folder, env=self._env, stdin=subprocess.DEVNULL, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)

    def _run(self, command):
        process = self._start(command)
        try:
            output, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "did not end", process.communicate()[0]
        return process.returncode, output

    def _serve(self, block):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        process = self._start(["bash", "-c", f"exec {block.text.replace(PORT, port).strip()}"])
        answer = self._ask(block.markers["serves"].replace(PORT, port), process)
        process.terminate()
        try:
            output, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "did not end", process.communicate()[0]
        if answer != 200 or process.returncode not in (0, -signal.SIGTERM):
            return f"answered {answer}, ended with {process.returncode}", output
        return 0, output

    @staticmethod
    def _ask(url, process):
        """Return the status of the answer, once there is one."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and process.poll() is None:
            try:
                with urllib.request.urlopen(url, timeout=SECONDS) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                return error.code
            except OSError:
                time.sleep(0.1)
        return None
