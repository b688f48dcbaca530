"""However a process ends, every event up to that instant is in its capture."""

import collections
import mmap
import os
import signal
import struct
import subprocess
import time
import unittest

import e2e

KILLS = int(os.environ.get("PANOPTICON_KILLS") or 50)

# Each thread counts in its own 8 bytes of a shared file, inside of the function that is counted.
COUNTING = """
    import mmap, sys, threading
    n = int(sys.argv[2])
    with open(sys.argv[1], "r+b") as file:
        counters = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
    def work(k):
        counters[k] += 1
    def generate(k):
        while True:
            counters[k] += 1
            yield k
    def loop(k):
        while True:
            work(k)
    def loop_of_generator(k):
        for _ in generate(k):
            pass
    for k in range(1, n):
        threading.Thread(target=loop, args=(k,), name=f"counter {k}").start()
    (loop if sys.argv[3] == "calls" else loop_of_generator)(0)
    """

FULL = """
    def first():
        for _ in range(70_000):
            done()
    def done():
        pass
    def dies():
        end()
    def end():
        {end}
    first()
    dies()
    """


def count(path, name):
    """Per thread: how often the function was entered and how often left. One event is one line."""
    needle = b'"name":"%s"' % name.encode()
    entered, left = collections.Counter(), collections.Counter()
    with open(path, "rb") as file:
        for line in file:
            if needle in line and b'"ph":"X"' in line:
                thread = int(line.partition(b'"tid":')[2].partition(b",")[0])
                entered[thread] += 1
                left[thread] += b'"unfinished":true' not in line
    return entered, left


