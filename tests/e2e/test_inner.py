"""Recordings inside a recording: each gives a capture of its own region, and the enclosing one remains whole."""

import json
import os
import unittest

import e2e
from e2e import CONTINUABLE, Trace, convert, recorded

# f() is called a different number of times before, in and after each region.
COUNTED = """
    import panopticon_rec
    def f(): pass
    def calls(n):
        for _ in range(n): f()
    """

MODES = [{}] + [{"--engine": "monitoring"}] * ("monitoring" in e2e.ENGINES)


class Inner(e2e.EndToEnd):
    """Each test runs alone and under the command line: what the program does, and its own captures, are the same."""

    def record_both(self, text, *options):
        """Runs the program alone, then recorded into run.pnr, and yields both times."""
        script = self.write("app.py", e2e.textwrap.dedent(COUNTED) + e2e.textwrap.dedent(text))
        alone = e2e.plain([script], cwd=self.directory)
        self.assertEqual((alone.status, alone.err), (0, ""))
        yield alone
        for name in os.listdir(self.directory):
            if name.endswith((".pnr", ".trace")):
                e2e.shutil.rmtree(self.path(name), ignore_errors=True)
        inside = recorded(self.path("run.pnr"), [script], options=["-q", *options], cwd=self.directory)
        self.assertEqual(inside, alone)
        yield inside

    def f_in(self, name):
        """How often f was called in a capture, which must convert without a word."""
        finished = e2e.run([e2e.CONVERT, "-q", self.path(name), "-o", self.path("part.trace")])
        self.assertEqual((finished.status, finished.err), (0, ""))
        return Trace(self.path("part.trace")).count()["__main__.f"]

    def test_tracer(self):
        for mode in MODES:
            text = """
                def deep(n):
                    if n: return deep(n - 1)
                    with panopticon_rec.AsyncTracer() as tracer:
                        calls(7); len("x")
                    calls(5)
                    return tracer
                calls(3)
                print(str(deep(2)).count('"__main__.f"'), "builtins.len" in str(deep(1)))
                """
            options = [word for pair in mode.items() for word in pair]
            for finished in self.record_both(text, *options):
                self.assertEqual(finished.out, "7 True\n")
            self.assertEqual(self.f_in("run.pnr"), 3 + 2 * (7 + 5))

    def test_one_after_the_other_and_inside(self):
        text = """
            calls(1)
            with panopticon_rec.record("a.pnr"):
                calls(2)
                with panopticon_rec.record("b.pnr"):
                    calls(4)
                calls(8)
            with panopticon_rec.record("c.pnr"):
                calls(16)
            """
        for _ in self.record_both(text):
            self.assertEqual([self.f_in(f"{name}.pnr") for name in "abc"], [14, 4, 16])
        self.assertEqual(self.f_in("run.pnr"), 31)

    def test_the_outer_one_ends_first(self):
        text = """
            first = panopticon_rec.Recorder("a.pnr").start()
            calls(1)
            second = panopticon_rec.Recorder("b.pnr").start()
            calls(2)
            third = panopticon_rec.Recorder("c.pnr").start()
            calls(4)
            first.stop()
            calls(8)
            second.stop()
            calls(16)
            third.stop()
            calls(32)
            """
        for _ in self.record_both(text):
            self.assertEqual([self.f_in(f"{name}.pnr") for name in "abc"], [7, 14, 28])
        self.assertEqual(self.f_in("run.pnr"), 63)

    def test_totals(self):
        """stop() counts the part: the calls of f and of calls(), the exit of each included."""
        text = """
            outer = panopticon_rec.Recorder("a.pnr").start()
            calls(1000)
            inner = panopticon_rec.Recorder("b.pnr").start()
            calls(10)
            print(inner.stop()[0])
            print(outer.stop()[0])
            """
        for finished in self.record_both(text):
            self.assertEqual([int(line) for line in finished.out.split()][0], 22)

    def test_concurrent_blocks(self):
        """Two coroutines of one loop: neither encloses the other."""
        text = """
            import asyncio
            n = 0
            def step():
                global n
                n += 1
                f()
            async def serve(name, k):
                with panopticon_rec.record(name):
                    begin = n
                    for _ in range(k):
                        step()
                        await asyncio.sleep(0)
                    return n - begin
            async def main():
                return await asyncio.gather(serve("a.pnr", 5), serve("b.pnr", 20), serve("c.pnr", 10))
            print(*asyncio.run(main()))
            """
        for finished in self.record_both(text):
            self.assertEqual([self.f_in(f"{name}.pnr") for name in "abc"], [int(n) for n in finished.out.split()])

    def test_frames_and_flows_go_over_begin_and_end(self):
        text = """
            def numbers():
                for k in range(6):
                    f()
                    yield k
            running = numbers()
            next(running); next(running)
            def enclosing():
                recorder = panopticon_rec.Recorder("a.pnr").start()
                next(running); next(running)
                recorder.stop()
            enclosing()
            for _ in running: pass
            """
        for _ in self.record_both(text):
            trace = Trace(convert(self.path("a.pnr")))
            self.assertEqual([len(one.flags) > 0 for one in trace.named("__main__.enclosing")], [True])
            self.assertEqual([one.depth for one in trace.named("__main__.numbers")], [2, 2])
            flow, = [flow for flow in trace.flows if flow[0].function.cat in CONTINUABLE]
            self.assertEqual(len(flow), 2)
            self.assertEqual(trace.count()["__main__.f"], 2)

    def test_threads(self):
        """Threads that run all the while: no call is lost or doubled at a begin or an end."""
        text = """
            import threading
            total, go = 0, True
            def work():
                for _ in range(20_000): f()
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads: thread.start()
            recorders = []
            for k in range(6):
                recorders.append(panopticon_rec.Recorder(f"part-{k}.pnr").start())
                calls(100)
                if k % 2: recorders.pop(0).stop()
            for thread in threads: thread.join()
            while recorders: recorders.pop().stop()
            """
        for finished in self.record_both(text):
            for k in range(6):
                self.assertGreaterEqual(self.f_in(f"part-{k}.pnr"), 100)
        self.assertEqual(self.f_in("run.pnr"), 80_600)

    def test_not_stopped_before_the_end(self):
        text = """
            calls(1)
            recorder = panopticon_rec.Recorder("a.pnr").start()
            calls(2)
            """
        for _ in self.record_both(text):
            self.assertEqual(self.f_in("a.pnr"), 2)
        self.assertEqual(self.f_in("run.pnr"), 3)

    def test_signals(self):
        """Those that a region wants are handled, and what they ask for is done; after the region they are the program's
        again."""
        text = """
            import os, signal, time
            def tell(number):
                os.kill(os.getpid(), number)
                time.sleep(0.1)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            recorder = panopticon_rec.Recorder("a.pnr", toggle_on="SIGUSR1", snapshot_on="SIGUSR2").start()
            calls(1)
            tell(signal.SIGUSR1)
            calls(100)
            tell(signal.SIGUSR1)
            calls(2)
            os.kill(os.getpid(), signal.SIGUSR2)
            recorder.stop()
            tell(signal.SIGUSR1)
            calls(4)
            """
        for mode in MODES:
            options = [word for pair in mode.items() for word in pair]
            script = self.write("app.py", e2e.textwrap.dedent(COUNTED) + e2e.textwrap.dedent(text))
            for run in lambda: e2e.plain([script], cwd=self.directory), \
                    lambda: recorded(self.path("run.pnr"), [script], options=["-q", *options], cwd=self.directory):
                for name in os.listdir(self.directory):
                    if name.endswith(".pnr"):
                        e2e.shutil.rmtree(self.path(name))
                finished = run()
                self.assertEqual((finished.status, finished.out), (0, ""), finished.err)
                self.assertIn("a-snapshot.pnr: what was recorded up to now", finished.err)
                self.assertEqual((self.f_in("a.pnr"), self.f_in("a-snapshot.pnr")), (3, 3))
            self.assertEqual(self.f_in("run.pnr"), 7)

    def test_snapshot_of_a_part(self):
        """It has what the part has up to then, and each capture that wants one has its own."""
        text = """
            import os, signal, time
            calls(1)
            with panopticon_rec.record("a.pnr", snapshot_on="SIGUSR2"):
                calls(2)
                os.kill(os.getpid(), signal.SIGUSR2)
                while not os.path.exists("a-snapshot.pnr"): time.sleep(0.01)
                time.sleep(0.2)
                calls(4)
            """
        script = self.write("app.py", e2e.textwrap.dedent(COUNTED) + e2e.textwrap.dedent(text))
        options = ["-q", "--snapshot-on", "SIGUSR2"]
        finished = recorded(self.path("run.pnr"), [script], options=options, cwd=self.directory)
        self.assertEqual((finished.status, len(finished.err.splitlines())), (0, 2), finished.err)
        found = [self.f_in(name) for name in ("a.pnr", "a-snapshot.pnr", "run.pnr", "run-snapshot.pnr")]
        self.assertEqual(found, [6, 2, 7, 3])

    def test_start_paused(self):
        """A part that is to begin later does, and the enclosing recording goes on meanwhile."""
        text = """
            recorder = panopticon_rec.Recorder("a.pnr", start_paused=True).start()
            calls(1)
            panopticon_rec.resume()
            calls(2)
            recorder.stop()
            with panopticon_rec.record("b.pnr", start_paused=True):
                calls(4)
            """
        for _ in self.record_both(text):
            self.assertEqual((self.f_in("a.pnr"), self.f_in("b.pnr")), (2, 0))
        self.assertEqual(self.f_in("run.pnr"), 7)

    def test_a_program_that_comes_again(self):
        """A part that was not made, as its program was killed or has become another one, is in nobody's way; nor is its
        place free for --force while it is open."""
        text = """
            import os, subprocess, sys
            recorder = panopticon_rec.Recorder("a.pnr").start()
            print(os.path.basename(recorder.path))
            sys.stdout.flush()
            if len(sys.argv) < 2:
                os.execv(sys.executable, [sys.executable, *sys.argv, "1"])
            if len(sys.argv) == 2:
                words = "-m", "panopticon_rec", "--force", "-o", recorder.path, "-c", "pass"
                print(subprocess.run([sys.executable, *words], capture_output=True).returncode)
                if not os.fork():
                    os.execv(sys.executable, [sys.executable, *sys.argv, "1"])
                sys.stdout.flush()
                os.wait()
                os.kill(os.getpid(), 9)
            recorder.stop()
            """
        script = self.write("app.py", e2e.textwrap.dedent(COUNTED) + e2e.textwrap.dedent(text))
        for options in [None, ["-q"]]:
            finished = e2e.plain([script], cwd=self.directory) if options is None else \
                recorded(self.path("run.pnr"), [script], options=options, cwd=self.directory)
            self.assertEqual((finished.status, finished.out), (-9, "a.pnr\na-2.pnr\n2\na-3.pnr\n"), finished.err)
            for name in "a.pnr", "a-2.pnr", "a-3.pnr":
                e2e.shutil.rmtree(self.path(name))

    def test_tracers_that_are_not_stopped(self):
        text = """
            import gc
            def abandon():
                panopticon_rec.AsyncTracer().start()
                calls(1)
            abandon()
            gc.collect()
            with panopticon_rec.AsyncTracer() as tracer:
                calls(2)
            print(str(tracer).count('"__main__.f"'))
            tracer.start()
            calls(4)
            """
        for finished in self.record_both(text):
            self.assertEqual(finished.out, "2\n")
        self.assertEqual(self.f_in("run.pnr"), 7)

    def test_in_a_forked_child_without_events(self):
        """In a child that is paused, or has called nothing that is recorded, the first to hear of the fork is the
        part."""
        text = """
            import os
            if panopticon_rec._recorder.state() != "off": panopticon_rec.pause()
            pid = os.fork()
            if not pid:
                with panopticon_rec.record("a.pnr"):
                    calls(1)
                calls(2)
                os._exit(0)
            print(os.waitpid(pid, 0)[1])
            """
        for mode in MODES:
            for more in [], ["--c-calls"]:
                options = [word for pair in mode.items() for word in pair] + more
                for finished in self.record_both(text, *options):
                    self.assertEqual(finished.out, "0\n")
                    self.assertEqual(self.f_in("a.pnr"), 1)
                self.assertEqual(self.f_in("run.pnr"), 1)

    def test_destination_that_are_taken_at_once(self):
        """Processes that begin captures, or make snapshots, under one name at the same time: each finds a place."""
        text = """
            import os
            pids = []
            for _ in range(8):
                pids.append(os.fork())
                if not pids[-1]:
                    for i in range(25):
                        with panopticon_rec.Recorder(f"at-once-{i}.pnr"): calls(1)
                    os._exit(0)
            print({os.waitpid(pid, 0)[1] for pid in pids})
            print(sum(name.startswith("at-once-") for name in os.listdir()))
            """
        for finished in self.record_both(text):
            self.assertEqual((finished.out, finished.err), ("{0}\n200\n", ""))

    def test_what_a_region_lacks_is_reported(self):
        text = """
            import shutil
            with panopticon_rec.record("a.pnr"):
                calls(1)
                shutil.rmtree("a.pnr")
            """
        script = self.write("app.py", e2e.textwrap.dedent(COUNTED) + e2e.textwrap.dedent(text))
        finished = recorded(self.path("run.pnr"), [script], options=["-q"], cwd=self.directory)
        self.assertEqual((finished.status, len(finished.err.splitlines())), (0, 1))
        self.assertIn("a.pnr is not made", finished.err)
        self.assertEqual(self.f_in("run.pnr"), 1)

    def test_in_a_forked_child(self):
        text = """
            import os
            with panopticon_rec.record("a.pnr"):
                calls(1)
                pid = os.fork()
                calls(2)
                if not pid:
                    with panopticon_rec.record("b.pnr"):
                        calls(4)
            calls(8)
            if not pid: os._exit(0)
            print(os.waitpid(pid, 0)[1])
            """
        for _ in self.record_both(text):
            self.assertEqual(self.f_in("b.pnr"), 4)
        self.assertEqual((self.f_in("a.pnr"), self.f_in("run.pnr")), (3, 1 + 2 + 8 + 2 + 4 + 8))

    def test_of_a_paused_recording(self):
        text = """
            calls(1)
            with panopticon_rec.record("a.pnr"):
                calls(2)
            calls(4)
            """
        *_, inside = self.record_both(text, "--start-paused")
        self.assertEqual((inside.status, self.f_in("a.pnr"), self.f_in("run.pnr")), (0, 2, 2))

    @unittest.skipUnless(os.access("/dev/shm", os.W_OK), "needs another file system")
    def test_on_another_file_system(self):
        """Where links cannot be made, segments are copied."""
        text = """
            import os, sys
            folder = f"/dev/shm/panopticon-test-{os.getpid()}"
            os.mkdir(folder)
            os.symlink(folder, "elsewhere")
            outer = panopticon_rec.Recorder("a.pnr").start()
            calls(1)
            inner = panopticon_rec.Recorder("elsewhere/b.pnr").start()
            calls(100_000)
            outer.stop()
            calls(4)
            inner.stop()
            os.rename("elsewhere", "there")
            """
        for _ in self.record_both(text):
            self.addCleanup(e2e.shutil.rmtree, os.path.realpath(self.path("there")), ignore_errors=True)
            self.assertEqual((self.f_in("a.pnr"), self.f_in("there/b.pnr")), (100_001, 100_004))
            os.unlink(self.path("there"))

    def test_limits_hold_on(self):
        """The recording around it evicts old data: the region reports what it has, and is a capture."""
        text = """
            with panopticon_rec.record("a.pnr"):
                calls(2_000_000)
            """
        *_, inside = self.record_both(text, "--max-size", "16M")
        finished = e2e.run([e2e.CONVERT, "--verify", self.path("a.pnr")])
        self.assertEqual((inside.status, finished.status), (0, 0), finished.err)

    def test_what_cannot_be_written(self):
        text = """
            try:
                panopticon_rec.Recorder("missing/a.pnr").start()
            except OSError as error:
                print(error.errno)
            recorder = panopticon_rec.Recorder("b.pnr").start()
            try:
                recorder.start()
            except RuntimeError as error:
                print(error)
            recorder.stop()
            calls(3)
            """
        for finished in self.record_both(text):
            self.assertEqual(finished.out, "2\npanopticon: this recorder is running already\n")
        self.assertEqual(self.f_in("run.pnr"), 3)

    def test_names_of_the_time(self):
        """A part begins at its own zero, and its properties are those of its own begin and end."""
        text = """
            import time
            time.sleep(0.3)
            begin = time.monotonic_ns()
            with panopticon_rec.record("a.pnr"):
                calls(1)
            print(time.monotonic_ns() - begin, file=open("took", "w"))
            """
        for _ in self.record_both(text):
            with open(convert(self.path("a.pnr")), encoding="utf-8") as file:
                begins = [event["ts"] for event in json.load(file)["traceEvents"] if event["ph"] == "X"]
            with open(self.path("took"), encoding="ascii") as file:
                self.assertLess(1000 * min(begins), int(file.read()))


if __name__ == "__main__":
    unittest.main()
