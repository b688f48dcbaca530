"""What a program reports about itself: panopticon_rec.mark, span, counter, flow, and log records. The oracle is what the
program itself wrote down when it called them."""

import collections
import json
import os
import signal
import subprocess
import sys
import time
import unittest

import e2e

ENGINES = ("frame", "monitoring") if sys.version_info >= (3, 12) else ("frame",)

PROGRAM = """
    import asyncio, json, os, sys, threading
    import panopticon_rec as rec

    wrote = []

    def mark(name, **values):
        wrote.append([threading.get_native_id(), "i", name, values])
        rec.mark(name, **values)

    def counter(name, **values):
        wrote.append([threading.get_native_id(), "C", name, values])
        rec.counter(name, **values)

    def ended(name, **values):
        wrote.append([threading.get_native_id(), "X", name, values])

    def leaf(n):
        mark("leaf", n=n, half=n / 2, text="x" * n, even=n % 2 == 0, nothing=None)
        return n

    def work(n):
        for i in range(n):
            with rec.span("outer", i=i):
                leaf(i)
                with rec.span("inner"):
                    leaf(-i)
                    counter("queue", depth=i, load=i / 4)
                ended("inner")
            ended("outer", i=i)

    def fails():
        try:
            with rec.span("failing", why="error"):
                raise ValueError
        except ValueError:
            ended("failing", why="error")
            mark("caught")

    mark("before")
    wrote.clear()
    with rec.record("run.pnr", **json.loads(sys.argv[1])):
        work(50)
        fails()
        threads = [threading.Thread(target=work, args=(20,)) for _ in range(3)]
        for t in threads: t.start()
        for t in threads: t.join()
    print(json.dumps(wrote))
    mark("after")
    """


def read(trace, tid=None):
    """The remarks of the trace's label category, as the program writes them down: in the order of time."""
    with open(trace, encoding="utf-8") as file:
        events = [event for event in json.load(file)["traceEvents"] if event.get("cat") == "label"]
    events.sort(key=lambda event: event["ts"] + event.get("dur", 0))
    return [[event["tid"], event["ph"], event["name"], event.get("args", {})] for event in events
            if event["ph"] in "iCX" and tid in (None, event["tid"])]


def by_thread(remarks):
    found = collections.defaultdict(list)
    for tid, *remark in remarks:
        found[tid].append(remark)
    return dict(found)


