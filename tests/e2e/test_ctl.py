"""panopticon ctl and the control sockets: what they change, and that they harm nobody."""

import contextlib
import glob
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
import unittest

import e2e

COMMAND = [e2e.PYTHON, e2e.COMMAND]

# Reads lines and does what they ask; each line is answered. What is open while it reads are main, inside and a generator.
SERVED = """
    import sys
    def leaf(): pass
    def twig(): leaf()
    def inside(line):
        for _ in range(int(line)): twig()
    def numbers():
        while True: yield leaf()
    def main():
        steps = numbers()
        for line in iter(sys.stdin.readline, ""):
            inside(line)
            next(steps)
            print("done", flush=True)
    main()
    print("end")
"""

# Works in threads, in forked children and in generators, until the file `end` is there.
BUSY = """
    import os, sys, threading, time
    def leaf(x): return x + 1
    def count(n):
        for i in range(n): yield leaf(i)
    def fail(n):
        try:
            if n: fail(n - 1)
            else: raise ValueError
        finally: leaf(n)
    def work():
        while not os.path.exists("end"):
            for i in count(50): leaf(i)
            try: fail(20)
            except ValueError: pass
            time.sleep(0.02)
    children = [pid for pid in (os.fork() for _ in range(2) if os.getpid() == parent)] if (parent := os.getpid()) else []
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads: thread.start()
    work()
    for thread in threads: thread.join()
    if os.getpid() == parent:
        for pid in children: os.waitpid(pid, 0)
        print("end")
"""


