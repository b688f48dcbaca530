"""Long captures in bounded space: --max-size, --last, snapshots, pauses, --on-overflow, many threads and functions."""

import os
import re
import shutil
import signal
import subprocess
import time
import unittest

from e2e import (CONVERT, LONG, EndToEnd, Trace, convert, environment, once, plain, recorded, recorder, run, segments,
                 size_on_disk)

M = 1 << 20

COUNTING = """
    import os, sys, time
    def f(n): return n and f(n - 1)
    def until(end, rest=0):
        while time.monotonic() < end:
            f(5)
            if rest: time.sleep(rest)
"""


@once
class Limits(EndToEnd):

    def record_watched(self, text, *options, watch=lambda capture: None, **more):
        """Records a program and calls watch(capture) all the while."""
        capture = self.path("run.pnr")
        script = self.write("app.py", COUNTING + text)
        process = subprocess.Popen(recorder(capture, [script], options=["-q", *options]), env=environment(),
                                   cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while process.poll() is None:
            watch(capture)
            time.sleep(0.005)
        out, err = process.communicate()
        self.assertEqual((process.returncode, err), (0, ""))
        return capture, out

    def shrunk(self, capture, n):
        """Leaves the last n segments, as much as these tests have memory for."""
        for path in list(segments(capture).values())[:-n]:
            shutil.rmtree(path)
        return capture

    def test_max_size(self):
        maximum = []
        capture, _ = self.record_watched("""
    def until(n):
        for _ in range(n): f(5)
    def main():
        f(1)
        until(12_000_000)               # far more than that size, however slow the machine is
        last()
    def last(): pass
    main()
        """, "--max-size", "16M", watch=lambda capture: maximum.append(size_on_disk(capture)))
        self.assertLessEqual(max(maximum), 16 * M)
        self.assertGreater(max(maximum), 12 * M)           # it is used
        self.assertGreater(min(segments(capture)), 1)
        finished = run([CONVERT, self.shrunk(capture, 1)], timeout=300)
        self.assertEqual(finished.status, 0)
        messages = re.search(r"older events were evicted .*complete from (\d+\.\d+) s on", finished.err)
        self.assertTrue(messages, finished.err)
        trace = Trace(self.path("run.trace"))
        self.assertEqual(trace.named("__main__.main")[0].flags, {"begin_unknown"})
        self.assertEqual(len(trace.named("__main__.last")), 1)
        begin = min(one.begin for one in trace.slices)
        self.assertAlmostEqual(begin / 1e9, float(messages[1]), delta=0.002)
        # nothing is missing from then on: f calls itself five times, each time
        whole = [one for one in trace.named("__main__.f") if one.parent and one.parent.function.name == "__main__.until"]
        self.assertFalse(trace.instants)
        self.assertEqual({one.depth for one in trace.named("__main__.f") if not one.flags},
                         set(range(whole[-1].depth, whole[-1].depth + 6)))

    def test_max_size_of_several_processes(self):
        maximum = []
        capture, _ = self.record_watched("""
    children = []
    for i in range(4):
        pid = os.fork()
        if not pid:
            until(time.monotonic() + 2 + i / 2)
            os._exit(0)
        children.append(pid)
    until(time.monotonic() + 3)
    for pid in children: os.waitpid(pid, 0)
    for i in range(30):                 # those that are gone make room
        pid = os.fork()
        if not pid:
            until(time.monotonic() + 0.05)
            os._exit(0)
        os.waitpid(pid, 0)
        """, "--max-size", "40M", watch=lambda capture: maximum.append(size_on_disk(capture)))
        self.assertLessEqual(max(maximum), 40 * M)
        self.assertEqual(run([CONVERT, capture, "--info"], timeout=300).status, 0)

    def test_no_capacity_for_a_child(self):
        """A child for which the limit leaves nothing is not recorded, which is reported, and runs."""
        script = self.write("app.py", COUNTING + """
    children = []
    for i in range(12):
        pid = os.fork()
        if not pid:
            f(3)
            time.sleep(1)
            os._exit(i)
        children.append(pid)
    print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
        """)
        finished = recorded(self.path("run.pnr"), [script], options=["-q", "--max-size", "16M"])
        self.assertEqual((finished.status, finished.out), (0, f"{list(range(12))}\n"))
        messages = re.fullmatch(r"panopticon: process \d+: not recorded: "
                                r".*--max-size leaves no room: Disk quota exceeded(?: \(and (\d+) more messages? of child processes\))?\n", finished.err)
        self.assertTrue(messages, finished.err)
        trace = Trace(convert(self.path("run.pnr")))
        self.assertEqual(len(trace.processes), 13 - 1 - int(messages[1] or 0))

    def test_last(self):
        """At least the last second of each thread, and not all."""
        capture, seconds = self.record_watched("""
    import threading
    def now_and_then():
        for _ in range(50):
            tick()
            time.sleep(0.1)
    def tick(): pass
    thread = threading.Thread(target=now_and_then)
    begin = time.monotonic()
    thread.start()
    until(time.monotonic() + 5, 0.0001)
    thread.join()
    print(time.monotonic() - begin)
        """, "--last", "1s")
        self.assertGreater(min(segments(capture)), 1)
        finished = run([CONVERT, "--info", capture], timeout=300)
        self.assertEqual(finished.status, 0, finished.err)
        share = len(segments(capture)) / max(segments(capture))        # they are of equal length
        self.assertGreater(share * float(seconds), 1)
        self.assertLess(share, 0.9)
        trace = Trace(convert(self.shrunk(capture, 2)))
        self.assertGreaterEqual(len(trace.named("__main__.tick")), 10)      # in one chunk to the end

    def test_last_of_an_idle_program(self):
        """What is too old goes, when nothing comes after it, too: the program ends when one segment is left."""
        capture, _ = self.record_watched("""
    until(time.monotonic() + 1)
    while len([name for name in os.listdir(f"run.pnr/process-{os.getpid()}") if "segment" in name]) > 1: time.sleep(0.1)
        """, "--last", "200ms")
        self.assertLessEqual(len(segments(capture)), 2)     # what is written at the end may be in another

    def test_wrong_limits(self):
        for options in (["--max-size", "1M"], ["--max-size", "-5"], ["--max-size", "big"], ["--last", "soon"],
                        ["--snapshot-on", "SIGKILL"], ["--toggle-on", "exception"], ["--snapshot-on", "SIGNONE"],
                        ["--toggle-on", "SIG_UNBLOCK"], ["--toggle-on", "ABRT"],
                        ["--toggle-on", "SIGUSR1", "--snapshot-on", "USR1"]):
            finished = recorded(self.path("run.pnr"), ["-c", "print(1)"], options=options)
            self.assertEqual((finished.status, finished.out), (2, ""), options)
            self.assertEqual(len(finished.err.splitlines()), 1, finished.err)
            self.assertTrue(finished.err.startswith("panopticon: "), finished.err)
            self.assertFalse(os.path.exists(self.path("run.pnr")))


class Snapshots(EndToEnd):

    PROGRAM = COUNTING + """
    import panopticon_rec, threading
    def before(): pass
    def after(): pass
    def outer(): middle()
    def work(stop):
        while not stop.is_set():
            f(3)
            time.sleep(0.0001)
    def main():
        stop = threading.Event()
        thread = threading.Thread(target=work, args=(stop,), name="worker")
        thread.start()
        time.sleep(0.1)
        before()
        middle()
        after()
        stop.set()
        thread.join()
    """

    def test_snapshot(self):
        self.write("app.py", self.PROGRAM + """
    def middle():
        print(panopticon_rec.snapshot("shot.pnr"))
        print(panopticon_rec.snapshot("shot.pnr"))
    main()
        """)
        finished = recorded(self.path("run.pnr"), [self.path("app.py")], cwd=self.directory)
        self.assertEqual(finished, (0, f"{self.path('shot.pnr')}\n{self.path('shot-2.pnr')}\n", ""))
        whole = Trace(convert(self.path("run.pnr")))
        for name in "shot.pnr", "shot-2.pnr":
            self.assertIn("end         clean", run([CONVERT, "--info", self.path(name)]).out)
            trace = Trace(convert(self.path(name)))
            counts = trace.count()
            self.assertEqual((counts["__main__.before"], counts["__main__.middle"], counts["__main__.after"]), (1, 1, 0))
            self.assertEqual(trace.named("__main__.middle")[0].flags, {"unfinished"})
            self.assertEqual(sorted(trace.threads.values()), ["MainThread", "worker"])
            self.assertFalse(trace.instants)
            # up to that moment it is what the whole capture has
            for one, other in zip(trace.named("__main__.f")[:1000], whole.named("__main__.f")[:1000]):
                self.assertAlmostEqual(one.begin, other.begin, delta=1000)
                self.assertAlmostEqual(one.end, other.end, delta=1000)
        self.assertEqual(whole.count()["__main__.after"], 1)

    def test_fork_while_a_thread_saves(self):
        """The child saves its own snapshot, whatever became of the one that a thread of the parent was waiting for."""
        finished = self.record("""
    import os, panopticon_rec, shutil, sys, threading, time, warnings
    warnings.simplefilter("ignore", DeprecationWarning)     # CPython 3.12 and later warn of a fork beside threads
    def save():
        for number in range(sys.maxsize):
            if is_over:
                break
            shutil.rmtree(panopticon_rec.snapshot(f"parent{number}.pnr"))
    def child(name):
        path = panopticon_rec.snapshot(name)
        os._exit(0 if os.path.basename(path) == name and os.path.isdir(path) else 3)
    is_over = False
    thread = threading.Thread(target=save)
    thread.start()
    results = set()
    for number in range(100):
        time.sleep(number % 5 / 5000)
        pid = os.fork()
        if pid == 0:
            child(f"child{number}.pnr")
        results.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    is_over = True
    thread.join()
    print(results)
        """, options=["-q"])[0]
        self.assertEqual(finished.out, "{0}\n")

    def test_signal(self):
        """Also while the main thread does not run Python code; the program's calls of the system are not disturbed."""
        script = self.write("app.py", self.PROGRAM + """
    import ctypes
    def middle():
        print("ready", flush=True)
        print(ctypes.CDLL(None).usleep(300_000), flush=True)
        sys.stdin.read()
    main()
        """)
        process = subprocess.Popen(recorder(self.path("run.pnr"), [script], options=["-q", "--snapshot-on", "SIGUSR2"]),
                                   env=environment(), cwd=self.directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.assertEqual(process.stdout.readline(), "ready\n")
        for name in "run-snapshot.pnr", "run-snapshot-2.pnr":
            process.send_signal(signal.SIGUSR2)
            self.assertEqual(process.stderr.readline(), f"panopticon: {self.path(name)}: what was recorded up to now\n")
        process.communicate("")
        self.assertEqual(process.returncode, 0)
        for name in "run-snapshot.pnr", "run-snapshot-2.pnr":
            counts = Trace(convert(self.path(name))).count()
            self.assertEqual((counts["__main__.before"], counts["__main__.after"]), (1, 0))

    def test_exception(self):
        program = COUNTING + """
    import threading
    def bad(): {}
    thread = threading.Thread(target=bad)
    thread.start()
    thread.join()
    time.sleep(0.2)
    def late(): pass
    late()
    {}
        """
        for thread, main, names in (("1 / 0", "", ["run-snapshot.pnr"]), ("pass", "1 / 0", ["run-snapshot.pnr"]),
                                    ("1 / 0", "1 / 0", ["run-snapshot.pnr", "run-snapshot-2.pnr"]),
                                    ("pass", "sys.exit(3)", []), ("sys.exit(1)", "", [])):
            script = self.write("app.py", program.format(thread, main))
            finished = recorded(self.path("run.pnr"), [script], cwd=self.directory,
                                options=["-q", "--snapshot-on", "exception"])
            alone = plain([script], cwd=self.directory)
            messages = [f"panopticon: {self.path(name)}: what was recorded up to now" for name in names]
            rest = [line for line in finished.err.splitlines() if line not in messages]
            self.assertEqual((finished.status, rest), (alone.status, alone.err.splitlines()))
            self.assertEqual(len(finished.err.splitlines()) - len(rest), len(messages))
            found = sorted(name for name in os.listdir(self.directory) if "snapshot" in name and name.endswith(".pnr"))
            self.assertEqual(found, sorted(names))
            for name in found:
                trace = Trace(convert(self.path(name)))
                self.assertEqual(len(trace.named("__main__.bad")), 1)
            for name in os.listdir(self.directory):
                if name.endswith(".pnr"):
                    shutil.rmtree(self.path(name))

    def test_of_a_window(self):
        """With --last: a snapshot has the window; the segments in it remain when the capture evicts them."""
        self.write("app.py", COUNTING + """
    import panopticon_rec
    until(time.monotonic() + 3)
    panopticon_rec.snapshot("shot.pnr")
    until(time.monotonic() + 3)
        """)
        finished = recorded(self.path("run.pnr"), [self.path("app.py")], cwd=self.directory,
                            options=["-q", "--last", "100ms"])
        self.assertEqual(finished, (0, "", ""))
        shot, kept = segments(self.path("shot.pnr")), segments(self.path("run.pnr"))
        self.assertLess(min(shot), min(kept))
        self.assertEqual(run([CONVERT, "--info", self.path("shot.pnr")]).status, 0)

    def test_refused(self):
        self.script("""
            import panopticon_rec
            for function in panopticon_rec.snapshot, panopticon_rec.pause, panopticon_rec.resume:
                try:
                    function()
                except RuntimeError as error:
                    print(error)
            with panopticon_rec.record("run.pnr"):
                for path in "missing/shot.pnr", "app.py":
                    try:
                        panopticon_rec.snapshot(path)
                    except OSError as error:
                        print(type(error), error.filename)
            """)


class Pauses(EndToEnd):

    def test_pause_and_resume(self):
        for engine in ["frame"] + (["monitoring"] if hasattr(__import__("sys"), "monitoring") else []):
            for c_calls in [], ["--c-calls"]:
                text = """
            import panopticon_rec, sys, threading, time
            def outer(): middle()
            def middle():
                seen(1)
                panopticon_rec.pause()
                panopticon_rec.pause()
                unseen(divmod(7, 2))
                back()
            def back():
                unseen(2)
                panopticon_rec.resume()
                panopticon_rec.resume()
                seen(3)
            def seen(n): return n
            def unseen(n): return n
            def generate():
                yield seen(4)
                panopticon_rec.pause()
                yield unseen(5)
                yield unseen(6)
                panopticon_rec.resume()
                yield seen(7)
            def work():
                seen(8)
                paused.wait()
                unseen(9)
                resumed.wait()
                seen(10)
            paused, resumed = threading.Event(), threading.Event()
            thread = threading.Thread(target=work)
            thread.start()
            outer()
            print(list(generate()))
            panopticon_rec.pause()
            paused.set()
            time.sleep(0.1)
            short = threading.Thread(target=unseen, args=(11,))
            short.start()
            short.join()
            panopticon_rec.resume()
            resumed.set()
            thread.join()
            outer()
            """
                _, trace = self.record(text, options=["-q", "--engine", engine, *c_calls])
                counts = trace.count()
                self.assertEqual((counts["__main__.seen"], counts["__main__.unseen"]), (8, 0))
                self.assertEqual(counts["builtins.divmod"], 0)
                self.assertEqual((counts["__main__.outer"], counts["__main__.middle"], counts["__main__.back"]), (2, 2, 2))
                self.assertEqual(set(trace.instants), {"[recording was paused]"})
                flags = set().union(*(one.flags for one in trace.slices))
                self.assertLessEqual(flags, {"begin_unknown", "exit_missing", "exception"})

    def test_start_paused(self):
        _, trace = self.record("""
            import panopticon_rec
            def before(): pass
            def after(): pass
            before()
            panopticon_rec.resume()
            after()
            """, options=["-q", "--start-paused"])
        self.assertEqual((trace.count()["__main__.before"], trace.count()["__main__.after"]), (0, 1))

    def test_paused_to_the_end(self):
        _, trace = self.record("""
            import os, panopticon_rec
            def before(): pass
            def after(): pass
            before()
            panopticon_rec.pause()
            after()
            if not os.fork():
                after()
                panopticon_rec.resume()
                before()
                os._exit(0)
            os.wait()
            """)
        self.assertEqual((trace.count()["__main__.before"], trace.count()["__main__.after"]), (2, 0))

    def test_paused_stop(self):
        """A recording that is paused can be stopped, and another one follows; os._exit ends it, too."""
        self.script("""
            import os, panopticon_rec
            def seen(): pass
            def unseen(): pass
            for name in "run.pnr", "run-2.pnr":
                with panopticon_rec.record("run.pnr"):
                    seen()
                    panopticon_rec.pause()
                    unseen()
                unseen()
            panopticon_rec.Recorder("third.pnr", start_paused=True).start()
            unseen()
            os._exit(0)
            """)
        for name in "run.pnr", "run-2.pnr":
            counts = self.trace(name).count()
            self.assertEqual((counts["__main__.seen"], counts["__main__.unseen"]), (1, 0))
        self.assertEqual(self.trace("third.pnr").count()["__main__.unseen"], 0)

    def test_toggle(self):
        script = self.write("app.py", """
            import sys
            def step(n): return n
            print("ready", flush=True)
            for line in sys.stdin:
                for i in range(100): pass
                print(step(line), end="", flush=True)
            """)
        process = subprocess.Popen(recorder(self.path("run.pnr"), [script], options=["-q", "--toggle-on", "USR1"]),
                                   env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.assertEqual(process.stdout.readline(), "ready\n")
        for i in range(5):
            process.stdin.write(f"{i}\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), f"{i}\n")
            process.send_signal(signal.SIGUSR1)
            time.sleep(0.3)
        process.communicate("")
        self.assertEqual(process.returncode, 0)
        self.assertEqual(Trace(convert(self.path("run.pnr"))).count()["__main__.step"], 3)

    def test_program_has_its_own_handlers(self):
        """Handlers of the program replace the recorder's; what it finds before is what there is without the
        recorder."""
        program = ["-c", "import os, signal; print(signal.getsignal(10), signal.getsignal(12))\n"
                         "signal.signal(12, lambda *_: print('mine'))\nos.kill(os.getpid(), 12)"]
        finished = recorded(self.path("run.pnr"), program, options=["-q", "--snapshot-on", "USR2", "--toggle-on", "USR1"])
        self.assertEqual(finished, plain(program))


@once
class Full(EndToEnd):

    PROGRAM = """
        import sys
        def f(n): return n and f(n - 1)
        def mark(): pass
        for i in range(int(sys.argv[1])):
            f(9)
            if i % 1000 == 0: mark()
        """

    def slow(self):
        """A library that makes each write of a segment take a while."""
        source = self.write("slow.c", """
            #define _GNU_SOURCE
            #include <dlfcn.h>
            #include <unistd.h>
            ssize_t write(int fd, const void *bytes, size_t size)
            {
                static ssize_t (*real)(int, const void *, size_t);
                if (!real) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
                if (size > 1000) usleep(20000);
                return real(fd, bytes, size);
            }
            """)
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", self.path("slow.so"), source], check=True)
        return {"LD_PRELOAD": self.path("slow.so")}

    def test_discard(self):
        script, env = self.write("app.py", self.PROGRAM), self.slow()
        alone = plain([script, "140000"])
        finished = recorded(self.path("run.pnr"), [script, "140000"], options=["--on-overflow", "discard"], env=env)
        self.assertEqual((finished.status, finished.out), (0, alone.out))
        lost = int(re.search(r"([0-9]+) lost", finished.err)[1])
        self.assertGreater(lost, 0)
        messages = run([CONVERT, self.path("run.pnr")])
        self.assertEqual(messages.status, 0)
        self.assertIn(f": {lost} events lost by the recorder", messages.err)
        trace = Trace(self.path("run.trace"))
        reported = [int(re.match(r"\[lost (\d+) events\]", text)[1]) for text in trace.instants if "lost" in text]
        self.assertEqual(sum(reported), lost)
        # nothing after a loss is misread: f calls itself nine times
        base = trace.named("__main__.<module>")[0].depth + 1
        self.assertLessEqual({one.depth for one in trace.named("__main__.f")}, set(range(base, base + 10)))
        for one in trace.named("__main__.mark"):
            self.assertEqual(one.parent.function.name, "__main__.<module>")

    def test_wait(self):
        """Without it nothing is lost, at the cost of time."""
        script, env = self.write("app.py", self.PROGRAM), self.slow()
        finished = recorded(self.path("run.pnr"), [script, "30000"], options=[], env=env)
        self.assertIn(" 0 lost;", finished.err)
        self.assertEqual(Trace(convert(self.path("run.pnr"))).count()["__main__.f"], 300_000)


@once
class Many(EndToEnd):

    def rss(self):
        return """
        def rss():          # kB, what is shared with the capture left out
            lines = open("/proc/self/status").read().splitlines()
            return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])
        """

    def test_threads(self):
        """Memory and files do not grow with the threads that ever lived. On a busy machine more buffers wait for the
        drain at a time, which takes memory once: a leak takes some in each part of the time."""
        n = 100_000 if LONG else 10_000
        capture = self.path("run.pnr")
        finished = recorded(capture, [self.write("app.py", self.rss() + f"""
        import os, threading
        def work(): pass
        sizes = []
        for i in range({n}):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            if i % ({n} // 10) == 0: sizes.append(rss())
        print(min(sizes[k + 3] - sizes[k] for k in (0, 3, 6)), len(os.listdir("/proc/self/fd")))
        """)], timeout=600)
        self.assertEqual((finished.status, finished.err), (0, ""))
        growth, files = map(int, finished.out.split())
        self.assertLess(growth, 100, "kB, of 3 tenths of the threads")
        self.assertLess(files, 10)
        (segment,) = segments(capture).values()         # 64 MiB would begin another one
        files = set(os.listdir(segment))                # the last one's end may not have been noticed
        self.assertLessEqual(files, {"short-threads.zst", "thread-1.zst", f"thread-{n + 1}.zst"})
        self.assertEqual(sorted(os.listdir(os.path.dirname(segment))), ["names", "segment-1"])
        info = run([CONVERT, "--info", capture], timeout=600)
        self.assertIn(f"threads     {n + 1}\n", info.out)

    def test_threads_that_write_on(self):
        """Each has a file, of which a few are open at a time; the program has few descriptors."""
        n, rounds = 300, 12
        capture = self.path("run.pnr")
        script = self.write("app.py", f"""
        import os, resource, threading
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        def work(): pass
        def whole(barrier):
            for i in range({rounds}):
                for k in range(100 if threading.get_native_id() % 10 else 1000): work()
                barrier.wait()
        own = len(os.listdir("/proc/self/fd"))
        barrier = threading.Barrier({n} + 1)
        threads = [threading.Thread(target=whole, args=(barrier,)) for i in range({n})]
        for thread in threads: thread.start()
        most = 0
        for i in range({rounds}):
            barrier.wait()
            most = max(most, len(os.listdir("/proc/self/fd")))
        for thread in threads: thread.join()
        print(most)
        """)
        alone = int(plain([script]).out)
        finished = recorded(capture, [script], options=[], timeout=600)
        self.assertEqual(finished.status, 0, finished.err)
        self.assertIn(" 0 lost;", finished.err)
        self.assertLessEqual(int(finished.out), alone + 8 + 4)      # the names and what is open for a moment
        (segment,) = segments(capture).values()
        files = set(os.listdir(segment))
        self.assertEqual(files - {"short-threads.zst"}, {f"thread-{k}.zst" for k in range(1, n + 2)})
        verified = run([CONVERT, "--verify", capture], timeout=600)
        self.assertEqual(verified.status, 0, verified.err)
        trace = Trace(convert(capture))
        counts = {}
        for one in trace.named("__main__.work"):
            counts[one.thread] = counts.get(one.thread, 0) + 1
        self.assertEqual(len(counts), n)
        self.assertLessEqual(set(counts.values()), {100 * rounds, 1000 * rounds})

    def test_made_code(self):
        """Code that exec makes over and over is one function; what comes when the name table is full is reported."""
        n = 1_000_000 if LONG else 50_000
        for name, limit in ("f", 0), ("f{i}", 16):
            capture = self.path("run.pnr")
            shutil.rmtree(capture, ignore_errors=True)
            options = ["-q", *(["--max-size", f"{limit}M"] if limit else [])]
            app = self.write("app.py", self.rss() + f"""
        for i in range({n}):
            exec(f"def {name}(): pass\\n{name}()", {{}})
            if i == {n} // 10: before = rss()
        print(rss() - before)
            """)
            finished = recorded(capture, [app], options=options, timeout=900)
            self.assertEqual(finished.status, 0, finished.err)
            own = int(plain([app]).out)             # from 3.12 on names are kept
            self.assertLess(int(finished.out) - own, 1000)
            if limit:
                self.assertIn("names have reached their share of --max-size", finished.err)
                self.assertLessEqual(size_on_disk(capture), limit * M)
            else:
                self.assertEqual(finished.err, "")
                names = os.path.join(os.path.dirname(segments(capture)[1]), "names")
                self.assertLess(os.path.getsize(names), 20_000)


if __name__ == "__main__":
    unittest.main()
