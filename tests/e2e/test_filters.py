"""Filters and the minimum duration: what is left out, what is kept, and where it then is."""

import collections
import fnmatch
import json
import mmap
import os
import re
import struct
import subprocess
import time
import unittest

import e2e
import test_oracle

INCLUDE, EXCLUDE, STDLIB, FROZEN = "--include", "--exclude", "--no-stdlib", "--no-frozen"


def is_below(file, folder):
    rest = os.path.relpath(file, folder) if os.path.isabs(file) else ".."
    return rest.split(os.sep)[0] not in ("..", "site-packages", "dist-packages")


def is_left_out(rules, module, name, file):
    """What the rules [(option, glob or None), ...] mean for a function, by fnmatch and sysconfig."""
    globs = [option for option, _ in rules if option in (INCLUDE, EXCLUDE)]
    left_out = globs[:1] == [INCLUDE]
    for option, glob in rules:
        if option in (INCLUDE, EXCLUDE):
            if any(fnmatch.fnmatchcase(text, glob) for text in (module, name, file)):
                left_out = option == EXCLUDE
        elif file.startswith("<frozen ") or (option == STDLIB and any(
                is_below(file, PATHS[name]) for name in ("stdlib", "platstdlib"))):
            left_out = True
    return left_out


PATHS = json.loads(e2e.plain(["-c", "import json, sysconfig; print(json.dumps(sysconfig.get_paths()))"]).out)


def options(rules):
    return ["-q", *(text for rule in rules for text in rule if text)]


def module_of(name, file):
    """The module of a function, by its full name and its file."""
    if is_below(file, PATHS["stdlib"]):
        path = os.path.relpath(file, PATHS["stdlib"]).removesuffix(".py").removesuffix("/__init__")
        if name.startswith(path.replace("/", ".") + "."):
            return path.replace("/", ".")
    return name.split(".")[0]


class Oracle(e2e.EndToEnd):
    """Real programs, compared with what sys.setprofile reports of them less what is left out."""

    def compare(self, name, rules, minimum):
        program = os.path.join(test_oracle.PROGRAMS, name)
        expected_run, reported = test_oracle.from_oracle(program, self.path("oracle.json"), [])
        capture = self.path("run.pnr")
        found_run = e2e.recorded(capture, [program], options=options(rules))
        self.assertEqual(*(test_oracle.ADDRESS.sub("at ...", str(run)) for run in (found_run, expected_run)))
        trace = e2e.Trace(e2e.convert(capture))
        expected = test_oracle.Summary(self.without(reported, rules), program)
        found = test_oracle.Summary(test_oracle.traced(trace, program), program)
        n, n_all = (sum(one.sure["entries of functions"].values())
                    for one in (expected, test_oracle.Summary(reported, program)))
        self.assertTrue(minimum <= n < n_all, f"{n} entries of {n_all}")
        for what, counter in expected.without_unsure(found).items():
            self.assertSame(expected.sure[what], counter, f"{name} {rules}: {what}")
        self.assertFalse([one for one in trace.slices if one.flags & {"exit_missing", "begin_unknown"}][:5])
        self.assertEqual(trace.instants, [])

    def without(self, slices, rules):
        """The slices that are kept, each with the nearest of those around it for parent."""
        left_out, place, kept = {}, [], []
        for function, parent, flow, step, others in slices:
            name, src = function
            if function not in left_out:
                file = src.rpartition(":")[0]
                left_out[function] = is_left_out(rules, module_of(name, file), name, file)
            parent = place[parent] if parent >= 0 else -1
            if left_out[function]:
                place.append(parent)
                continue
            place.append(len(kept))
            kept.append((function, parent, flow, step, tuple(place[other] for other in others if place[other] >= 0)))
        return kept

    def test_no_stdlib_asyncio(self):
        self.compare("sleepers.py", [(STDLIB, None)], 1000)

    def test_no_stdlib_generators(self):
        self.compare("contexts.py", [(STDLIB, None)], 500)

    def test_no_stdlib_json(self):
        self.compare("codec.py", [(STDLIB, None)], 100)

    def test_no_frozen(self):
        self.compare("logs.py", [(FROZEN, None)], 1000)

    def test_one_module(self):
        self.compare("logs.py", [(INCLUDE, "logging"), (INCLUDE, "__main__")], 500)

    def test_all_but_generators(self):
        """Generators in between are left out: what they call goes to who drives them."""
        self.compare("codec.py", [(EXCLUDE, "json.encoder")], 500)

    def test_part_of_a_package(self):
        self.compare("sleepers.py", [(EXCLUDE, "*/asyncio/*"), (INCLUDE, "asyncio.*"), (EXCLUDE, "asyncio.ev*")], 1000)

    def test_without_the_program_itself(self):
        """Only what Summary does not compare would be left: so the program's own functions are kept, except for a
        few."""
        self.compare("calls.py", [(EXCLUDE, "json*"), (STDLIB, None), (INCLUDE, "functools")], 500)