class Controlled(e2e.EndToEnd):
    def start(self, text, *options, capture="run.pnr", **more):
        """Start to record a program. Returns when its socket is there."""
        process = subprocess.Popen(
            e2e.recorder(capture, [self.write("app.py", text)], options=options), cwd=self.directory,
            env=e2e.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, **more)
        self.addCleanup(self.kill, process)
        self.wait_for(lambda: glob.glob(glob.escape(os.path.join(self.directory, capture)) + "/process-*/control"), process)
        return process

    def kill(self, process):
        """Kill it with its children, which have its output open."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def wait_for(self, is_true, process=None):
        while not is_true():
            if process and process.poll() is not None:
                self.fail(process.stderr.read())
            time.sleep(0.01)

    def ctl(self, *words, status=0, capture="run.pnr"):
        done = e2e.run([*COMMAND, "ctl", capture, *words], cwd=self.directory)
        self.assertEqual(done.status, status, done.err + done.out)
        if status == 0:
            self.assertEqual(done.err, "")
        return done.err if status else done.out

    def status(self, *words):
        return json.loads(self.ctl("status", "--json", *words))["processes"]

    def call(self, process, n):
        """Have the program call twig so often."""
        process.stdin.write(f"{n}\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), "done\n")

    def finish(self, process, status=0):
        out, err = process.communicate(timeout=60)
        self.assertEqual((process.returncode, out), (status, "end\n"), err)
        return err

    def order(self, process, *words, status=0):
        """Send a command that the program carries out when it runs Python code: here, when it has read a line. Returns what is
        on standard error."""
        asked = subprocess.Popen([*COMMAND, "ctl", "run.pnr", *words], cwd=self.directory, env=e2e.environment(),
                                 stderr=subprocess.PIPE, text=True)
        while asked.poll() is None:
            self.call(process, 0)
            time.sleep(0.01)
        err = asked.communicate()[1]
        self.assertEqual((asked.returncode, bool(err)), (status, status != 0), err)
        return err

    def sockets(self):
        return glob.glob(glob.escape(self.path("run.pnr")) + "/process-*/control")

    def connect(self, path=None):
        connection = socket.socket(socket.AF_UNIX)
        self.addCleanup(connection.close)
        connection.settimeout(30)
        while True:
            try:
                connection.connect(path or self.sockets()[0])
                return connection
            except BlockingIOError:     # very many others wait
                time.sleep(0.01)

    def events(self, capture):
        """Return the numbers of events that the converter finds: dict by pid."""
        text = e2e.run([e2e.CONVERT, "--info", capture]).out
        return {int(pid): int(n) for pid, n in re.findall(r"^process (\d+):.*?^  events +(\d+)$", text, re.M | re.S)}


class Commands(Controlled):
    def test_filters(self):
        """Each call is recorded if it was wanted when it began; what was open goes on."""
        for engine in e2e.ENGINES:
            with self.subTest(engine):
                shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
                process = self.start(SERVED, "-q", "--engine", engine)
                self.call(process, 3)
                self.order(process, "exclude", "*.leaf")
                self.call(process, 5)
                self.order(process, "exclude", "*.numbers")
                self.call(process, 1)
                self.order(process, "include", "*.leaf")
                self.call(process, 7)
                self.order(process, "exclude", "*.twig")
                self.call(process, 11)
                self.order(process, "include", "*.twig")
                self.order(process, "exclude", "*.main")
                self.call(process, 2)
                self.order(process, "include", "*.main")
                self.call(process, 1)
                filters = self.status()[0]["filters"]
                self.assertEqual(self.finish(process), "")
                self.assertEqual(filters, ["exclude *.numbers", "include *.leaf", "include *.twig", "include *.main"])
                trace = self.trace()
                n_steps = len(trace.named("__main__.inside")) - 9       # calls of 0, while an order is waited for
                counts = trace.count()
                self.assertEqual(counts["__main__.twig"], 3 + 5 + 1 + 7 + 2 + 1)
                # The generator calls leaf once a line: of the lines of 0 some before and some after each order.
                self.assertGreaterEqual(counts["__main__.leaf"], 3 + 7 + 11 + 2 + 1 + 5)
                self.assertLessEqual(counts["__main__.leaf"], 3 + 7 + 11 + 2 + 1 + 9 + n_steps)
                self.assertEqual(counts["__main__.main"], 2)
                n_open = sum("exit_missing" in one.flags for one in trace.slices)       # at one of the 7 orders
                self.assertLessEqual(n_open, 7 * 5)

    def test_mark(self):
        """An instant of this name, at the time at which the program could do it; not in a pause."""
        for engine in e2e.ENGINES:
            with self.subTest(engine):
                shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
                process = self.start(SERVED, "-q", "--engine", engine)
                self.call(process, 3)
                self.order(process, "mark", "first: \u00e4 'b' \\")
                self.call(process, 5)
                self.order(process, "mark", b"\xff" + b"x" * 2000)
                self.order(process, "pause")
                self.assertIn("nothing is recorded at this moment", self.order(process, "mark", "paused", status=2))
                self.order(process, "resume")
                self.order(process, "mark", "last")
                self.assertIn("has more than 16384 bytes", self.ctl("mark", "x" * 20000, status=2))
                self.finish(process)
                instants = self.instants(e2e.convert(self.path("run.pnr")))
                self.assertEqual([one["name"][:12] for one in instants], ["first: \u00e4 'b' \\"[:12], "\\xffxxxxxxxx", "last"])
                for one in instants:
                    self.assertEqual(one["tid"], process.pid)
                    self.assertLess(0, one["args"]["waited_ns"])
                    self.assertLess(one["args"]["waited_ns"], 60_000_000_000)
                done = e2e.run([e2e.CONVERT, "-q", self.path("run.pnr"), "-o", self.path("run.pftrace")])
                self.assertEqual(done.status, 0, done.err)
                with open(self.path("run.pftrace"), "rb") as file:
                    self.assertIn("first: \u00e4 'b' \\".encode(), file.read())
                self.assertEqual(e2e.run([e2e.CONVERT, "--verify", self.path("run.pnr")]).status, 0)

    def test_a_program_that_never_waits(self):
        """An order is carried out, although no other thread ever asks for the GIL."""
        process = self.start("""
            import signal
            over = []
            signal.signal(signal.SIGTERM, lambda *_: over.append(1))
            print("ready", flush=True)
            while not over: pass
            print("end")
        """, "-q")
        self.assertEqual(process.stdout.readline(), "ready\n")
        for number in range(5):
            self.ctl("mark", f"label {number}")
        process.terminate()
        self.assertEqual(self.finish(process), "")
        self.assertEqual([one["name"] for one in self.instants(e2e.convert(self.path("run.pnr")))],
                         [f"label {number}" for number in range(5)])

    def instants(self, trace):
        with open(trace, encoding="utf-8") as file:
            events = json.load(file)["traceEvents"]
        return sorted((one for one in events if one.get("cat") == "label" and one["ph"] == "i"), key=lambda one: one["ts"])

    def test_pause_and_resume(self):
        process = self.start(SERVED, "-q")
        self.call(process, 3)
        self.order(process, "pause")
        self.call(process, 5)
        self.assertEqual(self.status()[0]["state"], "paused")
        self.order(process, "resume")
        self.call(process, 7)
        self.assertEqual(self.finish(process), "")
        self.assertEqual(self.trace().count()["__main__.twig"], 10)

    def test_stop(self):
        """The program goes on, and the end is reported when the program ends."""
        process = self.start(SERVED)
        self.call(process, 3)
        self.order(process, "stop")
        self.assertEqual(self.sockets(), [])
        self.call(process, 5)
        self.assertIn("no process records", self.ctl("status", status=2))
        self.assertRegex(self.finish(process), r"^panopticon: run.pnr: \d+ events, 1 thread, .* 0 lost; .*\n$")
        self.assertEqual(self.trace().count()["__main__.twig"], 3)

    def test_programs_after_a_stop(self):
        """A program that is started after a stop of the whole capture is not recorded. After a stop of one process it is."""
        for words, n in ([], 2), (["--process"], 3):
            process = self.start("""
                import subprocess, sys
                def start():
                    subprocess.run([sys.executable, "-c", "def child(): pass\\nchild()"], check=True)
                start()
                for line in iter(sys.stdin.readline, "9\\n"):
                    print("done", flush=True)
                start()
                print("end")
            """, "-q")
            self.wait_for(lambda: len(e2e.process_directories(self.path("run.pnr"))) == 2, process)
            self.order(process, "stop", *words, *[str(process.pid)] * len(words))
            process.stdin.write("9\n")
            process.stdin.flush()
            self.assertEqual(self.finish(process), "")
            self.assertEqual(len(e2e.process_directories(self.path("run.pnr"))), n)
            self.assertEqual(self.trace().count()["__main__.child"], n - 1)
            shutil.rmtree(self.path("run.pnr"))

    def test_a_program_does_not_notice_a_stop(self):
        process = self.start_script()
        self.order(process, "stop")
        process.stdin.write("9\n")
        process.stdin.flush()
        self.finish(process)
        self.assertEqual(self.trace().count()["__main__.f"], 1)
        self.assertEqual(self.trace("other.pnr").count()["__main__.f"], 1)

    def start_script(self):
        path = self.write("script.py", """
            import sys, panopticon_rec
            def f(): pass
            recorder = panopticon_rec.Recorder("run.pnr").start()
            f()
            while (line := sys.stdin.readline()) != "9\\n":
                print("done", flush=True)
            panopticon_rec.pause()
            panopticon_rec.resume()
            found = recorder.stop()
            assert found.events >= 2 and found.lost == 0, found
            with panopticon_rec.Recorder("other.pnr"): f()
            print("end")
        """)
        process = subprocess.Popen([e2e.PYTHON, path], cwd=self.directory, env=e2e.environment(), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.kill, process)
        self.wait_for(self.sockets, process)
        return process

    def test_status(self):
        """The numbers of a process that waits are those of its capture."""
        process = self.start(SERVED, "-q")
        self.call(process, 1000)
        e2e.wait_until_it_sleeps(process.pid)
        one, = self.status()
        self.assertEqual((one["pid"], one["state"], one["lost"], one["filters"], one["muted"]),
                         (process.pid, "on", 0, [], []))
        self.assertEqual(sum(thread["events"] for thread in one["threads"]), one["events"])
        self.assertEqual([thread["name"] for thread in one["threads"]], ["MainThread"])
        saved = self.ctl("snapshot").strip()
        self.assertEqual(self.events(saved), {process.pid: one["events"]})
        self.assertIn(f"process {process.pid}: on, ", self.ctl("status"))
        self.finish(process)

    def test_limits(self):
        process = self.start(SERVED, "-q")
        self.order(process, "limits", "--last", "60s", "--max-size", "1G")
        self.assertEqual([self.status()[0][key] for key in ("last_ns", "max_size")], [60 * 10**9, 2**30])
        self.order(process, "limits", "--last", "0s")
        self.assertEqual([self.status()[0][key] for key in ("last_ns", "max_size")], [0, 2**30])
        self.assertIn("at least 16M", self.order(process, "limits", "--max-size", "1M", status=2))
        self.assertIn("leaves no room", self.order(process, "limits", "--max-size", "20M", status=2))   # `live` takes 32 MB
        self.assertEqual(self.status()[0]["max_size"], 2**30)
        self.finish(process)

    def test_a_limit_evicts(self):
        """From a limit on, old segments go, and recent ones stay."""
        process = self.start(SERVED, "-q")
        self.call(process, 20000)
        self.order(process, "limits", "--last", "300ms")
        end = time.monotonic() + 3
        while time.monotonic() < end:
            self.call(process, 3000)
        self.finish(process)
        self.assertNotIn(1, e2e.segments(self.path("run.pnr")))
        self.assertEqual(e2e.run([e2e.CONVERT, "--verify", self.path("run.pnr")]).status, 0)

    def test_wrong_usage(self):
        process = self.start(SERVED, "-q")
        for words, text in [
                (["bogus"], "no command bogus"), ([], "give a capture and a command"), (["exclude"], "GLOB"),
                (["exclude", ""], "not a filter"), (["pause", "x"], "what this command needs"), (["limits"], "--last"),
                (["status", "--last", "1s"], "not for status"), (["status", "--process", "1"], "no process 1"),
                (["status", "--process", "x"], "--process"), (["status", "--bogus"], "no option --bogus"),
                (["snapshot", "-o"], "needs an argument")]:
            self.assertIn(text, self.ctl(*words, status=2))
        self.assertIn("No such file", self.ctl("status", status=2, capture="none.pnr"))
        self.assertIn("not a capture", self.ctl("status", status=2, capture="."))
        self.assertIn("usage: panopticon ctl", self.ctl("--help"))
        self.finish(process)


class Processes(Controlled):
    def test_all_at_once(self):
        """A command is for all, also those that are forked later; one snapshot has all of them."""
        process = self.start(BUSY, "-q")
        self.wait_for(lambda: len(self.sockets()) == 3, process)
        self.ctl("exclude", "*.leaf")
        self.assertEqual([one["filters"] for one in self.status()], [["exclude *.leaf"]] * 3)
        saved = self.ctl("snapshot", "-o", "saved.pnr").strip()
        self.assertEqual(saved, self.path("saved.pnr"))
        self.assertEqual(len(e2e.process_directories(saved)), 3)
        self.assertEqual(e2e.run([e2e.CONVERT, "--verify", saved]).status, 0)
        self.ctl("pause", "--process", str(process.pid))
        self.assertEqual(sorted(one["state"] for one in self.status()), ["on", "on", "paused"])
        self.ctl("stop")
        self.write("end", "")
        self.finish(process)
        listed = json.loads(self.ctl("snapshots", "--json"))["snapshots"]
        self.assertEqual([(one["path"], one["cause"], len(one["pids"])) for one in listed], [(saved, "ctl", 3)])
        self.assertIn("saved.pnr", self.ctl("snapshots"))
        self.assertEqual(self.ctl("snapshots").count("\n"), 1)
        self.assertEqual(e2e.run([e2e.CONVERT, "--verify", self.path("run.pnr")]).status, 0)

    def test_a_child_of_a_pause(self):
        """A child that is forked in a pause is paused, and can be asked to resume."""
        for engine in e2e.ENGINES:
            with self.subTest(engine):
                shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
                process = self.start("""
                    import os, sys, time
                    def f(): pass
                    def main():
                        for line in iter(sys.stdin.readline, "9\\n"):
                            print("done", flush=True)
                        if (pid := os.fork()) == 0:
                            while not os.path.exists("end"): time.sleep(0.01)
                            f()
                            os._exit(0)
                        for line in iter(sys.stdin.readline, "9\\n"):
                            print("done", flush=True)
                        os.waitpid(pid, 0)
                        print("end")
                    main()
                """, "-q", "--engine", engine)
                self.order(process, "pause")
                process.stdin.write("9\n")
                process.stdin.flush()
                self.wait_for(lambda: len(self.sockets()) == 2, process)
                self.assertEqual([one["state"] for one in self.status()], ["paused"] * 2)
                self.order(process, "resume")
                self.write("end", "")
                process.stdin.write("9\n")
                self.finish(process)
                os.unlink(self.path("end"))
                self.assertEqual(self.trace().count()["__main__.f"], 1)

    def test_a_parent_that_waits_in_c(self):
        """It answers after a fork, although no event follows, and os.fork does not warn of the recorder's thread."""
        for engine in e2e.ENGINES:
            with self.subTest(engine):
                shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
                process = self.start("""
                    import os, time
                    def after(): step()
                    def step(): pass
                    os.register_at_fork(after_in_parent=after)
                    def child():
                        while not os.path.exists("end"): time.sleep(0.01)
                        os._exit(0)
                    children = []
                    for _ in range(3):
                        children.append(os.fork())
                        if not children[-1]: child()
                    os.waitpid(children[0], 0)
                    for pid in children[1:]: os.waitpid(pid, 0)
                    print("end")
                """, "-q", "--engine", engine)
                self.wait_for(lambda: len(self.sockets()) == 4, process)
                self.assertEqual([one["state"] for one in self.status()], ["on"] * 4)
                self.assertEqual(len(os.listdir(f"/proc/{process.pid}/task")), 2)
                self.write("end", "")
                self.assertEqual(self.finish(process), "")
                os.unlink(self.path("end"))

    def test_a_killed_process(self):
        process = self.start(SERVED, "-q")
        process.kill()
        process.wait()
        self.assertEqual(len(self.sockets()), 1)
        self.assertIn("no process records", self.ctl("status", status=2))

    def test_a_capture_that_is_moved(self):
        process = self.start(SERVED, "-q")
        os.rename(self.path("run.pnr"), self.path("moved.pnr"))
        self.assertIn(f"process {process.pid}: on", self.ctl("status", capture="moved.pnr"))
        self.assertEqual(self.ctl("snapshot", capture="moved.pnr").strip(), self.path("moved-snapshot.pnr"))
        self.assertIn("moved-snapshot.pnr", self.ctl("snapshots", capture="moved.pnr"))
        self.finish(process)
        self.assertEqual(e2e.run([e2e.CONVERT, "--verify", self.path("moved.pnr")]).status, 0)

    def test_a_long_path(self):
        """It is longer than a socket's address can be."""
        capture = os.path.join("x" * 120, "y" * 120, "run.pnr")
        os.makedirs(os.path.dirname(self.path(capture)))
        process = self.start(SERVED, "-q", capture=capture)
        self.assertIn(f"process {process.pid}: on", self.ctl("status", capture=capture))
        self.finish(process)

    def test_without_a_socket(self):
        process = self.start(SERVED, "-q")
        os.unlink(self.sockets()[0])
        self.assertIn(f"process {process.pid} has not done it: it has no control socket", self.ctl("status", status=2))
        self.finish(process)
        self.trace()

    def test_a_process_that_is_about_to_end(self):
        """Its socket has gone already, and soon it has ended."""
        process = self.start(SERVED, "-q")
        os.unlink(self.sockets()[0])
        asked = subprocess.Popen([*COMMAND, "ctl", "run.pnr", "status"], cwd=self.directory, env=e2e.environment(),
                                 stderr=subprocess.PIPE, text=True)
        self.addCleanup(asked.stderr.close)
        time.sleep(0.5)
        self.finish(process)
        self.assertEqual(asked.communicate()[1], "panopticon: run.pnr: no process records into it now\n")

    def test_a_full_disk(self):
        """No snapshot is made, nothing is left of it, and the recording goes on."""
        process = self.start(SERVED, "-q")
        self.call(process, 3)
        self.write("file", "")
        self.assertIn("file", self.ctl("snapshot", "-o", "file/saved.pnr", status=2))
        self.call(process, 4)
        self.finish(process)
        self.assertEqual(self.trace().count()["__main__.twig"], 7)
        self.assertEqual(self.ctl("snapshots"), "")

    def test_a_child_that_is_not_followed(self):
        """It has no socket, and does not keep its parent's open."""
        process = self.start("""
            import os, sys
            def f(): pass
            if os.fork() == 0:
                f()
                names = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")[:-1]]
                os._exit(any(name.startswith("socket:") for name in names))
            print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
            for line in sys.stdin: f()  # the first call after a fork brings the recorder's thread back
            print("end")
        """, "-q", "--follow", "none")
        self.assertEqual(process.stdout.readline(), "0\n")
        time.sleep(0.1)
        process.stdin.write("call\n")
        process.stdin.flush()
        self.assertEqual(len(self.status()), 1)
        self.finish(process)


