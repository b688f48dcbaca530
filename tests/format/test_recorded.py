"""Real captures, read by the independent reader: the recorder keeps to specs/capture-format.md, and the converter makes
of them what trace_checker does.

    PANOPTICON_BUILD     directory with panopticon-convert and the package panopticon_rec      [build/release]
    PANOPTICON_PYTHON    the interpreter that the recorder was built for                        [this one]
"""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

import capture_reader as reader
import conversion
import trace_checker

PYTHON = os.environ.get("PANOPTICON_PYTHON", sys.executable)

# Neighbouring instants of a real clock disagree by some ten nanoseconds; a converter may choose among them.
TOLERANCE_NS = 2000

PROGRAMS = {
    "calls over many blocks": """
        def fib(n):
            return n if n < 2 else fib(n - 1) + fib(n - 2)
        fib(21)
        """,
    "generators in threads": """
        import threading
        def numbers(n):
            for i in range(n):
                yield i
        def work(shared):
            for _ in zip(numbers(1000), shared):
                pass
        class Locked:
            def __init__(self, it):
                self.it, self.lock = it, threading.Lock()
            def __iter__(self):
                return self
            def __next__(self):
                with self.lock:
                    return next(self.it)
        shared = Locked(numbers(10_000))
        threads = [threading.Thread(target=work, args=(shared,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        """,
    "coroutines": """
        import asyncio
        async def ticks(n):
            for i in range(n):
                yield i
                await asyncio.sleep(0)
        async def client(n):
            async for _ in ticks(n):
                pass
        async def main():
            tasks = [asyncio.create_task(client(n)) for n in range(1, 30)]
            tasks[-1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        asyncio.run(main())
        """,
    "exceptions and closing": """
        def numbers():
            try:
                yield 1
                yield 2
            finally:
                pass
        def fails(n):
            if n:
                fails(n - 1)
            raise ValueError
        for n in range(5):
            try:
                fails(n)
            except ValueError:
                pass
            g = numbers()
            next(g)
            try:
                g.throw(KeyError) if n % 2 else g.close()
            except KeyError:
                pass
        """,
    "deep": """
        import sys
        sys.setrecursionlimit(20_000)
        def deep(n):
            return n and deep(n - 1)
        deep(1500)
        def shallow():
            for _ in range(20_000):
                int.__add__(1, 1); deep(1)
        def below(n):
            return shallow() if n == 0 else below(n - 1)
        below(1200)
        """,
}
KILLED = """
    import os, signal
    def leaf(i):
        return i
    def numbers(n):
        for i in range(n):
            yield leaf(i)
    def stop():
        os.kill(os.getpid(), signal.SIGKILL)
    for x in numbers(7000):
        pass
    suspended = numbers(5)
    next(suspended)
    stop()
    """


class Recorded(unittest.TestCase):
    def record(self, program, status=0):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name)
        (path / "program.py").write_text(textwrap.dedent(program))
        environ = os.environ | {"PYTHONPATH": str(conversion.CONVERTER.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        run = subprocess.run([PYTHON, "-m", "panopticon_rec", "-q", "-o", "run.pnr", "program.py"], cwd=path,
                             env=environ, capture_output=True, timeout=120)
        self.assertEqual(run.returncode, status, run.stderr.decode())
        return conversion.Case(path)

    def check(self, case):
        """Both readers agree. Returns the process."""
        capture = reader.read(case.path / "run.pnr")
        self.assertEqual(capture.reports, [])
        process, = capture.processes
        self.assertEqual(dict(process.skipped), {})
        for key in "pid clock ticks_per_second start_ticks start_monotonic_ns start_realtime_ns".split():
            self.assertIn(key, process.facts)
        for thread in process.threads.values():
            for block in thread.blocks:
                leading = [kind for _, kind, _, _ in block.records[:block.header.n_open]]
                self.assertEqual(leading, [reader.OPEN] * block.header.n_open)
                self.assertLessEqual(block.header.n_open, 1024)
        run = case.convert()
        self.assertEqual(run.returncode, 0, run.stderr.decode())
        self.assertEqual(trace_checker.check(case.path / "run.pnr", run.stdout.decode(), TOLERANCE_NS)[:10], [])
        return process

    def test_programs(self):
        for name, program in PROGRAMS.items():
            with self.subTest(name):
                case = self.record(program)
                process = self.check(case)
                self.assertTrue(process.has_ended)
                directory = case.path / "run.pnr" / process.directory
                self.assertFalse((directory / "live").exists())
                self.assertEqual(process.facts["events"], str(sum(
                    kind != reader.OPEN for thread in process.threads.values() for block in thread.blocks
                    for _, kind, _, _ in block.records)))
                for file in directory.glob("*.zst"):
                    self.assertEqual(subprocess.run(["zstd", "-qt", file]).returncode, 0)

    def test_killed(self):
        process = self.check(self.record(KILLED, -signal.SIGKILL))
        self.assertFalse(process.has_ended)
        self.assertGreater(process.n_recovered, 0)
        calls = sum(kind == reader.CALL and process.functions[function].name == "leaf"
                    for thread in process.threads.values() for block in thread.blocks
                    for _, kind, _, function in block.records)
        self.assertEqual(calls, 7001)


if __name__ == "__main__":
    unittest.main()
