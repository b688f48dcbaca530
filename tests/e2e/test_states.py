"""The recorder's states: the table in recorder/cpython/states.def is that of the specification, and the real recorder
walks as it says."""

import itertools
import json
import os
import random
import re
import unittest
from pathlib import Path

import e2e
import states
from states import Model, spell

TABLE = states.read()
SPECIFICATION = Path(__file__).resolve().parents[2] / "specs/recorder-states.md"
ENGINES = ["frame", "monitoring"] if e2e.VERSION >= (3, 12) else ["frame"]
TRANSITION = re.compile(r"panopticon: (\d+): state '(.*)': (.*) -> '(.*)'")


class Tables(unittest.TestCase):
    def test_every_cell_is_filled(self):
        self.assertEqual(set(TABLE.cells), set(itertools.product(TABLE.events, TABLE.states)))
        for cell in TABLE.cells.values():
            self.assertIn(cell.next, [None, *TABLE.states])
            self.assertIn(cell.action, TABLE.actions)

    def test_specification(self):
        text = SPECIFICATION.read_text(encoding="utf-8")
        self.assertIn("\n" + "\n".join(states.render(TABLE)) + "\n", text)
        for rows in TABLE.states, TABLE.actions, TABLE.events:
            for name, meaning in rows.items():
                self.assertIn(f"| {spell(name)} | {meaning} |\n" if meaning else "", text)

    def test_every_state_is_reached_and_left(self):
        entered = {cell.next for cell in TABLE.cells.values() if cell.kind == "GO"}
        self.assertEqual(entered, set(TABLE.states))
        self.assertEqual({state for (event, state), cell in TABLE.cells.items() if cell.kind == "GO"}, set(TABLE.states))

    def test_the_recorder_can_always_be_disabled(self):
        """What an impossible event leads to must itself be possible."""
        for state in TABLE.states:
            self.assertNotIn(TABLE.cells["FAILURE", state].kind, ("NEVER", "REFUSE"))


# Reads the state by a C function, from the frame that has just forked: no event of Python's comes before it.
PROGRAM = """
    import json, os, resource, signal, sys, time
    import panopticon_rec
    from panopticon_rec import _recorder
    state, write = _recorder.state, os.write
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    recorders = {}
    def f(): pass
    def down(n, operations):
        if n: down(n - 1, operations)
        else: run(operations)
    def fail(n):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        exec(f"def f{n}(): pass\\nf{n}()")
    def run(operations):
        todo = operations[::-1]
        while todo:
            name, value, *more = todo.pop()
            try:
                if name == "call": f()
                elif name == "start":
                    recorders[value] = panopticon_rec.Recorder(f"{value}.pnr", **more[0]).start()
                elif name == "stop": _recorder.stop(recorders[value]._number)
                elif name == "pause": _recorder.pause()
                elif name == "resume": _recorder.resume()
                elif name == "snapshot": _recorder.snapshot(f"{value}.pnr")
                elif name == "toggle":
                    before = state()
                    os.kill(os.getpid(), signal.SIGUSR1)
                    while state() == before:
                        f()             # after a fork it is an event that brings the drain's thread back
                        time.sleep(0.001)
                elif name == "fail": fail(value)
                elif name == "down": down(900, value)
                elif name == "trace":
                    with panopticon_rec.AsyncTracer(): f()
                elif name == "exit": os._exit(0)
                elif name == "fork":
                    pid = os.fork()
                    if not pid:         # goes on in this frame: a call would be an event
                        write(1, state().encode() + b"\\n")
                        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
                        todo = [["exit", None], *value[::-1]]
                        continue
                    os.waitpid(pid, 0)
            except RuntimeError: write(1, b"refused ")
            except OSError: write(1, b"failed ")
            if name == "stop": resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            write(1, state().encode() + b"\\n")
    run(json.loads(sys.argv[1]))
    """


