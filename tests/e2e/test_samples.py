"""What the recorder sees of threads (--samples). The oracle is the program itself: what its clocks of CPU time and its locks
say of each of its functions."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

import e2e

sys.path.append(os.path.join(os.path.dirname(__file__), os.pardir, "format"))
import capture_reader                   # noqa: E402
import trace_checker                    # noqa: E402

# Each function is one whose truth is known; `measured` has for each: wall time, CPU time of its thread, in ns.
MEASURES = """
    import functools, json, os, threading, time
    measured = {}

    def measure(function):
        @functools.wraps(function)
        def run(*args):
            wall, cpu = time.monotonic_ns(), time.thread_time_ns()
            function(*args)
            one = measured.setdefault(function.__name__, [0, 0])
            one[0] += time.monotonic_ns() - wall
            one[1] += time.thread_time_ns() - cpu
        return run

    def until(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
    """

# A sample lies over several calls of each.
ALTERNATES = MEASURES + """
    @measure
    def work(): until(0.003)

    @measure
    def nap(): time.sleep(0.003)

    for i in range(100):
        work()
        nap()
    print(json.dumps(measured))
    """

# Runs a command in a filter of system calls that kills a process which calls perf_event_open.
FILTER = """
    import ctypes, os, platform, struct, sys
    number, seccomp = {"x86_64": (298, 317), "aarch64": (241, 277)}[platform.machine()]
    rows = (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7fff0000)
    rows = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(rows)))
    libc = ctypes.CDLL(None, use_errno=True)
    def kill_at_perf_event_open():      # in all threads
        if libc.prctl(38, 1, 0, 0, 0) or libc.syscall(seccomp, 1, 1, program):
            sys.exit(77)
    """

FILTERED = FILTER + """
    kill_at_perf_event_open()
    os.execv(sys.argv[1], sys.argv[1:])
    """

FILTERED_LATER = FILTER + """
    import panopticon_rec as rec, threading, time
    def work():
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            time.sleep(0.001)
    with rec.record("run.pnr", samples="1ms", follow="none"):
        work()
        kill_at_perf_event_open()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    """

WAITS = MEASURES + """
    @measure
    def sleeper():
        time.sleep(0.4)

    @measure
    def spinner():
        until(0.4)

    @measure
    def fighter():
        until(0.8)

    @measure
    def reader(file):
        while os.read(file, 1):
            pass

    def slow_writer(file):
        for i in range(8):
            time.sleep(0.05)
            os.write(file, b"x")
        os.close(file)

    def side_by_side(*functions):
        threads = [threading.Thread(target=function, args=args) for function, *args in functions]
        for thread in threads: thread.start()
        for thread in threads: thread.join()

    sleeper()
    spinner()
    side_by_side([fighter], [fighter])
    ends = os.pipe()
    side_by_side([reader, ends[0]], [slow_writer, ends[1]])
    print(json.dumps(measured))
    """


class Samples(e2e.EndToEnd):
    def take(self, text, *options, **more):
        """Records a program with samples. Returns what it printed, as JSON, and its only process."""
        shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
        finished = e2e.recorded(self.path("run.pnr"), [self.write("app.py", text)], cwd=self.directory,
                                options=["-q", *options], **more)
        self.assertEqual((finished.status, finished.err), (0, ""))
        return json.loads(finished.out) if finished.out else None, self.read()[0]

    def read(self, name="run.pnr"):
        """The processes of a capture, which is intact."""
        capture = capture_reader.read(self.path(name))
        self.assertEqual([report for report in capture.reports if report.is_damage], [])
        for process in capture.processes:
            self.assertFalse(+process.skipped)
        verified = e2e.run([e2e.CONVERT, "--verify", self.path(name)])
        self.assertEqual(verified.status, 0, verified.err)
        return capture.processes

    def top(self, *options):
        """The functions of the table, by their names in the module."""
        finished = e2e.run([e2e.CONVERT, "-q", "--top", "--json", self.path("run.pnr"), *options])
        self.assertEqual(finished.status, 0, finished.err)
        return {line["name"].removeprefix("__main__."): line for line in json.loads(finished.out)["functions"]}

    def test_waits(self):
        for engine in e2e.ENGINES:
            with self.subTest(engine):
                measured, _ = self.take(WAITS, "--samples", "1ms", "--engine", engine)
                self.check_waits(measured)

    def check_waits(self, measured):
        lines = self.top()
        total = {name: lines[name]["sampled"]["total"] for name in measured}
        for name, (wall, cpu) in measured.items():
            with self.subTest(name):
                spent = total[name]
                self.assertAlmostEqual(spent["known_ns"], wall, delta=0.1 * wall + 20e6)
                self.assertAlmostEqual(spent["ran_ns"], cpu, delta=0.1 * cpu + 20e6)
                self.assertLessEqual(spent["ran_ns"] + spent["queued_ns"], spent["known_ns"])
        for name in ("sleeper", "reader"):
            self.assertGreater(total[name]["waited_ns"], 0.5 * total[name]["known_ns"])
            self.assertLess(total[name]["held_gil_ns"], 0.3 * total[name]["known_ns"])
        gil = total["spinner"]["held_gil_ns"]
        self.assertGreater(gil, 0.8 * total["spinner"]["known_ns"])
        fights = total["fighter"]           # two of them, side by side
        self.assertAlmostEqual(fights["held_gil_ns"] / fights["known_ns"], 0.5, delta=0.15)

    def exactly(self, process):
        """Skips where the kernel does not say when threads ran."""
        self.assertRegex(process.properties["scheduling"], "^exact$|^sampled: (perf_event_open|mmap): .|^sampled: (a filter of system"
                                                           " calls|no memory|the process has a clock)")
        if process.properties["scheduling"] != "exact":
            self.skipTest(process.properties["scheduling"])

    def test_short_calls_have_their_own_share(self):
        """By sums between two samples alone, each of the two functions would have run half of its time."""
        measured, process = self.take(ALTERNATES, "--samples", "20ms")
        self.exactly(process)
        self.assertIn("\n  scheduling  exact\n", e2e.run([e2e.CONVERT, "--info", self.path("run.pnr")]).out)
        spent = {name: line["sampled"]["total"] for name, line in self.top().items() if name in measured}
        wall, cpu = measured["work"]
        self.assertLess(spent["work"]["ran_ns"], 1.1 * wall + 10e6)
        self.assertGreater(spent["work"]["ran_ns"], 0.8 * min(cpu, spent["work"]["known_ns"]))
        self.assertLess(spent["nap"]["ran_ns"], 0.2 * measured["nap"][0])

    def test_each_change(self):
        """The curve of what a thread ran is down in each of its sleeps, and up after it: what the independent reader finds
        is what the trace shows."""
        found, process = self.take("""
            import json, time
            sleeps = []
            for i in range(60):
                begin = time.monotonic_ns()
                time.sleep(0.005)
                sleeps.append([begin, time.monotonic_ns()])
                end = time.monotonic() + 0.002
                while time.monotonic() < end: pass
            print(json.dumps(sleeps))
            """, "--samples", "5ms")
        self.exactly(process)
        with open(e2e.convert(self.path("run.pnr")), encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(trace_checker.check(self.path("run.pnr"), text, trace_checker.REAL_CLOCK_NS), [])
        clock = trace_checker.Clock(process)
        times = []                      # in which the main thread ran, in CLOCK_MONOTONIC
        for (begin, end, _, thread), changes in zip(process.samples.spent[capture_reader.RAN], process.samples.schedules):
            if thread == 1:
                begin, end = clock.ns(begin), clock.ns(end)
                times += capture_reader.running(begin, end, changes) or [(begin, end)]
        asleep = [(left, got) for (_, left), (got, _) in zip(times, times[1:])]
        hits = [1 for begin, end in found for left, got in asleep
                if begin - 50_000 <= left and got <= end + 50_000 and got - left > 4_000_000]
        self.assertGreater(len(hits), 40, (found, asleep))

    def test_a_filter_of_system_calls(self):
        """It is not tried there: the filter may kill the process."""
        command = e2e.recorder(self.path("run.pnr"), [self.write("app.py", ALTERNATES)], options=["-q", "--samples", "10ms"])
        finished = e2e.run([e2e.PYTHON, self.write("filtered.py", FILTERED), *command])
        if finished.status == 77:
            self.skipTest("no filter of system calls can be set")
        self.assertEqual((finished.status, finished.err), (0, ""))
        process, = self.read()
        self.assertRegex(process.properties["scheduling"], "^sampled: a filter of system calls is in force$")
        self.assertFalse(any(process.samples.schedules))
        self.assertIn("\n  scheduling  sampled: a filter", e2e.run([e2e.CONVERT, "--info", self.path("run.pnr")]).out)

    def test_a_filter_while_it_is_recorded(self):
        """The threads that begin before it are exact. Others are not tried."""
        finished = e2e.plain([self.write("app.py", FILTERED_LATER)], cwd=self.directory)
        if finished.status == 77:
            self.skipTest("no filter of system calls can be set")
        self.assertEqual((finished.status, finished.err), (0, ""))
        process, = self.read()
        if process.properties["scheduling"].startswith("sampled"):
            self.skipTest(process.properties["scheduling"])
        self.assertEqual(process.properties["scheduling"], "partly: a filter of system calls is in force")
        self.assertIn("\n  scheduling  partly: a filter", e2e.run([e2e.CONVERT, "--info", self.path("run.pnr")]).out)
        self.assertTrue(any(process.samples.schedules))

    def test_rings_are_there_while_samples_are_taken_only(self):
        output = self.script("""
            import os, time
            import panopticon_rec as rec
            def has_rings():
                end = time.monotonic() + 0.1
                while time.monotonic() < end: os.getpid.__call__()
                with open("/proc/self/maps") as file: return "perf_event" in file.read()
            def child():
                if not os.fork(): os._exit(has_rings_at_once())
                return os.waitstatus_to_exitcode(os.wait()[1])
            def has_rings_at_once():
                with open("/proc/self/maps") as file: return "perf_event" in file.read()
            with rec.record("run.pnr", samples="1ms", follow="none"):
                print(has_rings())
                print(child())
                rec.pause()
                print(has_rings())
                rec.resume()
                print(has_rings())
            print(has_rings())
            """).out.split()
        process, = self.read()
        self.exactly(process)
        self.assertEqual(output, ["True", "0", "False", "True", "False"])

    def test_busy(self):
        self.take(WAITS, "--samples", "1ms")
        everything, busy = self.top(), self.top("--busy")
        self.assertLessEqual({"sleeper", "reader", "until"}, everything.keys())
        self.assertIn("until", busy)
        self.assertFalse({"sleeper", "reader"} & busy.keys())
        self.assertLess(busy.keys(), everything.keys())

    def test_counters(self):
        self.take(WAITS, "--samples", "1ms")
        with open(e2e.convert(self.path("run.pnr")), encoding="utf-8") as file:
            trace = json.load(file)["traceEvents"]
        names = {event["name"].partition(": ")[2] or event["name"] for event in trace if event.get("cat") == "sample"}
        self.assertLessEqual({"ran, %", "GIL, %", "memory, bytes", "chunks in use"}, names)
        self.assertLessEqual(names, {"ran, %", "queued, %", "GIL, %", "memory, bytes", "chunks in use"})
        for event in trace:
            if event.get("cat") == "sample" and event["name"].endswith("%"):
                self.assertTrue(0 <= event["args"]["value"] <= 100, event)
        sizes = [event["args"]["value"] for event in trace if event["name"] == "memory, bytes"]
        self.assertGreater(min(sizes), 2**20)

    def test_without_the_option_there_are_none(self):
        _, process = self.take("print(1)")
        self.assertIsNone(process.samples)
        self.assertNotIn("samples_ns", process.properties)

    def test_periods(self):
        _, process = self.take("import time; time.sleep(0.5)", "--samples", "20ms")
        self.assertEqual(process.properties["samples_ns"], "20000000")
        looks = [ticks for stretch in process.samples.looks for ticks, _ in stretch]
        self.assertTrue(2 <= len(looks) <= 27, len(looks))
        info = e2e.run([e2e.CONVERT, "--info", self.path("run.pnr")])
        self.assertIn(f"\n  samples     {len(looks)}, 20 ms or more apart\n", info.out)
        finished = e2e.recorded(self.path("other.pnr"), ["-c", "pass"], options=["-q", "--samples", "99us"])
        self.assertNotEqual(finished.status, 0)
        self.assertIn("--samples: at least 100us lie between two samples", finished.err)

    def test_pauses(self):
        self.script("""
            import time
            import panopticon_rec as rec
            def work(): time.sleep(0.1)
            with rec.record("run.pnr", samples="1ms"):
                work()
                rec.pause()
                begin = time.monotonic_ns()
                time.sleep(0.3)
                end = time.monotonic_ns()
                rec.resume()
                for i in range(3): work()
            print(begin, end)
            """)
        process, = self.read()
        looks = process.samples.looks
        self.assertGreaterEqual(len(looks), 1)
        rate = float(process.properties["ticks_per_second"])
        ends = [(stretch[0][0], stretch[-1][0]) for stretch in looks if stretch]
        between = [after[0] - before[1] for before, after in zip(ends, ends[1:])]
        self.assertTrue(between and max(between) > 0.25 * rate, (between, rate))

    def test_a_program_that_closes_all_descriptors(self):
        found, process = self.take("""
            import json, os, time
            def work(): time.sleep(0.1)
            work()
            os.closerange(3, 10000)
            files = [os.open("/dev/zero", os.O_RDONLY) for i in range(50)]
            for file in files: os.dup2(file, 4000 + file)
            work()
            print(json.dumps([os.read(file, 1) == bytes(1) for file in files] + [os.fstat(4000 + file).st_rdev ==
                             os.fstat(file).st_rdev for file in files]))
            """, "--samples", "1ms")
        self.assertEqual(set(found), {True})
        self.assertTrue(process.samples.looks)

    def test_forked_children_have_samples_of_their_own(self):
        found, _ = self.take("""
            import json, os, time
            def work(): time.sleep(0.1)
            def files():
                paths = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
                return [os.readlink(path) for path in paths if os.path.lexists(path)]
            work()
            ends = os.pipe()
            child = os.fork()
            if child == 0:
                work()
                os.write(ends[1], json.dumps(files()).encode())
            else:
                os.waitpid(child, 0)
                print(json.dumps([f"/proc/{os.getpid()}/", f"/proc/{child}/", json.loads(os.read(ends[0], 65536))]))
            """, "--samples", "1ms")
        parent, child, files = found
        self.assertFalse([file for file in files if file.startswith(parent)], "the child has descriptors of the parent")
        self.assertTrue([file for file in files if file.startswith(child) and file.endswith("/schedstat")])
        processes = self.read()
        self.assertEqual(len(processes), 2)
        for process in processes:
            self.assertTrue(any(process.samples.looks), process.directory)

    def test_many_threads(self):
        """A sample looks at a few of them, so that a thousand cost no more. Each must be looked at twice, which takes some
        80 samples, and on a busy machine they come late."""
        _, process = self.take("""
            import threading, time
            def wait(): event.wait()
            event = threading.Event()
            threading.stack_size(131072)
            threads = [threading.Thread(target=wait) for i in range(300)]
            for thread in threads: thread.start()
            end = time.monotonic() + 3
            while time.monotonic() < end: pass
            event.set()
            for thread in threads: thread.join()
            """, "--samples", "1ms")
        samples = process.samples
        of_look = {}
        for kind, spent in samples.spent.items():
            for _, at, _, thread in spent:
                of_look.setdefault(at, set()).add(thread)
        self.assertTrue(of_look)
        self.assertLessEqual(max(map(len, of_look.values())), 8)
        self.assertGreater(len({thread for threads in of_look.values() for thread in threads}), 1)

    def test_rare_samples_of_many_threads(self):
        """Each thread is looked at in time: more than 4.29 s have no room in a record. By eight in each sample the spinner's
        turn would come again after 25 s."""
        measured, _ = self.take(MEASURES + """
    event = threading.Event()
    threading.stack_size(131072)
    threads = [threading.Thread(target=event.wait) for i in range(200)]
    for thread in threads: thread.start()
    @measure
    def spinner(): until(8)
    spinner()
    event.set()
    for thread in threads: thread.join()
    print(json.dumps(measured))
    """, "--samples", "1s")
        spent = self.top()["spinner"]["sampled"]["total"]
        self.assertGreater(spent["ran_ns"], 0)
        self.assertLessEqual(spent["ran_ns"], 1.1 * measured["spinner"][1] + 20e6)

    def test_killed(self):
        for seconds in (0.3, 0.55, 0.8):
            with self.subTest(seconds):
                shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
                path = self.write("app.py", MEASURES + "\n    print(1, flush=True)\n    while True: until(0.001)")
                process = subprocess.Popen(e2e.recorder(self.path("run.pnr"), [path], options=["-q", "--samples", "1ms"]),
                                           env=e2e.environment(), stdout=subprocess.PIPE, cwd=self.directory)
                process.stdout.readline()
                time.sleep(seconds)
                process.send_signal(signal.SIGKILL)
                process.wait()
                process.stdout.close()
                found, = self.read()
                self.assertTrue(any(found.samples.looks))
                line = self.top()["until"]["sampled"]["self"]
                self.assertGreater(line["ran_ns"] + line["queued_ns"], 0)
                self.assertGreater(line["held_gil_ns"], 0.5 * line["known_ns"])

    def test_eviction(self):
        """What refers to a sample that was evicted is no damage."""
        self.take(MEASURES + "\n    for i in range(30000): until(0.0001)", "--samples", "1ms", "--last", "500ms")
        self.read()
        finished = e2e.run([e2e.CONVERT, self.path("run.pnr"), "-o", self.path("out.trace"), "-q"])
        self.assertEqual(finished.status, 0, finished.err)

    def test_regions(self):
        """A capture that begins inside another one, which wants no samples."""
        self.script("""
            import time
            import panopticon_rec as rec
            def work():
                for i in range(4): time.sleep(0.05)
            outer = rec.record("run.pnr")
            with outer:
                work()
                with rec.record("inner.pnr", samples="2ms"):
                    work()
                work()
            """)
        for name in ("run.pnr", "inner.pnr"):
            process, = self.read(name)
            self.assertIsNotNone(process.samples, name)


if __name__ == "__main__":
    unittest.main()
