"""The rows of format/kinds.def, the table of the kinds of records.

    for kind in KINDS: kind.number, kind.name, kind.effect, ...     # the columns, as kinds.def explains them
    NUMBERS["CALL"]                                                 # 1

Each row is written as a call, which Python's parser reads as well as C's preprocessor.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).resolve().parents[2] / "format/kinds.def"


@dataclass(frozen=True)
class Kind:
    number: int
    name: str
    effect: str
    subject: str
    traits: tuple
    entry: str
    label: str
    ticks: str
    frame: str
    function: str
    meaning: str


def read_value(node):
    """A number or text as it is, a name as text, and the names of `A | B` one after another."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.BinOp):
        return f"{read_value(node.left)} {read_value(node.right)}"
    return node.id


def read():
    text = re.sub(r"/\*.*?\*/|^#.*?$", "", TABLE.read_text(encoding="utf-8"), flags=re.S | re.M)
    for row in ast.parse(text).body:
        if row.value.func.id != "PNR_KIND":
            continue
        number, name, effect, subject, traits, *others = map(read_value, row.value.args)
        yield Kind(number, name, effect, subject, tuple(traits.split()) if traits else (), *others)


KINDS = list(read())
NUMBERS = {kind.name: kind.number for kind in KINDS}