class Walk:
    """A random sequence of operations, and what the table says of it."""

    def __init__(self, seed, engine, fails):
        self.random, self.engine, self.fails = random.Random(seed), engine, fails
        self.n = 0                      # captures
        self.begins_unhooked = False    # a region begins in an unrecorded region, whose end is then one too many in it
        self.pauses_unhooked = False    # the program pauses in an unrecorded region, whose end is then not recorded
        self.lines = []                 # what the program must print
        self.models = []                # of all processes that change their state, in the order in which they first do
        self.operations = self.run(Model(TABLE, engine, self.models), 30, 0)

    def number(self):
        self.n += 1
        return self.n

    def choose(self, model, level):
        names = ["call", "pause", "resume", *["stop"] * bool(model.started), *["fork"] * (level < 3)]
        if model.state == "FAILED":
            return self.random.choice([*names, "stop"])
        names += ["start", "start", "trace", *["down"] * (level < 3 and not model.is_deep)]
        names += ["snapshot"] * (model.state in ("ON", "PAUSED", "UNHOOKED"))
        names += ["toggle"] * (model.state in ("ON", "PAUSED") and not model.waiting)
        names += ["fail"] * (self.fails and model.state == "ON" and not model.regions and level == 0)
        return self.random.choice(names)

    def run(self, model, n, level):
        operations = []
        for _ in range(n):
            operation = [self.choose(model, level), None]
            was_open, state = model.is_open, model.state
            self.begins_unhooked |= (state == "UNHOOKED" or model.is_deep) and operation[0] in ("start", "resume")
            getattr(self, "do_" + operation[0])(model, operation, level)
            self.pauses_unhooked |= (state, model.state) == ("UNHOOKED", "PAUSED")
            is_refused = not was_open and (operation[0] in ("pause", "resume") or operation[0] == "stop" and model.is_own)
            has_failed = operation[0] == "stop" and state == "FAILED" and operation[1] == model.written
            self.lines.append("refused " * is_refused + "failed " * has_failed + spell(model.state))
            operations.append(operation)
        return operations

    def do_call(self, model, operation, level):
        model.call()

    def do_pause(self, model, operation, level):
        model.pause()

    def do_resume(self, model, operation, level):
        model.resume()

    def do_toggle(self, model, operation, level):
        model.resume() if model.state == "PAUSED" else model.pause()

    def do_snapshot(self, model, operation, level):
        operation[1] = self.number()

    def do_fail(self, model, operation, level):
        operation[1] = self.number()
        model.take("FAILURE")

    def do_start(self, model, operation, level):
        number = operation[1] = self.number()
        options = {"start_paused": self.random.random() < 0.2, "c_calls": self.random.random() < 0.3,
                   "follow": self.random.choice(["fork", "fork", "none"]), "engine": self.engine, "toggle_on": "SIGUSR1"}
        operation.append(options)
        model.start(number, options["start_paused"], options["follow"] == "fork")
        model.started.append(number)

    def do_stop(self, model, operation, level):
        operation[1] = self.random.choice(model.started)
        model.stop(operation[1])

    def do_trace(self, model, operation, level):
        number = self.number()
        model.start(number, False, True)
        model.call()
        model.stop(number)

    def do_fork(self, model, operation, level):
        child = model.fork()
        self.lines.append(spell(child.state))
        operation[1] = self.run(child, self.random.randrange(6), level + 1)
        child.exit()

    def do_down(self, model, operation, level):
        def run():
            model.is_deep = True
            operation[1] = self.run(model, self.random.randrange(1, 5), level + 1)
            model.is_deep = False
        model.down(run)


def without_hooks(transitions):
    """Without what a single Python call below a deep stack does."""
    return [tuple("on" if word == "unhooked" else word for word in one) for one in transitions
            if one[1] not in ("unhook", "rehook")]


