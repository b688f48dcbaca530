"""Edge cases in which a recorder is easily wrong: unrecorded regions with other threads, frames that only delegate,
descriptors used up, forked children and ends of threads and of the interpreter."""

import os
import unittest

import e2e


class EdgeCases(e2e.EndToEnd):
    def converted(self, name="run.pnr"):
        """The trace of a capture in which every exit has its entry and nothing is missing."""
        finished = e2e.run([e2e.CONVERT, self.path(name), "-o", self.path("run.trace")])
        self.assertEqual(finished.status, 0, finished.err)
        self.assertNotIn("exit was not recorded", finished.err)
        self.assertNotIn("without a matching entry", finished.err)
        return e2e.Trace(self.path("run.trace"))

    def test_unrecorded_regions_of_several_threads(self):
        """Two threads go beyond the guard again and again, and take turns there. How the guard lies to the frames
        depends on the stack's size."""
        program = self.write("app.py", """
            import os, sys, threading
            sys.setrecursionlimit(200_000)
            sys.setswitchinterval(1e-6)
            def down(n): return 0 if n == 0 else 1 + down(n - 1)
            def work():
                for _ in range(25): down(900)
            smallest = max(65536, os.sysconf("SC_THREAD_STACK_MIN"))    # aarch64: 128 KiB
            for more in range(16):
                threading.stack_size(smallest + more * 4096)
                threads = [threading.Thread(target=work) for _ in range(2)]
                for thread in threads: thread.start()
                for thread in threads: thread.join()
            """)
        finished = e2e.recorded(self.path("run.pnr"), [program])
        self.assertEqual(finished, e2e.Finished(0, "", ""))
        self.converted()

    def test_stock_tool_verifies_segments(self):
        """zstd's own command finds whole frames with right checksums."""
        program = self.write("app.py", """
            import threading
            def f(n): return 1 if n < 2 else f(n - 1) + f(n - 2)
            thread = threading.Thread(target=f, args=(18,))
            thread.start()
            f(20)
            thread.join()
            """)
        e2e.recorded(self.path("run.pnr"), [program])
        (segment,) = e2e.segments(self.path("run.pnr")).values()
        files = sorted(os.listdir(segment))
        self.assertEqual(files, ["thread-1.zst", "thread-2.zst"])
        for name in files:
            finished = e2e.run(["zstd", "-t", os.path.join(segment, name)])
            self.assertEqual(finished.status, 0, finished.err)

    def test_throw_past_a_delegating_frame(self):
        """The base has no frame of the one that delegates."""
        self.script("""
            import panopticon_rec
            def inner():
                try:
                    yield 1
                except ValueError:
                    work()
                    yield 2
            def outer(): yield from inner()
            def work(): pass
            def main():
                one = outer()
                next(one)
                recorder = panopticon_rec.Recorder("run.pnr").start()
                one.throw(ValueError)
                work()
                recorder.stop()
            main()
            """)
        trace = self.converted()
        self.assertEqual([one.parent.function.name for one in trace.named("__main__.work")],
                         ["__main__.inner", "__main__.main"])
        main, = trace.named("__main__.main")
        self.assertEqual(main.flags, {"begin_unknown", "unfinished"})

    def test_generators_that_are_closed_by_each_other(self):
        """Each stands at its yield while what it went through is closed, and a block begins below."""
        program = self.write("app.py", """
            def f(): pass
            def innermost():
                try:
                    yield 1
                finally:
                    for _ in range(20_000): f()
            def outer(n):
                for each in iter([1]):
                    for x in outer(n - 1) if n else innermost(): yield x
            def delegating(n):
                for x in outer(n): yield from iter([x])
            def main(generator):
                for x in generator: break
            main(outer(20))
            main(delegating(20))
            """)
        e2e.recorded(self.path("run.pnr"), [program])
        calls = self.converted().named("__main__.f")
        self.assertEqual(len(calls), 40_000)
        self.assertEqual([one.function.name for one in {call.parent for call in calls}], ["__main__.innermost"] * 2)

    def test_thread_locals_of_many_threads_that_end(self):
        """Finalizers run while a thread's state is being cleared: they are the thread's."""
        program = self.write("app.py", """
            import threading
            local = threading.local()
            def f(): pass
            class Connection:
                def __del__(self): f()
            def work():
                local.connection = Connection()
                go.wait()
            go = threading.Event()
            threads = [threading.Thread(target=work) for _ in range(300)]
            for thread in threads: thread.start()
            go.set()
            for thread in threads: thread.join()
            """)
        e2e.recorded(self.path("run.pnr"), [program])
        trace = self.converted()
        finalizers = trace.named("__main__.Connection.__del__")
        self.assertEqual(len(finalizers), 300)
        self.assertEqual(len({one.thread for one in finalizers}), 300)

    def test_finalizers_alongside_a_daemon_thread(self):
        program = self.write("app.py", """
            import threading, time
            class Last:
                def __del__(self): pass
            last = Last()
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            """)
        e2e.recorded(self.path("run.pnr"), [program])
        self.assertEqual(self.converted().count()["__main__.Last.__del__"], 1)

    def test_all_descriptors_used_up(self):
        program = self.write("app.py", """
            import os, threading
            def f(n): return 1 if n < 2 else f(n - 1) + f(n - 2)
            used = []
            try:
                while True: used.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                pass
            f(20)
            thread = threading.Thread(target=f, args=(20,))
            thread.start()
            thread.join()
            for descriptor in used: os.close(descriptor)
            """)
        command = e2e.recorder(self.path("run.pnr"), [program])
        finished = e2e.run(["sh", "-c", 'ulimit -n 200; exec "$@"', "sh", *command])
        self.assertEqual(finished, e2e.Finished(0, "", ""))
        self.assertEqual(self.converted().count()["__main__.f"], 2 * 21891)

    def test_namespace_with_keys_of_its_own(self):
        """Looking for a module's name runs no code of the program's keys."""
        program = self.write("app.py", """
            class Key(str):
                def __eq__(self, other): print("compared"); return str.__eq__(self, other)
                __hash__ = str.__hash__
            exec("def q(): return 1\\nq()", {Key("__name__"): "m"})
            """)
        self.assertEqual(e2e.recorded(self.path("run.pnr"), [program]), e2e.plain([program]))

    def test_modules_are_the_programs_own(self):
        """What -m and the command line import for themselves is not there."""
        program = ["-c", "import sys; print(*(name for name in sys.modules if 'panopticon' not in name))"]
        self.assertEqual(e2e.recorded(self.path("run.pnr"), program), e2e.plain(program))

    @unittest.skipIf(e2e.IS_SANITIZED, "a sanitizer's runtime wants to be loaded first")
    def test_filesystem_without_shared_mappings(self):
        """One line, nothing run, nothing left."""
        source = self.write("mmap.c", """
            #define _GNU_SOURCE
            #include <errno.h>
            #include <sys/mman.h>
            #include <sys/syscall.h>
            #include <unistd.h>
            void *mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
            {
                if (flags & MAP_SHARED && fd >= 0 && prot & PROT_WRITE) {
                    errno = ENODEV;
                    return MAP_FAILED;
                }
                return (void *)syscall(SYS_mmap, at, size, prot, flags, fd, offset);
            }
            """)
        e2e.run(["gcc", "-shared", "-fPIC", "-o", self.path("mmap.so"), source])
        finished = e2e.recorded(self.path("run.pnr"), ["-c", "print('run')"], env={"LD_PRELOAD": self.path("mmap.so")})
        self.assertEqual((finished.status, finished.out, len(finished.err.splitlines())), (2, "", 1), finished.err)
        self.assertIn("cannot map files shared; put the capture on another one", finished.err)
        self.assertFalse(os.path.exists(self.path("run.pnr")))

    def test_child_leaves_the_block(self):
        """A forked child goes on after `with record()` as its parent does."""
        finished = self.script("""
            import os, panopticon_rec
            with panopticon_rec.record("run.pnr"):
                child = os.fork()
            if not child:
                os._exit(7)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            """)
        self.assertEqual(finished.out, "7\n")

    def test_recorders_own_their_recording(self):
        finished = self.script("""
            import panopticon_rec
            one, other = panopticon_rec.Recorder("run.pnr").start(), panopticon_rec.Recorder("b.pnr")
            try:
                other.stop()
            except RuntimeError:
                print("refused")
            one.stop()
            with panopticon_rec.record("c.pnr") as third:
                third.stop()
            with panopticon_rec.AsyncTracer() as tracer:
                try:
                    str(tracer)
                except RuntimeError:
                    print("refused")
            print(len(str(tracer)) > 100)
            """)
        self.assertEqual(finished.out.split(), ["refused", "refused", "True"])

    def test_ignored_children(self):
        """SIGCHLD ignored by the program: the converter's end is noticed all the same."""
        command = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
        finished = e2e.recorded(self.path("a.trace"), ["-c", command])
        self.assertEqual(finished, e2e.Finished(0, "", ""))
        self.assertEqual(os.listdir(self.directory), ["a.trace"])

    def test_slash_after_the_output(self):
        for _ in range(2):
            self.assertEqual(e2e.recorded(self.path("run.pnr") + "/", ["-c", "pass"]).status, 0)
        self.assertEqual(sorted(os.listdir(self.directory)), ["run-2.pnr", "run.pnr"])

    def test_force_removes_captures_only(self):
        for name in ("process-data", "begun-x"):
            os.makedirs(self.path(f"results/{name}"))
        finished = e2e.recorded(self.path("results"), ["-c", "pass"], options=("--force",))
        self.assertEqual(finished.status, 2)
        self.assertEqual(sorted(os.listdir(self.path("results"))), ["begun-x", "process-data"])


if __name__ == "__main__":
    unittest.main()
