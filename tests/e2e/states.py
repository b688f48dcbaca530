"""The table of recorder/cpython/states.def, read as data, and a model of the recorder that follows it.

    table = read()
    table.cells["PAUSE", "ON"]          Cell("GO", "PAUSED", "LEAVE")
    table.states, table.actions, table.events           name: meaning, in their order

Each row is written as a call, which Python's parser reads as well as C's preprocessor.
"""

import ast
import collections
import re
from pathlib import Path

TABLE = Path(__file__).resolve().parents[2] / "recorder/cpython/states.def"

Table = collections.namedtuple("Table", "states actions events cells")
Cell = collections.namedtuple("Cell", "kind next action", defaults=(None, "NOTHING"))


def read_cell(node):
    if isinstance(node, ast.Name):
        return Cell(node.id)
    words = [word.id for word in node.args]
    return Cell("GO", *words) if node.func.id == "GO" else Cell("DO", None, *words)


def read():
    table = Table({}, {}, {}, {})
    text = re.sub(r"/\*.*?\*/|^#.*?$", "", TABLE.read_text(encoding="utf-8"), flags=re.S | re.M)
    for row in ast.parse(text).body:
        kind, (name, meaning, *cells) = row.value.func.id, row.value.args
        rows = {"REC_STATE": table.states, "REC_ACTION": table.actions, "REC_EVENT": table.events}[kind]
        rows[name.id] = meaning.value
        for state, cell in zip(table.states, cells, strict=True) if cells else ():
            table.cells[name.id, state] = read_cell(cell)
    return table


def spell(name):
    return name.lower().replace("_", " ")


def render_cell(cell):
    """As it stands in the specification."""
    if cell.kind in ("STAY", "REFUSE", "NEVER"):
        return {"STAY": "·", "REFUSE": "refused", "NEVER": "never"}[cell.kind]
    action = "" if cell.action == "NOTHING" else spell(cell.action)
    return f"**{spell(cell.next)}**" + (action and f", {action}") if cell.kind == "GO" else action


def render(table):
    """The lines of the specification's table of events and states."""
    yield "| event | " + " | ".join(map(spell, table.states)) + " |"
    yield "|---" * (len(table.states) + 1) + "|"
    for event in table.events:
        yield f"| {spell(event)} | " + " | ".join(render_cell(table.cells[event, state]) for state in table.states) + " |"


class Model:
    """What the table says of a process: each event is taken as the recorder takes it, and the transitions are kept.
    order: a list of all processes, in which each appears with its first transition."""

    IN_CHILD = "PENDING", "PENDING_PAUSED"
    RECORDING = "ON", "UNHOOKED"

    def __init__(self, table, engine, order, state="OFF"):
        self.table, self.engine, self.order, self.state = table, engine, order, state
        self.written = None             # number of the capture that is written
        self.is_own = False             # this process has started it
        self.follows = {}               # number: whether children are followed; of all captures that were ever started
        self.is_deep = False            # the running functions are below a deep stack
        self.regions = {}               # those that are open, in the order in which they have begun, and that wait
        self.waiting = set()            # those that begin when the program resumes
        self.lifting = set()            # regions for which a pause is lifted
        self.n_stretches = 0            # how often a stretch without events has begun
        self.started = []               # numbers
        self.transitions = []           # (state, event, state)

    @property
    def is_open(self):
        return self.state not in ("OFF", "STARTING", "STOPPING")

    def take(self, event):
        """Returns whether it is not refused."""
        cell = self.table.cells[event, self.state]
        assert cell.kind != "NEVER", f"{event} in {self.state}"
        if cell.kind == "GO":
            if not self.transitions:
                self.order.append(self)
            self.transitions.append((spell(self.state), spell(event), spell(cell.next)))
            self.state = cell.next
            self.n_stretches += cell.next in ("STARTING", "PAUSED", *self.IN_CHILD)
        return cell.kind != "REFUSE"

    def call(self):
        """A Python function is called."""
        if self.state == "PENDING":
            self.join()

    def join(self):
        was_paused = self.state == "PENDING_PAUSED"
        self.take("FIRST_EVENT")
        if self.follows[self.written]:
            self.take("STARTED")
            if was_paused:
                self.take("PAUSE")
        else:
            self.take("STOP")
            self.take("STOPPED")

    def join_if_pending(self):
        if self.state in self.IN_CHILD:
            self.join()

    def start(self, number, is_paused, follows):
        self.call()
        self.join_if_pending()
        self.take("START")
        self.follows[number] = follows
        if self.state == "STARTING":
            self.written, self.is_own = number, True
            self.take("STARTED")
            if is_paused:
                self.take("PAUSE")
            return
        self.regions[number] = None
        if is_paused:
            self.waiting.add(number)
        else:
            if self.state == "PAUSED" or self.lifting:
                self.lifting.add(number)
            self.take("REGION_BEGIN")

    def stop(self, number):
        if number in self.regions:
            self.forget(number)
            if number in self.lifting:
                self.lifting.remove(number)
                if not self.lifting:
                    self.take("REGION_END")
        elif number == self.written and self.regions:
            self.written = min(self.regions, key=lambda one: one in self.waiting)       # the first one of the best
            is_waiting = self.written in self.waiting
            self.forget(self.written)
            self.lifting.discard(self.written)
            if is_waiting and not self.regions:
                self.take("PAUSE")
        elif number == self.written and self.take("STOP") and self.state == "STOPPING":
            self.take("STOPPED")

    def forget(self, number):
        del self.regions[number]
        self.waiting.discard(number)

    def exit(self):
        """The process ends by os._exit."""
        if self.is_open and self.take("STOP") and self.state == "STOPPING":
            self.take("STOPPED")

    def pause(self):
        if self.take("PAUSE"):
            self.lifting.clear()

    def resume(self):
        if self.take("RESUME"):
            self.lifting.clear()
            for number in sorted(self.waiting, reverse=True):
                self.regions[number] = self.regions.pop(number)
            self.waiting.clear()

    def fork(self):
        """Returns the child's model."""
        self.take("FORK")
        self.take("FORK_PARENT")
        child = Model(self.table, self.engine, self.order, self.state)
        child.written, child.follows, child.started = self.written, dict(self.follows), list(self.started)
        child.is_deep = self.is_deep
        child.take("FORK_CHILD")
        if self.state == "PAUSED":      # no event would do it
            child.join()
        return child

    def down(self, run):
        """What run() does happens below a deep stack."""
        self.call()
        is_unhooked = self.engine == "frame" and self.state == "ON"
        if is_unhooked:
            self.take("UNHOOK")
        before = self.n_stretches
        run()
        if self.engine == "monitoring":         # which also has events of frames that were entered before
            self.call()
        if is_unhooked and self.state in self.RECORDING and self.n_stretches == before:
            self.take("REHOOK")
