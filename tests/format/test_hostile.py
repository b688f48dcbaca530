"""Captures that are not as files should be: links, pipes, directories, terabytes of nothing, and files that change
while they are read. The converter ends by itself, soon, and in little memory."""

import os
import resource
import shutil
import socket
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

import conversion
from capture_writer import *                # noqa: F403: the vocabulary of the captures below
from capture_writer import sample as sample_of

# Limits of a converter with a sanitizer, too: processor time and memory. One that waits for something is stopped later.
CPU_SECONDS, KIBIBYTES, SECONDS = 60, 200 << 10, 300
TERABYTE = 1 << 40


def fnv1a(data):
    check = 0xcbf29ce484222325
    for byte in data:
        check = (check ^ byte) * 0x100000001b3 % (1 << 64)
    return check


def link(path, good):
    path.symlink_to(good)


def pipe(path, good):
    os.mkfifo(path)


def directory(path, good):
    path.mkdir()


def listening(path, good):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def missing(path, good):
    path.symlink_to("nowhere")


def loop(path, good):
    path.symlink_to(path.name)


class Hostile(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.capture = Path(self.temporary.name, "run.pnr")
        self.process = self.add("killed", "process-7")

    def add(self, golden, name):
        """A process of a golden capture."""
        source, = (conversion.ROOT / "tests/golden" / golden / "run.pnr").glob("process-*")
        shutil.copytree(source, self.capture / name)
        return self.capture / name

    def replace_segment(self, name, blocks):
        """All that is left of the process are its names and a file in a segment."""
        shutil.rmtree(self.process / "segment-1")
        (self.process / "live").unlink()
        (self.process / "segment-1").mkdir()
        (self.process / "segment-1" / name).write_bytes(blocks)

    def convert(self, *options, limits=()):
        """Returns the exit status and the messages."""
        def prepare():
            for limit, value in ((resource.RLIMIT_CPU, CPU_SECONDS), *limits):
                resource.setrlimit(limit, (value, value))
        command = [conversion.CONVERTER, "run.pnr", "-q", *(options or ("-o", "-"))]
        # Memory is measured: AddressSanitizer would keep up to 256 MB of what has been freed.
        environ = {**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=16"}
        with subprocess.Popen(command, cwd=self.temporary.name, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              env=environ, preexec_fn=prepare) as run:
            try:
                messages = run.communicate(timeout=SECONDS)[1].decode()
            except subprocess.TimeoutExpired:
                run.kill()
                raise
        self.assertGreaterEqual(run.returncode, 0, messages)
        return run.returncode, messages

    def test_files_of_other_types(self):
        status_of = {"names": 2, "segment-1": 1, "segment-1/thread-1.zst": 1, "segment-1/thread-2.zst": 1, "live": 1}
        for name, status in status_of.items():
            for make in link, pipe, directory, listening, missing, loop:
                if (name, make) == ("segment-1", directory):
                    continue
                with self.subTest(file=name, is_a=make.__name__):
                    file, good = self.process / name, self.capture / "good"
                    file.rename(good)
                    make(file, good)
                    self.assertEqual(self.convert()[0], status)
                    self.assertEqual(self.convert("--info")[0], status)
                    self.assertEqual(self.convert("--verify")[0], status)
                    shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()
                    good.rename(file)

    def test_a_process_that_is_a_link_is_not_followed(self):
        self.process.rename(self.capture / "elsewhere")
        self.process.symlink_to("elsewhere")
        status, messages = self.convert()
        self.assertEqual(status, 2)
        self.assertIn("process-7: not the directory of a process", messages)

    def test_terabytes_of_nothing(self):
        for name, status in ("names", 1), ("segment-1/thread-1.zst", 1), ("live", 0):
            with self.subTest(file=name):
                file = self.process / name
                size = file.stat().st_size
                os.truncate(file, TERABYTE)
                self.assertEqual(self.convert()[0], status)
                os.truncate(file, size)
        self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, KIBIBYTES)

    def test_an_index_that_a_large_file_would_have_room_for(self):
        fixed = struct.pack("<IBBHII3II", 40, 1, 0, 0, (1 << 32) - 1, 0, 0, 0, 0, 0)
        file = self.process / "names"
        file.write_bytes(file.read_bytes()[:16] + fixed + struct.pack("<Q", fnv1a(fixed)))
        os.truncate(file, TERABYTE)
        status, messages = self.convert()
        self.assertEqual(status, 1)
        self.assertIn("names: byte 16: function index out of order", messages)
        self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, KIBIBYTES)

    def test_many_threads_with_blocks_that_become_large(self):
        """All blocks, of 150 bytes each and of 256 KiB in memory, are at the same time. Each record is an exit without
        an entry, so the message counts how many came through."""
        n_threads, n = 800, 16384
        planes = b"\1" * n + b"\2" * n                 # plane 0, ticks; plane 5, kinds: RETURN
        frame = subprocess.run(["zstd", "-q", "-c", "--check", f"--stream-size={len(planes)}"], input=planes,
                               capture_output=True, check=True).stdout
        blocks = b""
        for thread in range(1, n_threads + 1):
            header = struct.pack("<4sHH5IHBB6QQ", b"PNRB", 1, 0, thread, 0, n, 0, len(frame), 1 << 0 | 1 << 5, 0, 0,
                                 1, 1, 1, n + 1, n + 1, n + 1, 0)
            blocks += struct.pack("<II", 0x184d2a5b, 96) + header + struct.pack("<Q", fnv1a(header)) + frame
        self.replace_segment("short-threads.zst", blocks)
        status, messages = self.convert()
        self.assertEqual(status, 0, messages)
        self.assertIn(f"{n_threads * n} function exits without a matching entry (ignored)", messages)
        self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, KIBIBYTES)

    def test_more_different_stacks_than_are_kept(self):
        """Two recursions of 600,000, of different functions: each call is a stack of its own."""
        n, n_blocks = 16000, 38
        def block(sequence, kind, function):
            planes = b"\1" * n + bytes([kind]) * n + bytes([function]) * n     # ticks; kinds; functions
            frame = subprocess.run(["zstd", "-q", "-c", "--check", f"--stream-size={len(planes)}"], input=planes,
                                   capture_output=True, check=True).stdout
            header = struct.pack("<4sHH5IHBB6QQ", b"PNRB", 1, 2, 1, sequence, n, 0, len(frame),
                                 1 << 0 | 1 << 5 | 1 << 12, 0, 0, *3 * [1 + sequence * n], *3 * [(sequence + 1) * n], 0)
            return struct.pack("<II", 0x184d2a5b, 96) + header + struct.pack("<Q", fnv1a(header)) + frame
        kinds = [(kind, function) for function in (1, 2) for kind in (1, 2) for _ in range(n_blocks)]
        self.replace_segment("thread-1.zst", b"".join(block(i, *kind) for i, kind in enumerate(kinds)))
        self.assertEqual(self.convert()[0], 0)
        for options in ("--format=folded",), ("--format=pstats",), ("--format=report",), ("--top",), ("--top", "--json"):
            with self.subTest(options=options):
                status, messages = self.convert("-o", "-", *options)
                self.assertEqual(status, 1, messages)
                n_roots = 2 * (options[0] in ("--format=folded", "--format=report"))
                n_left_out = 2 * n * n_blocks - 1048575 + n_roots
                self.assertIn(f"calls left out, as there were too many different stacks: {n_left_out}", messages)
        self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, KIBIBYTES)

    def test_a_hundred_thousand_files(self):
        """All but one are empty, of one segment; and segments without a file."""
        for thread in range(3, 100_000):
            (self.process / "segment-1" / f"thread-{thread}.zst").touch()
        for number in range(2, 2000):
            (self.process / f"segment-{number}").mkdir()
        for options in ("-o", "-"), ("--info",), ("--verify",), ("-o", "-", "--thread=MainThread"):
            with self.subTest(options=options):
                self.assertEqual(self.convert(*options, limits=[(resource.RLIMIT_NOFILE, 64)])[0], 1, "a file is cut off")
        self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, KIBIBYTES)

    def test_more_threads_than_descriptors(self):
        """Of 300 threads each has blocks in its own file in two segments, which are read alternately."""
        path = self.capture.with_name("threads.pnr")
        with Capture(path) as capture:
            process = capture.process(7)
            f = process.function("m", "f")
            threads = [process.thread(n, 7000 + n, f"Thread-{n}") for n in range(1, 301)]
            for k in range(4):
                process.segment(1 + k // 2)
                for i, thread in enumerate(threads):
                    thread.block([call(10_000 * k + i, f), return_(10_000 * k + 5000, f)])
            process.end(50_000)
        shutil.rmtree(self.capture)
        path.rename(self.capture)
        for options in ("-o", "-", "-j1"), ("-o", "-", "-j3"), ("--verify",), ("--info",):
            with self.subTest(options=options):
                self.assertEqual(self.convert(*options, limits=[(resource.RLIMIT_NOFILE, 64)]), (0, ""))

    def test_more_processes_than_descriptors(self):
        for pid in range(100, 300):
            self.add("smallest", f"process-{pid}")
        self.assertEqual(self.convert(limits=[(resource.RLIMIT_NOFILE, 64)])[0], 0)

    def test_files_that_are_cut_off_while_they_are_read(self):
        """The trace of the first two processes is more than the converter and a pipe hold, so the files of the others
        are cut off when all have been opened and those have not been converted."""
        self.process.rename(self.capture / "process-9")
        self.add("full_block", "process-1")
        self.add("full_block", "process-2")
        self.add("killed", "process-8")
        for name in "names", "segment-1/thread-1.zst", "live":
            with self.subTest(file=name):
                with subprocess.Popen([conversion.CONVERTER, "run.pnr", "-q", "-o", "-"], cwd=self.temporary.name,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
                    run.stdout.read(1)
                    os.truncate(self.capture / "process-8" / name, 100)
                    os.truncate(self.capture / "process-9" / name, 0)
                    messages = run.communicate(timeout=SECONDS)[1].decode()
                self.assertEqual(run.returncode, 0 if name == "names" else 1, messages)
                if name != "names":
                    self.assertIn(f"process-9/{name}: byte", messages)
            for pid in 8, 9:
                shutil.rmtree(self.capture / f"process-{pid}")
                self.add("killed", f"process-{pid}")


def instant(at):
    return START_MONOTONIC_NS + at, START_MONOTONIC_NS + at, START_REALTIME_NS + at


def repeat(thread, records, begin, end=None, times=1, flags=0):
    """Appends the same block again and again: only the header differs. A thousand of them are a small file. Times of the
    records count from `begin`."""
    timed = thread.timed([(begin if at is None else begin + at, *rest) for at, *rest in records], begin, None)[2]
    planes, data = encode_planes(timed)
    data = compress(data)
    for _ in range(times):
        header = encode_block_header(thread.number, thread.take(None), len(records), count_leading(records), len(data),
                                     instant(begin), instant(begin if end is None else end), flags, planes=planes)
        thread.process.file(thread.file).append(encode_skippable(header) + data)


class Work(unittest.TestCase):
    """Small captures that ask for more work than they have records: times a loop goes through, lists that each record has
    searched, and so on. The limit is that of the processor time. Expected values are (exit status, part of the message)."""

    N = 16000                           # records of a block

    def setUp(self):
        self.hostile = Hostile()
        self.hostile.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.hostile.temporary.cleanup)

    def check(self, fill, status=0, message="", **properties):
        path = Path(self.hostile.temporary.name, "run.pnr")
        with Capture(path) as capture:
            self.process = capture.process(7, **properties)
            self.f, self.g = self.process.function("m", "f"), self.process.function("m", "g")
            self.thread = self.process.thread(1, 7001, "MainThread")
            fill(self.process)
            self.process.end(10**18)
        result, messages = self.hostile.convert()
        self.assertEqual(result, status, messages)
        self.assertIn(message, messages)

    def test_samples_that_are_decades_apart(self):
        def fill(process):
            samples = process.samples(2)
            repeat(self.thread, [(0, CALL, 0, self.f), (10**9, RETURN, 0, self.f)], 0, 10**18)
            repeat(samples, [sample_of(0, 2, 1)], 0)
            repeat(samples, [sample_of(0, 2, 1)], 10**18)
        self.check(fill, samples_ns=10**6)

    def test_times_in_the_queue_that_reach_far_back(self):
        def fill(process):
            samples = process.samples(2)
            ran = [row for i in range(self.N // 2) for row in (sample_of(1000 * i, 2, 1), spent(1000 * i, "RAN", 1, 500))]
            for i in range(8):
                repeat(samples, ran, 500_000 * self.N * i)
            queued = [sample_of(0, 2, 1)] + [spent(0, "QUEUED", 1, 0xffffffff, since=60000)] * self.N
            repeat(samples, queued, 500_000 * self.N * 8, times=30)
        self.check(fill, samples_ns=10**6)

    def test_arguments_without_end(self):
        def fill(process):
            label = process.function("", "a", "", kind=LABEL)
            data = [(0, *rest) for _, *rest in data_of(bytes([label, 1]))]
            repeat(self.thread, [(0, CALL, 0, self.f)], 0)
            repeat(self.thread, [open_(self.f), *((0, ARGUMENTS, 2, self.f), *data) * (self.N // 2)], 10, times=1000)
        self.check(fill, 1, "beyond the most that are kept (left out)")

    def test_many_functions_that_were_muted(self):
        for flags, records, status in (0, [cost(0, 0, 0)], 0), (RESYNC, [mute(0, 9)], 0):
            with self.subTest(flags=flags):
                def fill(process):
                    ledger = process.ledger(2)
                    repeat(self.thread, [(0, CALL, 0, self.f)], 0)
                    for i in range(15):
                        repeat(ledger, [mute(0, 10 + self.N * i + k) for k in range(self.N)], 1)
                    repeat(ledger, records, 2, times=100_000, flags=flags)
                self.check(fill, status, max_overhead=3)
                shutil.rmtree(Path(self.hostile.temporary.name, "run.pnr"))

    def test_a_function_that_is_muted_and_admitted_without_end(self):
        """Other coroutines are suspended meanwhile."""
        def fill(process):
            coroutine = process.function("m", "c", kind=COROUTINE)
            ledger = process.ledger(2)
            for i in range(20):
                identities = range(1 + i * self.N // 2, 1 + (i + 1) * self.N // 2)
                repeat(self.thread, [(0, kind, k, coroutine) for k in identities for kind in (START, YIELD)], 1)
            repeat(ledger, [(i, (MUTE, ADMIT)[i % 2], 0, self.g) for i in range(self.N)], 10, times=3)
            repeat(self.thread, [(0, CALL, 0, self.g)], 10**6)
        self.check(fill, 1, "without arrows: too many generators and coroutines were suspended", max_overhead=3)

    def test_recursion_of_a_muted_function_in_a_window(self):
        def fill(process):
            ledger = process.ledger(2)
            repeat(ledger, [mute(0, self.g), window(9, 1), window_end(10**6, 1)], 1)
            repeat(self.thread, [(0, CALL, 0, self.f)], 0)
            repeat(self.thread, [open_(self.f), *((i, CALL, 0, self.g) for i in range(self.N))], 20, times=100)
        self.check(fill, 1, "estimates of muted functions are incomplete: they take too much work", max_overhead=3)

    def test_a_function_that_calls_many_muted_ones(self):
        def fill(process):
            ledger = process.ledger(2)
            others = range(100, 100 + self.N // 2)
            was_muted = [(None, MUTED, 0, other) for other in others]
            repeat(ledger, [*(mute(0, other) for other in others), window(9, 1)], 1)
            repeat(self.thread, [(0, CALL, 0, self.f)], 0)
            repeat(self.thread, [open_(self.f), *((i, kind, 0, other) for i, other in enumerate(others)
                                                 for kind in (CALL, RETURN))], 20)
            repeat(ledger, [*was_muted, window_end(0, 1)], 10**6)
            for k in range(6):
                repeat(self.thread, [open_(self.f), *((50 * i, (CALL, RETURN)[i % 2], 0, self.g) for i in range(self.N))],
                       (2 + k) * 10**6)
        self.check(fill, 1, "of functions that are not in the name table", max_overhead=3)


if __name__ == "__main__":
    unittest.main()
