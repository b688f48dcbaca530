"""The recorder as a library: recording a part of a program."""

import os
import time
import unittest

import e2e

DEEP = """
    import panopticon_rec
    def outer():
        middle()
        after()
    def middle():
        recorder = inner()
        for _ in range({n}): step()
        stops(recorder)
        unseen()
    def inner():
        recorder = panopticon_rec.Recorder("run.pnr")
        recorder.start()
        step()
        return recorder
    def step(): pass
    def stops(recorder):
        step()
        recorder.stop()
    def unseen(): step()
    def after(): step()
    outer()
    """


class Record(e2e.EndToEnd):
    def test_record(self):
        self.script("""
            import panopticon_rec
            def f(n):
                return n and f(n - 1)
            f(3)
            with panopticon_rec.record("run.pnr"):
                f(5)
            f(7)
            """)
        trace = self.trace()
        self.assertEqual(trace.count()["__main__.f"], 6)
        self.assertEqual([one.depth for one in trace.named("__main__.f")], [1, 2, 3, 4, 5, 6])

    def test_own_code_is_not_in_the_capture(self):
        self.script("import panopticon_rec\nwith panopticon_rec.record('run.pnr'):\n    len('x')")
        self.assertEqual([one.function.name for one in self.trace().slices], ["__main__.<module>"])

    def test_totals_have_names(self):
        finished = self.script("""
            import copy, panopticon_rec, pickle
            def step(): pass
            recorder = panopticon_rec.Recorder("run.pnr").start()
            step()
            totals = recorder.stop()
            events, threads, n_bytes, lost = totals
            print(totals == (totals.events, totals.threads, totals.bytes, totals.lost) == (events, threads, n_bytes, lost))
            print(totals.path == recorder.path, events, threads, lost)
            print(repr(totals) == f"Recorded(events={events}, threads=1, bytes={n_bytes}, lost=0, path={recorder.path!r})")
            for same in copy.copy(totals), pickle.loads(pickle.dumps(totals)):
                print(repr(same) == repr(totals), type(same) is type(totals))
            """)
        self.assertEqual(finished.out.splitlines(), ["True", "True 2 1 0", "True", "True True", "True True"])

    def test_exception_goes_through(self):
        finished = self.script("""
            import panopticon_rec
            def f():
                raise LookupError("x")
            try:
                with panopticon_rec.record("run.pnr"):
                    f()
            except LookupError as error:
                print(error)
            """)
        self.assertEqual(finished.out, "x\n")
        self.assertEqual([one.flags for one in self.trace().named("__main__.f")], [{"exception"}])

    def test_in_the_middle_of_a_deep_stack(self):
        for n in (10, 50_000):                          # within one block, and over several
            with self.subTest(n=n):
                self.script(DEEP.format(n=n))
                trace = self.trace()
                os.rename(self.path("run.pnr"), self.path(f"done-{n}.pnr"))
                names = trace.count()
                self.assertEqual(names["__main__.step"], n + 2)
                self.assertEqual([names[f"__main__.{name}"] for name in ("unseen", "after")], [0, 0])
                before = [one for one in trace.slices if "begin_unknown" in one.flags]
                self.assertEqual([(one.function.name, one.depth) for one in before],
                                 [("__main__.<module>", 0), ("__main__.outer", 1), ("__main__.middle", 2),
                                  ("__main__.inner", 3)])
                self.assertEqual([one.flags for one in trace.named("__main__.stops")], [{"unfinished"}])
                self.assertEqual({one.function.name: sorted(one.flags) for one in before},
                                 {"__main__.<module>": ["begin_unknown", "unfinished"],
                                  "__main__.outer": ["begin_unknown", "unfinished"],
                                  "__main__.middle": ["begin_unknown", "unfinished"],
                                  "__main__.inner": ["begin_unknown", "exit_missing"]})
                parents = {one.parent.function.name for one in trace.named("__main__.step")}
                self.assertEqual(parents, {"__main__.inner", "__main__.middle", "__main__.stops"})

    def test_start_inside_continuable_frames(self):
        """Those that are running have a slice that was opened before, and that is left where no hook sees it; those
        suspended go on as a new flow."""
        self.script("""
            import panopticon_rec
            recorder = panopticon_rec.Recorder("run.pnr")
            def suspended():
                while True: yield
            def running():
                yield 1
                recorder.start()
                yield 2
                yield 3
            one, two = suspended(), running()
            for _ in range(5): next(one)
            for _ in two:
                next(one)
            recorder.stop()
            """)
        trace = self.trace()
        flows = {flow[0].function.name: [sorted(one.flags) for one in flow] for flow in trace.flows}
        self.assertEqual(flows, {"__main__.suspended": [[], []],
                                  "__main__.running": [["begin_unknown", "exit_missing"], [], []]})

    def test_start_again(self):
        finished = self.script("""
            import panopticon_rec
            def f(): pass
            recorder = panopticon_rec.Recorder("run.pnr")
            for n in (1, 2, 3):
                recorder.start()
                for _ in range(n): f()
                recorder.stop()
                for _ in range(7): f()
            for name in ("other.pnr", "third.pnr"):
                with panopticon_rec.record(name):
                    f()
            """)
        captures = sorted(name for name in os.listdir(self.directory) if name.endswith(".pnr"))
        counts = [self.trace(name).count()["__main__.f"] for name in captures]
        self.assertEqual(sum(counts), 8, dict(zip(captures, counts)))

    def test_second_recorder_at_once(self):
        finished = self.script("""
            import panopticon_rec
            def f(): pass
            with panopticon_rec.record("run.pnr"):
                with panopticon_rec.record("other.pnr"):
                    print("two")
                    f()
                f()
            """)
        self.assertEqual(finished, e2e.Finished(0, "two\n", ""))
        self.assertEqual(self.trace().count()["__main__.f"], 2)
        self.assertEqual(self.trace("other.pnr").count()["__main__.f"], 1)

    def test_wrong_order(self):
        finished = self.script("""
            import panopticon_rec
            recorder = panopticon_rec.Recorder("run.pnr")
            for call in (recorder.stop, recorder.start, recorder.start, recorder.stop, recorder.stop):
                try:
                    call()
                    print("done")
                except RuntimeError as error:
                    print("refused")
            """)
        self.assertEqual(finished.out.split()[1:4], ["done", "refused", "done"])
        self.assertEqual(len(finished.out.split()), 5)

    def test_interrupted_start(self):
        """When the handler of a signal raises during a start, nothing is recorded, and nothing is left."""
        self.script("""
            import os, signal, time
            import panopticon_rec
            class Limit(Exception): pass
            def handle(*_): raise Limit
            signal.signal(signal.SIGALRM, handle)
            def attempt(seconds):
                recorder = panopticon_rec.Recorder("run.pnr")
                begin = time.perf_counter()
                try:
                    signal.setitimer(signal.ITIMER_REAL, seconds)
                    try:
                        recorder.start()
                    finally:
                        signal.setitimer(signal.ITIMER_REAL, 0)
                except Limit:
                    assert recorder._is_running == (panopticon_rec._recorder.state() != "off")
                    assert recorder._is_running or not os.path.exists("run.pnr")
                took = time.perf_counter() - begin
                if recorder._is_running:
                    recorder.stop()
                    panopticon_rec._recorder.remove("run.pnr")
                return took
            took = min(attempt(3600) for _ in range(5))
            for n in range(100):
                attempt(max(1e-6, took * n / 100))
            print("end")
            """)

    def test_unwritable(self):
        finished = self.script("""
            import panopticon_rec
            for path in ("/proc/run.pnr", "missing/run.pnr", "x" * 300, "/dev/null"):
                try:
                    with panopticon_rec.record(path):
                        print("recorded")
                except OSError as error:
                    print(error.errno is not None)
            with panopticon_rec.record("run.pnr"):
                print("works still")
            """)
        self.assertEqual(finished.out.splitlines(), ["True"] * 4 + ["works still"])

    def test_stopped_at_the_end(self):
        """A recorder that nobody stopped is stopped when the interpreter ends."""
        self.script("""
            import panopticon_rec
            def f(): pass
            panopticon_rec.Recorder("run.pnr").start()
            f()
            """)
        self.assertEqual(self.trace().count()["__main__.f"], 1)

    def test_under_the_command_line(self):
        """A program that records itself, itself recorded."""
        program = self.write("app.py", """
            import panopticon_rec
            def f(): pass
            f()
            recorder = panopticon_rec.Recorder("inner.pnr")
            recorder.start()
            f()
            recorder.stop()
            """)
        finished = e2e.recorded(self.path("run.pnr"), [program], cwd=self.directory)
        self.assertEqual(finished, e2e.Finished(0, "", ""))
        self.assertEqual(self.trace().count()["__main__.f"], 2)
        self.assertEqual(self.trace("inner.pnr").count()["__main__.f"], 1)

    def test_many_short_recordings(self):
        """No memory, file or thread is left."""
        finished = self.script("""
            import os, panopticon_rec, shutil
            def f(n):
                return n and f(n - 1)
            def resources():
                with open("/proc/self/status") as file:
                    status = dict(line.split(":", 1) for line in file)
                files, tasks = (len(os.listdir(f"/proc/self/{what}")) for what in ("fd", "task"))
                # AddressSanitizer keeps what is freed for a while, and finds leaks itself.
                keeps_freed = "libasan" in os.environ.get("LD_PRELOAD", "")
                return files, tasks, 0 if keeps_freed else int(status["VmSize"].split()[0])
            for k in range(60):
                with panopticon_rec.record("run.pnr"):
                    f(50)
                shutil.rmtree("run.pnr")
                if k in (9, 59):
                    print(*resources())
            """)
        before, after = [[int(word) for word in line.split()] for line in finished.out.splitlines()]
        self.assertEqual(after[:2], before[:2])
        self.assertLess(after[2] - before[2], 4096, "kB of address space over 50 recordings")


