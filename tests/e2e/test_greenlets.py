"""Greenlets: each is a track of its own, on which its calls nest as sys.setprofile saw them in the same greenlet."""

import collections
import importlib.util
import json
import os
import shutil
import unittest

import e2e

HAS_GREENLET = e2e.run([e2e.PYTHON, "-c", "import greenlet"]).status == 0
HAS_GEVENT = e2e.run([e2e.PYTHON, "-c", "import gevent"]).status == 0
ENGINES = e2e.ENGINES

# Prints, with the argument "oracle", what each greenlet called: a list of (depth, name) in the order of the calls.
ORACLE = """
import json, sys, threading, weakref
from greenlet import getcurrent
if sys.argv[1:] == ["oracle"]:
    tracks, found = weakref.WeakKeyDictionary(), []     # [depth, calls] of each greenlet
    def profile(frame, event, _):
        if event not in ("call", "return") or not frame.f_code.co_filename.endswith("app.py"):
            return
        one = getcurrent()
        if one not in tracks:
            tracks[one] = [0, []]
            found.append(tracks[one][1])
        if event == "call":
            tracks[one][1].append((tracks[one][0], frame.f_code.co_qualname))
        tracks[one][0] += 1 if event == "call" else -1
    threading.setprofile(profile)
    sys.setprofile(profile)
    main()
    sys.setprofile(None)
    print(json.dumps(found), file=sys.stderr)
else:
    main()
"""

SWITCHES = """
from functools import partial
from greenlet import greenlet, getcurrent
def leaf(n): return n and leaf(n - 1)
def pong(x):
    while x < 50:
        leaf(x % 5)
        x = up(x)
    return "end"
def up(x): return getcurrent().parent.switch(x + 1)
def ping(n):
    others = [greenlet(pong) for _ in range(n)]
    x = 0
    # A list: a generator closed half-way is resumed only where there is a profiler (3.14).
    while not all([one.dead for one in others]):
        for one in others:
            if not one.dead:
                one.switch(x % 60)
                leaf(2)
                x += 1
def generate(n):
    for i in range(n):
        up(i)
        yield leaf(i)
def consume(n): return sum(one or 0 for one in generate(n))
def nested(n):
    if n:
        inner = greenlet(nested)
        inner.switch(n - 1)
        leaf(n)
        while not inner.dead: inner.switch()
        leaf(1)
def raising(n):
    leaf(n)
    raise ValueError(n)
def killed():
    try:
        up(0)
    finally:
        leaf(1)
def short(n): leaf(n)
def go_on():
    switch = getcurrent().parent.switch
    switch()
    leaf(1)
    switch()
    leaf(2)
    return
    yield
def main():
    ping(3)
    one = greenlet(consume)
    one.switch(6)
    while not one.dead: one.switch()
    nested(5)
    for i in range(3):
        try:
            greenlet(raising).switch(i)
        except ValueError:
            leaf(i)
    one = greenlet(killed)
    one.switch()
    one.throw()
    one = greenlet(killed)
    one.switch()
    del one
    for i in range(200):
        greenlet(short).switch(i % 3)
    bare = [greenlet(partial(next, go_on(), None)) for _ in range(5)]      # the outermost frame lies in the generator
    for one in bare: one.switch()
    ended = [greenlet(short) for _ in range(5)]
    for one in ended: one.switch(2)
    for _ in range(2):
        for one in bare: one.switch()
    deep = greenlet(leaf)
    deep.switch(400)
    kept = [greenlet(pong) for _ in range(20)]
    for one in kept:
        x = 45
        while not one.dead: x = one.switch(x)
    import threading
    threads = [threading.Thread(target=ping, args=(2,)) for _ in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""

GEVENT = """
import gevent, gevent.pool, gevent.queue
def leaf(n): return n and leaf(n - 1)
def job(i):
    leaf(i % 7)
    gevent.sleep(0.0001 * (i % 3))
    leaf(3)
    return i
def produce(queue):
    for i in range(30):
        queue.put(i)
        leaf(1)
    queue.put(None)
def consume(queue):
    while queue.get() is not None: leaf(2)
def main():
    print(sum(gevent.pool.Pool(20).map(job, range(100))))
    queue = gevent.queue.Queue(3)
    gevent.joinall([gevent.spawn(produce, queue), gevent.spawn(consume, queue)])
    late = gevent.spawn(job, 1000)
    late.kill()
    try:
        with gevent.Timeout(0.01): gevent.sleep(1)
    except gevent.Timeout:
        leaf(4)
