"""What is written does not depend on how many threads write it, is what the name promises, and is there as a whole or
not at all."""

import contextlib
import gzip
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import zlib
from pathlib import Path

import conversion
from capture_writer import *                # noqa: F403: the vocabulary of the captures below

THREADS = (1, 2, 5)
SECONDS = 60


def write_busy(path):
    """Blocks of four threads, one beginning inside another, and generators that change threads."""
    with Capture(path) as capture:
        process = capture.process(7, command="busy.py")
        plain = [process.function("__main__", f"f{i}", "busy.py", i) for i in range(50)]
        generator = process.function("__main__", "g", "busy.py", 99, GENERATOR)
        threads = [process.thread(k, 7000 + k, f"thread {k}") for k in range(1, 5)]
        for i in range(40):
            at, records = 40_000 * i, []
            for k in range(1000):
                records += [call(at + 100 * k, plain[k % 50]), return_(at + 100 * k + 50, plain[k % 50])]
            records += [start(at + 110_000, generator, i + 1), yield_(at + 110_100, generator, i + 1)]
            if i > 3:
                records += [resume(at + 120_000, generator, i - 2), finish(at + 120_100, generator, i - 2)]
            threads[i % 4].block(records)
        process.end(50 * 40_000)


def write_long(path):
    """A block that becomes half a gigabyte: each slice has a name of 60,000 bytes."""
    with Capture(path) as capture:
        process = capture.process(7, command="long.py")
        function = process.function("__main__", "f" * 60_000, "long.py", 1)
        thread = process.thread(1, 7001, "MainThread")
        thread.block([record for i in range(8000) for record in (call(10 * i, function), return_(10 * i + 5, function))])
        process.end(100_000)


