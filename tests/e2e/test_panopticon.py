"""The package panopticon: what the README of its ancestor on PyPI (0.0.4) has runs as it stands there."""

import collections
import json
import os
import signal
import subprocess
import unittest

import e2e

GENERATORS = """
    import asyncio

    def numbers(n):
        for i in range(n):
            yield i

    async def wait(n):
        for _ in range(n):
            await asyncio.sleep(0)

    async def items(n):
        for i in range(n):
            yield i

    async def main():
        await asyncio.gather(wait(2), wait(3))
        async for _ in items(2):
            pass

    list(numbers(3))
    asyncio.run(main())
    """

# In place of its last two lines.
IN_CODE = """
    import panopticon
    with panopticon.tracer.AsyncTracer() as at:
        asyncio.run(main())
        list(numbers(3))
    with open("with.trace", "w") as file:
        file.write(str(at))
    assert str(at.get_trace()) == str(at)

    trace = panopticon.trace.Trace()
    at = panopticon.AsyncioTracer(trace)
    for _ in range(2):
        assert at.start() is at
        list(numbers(2))
        at.stop()
    with open("twice.trace", "w") as file:
        file.write(str(trace))
"""

# How often each continuable frame of this program runs: once more than it is suspended.
RUNS = {"__main__.numbers": [4], "__main__.wait": [3, 4], "__main__.items": [3]}


def read_stream(text):
    """The events of an array without its last bracket."""
    return json.loads(text.rstrip().rstrip(",") + "]")


def flows(events):
    """Function: how many slices each of its flows connects."""
    ids = collections.defaultdict(int)
    names = {}
    for event in events:
        if event["ph"] in "stf":
            ids[event["id"]] += 1
            names[event["id"]] = event["name"]
    found = collections.defaultdict(list)
    for number, name in names.items():
        found[name].append(ids[number])
    return {name: sorted(counts) for name, counts in found.items()}