class Walks(e2e.EndToEnd):
    N = 200 if e2e.LONG else 8

    def walk(self, walk, message):
        """Runs it on a stack of 1 MiB, of which the hook uses a quarter: fewer frames than a block opens with."""
        command = ["sh", "-c", 'ulimit -s 1024; exec "$@"', "sh", e2e.PYTHON, self.write("app.py", PROGRAM)]
        finished = e2e.run([*command, json.dumps(walk.operations)], cwd=self.directory, env={"PANOPTICON_DEBUG": "1"})
        self.assertEqual(finished.status, 0, message + finished.err)
        self.assertEqual(finished.out.splitlines(), walk.lines, message)
        processes, other = {}, []
        for line in finished.err.splitlines():
            found = TRANSITION.fullmatch(line)
            if found:
                processes.setdefault(int(found[1]), []).append(found.groups()[1:])
            elif not line.startswith("panopticon: ") or not line.split()[1].rstrip(":").isdigit():
                other.append(line)
        self.check_transitions(processes, walk, message)
        return other

    def check_transitions(self, processes, walk, message):
        legal = {(spell(state), spell(event), spell(cell.next)) for (event, state), cell in TABLE.cells.items()
                 if cell.kind == "GO"}
        for found in processes.values():
            self.assertLessEqual(set(found), legal, message)
            self.assertEqual([one[0] for one in found[1:]], [one[2] for one in found[:-1]], message)
            self.assertEqual(found[-1][2], "off", message)
        expected = [without_hooks(model.transitions) for model in walk.models]
        found = [without_hooks(one) for one in processes.values()]
        self.assertEqual(len(found), len(expected), message)
        for one, other in zip(found, expected):         # the interpreter's end comes after what the program does
            self.assertEqual(one[:len(other)], other, message)

    def test_random_walks(self):
        first = int(os.environ.get("PANOPTICON_SEED") or random.randrange(1 << 30))
        for seed, engine in itertools.product(range(first, first + self.N), ENGINES):
            with self.subTest(PANOPTICON_SEED=seed, engine=engine):
                for name in os.listdir(self.directory):
                    e2e.shutil.rmtree(self.path(name), ignore_errors=True)
                fails = seed % 4 == 0
                walk = Walk(seed, engine, fails)
                message = f"\nPANOPTICON_SEED={seed}, engine {engine}\n{json.dumps(walk.operations)}\n"
                other = self.walk(walk, message)
                if not fails:
                    self.assertEqual(other, [], message)
                for name in filter(re.compile(r".*\.pnr").fullmatch, os.listdir(self.directory)):
                    finished = e2e.run([e2e.CONVERT, "-q", self.path(name), "-o", self.path("run.trace")])
                    self.assertEqual(finished.status, 0, message + finished.err)
                    if not fails:
                        expected = "levels of nesting: "
                        if walk.begins_unhooked:
                            expected += r"|: \d+ function exits? without a matching entry \(ignored\)$"
                        if walk.pauses_unhooked:
                            expected += r"|: \d+ functions? whose exit was not recorded; "
                        for line in finished.err.splitlines():
                            self.assertRegex(line, expected, message)
                        e2e.Trace(self.path("run.trace"))


