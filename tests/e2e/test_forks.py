"""Forks that neither Python nor libc reports: _Fork and the system calls themselves."""

import collections
import ctypes
import os
import platform
import re
import shutil
import unittest

import e2e

ENGINES = e2e.ENGINES
CLONE = {"x86_64": 56, "aarch64": 220}.get(platform.machine())
WAYS = {"_Fork": "libc._Fork()"} if hasattr(ctypes.CDLL(None), "_Fork") else {}
if CLONE:
    WAYS["clone"] = f"libc.syscall({CLONE}, 17, 0, 0, 0, 0)"

PROGRAM = """
    import ctypes, os, sys, threading
    libc = ctypes.PyDLL(None)
    def f(n): return n and f(n - 1)
    def generate(n):
        for i in range(n): yield i
    def child():
        f(5)
        try: raise ValueError
        except ValueError: f(2)
        list(generate(3))
        print("child", flush=True)
    def down(n):
        if n: return down(n - 1)
        return FORK
    def within():
        for i in generate(2):
            pid = down(3)
            if pid == 0: return child()
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            f(1)
    def main():
        within()
        f(3)
        END
    main()
    f(1)
    """


@unittest.skipUnless(WAYS, "neither _Fork nor the number of a system call is known")
class Unannounced(e2e.EndToEnd):
    def compare(self, text, *options):
        self.record_as_plain(text, *options)
        finished = e2e.run([e2e.CONVERT, "--verify", self.path("run.pnr")])
        self.assertEqual(finished.status, 0, finished.err)
        return e2e.Trace(e2e.convert(self.path("run.pnr")))

    def count(self, trace):
        """For each process, how often each function of the program ran."""
        found = collections.defaultdict(collections.Counter)
        for one in trace.of(self.path("app.py")):
            found[one.thread[0]][one.function.name.removeprefix("__main__.")] += 1
        return [dict(count) for count in found.values()]

    def test_child_is_recorded(self):
        """It begins with the frames that were open at the fork, and ends in order; the parent's records are its own."""
        parent = {"<module>": 1, "main": 1, "within": 1, "generate": 3, "down": 8, "f": 2 * 2 + 4}
        child = {"<module>": 1, "main": 1, "within": 1, "child": 1, "f": 6 + 3 + 4}
        for way, end in (way for way in [(w, e) for w in WAYS for e in ("pass", "os._exit(7)")]):
            for options in [[], ["--c-calls"], ["--min-duration", "1ns"]]:
                for engine in ENGINES:
                    with self.subTest(way=way, end=end, options=options, engine=engine):
                        text = PROGRAM.replace("FORK", WAYS[way]).replace("END", end)
                        counts = self.count(self.compare(text, "--engine", engine, *options))
                        last = 0 if "_exit" in end else 2
                        self.assertEqual(len(counts), 3)
                        for n, count in enumerate(counts):
                            expected = {**(child if "child" in count else parent)}
                            expected["f"] += last
                            self.assertEqual({name: count[name] for name in expected}, expected)
                        self.assertEqual(sorted("child" in count for count in counts), [False, True, True])

    def test_not_followed(self):
        """It is not recorded, and counted."""
        for way in WAYS.values():
            for engine in ENGINES:
                text = PROGRAM.replace("FORK", way).replace("END", "pass")
                counts = self.count(self.compare(text, "--engine", engine, "--follow", "none"))
                self.assertEqual(len(counts), 1)
                reported = e2e.run([e2e.CONVERT, "--info", self.path("run.pnr")]).out
                self.assertTrue(re.search(r"forks +2\n", reported), reported)

    def test_alongside_threads_and_recursion(self):
        """Another thread waits for a lock, and continues in the parent: one that asks for the GIL at the fork would block
        the child for ever, without the recorder, too. The second fork is below the guard."""
        for way in WAYS.values():
            for engine in ENGINES:
                trace = self.compare("""
                    import ctypes, os, sys, threading, time
                    libc = ctypes.PyDLL(None)
                    sys.setrecursionlimit(100_000)
                    def beat(): pass
                    def beside():
                        beat()
                        done.acquire()
                        beat()
                    def down(n):
                        if n: return down(n - 1)
                        return FORK
                    def f(n): return n and f(n - 1)
                    def main(depth):
                        pid = down(depth)
                        if not pid:
                            f(3)
                            os._exit(5)
                        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
                        f(3)
                    done = threading.Lock()
                    done.acquire()
                    thread = threading.Thread(target=beside)
                    thread.start()
                    line = beside.__code__.co_firstlineno + 2
                    while sys._current_frames()[thread.ident].f_lineno != line: time.sleep(0.001)
                    for depth in 5, 30_000: main(depth)
                    done.release()
                    thread.join()
                    """.replace("FORK", way), "--engine", engine)
                counts = self.count(trace)
                self.assertEqual(sorted(count["f"] for count in counts), [4, 4, 8])
                self.assertEqual(sorted(count.get("beat", 0) for count in counts), [0, 0, 2])

    def test_what_the_child_asks_for(self):
        """pause, snapshot and stop are the first that is heard of the fork."""
        for what in ("recorder.stop()", "panopticon_rec.pause(); f(5); panopticon_rec.resume()", "os._exit(0)"):
            found = {}
            for way in "os.fork()", *WAYS.values():
                shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
                self.script("""
                    import ctypes, os, panopticon_rec
                    libc = ctypes.PyDLL(None)
                    def f(n): return n and f(n - 1)
                    recorder = panopticon_rec.Recorder("run.pnr")
                    recorder.start()
                    f(3)
                    pid = FORK
                    if not pid:
                        WHAT
                        f(1)
                        os._exit(0)
                    assert os.waitpid(pid, 0)[1] == 0
                    f(2)
                    recorder.stop()
                    """.replace("FORK", way).replace("WHAT", what))
                found[way] = sorted(count["f"] for count in self.count(self.trace()) if "f" in count)
            self.assertEqual(set(map(tuple, found.values())), {tuple(found["os.fork()"])}, what)
            self.assertEqual(found["os.fork()"][-1], 4 + 3, what)
            self.assertEqual(found["os.fork()"][:-1], [2] if "pause" in what else [], what)


if __name__ == "__main__":
    unittest.main()