PACKAGE = {
    "app.py": """
        import sys
        sys.dont_write_bytecode = True
        sys.path.insert(0, sys.path[0] + "/site-packages")
        import pkg.outer, pkg.deep.inner, vendored
        def main():
            pkg.outer.first()
        def last(): pass
        pkg.outer.last = pkg.deep.inner.last = last
        main()
        """,
    "pkg/__init__.py": "",
    "pkg/outer.py": """
        import pkg.deep.inner as inner
        def first():
            second()
        def second():
            inner.third()
        """,
    "pkg/deep/__init__.py": "",
    "pkg/deep/inner.py": """
        import vendored
        def third():
            for _ in fourth():
                vendored.fifth()
        def fourth():
            last()
            yield 1
            last()
        """,
    "site-packages/vendored.py": """
        import json
        def fifth():
            json.loads("[1]")
        """,
}


class Globs(e2e.EndToEnd):
    FUNCTIONS = {"__main__.<module>": None, "__main__.main": None, "pkg.outer.first": None, "pkg.outer.second": None,
                 "pkg.deep.inner.third": None, "pkg.deep.inner.fourth": None, "vendored.fifth": None,
                 "json.loads": None, "__main__.last": None}

    def setUp(self):
        super().setUp()
        for name, text in PACKAGE.items():
            self.program = self.write(name, text) if name == "app.py" else self.write(name, text) and self.program

    def found(self, *arguments):
        finished = e2e.recorded(self.path("run.pnr"), [self.program], options=["-q", "--force", *arguments])
        self.assertEqual(finished, e2e.Finished(0, "", ""))
        return e2e.Trace(e2e.convert(self.path("run.pnr")))

    def test_which(self):
        everything = list(self.FUNCTIONS)
        e2e.recorded(self.path("all.pnr"), [self.program], options=["-q"])
        main, outer, inner, other = everything[:2] + everything[8:], everything[2:4], everything[4:6], everything[6:8]
        for arguments, expected in (
                ("", everything),
                ("--exclude pkg.outer", main + inner + other),
                ("--exclude pkg.*", main + other),
                ("--exclude pkg", everything),
                ("--include pkg.*", outer + inner),
                ("--include pkg.* --include __main__", main + outer + inner),
                ("--include pkg.* --exclude *.inner", outer),
                ("--exclude *.inner --include pkg.*", everything),
                ("--exclude pkg.* --include *inner", main + inner + other),
                ("--exclude */deep/*", main + outer + other),
                ("--include */pkg/*.py", outer + inner),
                ("--include *app.py", main),
                ("--include pkg.?uter", outer),
                ("--include pkg.[!d]*", outer),
                ("--no-stdlib", everything[:7] + everything[8:]),
                ("--no-stdlib --include json*", ["json.loads"]),
                ("--no-stdlib --exclude pkg.* --include json*", main + other),
                ("--include * --no-stdlib --include json*", everything),
                ("--include json* --no-stdlib", []),
                ("--no-frozen", everything),
                ("--include nothing", []),
                ("--exclude pkg.outer.first", main + outer[1:] + inner + other),
                ("--include *.third --include *.fifth", [inner[0], other[0]]),
                ("--exclude *.last --include __main__.l*", everything),
                ("--include first", []),
                ("--exclude *", []),
        ):
            with self.subTest(arguments):
                names = self.found(*arguments.split()).count()
                self.assertEqual([name for name in everything if names[name]], sorted(expected, key=everything.index))
                if "--no" not in arguments:
                    shown = e2e.Trace(e2e.convert(self.path("all.pnr"), *arguments.split())).count()
                    self.assertEqual(shown, names, "the converter's options of these names mean the same")

    def parents(self, *arguments):
        trace = self.found(*arguments)
        return {one.function.name: one.parent and one.parent.function.name for one in trace.slices}

    def test_nesting(self):
        """What an excluded function calls lies in the nearest function around it that is recorded."""
        found = self.parents("--exclude", "pkg.*")
        self.assertEqual([found[f"__main__.{name}"] for name in ("main", "last")], ["__main__.<module>", "__main__.main"])
        self.assertEqual(found["vendored.fifth"], "__main__.main")
        found = self.parents("--include", "pkg.outer", "--include", "vendored")
        self.assertEqual((found["vendored.fifth"], found["pkg.outer.first"]), ("pkg.outer.second", None))

    def test_excluded_generators(self):
        """They leave no record at all, also where they are created."""
        self.found("--exclude", "*.inner", "--no-stdlib")
        reported = e2e.run([e2e.CONVERT, self.path("run.pnr"), "--info", "--verify"])
        self.assertNotIn("created", reported.out)
        self.assertNotIn("suspended", reported.out)

    def test_no_frozen(self):
        for arguments, expected in (([], True), (["--no-frozen"], False), (["--no-stdlib"], False)):
            sources = {one.function.src for one in self.found(*arguments).slices}
            self.assertEqual(any(src.startswith("<frozen ") for src in sources), expected, arguments)
            self.assertEqual(any("/json/" in src for src in sources), "--no-stdlib" not in arguments)