class Output(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.folder = Path(self.temporary.name)

    def convert(self, *options):
        """Its bytes on standard output."""
        run = subprocess.run([conversion.CONVERTER, "-q", "run.pnr", *options], cwd=self.folder, capture_output=True,
                             timeout=SECONDS)
        self.assertEqual((run.returncode, run.stderr), (0, b""))
        return run.stdout

    def begin(self, *options, **how):
        return subprocess.Popen([conversion.CONVERTER, "-q", "run.pnr", *options], cwd=self.folder,
                                stderr=subprocess.PIPE, **how)

    def test_all_captures_with_any_number_of_threads(self):
        for folder in "golden", "invalid":
            for case in conversion.cases(folder):
                found = {(run.returncode, run.stdout, run.stderr) for run in (
                    subprocess.run([conversion.CONVERTER, "-q", "run.pnr", "-o", "-", "-j", str(n), "--tasks",
                                    "--flows=all,creation"], cwd=case.path, capture_output=True, timeout=SECONDS)
                    for n in THREADS)}
                with self.subTest(case.name):
                    self.assertEqual(len(found), 1)

    def test_many_blocks_with_any_number_of_threads(self):
        write_busy(self.folder / "run.pnr")
        expected = self.convert("-o", "-", "-j", "1")
        self.assertEqual(expected.count(b'"ph":"X"'), 40 * 1000 + 40 + 36)
        for n in THREADS:
            with self.subTest(n):
                self.assertEqual(self.convert("-o", "-", "-j", str(n)), expected)
                self.convert("-o", "x.trace", "-j", str(n))
                self.assertEqual((self.folder / "x.trace").read_bytes(), expected)
                self.convert("-o", "x.trace.gz", "-j", str(n))
                self.assertEqual(gzip.decompress((self.folder / "x.trace.gz").read_bytes()), expected)
                subprocess.run(["gzip", "-t", self.folder / "x.trace.gz"], check=True)
                self.convert("-o", "x.trace.zst", "-j", str(n))
                subprocess.run(["zstd", "-qt", self.folder / "x.trace.zst"], check=True)
                self.assertEqual(subprocess.run(["zstd", "-dc", self.folder / "x.trace.zst"], stdout=subprocess.PIPE,
                                                check=True).stdout, expected)

    def test_a_gzip_file_has_one_member(self):
        """Catapult's viewer reads no more than the first."""
        write_busy(self.folder / "run.pnr")
        self.convert("-o", "x.trace.gz")
        member = zlib.decompressobj(wbits=31)
        self.assertEqual(member.decompress((self.folder / "x.trace.gz").read_bytes()), self.convert("-o", "-"))
        self.assertTrue(member.eof)
        self.assertEqual(member.unused_data, b"")

    def test_what_interrupts_leaves_nothing(self):
        write_long(self.folder / "run.pnr")
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
            for n in THREADS:
                with self.subTest(number.name, threads=n), self.begin("-o", "x.trace.gz", "-j", str(n)) as run:
                    while len(os.listdir(self.folder)) == 1 and run.poll() is None:
                        time.sleep(0.001)
                    run.send_signal(number)
                    self.assertEqual(run.wait(SECONDS), -number)
                    self.assertEqual(run.stderr.read(), b"")
                    self.assertEqual(os.listdir(self.folder), ["run.pnr"])

    def test_what_was_killed_is_removed_by_the_next_one(self):
        """... to the same name, and only by that; what still runs keeps its file."""
        write_long(self.folder / "run.pnr")
        for name, other in ("x.trace.gz", "y.trace.gz"), ("y.trace.gz", "y.trace"), ("x" * 240 + ".trace.gz", "x"):
            with self.subTest(name), self.begin("-o", name) as killed, self.begin("-o", name, "-j", "1") as stopped:
                try:
                    self.check_left(name, other, killed, stopped)
                finally:
                    stopped.kill()
                os.remove(self.folder / name)

    def check_left(self, name, other, killed, stopped):
        self.wait_for(3)
        left = set(os.listdir(self.folder))
        killed.kill()
        killed.wait()
        stopped.send_signal(signal.SIGSTOP)
        self.convert("-o", other, "--from=1s")
        os.remove(self.folder / other)
        self.assertEqual(set(os.listdir(self.folder)), left)
        self.convert("-o", name, "--from=1s")
        found = set(os.listdir(self.folder))
        self.assertEqual((len(found & left), found - left), (2, {name}))
        stopped.send_signal(signal.SIGCONT)
        self.assertEqual(stopped.wait(SECONDS), 0)
        self.assertEqual(set(os.listdir(self.folder)), {"run.pnr", name})

    def test_what_is_no_file_of_a_conversion_is_kept(self):
        write_busy(self.folder / "run.pnr")
        names = ["panopticon-x.trace-abcdef", ".panopticon-x.trace-abcde", ".panopticon-xx.trace-abcdef", ".x.trace"]
        for name in names:
            (self.folder / name).touch()
        os.mkdir(self.folder / ".panopticon-x.trace-folder")
        os.symlink("panopticon-x.trace-abcdef", self.folder / ".panopticon-x.trace-linked")
        self.convert("-o", "x.trace")
        self.assertEqual(sorted(os.listdir(self.folder)), sorted(
            [*names, "run.pnr", "x.trace", ".panopticon-x.trace-folder", ".panopticon-x.trace-linked"]))

    def wait_for(self, n):
        """Waits until there are so many files, and the converters have locked their temporary ones."""
        while len(names := os.listdir(self.folder)) < n or not all(map(self.is_locked, names)):
            time.sleep(0.001)

    def is_locked(self, name):
        if not name.startswith(".panopticon-"):
            return True
        try:
            inode = os.stat(self.folder / name).st_ino
        except FileNotFoundError:
            return False
        return f":{inode} " in Path("/proc/locks").read_text()

    def test_the_progress_line(self):
        """On a terminal a line shows how far the conversion is. Nobody reads the trace until it is there, except a
        little of it."""
        source, = (conversion.ROOT / "tests/golden/full_block/run.pnr").glob("process-*")
        with tempfile.TemporaryDirectory() as folder:
            for pid in range(1, 4):
                shutil.copytree(source, Path(folder) / "run.pnr" / f"process-{pid}")
            command = [conversion.CONVERTER, "run.pnr", "-o", "-"]
            plain = subprocess.run(command, cwd=folder, capture_output=True, check=True)
            terminal, other = pty.openpty()
            shown = trace = b""
            with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=other) as run:
                os.close(other)
                while piece := run.stdout.read(1 << 14):
                    trace += piece
                    if not shown:
                        time.sleep(0.01)
                        shown += os.read(terminal, 1 << 14) if select.select([terminal], [], [], 0)[0] else b""
            with contextlib.suppress(OSError):      # EIO: nobody has the terminal open any more
                while piece := os.read(terminal, 1 << 14):
                    shown += piece
            os.close(terminal)
        line = rb"\r\d{1,3} %, \d+ MB, \d+\.\d M events, \d+\.\d M/s, \d+ s left\x1b\[K"
        self.assertRegex(shown, line)
        self.assertEqual(re.sub(line + rb"|\r\x1b\[K", b"", shown).replace(b"\r\n", b"\n"), plain.stderr)
        self.assertEqual((run.returncode, trace), (0, plain.stdout))

    def test_a_closed_pipe(self):
        """As with other tools: the signal ends it, or where that is ignored, a message."""
        write_long(self.folder / "run.pnr")
        for is_ignored, status, messages in (False, -signal.SIGPIPE, b""), (True, 2, b"Broken pipe\n"):
            for n in THREADS:
                def prepare():
                    if is_ignored:
                        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
                with self.subTest(ignored=is_ignored, threads=n), \
                        self.begin("-o", "-", "-j", str(n), stdout=subprocess.PIPE, preexec_fn=prepare) as run:
                    self.assertEqual(run.stdout.read(8), b'{"displa')
                    run.stdout.close()
                    self.assertEqual(run.wait(SECONDS), status)
                    self.assertTrue(run.stderr.read().endswith(messages))

    def test_a_number_of_threads_is_one(self):
        write_busy(self.folder / "run.pnr")
        for text in "0", "-1", "x", "2x", "":
            with self.subTest(text), self.begin("-o", "-", "-j", text, stdout=subprocess.PIPE) as run:
                self.assertIn(b"is not a number of threads", run.communicate(timeout=SECONDS)[1])
                self.assertEqual(run.returncode, 2)


if __name__ == "__main__":
    unittest.main()
