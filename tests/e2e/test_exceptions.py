"""Exceptions (--exceptions). The oracle is what the program itself writes down in the lines before it raises, and in
its handlers."""

import json
import os
import shutil
import unittest

import e2e


PROGRAM = """
    import asyncio, json, sys, threading
    import panopticon_rec as rec

    wrote = []

    class Own(Exception):
        def __str__(self): raise AssertionError("called")
        __repr__ = __str__

    def note(what, exception, values=()):
        name = f"[{what} {type(exception).__name__}]"
        wrote.append([threading.get_native_id(), sys._getframe(1).f_code.co_name, name,
                      {str(i): value for i, value in enumerate(values)}])

    def deep(exception=None, *values):
        exception = exception or ValueError("x")
        note("raised", exception, values or ("x",))
        raise exception

    def mid(): deep()

    def simple():
        try: mid()
        except ValueError as error: note("handled", error)

    def another_type():
        try:
            try: deep()
            except KeyError: pass
        except ValueError as error: note("handled", error)

    def cleanup():
        try:
            try: deep()
            finally: pass
        except ValueError as error: note("handled", error)

    def after_work():
        try:
            try: deep()
            except ValueError as error:
                note("handled", error)
                note("raised again", error)
                raise
        except ValueError as error: note("handled", error)

    def stored():
        kept = None
        try: deep()
        except ValueError as error:
            note("handled", error)
            kept = error
        try:
            note("raised", kept, ("x",))
            raise kept
        except ValueError as error: note("handled", error)

    def chain():
        try:
            try: deep()
            except ValueError as error:
                note("handled", error)
                other = KeyError("y", 2, None, 2.5, "fifth")
                note("raised", other, ("y", 2, None, 2.5))
                raise other from error
        except KeyError as error: note("handled", error)

    def generate():
        yield 1
        deep(LookupError(1), 1)

    def generator():
        try: list(generate())
        except LookupError as error: note("handled", error)

    async def coroutine():
        deep()

    async def awaits():
        try: await coroutine()
        except ValueError as error: note("handled", error)

    def own():
        try: deep(Own([], {}), "<list>", "<dict>")
        except Own as error: note("handled", error)

    def works():
        for function in simple, another_type, cleanup, after_work, stored, chain, generator, own:
            function()
        try: awaits().send(None)
        except StopIteration: pass

    with rec.record("run.pnr", **json.loads(sys.argv[1])):
        works()
        threads = [threading.Thread(target=works) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    print(json.dumps(wrote))
    """

HANDLES = """
    def fails(value): raise ValueError(value)
    def handles(value):
        try: fails(value)
        except ValueError: pass
    """

RUNS_AS_WITHOUT = """
    import sys, traceback
    class Hostile(Exception):
        @property
        def args(self): raise SystemExit(3)
        def __getattribute__(self, name): raise SystemExit(4)
    def hostile():
        try: raise Hostile
        except Hostile: pass
    def deep(n):
        return deep(n + 1)
    def recursion():
        try: deep(0)
        except RecursionError as error: print(len(traceback.extract_tb(error.__traceback__)))
    def strange():
        class Text(str):
            def __str__(self): raise SystemExit(5)
            __repr__ = __hash__ = __str__
            def __eq__(self, other): raise SystemExit(6)
        error = ValueError(Text("x"), 10**40, b"x")
        error.args += (Text("y"),)
        try: raise error
        except ValueError: print(len(error.args), sys.exc_info()[1] is error)
        print(sys.getrefcount(error))
    def many():
        for i in range(5000):
            Type = type(f"Type{i}", (Exception,), {})
            try: raise Type(i)
            except Type: pass
    hostile(); recursion(); strange(); many()
    print(sys.version_info < (3, 12) or sys.monitoring.get_tool(0), sys.exc_info())
    raise LookupError("the end")
    """