class Excluded(e2e.EndToEnd):
    """What an excluded function must not change."""

    def test_threads_keep_their_names(self):
        _, trace = self.record("""
            import threading
            def work():
                threading.current_thread().name = "renamed" if number else "other"
                step()
            def step(): pass
            for number in range(2):
                thread = threading.Thread(target=work, name="first")
                thread.start()
                thread.join()
            thread = threading.Thread(target=step, name="named")
            thread.start()
            thread.join()
            """, options=["-q", "--no-stdlib"])
        self.assertEqual(sorted(trace.threads.values()), ["MainThread", "named", "other", "renamed"])
        self.assertEqual([one.parent for one in trace.named("__main__.work")], [None] * 2)

    def test_recursion(self):
        """Beyond the guard of the C stack, too."""
        text = """
            import sys
            sys.setrecursionlimit(60_000)
            def deep(n):
                return n and (deep(n - 1) if n % 2 else other.deep(n - 1))
            import other
            def bottom(): pass
            other.deep, other.bottom, other.main_deep = other.make(bottom, deep)
            print(deep(50_000))
            def endless(): other.endless()
            other.main_endless = endless
            try:
                endless()
            except RecursionError as error:
                print(error)
            """
        self.write("other.py", """
            def make(bottom, main_deep):
                def deep(n):
                    return n and main_deep(n - 1) or bottom() or n
                return deep, bottom, main_deep
            def endless(): main_endless()
            """)
        path = self.write("app.py", text)
        plain = e2e.plain([path], cwd=self.directory)
        self.assertEqual(plain.status, 0, plain.err)
        for rules in ([EXCLUDE, "other"], [EXCLUDE, "__main__"], [EXCLUDE, "*"]):
            finished = e2e.recorded(self.path("run.pnr"), [path], options=["-q", "--force", *rules], cwd=self.directory)
            self.assertEqual(finished, plain)
            e2e.Trace(e2e.convert(self.path("run.pnr")))

    def test_start_inside(self):
        """An excluded function that is running when the recording starts is not shown as opened before."""
        self.write("other.py", "def between(f): f()")
        self.script("""
            import other, panopticon_rec
            recorder = panopticon_rec.Recorder("run.pnr", filters=["exclude other"])
            def inner():
                recorder.start()
                other.between(step)
            def step(): pass
            def outer(): other.between(inner)
            outer()
            recorder.stop()
            """)
        trace = self.trace()
        self.assertEqual({one.function.name for one in trace.slices},
                         {f"__main__.{name}" for name in ("<module>", "outer", "inner", "step")})
        step, = trace.named("__main__.step")
        self.assertEqual((step.parent.function.name, step.depth), ("__main__.inner", 3))

    def test_each_recording_has_its_own(self):
        """A function is judged anew in each."""
        self.script("""
            import panopticon_rec
            def f(): pass
            for name, filters in (("a", ["exclude __main__"]), ("b", []), ("c", ["include json"]), ("d", ["exclude json"])):
                with panopticon_rec.record(name + ".pnr", filters=filters):
                    f()
            """)
        counts = [self.trace(f"{name}.pnr").count()["__main__.f"] for name in "abcd"]
        self.assertEqual(counts, [0, 1, 0, 1])