class Remarks(e2e.EndToEnd):
    def check(self, **how):
        wrote = json.loads(self.script(PROGRAM, json.dumps(how)).out)
        self.assertGreater(len(wrote), 500)
        verified = e2e.run([e2e.CONVERT, "--verify", self.path("run.pnr")])
        self.assertEqual(verified.status, 0, verified.err)
        self.assertEqual(by_thread(read(e2e.convert(self.path("run.pnr")))), by_thread(wrote))

    def test_all_of_them(self):
        for engine in ENGINES:
            for more in ({}, {"clock": "sparse"}, {"c_calls": True}, {"mine": True}, {"max_overhead": "1%"}):
                if "max_overhead" in more and engine == "frame":        # it is refused
                    continue
                with self.subTest(engine=engine, **more):
                    self.check(engine=engine, **more)
                    subprocess.run(["rm", "-r", self.path("run.pnr")], check=True)

    def test_spans_are_slices_among_the_calls(self):
        _, trace = self.record("""
    import panopticon_rec
    def leaf(): pass
    def main():
        leaf()
        with panopticon_rec.span("a", n=1):
            leaf()
            with panopticon_rec.span("b"):
                leaf()
        leaf()
    main()
    """)
        paths = ["/".join(name.removeprefix("__main__.") for name in slice_path(slice)) for slice in trace.named("__main__.leaf")]
        self.assertEqual(sorted(paths), ["<module>/main/a/b/leaf", "<module>/main/a/leaf", "<module>/main/leaf",
                                         "<module>/main/leaf"])

    def test_spans_of_wrappers(self):
        """A span that __enter__() of a class of the program begins, or a generator of contextlib, is open in the body."""
        _, trace = self.record("""
    import contextlib, panopticon_rec
    class Wrapper:
        def __enter__(self):
            self.span = panopticon_rec.span("own", n=1)
            self.span.__enter__()
        def __exit__(self, *exception):
            self.span.__exit__(None, None, None)
    @contextlib.contextmanager
    def managed():
        with panopticon_rec.span("managed"):
            yield
    def leaf(): pass
    def main():
        with Wrapper():
            leaf()
        with managed(), Wrapper():
            leaf()
            with contextlib.ExitStack() as stack:
                stack.enter_context(Wrapper())
                leaf()
        leaf()
    main()
    """)
        self.assertEqual([slice_path(slice)[2:-1] for slice in sorted(trace.named("__main__.leaf"), key=lambda s: s.begin)],
                         [["own"], ["managed", "own"], ["managed", "own", "own"], []])
        self.assertFalse(any("exit_missing" in slice.flags for slice in trace.slices))

    def test_a_coroutine_takes_its_spans_with_it(self):
        """A span across an await is not open while another task runs."""
        _, trace = self.record("""
    import asyncio, panopticon_rec
    def leaf(): pass
    async def task(name):
        with panopticon_rec.span(name, name=name):
            with panopticon_rec.span("inner " + name):
                leaf()
                await asyncio.sleep(0)
                leaf()
                await asyncio.sleep(0.001)
                leaf()
        leaf()
    async def main():
        await asyncio.gather(task("x"), task("y"))
    asyncio.run(main())
    """)
        found = collections.Counter(tuple(name for name in slice_path(slice) if len(name.split()[-1]) == 1)
                                    for slice in trace.named("__main__.leaf"))
        self.assertEqual(found, {("x", "inner x"): 3, ("y", "inner y"): 3, (): 2})
        slices = [remark for remark in read(self.path("run.trace")) if remark[1] == "X"]
        self.assertEqual(collections.Counter((name, args.get("name")) for _, _, name, args in slices),
                         {("x", "x"): 3, ("y", "y"): 3, ("inner x", None): 3, ("inner y", None): 3})
        self.assertFalse(any("exit_missing" in args for *_, args in slices), slices)

    def test_decorators(self):
        finished, trace = self.record("""
    import asyncio, inspect, panopticon_rec
    span = panopticon_rec.span
    def leaf(): return 1
    @span("plain", n=1)
    def plain(a, *, b=2): "Adds."; return leaf() + a + b
    @span("generator")
    def generator(n):
        for i in range(n):
            try:
                got = yield leaf() + i
            except KeyError: got = "caught"
            if got: yield got
        return "end"
    @span("coroutine")
    async def coroutine():
        leaf(); await asyncio.sleep(0); return leaf()
    @span("asyncgen")
    async def asyncgen(n):
        try:
            for i in range(n):
                await asyncio.sleep(0)
                got = yield leaf() + i
                if got: yield got
        finally:
            leaf()
    async def main():
        print(await coroutine(), [i async for i in asyncgen(2)])
        a = asyncgen(3)
        print(await a.asend(None), await a.asend("sent"), await a.aclose())
    print(plain(1), plain.__name__, plain.__doc__, list(generator(3)))
    g = generator(2)
    print(next(g), g.send("sent"), next(g), g.throw(KeyError))
    g.close()
    print([inspect.isgeneratorfunction(generator), inspect.iscoroutinefunction(coroutine), inspect.isasyncgenfunction(asyncgen)])
    asyncio.run(main())
    """)
        self.assertEqual(finished.out.splitlines(), ["4 plain Adds. [1, 2, 3]", "1 sent 2 caught", "[True, True, True]", "1 [1, 2]",
                                            "1 sent None"])
        around = collections.Counter(slice_path(slice)[-3 if "." in slice_path(slice)[-2] else -2]
                                     for slice in trace.named("__main__.leaf"))
        self.assertEqual(around, {"plain": 1, "generator": 5, "coroutine": 2, "asyncgen": 5})

    def test_flows_join_slices(self):
        self.record("""
    import panopticon_rec, threading
    def send(n): panopticon_rec.flow(n)
    def receive(n): panopticon_rec.flow(n)
    for n in (1, 2, "text"): send(n)
    t = threading.Thread(target=lambda: [receive(n) for n in (2, "text")]); t.start(); t.join()
    """)
        with open(e2e.convert(self.path("run.pnr")), encoding="utf-8") as file:
            flows = [event for event in json.load(file)["traceEvents"] if event.get("cat") == "label"]
        self.assertEqual([flow["ph"] for flow in sorted(flows, key=lambda flow: flow["ts"])], ["s", "s", "s", "t", "t"])
        starts = [flow["id"] for flow in flows if flow["ph"] == "s"]
        self.assertEqual([flow["id"] for flow in flows if flow["ph"] == "t"], starts[1:])

    def test_log_records(self):
        self.record("""
    import logging, panopticon_rec.log_handler
    logging.getLogger("shop").addHandler(panopticon_rec.log_handler.Handler())
    logging.getLogger("shop").error("no %s left", "tea")
    """)
        (_, phase, name, args), = read(e2e.convert(self.path("run.pnr")))
        self.assertEqual((phase, name, args), ("i", "log", {"level": "ERROR", "logger": "shop", "message": "no tea left"}))


