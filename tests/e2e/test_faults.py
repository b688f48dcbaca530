"""Whatever fails under the recorder, the program runs on as it would without it, and what was recorded can be read.

System calls and allocations of the recorder fail by tests/faults/faults.c, which is preloaded; the rest is done to the
process from outside."""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import time
import unittest

import e2e

FAULTS = os.path.join(e2e.BUILD, "tests", "faults", "faults.so")
KILLS = 300 if e2e.LONG else 32
CANNOT_FAIL = "EINTR", "short"          # such a fault has no effect

PROGRAM = """
    import os, sys, threading, warnings
    warnings.simplefilter("ignore")             # of forks beside threads that have just ended
    def generate(n):
        for i in range(n):
            yield step(i)
    def step(i):
        return i + 1
    def work(n):
        return sum(generate(n))
    def in_thread():
        work(3_000)
        print("thread", flush=True)
    print("begin", work(20_000), flush=True)
    threads = [threading.Thread(target=in_thread) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    child = os.fork()
    if child == 0:
        print("child", work(2_000), flush=True)
        os._exit(3)
    print("parent", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), work(1_000), flush=True)
    sys.exit(7)
    """

# Records again and again in one process, with another fault each time, and prints what came of it, in one line of JSON
# each. A round whose fault was not reached is the last of its kind.
SWEEP = """
    import ctypes, json, os, sys, threading, warnings
    import panopticon_rec
    warnings.simplefilter("ignore")             # the same
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    def generate(n):
        for i in range(n):
            yield step(i)
    def step(i):
        return i
    def work(n):
        assert sum(generate(n)) == n * (n - 1) // 2
    def descriptors():
        return sorted(int(name) for name in os.listdir("/proc/self/fd"))
    def program(snapshots):
        work(6_000)
        thread = threading.Thread(target=work, args=(100,))
        thread.start()
        thread.join()
        child = os.fork()
        if child == 0:
            work(50)
            os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        if snapshots:
            try:
                panopticon_rec.snapshot(snapshots)
            except (OSError, MemoryError, RuntimeError):
                pass
        work(3_000)
    order = json.load(sys.stdin)
    folder = order["folder"]
    def round(number, call, nth, error, forever, options, saves):
        report = dict(call=call, nth=nth, error=error, forever=forever, capture=f"{folder}/{number}.pnr", started=False,
                    failed="", limited="last" in options, snapshot=f"{folder}/{number}-saved.pnr" if saves else None)
        before = descriptors()
        recorder = panopticon_rec.Recorder(report["capture"], **options)
        library.faults_set(call.encode(), nth, error.encode(), int(forever))
        try:
            recorder.start()
            report["started"] = True
        except (OSError, MemoryError, RuntimeError) as e:
            report["failed"] = f"{type(e).__name__}: {e}"
        program(report["snapshot"])
        if report["started"]:
            try:
                recorder.stop()
            except (OSError, MemoryError) as e:
                report["failed"] = f"{type(e).__name__}: {e}"
        report["reached"] = bool(library.faults_reached())
        library.faults_set(b"", 1, b"", 0)
        report["leaked"] = [fd for fd in descriptors() if fd not in before]
        print(json.dumps(report), flush=True)
        return report["reached"]
    number = 0
    for one in order["faults"]:
        nth = 1
        while round(number := number + 1, one[0], nth, *one[1:]):
            nth += 1 if order["all"] or nth < 4 else nth
    """

# Each thread calls its own functions in turn, inside of which it counts in its own 8 bytes of a shared file; a process that
# forks does so with other counters.
COUNTING = """
    import mmap, os, sys, threading
    n, forks, functions = int(sys.argv[2]), int(sys.argv[3]), 97
    with open(sys.argv[1], "r+b") as file:
        counters = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
    def loop(k):
        own = {"counters": counters, "k": k, "__name__": "counting"}
        exec("".join(f"def f{k}_{i}(): counters[k] += 1\\n" for i in range(functions)), own)
        own = [own[f"f{k}_{i}"] for i in range(functions)]
        while True:
            for function in own:
                function()
    first = 0
    for process in range(1, 1 + forks):
        if os.fork() == 0:
            first = process * n
            break
    for k in range(first + 1, first + n):
        threading.Thread(target=loop, args=(k,)).start()
    loop(first)
    """