class MinDuration(e2e.EndToEnd):
    """The programs measure themselves: a call must be kept when it took the minimum inside of the function, and must
    not when it took less outside of it."""

    TIMED = """
        import asyncio, json, random, sys, threading, time
        clock = time.monotonic_ns
        inside, reported = {}, []
        def measured(function, fails=False):
            number = len(reported)
            reported.append(None)
            begin = clock()
            try:
                function(number)
            except LookupError:
                pass
            reported[number] = function.__name__, inside.pop(number), clock() - begin
        def sleeps(number):
            begin = clock()
            time.sleep(random.choice((0, 0, 0.001, 0.012, 0.02)))
            inside[number] = clock() - begin
        def raises(number):
            begin = clock()
            time.sleep(random.choice((0, 0.001, 0.012)))
            inside[number] = clock() - begin
            raise LookupError
        def nests(number):
            begin = clock()
            measured(sleeps)
            short()
            measured(raises)
            short()
            inside[number] = clock() - begin
        def generates(number):
            begin = clock()
            for _ in steps(): pass
            inside[number] = clock() - begin
        def steps():
            for seconds in (0, 0.012, 0, 0.001, 0.012, 0): yield time.sleep(seconds)
        def short(): pass
        def work():
            for _ in range(12):
                for function in (sleeps, raises, nests, generates):
                    short()
                    measured(function)
        random.seed(5)
        work()
        with open(sys.argv[1], "w") as file:
            json.dump(reported, file)
        """

    def test_long_calls_are_kept_and_short_ones_elided(self):
        limit = 10_000_000
        _, trace = self.record(self.TIMED, self.path("reported"), options=["-q", "--min-duration", "10ms"])
        with open(self.path("reported")) as file:
            reported = json.load(file)
        for name in ("sleeps", "raises", "nests", "generates"):
            found = trace.named(f"__main__.{name}")
            surely = sum(inner >= limit for what, inner, _ in reported if what == name)
            perhaps = sum(outer >= limit for what, _, outer in reported if what == name)
            self.assertTrue(surely <= len(found) <= perhaps, f"{name}: {surely} <= {len(found)} <= {perhaps}")
            self.assertGreaterEqual(surely, 4)
            self.assertTrue(all(one.end - one.begin >= limit for one in found))
        self.assertLess(perhaps, len(reported))
        self.assertEqual({frozenset({"exception"})}, {one.flags for one in trace.named("__main__.raises")})
        self.assertTrue(all(one.end - one.begin >= limit for one in trace.slices if one.function.cat == "python"))
        # Each generator's two long steps are joined, whatever addresses the generators have.
        steps = [flow for flow in trace.flows if flow[0].function.name == "__main__.steps"]
        self.assertEqual(len(steps), 12)
        self.assertTrue(all(2 <= len(flow) <= 6 for flow in steps), steps)

    def test_nothing_is_stored(self):
        """A million short calls, exceptions, C calls and steps of generators: the capture has next to nothing, and
        reports what it is of."""
        finished, trace = self.record("""
            def short(n):
                return n and short(n - 1)
            def raises(): raise LookupError
            def steps(n):
                for k in range(n): yield short(2)
            def makes(): return steps(3)
            async def coroutine(): return await inner()
            async def inner(): short(1)
            def work():
                for _ in range(20_000):
                    short(5)
                    try: raises()
                    except LookupError: pass
                    makes()
                    try: coroutine().send(None)
                    except StopIteration: pass
                for _ in steps(100_000): pass
            work()
            """, options=["-q", "--no-stdlib", "--min-duration", "10s"])
        self.assertEqual(trace.slices, [])
        reported = e2e.run([e2e.CONVERT, self.path("run.pnr"), "--info"]).out
        self.assertLess(int(re.search(r"^  events +(\d+)$", reported, re.M)[1]), 50, reported)
        self.assertIn("nothing shorter than 10000000000 ns", reported)
        self.assertIn("no-stdlib", reported)

    def test_chunks_turn(self):
        """Records of calls that begin in one chunk and end in the next are in the file, and left out of the trace."""
        _, trace = self.record("""
            import time
            def long(): time.sleep(0.2)
            def steps():
                yield
                yield
            def outer():
                time.sleep(0.2)             # so that it is long on any machine
                for _ in range(9_000):
                    one = steps()
                    next(one)
                    next(one)
            def work(): outer()
            long()
            work()
            long()
            """, options=["-q", "--min-duration", "200ms"])
        names = trace.count()
        self.assertEqual([names[f"__main__.{name}"] for name in ("long", "work", "outer")], [2, 1, 1])
        self.assertLess(names["__main__.steps"], 100)
        outer, = trace.named("__main__.outer")
        self.assertEqual(outer.parent.function.name, "__main__.work")
        self.assertFalse([one for one in trace.slices if one.flags])

    def test_threads_and_tasks(self):
        """Flows go from long slice to long slice, also between threads."""
        _, trace = self.record("""
            import asyncio, threading, time
            def shared():
                for n in range(30):
                    time.sleep(0.012 if n % 10 == 0 else 0)
                    yield n
            generator, lock = shared(), threading.Lock()
            def take():
                for _ in range(10):
                    with lock: next(generator)
            threads = [threading.Thread(target=take) for _ in range(3)]
            for thread in threads: thread.start(); thread.join()
            async def client(n):
                for _ in range(5):
                    await asyncio.sleep(0.001)
                time.sleep(0.012)
                await asyncio.sleep(0)
                time.sleep(0.012)
            async def main():
                await asyncio.gather(*(client(n) for n in range(5)))
            asyncio.run(main())
            """, options=["-q", "--min-duration", "10ms"])
        flows = collections.Counter(flow[0].function.name for flow in trace.flows)
        self.assertEqual((flows["__main__.shared"], flows["__main__.client"]), (1, 5))
        shared, = [flow for flow in trace.flows if flow[0].function.name == "__main__.shared"]
        self.assertGreaterEqual(len(shared), 3)
        self.assertEqual(len({one.thread for one in shared}), 3)

    KILLED = """
        import mmap, sys
        with open(sys.argv[1], "r+b") as file:
            counter = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
        def work():
            step()
            counter[0] += 1
        def step(): pass
        def steps():
            while True: yield step()
        def loop():
            for _ in steps(): work()
        loop()
        """

    def test_killed(self):
        """What is open at that instant is all that a capture has of short calls."""
        for instant in (0.001, 0.02, 0.1):
            counter, capture = self.path("counter"), self.path("run.pnr")
            subprocess.run(["rm", "-rf", capture])
            with open(counter, "wb") as file:
                file.write(bytes(mmap.PAGESIZE))
            command = e2e.recorder(capture, [self.write("app.py", self.KILLED), counter],
                                   options=("-q", "--no-stdlib", "--min-duration", "100s"))
            process = subprocess.Popen(command, env=e2e.environment())
            try:
                with open(counter, "rb") as file:
                    observed = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
                    while struct.unpack_from("Q", observed)[0] <= 100 and process.poll() is None:
                        time.sleep(0.0005)
                    time.sleep(instant)
            finally:
                process.kill()
                process.wait()
            self.assertGreater(struct.unpack_from("Q", observed)[0], 100)
            trace = e2e.Trace(e2e.convert(capture))
            self.assertEqual({one.flags for one in trace.slices}, {frozenset({"unfinished"})})
            stack = [one.function.name.removeprefix("__main__.") for one in trace.slices]
            self.assertEqual(stack[:2], ["<module>", "loop"])
            self.assertIn(stack[2:], ([], ["steps"], ["work"], ["steps", "step"], ["work", "step"]))
            # Besides these there are START and YIELD of the generator, whose steps are not stored.
            reported = e2e.run([e2e.CONVERT, capture, "--info"]).out
            self.assertLess(int(re.search(r"^  recovered +(\d+) ", reported, re.M)[1]), 10, reported)

    def test_short_call_is_open_when_it_stops(self):
        self.script("""
            import panopticon_rec
            recorder = panopticon_rec.Recorder("run.pnr", min_duration=100)
            def begins():
                recorder.start()
                short()
            def short(): pass
            def ends(): recorder.stop()
            begins()
            ends()
            """)
        flags = {one.function.name: sorted(one.flags) for one in self.trace().slices}
        self.assertEqual(flags, {"__main__.<module>": ["begin_unknown", "unfinished"], "__main__.ends": ["unfinished"],
                                 "__main__.begins": ["begin_unknown", "exit_missing"]})


