"""Where captures and traces go: what is in use is never replaced, what is promised is there, and the last line names
it. And what the last line counts."""

import os
import re
import shutil
import signal
import subprocess
import time

from e2e import CONVERT, PYTHON, VERSION, EndToEnd, Trace, convert, environment, run

WORK = """
    import os, signal, subprocess, sys, time
    def work(): pass
    def wait_for(name):
        while not os.path.exists(name): time.sleep(0.005)
"""


START_APP = "subprocess.Popen([sys.executable, 'app.py', 'a'], stdin=-3, stdout=-3, stderr=-3)"


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Destination(EndToEnd):

    def command(self, *options):
        return [PYTHON, "-m", "panopticon_rec", *options]

    def record_with(self, options, arguments, **more):
        return run([*self.command(*options), *arguments], cwd=self.directory, **more)

    def begin(self, *words, **more):
        return subprocess.Popen(self.command(*words), cwd=self.directory, env=environment(), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def begin_until(self, name, *words, **more):
        """Begins a recording whose program makes a file of this name."""
        process = self.begin(*words, **more)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        while not os.path.exists(self.path(name)):
            self.assertIsNone(process.poll())
            time.sleep(0.005)
        return process

    def write_waiting(self, name="app.py"):
        """A program that calls work() 7 times when it is released."""
        return self.write(name, WORK + """
    open(sys.argv[1] + "-begun", "w").close()
    wait_for(sys.argv[1] + "-go")
    for _ in range(7): work()
        """)

    def count(self, path, name="__main__.work"):
        path = self.path(path)
        return Trace(convert(path) if path.endswith(".pnr") else path).count()[name]

    def go(self, process, name):
        self.write(f"{name}-go", "")
        out, err = process.communicate(timeout=120)
        self.assertEqual((process.returncode, out), (0, ""))
        return err

    def let_go(self, capture, name):
        """Has a program go on that is nobody's child, and waits until it has ended."""
        self.write(f"{name}-go", "")
        while any("live" in files for _, _, files in os.walk(self.path(capture))):
            time.sleep(0.01)

    # ---- --force

    def test_force_refuses_what_is_in_use(self):
        self.write_waiting()
        first = self.begin_until("a-begun", "app.py", "a")
        other_name = f"../{os.path.basename(self.directory)}/run.pnr/"
        for options in ["--force"], ["-q", "--force", "-o", "run.pnr"], ["--force", "-o", other_name]:
            second = self.record_with(options, ["-c", "print('is run')"])
            self.assertEqual((second.status, second.out), (2, ""))
            self.assertRegex(second.err, r"\Apanopticon: .*run\.pnr: a process may still record into it.*\n\Z")
        self.assertIn("run.pnr: ", self.go(first, "a"))
        self.assertEqual(self.count("run.pnr"), 7)
        # of a program that has ended, nothing is in use, however it ended
        self.assertEqual(self.record_with(["-q", "--force"], ["-c", "import os; os.kill(os.getpid(), 9)"]).status, -9)
        self.assertEqual(self.record_with(["-q", "--force"], ["-c", "def work(): pass\nwork()"]), (0, "", ""))
        self.assertEqual(self.count("run.pnr"), 1)

    def test_force_refuses_what_a_child_uses(self):
        self.write_waiting()
        first = self.record_with(["-q"], ["-c", f"import subprocess, sys; {START_APP}"])
        self.assertEqual(first, (0, "", ""))
        while not os.path.exists(self.path("a-begun")):
            time.sleep(0.005)
        self.assertEqual(self.record_with(["--force"], ["-c", "print('is run')"])[:2], (2, ""))
        self.let_go("run.pnr", "a")
        self.assertEqual(self.record_with(["-q", "--force"], ["-c", ""]).status, 0)

    def test_force_keeps_the_old_one_when_the_new_one_cannot_begin(self):
        self.record_with(["-q"], ["-c", "def work(): pass\nwork()"])
        before = sorted(os.listdir(self.directory))
        for arguments in ["-c", "print(1)", "--engine", "nonsense"], ["missing.py"]:
            self.assertNotEqual(self.record_with(["--force"], arguments).status, 0)
        refused = self.record_with(["--force", "--max-size", "1M"], ["-c", "print(1)"])
        self.assertEqual((refused.status, refused.out), (2, ""))
        if VERSION < (3, 12):
            refused = self.record_with(["--force", "--engine", "monitoring"], ["-c", "print(1)"])
            self.assertEqual((refused.status, refused.out), (2, ""))
        self.assertEqual(sorted(os.listdir(self.directory)), before)
        self.assertEqual(self.count("run.pnr"), 1)

    def test_force_that_was_killed(self):
        """What it has moved aside is moved back by the next one, or removed when another has taken its place."""
        self.record_with(["-q"], ["-c", "pass"])
        aside = self.path(".run.pnr.replaced")
        os.rename(self.path("run.pnr"), aside)
        self.assertEqual(self.record_with(["-q", "--force", "--max-size", "1M"], ["-c", "pass"]).status, 2)
        self.assertEqual(os.listdir(self.directory), ["run.pnr"])
        os.rename(self.path("run.pnr"), aside)
        os.symlink("nowhere", self.path("x.pnr"))
        self.assertEqual(self.record_with(["-q", "--force"], ["-c", "pass"]).status, 0)
        self.assertFalse(os.path.exists(aside))
        shutil.copytree(self.path("run.pnr"), aside)
        self.assertEqual(self.record_with(["-q", "--force"], ["-c", "pass"]).status, 0)
        self.assertEqual(sorted(os.listdir(self.directory)), ["run.pnr", "x.pnr"])
        self.write("precious/file", "text")
        os.rename(self.path("precious"), aside)
        self.assertEqual(self.record_with(["-q", "--force"], ["-c", "pass"]).status, 2)
        self.assertTrue(os.path.exists(aside + "/file"))

    def test_many_at_once(self):
        """Each is refused, or its capture is whole; none has lost another's."""
        text = "import os\ndef work(): pass\nfor _ in range(50): work()\nprint('run')"
        processes = [self.begin("--force", "-c", text) for _ in range(12)]
        ended = [(process.communicate(timeout=240), process.returncode) for process in processes]
        for (out, err), status in ended:
            self.assertIn((status, out), ((0, "run\n"), (2, "")), err)
            self.assertEqual(len(err.splitlines()), 1, err)
        self.assertIn(0, [status for _, status in ended])
        captures = [name for name in os.listdir(self.directory) if name.endswith(".pnr")]
        for name in captures:
            self.assertEqual(self.count(name), 50)
        self.assertEqual([name for name in os.listdir(self.directory) if name.startswith(".")], [])

    # ---- traces

    def test_two_traces_of_one_name(self):
        self.write_waiting()
        for name in "out.trace", "out.json.gz":
            stem, _, extension = name.partition(".")
            first = self.begin_until("a-begun", "-o", name, "app.py", "a")
            second = self.begin_until("b-begun", "-o", name, "app.py", "b")
            third = self.record_with(["-o", name], ["-c", "def other(): pass\nother()"])
            errors = [third.err, self.go(first, "a"), self.go(second, "b")]
            for err, number in zip(errors, ("-3", "", "-2")):
                self.assertRegex(err, rf"\Apanopticon: \S*/{stem}{number}\.{re.escape(extension)}: \d+ events.*\n\Z")
            self.assertEqual(sorted(entry for entry in os.listdir(self.directory) if entry.startswith("out")),
                             sorted(f"{stem}{number}.{extension}" for number in ("", "-2", "-3")))
            if not name.endswith(".gz"):
                self.assertEqual([self.count(f"out{number}.trace") for number in ("", "-2", "-3")], [7, 7, 0])
                self.assertEqual(self.count("out-3.trace", "__main__.other"), 1)
            for entry in os.listdir(self.directory):
                if entry != "app.py":
                    os.remove(self.path(entry))

    def test_trace_of_a_name_that_a_dead_capture_has(self):
        """What a killed run has left keeps the next one from nothing."""
        self.record_with(["-o", "out.trace"], ["-c", "import os; os.kill(os.getpid(), 9)"])
        for _ in range(2):
            finished = self.record_with(["-o", "out.trace"], ["-c", "def work(): pass\nwork()"])
            self.assertIn("/out.trace: ", finished.err)
            self.assertEqual(self.count("out.trace"), 1)
        self.assertEqual(sorted(os.listdir(self.directory)), ["out.trace", "out.trace.pnr"])

    def test_capture_is_moved_or_removed(self):
        moves = "import os; os.rename('run.pnr', 'moved.pnr')\ndef work(): pass\nwork()"
        finished = self.record_with([], ["-c", moves])
        self.assertEqual(finished[:2], (0, ""))
        self.assertRegex(finished.err, r"\Apanopticon: moved\.pnr: \d+ events.*; panopticon-convert moved\.pnr\n\Z")
        self.assertEqual(self.count("moved.pnr"), 1)
        self.assertEqual([name for _, _, names in os.walk(self.path("moved.pnr")) for name in names if name == "live"], [])
        moves = moves.replace("run.pnr", "out.trace.pnr").replace("moved", "m2")
        finished = self.record_with(["-o", "out.trace"], ["-c", moves])
        self.assertEqual(self.count("out.trace"), 1)
        removes = "import shutil; shutil.rmtree('run.pnr')"
        finished = self.record_with([], ["-c", removes])
        self.assertEqual(finished[:2], (0, ""))
        ends = r"panopticon: \S*\.pnr/process-\d+/segment-1/thread-1\.zst: cannot open: No such file or directory; recording ends.*\n"
        self.assertRegex(finished.err, rf"\A{ends}panopticon: run\.pnr is not to be found any more: moved or removed.*\n\Z")
        finished = self.record_with(["-o", "lost.trace"], ["-c", removes.replace("run.pnr", "lost.trace.pnr")])
        self.assertEqual(finished[:2], (0, ""))
        self.assertRegex(finished.err, rf"\A{ends}panopticon: lost\.trace\.pnr is not to be found.*; not made: .*/lost\.trace\n\Z")
        # another capture has taken its place
        replaces = "import os; os.rename('run.pnr', 'm3.pnr'); os.mkdir('run.pnr')"
        self.assertIn("m3.pnr: ", self.record_with([], ["-c", replaces]).err)

    # ---- signals while the result is made

    def test_signal_while_a_trace_is_made(self):
        self.write("app.py", "def f(n): return n and f(n - 1)\nfor _ in range(400_000): f(9)\nprint('end', flush=True)\n"
                             "exit(3)")
        for number, to_group in ((signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGHUP, True),
                                 (signal.SIGQUIT, True)):
            with self.subTest(number):
                process = self.begin("-o", "out.trace", "app.py", start_new_session=True,
                                     preexec_fn=lambda number=number: signal.signal(number, signal.SIG_DFL))
                while not any(name.startswith(".panopticon-") for name in os.listdir(self.directory)):
                    self.assertIsNone(process.poll())
                    time.sleep(0.002)
                os.killpg(process.pid, number) if to_group else process.send_signal(number)
                out, err = process.communicate(timeout=120)
                self.assertEqual((process.returncode, out), (3, "end\n"))
                self.assertEqual(len(err.splitlines()), 1, err)
                if os.path.exists(self.path("out.trace")):
                    self.assertFalse(os.path.exists(self.path("out.trace.pnr")))
                    os.remove(self.path("out.trace"))
                else:
                    self.assertIn(f"out.trace could not be made; the capture is {self.path('out.trace.pnr')}", err)
                    self.assertEqual(run([CONVERT, self.path("out.trace.pnr"), "--verify"]).status, 0)
                    shutil.rmtree(self.path("out.trace.pnr"))
                self.assertEqual(sorted(os.listdir(self.directory)), ["app.py"])    # and no converter that still writes

    def test_killed_while_a_trace_is_made(self):
        """The converter does not outlive it."""
        self.write("app.py", "def f(n): return n and f(n - 1)\nfor _ in range(400_000): f(9)\n")
        process = self.begin("-o", "out.trace", "app.py")
        while not any(name.startswith(".panopticon-") for name in os.listdir(self.directory)):
            self.assertIsNone(process.poll())
            time.sleep(0.002)
        with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
            child, = file.read().split()
        process.kill()
        process.communicate()
        while is_running(child):
            time.sleep(0.005)
        if not os.path.exists(self.path("out.trace")):
            self.assertEqual(sorted(os.listdir(self.directory)), ["app.py", "out.trace.pnr"])

    # ---- the duty

    def test_exec_takes_the_duty_along(self):
        self.write("tool.py", "def work(): pass\nwork()\nraise SystemExit(4)")
        again = "import os, sys\ndef before(): pass\nbefore()\nos.execv(sys.executable, [sys.executable, 'tool.py'])"
        finished = self.record_with(["-o", "out.trace"], ["-c", again])
        self.assertEqual(finished[:2], (4, ""))
        self.assertRegex(finished.err, r"panopticon: \S*/out\.trace: \d+ events, 2 threads of 2 processes, 0 lost.*\n\Z")
        self.assertEqual([self.count("out.trace", f"__main__.{name}") for name in ("work", "before")], [1, 1])
        self.assertEqual(sorted(os.listdir(self.directory)), ["out.trace", "tool.py"])
        finished = self.record_with([], ["-c", again])
        self.assertRegex(finished.err, r"\Apanopticon: run\.pnr: \d+ events, .* of 2 processes.*convert run\.pnr\n\Z")
        finished = self.record_with(["-q", "-o", "q.trace"], ["-c", again])
        self.assertNotIn("panopticon: ", finished.err)
        self.assertEqual(self.count("q.trace"), 1)

    def test_ends_that_leave_nobody_to_convert(self):
        """The capture is where docs/command-line.md puts it, and whole."""
        for end, status in (("os.kill(os.getpid(), 15)", -15), ("os.abort()", -6), ("os.execv('/bin/true', ['true'])", 0)):
            finished = self.record_with(["-o", "out.trace"], ["-c", f"import os\ndef work(): pass\nwork()\n{end}"])
            self.assertEqual(finished, (status, "", ""))
            self.assertEqual(os.listdir(self.directory), ["out.trace.pnr"])
            self.assertEqual(run([CONVERT, "-q", "out.trace.pnr", "-o", "out.trace"], cwd=self.directory).status, 0)
            self.assertEqual(self.count("out.trace"), 1)
            shutil.rmtree(self.path("out.trace.pnr"))
            os.remove(self.path("out.trace"))

    # ---- totals

    def test_totals_over_processes(self):
        """Each child has some thousand events; those in the trace are as many as the last line counts."""
        self.write("app.py", WORK + """
    import threading
    def many(n):
        for _ in range(n): work()
    if sys.argv[1:]:
        many(3000)
    else:
        for _ in range(3):
            if not os.fork():
                thread = threading.Thread(target=many, args=(1000,)); thread.start(); thread.join()
                os._exit(0)
            os.wait()
        subprocess.check_call([sys.executable, "app.py", "child"])
        many(10)
        """)
        finished = self.record_with([], ["app.py"])
        found = re.fullmatch(r"panopticon: run\.pnr: (\d+) events, (\d+) threads of 5 processes, (\d+) (kB|bytes), 0 lost; "
                             r"panopticon-convert run\.pnr\n", finished.err)
        self.assertTrue(found, finished.err)
        trace = Trace(convert(self.path("run.pnr")))
        self.assertEqual(trace.count()["__main__.work"], 3 * 1000 + 3000 + 10)
        whole = sum(not one.flags & {"begin_unknown", "unfinished"} for one in trace.slices)
        cut = len(trace.slices) - whole
        # a slice is an entry and an exit; of one that is cut at an end one of them, or none
        self.assertLessEqual(2 * whole, int(found[1]))
        self.assertLessEqual(int(found[1]), 2 * whole + cut + sum(map(len, trace.flows)))
        self.assertEqual(int(found[2]), len(trace.threads))
        size = sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(self.path("run.pnr"))
                   for name in names)
        self.assertEqual(found[3], str(size // 1000 if found[4] == "kB" else size))

    def test_totals_without_descriptors(self):
        """The program has used up all that there are."""
        self.write("app.py", "import os\ndef work(): pass\nfor _ in range(500): work()\nos.open('/', 0)\n"
                             "try:\n    while True: os.dup(2)\nexcept OSError: pass\nos._exit(0)")
        self.assertRegex(self.record_with([], ["app.py"]).err,
                         r"\Apanopticon: run\.pnr: 10\d\d events, 1 thread, [\d.]+ (kB|bytes), 0 lost; panopticon-convert run\.pnr\n\Z")

    def test_totals_name_what_is_missing(self):
        self.write_waiting()
        finished = self.record_with([], ["-c", "\n".join([
            "import os, subprocess, sys, time", START_APP,
            "while not os.path.exists('a-begun'): time.sleep(0.01)", "def f(): os.kill(os.getpid(), 9)",
            "if not os.fork(): f()", "os.wait()"])])
        self.assertRegex(finished.err, r"\Apanopticon: run\.pnr: \d+ events, 3 threads of 3 processes, [\d.]+ MB, 0 lost; "
                                       r"1 process is still recording, counted as far as written; "
                                       r"panopticon-convert run\.pnr\n\Z")
        self.let_go("run.pnr", "a")