class CommandLine(e2e.EndToEnd):
    def panopticon(self, *words, status=0, flags=()):
        finished = e2e.plain([*flags, "-m", "panopticon", *words], cwd=self.directory)
        self.assertEqual(finished.status, status, finished.err)
        return finished

    def events(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return json.load(file)["traceEvents"]

    def test_a_command(self):
        finished = self.panopticon("-c", "print('hello')", "-o", "print_hello.trace")
        self.assertEqual(finished, e2e.Finished(0, "hello\n", ""))
        self.assertEqual(os.listdir(self.directory), ["print_hello.trace"])
        slices = [(one["name"], one["cat"]) for one in self.events("print_hello.trace") if one["ph"] == "X"]
        self.assertEqual(slices, [("builtins.print", "c_function"), ("__main__.<module>", "python")])

    def test_a_file(self):
        path = self.write("file.py", GENERATORS)
        self.assertEqual(self.panopticon("-o", "file.trace", "file.py"), e2e.Finished(0, "", ""))
        trace = e2e.Trace(self.path("file.trace"))
        own = [flow for flow in trace.flows if flow[0].function.src.startswith(f"{path}:")]
        found = collections.defaultdict(list)
        for flow in own:
            found[flow[0].function.name].append(len(flow))
        found.pop("__main__.main")
        self.assertEqual({name: sorted(counts) for name, counts in found.items()}, RUNS)

    def test_the_program_has_its_own_words(self):
        self.write("file.py", "import sys\nprint(sys.argv, __name__, sys.flags.dont_write_bytecode)\nsys.exit(3)")
        finished = self.panopticon("-o", "x.json", "file.py", "-o", "y", "--", "z", status=3, flags=["-B"])
        self.assertEqual(finished.out, "['file.py', '-o', 'y', '--', 'z'] __main__ 1\n")
        self.assertEqual(sorted(os.listdir(self.directory)), ["file.py", "x.json"])

    def test_other_outputs(self):
        """Without -o the trace is on standard error; a name may have any ending, and a file there is replaced."""
        finished = self.panopticon("-c", "print(1)")
        self.assertEqual(finished.out, "1\n")
        self.assertIn("builtins.print", [event["name"] for event in json.loads(finished.err)["traceEvents"]])
        for name in "trace.txt", "trace.trace":
            self.write(name, "something else, which is longer than the trace " * 100)
            self.panopticon("--output", name, "--command", "print(1)")
            self.assertIn("builtins.print", [event["name"] for event in self.events(name)])

    def test_flatten(self):
        self.write("file.py", """
            def numbers(n):
                for i in range(n):
                    yield sorted([i])

            def outer():
                list(numbers(3))
                return list(numbers(2))

            outer()
            """)
        self.panopticon("-o", "file.trace", "file.py")
        self.panopticon("-f", "file.trace", "-o", "flat.trace")
        self.assertEqual(json.loads(self.panopticon("-f", "file.trace").out)["traceEvents"], self.events("flat.trace"))
        trace, flat = self.events("file.trace"), self.events("flat.trace")
        self.assertEqual([{**one, "ts": 0, "dur": 0} for one in flat], [{**one, "ts": 0, "dur": 0} for one in trace])
        self.assertEqual(self.structure(flat), self.structure(trace))
        innermost = [event for event, inner in self.nested(flat) if not inner]
        self.assertEqual({event["dur"] for event in innermost}, {90})

    def nested(self, events):
        """Each slice, and the slices in it; all of one thread."""
        slices = sorted((one for one in events if one["ph"] == "X"), key=lambda one: (one["ts"], -one["dur"]))
        return [(one, [other for other in slices if other is not one and one["ts"] <= other["ts"]
                       and other["ts"] + other["dur"] <= one["ts"] + one["dur"]]) for one in slices]

    def structure(self, events):
        """For each slice: what lies in it; and for each flow event: in how many slices."""
        slices = [one for one in events if one["ph"] == "X"]
        depths = [sum(one["ts"] < event["ts"] < one["ts"] + one["dur"] for one in slices)
                  for event in events if event["ph"] in "stf"]
        return [(one["name"], [other["name"] for other in inner]) for one, inner in self.nested(events)], depths

    def test_flatten_takes_begins_and_ends(self):
        """As the ancestor wrote them. A second thread has its own places."""
        events = [{"name": name, "ph": phase, "ts": ts, "pid": 1, "tid": tid} for name, phase, ts, tid in (
            ("a", "B", 1000, 1), ("b", "B", 1100, 1), ("b", "E", 1200, 1), ("x", "B", 1250, 2), ("c", "B", 1300, 1),
            ("x", "E", 1350, 2), ("c", "E", 1400, 1), ("a", "E", 1500, 1))]
        text = json.dumps(events)
        self.script(f"""
            from panopticon.post import flatten
            text = {text!r}
            expected = [0, 10, 100, 0, 110, 90, 200, 210]
            with open("a.trace", "w") as file:
                file.write(text[:-1] + ",\\n")
            import json
            for given in {{"trace_str": text}}, {{"trace_file": "a.trace"}}, {{"trace_json": json.loads(text)}}:
                found = [event["ts"] for event in flatten(**given)]
                assert found == expected, (given, found)
            for given in {{}}, {{"trace_str": "x", "trace_file": "y"}}:
                try:
                    flatten(**given)
                except ValueError:
                    continue
                raise AssertionError(given)
            """)

    def test_signals(self):
        """A program that a signal ends leaves its trace, and the command ends as it does."""
        self.write("file.py", """
            import os, signal, sys, time
            print("ready", flush=True)
            time.sleep(60) if "wait" in sys.argv else os.kill(os.getpid(), signal.SIGTERM)
            """)
        self.panopticon("-o", "trace.txt", "file.py", status=-signal.SIGTERM)
        self.assertIn("posix.kill", {event["name"] for event in self.events("trace.txt")} & {"posix.kill"})
        process = subprocess.Popen([e2e.PYTHON, "-m", "panopticon", "-o", "trace.txt", "file.py", "wait"], text=True,
                                   cwd=self.directory, env=e2e.environment(TMPDIR=self.path("")), start_new_session=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), "ready\n")
        os.killpg(process.pid, signal.SIGINT)           # as Ctrl-C
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, -signal.SIGINT, err)
        self.assertEqual(err.count("Traceback"), 1, err)        # that of the program
        self.assertIn("builtins.print", {event["name"] for event in self.events("trace.txt")} & {"builtins.print"})
        self.assertEqual(sorted(os.listdir(self.directory)), ["file.py", "trace.txt"])

    def test_files_that_cannot_be(self):
        """One line; the program is not run when its trace could not be written."""
        self.write("no.trace", "no JSON")
        for words in (("-o", "none/trace.txt", "-c", "print(1)"), ("-o", "none/x.trace", "-c", "print(1)"),
                      ("--flatten", "none.trace"), ("--flatten", "no.trace")):
            finished = self.panopticon(*words, status=2)
            self.assertEqual((finished.out, finished.err.count("\n")), ("", 1), finished.err)
        finished = self.panopticon("-o", "/dev/full", "-c", "print(1); raise SystemExit(3)", status=3)
        self.assertEqual((finished.out, finished.err.count("\n")), ("1\n", 1), finished.err)

    def test_wrong_words(self):
        for words in (), ("-c", "1", "file.py"), ("--nothing",):
            self.assertIn("usage: panopticon", self.panopticon(*words, status=2).err)
        self.assertIn("--flatten", self.panopticon("--help").out)