@e2e.once
class Killed(e2e.EndToEnd):
    def kill(self, n_threads, mode, instant):
        """Kills the program some time after it began to count; returns the counters and the trace's path."""
        counters, capture = self.path("counters"), self.path("run.pnr")
        subprocess.run(["rm", "-rf", capture])
        with open(counters, "wb") as file:
            file.write(bytes(mmap.PAGESIZE))
        command = e2e.recorder(capture, [self.write("app.py", COUNTING), counters, str(n_threads), mode])
        process = subprocess.Popen(command, env=e2e.environment())
        try:
            with open(counters, "rb") as file:
                observed = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
                while not all(struct.unpack_from(f"{n_threads}Q", observed)) and process.poll() is None:
                    time.sleep(0.0005)
                time.sleep(instant)
        finally:
            process.kill()
            process.wait()
        counted = struct.unpack_from(f"{n_threads}Q", observed)
        self.assertTrue(all(counted), counted)
        return counted, e2e.convert(capture)

    def check(self, n_threads, mode, n_kills, name):
        """The entry record comes before the count, the count before the exit record, and no two of them of one
        thread are under way at once. So with c counted, (entered, left) is (c, c - 1) inside of the function
        after the count, (c, c) outside of it, (c + 1, c) inside before the count."""
        instants = self.random()
        for number in range(n_kills):
            instant = instants.random() ** 2 * 0.06
            counted, trace = self.kill(n_threads, mode, instant)
            entered, left = count(trace, name)
            found = sorted((entered[thread], left[thread]) for thread in entered)
            for c, (e, l) in zip(sorted(counted), found):
                self.assertIn((e - c, l - c), {(0, -1), (0, 0), (1, 0)},
                              f"kill {number} after {instant:.4f} s: counted {counted}, entered and left {found}")
            self.assertEqual(len(found), n_threads)

    def test_calls(self):
        self.check(1, "calls", KILLS, "__main__.work")

    def test_generator(self):
        self.check(1, "generator", (KILLS + 4) // 5, "__main__.generate")

    def test_threads(self):
        self.check(4, "calls", (KILLS + 4) // 5, "__main__.work")

    def test_whole_trace(self):
        """Flows and nesting of a recovered capture are right, too."""
        counted, path = self.kill(2, "generator", 0.004)
        trace = e2e.Trace(path)
        flows = [flow for flow in trace.flows if flow[0].function.name == "__main__.generate"]
        self.assertEqual(len(flows), 1)
        self.assertIn(len(flows[0]) - counted[0], (0, 1))
        self.assertEqual(len(trace.threads), 2)

    def test_at_any_age(self):
        """Killed at any instant from the start on: there is a capture that converts, or none yet."""
        instants = self.random()
        for _ in range((KILLS + 4) // 5):
            capture = self.path("run.pnr")
            subprocess.run(["rm", "-rf", capture])
            process = subprocess.Popen(e2e.recorder(capture, ["-c", "import asyncio"]), env=e2e.environment())
            time.sleep(instants.random() * 0.1)
            process.kill()
            process.wait()
            if os.path.exists(capture):
                finished = e2e.run([e2e.CONVERT, capture, "-o", self.path("run.trace")])
                # Killed before its first property was written it is no capture yet, and that is reported.
                if finished.status == 2 and len(finished.err.splitlines()) == 1:
                    continue
                self.assertEqual(finished.status, 0, finished.err)
                e2e.Trace(self.path("run.trace"))


class Termination(e2e.EndToEnd):
    def check(self, end, status, unfinished=("__main__.<module>", "__main__.dies", "__main__.end"), lines=None):
        text = FULL.format(end=end)
        capture = self.path("run.pnr")
        finished = e2e.recorded(capture, [self.write("app.py", text)], cwd=self.directory)
        self.assertEqual(finished.status, status, finished.err)
        trace = e2e.Trace(e2e.convert(capture))
        names = trace.count()
        self.assertEqual([names[f"__main__.{name}"] for name in ("done", "first", "dies", "end")], [70_000, 1, 1, 1])
        self.assertEqual({one.function.name for one in trace.slices if "unfinished" in one.flags}, set(unfinished))
        return trace

    def test_os_exit(self):
        self.check("import os; os._exit(3)", 3)

    def test_abort(self):
        self.check("import os; os.abort()", -signal.SIGABRT)

    def test_segmentation_fault(self):
        self.check("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV,
                   ("__main__.<module>", "__main__.dies", "__main__.end", "ctypes.string_at"))

    def test_sigkill(self):
        self.check("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL)

    def test_sigterm(self):
        self.check("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM)

    def test_sighup(self):
        self.check("import os; os.kill(os.getpid(), 1)", -signal.SIGHUP)

    def test_exec(self):
        self.check("import os; os.execv('/bin/true', ['true'])", 0)

    def test_exec_of_python(self):
        self.check("import os, sys; os.execv(sys.executable, [sys.executable, '-c', 'print(1)'])", 0)

    def test_sys_exit(self):
        self.check("import sys; sys.exit(4)", 4, ())

    def test_exception(self):
        trace = self.check("raise LookupError", 1, ())
        flags = {one.function.name: one.flags for one in trace.slices}
        for name in ("end", "dies", "<module>"):
            self.assertEqual(flags[f"__main__.{name}"], {"exception"})
        self.assertEqual(flags["__main__.first"], set())

    def test_os_exit_with_threads(self):
        """What other threads did is there, too."""
        self.check("""import os, threading
        def other():
            for _ in range(1000): done_there()
            arrived.set()
            threading.Event().wait()
        def done_there(): pass
        arrived = threading.Event()
        threading.Thread(target=other).start()
        arrived.wait()
        os._exit(0)""", 0, self.OPEN)
        trace = self.trace()
        self.assertEqual(trace.count()["__main__.end.<locals>.done_there"], 1000)

    OPEN = ("__main__.<module>", "__main__.dies", "__main__.end", "__main__.end.<locals>.other", "threading.Event.wait",
            "threading.Condition.wait", "threading.Thread._bootstrap", "threading.Thread._bootstrap_inner",
            "threading.Thread.run")

    def test_daemon_threads(self):
        self.check("""import threading
        def other():
            for _ in range(1000): done_there()
            arrived.set()
            threading.Event().wait()
        def done_there(): pass
        arrived = threading.Event()
        threading.Thread(target=other, daemon=True).start()
        arrived.wait()""", 0, self.OPEN[3:])
        self.assertEqual(self.trace().count()["__main__.end.<locals>.done_there"], 1000)

    def test_atexit_and_finalizers(self):
        """What runs after the program's last line is recorded."""
        _, trace = self.record("""
            import atexit, threading
            def late(): pass
            def in_thread():
                threading.main_thread().join()
                after_main()
            def after_main(): pass
            atexit.register(late)
            threading.Thread(target=in_thread).start()
            """)
        self.assertEqual([trace.count()[f"__main__.{name}"] for name in ("late", "after_main")], [1, 1])

    def test_fork(self):
        """A child writes into the capture alongside its parent, or leaves it alone."""
        text = """
            import os
            def work(n):
                for _ in range(n): step()
            def step(): pass
            work(40_000)
            child = os.fork()
            work(50_000 if child == 0 else 30_000)
            if child:
                os.waitpid(child, 0)
            """
        for follow, expected in ("fork", (3, 120_000, 2)), ("none", (2, 70_000, 1)):
            _, trace = self.record(text, options=["-q", "--follow", follow])
            counts = trace.count()
            self.assertEqual((counts["__main__.work"], counts["__main__.step"], len(trace.processes)), expected)


if __name__ == "__main__":
    unittest.main()