@unittest.skipIf(e2e.BUILD.endswith("debug"), "an impossible event ends the process there")
class Cells(e2e.EndToEnd):
    """Cells of the table that were empty."""

    def calls(self, name):
        """How often f was called, in a capture of which the converter has nothing to report."""
        finished = e2e.run([e2e.CONVERT, "-q", self.path(name), "-o", self.path("run.trace")])
        self.assertEqual((finished.status, finished.err), (0, ""))
        return e2e.Trace(self.path("run.trace")).count()["__main__.f"]

    def run_each(self, text, expected=""):
        """Runs it once for each engine; yields after each."""
        for engine in ENGINES:
            with self.subTest(engine=engine):
                for name in os.listdir(self.directory):
                    e2e.shutil.rmtree(self.path(name), ignore_errors=True)
                finished = e2e.plain([self.write("app.py", e2e.textwrap.dedent(f"""
                    import os, sys, time, threading, signal, panopticon_rec
                    from panopticon_rec import Recorder, _recorder
                    options = {{"engine": {engine!r}}}
                    def f(): pass
                    def calls(n):
                        for _ in range(n): f()
                    """) + e2e.textwrap.dedent(text))], cwd=self.directory)
                self.assertEqual(finished, (0, expected, ""))
                yield engine

    def test_a_pause_is_lifted_until_the_last_region_ends(self):
        for _ in self.run_each("""
                outer = Recorder("run.pnr", **options).start()
                panopticon_rec.pause()
                first = Recorder("first.pnr").start()
                second = Recorder("second.pnr").start()
                first.stop()
                calls(1)
                print(_recorder.state())
                second.stop()
                calls(2)
                print(_recorder.state())
                third = Recorder("third.pnr").start()
                panopticon_rec.resume()
                third.stop()
                calls(4)
                print(_recorder.state())
                outer.stop()
                """, "on\npaused\non\n"):
            self.assertEqual([self.calls(f"{name}.pnr") for name in ("run", "first", "second", "third")], [5, 0, 1, 0])

    def test_a_region_that_waits_begins_when_the_program_resumes(self):
        """Not when another one lifts the pause."""
        for _ in self.run_each("""
                outer = Recorder("run.pnr", **options).start()
                panopticon_rec.pause()
                waiting = Recorder("waiting.pnr", start_paused=True).start()
                with Recorder("region.pnr"): calls(1)
                panopticon_rec.resume()
                calls(2)
                waiting.stop()
                outer.stop()
                """):
            self.assertEqual([self.calls(f"{name}.pnr") for name in ("run", "region", "waiting")], [3, 1, 2])

    def test_recording_moves_to_the_region_that_has_begun_first(self):
        for _ in self.run_each("""
                outer = Recorder("run.pnr", **options).start()
                waiting = Recorder("waiting.pnr", start_paused=True).start()
                first = Recorder("first.pnr").start()
                calls(1)
                panopticon_rec.resume()
                calls(2)
                outer.stop()
                calls(4)
                waiting.stop()
                calls(8)
                first.stop()
                """):
            self.assertEqual([self.calls(f"{name}.pnr") for name in ("run", "first", "waiting")], [3, 15, 6])

    def test_signal_in_a_pause_after_a_fork(self):
        """The drain's thread, which has ended for the fork, hears of it although no event comes."""
        for before, after in ("fork()", "panopticon_rec.pause()"), ("panopticon_rec.pause()", "fork()"):
            for _ in self.run_each(f"""
                    def fork():
                        pid = os.fork()
                        if not pid: os._exit(0)
                        os.waitpid(pid, 0)
                    recorder = Recorder("run.pnr", toggle_on="SIGUSR1", **options).start()
                    {before}
                    {after}
                    os.kill(os.getpid(), signal.SIGUSR1)
                    while _recorder.state() == "paused": time.sleep(0.001)
                    calls(1)
                    recorder.stop()
                    """):
                self.assertEqual(self.calls("run.pnr"), 1)

    def test_start_while_another_thread_starts(self):
        for engine in self.run_each("""
                def start(on_path):
                    return _recorder.start("run.pnr", False, {}, {}, on_path)
                def on_path(path):
                    print(_recorder.state())
                    for refused in lambda: start(None), _recorder.pause, _recorder.resume:
                        try: refused()
                        except RuntimeError: print("refused")
                number, path = start(on_path)
                calls(1)
                print(_recorder.state(), _recorder.stop(number)[3])
                """, "starting\nrefused\nrefused\nrefused\non 0\n"):
            self.assertEqual(self.calls("run.pnr"), 1)

    def test_fork_while_recording_starts(self):
        for engine in self.run_each("""
                import warnings
                warnings.simplefilter("ignore")         # the drain's thread is there
                def on_path(path):
                    global pid
                    pid = os.fork()
                try: number, path = _recorder.start("run.pnr", False, {}, {}, on_path)
                except RuntimeError:
                    assert not pid and _recorder.state() == "off"
                    with Recorder("child.pnr", **options): calls(1)
                    os._exit(0)
                print(os.waitpid(pid, 0)[1])
                calls(2)
                _recorder.stop(number)
                """, "0\n"):
            self.assertEqual([self.calls("run.pnr"), self.calls("child.pnr")], [2, 1])

    def test_debug(self):
        """PANOPTICON_DEBUG=1 shows what is decided, in children, too; nothing without it."""
        script = self.write("app.py", """
            import os
            def f(): pass
            pid = os.fork()
            f()
            if pid: os.waitpid(pid, 0)
            """)
        for value, follow in ("", "all"), ("0", "all"), ("1", "all"), ("1", "none"):
            e2e.shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
            finished = e2e.recorded(self.path("run.pnr"), [script], options=["-q", "--follow", follow],
                                    env={"PANOPTICON_DEBUG": value})
            lines = [re.sub(r"^panopticon: \d+: ", "", line) for line in finished.err.splitlines()]
            if value != "1":
                self.assertEqual(lines, [])
                continue
            self.assertEqual(len(set(re.findall(r"^panopticon: (\d+): ", finished.err, re.M))), 2, finished.err)
            self.assertIn("state 'off': start -> 'starting'", lines)
            self.assertIn("state 'pending': first event -> 'starting'", lines)
            self.assertIn("engine 'frame': the fastest of this Python", lines)
            self.assertIn("forked child: " + ("not followed" if follow == "none" else f"joins {self.path('run.pnr')}"), lines)