class AsyncTracer(e2e.EndToEnd):
    def test_json(self):
        self.script("""
            import asyncio
            from panopticon_rec import AsyncTracer
            async def sleeper(n):
                for _ in range(n):
                    await asyncio.sleep(0)
            with AsyncTracer() as at:
                asyncio.run(sleeper(3))
            with open("run.trace", "w") as file:
                file.write(str(at))
            """)
        trace = e2e.Trace(self.path("run.trace"))
        flows = [flow for flow in trace.flows if flow[0].function.name == "__main__.sleeper"]
        self.assertEqual([len(flow) for flow in flows], [4])
        self.assertEqual(os.listdir(self.directory).count("run.pnr"), 0)

    def test_alongside_modules_of_the_same_names(self):
        """The program's own signal.py is its own business, and is what it finds."""
        for name in "base64", "json", "random", "shutil", "signal", "subprocess", "tempfile", "weakref":
            self.write(f"{name}.py", f"print('shadow', {name!r})")
        finished = self.script("""
            import panopticon_rec
            def f(): pass
            with panopticon_rec.record("run.pnr", follow="all", snapshot_on="SIGUSR2", min_duration="0s"): f()
            with panopticon_rec.AsyncTracer() as tracer: f()
            print(str(tracer).count("__main__.f"))
            import signal
            print(signal.__file__)
            """)
        self.assertEqual(finished.out, f"1\nshadow signal\n{self.path('signal.py')}\n")
        self.assertEqual(self.trace().count()["__main__.f"], 1)

    def test_keywords(self):
        """Those of Recorder; old names, too."""
        finished = self.script("""
            import panopticon_rec
            def f(): len("x")
            def g(): pass
            for keywords in {}, {"c_calls": False}, {"filters": "exclude *.f", "when_full": "drop"}:
                with panopticon_rec.AsyncTracer(**keywords) as tracer:
                    f()
                    g()
                text = str(tracer)
                print(*(name in text for name in ("__main__.f", "__main__.g", "builtins.len")))
            for wrong in {"bogus": 1}, {"follow": "some"}, {"when_full": "never"}, {"max_size": "1.5X"}:
                for tracer in panopticon_rec.AsyncTracer, panopticon_rec.Recorder:
                    try:
                        tracer(**wrong)
                    except (TypeError, ValueError) as error:
                        print(type(error).__name__, *wrong.values())
            """)
        self.assertEqual(finished.out.splitlines(), [
            "True True True", "True True False", "False True True", *["TypeError 1"] * 2, *["ValueError some"] * 2,
            *["ValueError never"] * 2, *["ValueError 1.5X"] * 2])

    def test_help(self):
        """It has all keywords."""
        finished = self.script("""
            import panopticon_rec
            print(panopticon_rec.Recorder.__doc__)
            """)
        for keyword in ("c_calls=False", "engine=None", "filters=()", "min_duration=0", "max_overhead=None", "follow='all'", "on_overflow='block'"):
            self.assertIn(keyword, finished.out)

    def test_leaves_nothing(self):
        finished = self.script("""
            import os, tempfile
            tempfile.tempdir = os.path.abspath("temporary")
            os.mkdir("temporary")
            from panopticon_rec import AsyncTracer
            with AsyncTracer() as at:
                len("x")
            one = str(at)
            assert one == str(at)
            print(len(one) > 0)
            del at
            """)
        self.assertEqual(finished.out, "True\n")
        self.assertEqual(os.listdir(self.path("temporary")), [])