"""


@unittest.skipUnless(HAS_GREENLET, "greenlet is not there for this Python")
@unittest.skipUnless(e2e.IS_KNOWN, "greenlets are told apart by internals, which are not known")
@unittest.skipIf(e2e.IS_SANITIZED, "AddressSanitizer does not know stacks that are exchanged")
class Greenlets(e2e.EndToEnd):

    def check(self, text, options=()):
        program = self.write("app.py", text + ORACLE)
        from_oracle = e2e.plain([program, "oracle"])
        self.assertEqual(from_oracle.status, 0, from_oracle.err)
        expected = [[(depth, f"__main__.{name}") for depth, name in calls] for calls in json.loads(from_oracle.err)]
        alone = e2e.plain([program])
        for engine in ENGINES:
            with self.subTest(engine=engine, options=options):
                capture = self.path(f"{engine}.pnr")
                found = e2e.recorded(capture, [program], options=["-q", "--engine", engine, "--include", "__main__",
                                                                  *options])
                self.assertEqual(found, alone)
                finished = e2e.run([e2e.CONVERT, "-q", capture, "-o", self.path("run.trace")])
                self.assertEqual(finished, (0, "", ""))
                self.compare(expected, e2e.Trace(self.path("run.trace")))
                shutil.rmtree(capture)

    def compare(self, expected, trace):
        """A row may be of several greenlets, one after another: so each outermost call is compared with what is in
        it."""
        tracks = collections.defaultdict(list)
        for one in sorted(trace.slices, key=lambda one: (one.thread, one.begin)):
            if one.function.name.startswith("__main__.") and one.function.name != "__main__.<module>":
                tracks[one.thread].append((self.depth(one), one.function.name))
                self.assertFalse(one.flags - {"exception"}, one)
        self.assertSame(self.outermost(expected), self.outermost(tracks.values()), "calls")
        self.assertLessEqual(len(tracks), len([calls for calls in expected if calls]))

    @staticmethod
    def outermost(rows):
        found = []
        for calls in rows:
            for depth, name in calls:
                if depth == 0:
                    found.append([])
                found[-1].append((depth, name))
        return collections.Counter(map(tuple, found))

    @staticmethod
    def depth(one):
        depth = 0
        while (one := one.parent):
            depth += one.function.name.startswith("__main__.") and one.function.name != "__main__.<module>"
        return depth

    def test_switches(self):
        self.check(SWITCHES)

    def test_switches_with_c_calls(self):
        self.check(SWITCHES, ["--c-calls"])

    def test_everything_is_recorded(self):
        self.check(SWITCHES, ["--include", "*"])

    @unittest.skipUnless(HAS_GEVENT, "gevent is not there for this Python")
    def test_gevent(self):
        self.check(GEVENT)
        self.check(GEVENT, ["--include", "*"])

    def rows(self, text):
        """The names of the greenlets' rows, how many there are of each, for each engine."""
        for engine in ENGINES:
            with self.subTest(engine=engine):
                _, trace = self.record(text, options=["-q", "--engine", engine])
                names = collections.Counter(event["args"]["name"] for event in trace.metadata
                                            if event["name"] == "thread_name" and event["tid"] >= 1 << 31)
                yield trace, names

    def test_first(self):
        """The first greenlet runs a function that was called before the module was imported."""
        for trace, names in self.rows("""
            import json.tool, xml.dom.minidom           # by now all functions of the import system have been called
            def leaf(): pass
            def job(): leaf()
            def use():
                from greenlet import greenlet
                greenlet(job).switch()
            job()
            use()
            job()
            """):
            self.assertEqual(names, {"job": 1})
            rows = [one.thread[1] >= 1 << 31 for one in trace.named("__main__.job")]
            self.assertEqual(sorted(rows), [False, False, True])
            self.assertFalse([one for one in trace.slices if "exit_missing" in one.flags])

    def test_rows_are_used_again(self):
        """By greenlets of the same function that come later, whether or not the program keeps those that have ended;
        not while one has not ended, nor by those of another function or thread."""
        for trace, names in self.rows("""
            import threading
            from greenlet import greenlet, getcurrent
            def leaf(): pass
            def up(): getcurrent().parent.switch()
            def short(): leaf()
            def halves():
                leaf()
                up()
                leaf()
            def kept(): leaf()
            def waits():
                up()
                leaf()
            class Runs(greenlet):
                def run(self): leaf()
            def other(): leaf()
            def work():
                for _ in range(100): greenlet(other).switch()
            for _ in range(1000): greenlet(short).switch()
            for _ in range(50):
                ones = [greenlet(halves) for _ in range(7)]
                for _ in range(2):
                    for one in ones: one.switch()
            all_kept = []
            for _ in range(1000):
                all_kept.append(greenlet(kept))
                all_kept[-1].switch()
            waiting = [greenlet(waits) for _ in range(30)]
            for _ in range(2):
                for one in waiting: one.switch()
            for _ in range(10): Runs().switch()
            threads = [threading.Thread(target=work) for _ in range(2)]
            for thread in threads:
                thread.start()
                thread.join()
            """):
            self.assertEqual(names, {"short": 1, "halves": 7, "kept": 1, "waits": 30, "Runs.run": 1, "other": 2})
            counts = trace.count()
            self.assertEqual([counts[f"__main__.{name}"] for name in ("short", "halves", "kept", "waits", "Runs.run",
                                                                      "other")], [1000, 350, 1000, 30, 10, 200])
            self.assertFalse([one for one in trace.slices if one.function.name.startswith("__main__")
                              and one.flags - {"exception"}])

    @unittest.skipUnless(HAS_GEVENT, "gevent is not there for this Python")
    def test_names_of_gevent(self):
        for _, names in self.rows("""
            import gevent, gevent.pool
            def leaf(): pass
            def job(n):
                leaf()
                gevent.sleep(0)
                leaf()
            class Worker(gevent.Greenlet):
                def _run(self): leaf()
            class Server:
                def serve(self): leaf()
            ones = [gevent.spawn(job, n) for n in range(3)]
            gevent.joinall(ones)
            one = gevent.Greenlet(job, 1)
            one.name = "the one"
            one.start()
            one.join()
            gevent.joinall([Worker.spawn(), gevent.spawn(Server().serve)])
            pool = gevent.pool.Pool(10)
            for n in range(3000): pool.spawn(job, n)
            pool.join()
            """):
            del names["Hub.run"]
            self.assertEqual(names, {"job": 10, "the one": 1, "Worker._run": 1, "Server.serve": 1})

    def test_blocks_stand_alone(self):
        """What is left when the first segments were evicted nests as it should: each block has the stacks in it."""
        program = self.write("app.py", SWITCHES + """
def forever(n):
    here = getcurrent().parent
    outer(here, n)
def outer(here, n): inner(here, n)
def inner(here, n):
    while True:
        leaf(n)
        here.switch()
others = [greenlet(forever) for _ in range(5)]
import time
end = time.monotonic() + 3
for i in range(5):
    others[i].switch(i)
while time.monotonic() < end:
    for _ in range(100):
        others[i % 5].switch()
        i += 1
    time.sleep(0.001)           # a machine that is faster records no more
""")
        capture = self.path("run.pnr")
        e2e.recorded(capture, [program], options=["-q", "--last", "100ms"])
        segments = e2e.segments(capture)
        self.assertGreater(min(segments), 1)
        for path in list(segments.values())[:-9]:
            shutil.rmtree(path)
        trace = e2e.Trace(e2e.convert(capture))
        leaves = trace.named("__main__.leaf")
        self.assertGreater(len(leaves), 1000)
        outside = {tuple(self.names(one)) for one in leaves}
        self.assertEqual({names[names.index("__main__.inner"):] for names in outside},
                         {("__main__.inner", "__main__.outer", "__main__.forever")})

    @staticmethod
    def names(one):
        while (one := one.parent):
            yield one.function.name

    def test_begins_inside_greenlets(self):
        self.script("""
            import panopticon_rec
            from greenlet import greenlet, getcurrent
            def leaf(): pass
            def up(): getcurrent().parent.switch()
            def old(n):
                leaf(); up(); leaf(); up(); leaf()
            def main():
                ones = [greenlet(old) for _ in range(3)]
                for one in ones: one.switch(1)
                with panopticon_rec.record("run.pnr"):
                    for one in ones: one.switch()
                    leaf()
                    for one in ones: one.switch()
                    leaf()
            main()
            """)
        trace = self.trace()
        olds = trace.named("__main__.old")
        self.assertEqual([one.flags - {"unfinished"} for one in olds], [{"begin_unknown"}] * 3)
        self.assertEqual(len({one.thread for one in olds}), 3)
        self.assertEqual(sorted(one.parent.function.name for one in trace.named("__main__.leaf")),
                         ["__main__.main"] * 2 + ["__main__.old"] * 6)

    def test_nothing_is_imported(self):
        finished = e2e.recorded(self.path("run.pnr"), ["-c", "import sys; print([m for m in sys.modules if 'greenlet' in m])"])
        self.assertEqual(finished, (0, "[]\n", ""))


if __name__ == "__main__":
    unittest.main()
