"""The messages of recorder, converter and command, as they are in the sources, and those that docs/troubleshooting.md
explains. In both, `…` stands for a part that differs."""

import ast
import re

from pages import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
SOURCES = ("recorder", "convert", "format", "tables")
PYTHON_SOURCES = ("recorder", "command")
MIN_LETTERS = 10                        # fewer do not say anything: "… is not …"

# What these functions are given is no message: documentation, conditions, results that were asked for, debugging.
NOT_MESSAGES = {"PyDoc_STRVAR", "_Static_assert", "volatile", "rec_debug", "printf", "fprintf", "puts", "strftime",
                "PUT", "TEXT", "CPYTHON_BY_VERSION", "getenv", "put_word", "writer_format", "text_put", "text_put_utf8"}
# What these files print is the result that was asked for, and so is what they name.
NOT_EXAMINED = {"convert/info.c", "convert/write/call_tree.c", "convert/write/perfetto.c", "convert/write/pstats.c",
                "convert/write/trace.c", "convert/write/top.c", "convert/write/trace_json.c", "convert/identities.c",
                "convert/slices/subjects.c", "recorder/cpython/layout.h", "tables/column.h", "tables/slices.c",
                "tables/functions.c", "tables/stacks.c", "tables/events.c", "tables/names.c"}
# Texts that are parts of no message.
NO_MESSAGES = re.compile(r"The recorder's C side\..*|frame, then monitoring|standard output"
                         r"|(--|%%)?panopticon(-options| report)?:( …:?)?|… more function…"
                         r"|panopticon: process … …: …|\[?raised again|memory, bytes|chunks in use"
                         r"|Exception ignored while calling GC callback …")     # as CPython itself writes it
# The functions in Python whose texts are messages. Exceptions are, too.
REPORTS = {"fail", "exit", "warn", "parse_quantity", "stderr.write", "Refused", "Failed", "make_refusal"}

STRING = r'"(?:\\.|[^"\\\n])*"'
STRINGS = re.compile(rf"{STRING}(?:\s*(?:PRI\w+\s*)?{STRING})*")
CONVERSION = re.compile(r"%%|%[-+ #0]*[\d.*]*(?:hh|h|ll|l|z|j|t)?[a-zA-Z]")


def normal(text):
    return re.sub(r"\s+", " ", re.sub("…+", "…", text.replace("...", "…"))).strip()


def is_message(text):
    return " " in text and len(re.findall(r"[A-Za-z]", text)) >= MIN_LETTERS


def enclosing_call(text, position):
    """Return the name of the function or macro among whose arguments the position is."""
    depth = 0
    for n in range(position - 1, max(0, position - 3000), -1):
        if text[n] in ";{}" and depth == 0:
            return ""
        depth += (text[n] == ")") - (text[n] == "(")
        if depth < 0:
            name = re.search(r"(\w+)\s*$", text[max(0, n - 60):n])
            if name and name[1] not in ("if", "while", "return"):
                return name[1]
            depth = 0
    return ""


def of_c_file(path):
    text = re.sub(rf"/\*.*?\*/|//[^\n]*|^[ \t]*#[^\n]*|{STRING}",
                  lambda found: found[0] if found[0][0] == '"' else re.sub(r"[^\n]", " ", found[0]),
                  path.read_text(encoding="utf-8"), flags=re.S | re.M)
    code = re.sub(STRING, lambda found: '"' + "x" * (len(found[0]) - 2) + '"', text)
    for found in STRINGS.finditer(text):
        if enclosing_call(code, found.start()) in NOT_MESSAGES:
            continue
        joined = "".join(re.findall(r'"((?:\\.|[^"\\\n])*)"', re.sub(r"PRI\w+", '"u"', found[0])))
        if " " in joined:
            yield CONVERSION.sub(lambda found: "%" if found[0] == "%%" else "…",
                                 joined.replace('\\"', '"').replace("\\n", ""))


def text_of(node):
    """Return the text of an expression; what is computed is `…`."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "…"
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left) + text_of(node.right)
    return "…"


def is_report(node):
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        return name.split(".")[-1] in REPORTS or name.endswith("stderr.write") or name.endswith(("Error", "error)"))
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("UNUSABLE", "NO_CONVERTER")


def texts(node):
    """Yield the texts in an expression, each as a whole."""
    if isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp)):
        yield text_of(node)
    else:
        for part in ast.iter_child_nodes(node):
            yield from texts(part)


def of_python_file(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if is_report(node):
            yield from texts(node)


def of_sources():
    """Return dict of each message to the file where it is."""
    found = {}
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.[ch]")):
            name = str(path.relative_to(ROOT))
            if name not in NOT_EXAMINED:
                found |= {normal(text): name for text in of_c_file(path)}
    for folder in PYTHON_SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            found |= {normal(text): str(path.relative_to(ROOT)) for text in of_python_file(path)}
    return {text: name for text, name in found.items() if is_message(text) and not NO_MESSAGES.fullmatch(text)}


def of_page():
    """Return the messages that the page explains: the code in the first column of its tables."""
    return [normal(span) for row in re.findall(r"^\| (.+?) \|", PAGE.read_text(encoding="utf-8"), re.M)
            for span in re.findall(r"`([^`]+)`", row.replace("\\|", "|"))]