class Threads(e2e.EndToEnd):
    RUNNING = """
        import panopticon_rec, threading
        go, gone, ready = threading.Event(), threading.Event(), threading.Event()
        def loop():
            ready.set()
            go.wait()
            for _ in range(100): step()
            gone.set()
            threading.Event().wait()
        def step(): pass
        thread = threading.Thread(target=loop, name="was there", daemon=True)
        thread.start()
        ready.wait()
        with panopticon_rec.record("run.pnr"):
            later = threading.Thread(target=step, name="came later")
            later.start()
            later.join()
            go.set()
            gone.wait()
        print(thread.native_id, later.native_id)
        """

    def test_running_at_the_start(self):
        finished = self.script(self.RUNNING)
        trace = self.trace()
        there, later = map(int, finished.out.split())
        names = {thread[1]: name for thread, name in trace.threads.items()}
        self.assertEqual((names[there], names[later]), ("was there", "came later"))
        self.assertIn("MainThread", names.values())
        steps = [one.thread[1] for one in trace.named("__main__.step")]
        self.assertEqual((steps.count(there), steps.count(later), len(steps)), (100, 1, 101))
        loop, = trace.named("__main__.loop")
        self.assertEqual((loop.thread[1], loop.flags), (there, {"begin_unknown", "unfinished"}))
        self.assertEqual({one.parent for one in trace.named("__main__.step") if one.thread[1] == there}, {loop})

    def test_names(self):
        finished, trace = self.record("""
            import threading, _thread
            def f():
                threading.current_thread().name = "renamed by itself"
            def g():
                started.set()
                renamed.wait()
                len("x")
                step()
            def step(): pass
            def raw():
                step()
                done.release()
            threads = [threading.Thread(target=f, name="old"), threading.Thread(target=g, name="older")]
            started, renamed, done = threading.Event(), threading.Event(), threading.Lock()
            threads[0].start()
            threads[0].join()
            threads[1].start()
            started.wait()
            threads[1].name = "renamed by another \\U0001f642 \\"\\n"
            renamed.set()
            threads[1].join()
            done.acquire()
            _thread.start_new_thread(raw, ())
            done.acquire()
            print(*(thread.native_id for thread in threads), threading.get_native_id())
            """)
        names = {thread[1]: name for thread, name in trace.threads.items()}
        first, second, main = map(int, finished.out.split())
        self.assertEqual(names.get(main), "MainThread")
        self.assertEqual(names.get(first), "renamed by itself")
        self.assertEqual(names.get(second), "renamed by another \U0001f642 \"\n")
        self.assertEqual(len(trace.threads), 4)
        self.assertEqual(len(trace.named("__main__.step")), 2)

    def test_main_thread_is_first(self):
        _, trace = self.record("import threading\nt = threading.Thread(target=len, args=('',))\nt.start()\nt.join()")
        order = {event["tid"]: event["args"]["sort_index"] for event in trace.metadata
                 if event["name"] == "thread_sort_index"}
        first = min(order, key=order.get)
        self.assertIn("MainThread", {name for (_, tid), name in trace.threads.items() if tid == first})

    def test_starts_in_a_thread_stops_in_another(self):
        finished = self.script("""
            import panopticon_rec, threading
            def step(): pass
            recorder = panopticon_rec.Recorder("run.pnr")
            def run(*calls):
                thread = threading.Thread(target=lambda: [call() for call in calls])
                thread.start()
                thread.join()
            run(recorder.start, step)
            step()
            run(step, recorder.stop, step)
            step()
            """)
        self.assertEqual(len(self.trace().named("__main__.step")), 3)

    def test_thousand_threads(self):
        _, trace = self.record("""
            import threading
            def work():
                for _ in range(20): step()
            def step(): pass
            for _ in range(20):
                threads = [threading.Thread(target=work) for _ in range(50)]
                for thread in threads: thread.start()
                for thread in threads: thread.join()
            """)
        names = trace.count()
        self.assertEqual((names["__main__.work"], names["__main__.step"]), (1000, 20_000))
        self.assertEqual(len({one.thread for one in trace.named("__main__.work")}), 1000)