class Options(e2e.EndToEnd):
    def test_errors(self):
        """One line, status 2, no program run, nothing made."""
        program = ["-c", "print(1)"]
        durations = ("", "20", " 7 us", "us", "20 parsecs", "-1us", "nan s", "nans", "infs", "1e400s", "1us2ms", "0x10us")
        for arguments, text in (
                (["--include"], "--include"), (["--exclude"], "--exclude"), (["--min-duration"], "--min-duration"),
                (["--include", "", *program], "include"), (["--exclude", "a\nb", *program], "exclude"),
                (["--no-stdlib=1", *program], "--no-stdlib"), (["--nonsense", *program], "--nonsense"),
                *(([f"--min-duration={wrong}", *program], repr(wrong)) for wrong in durations)):
            with self.subTest(arguments):
                finished = e2e.run([e2e.PYTHON, "-m", "panopticon_rec", *arguments], cwd=self.directory)
                self.assertEqual((finished.status, finished.out), (2, ""), finished.err)
                self.assertEqual(len(finished.err.splitlines()), 1, finished.err)
                self.assertTrue(finished.err.startswith("panopticon: "), finished.err)
                self.assertIn(text, finished.err)
                self.assertEqual(os.listdir(self.directory), [])

    def test_units(self):
        for text, ns in (("20us", 20_000), ("1.5ms", 1_500_000), ("3ns", 3), ("2s", 2 * 10**9), ("0us", None),
                         ("1.25us", 1250)):
            finished = e2e.recorded(self.path("run.pnr"), ["-c", "pass"], options=["-q", "--force", "--min-duration", text])
            self.assertEqual(finished, e2e.Finished(0, "", ""))
            reported = e2e.run([e2e.CONVERT, self.path("run.pnr"), "--info"]).out
            self.assertEqual(re.findall(r"nothing shorter than (\d+) ns", reported), [str(ns)] if ns else [])

    def test_after_a_command(self):
        finished = e2e.run([e2e.PYTHON, "-m", "panopticon_rec", "--exclude", "a", "-c", "import sys; print(sys.argv)",
                            "--no-stdlib", "--include", "b*", "--min-duration", "1us", "-q", "x"], cwd=self.directory)
        self.assertEqual(finished, e2e.Finished(0, "['-c', 'x']\n", ""))
        reported = e2e.run([e2e.CONVERT, self.path("run.pnr"), "--info"]).out
        self.assertIn("  filters     exclude a\n              no-stdlib\n              include b*\n"
                      "              nothing shorter than 1000 ns\n", reported)

    def test_info_without(self):
        e2e.recorded(self.path("run.pnr"), ["-c", "pass"])
        self.assertNotIn("filters", e2e.run([e2e.CONVERT, self.path("run.pnr"), "--info"]).out)

    def test_api(self):
        finished = self.script("""
            import panopticon_rec, time
            def short(): pass
            def long(): time.sleep(0.02)
            for wrong in ({"filters": ["exclude"]}, {"filters": ["exclude "]}, {"filters": ["omit a"]}, {"filters": [3]},
                          {"filters": "exclude"}, {"min_duration": "20"}, {"min_duration": -1},
                          {"min_duration": float("nan")}, {"min_duration": float("inf")}):
                try:
                    panopticon_rec.Recorder("run.pnr", **wrong)
                except ValueError as error:
                    print(len(str(error).splitlines()))
            for name, more in (("a", {"min_duration": 0.01}), ("b", {"min_duration": "10ms"}), ("c", {}),
                               ("d", {"filters": ["include *", "exclude __main__"]}), ("e", {"filters": "no-stdlib"})):
                with panopticon_rec.record(name + ".pnr", **more):
                    short()
                    long()
            """)
        self.assertEqual(finished.out, "1\n" * 9)
        counts = [self.trace(f"{name}.pnr").count() for name in "abcde"]
        self.assertEqual([(count["__main__.short"], count["__main__.long"]) for count in counts],
                         [(0, 1), (0, 1), (1, 1), (0, 0), (1, 1)])


if __name__ == "__main__":
    unittest.main()