def faults(call, nth, error, forever=False, **more):
    """The environment in which a program has the fault."""
    env = {"LD_PRELOAD": FAULTS, "FAULT_CALL": call, "FAULT_NTH": str(nth), "FAULT_ERRNO": error, **more}
    return {**env, "FAULT_FOREVER": "1"} if forever else env


def count_steps(path):
    with open(path, "rb") as file:
        return sum(b'"name":"__main__.step"' in line and b'"ph":"X"' in line for line in file)


def is_all_from_recorder(err):
    """True when all that stands on stderr is lines of the recorder."""
    return all(line.startswith("panopticon: ") for line in err.splitlines())


@unittest.skipUnless(os.path.exists(FAULTS), "this build has no faults.so")
@e2e.once
class Faults(e2e.EndToEnd):
    SYSTEM = [("open", "EMFILE"), ("open", "EACCES"), ("open", "EINTR"), ("write", "ENOSPC"), ("write", "EINTR"),
              ("write", "short"), ("write", "torn"), ("ftruncate", "EIO"), ("posix_fallocate", "ENOSPC"), ("posix_fallocate", "EINTR"),
              ("mmap", "ENOMEM"), ("madvise", "ENOMEM"), ("pthread_create", "EAGAIN"), ("pthread_getattr_np", "ENOMEM"),
              ("link", "EACCES"), ("rename", "EIO"), ("mkdir", "ENOSPC"), ("unlink", "EACCES"), ("rmdir", "EACCES"),
              ("opendir", "EMFILE"), ("fstat", "EIO"), ("lstat", "EIO"), ("stat", "EACCES"), ("read", "EIO"),
              ("read", "EINTR"), ("read", "short"), ("pread", "EIO"), ("pread", "EINTR"), ("pread", "short"),
              ("lseek", "EIO"), ("access", "EACCES"), ("flock", "EINTR"), ("flock", "EAGAIN"), ("getcwd", "EACCES"),
              ("fcntl", "EMFILE")]
    MEMORY = [(call, "ENOMEM") for call in ("malloc", "calloc", "realloc", "strdup")]

    def setUp(self):
        super().setUp()
        self.app = self.write("app.py", PROGRAM)
        self.expected = None

    def sweep(self, order):
        """order: [(call, error, forever, options of the Recorder, whether a snapshot is made)]"""
        text = json.dumps({"folder": self.directory, "faults": order, "all": e2e.LONG})
        finished = e2e.run([e2e.PYTHON, self.write("sweep.py", SWEEP)], stdin=text.encode(), cwd=self.directory,
                           env={"LD_PRELOAD": FAULTS}, timeout=2000 if e2e.LONG else 100)
        rounds = [json.loads(line) for line in finished.out.splitlines()]
        last = rounds[-1] if rounds else None
        self.assertEqual(finished.status, 0, f"{finished.err[-3000:]}\nlast: {last}")
        self.assertTrue(is_all_from_recorder(finished.err), finished.err[:3000])
        for reported in rounds:
            with self.subTest(reported["call"], **{key: reported[key] for key in ("nth", "error", "forever")}):
                self.check(reported)
            shutil.rmtree(reported["capture"], ignore_errors=True)
        self.assertFalse(rounds[-1]["reached"])

    def check(self, reported):
        capture, is_hidden = reported["capture"], reported["error"] in CANNOT_FAIL
        if reported["started"]:
            self.check_capture(capture, is_hidden or not reported["reached"], is_limited=reported["limited"])
        elif reported["call"] not in ("unlink", "rmdir") and not reported["forever"]:
            self.assertFalse(os.path.exists(capture), reported)
        if not reported["reached"] or is_hidden:
            self.assertEqual((reported["started"], reported["failed"]), (True, ""))
        if reported["call"] != "fstat":     # what may not be the recorder's own is not closed
            self.assertEqual(reported["leaked"], [], reported)
        if reported["snapshot"] and os.path.exists(reported["snapshot"]):
            self.check_capture(reported["snapshot"], is_hidden or not reported["reached"], is_limited=True)

    def check_capture(self, capture, is_whole, is_limited):
        trace = capture.removesuffix(".pnr") + ".trace"
        finished = e2e.run([e2e.CONVERT, capture, "-o", trace])
        self.assertIn(finished.status, (0,) if is_whole else (0, 1), finished.err)
        if is_whole and not is_limited:
            self.assertEqual(count_steps(trace), 9_150)
        os.remove(trace)

    def test_system_calls(self):
        self.sweep([(call, error, False, {}, True) for call, error in self.SYSTEM])

    def test_system_calls_with_limits(self):
        limits = {"max_size": "16M", "last": "20ms"}
        self.sweep([(call, error, False, limits, True) for call, error in self.SYSTEM
                    if call in ("open", "opendir", "pread", "flock", "unlink", "rmdir", "lstat", "read", "write")])

    def test_system_calls_from_some_time_on(self):
        self.sweep([(call, error, True, {}, True) for call, error in self.SYSTEM if error not in CANNOT_FAIL])

    def test_allocations(self):
        filters = {"filters": ["include *"], "max_size": "16M", "last": "20ms"}
        self.sweep([(call, error, forever, filters, True) for call, error in self.MEMORY for forever in (False, True)])

    # ---- what waits

    def test_traced_threads_go_on_while_a_snapshot_is_written(self):
        """The first write into the snapshot ends only after another thread has made 100 more calls. Were that thread
        stopped for as long as the write lasts, the program would never end."""
        program = self.write("app.py", """
            import ctypes, os, panopticon_rec, threading, time
            library = ctypes.PyDLL(os.environ["LD_PRELOAD"])
            def step(): pass
            def work():
                while not library.faults_reached(): time.sleep(0.001)
                for _ in range(100): step()
                library.faults_release()
            thread = threading.Thread(target=work)
            thread.start()
            library.faults_set(b"write", 1, b"wait", 0)
            panopticon_rec.snapshot("snapshot.pnr")
            thread.join()
            """)
        finished = e2e.recorded(self.path("run.pnr"), [program], cwd=self.directory, env={"LD_PRELOAD": FAULTS})
        self.assertEqual(finished, (0, "", ""))
        self.assertEqual(self.trace().count()["__main__.step"], 100)

    # ---- the command

    def run_faulty(self, env, options=("-q",)):
        """Runs the program plain, once, and recorded. Returns (finished, whether it ran)."""
        if not self.expected:
            self.expected = e2e.plain([self.app], cwd=self.directory)
            self.assertEqual((self.expected.status, self.expected.err), (7, ""))
        capture = self.path("run.pnr")
        shutil.rmtree(capture, ignore_errors=True)
        finished = e2e.recorded(capture, [self.app], cwd=self.directory, env=env, options=options)
        self.assertTrue(is_all_from_recorder(finished.err), finished.err)
        if finished.status == 2 and not finished.out:
            self.assertEqual(len(finished.err.splitlines()), 1, finished.err)
            self.assertFalse(os.path.exists(capture), finished.err)
            return finished, False
        self.assertEqual((finished.status, finished.out), (self.expected.status, self.expected.out), finished.err)
        converted = e2e.run([e2e.CONVERT, capture, "-o", self.path("run.trace")])
        self.assertIn(converted.status, (0, 1), converted.err)
        return finished, True

    def check_command(self, call, error, ordinals, forever=False):
        reported = self.path("reported")
        for nth in ordinals:
            with self.subTest(call, error=error, nth=nth, forever=forever), contextlib.suppress(FileNotFoundError):
                finished, has_run = self.run_faulty(faults(call, nth, error, forever, FAULT_REPORT=reported))
                if error in CANNOT_FAIL:
                    self.assertEqual((has_run, finished.err), (True, ""))
                    self.assertEqual(count_steps(self.path("run.trace")), 29_000)
            if not os.path.exists(reported):
                break
            os.remove(reported)

    def test_command(self):
        random_order = self.random()
        for call, error in self.SYSTEM + self.MEMORY:
            if e2e.LONG:
                self.check_command(call, error, range(1, 100_000))
            else:
                self.check_command(call, error, [random_order.choice([1, 2, 3, 5, 8, 13, 21, 34, 55, 89])])

    def test_memory_that_shows_forks(self):
        """Where it cannot be had at the start, and can be later, the process is not taken for its own child."""
        for nth in range(2, 6):
            with self.subTest(nth):
                finished, has_run = self.run_faulty({**faults("mmap", nth, "ENOMEM"), "PANOPTICON_DEBUG": "1"})
                self.assertEqual(finished.err.count("first event"), int(has_run), finished.err)

    def test_command_on_a_full_disk(self):
        """From the n-th write on none succeeds, nor does any that lies between."""
        for nth in range(1, 400, 1 if e2e.LONG else 57):
            self.check_command("write", "ENOSPC", [nth], forever=True)

    # ---- the clock

    def test_clock_steps(self):
        """No slice lasts an hour because CLOCK_REALTIME was set."""
        for nth, error in (40, "ahead"), (200, "back"):
            _, has_run = self.run_faulty(faults("clock", nth, error, forever=True))
            self.assertTrue(has_run)
            trace = e2e.Trace(self.path("run.trace"))
            self.assertLess(max(one.end - one.begin for one in trace.slices), 100 * 10**9)
            self.assertEqual(trace.count()["__main__.step"], 29_000)