class Endings(e2e.EndToEnd):
    def test_known_program(self):
        """How each slice ended, in a program small enough to know it."""
        _, trace = self.record("""
            def fails(): raise LookupError
            def catches():
                try: fails()
                except LookupError: return 1
            def passes(): fails()
            def generator():
                try:
                    yield 1
                    yield 2
                    fails()
                finally:
                    returns()
            def returns(): pass
            def closed():
                try: yield 1
                finally: pass
            catches()
            try: passes()
            except LookupError: pass
            try: list(generator())
            except LookupError: pass
            one = closed()
            next(one)
            one.close()
            """)
        slices = trace.of(self.path("app.py"))
        flags = [(one.function.name.partition(".")[2], "exception" in one.flags) for one in slices]
        self.assertEqual(flags, [("<module>", False), ("catches", False), ("fails", True), ("passes", True),
                                 ("fails", True), ("generator", False), ("generator", False), ("generator", True),
                                 ("fails", True), ("returns", False), ("closed", False), ("closed", True)])
        self.assertFalse([one for one in slices if one.flags - {"exception"}])

    def test_kinds(self):
        _, trace = self.record("""
            import types
            def plain(): pass
            def generator(): yield
            @types.coroutine
            def iterable(): yield
            async def coroutine():
                await iterable()
                async for _ in asynchronous(): pass
            async def asynchronous():
                yield 1
            plain()
            list(generator())
            one = coroutine()
            for _ in range(2):
                try: one.send(None)
                except StopIteration: pass
            """)
        kinds = {one.function.name.partition(".")[2]: one.function.cat for one in trace.of(self.path("app.py"))}
        self.assertEqual(kinds, {"<module>": "python", "plain": "python", "generator": "generator",
                                 "iterable": "iterable_coroutine", "coroutine": "coroutine",
                                 "asynchronous": "async_generator"})

    def test_source(self):
        _, trace = self.record("""
            import functools
            @functools.lru_cache
            def decorated(): pass
            class Class:
                def method(self):
                    return list(inner() for _ in range(1))
            inner = lambda: 1
            decorated()
            Class().method()
            """)
        app = self.path("app.py")
        found = {one.function.name: one.function.src for one in trace.of(app)}
        self.assertEqual(found, {"__main__.<module>": f"{app}:1", "__main__.decorated": f"{app}:2",
                                 "__main__.Class": f"{app}:4", "__main__.Class.method": f"{app}:5",
                                 "__main__.Class.method.<locals>.<genexpr>": f"{app}:6",
                                 "__main__.<lambda>": f"{app}:7"})

    def test_times(self):
        """Slices are as long as the program measures, and the trace's clock starts with the capture."""
        begin = time.monotonic_ns()
        finished, trace = self.record("""
            import time
            def sleeps(seconds):
                begin = time.monotonic_ns()
                time.sleep(seconds)
                return time.monotonic_ns() - begin
            for seconds in (0.001, 0.05, 0.2):
                begin = time.monotonic_ns()
                inside = sleeps(seconds)
                print(inside, time.monotonic_ns() - begin)
            """)
        elapsed = time.monotonic_ns() - begin
        lines, slices = finished.out.splitlines(), trace.named("__main__.sleeps")
        self.assertEqual(len(slices), len(lines))
        for line, one in zip(lines, slices):
            inside, outside = map(int, line.split())
            self.assertGreaterEqual(one.end - one.begin, inside - inside // 1000)
            self.assertLessEqual(one.end - one.begin, outside + outside // 1000)
        self.assertLess(trace.slices[0].begin, elapsed)


if __name__ == "__main__":
    unittest.main()