def slice_path(slice):
    found = []
    while slice:
        found.append(slice.function.name)
        slice = slice.parent
    return found[::-1]


class Values(e2e.EndToEnd):
    def test_what_is_too_long_is_cut(self):
        self.record("""
    import enum, panopticon_rec
    mark = panopticon_rec.mark
    class Text(str): pass
    class Color(enum.IntEnum): RED = 7
    mark("a", text="é" * 700)
    mark("b", **{f"key {n}": "y" * 900 for n in range(6)})
    mark("z" * 1500)
    mark(Text("derived"), big=1 << 70, small=-(1 << 63), color=Color.RED, text=Text("t"), nan=float("nan"))
    mark(5)
    mark("\\ud800 lone", key="\\udfff")
    mark("other", file=print, bytes=b"b", list=[1])
    mark("precise", n=(1 << 53) + 1)
    """)
        remarks = [remark[2:] for remark in read(e2e.convert(self.path("run.pnr")))]
        self.assertEqual(remarks[0], ["a", {"text": "é" * 500 + "…"}])
        self.assertEqual(remarks[1], ["b", {**{f"key {n}": "y" * 900 for n in range(4)}, "left_out": 2}])
        self.assertEqual(remarks[2], ["z" * 1000 + "…", {}])
        self.assertEqual(remarks[3], ["derived", {"big": hex(1 << 70), "small": str(-(1 << 63)), "color": 7, "text": "t",
                                                  "nan": "nan"}])
        self.assertEqual(remarks[4], ["[further names]", {"name": 5}])
        self.assertEqual(remarks[5], ["\ufffd lone", {"key": "\ufffd"}])
        self.assertEqual(remarks[6], ["other", {"file": "<builtin_function_or_method>", "bytes": "<bytes>",
                                                "list": "<list>"}])
        self.assertEqual(remarks[7], ["precise", {"n": str((1 << 53) + 1)}])

    def test_names_without_end(self):
        """Names that are made at run time fill no more than a part of the name table."""
        self.record("""
    import panopticon_rec
    for n in range(6000): panopticon_rec.mark(f"request {n}", n=n)
    """)
        remarks = [remark[2:] for remark in read(e2e.convert(self.path("run.pnr")))]
        self.assertEqual([args["n"] for _, args in remarks], list(range(6000)))
        self.assertEqual([args.get("name", name) for name, args in remarks], [f"request {n}" for n in range(6000)])
        self.assertLess(os.path.getsize(os.path.join(self.path("run.pnr"), e2e.process_directories(self.path("run.pnr"))[0], "names")), 400_000)

    def test_no_code_of_the_program_runs(self):
        finished, _ = self.record("""
    import panopticon_rec
    class Loud(str):
        def __hash__(self): print("hash"); return 1
        def __eq__(self, other): print("eq"); return True
        def __repr__(self): print("repr"); return ""
        __str__ = __len__ = __repr__
    class Number(int):
        def __index__(self): print("index"); return 1
        __int__ = __float__ = __index__
    for _ in range(3):
        panopticon_rec.mark(Loud("loud"), a=Loud("a"), b=Number(5), c=Number(1 << 80))
        with panopticon_rec.span(Loud("loud"), a=Loud("a"), b=Number(5), c=Number(1 << 80)): pass
    """)
        self.assertEqual(finished.out, "")

    def test_wrong_calls(self):
        out = self.script("""
    import panopticon_rec as rec
    for call in (rec.mark, rec.counter, rec.span, lambda: rec.mark("a", "b"), rec.flow, lambda: rec.span()):
        try:
            call()
        except TypeError:
            print("TypeError")
    """).out
        self.assertEqual(out.split(), ["TypeError"] * 6)

    def test_spans_free_what_they_hold(self):
        out = self.script("""
    import gc, panopticon_rec as rec, sys
    class Object: pass
    def count():
        gc.collect()
        return sys.getallocatedblocks()
    def use(n):
        for i in range(n):
            o = Object()
            o.span = rec.span(f"name {i}", o=o, n=i * 1000, text=f"text {i}")
            with o.span: rec.mark(f"{i}", n=i * 1000)
    use(10)
    before = count()
    use(10000)
    print(count() - before)
    """).out
        self.assertLess(int(out), 100)