@e2e.once
class Environment(e2e.EndToEnd):
    def setUp(self):
        super().setUp()
        self.app = self.write("app.py", PROGRAM)

    def mount(self, name, options):
        """A tmpfs of its own, gone after the test."""
        folder = self.path(name)
        os.mkdir(folder)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "panopticon-test", folder], stderr=subprocess.PIPE,
                              check=False)
        if done.returncode != 0:
            self.skipTest(f"nothing can be mounted here: {done.stderr.decode().strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", folder], check=False)
        return folder

    def check_not_run(self, finished, capture):
        self.assertEqual((finished.status, finished.out), (2, ""))
        self.assertEqual(len(finished.err.splitlines()), 1, finished.err)
        self.assertTrue(is_all_from_recorder(finished.err), finished.err)
        self.assertFalse(os.path.exists(capture))

    def check_run(self, finished, app=None, status=7):
        expected = e2e.plain([app or self.app], cwd=self.directory)
        self.assertEqual((finished.status, finished.out), (expected.status, expected.out), finished.err)
        self.assertEqual(expected.status, status)
        self.assertTrue(is_all_from_recorder(finished.err), finished.err)

    def test_disk_full_at_the_start(self):
        capture = self.mount("small", "size=1m") + "/run.pnr"
        self.check_not_run(e2e.recorded(capture, [self.app], cwd=self.directory), capture)

    def test_disk_full_later(self):
        """The disk holds the live mapping, that of a child not always, and few blocks."""
        for size_k in 33000, 33100, 33400, 38000:
            with self.subTest(size_k):
                capture = self.mount(f"disk-{size_k}", f"size={size_k}k") + "/run.pnr"
                finished = e2e.recorded(capture, [self.app], cwd=self.directory)
                if finished.status == 2:
                    self.check_not_run(finished, capture)
                    continue
                self.check_run(finished)
                converted = e2e.run([e2e.CONVERT, capture, "-o", self.path("run.trace")])
                self.assertIn(converted.status, (0, 1), converted.err)

    def test_read_only(self):
        folder = self.mount("read-only", "ro")
        self.check_not_run(e2e.recorded(folder + "/run.pnr", [self.app], cwd=self.directory), folder + "/run.pnr")

    def test_capture_is_removed(self):
        """Also while segments are begun, and with a child that would join."""
        app = self.write("removes.py", """
            import os, shutil, sys, time
            def work(n):
                for _ in range(n): step()
            def step(): pass
            work(50_000)
            for entry in os.scandir("."):
                if entry.name.endswith(".pnr"):
                    shutil.rmtree(entry.name)
            for _ in range(10):
                work(20_000)
                time.sleep(0.01)
            child = os.fork()
            if child == 0:
                work(1)
                os._exit(3)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            """)
        for options in ("-q",), ("-q", "--last", "20ms"), ("-q", "--max-size", "16M"):
            with self.subTest(options):
                finished = e2e.recorded(self.path("run.pnr"), [app], cwd=self.directory, options=options)
                self.check_run(finished, app, 0)
                self.assertFalse(os.path.exists(self.path("run.pnr")))

    def test_few_descriptors(self):
        """The recorder keeps two: a program that can do with two fewer than there are runs as it does without."""
        capture = self.path("run.pnr")
        for maximum in (*range(3, 14), 20, 70):
            with self.subTest(maximum):
                plain = self.run_limited([e2e.PYTHON, self.app], maximum - 2)
                if plain.returncode != 7:
                    continue
                shutil.rmtree(capture, ignore_errors=True)
                recorded = self.run_limited(e2e.recorder(capture, [self.app]), maximum)
                self.assertEqual((recorded.returncode, recorded.stdout, recorded.stderr), (7, plain.stdout, ""))
                self.assertEqual(self.trace().count()["__main__.step"], 29_000)

    def run_limited(self, command, maximum):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))
        return subprocess.run(command, cwd=self.directory, env=e2e.environment(), preexec_fn=limit, timeout=60,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@e2e.once
class Signals(e2e.EndToEnd):
    """Killed at any instant: each thread's calls that were counted before are in the trace, in order, and none is
    missing except the oldest where a limit evicted them."""

    def begin(self, n, forks, options=()):
        """Starts the counting program. Returns (process, its counters)."""
        counters, capture = self.path("counters"), self.path("run.pnr")
        shutil.rmtree(capture, ignore_errors=True)
        with open(counters, "wb") as file:
            file.write(bytes(4096))
        command = e2e.recorder(capture, [self.write("app.py", COUNTING), counters, str(n), str(forks)],
                               options=("-q", *options))
        process = subprocess.Popen(command, env=e2e.environment(), start_new_session=True)
        n_all = n * (1 + forks)
        until = time.monotonic() + 60
        while not all(self.count(n_all)) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        return process, n_all

    def count(self, n):
        with open(self.path("counters"), "rb") as file:
            return struct.unpack(f"{n}Q", file.read(8 * n))

    @staticmethod
    def called(path, n):
        """Per counter: the functions' numbers in the order of their calls. One event is one line."""
        calls, pattern = [[] for _ in range(n)], re.compile(rb'"name":"counting\.f(\d+)_(\d+)".*"ts":([0-9.]+)')
        with open(path, "rb") as file:
            for line in file:
                if b'"ph":"X"' in line and (found := pattern.search(line)):
                    calls[int(found[1])].append((float(found[3]), int(found[2])))
        return [[i for _, i in sorted(one)] for one in calls]

    def check(self, what, n, forks, options, instant, is_limited):
        process, n_all = self.begin(n, forks, options)
        try:
            time.sleep(instant)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        counted = self.count(n_all)
        self.assertTrue(all(counted), (what, counted))
        calls = self.called(e2e.convert(self.path("run.pnr")), n_all)
        for k, (c, found) in enumerate(zip(counted, calls)):
            place = f"{what} after {instant:.4f} s: counter {k} of {counted}"
            self.assertTrue(found, place)
            missing = [(a, b) for a, b in zip(found, found[1:]) if (a + 1) % 97 != b]
            self.assertEqual(missing, [], place)
            self.assertIn((found[-1] + 1 - c) % 97, (0, 1), place)
            if not is_limited:
                self.assertIn(len(found) - c, (0, 1), place)

    def kills(self, what, n, forks, options, longest, is_limited=False):
        instants = self.random()
        for _ in range(KILLS // 4):
            self.check(what, n, forks, options, instants.random() ** 2 * longest, is_limited)

    def test_kill_threads(self):
        self.kills("threads", 3, 0, (), 0.1)

    def test_kill_forks(self):
        self.kills("forks", 1, 2, (), 0.1)

    def test_kill_while_old_data_goes(self):
        self.kills("last", 2, 0, ("--last", "200ms" if e2e.LONG else "40ms"), 0.8 if e2e.LONG else 0.2, True)

    def test_kill_while_segments_are_begun(self):
        self.kills("rotation", 2, 1, ("--max-size", "16M", "--last", "30ms"), 0.2, True)

    def test_stop_and_continue(self):
        """A process that is stopped for a while and goes on is recorded whole."""
        app = self.write("app.py", PROGRAM)
        capture = self.path("run.pnr")
        process = subprocess.Popen(e2e.recorder(capture, [app]), env=e2e.environment(), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        for _ in range(20):
            time.sleep(0.005)
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.02)
            process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=60)
        self.assertEqual((process.returncode, err), (7, ""))
        self.assertEqual(out, e2e.plain([app]).out)
        self.assertEqual(self.trace().count()["__main__.step"], 29_000)


if __name__ == "__main__":
    unittest.main()
