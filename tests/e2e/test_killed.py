"""Processes of a capture that are ended by a signal: another one finishes what they left, and all that they had done is
there, once."""

import collections
import os
import shutil
import subprocess
import unittest

from e2e import CONVERT, LONG, PYTHON, VERSION, EndToEnd, Trace, convert, recorded, run, size_on_disk

HAS_NAMESPACES = run(["unshare", "-pf", "true"]).status == 0 if shutil.which("unshare") else False

DEFINITIONS = """
    import os, signal, sys, time
    CAPTURE = "run.pnr"
    def step(): pass

    def lives():
        return {name for name in os.listdir(CAPTURE) if os.path.exists(f"{CAPTURE}/{name}/live")}

    def wait_for(condition):        # as long as it takes: the test has a limit of its own
        while not condition():
            time.sleep(0.05)
"""


class Killed(EndToEnd):

    def record(self, text, *arguments, status=0, command=(), options=("-q",)):
        script = self.write("app.py", DEFINITIONS + text)
        capture = self.path("run.pnr")
        shutil.rmtree(capture, ignore_errors=True)
        record = [PYTHON, "-m", "panopticon_rec", "-o", capture, *options, script, *arguments]
        finished = run([*command, *record], cwd=self.directory, timeout=300)
        self.assertEqual((finished.status, finished.err), (status, ""))
        return finished.out

    def check(self, n_steps):
        """So many calls are there, nothing is damaged, and no process but one that runs has a live mapping."""
        capture = self.path("run.pnr")
        self.assertEqual([name for name in os.listdir(capture) if name.startswith("begun-")], [])
        self.assertEqual([name for name in os.listdir(capture) if os.path.exists(os.path.join(capture, name, "live"))], [])
        verified = run([CONVERT, "--verify", capture], timeout=300)
        self.assertEqual(verified.status, 0, verified.err)
        trace = Trace(convert(capture))
        steps = [one for one in trace.slices if one.function.name.replace("__mp_main__", "__main__") == "__main__.step"]
        self.assertEqual(len(steps), n_steps)
        return collections.Counter(one.thread[0] for one in steps)

    def test_pools_that_are_terminated(self):
        """`with Pool()` ends its workers by SIGTERM, always."""
        n = 30 if LONG else 6
        for method in "fork", "spawn", "forkserver":
            with self.subTest(method):
                self.record(f"""
    import multiprocessing, warnings
    warnings.simplefilter("ignore")
    def work(n):
        for _ in range(n): step()
        return n
    if __name__ == "__main__":
        multiprocessing.set_start_method(sys.argv[1])
        for i in range({n if method == "fork" else 2}):
            with multiprocessing.Pool(4) as pool:
                assert sum(pool.map(work, [100] * 50, chunksize=1)) == 5000
                """, method)
                self.check(5000 * (n if method == "fork" else 2))
                n_processes = len(os.listdir(self.path("run.pnr")))
                self.assertLess(size_on_disk(self.path("run.pnr")), (256 << 10) * n_processes)      # a mapping is 4 MiB

    def test_at_any_moment(self):
        """While they begin, too. What a child had reported is there, once."""
        out = self.record("""
    import random
    random.seed(7)
    n_reported = 0
    for i in range(100):
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reader)
            while True:
                step()
                os.write(writer, b".")
        os.close(writer)
        time.sleep(random.random() * 0.01)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while piece := os.read(reader, 65536): n_reported += len(piece)
        os.close(reader)
    print(n_reported)
        """)
        capture = self.path("run.pnr")
        self.assertEqual([name for name in os.listdir(capture) if name.startswith("begun-") or
                          os.path.exists(os.path.join(capture, name, "live"))], [])
        verified = run([CONVERT, "--verify", capture], timeout=300)
        self.assertEqual(verified.status, 0, verified.err)
        steps = len(Trace(convert(capture)).named("__main__.step"))
        self.assertGreaterEqual(steps, int(out))
        self.assertLessEqual(steps, int(out) + 100)     # the last one of each may have come to no more than its call

    def test_exceptions_and_collections(self):
        """Those that a killed child had reported are there, once."""
        out = self.record("""
    import gc, random
    gc.disable()
    random.seed(7)
    n_reported = 0
    def fails(): raise ValueError("text")
    for i in range(30):
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reader)
            while True:
                try: fails()
                except ValueError: gc.collect(0)
                os.write(writer, b".")
        os.close(writer)
        time.sleep(random.random() * 0.02)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while piece := os.read(reader, 65536): n_reported += len(piece)
        os.close(reader)
    print(n_reported)
        """, options=("-q", "--gc", *["--exceptions"] * (VERSION >= (3, 12))))
        capture = self.path("run.pnr")
        verified = run([CONVERT, "--verify", capture], timeout=300)
        self.assertEqual(verified.status, 0, verified.err)
        trace = Trace(convert(capture))
        counts = collections.Counter(name.partition(" ")[0] for name in trace.instants if "ValueError" in name)
        counts["collection"] = len(trace.named("[garbage collection]"))
        for what in ("collection", "[raised", "[handled")[:3 if VERSION >= (3, 12) else 1]:
            self.assertGreaterEqual(counts[what], int(out), counts)
            self.assertLessEqual(counts[what], int(out) + 30, counts)

    def test_while_others_record(self):
        """It need not come to the end: the thread that writes looks for it now and then."""
        self.record("""
    def work():
        for _ in range(100): step()
    for i in range(20):
        pid = os.fork()
        if not pid:
            work()
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
    assert len(lives()) > 1
    work()
    wait_for(lambda: lives() == {f"process-{os.getpid()}"})
        """)
        self.check(2100)

    def test_the_one_that_began(self):
        """Its child goes on and finishes it, and its own end is in order."""
        self.record("""
    def work():
        for _ in range(100): step()
    work()
    parent = os.getpid()
    if not os.fork():
        work()
        if not os.fork():           # what is not waited for here
            work()
            os.kill(parent, signal.SIGKILL)
            wait_for(lambda: lives() == {f"process-{os.getpid()}"})
            open("done", "w").close()
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(1000)
        """, status=-9)
        while not os.path.exists(self.path("done")):
            pass
        while any(os.path.exists(self.path(f"run.pnr/{name}/live")) for name in os.listdir(self.path("run.pnr"))):
            pass
        self.assertEqual(sorted(self.check(300).values()), [100, 100, 100])

    def test_before_exec(self):
        """A process that runs another program goes on, but what it was before has ended."""
        self.record("""
    for _ in range(100): step()
    n = int(sys.argv[1])
    if n:
        os.execv(sys.executable, [sys.executable, sys.argv[0], str(n - 1)])
    wait_for(lambda: len(lives()) == 1)
        """, "3")
        self.assertEqual(len(self.check(400)), 4)

    @unittest.skipUnless(HAS_NAMESPACES, "no right to make PID namespaces")
    def test_in_a_namespace_that_has_no_proc(self):
        """There the numbers in /proc mean others: nobody that runs is taken for dead, the first process least of
        all."""
        self.record("""
    def work():
        for _ in range(100): step()
    def until(end):
        while time.monotonic() < end:
            time.sleep(0.05)
    end = time.monotonic() + 6
    for i in range(3):
        if not os.fork():
            work()
            until(end)
            work()
            os._exit(0)
    work()
    until(end + 1)
    work()
    for i in range(3): os.wait()
        """, command=["unshare", "-pf"])
        self.assertEqual(sorted(self.check(800).values()), [200] * 4)

    @unittest.skipUnless(HAS_NAMESPACES, "no right to make PID namespaces")
    def test_first_processes_of_many_namespaces(self):
        """All of them have the number 1, and they begin at the same time."""
        self.record("""
    import subprocess
    text = "def step(): pass\\nfor _ in range(100): step()"
    all = [subprocess.Popen(["unshare", "-pf", sys.executable, "-c", text]) for _ in range(8)]
    for one in all: one.wait()
        """)
        self.check(800)

    def test_with_a_limit(self):
        """Small processes that are killed take their place, too."""
        n = 600 if LONG else 150
        self.record(f"""
    most = 0
    def size():
        total = 0
        for folder, _, names in os.walk(CAPTURE):
            for name in [folder, *(os.path.join(folder, name) for name in names)]:
                try: total += -os.lstat(name).st_size // 4096 * -4096
                except FileNotFoundError: pass
        return total
    for i in range({n}):
        pid = os.fork()
        if not pid:
            for _ in range(100): step()
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        most = max(most, size())
    assert most <= 16 << 20, most
        """, options=["-q", "--max-size", "16M"])
        capture = self.path("run.pnr")
        self.assertEqual([name for name in os.listdir(capture) if name.startswith("begun-") or
                          os.path.exists(os.path.join(capture, name, "live"))], [])
        verified = run([CONVERT, "--verify", capture], timeout=300)
        self.assertEqual(verified.status, 0, verified.err)


if __name__ == "__main__":
    unittest.main()