class Snapshots(Controlled):
    """The list of what was saved, for whatever reason, of captures that are written and of those that have ended."""

    PROGRAM = """
        import os, panopticon_rec, signal, sys, time
        def wait_for(path):
            while not os.path.exists(path): time.sleep(0.01)
        panopticon_rec.snapshot("by-program.pnr")
        os.mkdir("folder")
        panopticon_rec.snapshot("folder/elsewhere.pnr")
        os.kill(os.getpid(), signal.SIGUSR1)
        wait_for("run-snapshot.pnr")
        with panopticon_rec.watch("checkout", 0, keep=0, id="4711"): time.sleep(0.02)
        for _ in range(3):
            with panopticon_rec.watch("busy", 0, keep=0, at_most=1): pass
        if (child := os.fork()) == 0:
            with panopticon_rec.watch("in a child", on_error=True, keep=0, every=0):
                raise ValueError
        os.waitpid(child, 0)
        print("ready", flush=True)
        wait_for("go")
        print("end")
    """

    def listed(self, *words, capture="run.pnr"):
        return json.loads(self.ctl("snapshots", "--json", *words, capture=capture))

    def check(self, folder, capture="run.pnr"):
        """Compares with what the program has done, in this order."""
        found = self.listed(capture=capture)
        rows = found["snapshots"]
        self.assertEqual([row["cause"] for row in rows], ["program", "program", "signal", "watch", "watch"])
        self.assertEqual([os.path.relpath(row["path"], folder) for row in rows[:1] + rows[2:3]],
                         ["by-program.pnr", "run-snapshot.pnr"])
        self.assertEqual(rows[1]["path"], self.path("folder/elsewhere.pnr"))
        incidents = {one["watch"]: one for row in rows[3:] for one in row["incidents"]}     # the child's may be the first
        self.assertEqual({name: (one.get("id"), one["why"]) for name, one in incidents.items()},
                         {"checkout": ("4711", "slow"), "in a child": (None, "exception")})
        self.assertGreaterEqual(incidents["checkout"]["duration_ns"], 20_000_000)
        self.assertEqual([row["is_there"] for row in rows], [True] * 5)
        self.assertEqual([len(row["pids"]) for row in rows], [1] * 5)
        self.assertEqual(len({row["pids"][0] for row in rows}), 2)
        return found

    def test_causes(self):
        begin = time.time()
        process = self.start(self.PROGRAM, "-q", "--snapshot-on", "SIGUSR1")
        self.assertEqual(process.stdout.readline(), "ready\n")
        self.wait_for(lambda: len(self.listed()["snapshots"]) == 5, process)
        found = self.check(self.directory)
        self.assertEqual(found["not_saved"], 0)             # it is counted when the recording ends
        self.assertTrue(all(begin <= row["time"] <= time.time() for row in found["snapshots"]))
        self.assertEqual(os.listdir(os.path.dirname(self.sockets()[0])).count("snapshots"), 0)
        self.write("go", "")
        self.finish(process)
        self.assertEqual(self.check(self.directory)["not_saved"], 3)
        text = self.ctl("snapshots")
        self.assertRegex(text, r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  watch      .*/run-checkout-.*-4711\.pnr$")
        self.assertRegex(text, r"(?m)^    checkout: \d+\.\d ms, id 4711$")
        self.assertRegex(text, r"(?m)^    in a child: \d+\.\d ms, ended by an exception$")
        self.assertIn("3 slow or failed sections were not saved", text)
        ours = self.listed("--process", str(process.pid))
        self.assertEqual((len(ours["snapshots"]), ours["not_saved"]), (4, 3))

    def test_moved(self):
        """The capture and what lies next to it are moved together, while it is written."""
        process = self.start("""
            import os, panopticon_rec, time
            def wait_for(path):
                while not os.path.exists(path): time.sleep(0.01)
            panopticon_rec.snapshot("before.pnr")
            print("ready", flush=True)
            wait_for("go")
            with panopticon_rec.watch("after", 0, keep=0): pass
            print("end")
        """, "-q")
        self.assertEqual(process.stdout.readline(), "ready\n")
        os.mkdir(self.path("other"))
        for name in "run.pnr", "before.pnr":
            os.rename(self.path(name), self.path(f"other/{name}"))
        self.write("go", "")
        self.finish(process)
        rows = self.listed(capture="other/run.pnr")["snapshots"]
        self.assertEqual([(row["cause"], os.path.dirname(row["path"]), row["is_there"]) for row in rows],
                         [(cause, self.path("other"), True) for cause in ("program", "watch")])
        shutil.rmtree(self.path("other/before.pnr"))
        self.assertIn("other/before.pnr  (not there any more)\n", self.ctl("snapshots", capture="other/run.pnr"))

    def test_failed(self):
        """A snapshot of a watched section that could not be made is listed with the reason."""
        os.mkdir(self.path("folder"))
        process = self.start("""
            import os, panopticon_rec, sys
            sys.stdin.readline()
            with panopticon_rec.watch("failing", 0, keep=0): pass
            print("end")
        """, "-q", capture="folder/run.pnr")
        self.addCleanup(os.chmod, self.path("folder"), 0o700)
        if os.geteuid() == 0:
            if not shutil.which("chattr") or e2e.run(["chattr", "+i", self.path("folder")]).status != 0:
                self.skipTest("root may write everywhere here")
            self.addCleanup(subprocess.run, ["chattr", "-i", self.path("folder")], check=False)
        else:
            os.chmod(self.path("folder"), 0o500)
        process.communicate("\n")
        row, = self.listed(capture="folder/run.pnr")["snapshots"]
        self.assertNotIn("path", row)
        self.assertIn("ot permitted", row["failure"])
        self.assertIn("  watch      not saved: ", self.ctl("snapshots", capture="folder/run.pnr"))

    def test_damaged(self):
        """Lines of any kind, and a last one that is cut off."""
        process = self.start(SERVED, "-q")
        self.ctl("snapshot", "-o", "saved.pnr")
        self.finish(process)
        with open(self.path("run.pnr/snapshots"), "ab") as file:
            file.write(b"[]\n{}\n7\n\xff\n\0\n" + b'{"pid":1,"realtime_ns":"x"}\n{"pid":"a"}\n{"pid":1,"realtime_ns":1')
        row, = self.listed()["snapshots"]
        self.assertEqual(row["path"], self.path("saved.pnr"))


class Hostile(Controlled):
    def test_bytes_of_any_kind(self):
        """Whatever is sent is answered by an error or a closed connection, and the next client is served."""
        random = self.random()
        process = self.start(SERVED, "-q")
        words = [b"1", b"status", b"snapshot", b"limits", b"exclude", b"last", b"max-size", b"join", b"/", b"\xff" * 300,
                 b"99999999999999999999999", b"x" * 20000, b"", b"../..", b"0"]
        for _ in range(300):
            connection = self.connect()
            message = b"\0".join(random.choices(words, k=random.randrange(1, 7))) + b"\0" * random.randrange(3)
            # Those that are valid: an order waits until the program runs Python code.
            if any(valid in message for valid in (b"1\0status\0\0", b"snapshot", b"1\0exclude\0", b"1\0limits\0")):
                continue
            if random.random() < 0.3:
                message = random.randbytes(random.randrange(1, 400))
            try:
                connection.sendall(message)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(1000)
                self.assertIn(answer[:6], (b"", b"error\0", b"ok\0\0"), message)
            except (BrokenPipeError, ConnectionResetError):
                pass
            connection.close()
        self.assertEqual(self.status()[0]["state"], "on")
        self.assertEqual(self.finish(process), "")
        self.trace()

    def test_names_that_steer_a_terminal(self):
        """Nothing that a terminal obeys is printed, of threads and of watches; everything else is."""
        process = self.start(r"""
            import panopticon_rec, sys, threading
            def work():
                with panopticon_rec.watch("w\x1b]0;title\x07", 0, keep=0): pass
                print("ready", flush=True)
                sys.stdin.readline()
            thread = threading.Thread(target=work, name="\u00e4\x1b[31m\x9b2J\u202e\n")
            thread.start()
            thread.join()
            print("end")
        """, "-q")
        self.assertEqual(process.stdout.readline(), "ready\n")
        self.wait_for(lambda: json.loads(self.ctl("snapshots", "--json"))["snapshots"], process)
        status, snapshots = self.ctl("status"), self.ctl("snapshots")
        self.finish(process)
        self.assertIn("  thread 2 \u00e4" r"\x1b[31m\x9b2J\u202e\n: ", status)
        self.assertIn(r"    w\x1b]0;title\x07: ", snapshots)
        for c in status + snapshots:
            self.assertTrue(c.isprintable() or c == "\n", repr(c))

    def test_links_to_another_process(self):
        """They are another user's, perhaps: root, who follows none, would ask another process for him."""
        process = self.start(SERVED, "-q")
        path, = self.sockets()
        folder = os.path.dirname(path)
        name = os.path.basename(folder)
        os.makedirs(self.path(f"inner.pnr/{name}"))
        os.mkdir(self.path("outer.pnr"))
        os.symlink(folder, self.path(f"outer.pnr/{name}"))
        os.symlink(path, self.path(f"inner.pnr/{name}/control"))
        self.write(f"inner.pnr/{name}/live", "")
        for capture in "inner.pnr", "outer.pnr":
            self.assertIn("has not done it", self.ctl("status", status=2, capture=capture))
        self.assertEqual(self.status()[0]["state"], "on")
        self.finish(process)

    def test_a_file_in_place_of_the_order(self):
        """No other file is written in its place."""
        process = self.start(SERVED, "-q")
        precious = self.write("precious", "as it was")
        for make in os.link, os.symlink:
            os.unlink(self.path("run.pnr/order"))
            make(precious, self.path("run.pnr/order"))
            asked = subprocess.Popen([*COMMAND, "ctl", "run.pnr", "stop"], cwd=self.directory, env=e2e.environment(),
                                     stderr=subprocess.PIPE, text=True)
            self.assertIn("programs that are started later are still recorded", asked.stderr.readline())
            asked.kill()
            asked.communicate()
            with open(precious) as file:
                self.assertEqual(file.read(), "as it was")
        process.kill()
        process.communicate()

    def test_answers_of_any_kind(self):
        """What a process of another user answers is one line, and moves nobody else to write elsewhere."""
        os.makedirs(self.path("run.pnr/process-1"))
        self.write("run.pnr/process-1/live", "")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(self.path("run.pnr/process-1/control"))
            server.listen()
            for request, answer, text in (
                    ("status", b"ok\0\0", "its answer is none to what it was asked"),
                    ("status", b"ok\0state\0on\0thread\0x\0\0", "its answer is none to what it was asked"),
                    ("snapshot", b"ok\0path\0/elsewhere.pnr\0\0", "its answer is none to what it was asked"),
                    ("snapshot", b"ok\0\0", "its answer is none to what it was asked"),
                    ("pause", b"error\0\x1b[2J\0\0", r"\x1b[2J"), ("pause", b"error\0\0", "has not done it")):
                asked = subprocess.Popen([*COMMAND, "ctl", "run.pnr", request], cwd=self.directory, env=e2e.environment(),
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                connection, _ = server.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(answer)
                out, err = asked.communicate(timeout=60)
                self.assertEqual((asked.returncode, out, err.count("\n")), (2, "", 1), err)
                self.assertIn(text, err)

    def test_clients_that_stall(self):
        """More of them than there are connections keep nobody waiting, and leave nothing open."""
        process = self.start(SERVED, "-q")
        before = len(os.listdir(f"/proc/{process.pid}/fd"))
        stalled = [self.connect() for _ in range(60)]
        for connection in stalled:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):        # closed already for a later one
                connection.sendall(b"1\0stat")
        self.assertEqual(self.status()[0]["state"], "on")
        self.call(process, 3)
        for connection in stalled:
            connection.close()
        self.status()
        self.wait_for(lambda: len(os.listdir(f"/proc/{process.pid}/fd")) <= before)
        self.assertEqual(self.finish(process), "")

    @unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")
    def test_nobody_else(self):
        process = self.start(SERVED, "-q")
        path, = self.sockets()
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        folder = os.path.dirname(path)
        while folder != "/":
            os.chmod(folder, os.stat(folder).st_mode | 0o011)
            folder = os.path.dirname(folder)
        os.chmod(path, 0o666)           # even then
        pid = os.fork()
        if pid == 0:
            try:
                os.setuid(65534)
                connection = socket.socket(socket.AF_UNIX)
                connection.settimeout(30)
                connection.connect(path)
                connection.sendall(b"1\0status\0\0")
                os._exit(0 if connection.recv(100) == b"" else 1)
            except ConnectionResetError:
                os._exit(0)
            except BaseException:
                os._exit(2)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        self.finish(process)

    def test_random_commands(self):
        """Nothing is lost, whatever is asked while the program works: each thread's records make sense, and the counts agree
        with the capture."""
        random = self.random()
        for engine in e2e.ENGINES:
            with self.subTest(engine):
                for name in glob.glob(glob.escape(self.directory) + "/*"):
                    shutil.rmtree(name, ignore_errors=True) if os.path.isdir(name) else os.unlink(name)
                process = self.start(BUSY, "-q", "--engine", engine, *random.choice([(), ("--c-calls",)]))
                end = time.monotonic() + (60 if e2e.LONG else 4)
                globs = ["*.leaf", "*.count", "*.fail", "__main__", "threading", "*", "os"]
                while time.monotonic() < end:
                    self.ctl(*random.choice([
                        ["status"], ["pause"], ["resume"], ["resume"], ["exclude", random.choice(globs)],
                        ["include", random.choice(globs)], ["limits", "--last", random.choice(["0s", "60s"])],
                        ["snapshot"]]))
                    e2e.run([*COMMAND, "ctl", "run.pnr", "mark", random.choice("abc")], cwd=self.directory)    # or it pauses
                found = self.status()
                self.write("end", "")
                self.assertEqual(self.finish(process), "")
                for capture in glob.glob(glob.escape(self.directory) + "/*.pnr"):
                    done = e2e.run([e2e.CONVERT, "--verify", capture])
                    self.assertEqual(done.status, 0, done.out + done.err)
                    self.trace(capture)
                events = self.events(self.path("run.pnr"))
                for one in found:
                    self.assertEqual(one["lost"], 0)
                    self.assertGreaterEqual(events[one["pid"]], one["events"])


class Cost(Controlled):
    def test_idle(self):
        """While nobody asks, the recorder's thread wakes no more often than it does for its other work: once a second."""
        process = self.start(SERVED, "-q")
        e2e.wait_until_it_sleeps(process.pid)
        time.sleep(3)
        before = self.count_waits(process.pid)
        time.sleep(4)
        self.assertLessEqual(self.count_waits(process.pid) - before, 6)
        self.finish(process)

    def count_waits(self, pid):
        """How often threads besides the main one have waited."""
        n = 0
        for task in os.listdir(f"/proc/{pid}/task"):
            if int(task) != pid:
                with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
                    n += int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", file.read(), re.MULTILINE)[1])
        return n


if __name__ == "__main__":
    unittest.main()
