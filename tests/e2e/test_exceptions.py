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
                self.record_as_plain("""
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
    print(sys.monitoring.get_tool(0), sys.exc_info())
    raise LookupError("the end")
    """, "--exceptions", "--engine", engine, *more)

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
class Refused(e2e.EndToEnd):
    def test_cpython_3_11(self):
        finished = e2e.recorded(self.path("run.pnr"), [self.write("app.py", "pass")], options=("-q", "--exceptions"))
        self.assertEqual(finished.status, 2)
        self.assertIn("exceptions are recorded from CPython 3.12 on", finished.err)
        self.assertFalse(os.path.exists(self.path("run.pnr")))


if __name__ == "__main__":
    unittest.main()
