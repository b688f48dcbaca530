"""Programs that begin as root and go on as another user, and children of other users."""

import os
import subprocess
import unittest

import e2e
from e2e import Trace, convert, recorded

NOBODY = 65534

DROPPING = """
    import os, sys, threading, time
    def f(): pass
    def calls(n):
        for _ in range(n): f()
    def in_thread(n):
        thread = threading.Thread(target=calls, args=(n,))
        thread.start()
        thread.join()
    def drop():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    """


@e2e.once
@unittest.skipUnless(os.geteuid() == 0, "only root can become another user")
class Users(e2e.EndToEnd):
    def setUp(self):
        super().setUp()
        os.chmod(self.directory, 0o755)

    def record_text(self, text, *options):
        """Records a program into run.pnr. Returns what came of it, and its last line on standard error."""
        script = self.write("app.py", e2e.textwrap.dedent(DROPPING) + e2e.textwrap.dedent(text))
        os.chmod(script, 0o644)
        finished = recorded(self.path("run.pnr"), [script], options=["-q", *options], cwd=self.directory)
        self.assertEqual(finished.status, 0, finished.err)
        return finished

    def count(self, *options):
        return Trace(convert(self.path("run.pnr"), *options)).count()["__main__.f"]

    def test_new_threads_after_it(self):
        """More threads than files are kept open: each one's file is made, or opened again, as nobody."""
        for way in "setuid(65534)", "seteuid(65534)", "setreuid(65534, 65534)", "setresuid(65534, 65534, 65534)":
            e2e.shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
            finished = self.record_text(f"""
                calls(1000)
                os.{way}
                for _ in range(20): in_thread(20_000)
                calls(100_000)
                print(os.geteuid())
                """)
            self.assertEqual((finished.out, finished.err), ("65534\n", ""), way)
            self.assertEqual(self.count(), 1000 + 400_000 + 100_000, way)

    def test_what_does_not_become_another_user(self):
        finished = self.record_text("""
            for call in (lambda: os.setuid("x"), lambda: os.setuid(-5), lambda: os.setreuid(1),
                         lambda: os.setresuid(-1, -1, -1), lambda: os.setuid(0)):
                try:
                    print(call())
                except (TypeError, OverflowError, OSError) as error:
                    print(type(error).__name__)
            calls(100_000)
            """)
        self.assertEqual((finished.out, finished.err), ("TypeError\nOverflowError\nTypeError\nNone\nNone\n", ""))
        self.assertEqual(self.count(), 100_000)

    def test_recordings_inside_a_recording(self):
        """They are made by who the program has become, also when it cannot read the enclosing one any more."""
        for options in [], ["--max-size", "32M"], ["--last", "1h"]:
            for name in "run.pnr", "a.pnr", "b.pnr":
                e2e.shutil.rmtree(self.path(name), ignore_errors=True)
            finished = self.record_text("""
                import panopticon_rec
                first = panopticon_rec.Recorder(os.path.abspath("a.pnr")).start()
                second = panopticon_rec.Recorder(os.path.abspath("b.pnr")).start()
                calls(1)
                drop()
                calls(20_000)
                print(first.stop()[3])
                in_thread(4)
                print(second.stop()[3])
                """, *options)
            self.assertEqual((finished.out, finished.err), ("0\n0\n", ""), options)
            for name, n in ("run.pnr", 20_005), ("a.pnr", 20_001), ("b.pnr", 20_005):
                self.assertEqual(Trace(convert(self.path(name))).count()["__main__.f"], n, (name, options))

    def test_workers(self):
        """As servers do: a master that stays root forks workers, which drop privileges."""
        for options in [], ["--max-size", "32M"], ["--last", "1h"]:
            e2e.shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
            finished = self.record_text("""
                pids = []
                for _ in range(3):
                    pids.append(os.fork())
                    if not pids[-1]:
                        drop()
                        for _ in range(10): in_thread(10_000)
                        os.write(1, b"worker\\n")
                        os._exit(0)
                print([os.waitpid(pid, 0)[1] for pid in pids])
                """, *options)
            self.assertEqual((finished.out, finished.err), ("worker\n" * 3 + "[0, 0, 0]\n", ""), options)
            self.assertEqual(self.count(), 300_000, options)

    def test_limits(self):
        """Old data goes, though the worker cannot read the capture; the newest is there to the end."""
        finished = self.record_text("""
            pid = os.fork()
            if not pid:
                drop()
                end = time.monotonic() + 5
                n = 0
                while time.monotonic() < end:
                    in_thread(100_000)
                    n += 100_000
                def last(): f()
                for _ in range(1000): last()
                os.write(1, b"%d\\n" % n)
                os._exit(0)
            os.waitpid(pid, 0)
            """, "--max-size", "16M", "--last", "1s")
        self.assertEqual(finished.err, "")
        top = e2e.run([e2e.CONVERT, "--top", "--json", self.path("run.pnr")], timeout=600)
        calls = {one["name"]: one["calls"] for one in e2e.json.loads(top.out)["functions"]}
        self.assertLess(calls["__main__.f"], int(finished.out))
        self.assertEqual(calls["__main__.last"], 1000)

    def test_forked_children_that_cannot_be_recorded(self):
        """They print nothing; the one that began the recording reports it, at its end."""
        finished = self.record_text("""
            pid = os.fork()
            if not pid:
                drop()
                calls(10)
                children = [os.fork() or os._exit(calls(5) or 0) for _ in range(2)]
                for child in children: os.waitpid(child, 0)
                os._exit(0)
            os.waitpid(pid, 0)
            """)
        line, = finished.err.splitlines()
        self.assertRegex(line, r"^panopticon: process \d+: not recorded: .*Permission denied "
                               r"\(and 1 more messages of child processes\)$")
        self.assertEqual(self.count(), 10)

    def test_started_children_that_cannot_be_recorded(self):
        try:
            subprocess.run([e2e.PYTHON, "-c", ""], user=NOBODY, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            self.skipTest("nobody cannot run this interpreter")
        finished = self.record_text("""
            import subprocess
            print(subprocess.run([sys.executable, "-c", "print('child')"], user=65534, capture_output=True, text=True))
            """)
        self.assertIn("returncode=0, stdout='child\\n', stderr='')", finished.out)
        self.assertRegex(finished.err, r"^panopticon: process \d+: not recorded: .*Permission denied\n$")

    def test_snapshot(self):
        """A worker cannot make one next to the capture: it goes on, and that is reported at the end."""
        finished = self.record_text("""
            import signal
            pid = os.fork()
            if not pid:
                drop()
                calls(10)
                os.kill(os.getpid(), signal.SIGUSR2)
                end = time.monotonic() + 1
                while time.monotonic() < end: f()
                calls(10)
                os.write(1, repr(os.listdir(".")).encode())
                os._exit(0)
            os.waitpid(pid, 0)
            """, "--snapshot-on", "SIGUSR2")
        self.assertNotIn("snapshot", finished.out)
        line, = finished.err.splitlines()
        self.assertRegex(line, r"^panopticon: process \d+: .*Permission denied; no snapshot was made, recording goes on$")

    def test_killed(self):
        """What a worker leaves that was killed is finished by the master."""
        self.record_text("""
            pid = os.fork()
            if not pid:
                drop()
                calls(1000)
                os.kill(os.getpid(), 9)
            os.waitpid(pid, 0)
            """)
        lives = [folder for folder in os.listdir(self.path("run.pnr"))
                 if os.path.exists(os.path.join(self.path("run.pnr"), folder, "live"))]
        self.assertEqual((lives, self.count()), ([], 1000))

    def test_nobody_else_can_read_it(self):
        self.record_text("calls(10)")
        for folder, folders, files in os.walk(self.path("run.pnr")):
            for name in [*folders, *files]:
                self.assertEqual(os.stat(os.path.join(folder, name)).st_mode & 0o077, 0, name)
        self.assertEqual(os.stat(self.path("run.pnr")).st_mode & 0o777, 0o711)


if __name__ == "__main__":
    unittest.main()