def exceptions(trace):
    """[thread, innermost function of the program, name, values] of each, in the order of time."""
    with open(trace, encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    found = []
    for event in sorted((event for event in events if event["ph"] == "i"), key=lambda event: event["ts"]):
        around = [slice for slice in slices if slice["tid"] == event["tid"] and slice["pid"] == event["pid"] and
                  slice["ts"] <= event["ts"] <= slice["ts"] + slice["dur"]]
        name = min(around, key=lambda slice: slice["dur"])["name"].rpartition(".")[2] if around else None
        found.append([event["tid"], name, event["name"], event.get("args", {})])
    return found


def first_values(trace):
    """The first argument of each exception that was raised, in the slice of its function, in the order of time."""
    with open(trace, encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    slices = sorted((event["ts"], event["ts"] + event["dur"]) for event in events
                    if event["ph"] == "X" and event["name"].endswith(".fails"))
    raised = sorted((event["ts"], event["args"]["0"]) for event in events
                    if event["ph"] == "i" and event["name"] == "[raised ValueError]")
    return [value for (begin, end), (ts, value) in zip(slices, raised, strict=True) if begin <= ts <= end]


def by_thread(found):
    return {tid: [one[1:] for one in found if one[0] == tid] for tid in {one[0] for one in found}}


@unittest.skipIf(e2e.VERSION < (3, 12), "from CPython 3.12 on")
class Exceptions(e2e.EndToEnd):
    def check(self, **how):
        shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
        wrote = json.loads(self.script(PROGRAM, json.dumps({"exceptions": True, **how})).out)
        self.assertGreater(len(wrote), 80)
        verified = e2e.run([e2e.CONVERT, "--verify", self.path("run.pnr")])
        self.assertEqual(verified.status, 0, verified.err)
        found = [one for one in exceptions(e2e.convert(self.path("run.pnr"))) if "StopIteration" not in one[2]]
        self.assertEqual(by_thread(found), by_thread(wrote))

    def test_each_is_where_it_was_raised_and_handled(self):
        for engine in e2e.ENGINES:
            for more in ({}, {"clock": "sparse"}, {"c_calls": True}, {"gc": True}):
                with self.subTest(engine=engine, **more):
                    self.check(engine=engine, **more)

    def test_without_the_option_there_is_none(self):
        _, trace = self.record("try: {}[1]\nexcept KeyError: pass")
        self.assertEqual(trace.instants, [])

    def test_what_is_not_recorded_has_none(self):
        _, trace = self.record("""
    import json
    def own():
        try: json.loads("{")
        except ValueError: pass
    def library():
        json.dumps({1: "x"}, default=None)
    own(); library()
    """, options=("-q", "--exceptions", "--exclude", "json*", "--no-stdlib"))
        self.assertEqual([name.partition(" ")[0] for name in trace.instants], ["[handled"])

    def test_the_program_runs_as_without(self):
        for engine in e2e.ENGINES:
            for more in (), ("--c-calls",), ("--gc",):
                self.record_as_plain(RUNS_AS_WITHOUT, "--exceptions", "--engine", engine, *more)

    def test_a_pause_and_regions(self):
        for engine in e2e.ENGINES:
            shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
            shutil.rmtree(self.path("region.pnr"), ignore_errors=True)
            self.script(f"""
    import panopticon_rec as rec
    def fails(value):
        try: raise ValueError(value)
        except ValueError: pass
    with rec.record("run.pnr", engine={engine!r}):
        fails(1)
        with rec.record("region.pnr", exceptions=True, c_calls=True):
            fails(2)
            rec.pause()
            fails(3)
            rec.resume()
            fails(4)
        print(len(str(5)))
    fails(6)
    """)
            found = [one[3]["0"] for one in exceptions(e2e.convert(self.path("region.pnr"))) if "raised" in one[2]]
            self.assertEqual(found, [2, 4])

    def test_the_table(self):
        for engine in e2e.ENGINES:
            self.record("""
    import json, sys
    import panopticon_rec
    def inner(): raise ValueError("x")
    def middle(): inner()
    def outer():
        try: middle()
        except ValueError: pass
    def same():
        try:
            with panopticon_rec.span("span"): raise KeyError
        except KeyError: pass
    def again():
        try:
            try: inner()
            except ValueError:
                same()
                raise
        except ValueError: pass
    def other():
        try:
            try: inner()
            except ValueError: raise LookupError
        except LookupError: pass
    def library():
        try: json.loads("{")
        except ValueError: pass
    for _ in range(3): outer()
    for _ in range(5): same()
    again(); other(); library()
    sys.excepthook = lambda *exception: None
    inner()
    """, options=("-q", "--exceptions", "--no-stdlib", "--engine", engine), status=1)
            text = e2e.run([e2e.CONVERT, "-q", "--top", "--exceptions", "--json", self.path("run.pnr")]).out
            found = {(one["type"], one["raised_in"], one["handled_in"]): one["count"]
                     for one in json.loads(text)["exceptions"]}
            self.assertEqual(found, {
                ("ValueError", "__main__.inner", "__main__.outer"): 3,
                ("KeyError", "__main__.same", "__main__.same"): 6,
                ("ValueError", "__main__.inner", "__main__.again"): 1,
                ("ValueError", "__main__.inner", "__main__.other"): 1,
                ("LookupError", "__main__.other", "__main__.other"): 1,
                ("JSONDecodeError", None, "__main__.library"): 1,
                ("ValueError", "__main__.inner", None): 1})
            table = e2e.run([e2e.CONVERT, "-q", "--top", "--exceptions", self.path("run.pnr")]).out.splitlines()
            self.assertEqual(table[0].split(), ["count", "type", "raised", "in", "handled", "in"])
            self.assertEqual(table[1].split(), ["6", "KeyError", "__main__.same", "__main__.same"])
            self.assertEqual(len(table), 8)

    def test_no_table(self):
        self.record("pass")
        run = e2e.run([e2e.CONVERT, "-q", "--top", "--exceptions", self.path("run.pnr")])
        self.assertEqual(run, (0, "no exceptions in the capture; record with --exceptions\n", ""))

    def test_children(self):
        for engine in e2e.ENGINES:
            self.record("""
    import os
    def fails(value):
        try: raise ValueError(value)
        except ValueError: pass
    fails(1)
    pid = os.fork()
    if not pid:
        try: raise ValueError(2)
        except ValueError: os._exit(0)
    os.waitpid(pid, 0)
    fails(3)
    """, options=("-q", "--exceptions", "--engine", engine))
            found = [one[3]["0"] for one in exceptions(self.path("run.trace")) if "raised" in one[2]]
            self.assertEqual(sorted(found), [1, 2, 3])


@unittest.skipIf(e2e.VERSION >= (3, 12), "before CPython 3.12")
class LeavingExceptions(e2e.EndToEnd):
    """On 3.11 the instants are of exceptions that leave the function in which they were raised."""

    def raised(self, trace):
        return [one for one in exceptions(trace) if "StopIteration" not in one[2]]

    def test_each_is_in_the_function_that_raised_it(self):
        for more in ({}, {"clock": "sparse"}, {"c_calls": True}, {"gc": True}, {"task_names": True}, {"results": "*"}):
            with self.subTest(**more):
                shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
                wrote = json.loads(self.script(PROGRAM, json.dumps({"exceptions": True, **more})).out)
                leaving = [one for one in wrote if one[1] == "deep"]        # all others are handled where they are raised
                self.assertGreater(len(leaving), 30)
                verified = e2e.run([e2e.CONVERT, "--verify", self.path("run.pnr")])
                self.assertEqual(verified.status, 0, verified.err)
                self.assertEqual(by_thread(self.raised(e2e.convert(self.path("run.pnr")))), by_thread(leaving))

    def test_what_c_code_raises(self):
        _, trace = self.record("""
    import json, sys
    def caught(function):
        try: function()
        except Exception: pass
    def key(): {}["k"]
    def key_of_two(): {}[1, 2]
    def attribute(): key.nothing
    def division(): 1 / 0
    def number(): int("x")
    def file(): open("/no/such")
    def empty(): raise ValueError
    def stop(): next(iter(()))
    def none(): raise KeyError(None)
    def generate():
        yield
    def thrown(): generate().throw(OSError(3))
    def library(): json.loads("{")
    for function in key, key_of_two, attribute, division, number, file, empty, stop, none, thrown, library:
        caught(function)
    sys.excepthook = lambda *exception: None
    key()
    """, options=("-q", "--exceptions", "--no-stdlib"), status=1)
        del trace
        no_file = [2, "No such file or directory"]
        found = [[name, what, list(values.values())] for _, name, what, values in exceptions(self.path("run.trace"))]
        self.assertEqual(found, [
            ["key", "[raised KeyError]", ["k"]], ["key_of_two", "[raised KeyError]", ["<tuple>"]],
            ["attribute", "[raised AttributeError]", ["'function' object has no attribute 'nothing'"]],
            ["division", "[raised ZeroDivisionError]", ["division by zero"]],
            ["number", "[raised ValueError]", ["invalid literal for int() with base 10: 'x'"]],
            ["file", "[raised FileNotFoundError]", no_file], ["empty", "[raised ValueError]", []],
            ["stop", "[raised StopIteration]", []], ["none", "[raised KeyError]", [None]],
            ["generate", "[raised OSError]", [3]], ["key", "[raised KeyError]", ["k"]]])

    def test_in_a_chunk_of_its_own(self):
        """The instants come where chunks end, too: each is in the slice of its function."""
        _, trace = self.record(HANDLES + """
    for n in range(40000): handles(n)
    """, options=("-q", "--exceptions", "--last", "1h"))
        del trace
        found = first_values(self.path("run.trace"))
        self.assertEqual(found, list(range(40000)))
        self.assertEqual(e2e.run([e2e.CONVERT, "--verify", self.path("run.pnr")]).status, 0)

    def test_the_program_runs_as_without(self):
        for more in (), ("--c-calls",), ("--gc",):
            self.record_as_plain(RUNS_AS_WITHOUT, "--exceptions", *more)

    def test_a_pause_and_a_region(self):
        self.script(HANDLES + """
    import panopticon_rec as rec
    with rec.record("run.pnr"):
        handles(1)
        with rec.record("region.pnr", exceptions=True):
            handles(2)
            rec.pause()
            handles(3)
            rec.resume()
            handles(4)
    handles(6)
    """)
        found = [one[3]["0"] for one in self.raised(e2e.convert(self.path("region.pnr"))) if one[1] == "fails"]
        self.assertEqual(sorted(found), [2, 4])

    def test_children(self):
        self.record(HANDLES + """
    import os
    handles(1)
    pid = os.fork()
    if not pid:
        handles(2)
        os._exit(0)
    os.waitpid(pid, 0)
    handles(3)
    """, options=("-q", "--exceptions"))
        found = [one[3]["0"] for one in self.raised(self.path("run.trace")) if one[1] == "fails"]
        self.assertEqual(sorted(found), [1, 2, 3])

    def test_the_table(self):
        self.record("""
    def inner(): raise ValueError("x")
    def outer():
        try: inner()
        except ValueError: pass
    for _ in range(3): outer()
    """, options=("-q", "--exceptions"))
        text = e2e.run([e2e.CONVERT, "-q", "--top", "--exceptions", "--json", self.path("run.pnr")]).out
        self.assertEqual(json.loads(text)["exceptions"], [
            {"type": "ValueError", "raised_in": "__main__.inner", "handled_in": None, "count": 3}])


if __name__ == "__main__":
    unittest.main()