class Processes(e2e.EndToEnd):
    def test_forked_children(self):
        finished, _ = self.record("""
    import os, panopticon_rec
    panopticon_rec.mark("parent", pid=os.getpid())
    pids = []
    for i in range(3):
        pid = os.fork()
        if not pid:
            panopticon_rec.mark("child", pid=os.getpid(), i=i)
            with panopticon_rec.span("own", i=i): panopticon_rec.counter("c", i=i)
            os._exit(0)
        os.waitpid(pid, 0)
        pids.append(pid)
    print(os.getpid(), *pids)
    """)
        parent, *children = map(int, finished.out.split())
        remarks = [tuple(remark[2:]) for remark in read(e2e.convert(self.path("run.pnr")))]
        self.assertIn(("parent", {"pid": parent}), remarks)
        for i, pid in enumerate(children):
            self.assertIn(("child", {"pid": pid, "i": i}), remarks)
            self.assertIn(("own", {"i": i}), remarks)
        self.assertEqual(len(remarks), 10)

    def test_killed_at_any_moment(self):
        """Text is whole or absent, never mixed; what the program had reported before is there."""
        program = self.write("killed.py", """
    import os, panopticon_rec
    n = 0
    while True:
        text = chr(97 + n % 26) * (n * 37 % 900)
        panopticon_rec.mark("m", n=n, text=text, again=text)
        with panopticon_rec.span("s", n=n): pass
        if n % 50 == 0: os.write(1, b"%d\\n" % n)
        n += 1
    """)
        random = self.random()
        for i in range(25):
            for options in ([], ["--clock", "sparse"])[i % 2:][:1]:
                capture = self.path(f"run-{i}.pnr")
                process = subprocess.Popen(e2e.recorder(capture, [program], options=["-q", *options]),
                                           stdout=subprocess.PIPE, env=e2e.environment())
                process.stdout.readline()
                time.sleep(random.random() * 0.2)
                process.send_signal(signal.SIGKILL)
                out = process.stdout.read().split()
                process.stdout.close()
                process.wait()
                verified = e2e.run([e2e.CONVERT, "--verify", capture], timeout=300)
                self.assertEqual(verified.status, 0, verified.err)
                numbers = []
                for _, phase, name, args in read(e2e.convert(capture)):
                    if phase == "i":
                        n = args["n"]
                        text = chr(97 + n % 26) * (n * 37 % 900)
                        self.assertEqual(args, {"n": n, "text": text, "again": text})
                        numbers.append(n)
                self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))
                self.assertEqual(numbers[0], 0)
                if out:
                    self.assertGreaterEqual(numbers[-1], int(out[-1]))

    def test_flight_recorder(self):
        """A block never begins in the midst of values."""
        self.record("""
    import os, panopticon_rec
    for n in range(60000):
        text = os.urandom(450).hex()
        panopticon_rec.mark("m", n=n, text=text, again=text[::-1])
    """, options=("-q", "--max-size", "16M"))
        numbers = []
        for _, _, _, args in read(e2e.convert(self.path("run.pnr"))):
            self.assertEqual((len(args["text"]), args["text"]), (900, args["again"][::-1]))
            numbers.append(args["n"])
        self.assertEqual(numbers, list(range(numbers[0], 60000)))
        self.assertGreater(numbers[0], 0)


if __name__ == "__main__":
    unittest.main()
