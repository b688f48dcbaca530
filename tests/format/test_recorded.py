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

HAS_GREENLET = subprocess.run([PYTHON, "-c", "import greenlet"], capture_output=True).returncode == 0

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
    "generators and coroutines of others": """
        import asyncio, queue, threading
        def numbers(n):
            for i in range(n):
                yield i
        def work(ones):
            while (one := ones.get()) is not None:
                sum(one)
        async def task(n):
            await asyncio.sleep(0)
            return sum(numbers(n))
        def make(loop, n):
            return [asyncio.run_coroutine_threadsafe(task(i), loop) for i in range(n)]
        async def main():
            loop = asyncio.get_running_loop()
            for future in await asyncio.to_thread(make, loop, 50):
                await asyncio.wrap_future(future)
        ones = queue.Queue()
        thread = threading.Thread(target=work, args=(ones,))
        thread.start()
        for i in range(2000):
            ones.put(numbers(i % 7))
            numbers(i)
        ones.put(None)
        thread.join()
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
    "many threads": """
        import threading
        def leaf(i):
            return i
        def work():
            for i in range(200):
                leaf(i)
        for _ in range(3):
            threads = [threading.Thread(target=work) for _ in range(40)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
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
PAUSED = """
    import panopticon_rec, threading
    def leaf():
        pass
    def numbers():
        yield 1
        yield 2
    def work(n):
        leaf()
        if n:
            return work(n - 1)
        panopticon_rec.pause()
    def resume(n):
        if n:
            return resume(n - 1)
        panopticon_rec.resume()
    def other(steps):
        steps[0].wait(); leaf(); steps[1].set(); steps[2].wait(); leaf()
    def main():
        steps = [threading.Event() for _ in range(3)]
        thread = threading.Thread(target=other, args=(steps,))
        thread.start()
        steps[0].set(); steps[1].wait()
        g = numbers()
        next(g); work(3); resume(5); next(g); leaf()
        steps[2].set()
        thread.join()
    main()
    """
FORKS = """
    import os
    def leaf(i):
        return i
    def work(n):
        for i in range(9000):
            leaf(i)
        if n:
            pid = os.fork()
            if pid == 0:
                return work(n - 1)
            os.waitpid(pid, 0)
    work(2)
    """
LAST = """
    import time
    def leaf():
        pass
    def burst():
        for _ in range(9000):
            leaf()
    def main():
        for _ in range(14):
            burst()
            time.sleep(0.25)
    main()
    """
SAVED = """
    import panopticon_rec
    def leaf(i):
        return i
    def work():
        for i in range(9000):
            leaf(i)
        panopticon_rec.snapshot("saved.pnr")
        for i in range(9000):
            leaf(i)
    work()
    """
GREENLETS = """
    import os, threading
    from greenlet import getcurrent, greenlet
    def leaf(i):
        return i
    def up(value):
        return getcurrent().parent.switch(value)
    def numbers(n):
        for i in range(n):
            yield leaf(i)
    def consume(shared, n):
        for i in range(n):
            for _ in range(5):
                next(shared, None)
            up(i)
    def nested(n):
        if n:
            inner = greenlet(nested)
            inner.switch(n - 1)
            up(n)
            while not inner.dead:
                inner.switch()
    def raising():
        up(0)
        raise ValueError
    def deep(n):
        return deep(n - 1) if n else up(n)
    def finish(*ones):
        while ones:
            for one in ones:
                one.switch()
            ones = [one for one in ones if not one.dead]
    def start(function, *args):
        one = greenlet(function)
        one.switch(*args)
        return one
    def work(n):
        shared = numbers(n * 20)
        finish(*[start(consume, shared, n) for _ in range(7)])
        finish(start(nested, 5))
        try:
            finish(start(raising))
        except ValueError:
            leaf(0)
        one = start(deep, 400)
        for i in range(9000):
            leaf(i)
        finish(one)
        for i in range(500):
            start(leaf, i)
        return start(deep, 3)
    def main():
        threads = [threading.Thread(target=work, args=(100,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        one = work(400)
        for thread in threads:
            thread.join()
        return one
    """
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


def count(process, is_wanted):
    """How many records are, by their kind and function."""
    return sum(is_wanted(kind, function) for thread in process.threads.values() for block in thread.blocks
               for _, kind, _, function in block.records)


class Recorded(unittest.TestCase):
    def record(self, program, *options, status=0):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name)
        (path / "program.py").write_text(textwrap.dedent(program))
        environ = os.environ | {"PYTHONPATH": str(conversion.CONVERTER.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        run = subprocess.run([PYTHON, "-m", "panopticon_rec", "-q", "-o", "run.pnr", *options, "program.py"], cwd=path,
                             env=environ, capture_output=True, timeout=120)
        self.assertEqual(run.returncode, status, run.stderr.decode())
        return conversion.Case(path)

    def check(self, case):
        """Both readers agree. Returns the processes."""
        capture = reader.read(case.path / "run.pnr")
        self.assertEqual(capture.reports, [])
        for process in capture.processes:
            self.assertEqual(dict(process.skipped), {})
            for key in "pid clock ticks_per_second start_ticks start_monotonic_ns start_realtime_ns".split():
                self.assertIn(key, process.properties)
            for thread in process.threads.values():
                for block in thread.blocks:
                    leading = [kind for _, kind, _, _ in block.records[:block.header.n_open]]
                    self.assertEqual(leading, [reader.OPEN] * block.header.n_open)
                    self.assertLessEqual(block.header.n_open, 1024)
                    self.check_switches(process, thread, block)
        for options in [], ["--tasks", "--flows=all,creation"]:
            run = case.convert(*options)
            self.assertEqual(run.returncode, 0, run.stderr.decode())
            found = trace_checker.check(case.path / "run.pnr", run.stdout.decode(), trace_checker.REAL_CLOCK_NS, options)
            self.assertEqual(found[:10], [])
        return capture.processes

    def check_switches(self, process, thread, block):
        """The stack of each track is known before its first record in the block, and repeated for a greenlet that has
        the track of one that ended: in the programs here it is empty then."""
        known = {block.track}
        kinds = [kind for _, kind, _, _ in block.records] + [None]
        for i, (_, kind, flags, track) in enumerate(block.records):
            if kind == reader.SWITCH:
                self.assertLessEqual(flags, reader.SWITCH_OPEN | reader.SWITCH_DEEPER)
                if track not in known:
                    self.assertTrue(flags & reader.SWITCH_OPEN)
                elif flags & reader.SWITCH_OPEN:
                    self.assertNotEqual(kinds[i + 1], reader.OPEN)
                known.add(track)
        for track in known - {0}:
            self.assertEqual(process.threads[track].native_id, thread.native_id)

    def calls(self, process, name):
        return count(process, lambda kind, function: kind == reader.CALL and process.functions[function].name == name)

    def test_programs(self):
        for name, program in PROGRAMS.items():
            with self.subTest(name):
                case = self.record(program)
                process, = self.check(case)
                self.assertTrue(process.has_ended)
                directory = case.path / "run.pnr" / process.directory
                self.assertFalse((directory / "live").exists())
                self.assertEqual(process.number("events"), count(process, lambda kind, _: kind != reader.OPEN))
                for file in directory.glob("*.zst"):
                    self.assertEqual(subprocess.run(["zstd", "-qt", file]).returncode, 0)

    def test_killed(self):
        process, = self.check(self.record(KILLED, status=-signal.SIGKILL))
        self.assertFalse(process.has_ended)
        self.assertGreater(process.n_recovered, 0)
        self.assertEqual(self.calls(process, "leaf"), 7001)

    def test_paused(self):
        process, = self.check(self.record(PAUSED))
        self.assertEqual([sum(block.is_paused for block in thread.blocks) for thread in process.threads.values()], [1, 1])
        self.assertEqual(self.calls(process, "leaf"), 7)
        self.assertEqual(self.calls(process, "resume"), 0)

    def test_forks(self):
        processes = self.check(self.record(FORKS))
        self.assertEqual(len(processes), 3)
        self.assertEqual([process.properties.get("born") for process in processes], [None, "fork", "fork"])
        for process, parent in zip(processes[1:], processes):
            self.assertEqual(process.number("parent_pid"), parent.number("pid"))
        for process in processes:
            self.assertTrue(process.has_ended)
            self.assertEqual(self.calls(process, "leaf"), 9000)

    def test_last(self):
        case = self.record(LAST, "--last", "400ms")
        process, = self.check(case)
        self.assertTrue(process.has_ended and process.has_evicted)
        thread, = process.threads.values()
        self.assertGreater(thread.blocks[0].header.sequence, 0)
        self.assertLess(thread.blocks[0].header.begin[1], process.number("end_monotonic_ns") - 400_000_000)

    @unittest.skipIf("san" in conversion.CONVERTER.parent.name, "AddressSanitizer does not know stacks that are exchanged")
    @unittest.skipUnless(HAS_GREENLET, "greenlet is not there for this Python")
    def test_greenlets(self):
        kill = "start(lambda: os.kill(os.getpid(), 9))"
        for end, status in ("one = main()", 0), (f"one = main(); {kill}", -signal.SIGKILL):
            with self.subTest(end):
                process, = self.check(self.record(textwrap.dedent(GREENLETS) + end, status=status))
                self.assertEqual(process.has_ended, status == 0)
                if process.has_ended:
                    self.assertEqual(process.number("events"), count(process, lambda kind, _: kind != reader.OPEN))
                self.assertEqual(self.calls(process, "leaf"), 600 * 20 + 3 * (9000 + 500 + 1))
                # Of consume, nested, raising, deep and leaf: as many as have not ended at a time.
                self.assertEqual(sum(thread.is_track for thread in process.threads.values()),
                                 3 * (7 + 6 + 1 + 1 + 1) + (status != 0))
                blocks = [block for thread in process.threads.values() for block in thread.blocks]
                self.assertGreater(len({block.track for block in blocks}), 1)
                reported = [frame for block in blocks for _, kind, frame, _ in block.records if kind == reader.SWITCH]
                self.assertEqual(set(reported), {0, reader.SWITCH_OPEN})

    def test_saved(self):
        case = self.record(SAVED)
        for name, calls in ("run.pnr", 18_000), ("saved.pnr", 9000):
            with self.subTest(name):
                if name != "run.pnr":
                    (case.path / "run.pnr").rename(case.path / "other.pnr")
                    (case.path / name).rename(case.path / "run.pnr")
                process, = self.check(case)
                self.assertTrue(process.has_ended)
                self.assertEqual(self.calls(process, "leaf"), calls)


if __name__ == "__main__":
    unittest.main()