class InCode(e2e.EndToEnd):
    def test_record_trace(self):
        self.script("""
            from panopticon import record_trace

            with record_trace("print_hello.trace"):
                print("Hello")

            try:
                with record_trace("error.trace"):
                    raise LookupError
            except LookupError:
                pass
            """)
        trace = e2e.Trace(self.path("print_hello.trace"))
        self.assertEqual(trace.count(), {"__main__.<module>": 1, "builtins.print": 1})
        self.assertEqual(e2e.Trace(self.path("error.trace")).count(), {"__main__.<module>": 1})

    def test_tracer(self):
        self.script(GENERATORS.replace("""
    list(numbers(3))
    asyncio.run(main())
""", IN_CODE))
        trace = e2e.Trace(self.path("with.trace"))
        self.assertEqual([name for name in trace.count() if name.startswith("panopticon")], [])
        with open(self.path("with.trace"), encoding="utf-8") as file:
            found = flows(json.load(file)["traceEvents"])
        self.assertEqual({name: found[name] for name in RUNS}, RUNS)
        with open(self.path("twice.trace"), encoding="utf-8") as file:
            events = json.load(file)["traceEvents"]
        self.assertEqual(flows(events), {"__main__.numbers": [3, 3]})
        source, = {event["args"]["source"] for event in events
                   if event["name"] == "__main__.numbers" and event["ph"] == "X"}
        self.assertEqual(source, f"{self.path('app.py')}:3")

    def test_arguments_are_not_recorded(self):
        finished = e2e.plain(["-c", "import panopticon; panopticon.AsyncioTracer(capture_args=print)"],
                             cwd=self.directory)
        self.assertEqual(finished.status, 0)
        self.assertEqual(finished.err.splitlines()[0],
                         "<string>:1: UserWarning: panopticon does not record arguments: capture_args has no effect")

    def test_probe(self):
        self.script("""
            import asyncio
            from panopticon.probe import probe
            from panopticon.trace import StreamingTrace

            trace = StreamingTrace(open("probe.trace", "w"))

            @probe(trace=trace)
            def myfunction(n):
                "Documented."
                return inner(n)

            def inner(n):
                return n * n

            @probe(trace)
            def generator(k):
                got = yield k
                return got

            @probe(trace)
            async def outer():
                return await nested()

            @probe(trace)
            async def nested():
                await asyncio.sleep(0)
                return 1

            @probe(trace)
            async def items():
                yield 1
                await asyncio.sleep(0)
                yield 2

            @probe(trace)
            class Class:
                def method(self):
                    raise LookupError

            async def main():
                assert await outer() == 1
                found = []
                async for item in items():
                    found.append(item)
                assert found == [1, 2]

            inner(1)
            assert myfunction(3) == 9 and myfunction.__doc__ == "Documented." and myfunction.__name__ == "myfunction"
            running = generator(1)
            assert next(running) == 1
            try:
                running.send(2)
            except StopIteration as stop:
                assert stop.value == 2
            asyncio.run(main())
            try:
                Class().method()
            except LookupError:
                pass
            """)
        with open(self.path("probe.trace"), encoding="utf-8") as file:
            events = read_stream(file.read())
        count = collections.Counter(event["name"].removeprefix("__main__.") for event in events
                                    if event["ph"] == "X" and event["name"].startswith("__main__."))
        del count["<module>"], count["main"]
        self.assertEqual(count, {"myfunction": 1, "inner": 1, "generator": 2, "outer": 2, "nested": 2, "items": 4,
                                 "Class.method": 1})
        found = flows(events)
        self.assertEqual({name: found[f"__main__.{name}"] for name in ("generator", "outer", "nested", "items")},
                         {"generator": [2], "outer": [2], "nested": [2], "items": [4]})

    def test_the_import_costs_little(self):
        """It brings in no module but itself."""
        finished = self.script("""
            import sys
            before = set(sys.modules)
            import panopticon
            print(sorted(set(sys.modules) - before))
            assert panopticon.__version__
            try:
                panopticon.nothing
            except AttributeError as error:
                print(error)
            """)
        self.assertEqual(finished.out, "['panopticon']\nmodule 'panopticon' has no attribute 'nothing'\n")


if __name__ == "__main__":
    unittest.main()
