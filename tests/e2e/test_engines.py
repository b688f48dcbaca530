"""Either engine, with and without calls of C functions, alongside the other tools that a process may have. And its edge
cases: what no event reports, names of C functions, C functions that call back or never return."""

import collections
import importlib.util
import itertools
import os
import pathlib
import re
import shutil
import signal
import sys
import sysconfig
import unittest

import e2e

HAS_MONITORING = "monitoring" in e2e.ENGINES
ENGINES = ["frame", "monitoring"] if HAS_MONITORING else ["frame"]
SUMMARY = re.compile(r"panopticon-convert: \d+ slices, .*\n|panopticon-convert: \d+ levels of nesting: .*\n")
DISPLACED = "panopticon: another tool's profile function was there while recording: calls of C functions may be missing\n"

needs_monitoring = unittest.skipUnless(HAS_MONITORING, "there is no sys.monitoring")


class Engines(e2e.EndToEnd):
    engine, c_calls = "frame", False

    def setUp(self):
        super().setUp()
        self.options = ["-q", "--engine", self.engine, *(["--c-calls"] if self.c_calls else [])]
        self.profiles = self.c_calls and not HAS_MONITORING         # C calls come from a profile function

    def converted(self, name="run.pnr", anomalies=""):
        """The trace of a capture of which the converter has nothing to report but, perhaps, anomalies (a regular
        expression)."""
        finished = e2e.run([e2e.CONVERT, self.path(name), "-o", self.path("run.trace")])
        reported = SUMMARY.sub("", finished.err)
        self.assertEqual(finished.status, 0, reported)
        self.assertRegex(reported, f"^(.*({anomalies}).*\n)*$" if anomalies else "^$")
        return e2e.Trace(self.path("run.trace"))

    def recorded(self, arguments, **more):
        """What came of a recorded program, in a capture of its own."""
        shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
        return e2e.recorded(self.path("run.pnr"), arguments, options=self.options, cwd=self.directory, **more)

    def compare(self, arguments, same=lambda finished: finished, displaces=False, **more):
        """Runs a program plain and recorded: same(its end) must be equal. Returns the trace. displaces: it sets a
        profile function, which on 3.11 ends the recording of C calls."""
        if isinstance(arguments, str):
            arguments = [self.write("app.py", arguments)]
        expected = same(e2e.plain(arguments, cwd=self.directory, **more))
        found = self.recorded(arguments, **more)
        is_displaced = displaces and self.profiles
        if is_displaced:
            self.assertEqual(found.err.count(DISPLACED), 1, found.err)
            found = found._replace(err=found.err.replace(DISPLACED, ""))
        self.assertEqual(same(found), expected)
        return self.converted(anomalies="exit was not recorded" if is_displaced else "")

    def printed(self, text, err=""):
        """What a program prints that records itself, with OPTIONS in its text."""
        program = self.write("app.py", text.replace("OPTIONS", f"engine={self.engine!r}, c_calls={self.c_calls}"))
        finished = e2e.plain([program], cwd=self.directory)
        self.assertEqual((finished.status, finished.err), (0, err), finished.out)
        return finished.out

    def run_script(self, text, *captures, **more):
        """The same, and the traces of its captures."""
        return self.printed(text, **more), *(self.converted(name) for name in captures or ["run.pnr"])


def in_each_way(case):
    """Makes of a class of tests one for each engine, with and without C calls."""
    for engine, c_calls in itertools.product(ENGINES, (False, True)):
        name = case.__name__ + engine.title() + ("CCalls" if c_calls else "")
        globals()[name] = type(name, (case, Engines), {"engine": engine, "c_calls": c_calls, "__module__": __name__})
    return case


def with_c_calls(case):
    """One for each engine, with C calls."""
    for engine in ENGINES:
        name = case.__name__ + engine.title()
        globals()[name] = type(name, (case, Engines), {"engine": engine, "c_calls": True, "__module__": __name__})
    return case


@in_each_way
class Profilers:
    COUNTED = """
        import cProfile
        def f(n):
            return n and f(n - 1) or len("x")
        def work():
            sorted([3, 1], key=abs)
            return [f(3) for _ in range(3)]
        def show(profile):
            for one in sorted(profile.getstats(), key=str):
                print(getattr(one.code, "co_qualname", one.code), one.callcount, one.reccallcount)
        """

    def test_cprofile_runs_the_program(self):
        program = self.write("app.py", """
            def f(n): return n and f(n - 1) or len("x")
            def generate():
                yield f(3)
                yield [].append(1)
            list(generate())
            try:
                int("x")
            except ValueError:
                f(2)
            """)
        number = re.compile(r"\d+\.\d+|0x[0-9a-f]+")

        def without_times(finished):
            return finished.status, sorted(number.sub("", finished.out).splitlines()), finished.err

        trace = self.compare(["-m", "cProfile", program], same=without_times, displaces=True)
        self.assertEqual((trace.count()["__main__.f"], trace.count()["__main__.generate"]), (7, 3))

    def test_cprofile_in_the_program(self):
        trace = self.compare(self.COUNTED + """
        profile = cProfile.Profile()
        profile.enable()
        work()
        profile.disable()
        show(profile)
        print(profile.runcall(work))
        show(profile)
        work()
        """, displaces=True)
        self.assertEqual((trace.count()["__main__.work"], trace.count()["__main__.f"]), (3, 36))

    def test_cprofile_and_parts_of_the_program(self):
        """It is there before and during a recording, that before and during it."""
        text = self.COUNTED + """
        import panopticon_rec
        profile = cProfile.Profile()
        profile.enable()
        work()
        with panopticon_rec.Recorder("run.pnr", OPTIONS):
            work()
            profile.disable()
            work()
            other = cProfile.Profile()
            other.enable()
            work()
        work()
        other.disable()
        show(other)
        print(*(one.callcount for one in profile.getstats() if getattr(one.code, "co_name", "") == "work"))
        """
        out = self.printed(text, err=DISPLACED if self.profiles else "")
        counts = dict(line.rsplit(" ", 2)[:2] for line in out.splitlines()[:-1])
        self.assertEqual((out.splitlines()[-1], counts["work"], counts["f"]), ("2", "2", "24"))
        trace = self.converted(anomalies="exit was not recorded" if self.profiles else "")
        self.assertEqual((trace.count()["__main__.work"], trace.count()["__main__.f"]), (3, 36))

    @unittest.skipIf(HAS_MONITORING, "C calls do not come from a profile function")
    def test_profile_functions_displace_ours(self):
        """The program's wins, in whichever thread it is; the recorder reports that once."""
        for where in ("sys.setprofile(profile); f()",
                      "t = threading.Thread(target=lambda: sys.setprofile(profile)); t.start(); t.join()",
                      "threading.setprofile(profile); t = threading.Thread(target=f); t.start(); t.join()",
                      "sys.setprofile(profile); sys.setprofile(None)"):
            with self.subTest(where=where):
                program = self.write("app.py", f"import sys, threading\ndef f(): return len('x')\n"
                                               f"def profile(*_): pass\nf()\nprint(sys.getprofile())\n{where}\n")
                finished = self.recorded([program])
                self.assertEqual(finished, e2e.Finished(0, "None\n", DISPLACED if self.c_calls else ""))
                trace = self.converted(anomalies="exit was not recorded" if self.c_calls else "")
                self.assertGreaterEqual(trace.count()["builtins.len"], self.c_calls)

    def test_nobody_is_displaced(self):
        """Threads that come and go, one that is still there at the end, a fork: there is nothing to report."""
        self.compare("""
            import os, sys, threading, warnings
            warnings.simplefilter("ignore")         # of forks beside threads that have just ended
            def f(): return len("x")
            for _ in range(5):
                thread = threading.Thread(target=f)
                thread.start()
                thread.join()
            if not os.fork():
                f()
                sys.exit()
            os.wait()
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            """)

    def test_nobody_is_displaced_by_a_thread_that_has_yet_to_begin(self):
        """Pauses come while threads are made: their states are there before their first events."""
        self.printed("""
            import _thread, panopticon_rec, sys, threading, time
            sys.setswitchinterval(1e-6)
            def churn():
                while not is_done:
                    _thread.start_new_thread(len, ("x",))
                    time.sleep(0)
            with panopticon_rec.Recorder("run.pnr", OPTIONS) as recorder:
                is_done = False
                churning = threading.Thread(target=churn)
                churning.start()
                for _ in range(500):
                    panopticon_rec.pause()
                    panopticon_rec.resume()
                    time.sleep(0)
                is_done = True
                churning.join()
            """)

    def test_nobody_is_displaced_in_a_pause(self):
        """Threads that end and begin in it; a profile function that comes and goes, or is there at the stop."""
        out, trace = self.run_script("""
            import panopticon_rec, sys, threading
            def f(): return "x".casefold()
            def wait(ready, event):
                ready.set()
                event.wait()
                f()
            def started():
                ready, event = threading.Event(), threading.Event()
                thread = threading.Thread(target=wait, args=(ready, event))
                thread.start()
                ready.wait()
                return thread, event
            def end(thread, event):
                event.set()
                thread.join()
            with panopticon_rec.Recorder("run.pnr", OPTIONS) as recorder:
                ends = started()
                panopticon_rec.pause()
                end(*ends)
                end(*started())
                goes_on = started()
                sys.setprofile(lambda *_: None)
                f()
                sys.setprofile(None)
                panopticon_rec.resume()
                end(*goes_on)
                panopticon_rec.pause()
                sys.setprofile(lambda *_: None)
                f()
            print(sys.getprofile() is None)
            """)
        self.assertEqual(out, "False\n")
        self.assertEqual((trace.count()["__main__.f"], trace.count()["str.casefold"]), (1, self.c_calls))


@in_each_way
class TraceFunctions:
    PROGRAM = """
        import sys, threading
        seen = []
        def f(n):
            if n:
                f(n - 1)
            return len("x")
        def generate():
            yield f(1)
        def work():
            f(2)
            list(generate())
            sorted([1, 2], key=f)
            try:
                int("x")
            except ValueError:
                f(0)
        def trace(frame, event, arg):
            if frame.f_code.co_filename == __file__:
                seen.append((frame.f_code.co_name, event, frame.f_lineno))
            return trace
        def profile(frame, event, arg):
            # Where C calls are recorded that of setprofile itself has an end.
            if frame.f_code.co_filename == __file__ and (event, arg) != ("c_return", sys.setprofile):
                seen.append((frame.f_code.co_name, event, getattr(arg, "__name__", None)))
        def in_thread():
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        """

    def test_settrace(self):
        self.compare(self.PROGRAM + """
        work()
        sys.settrace(trace)
        work()
        sys.settrace(None)
        work()
        threading.settrace(trace)
        in_thread()
        threading.settrace(None)
        in_thread()
        if sys.version_info >= (3, 12):
            threading.settrace_all_threads(trace)
            work()
            threading.settrace_all_threads(None)
        work()
        print(*seen, sep="\\n")
        """)

    def test_setprofile(self):
        self.compare(self.PROGRAM + """
        work()
        sys.setprofile(profile)
        work()
        sys.settrace(trace)
        work()
        sys.setprofile(None)
        work()
        sys.settrace(None)
        work()
        threading.setprofile(profile)
        in_thread()
        threading.setprofile(None)
        in_thread()
        if sys.version_info >= (3, 12):
            threading.setprofile_all_threads(profile)
            work()
            threading.setprofile_all_threads(None)
        work()
        print(*seen, sep="\\n")
        """, displaces=True)

    def test_they_raise(self):
        """An exception out of a trace function at a function's entry or exit leaves the function; nothing is left open
        by that, and nothing is left twice."""
        text = """
            import sys
            def f(n):
                if n:
                    return f(n - 1)
                return leaf()
            def leaf(): pass
            def generate():
                yield f(2)
                yield leaf()
            def work():
                f(3)
                for _ in generate(): leaf()
            def raising(frame, event, arg):
                global n
                if event == WHICH and frame.f_code.co_name in ("f", "leaf", "generate"):
                    n -= 1
                    if not n: raise KeyError
                return raising
            for k in range(1, 9):
                n = k
                sys.SET(raising)
                try:
                    work()
                except KeyError:
                    print(k)
                sys.SET(None)
            """
        for which, name in itertools.product(("call", "return"), ("settrace", "setprofile")):
            with self.subTest(which=which, name=name):
                self.compare(text.replace("WHICH", repr(which)).replace("SET", name),
                                  displaces=name == "setprofile")

    def test_pdb(self):
        program = self.write("app.py", """
            def f(n):
                if n:
                    return f(n - 1)
                return len("x")
            def generate():
                yield f(1)
                yield 2
            def main():
                f(3)
                for x in generate():
                    sorted([2, 1], key=f)
                print("end")
            main()
            """)
        for commands in ("s s s s s n n r c q", "b_f c s u d w c c q", "b_generate c s s q", "b_4 c r r r q"):
            with self.subTest(commands=commands):
                stdin = commands.replace(" ", "\n").replace("_", " ").encode() + b"\n"
                trace = self.compare(["-m", "pdb", program], stdin=stdin)
                self.assertGreaterEqual(trace.count()["__main__.f"], 1)
                self.assertIn("(Pdb)", e2e.plain(["-m", "pdb", program], stdin=stdin).out)

    @unittest.skipUnless(importlib.util.find_spec("coverage"), "there is no package coverage")
    def test_coverage(self):
        program = self.write("app.py", """
            def f(n):
                if n > 5:
                    print("never")
                return n and f(n - 1)
            def generate():
                yield f(3)
            list(generate())
            """)
        for core in ("ctrace", "pytrace", "sysmon")[:3 if HAS_MONITORING else 2]:
            with self.subTest(core=core):
                env = {"COVERAGE_CORE": core, "COVERAGE_FILE": self.path("counted")}
                branch = [] if core == "sysmon" else ["--branch"]
                arguments = ["-m", "coverage", "run", *branch, program]

                def report():
                    finished = e2e.plain(["-m", "coverage", "report", "-m"], env=env, cwd=self.directory)
                    self.assertIn("app.py", finished.out)
                    return finished

                expected = e2e.plain(arguments, env=env, cwd=self.directory), report()
                self.assertEqual((self.recorded(arguments, env=env), report()), expected)
                self.assertEqual(self.converted().count()["__main__.f"], 4)


@in_each_way
@needs_monitoring
class Tools:
    """Other tools of sys.monitoring."""

    PROGRAM = """
        import sys
        monitoring, events = sys.monitoring, sys.monitoring.events
        log = []
        def f(n):
            if n:
                f(n - 1)
            return len("x")
        def loop():
            for _ in range(4):
                f(1)
        def generate():
            yield 1
            yield 2
        def work():
            loop()
            list(generate())
            sorted([2, 1], key=f)
            try:
                int("x")
            except ValueError:
                pass
        def listen(tool, name, result=None):
            def callback(code, *args):
                if code.co_filename == __file__ and code.co_name != "<module>":
                    log.append((name, code.co_name, args[0]))
                    return result
            monitoring.register_callback(tool, getattr(events, name), callback)
        """

    LOCAL = "PY_START", "PY_RESUME", "PY_RETURN", "PY_YIELD", "CALL", "LINE", "JUMP"
    OTHER = "PY_THROW", "PY_UNWIND", "RAISE"

    def test_same_events(self):
        """With DISABLE, restart_events and local events. Not C_RETURN and C_RAISE: specs/recording.md, section 4."""
        self.compare(self.PROGRAM + f"""
        LOCAL, OTHER = {self.LOCAL}, {self.OTHER}
        for tool in 0, 1, 2, 5:
            monitoring.use_tool_id(tool, "another")
            for name in LOCAL:
                listen(tool, name, monitoring.DISABLE if tool == 1 else None)
            for name in OTHER:
                listen(tool, name)
            monitoring.set_events(tool, sum(getattr(events, name) for name in (*LOCAL, *OTHER)))
            work()
            work()
            monitoring.restart_events()
            work()
            monitoring.set_events(tool, 0)
            monitoring.set_local_events(tool, f.__code__, events.PY_START | events.LINE)
            work()
            monitoring.set_local_events(tool, f.__code__, 0)
            work()
            monitoring.free_tool_id(tool)
        work()
        print(*log, sep="\\n")
        """)

    def test_disabled_events_remain_disabled(self):
        """A second recording does not bring back what another tool has had enough of."""
        out, *_ = self.run_script(self.PROGRAM + """
        import panopticon_rec
        monitoring.use_tool_id(1, "another")
        listen(1, "PY_START", monitoring.DISABLE)
        monitoring.set_events(1, events.PY_START)
        for _ in range(3):
            with panopticon_rec.Recorder("run.pnr", OPTIONS):
                work()
            print(len(log))
        """, "run.pnr", "run-2.pnr", "run-3.pnr")
        self.assertEqual(out.split(), ["4", "4", "4"])

    def test_they_raise(self):
        """At an entry or an exit, in a callback that comes before ours or after it."""
        text = self.PROGRAM + """
        def work():
            f(3)
            for _ in generate():
                len("x")
        def callback(code, *args):
            global n
            if code.co_filename == __file__ and code.co_name in ("f", "generate"):
                n -= 1
                if not n:
                    raise KeyError
        for tool in 0, 5:
            monitoring.use_tool_id(tool, "another")
            for name in "PY_START", "PY_RESUME", "PY_RETURN", "PY_YIELD", "PY_THROW", "LINE":
                monitoring.register_callback(tool, getattr(events, name), callback)
                for k in range(1, 7):
                    n = k
                    monitoring.set_events(tool, getattr(events, name))
                    try:
                        work()
                    except KeyError:
                        print(tool, name, k)
                    monitoring.set_events(tool, 0)
            monitoring.free_tool_id(tool)
        """
        trace = self.compare(text)
        outermost = {one.parent and one.parent.function.name for one in trace.named("__main__.work")}
        self.assertEqual(outermost, {"__main__.<module>"})


HOOK = """
    #include <Python.h>

    static _PyFrameEvalFunction below;
    static long n;

    PyObject *_PyEval_EvalFrameDefault(PyThreadState *ts, struct _PyInterpreterFrame *f, int throwflag);

    static PyObject *hook(PyThreadState *ts, struct _PyInterpreterFrame *f, int throwflag)
    {
        n++;
        return below(ts, f, throwflag);
    }

    /* Takes no notice of what was there before. */
    static PyObject *alone(PyThreadState *ts, struct _PyInterpreterFrame *f, int throwflag)
    {
        n++;
        return _PyEval_EvalFrameDefault(ts, f, throwflag);
    }

    static PyObject *replace(PyObject *self, PyObject *unused)
    {
        _PyInterpreterState_SetEvalFrameFunc(PyInterpreterState_Get(), alone);
        Py_RETURN_NONE;
    }

    static PyObject *set(PyObject *self, PyObject *unused)
    {
        below = _PyInterpreterState_GetEvalFrameFunc(PyInterpreterState_Get());
        _PyInterpreterState_SetEvalFrameFunc(PyInterpreterState_Get(), hook);
        Py_RETURN_NONE;
    }

    static PyObject *unset(PyObject *self, PyObject *unused)
    {
        _PyInterpreterState_SetEvalFrameFunc(PyInterpreterState_Get(), below);
        Py_RETURN_NONE;
    }

    static PyObject *count(PyObject *self, PyObject *unused)
    {
        long counted = n;
        n = 0;
        return PyLong_FromLong(counted);
    }

    static PyMethodDef methods[] = {
        { "set", set, METH_NOARGS, NULL }, { "replace", replace, METH_NOARGS, NULL },
        { "unset", unset, METH_NOARGS, NULL }, { "count", count, METH_NOARGS, NULL },
        { 0 }
    };

    static PyModuleDef definition = { PyModuleDef_HEAD_INIT, .m_name = "hook", .m_size = -1, .m_methods = methods };

    PyMODINIT_FUNC PyInit_hook(void) { return PyModule_Create(&definition); }
    """


@in_each_way
@unittest.skipUnless(shutil.which("gcc"), "there is no compiler")
class FrameHooks:
    """Another frame evaluation function (PEP 523)."""

    PROGRAM = """
        import hook
        def f(n):
            return n and f(n - 1)
        def work():
            return [f(3) for _ in generate()]
        def generate():
            yield 1
            yield 2
        """

    def setUp(self):
        super().setUp()
        finished = e2e.run(["gcc", "-shared", "-fPIC", "-I", sysconfig.get_path("include"), "-o", self.path("hook.so"),
                            self.write("hook.c", HOOK)])
        self.assertEqual(finished.status, 0, finished.err)

    def test_during_recording(self):
        trace = self.compare(self.PROGRAM + """
        work()
        hook.set()
        work()
        print(hook.count())
        hook.unset()
        work()
        print(hook.count())
        """)
        self.assertEqual((trace.count()["__main__.work"], trace.count()["__main__.f"]), (3, 24))

    def test_it_is_kept(self):
        trace = self.compare(self.PROGRAM + "hook.set()\n        work()\n")
        self.assertEqual((trace.count()["__main__.work"], trace.count()["__main__.f"]), (1, 8))

    def test_before_recording(self):
        out, trace = self.run_script(self.PROGRAM + """
        import panopticon_rec
        hook.set()
        work()
        alone = hook.count()
        recorder = panopticon_rec.Recorder("run.pnr", OPTIONS)
        recorder.start()
        hook.count()
        work()
        assert hook.count() == alone, alone
        recorder.stop()
        hook.count()
        work()
        assert hook.count() == alone
        hook.unset()
        work()
        assert hook.count() == 0
        """)
        self.assertEqual((trace.count()["__main__.work"], trace.count()["__main__.f"]), (1, 8))

    def counts(self, trace):
        return trace.count()["__main__.work"], trace.count()["__main__.f"], trace.count()["__main__.generate"]

    def test_in_a_pause(self):
        """What is installed then does not call ours; what was there before may. It sees each frame once."""
        for function in "set", "replace":
            trace = self.compare(f"""{self.PROGRAM}
        import sys
        def change(what):
            if "panopticon_rec._recorder" in sys.modules: getattr(sys.modules["panopticon_rec"], what)()
        work()
        change("pause")
        hook.{function}()
        work()
        change("resume")
        hook.count()
        work()
        print(hook.count())
        for _ in range(3):
            change("pause")
            work()
            change("resume")
            hook.count()
            work()
            print(hook.count())
            """)
            self.assertEqual(self.counts(trace), (5, 40, 15))
            self.assertNotIn("missing     another", e2e.run([e2e.CONVERT, "--info", self.path("run.pnr")]).out)

    def test_before_the_first_resume(self):
        for function in "set", "replace":
            options = self.options
            self.options = [*options, "--start-paused"]
            trace = self.compare(f"""{self.PROGRAM}
        import sys
        hook.{function}()
        if "panopticon_rec._recorder" in sys.modules: sys.modules["panopticon_rec"].resume()
        hook.count()
        work()
        print(hook.count())
            """)
            self.options = options
            self.assertEqual(self.counts(trace), (1, 8, 3))

    def test_below_a_deep_stack(self):
        """While the hook of ours is off, and it is put on again."""
        for function in "set", "replace":
            trace = self.compare(f"""{self.PROGRAM}
        import sys
        sys.setrecursionlimit(30_000)
        def down(n):
            if n: down(n - 1)
            else: hook.{function}()
        down(10_000)
        hook.count()
        work()
        print(hook.count())
            """)
            self.assertEqual(trace.count()["[not recorded]"], self.engine == "frame")
            self.assertEqual(self.counts(trace), (1, 8, 3))

    def test_it_replaces_ours(self):
        """Calls are missing until that is noticed, and that is reported; or none are."""
        text = f"""{self.PROGRAM}
        import time
        def warm():
            work()
        warm()
        hook.replace()
        warm()
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            time.sleep(0.01)
        hook.count()
        for _ in range(100):
            warm()
        print(hook.count())
            """
        for seconds in 0, 3:
            path = self.write("app.py", text.replace("SECONDS", str(seconds)))
            found = self.recorded([path])
            self.assertEqual(found[:2], e2e.plain([path], cwd=self.directory)[:2])
            trace = self.converted(anomalies="missing|exit was not recorded")
            works = trace.count()["__main__.work"]
            reported = e2e.run([e2e.CONVERT, "--info", self.path("run.pnr")]).out
            if self.engine == "monitoring":
                self.assertEqual((works, found.err), (102, ""))
                continue
            line = "another tool replaced the frame evaluation function"
            self.assertEqual(found.err, f"panopticon: {line} while recording: calls may be missing\n")
            self.assertIn(f"missing     {line}\n", reported)
            self.assertGreaterEqual(works, 101 if seconds else 1)

    def test_it_replaces_ours_before_a_pause(self):
        """Whether it calls ours is seen at the first call after the pause."""
        for function, is_missing in ("set", False), ("replace", True):
            for end in "resume", "stop":
                path = self.write("app.py", f"""{self.PROGRAM}
        import panopticon_rec
        from panopticon_rec import _recorder
        recorder = panopticon_rec.Recorder("run.pnr", engine={self.engine!r}, c_calls={self.c_calls}).start()
        work()
        hook.{function}()
        _recorder.pause()
        if {end == "resume"}:
            _recorder.resume()
            work()
        recorder.stop()
            """)
                shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
                finished = e2e.plain([path], cwd=self.directory)
                is_reported = self.engine == "frame" and (is_missing or end == "stop")
                line = "another tool replaced the frame evaluation function"
                report = f"panopticon: {line} while recording: calls may be missing\n"
                self.assertEqual(finished, (0, "", report * is_reported))
                self.assertEqual(line in e2e.run([e2e.CONVERT, "--info", self.path("run.pnr")]).out, is_reported)
                self.assertEqual(self.converted(anomalies="missing").count()["__main__.work"], 1 + (end == "resume"))

    def test_it_replaces_ours_before_a_fork(self):
        """The child is recorded from its first call on."""
        path = self.write("app.py", f"""{self.PROGRAM}
        import os
        def in_child(): work()
        hook.replace()
        pid = os.fork()
        if not pid:
            in_child()
            os._exit(0)
        print(os.waitpid(pid, 0)[1])
            """)
        self.assertEqual(self.recorded([path])[:2], (0, "0\n"))
        self.assertEqual(self.converted(anomalies="missing").count()["__main__.in_child"], 1)

    def test_two_tools(self):
        """One that replaces ours and is called, then, by one that calls what was there."""
        trace = self.compare(f"""{self.PROGRAM}
        import sys, time
        def change(what):
            if "panopticon_rec._recorder" in sys.modules: getattr(sys.modules["panopticon_rec"], what)()
        change("pause")
        hook.replace()
        change("resume")
        work()
        hook.set()
        hook.count()
        work()
        print(hook.count())
        time.sleep(0.3)
        for _ in range(10):
            hook.count()
            work()
            print(hook.count())
            """)
        self.assertEqual(self.counts(trace), (12, 96, 36))


@needs_monitoring
class ToolNumbers(Engines):
    """The recorder's number of sys.monitoring is freed by another tool, and perhaps taken by a third."""

    LINE = "another tool freed the recorder's tool number of sys.monitoring"
    PROGRAM = """
        import sys, time, panopticon_rec
        monitoring = sys.monitoring
        def f(): return len("x")
        def work():
            for _ in range(10): f()
        def wait(seconds):
            until = time.monotonic() + seconds
            while time.monotonic() < until: time.sleep(0.01)
        def ours():
            numbers = [n for n in range(6) if monitoring.get_tool(n) == "panopticon"]
            return numbers[0] if numbers else None
        def seen(code, offset): calls.append(code.co_name)
        def free(takes):
            number = ours()
            monitoring.free_tool_id(number)
            if takes:
                monitoring.use_tool_id(number, "another")
                monitoring.register_callback(number, monitoring.events.PY_START, seen)
                monitoring.set_events(number, monitoring.events.PY_START)
            return number
        calls = []
        recorder = panopticon_rec.Recorder("run.pnr", OPTIONS)
        recorder.start()
        """

    def each(self):
        for self.engine, self.c_calls in ("monitoring", False), ("monitoring", True), ("frame", True):
            for takes in False, True:
                with self.subTest(engine=self.engine, c_calls=self.c_calls, takes=takes):
                    shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
                    yield takes

    def info(self):
        return e2e.run([e2e.CONVERT, "--info", self.path("run.pnr")]).out

    def test_while_recording(self):
        """Events come again, and a message reports that some may be missing."""
        for takes in self.each():
            self.printed(f"""{self.PROGRAM}
        work()
        number = free({takes})
        wait(2)
        work()
        recorder.stop()
        assert ours() is None
        assert monitoring.get_tool(number) == ("another" if {takes} else None)
        if {takes}:
            calls.clear()
            f()
            assert calls == ["f"], calls
            """, err=f"panopticon: {self.LINE} while recording: calls may be missing\n")
            self.assertIn(f"missing     {self.LINE}\n", self.info())
            trace = self.converted(anomalies="missing|exit was not recorded|without a matching entry")
            name = "builtins.len" if self.c_calls else "__main__.f"
            self.assertGreaterEqual(len([one for one in trace.named(name)]), 20)

    def test_to_the_end(self):
        for takes in self.each():
            self.printed(f"""{self.PROGRAM}
        work()
        number = free({takes})
        recorder.stop()
        assert monitoring.get_tool(number) == ("another" if {takes} else None)
            """, err=f"panopticon: {self.LINE} while recording: calls may be missing\n")
            self.assertIn(f"missing     {self.LINE}\n", self.info())

    def test_before_a_pause(self):
        for takes in self.each():
            self.printed(f"""{self.PROGRAM}
        work()
        number = free({takes})
        panopticon_rec.pause()
        panopticon_rec.resume()
        work()
        recorder.stop()
            """, err=f"panopticon: {self.LINE} while recording: calls may be missing\n")
            self.assertIn(f"missing     {self.LINE}\n", self.info())

    def test_in_a_pause(self):
        """Another number is taken, and nothing is missing."""
        for takes in self.each():
            self.printed(f"""{self.PROGRAM}
        work()
        panopticon_rec.pause()
        number = free({takes})
        panopticon_rec.resume()
        work()
        recorder.stop()
        assert ours() is None
        assert monitoring.get_tool(number) == ("another" if {takes} else None)
            """)
            self.assertNotIn(self.LINE, self.info())
            trace = self.converted()
            self.assertEqual(trace.count()["__main__.f"], 20)
            self.assertEqual(trace.count()["builtins.len"], 20 if self.c_calls else 0)


@needs_monitoring
class CodeObjects(Engines):
    """Events of single code objects: they follow recordings, pauses, filters and the ends of code objects."""

    PROGRAM = """
        import gc, panopticon_rec, sys
        monitoring = sys.monitoring
        def f(n): return n and f(n - 1) or len("x")
        def g(): return len("y")
        def generate():
            yield 1
            yield 2
        def work():
            f(2)
            g()
            list(generate())
        def numbers(): return [n for n in range(6) if monitoring.get_tool(n) == "panopticon"]
        def has_events(): return any(monitoring.get_local_events(n, f.__code__) for n in numbers())
        def is_clean():
            for n in 3, 4, 5:
                monitoring.use_tool_id(n, "probe")
                if any(monitoring.get_local_events(n, one.__code__) for one in (f, g, generate, work)):
                    return False
                monitoring.free_tool_id(n)
            return True
        """
    ways = ("monitoring", False), ("monitoring", True), ("frame", True)

    def each(self):
        for self.engine, self.c_calls in self.ways:
            with self.subTest(engine=self.engine, c_calls=self.c_calls):
                for name in os.listdir(self.directory):
                    if name.endswith(".pnr"):
                        shutil.rmtree(self.path(name))
                yield

    def test_pause_and_end(self):
        for _ in self.each():
            out = self.printed(self.PROGRAM + """
        with panopticon_rec.Recorder("run.pnr", OPTIONS):
            work()
            print(len(numbers()), has_events())
            panopticon_rec.pause()
            print(has_events())
            work()
            panopticon_rec.resume()
            work()
            print(has_events())
        print(len(numbers()), is_clean())
        """)
            self.assertEqual(out.splitlines(), ["2 True", "False", "True", "0 True"])
            counts = self.converted().count()
            self.assertEqual([counts[f"__main__.{name}"] for name in ("work", "f", "g", "generate")], [2, 6, 2, 6])
            self.assertEqual(counts["builtins.len"], 5 if self.c_calls else 0)

    def test_filters_of_each_recording(self):
        """Code that an earlier recording excluded is in a later one that does not, and the other way round."""
        for _ in self.each():
            excluded = "", "__main__.f", "__main__.g", ""
            out = self.printed(self.PROGRAM + f"""
        for name in {excluded}:
            with panopticon_rec.Recorder("run.pnr", OPTIONS, filters=["exclude " + name] if name else []):
                work()
        """.replace("OPTIONS", f"engine={self.engine!r}, c_calls={self.c_calls}"))
            self.assertEqual(out, "")
            for k, name in enumerate(excluded):
                counts = self.converted("run.pnr" if k == 0 else f"run-{k + 1}.pnr").count()
                for function, n in ("__main__.f", 3), ("__main__.g", 1), ("__main__.generate", 3):
                    self.assertEqual(counts[function], 0 if function == name else n, (k, function))
                self.assertEqual(counts["builtins.len"], 2 if self.c_calls else 0)

    def test_code_that_goes(self):
        """It is not kept alive, and what comes to lie in its place is noted anew."""
        for _ in self.each():
            self.printed(self.PROGRAM + """
        import weakref
        def make(k):
            made = {}
            exec(f"def made{k % 7}(n):\\n    return len('x') + {k} * n", made)
            return made[f"made{k % 7}"]
        with panopticon_rec.Recorder("run.pnr", OPTIONS):
            for k in range(3000):
                function = make(k)
                function(1)
                if k % 100 == 0:        # its globals refer to it
                    code = weakref.ref(function.__code__)
                    del function
                    gc.collect()
                    assert code() is None
            kept = [make(k) for k in range(3000)]
            for function in kept: function(1)
            del kept, function
        """)
            counts = self.converted().count()
            self.assertEqual(sum(n for name, n in counts.items() if ".made" in name), 6000)
            self.assertEqual(counts["builtins.len"], 6000 if self.c_calls else 0)

    def test_alongside_another_tool(self):
        """Which has global and local events, DISABLE and restart_events, while recording begins, pauses and ends. Not
        LINE: without PY_START, CPython reports it for the first line only if there is a second tool."""
        text = self.PROGRAM + """
        def listen(tool, name, result):
            def callback(code, *args):
                if code.co_filename == __file__ and code in (f.__code__, g.__code__, generate.__code__):
                    log.append((name, code.co_name, args[0]))
                    return result
            monitoring.register_callback(tool, getattr(monitoring.events, name), callback)
        LOCAL = "PY_START", "PY_RESUME", "PY_RETURN", "PY_YIELD"
        def bits(names): return sum(getattr(monitoring.events, name) for name in names)
        def watch(result, names, code):
            for name in LOCAL: listen(1, name, result)
            monitoring.set_events(1, 0 if code else bits(names))
            for one in f, g, generate:
                monitoring.set_local_events(1, one.__code__, bits(names) if one.__code__ is code else 0)
        class Nothing:
            def __enter__(self): return self
            def __exit__(self, *exception): pass
        def record(): return panopticon_rec.Recorder("run.pnr", OPTIONS) if records else Nothing()
        def pause(): records and panopticon_rec.pause()
        def resume(): records and panopticon_rec.resume()
        def all():
            monitoring.use_tool_id(1, "another")
            for result in None, monitoring.DISABLE:
                for code in None, f.__code__, generate.__code__:
                    for names in LOCAL, LOCAL[:1], LOCAL[2:4]:
                        watch(result, names, code)
                        work()
                        with record():
                            work()
                            monitoring.restart_events()
                            work()
                            pause()
                            work()
                            resume()
                            watch(result, names[1:], code)
                            work()
                        monitoring.restart_events()
                        work()
                        monitoring.set_events(1, 0)
            monitoring.free_tool_id(1)
        records, log = RECORDS, []
        all()
        print(*log, sep="\\n")
        """
        for _ in self.each():
            plain, recorded = (self.printed(text.replace("RECORDS", records)) for records in ("False", "True"))
            self.assertGreater(len(plain.splitlines()), 200)
            self.assertEqual(plain, recorded)
            names = [name for name in os.listdir(self.directory) if name.endswith(".pnr")]
            self.assertEqual(len(names), 18)
            for name in names:
                counts = self.converted(name).count()
                self.assertEqual([counts[f"__main__.{name}"] for name in ("work", "f", "g", "generate")], [3, 9, 3, 9])
                self.assertEqual(counts["builtins.len"], 6 if self.c_calls else 0)

    def test_exceptions_of_excluded_functions(self):
        """They leave frames that have no events, between others that have."""
        for _ in self.each():
            out = self.printed(self.PROGRAM + """
        def raises(): raise KeyError
        def quiet(n):
            if n: quiet(n - 1)
            else: raises()
        def catches():
            try: quiet(3)
            except KeyError: return g()
        filters = ["exclude __main__.quiet"]
        with panopticon_rec.Recorder("run.pnr", OPTIONS, filters=filters):
            for _ in range(3): catches()
        """)
            self.assertEqual(out, "")
            trace = self.converted()
            self.assertEqual([trace.count()[f"__main__.{name}"] for name in ("raises", "quiet", "catches", "g")],
                             [3, 0, 3, 3])
            for name in "raises", "g":
                self.assertEqual({one.parent.function.name for one in trace.named(f"__main__.{name}")}, {"__main__.catches"})


@unittest.skipUnless(hasattr(sys, "activate_stack_trampoline"), "there is no stack trampoline")
class Trampoline(Engines):
    PROGRAM = """
        import os, sys
        def f(n): return n and f(n - 1)
        def show(): print(sys.is_stack_trampoline_active(), flush=True)
        def main():
            show()
            f(1)
            sys.activate_stack_trampoline("perf")
            show()
            f(2)
            pid = os.fork()
            if not pid:
                show()
                f(3)
                os._exit(0)
            os.waitpid(pid, 0)
            f(4)
            sys.deactivate_stack_trampoline()
            show()
            f(5)
            for bad in (), ("other",), (1,):
                try: sys.activate_stack_trampoline(*bad)
                except (TypeError, ValueError) as error: print(error)
        main()
        """

    def test_the_program_gets_it(self):
        for self.engine, self.c_calls in itertools.product(ENGINES, (False, True)):
            self.setUp()
            for flags in [], ["-X", "perf"]:
                path = self.write("app.py", self.PROGRAM)
                alone = e2e.plain([path], flags, cwd=self.directory)
                found = self.recorded([path], flags=flags)
                self.assertEqual(found, alone)
                if alone.status < 0:
                    continue            # a fault of CPython's own (3.14)
                counts = collections.Counter((one.thread[0], one.function.name) for one in self.converted().slices)
                f = sorted(n for (_, name), n in counts.items() if name == "__main__.f")
                self.assertEqual(f, [4, 2 + 3 + 5 + 6])
                reported = e2e.run([e2e.CONVERT, "--info", self.path("run.pnr")]).out
                engines = re.findall(r"engine +(.*)", reported)
                changed = "frame, then monitoring" if self.engine == "frame" and not flags else "monitoring"
                self.assertEqual(sorted(engines), sorted([changed, "monitoring"]))

    def test_no_number_is_free(self):
        """The recorder reports that it cannot go on."""
        path = self.write("app.py", """
            import sys
            def f(n): return n and f(n - 1)
            for number in range(6): sys.monitoring.use_tool_id(number, "another")
            f(1)
            sys.activate_stack_trampoline("perf")
            f(2)
            sys.deactivate_stack_trampoline()
            """)
        self.assertEqual(e2e.plain([path]), e2e.Finished(0, "", ""))
        found = self.recorded([path])
        self.assertEqual((found.status, found.out), (0, ""))
        self.assertRegex(found.err, r"^panopticon: .*stack trampoline.*: calls may be missing\n$")
        self.assertEqual(self.converted().count()["__main__.f"], 2)


# What pybind11 does (pybind11.h, cpp_function).
BOUND = """
    #include <Python.h>
    static PyObject *function(PyObject *self, PyObject *args, PyObject *names) { return Py_NewRef(Py_None); }
    static PyMethodDef call = { "call", (PyCFunction)(void *)function, METH_VARARGS | METH_KEYWORDS, NULL };
    static PyMethodDef method = { "method", (PyCFunction)(void *)function, METH_VARARGS | METH_KEYWORDS, NULL };
    static int fill(PyObject *module)
    {
        PyObject *name = PyUnicode_FromString(NAME);
        PyObject *class = PyObject_CallFunction((PyObject *)&PyType_Type, "s(){}", "Class");
        PyObject *self = PyCapsule_New(&call, "record", NULL);
        PyObject_SetAttrString(module, "call", PyCFunction_NewEx(&call, self, name));
        PyObject_SetAttrString(class, "method", PyCFunction_NewEx(&method, self, name));
        return PyObject_SetAttrString(module, "Class", class);
    }
    static PyModuleDef_Slot slots[] = { { Py_mod_exec, fill }, { 0 } };
    static PyModuleDef definition = { PyModuleDef_HEAD_INIT, NAME, "", 0, NULL, slots };
    PyMODINIT_FUNC INIT(void) { return PyModuleDef_Init(&definition); }
    """


@with_c_calls
class CCalls:
    def below(self, trace, function):
        """All that is in the slices of a function, each with its path from there: "sorted>key>abs"."""
        for one in trace.slices:
            names, each = [], one
            while each and each.function.name != function:
                names.append(each.function.name.rpartition(".")[2])
                each = each.parent
            if each and names:
                yield one, ">".join(reversed(names))

    def test_names(self):
        text = """
            import functools, re, socket, sys, time
            class Text(str):
                class Inner(dict): pass
            def f():
                print("x")
                [].append(1)
                a, b = PAIR
                a.send(b"x")
                b.recv(1)
                dict.fromkeys("ab")
                bytes.maketrans(b"a", b"b")
                ",".join("ab")
                Text(",").join("ab")
                str.join(",", "ab")
                str.join(Text(","), "ab")
                Text.Inner.fromkeys("a")
                Text.mro()
                object().__dir__()
                time.monotonic()
                sys.stdout.flush()
                len(*("x",))
                max(1, 2, **{"key": abs})
                (lambda: 0).__get__(1)
            PAIR = socket.socketpair()
            f()
            """
        expected = ["builtins.print", "list.append", "socket.socket.send", "socket.socket.recv", "dict.fromkeys",
                    "bytes.maketrans", "str.join", "__main__.Text.join", "str.join", "__main__.Text.join",
                    "__main__.Text.Inner.fromkeys", "__main__.Text.mro", "object.__dir__", "time.monotonic",
                    "_io.TextIOWrapper.flush", "builtins.len", "builtins.max"]
        finished = self.recorded([self.write("app.py", text)])
        trace = self.converted()
        self.assertEqual(finished, e2e.Finished(0, "x\n", ""))
        inside = [one for one, path in self.below(trace, "__main__.f") if ">" not in path]
        self.assertEqual([one.function.name for one in inside if one.function.cat == "c_function"], expected)
        self.assertEqual({one.flags for one in inside}, {frozenset()})

    @unittest.skipUnless(shutil.which("gcc"), "there is no compiler")
    def test_names_of_bound_functions(self):
        """Functions as pybind11 makes them, of two modules: self is an object of its own, and __module__ is a str."""
        for name in "one", "two":
            finished = e2e.run(["gcc", "-shared", "-fPIC", "-I", sysconfig.get_path("include"), f"-DINIT=PyInit_{name}",
                                f'-DNAME="{name}"', "-o", self.path(f"{name}.so"), self.write("bound.c", BOUND)])
            self.assertEqual(finished.status, 0, finished.err)
        path = self.write("app.py", """
            import cProfile, one, sys, two
            def f(): one.call(), two.call(), one.Class().method(), two.Class.method()
            if sys.argv[1:]:
                profile = cProfile.Profile()
                profile.runcall(f)
                profile.create_stats()
                print(*(name for _, _, name in profile.stats if name.endswith((".call>", ".method>"))))
            else:
                f()
            """)
        self.assertEqual(self.recorded([path]), e2e.Finished(0, "", ""))
        names = [one.function.name for one, path in self.below(self.converted(), "__main__.f") if ">" not in path]
        self.assertEqual(names, ["one.call", "two.call", "one.method", "two.method"])
        shown = e2e.plain([path, "cProfile"], cwd=self.directory).out
        self.assertEqual(sorted(shown.replace("<built-in method ", "").replace(">", "").split()), sorted(names))

    def test_callbacks_nest(self):
        text = """
            import functools, re
            def key(x): return abs(x)
            def add(x, y): return len((x, y))
            def double(match): return match.group().upper()
            def generate(): yield len("x")
            PATTERN = re.compile("a")
            def f():
                sorted([1], key=key)
                functools.reduce(add, [1, 2])
                PATTERN.sub(double, "a")
                next(generate())
                max([1], key=lambda x: sorted([x], key=key))
                iterator = map(key, [1, 2])
                next(iterator)
            f()
            """
        self.recorded([self.write("app.py", text)])
        trace = self.converted()
        paths = [path for name in ("builtins.abs", "builtins.len", "str.upper")
                 for one, path in self.below(trace, "__main__.f") if one.function.name == name and ">" in path]
        self.assertEqual(paths, ["sorted>key>abs", "max><lambda>>sorted>key>abs", "next>key>abs", "reduce>add>len",
                                 "next>generate>len", "sub>double>upper"])

    def test_exceptions_are_marked(self):
        text = """
            def f():
                for call in (lambda: int.from_bytes("x"), lambda: {}.pop(1), lambda: [].index(1), lambda: len(5),
                             lambda: max([1], key=lambda x: len(5)), lambda: next(iter([]))):
                    try: call()
                    except Exception: pass
                len("x")
            f()
            """
        self.recorded([self.write("app.py", text)])
        trace = self.converted()
        flags = collections.Counter((one.function.name, "exception" in one.flags)
                                    for one, _ in self.below(trace, "__main__.f") if one.function.cat == "c_function")
        expected = {("int.from_bytes", True): 1, ("dict.pop", True): 1, ("list.index", True): 1,
                    ("builtins.len", True): 2, ("builtins.len", False): 1, ("builtins.max", True): 1,
                    ("builtins.next", True): 1, ("builtins.iter", False): 1}
        self.assertEqual({key: flags[key] for key in expected}, expected)

    def test_bound_methods_of_the_program(self):
        """Those that types.MethodType makes of C functions are taken apart by the interpreter, or not."""
        text = """
            import types
            method, upper = types.MethodType(len, [1, 2]), types.MethodType(str.upper, "x")
            nested = types.MethodType(types.MethodType(max, 1), 2)
            def key(x):
                return method() + len([upper(), method(*()), nested(), nested(*()), upper(**{})])
            def call(n):
                return [call(n - 1) for _ in map(len, [""])] and method() if n else method()
            def f():
                print(sorted([3, 2, 1], key=key), call(5))
            f()
            """
        finished = self.recorded([self.write("app.py", text)])
        trace = self.converted()
        self.assertEqual((finished.status, finished.err), (0, ""))
        self.assertEqual({one.flags for one, _ in self.below(trace, "__main__.f")}, {frozenset()})
        self.assertEqual({one.parent.function.name for one in trace.named("__main__.key")}, {"builtins.sorted"})

    def test_ends_without_return(self):
        for end, name, status in (("os.execv('/bin/true', ['true'])", "posix.execv", 0), ("os._exit(3)", "posix._exit", 3),
                                  ("os.kill(os.getpid(), 9)", "posix.kill", -signal.SIGKILL),
                                  ("os.abort()", "posix.abort", -signal.SIGABRT)):
            with self.subTest(end=end):
                program = self.write("app.py", f"""
                    import os
                    def done(): return len("x")
                    def end(x):
                        for _ in range(20_000): done()
                        {end}
                    sorted([1], key=end)
                    """)
                finished = self.recorded([program])
                self.assertEqual(finished.status, status, finished.err)
                trace = self.converted(anomalies="killed|did not end in order|ended|unfinished")
                counts = trace.count()
                self.assertEqual((counts["builtins.len"], counts["__main__.done"]), (20_000, 20_000))
                unfinished = [one.function.name for one in trace.slices if "unfinished" in one.flags]
                self.assertEqual(unfinished, ["__main__.<module>", "builtins.sorted", "__main__.end", name])

    def test_start_in_a_function_that_returns(self):
        """What is open when recording begins and is left before the first Python function: C functions are not in
        it."""
        _, trace = self.run_script("""
            import panopticon_rec
            recorder = panopticon_rec.Recorder("run.pnr", OPTIONS)
            def inner(): recorder.start()
            def outer():
                inner()
                sorted([1], key=lambda x: len("x"))
                sorted([2])
            outer()
            recorder.stop()
            """)
        parents = [one.parent.function.name for one in trace.named("builtins.sorted")]
        self.assertEqual(parents, ["__main__.outer"] * 2)
        self.assertEqual([one.parent.function.name for one in trace.named("builtins.len")], ["__main__.outer.<locals>.<lambda>"])

    def test_filters(self):
        """A C function is judged by its module."""
        program = self.write("app.py", "import math\ndef f(): return math.sqrt(4) + len([].append(1) or 'x')\nf()\n")
        for rules, expected in ((["--exclude", "math"], {"builtins.len", "list.append"}),
                                (["--exclude", "builtins"], {"math.sqrt"}), (["--include", "__main__"], set()),
                                (["--include", "__main__", "--include", "math"], {"math.sqrt"})):
            with self.subTest(rules=rules):
                self.options[4:] = rules
                self.recorded([program])
                inside = {one.function.name for one, _ in self.below(self.converted(), "__main__.f")}
                self.assertEqual(inside, expected)

    def test_classes_that_come_and_go(self):
        """Their addresses are used again; their methods have the right names all the same."""
        text = """
            def use(base, name, module, method, *args):
                class_ = type(name, (base,), {"__module__": module})
                getattr(class_(), method)(*args)
                class_.renamed = True
                getattr(class_(), method)(*args)
            for i in range(1000):
                use(list, f"A{i % 7}", "m", "append", 1)
                use(dict, f"B{i % 5}", f"n{i % 2}", "get", 1)
                use(list, "C", f"o{i % 3}", "sort")
            """
        expected = collections.Counter()
        for i in range(1000):
            expected.update({f"m.A{i % 7}.append": 2, f"n{i % 2}.B{i % 5}.get": 2, f"o{i % 3}.C.sort": 2})
        self.recorded([self.write("app.py", text)])
        trace = self.converted()
        found = {name: n for name, n in trace.count().items() if re.match(r"[mno]\d?\.[ABC]", name)}
        self.assertSame(expected, found, "methods")

    def test_ten_thousand_classes(self):
        text = """
            classes = [type(f"K{i}", (list,), {}) for i in range(10_000)]
            def f():
                for class_ in classes: class_().append(1)
            f()
            f()
            """
        self.recorded([self.write("app.py", text)])
        trace = self.converted()
        expected = {f"__main__.K{i}.append": 2 for i in range(10_000)}
        found = {name: n for name, n in trace.count().items() if name.startswith("__main__.K")}
        self.assertSame(expected, found, "methods")

    def test_threads(self):
        """More than there are chunks, each switched away from within a C function; and finalizers at their ends."""
        text = """
            import threading, time
            local = threading.local()
            def key(x):
                time.sleep(0)
                return -x
            class Last:
                def __del__(self): sorted([1, 2], key=abs)
            def work():
                local.last = Last()
                go.wait()
                for _ in range(3):
                    sorted([1, 2, 3], key=key)
                    time.sleep(0.001)
            go = threading.Event()
            threads = [threading.Thread(target=work) for _ in range(150)]
            for thread in threads: thread.start()
            go.set()
            for thread in threads: thread.join()
            """
        finished = self.recorded([self.write("app.py", text)])
        trace = self.converted()
        self.assertEqual(finished, e2e.Finished(0, "", ""))
        parents = collections.Counter(one.parent.function.name for one in trace.named("builtins.sorted"))
        self.assertEqual(parents, {"__main__.work": 450, "__main__.Last.__del__": 150})
        self.assertEqual({one.parent.function.name for one in trace.named("__main__.key")}, {"builtins.sorted"})
        self.assertEqual(len(trace.named("time.sleep")), 150 * 3 * 4)

    def test_open_when_older_data_goes(self):
        """A call that was made in data that was evicted: it is open at the begin of what is left."""
        shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
        finished = e2e.recorded(self.path("run.pnr"), [self.write("app.py", """
            import itertools, time
            def f(): return len("x")
            def hold(x):
                until = time.monotonic() + 4
                while time.monotonic() < until:
                    for _ in itertools.repeat(None, 300): f()
                    time.sleep(0.001)
                return x
            def within(x): return max([x], key=hold)
            def main(): return sorted([1], key=within)
            main()
            """)], options=[*self.options, "--last", "200ms"], cwd=self.directory)
        self.assertEqual(finished, e2e.Finished(0, "", ""))
        trace = self.converted(anomalies="evicted|before|oldest")
        for name, inner, outer in (("builtins.sorted", "within", "main"), ("builtins.max", "hold", "within")):
            one, = trace.named(name)
            self.assertEqual((one.parent.function.name, one.flags), (f"__main__.{outer}", {"begin_unknown"}))
            inside, = trace.named(f"__main__.{inner}")
            self.assertIs(inside.parent, one)
        self.assertGreater(len(trace.named("__main__.f")), 1000)

    def test_unrecorded_region(self):
        """Below the guard of the frame engine C calls are not recorded either. Those that are recorded belong to
        functions that are, and each of these functions makes its own, except the innermost ones."""
        self.recorded([self.write("app.py", """
            import sys
            sys.setrecursionlimit(100_000)
            def down(n):
                return n and max(abs(n), down(n - 1))
            down(50_000)
            down(10)
            """)])
        trace = self.converted()
        counts = trace.count()
        self.assertEqual(counts["[not recorded]"], self.engine == "frame")
        for name in "builtins.max", "builtins.abs":
            inside = [one for one in trace.named(name) if one.parent.function.name == "__main__.down"]
            callers = {id(one.parent) for one in inside}
            self.assertEqual((len(inside), len(callers)), (counts["__main__.down"] - 2,) * 2)
        self.assertEqual({one.flags for one in trace.of(self.path("app.py"))}, {frozenset()})

    def test_unrecorded_region_alongside_other_threads(self):
        """What a thread calls meanwhile is not recorded, nor its end, even if that comes later. What it has called
        before ends in the unrecorded region, and is not open any more after it."""
        self.recorded([self.write("app.py", """
            import sys, threading, time
            sys.setrecursionlimit(100_000)
            def dive(n):
                if n:
                    dive(n - 1)
                else:
                    deep.set()
                    go_up.wait()
            def late():
                time.sleep(0.1)
                dive(80_000)
            def end(x):
                go_up.set()
                thread.join()
                for _ in range(3): leaf(x)
                return x
            def leaf(x): return abs(x)
            def work():
                thread.start()
                deep.wait()
                sorted([1], key=end)
                leaf(2)
                sorted([1], key=leaf)
            thread = threading.Thread(target=late)
            deep, go_up = threading.Event(), threading.Event()
            work()
            """)])
        trace = self.converted(anomalies="events may be missing")
        has_region = self.engine == "frame"
        self.assertEqual(trace.instants, ["[events may be missing]"] * has_region)
        self.assertEqual([one.parent.function.name for one in trace.named("builtins.sorted")],
                         ["__main__.work"] * (1 if has_region else 2))
        self.assertEqual([one.parent.function.name for one in trace.named("builtins.abs")], ["__main__.leaf"] * 5)
        self.assertEqual({one.parent.function.name for one in trace.named("__main__.leaf")},
                         {"__main__.end", "__main__.work", "builtins.sorted"})
        self.assertEqual({one.flags - {"exception"} for one in trace.slices if one.function.cat == "c_function"},
                         {frozenset()})


@in_each_way
class Clearing:
    """From 3.12 on a frame is left when it has been cleared, unless sys.monitoring reports it: what its variables'
    destructors call is in its slice, also where that is more than a chunk holds, and whatever happens meanwhile."""

    CLASS = """
        def g(): pass
        class D:
            def __init__(self, *what): self.what = what
            def __del__(self):
                for _ in range(N): g()
                for one in self.what: one()
                for _ in range(N): g()
        """

    def record_clearing(self, text, n=10_000, **more):
        finished = self.recorded([self.write("app.py", self.CLASS.replace("N", str(n)) + text)], **more)
        self.assertEqual(finished, e2e.Finished(0, "", ""))
        return self.converted()

    def parents(self, trace, name):
        return [one.parent.function.name.removeprefix("__main__.") for one in trace.named(f"__main__.{name}")]

    def inside(self, inner, outer):
        """In whose slice a destructor is: that of the function whose variable goes, or its caller's."""
        return inner if HAS_MONITORING and self.engine == "frame" else outer

    def test_plain(self):
        trace = self.record_clearing("""
        def f():
            d = D()
        def fails():
            d = D()
            raise ValueError
        def main():
            f()
            try: fails()
            except ValueError: pass
        main()
        """)
        # the traceback keeps the variables of a frame that an exception has left
        self.assertEqual(self.parents(trace, "D.__del__"), [self.inside("f", "main"), "main"])
        self.assertEqual(self.parents(trace, "g"), ["D.__del__"] * 40_000)
        flags = {one.function.name: one.flags for one in trace.of(self.path("app.py")) if one.flags}
        self.assertEqual(flags, {"__main__.fails": {"exception"}})

    def test_continuable(self):
        trace = self.record_clearing("""
        import sys
        def generate():
            d = D()
            yield 1
        async def sub():
            d = D()
            return 1
        async def awaits():
            return await sub()
        def delegates():
            d = D()
            yield from generate()
        def main():
            for _ in generate(): pass
            for _ in delegates(): pass
            try: awaits().send(None)
            except StopIteration: pass
        main()
        """)
        expected = [self.inside(*pair) for pair in
                    [("generate", "main"), ("generate", "delegates"), ("delegates", "main"), ("sub", "awaits")]]
        self.assertEqual(self.parents(trace, "D.__del__"), expected)
        self.assertEqual(self.parents(trace, "g"), ["D.__del__"] * 80_000)
        self.assertEqual({one.flags for one in trace.of(self.path("app.py"))}, {frozenset()})

    def test_deep(self):
        """Frames that are cleared by frames that are cleared, in callers of many chunks of the data stack."""
        trace = self.record_clearing("""
        def low(n):
            d = D(lambda: low(n - 1)) if n else None
        def high(n):
            a = b = c = d = e = n
            return high(n - 1) if n else low(20)
        high(400)
        """, n=1000)
        self.assertEqual(self.parents(trace, "g"), ["D.__del__"] * 40_000)
        self.assertEqual(self.parents(trace, "low"), ["high"] + ["low.<locals>.<lambda>"] * 20)
        callers = ["low" if self.inside(1, 0) else ("high" if k == 0 else "low.<locals>.<lambda>") for k in range(20)]
        self.assertEqual(self.parents(trace, "D.__del__"), callers)
        self.assertEqual({one.flags for one in trace.of(self.path("app.py"))}, {frozenset()})

    def test_whatever_happens_meanwhile(self):
        """The frame that is cleared is open again after a pause, and before one ends; a snapshot and a fork have their
        own ends of it."""
        trace = self.record_clearing("""
        import os, panopticon_rec
        def pauses():
            panopticon_rec.pause()
            g()
            panopticon_rec.resume()
        def saves():
            panopticon_rec.snapshot("saved.pnr")
        def forks():
            pid = os.fork()
            if not pid:
                g()
                os._exit(0)
            os.waitpid(pid, 0)
        def f():
            d = D(pauses, saves, forks)
        def main():
            f()
            g()
        main()
        """, n=9)
        pids = {pid for pid, _ in trace.threads}
        self.assertEqual(len(pids), 2)
        main, = (pid for pid in pids if any(one.thread[0] == pid for one in trace.named("__main__.pauses")))
        own = [one for one in trace.of(self.path("app.py")) if one.thread[0] == main]
        f, = (one for one in own if one.function.name == "__main__.f")
        self.assertEqual([one.parent.function.name for one in own if one.function.name == "__main__.D.__del__"],
                         ["__main__." + self.inside("f", "main")])
        self.assertFalse(f.flags)
        last, = (one for one in own if one.function.name == "__main__.g" and
                 one.parent.function.name == "__main__.main")
        self.assertGreater(last.begin, f.end)
        unfinished = {one.function.name for one in self.converted("saved.pnr").slices if "unfinished" in one.flags}
        self.assertEqual("__main__.f" in unfinished, bool(self.inside(1, 0)))


@in_each_way
class Parts:
    """Recorded in part, in one of two processes, or not below the guard."""

    def test_recording_within_callbacks(self):
        """Started and stopped inside a callback of a C function."""
        text = """
            import functools, panopticon_rec
            def f(): return len("x")
            def starts(x):
                if x == 2: recorder.start()
                return f()
            def stops(x):
                if x == 2: recorder.stop()
                return f()
            def work():
                sorted([1, 2, 3], key=starts)
                functools.reduce(lambda x, y: f(), [1, 2, 3])
                max([1, 2, 3], key=stops)
                return 0
            recorder = panopticon_rec.Recorder("run.pnr", OPTIONS)
            min([0, 1], key=lambda x: x or work())
            f()
            """
        _, trace = self.run_script(text)
        counts = trace.count()
        self.assertEqual((counts["__main__.f"], counts["__main__.starts"], counts["__main__.stops"]), (5, 2, 2))
        if self.c_calls:
            self.assertEqual([counts[f"builtins.{name}"] for name in ("len", "max", "sorted", "min")], [5, 1, 0, 0])
            self.assertEqual(counts["_functools.reduce"], 1)
            self.assertEqual([one.flags for one in trace.named("builtins.max")], [{"unfinished"}])

    def test_generators(self):
        text = """
            import panopticon_rec
            def f(): return len("x")
            def generate():
                yield f()
                recorder.start()
                yield f()
                f()
                recorder.stop()
                yield f()
            recorder = panopticon_rec.Recorder("run.pnr", OPTIONS)
            print(list(generate()))
            print(*generate())
            iterator = generate()
            print(next(iterator), next(iterator), next(iterator))
            """
        captures = ("run.pnr", "run-2.pnr", "run-3.pnr")
        out, *traces = self.run_script(text, *captures)
        self.assertEqual(out.splitlines(), ["[1, 1, 1]", "1 1 1", "1 1 1"])
        for trace in traces:
            self.assertEqual((trace.count()["__main__.f"], trace.count()["__main__.generate"]), (2, 2))
        self.assertEqual(traces[2].count()["builtins.next"], 1 if self.c_calls else 0)

    def test_forks(self):
        """A child that is not followed writes nothing into its parent's capture, and may record itself."""
        text = """
            import os, panopticon_rec, sys
            def f(n):
                return n and f(n - 1) or len("x")
            def g(): "x".upper()
            def child(run):
                sys.stdout.flush()
                if not os.fork():
                    f(2)
                    "x".title()
                    run()
                    os._exit(0)
                assert os.wait()[1] == 0
            def records(name, **options):
                def run():
                    with panopticon_rec.Recorder(name, **options):
                        f(4)
                        g()
                return run
            with panopticon_rec.Recorder("run.pnr", follow="none", OPTIONS):
                f(3)
                child(lambda: None)
                child(records("same.pnr", OPTIONS))
                child(records("other.pnr"))
                for _ in range(20_000): len("x")
                g()
            child(records("late.pnr", OPTIONS))
            with panopticon_rec.Recorder("again.pnr", OPTIONS):
                f(4)
                g()
            """
        captures = ("run.pnr", "same.pnr", "other.pnr", "late.pnr", "again.pnr")
        _, *traces = self.run_script(text, *captures)
        for name, trace in zip(captures, traces):
            counts = trace.count()
            has_c_calls = self.c_calls and name != "other.pnr"
            self.assertEqual((counts["__main__.f"], counts["__main__.g"]), (4 if name == "run.pnr" else 5, 1), name)
            self.assertEqual((counts["str.upper"], counts["str.title"]), (int(has_c_calls), 0), name)
            self.assertEqual(counts["builtins.len"], has_c_calls * (20_001 if name == "run.pnr" else 1), name)

    def test_fork_below_the_guard(self):
        """The child of a function in an unrecorded region is recorded, in the region and after it. The monitoring
        engine has no such region; more frames than a block opens with are another matter."""
        depth = 50_000 if self.engine == "frame" else 500
        trace = self.compare(f"""
            import os, sys, warnings
            warnings.simplefilter("ignore")
            sys.setrecursionlimit(100_000)
            def down(n):
                return down(n - 1) if n else fork()
            def fork():
                child = not os.fork()
                if child: inside()
                else: os.wait()
                return child
            def inside(): pass
            def behind(): pass
            down({depth})
            behind()
            """)
        self.assertEqual((trace.count()["__main__.inside"], trace.count()["__main__.behind"]), (1, 2))

    def test_child_costs_nothing(self):
        """In a forked child that is not followed the hooks are out after its first event."""
        self.options += ["--follow", "none"]
        self.compare("""
            import os, sys
            def f(): return len("x")
            f()
            if not os.fork():
                f()
                tools = [sys.monitoring.get_tool(number) for number in range(6)] if hasattr(sys, "monitoring") else []
                print(tools.count("panopticon"), sys.getprofile())
                sys.exit()
            os.wait()
            """)

    def test_recursion(self):
        """The guard of the frame engine, C calls below it; exceptions all the way; and the limits."""
        trace = self.compare("""
            import sys
            def down(n): return len("") if n == 0 else 1 + max(down(n - 1), abs(-1))
            def raising(n):
                if n == 0: raise KeyError
                raising(n - 1)
            def back(n): return sorted([1], key=lambda x: back(n - 1) if n else 0)
            def endless(n): return list(map(endless, [n + 1]))
            sys.setrecursionlimit(200_000)
            print(down(100_000), back(100))
            try:
                raising(50_000)
            except KeyError:
                print("KeyError")
            sys.setrecursionlimit(1000)
            for recurse in endless, lambda n: sorted([1], key=endless):
                try:
                    recurse(0)
                except RecursionError as error:
                    print("RecursionError")
            """)
        del trace           # it was read: its slices nest


@in_each_way
class Holes:
    """What CPython does not report, or reports otherwise than one would think."""

    GENERATORS = """
        import asyncio, contextlib, gc
        def leaf(): pass
        def plain():
            yield 1
            yield 2
        def guarded():
            try:
                yield 1
                yield 2
            finally:
                leaf()
        def catching():
            try:
                yield 1
            except ValueError:
                leaf()
            yield 2
        def delegating(inner):
            yield from inner()
        def suppressing(inner):
            with contextlib.suppress(ValueError):
                yield from inner()
            yield 5
        KINDS = [plain, guarded, catching, *(lambda inner=inner, outer=outer: outer(inner)
                 for inner in (plain, guarded, catching) for outer in (delegating, suppressing)),
                 lambda: delegating(lambda: suppressing(guarded))]
        def throw(generator, exception):
            try:
                generator.throw(exception)
            except (exception, StopIteration):
                pass
        def lose(generator):
            ring = [generator]
            ring.append(ring)
        ENDS = [lambda one: one.close(), lambda one: throw(one, ValueError), lambda one: throw(one, GeneratorExit),
                lambda one: None, lose]
        def end_all():
            for end in ENDS:
                for kind in KINDS:
                    for n in range(3):
                        one = kind()
                        for _ in range(n):
                            next(one, None)
                        end(one)
                        del one
                        leaf()
            gc.collect()
        gc.disable()
        """

    def check_nesting(self, trace, names=("__main__.end_all",)):
        """Nothing hangs around it that has ended."""
        for name in names:
            for one in trace.named(name):
                self.assertEqual(one.parent.function.name, "__main__.<module>")
        self.assertEqual({one.flags - {"exception"} for one in trace.slices}, {frozenset()})

    def test_generators(self):
        trace = self.compare(self.GENERATORS + """
        end_all()
        end_all()
        alive = [kind() for kind in KINDS]
        for one in alive: next(one)
        """)
        self.check_nesting(trace)

    def test_recorded_in_part(self):
        """Generators that began before the recording, and end in it or after it."""
        _, *traces = self.run_script(self.GENERATORS + """
        import panopticon_rec
        def suspended(n):
            ones = [kind() for kind in KINDS]
            for one in ones:
                for _ in range(n): next(one, None)
            return ones
        early = [suspended(n) for n in (0, 1, 2)]
        for name in "run.pnr", "second.pnr", "third.pnr":
            with panopticon_rec.Recorder(name, OPTIONS):
                end_all()
                for end in ENDS:
                    for ones in early:
                        for one in ones: end(one)
                    ones = one = None
                    early = [suspended(n) for n in (0, 1, 2)]
        """, "run.pnr", "second.pnr", "third.pnr")
        for trace in traces:
            self.assertEqual(len(trace.named("__main__.end_all")), 1)

    def test_async(self):
        trace = self.compare("""
            import asyncio
            def leaf(): pass
            async def guarded():
                try:
                    yield 1
                    yield 2
                finally:
                    await asyncio.sleep(0)
                    leaf()
            async def plain():
                yield 1
                yield 2
            async def use(kind, n, how):
                one = kind()
                for _ in range(n):
                    async for _ in one: break
                if how == "close":
                    await one.aclose()
                elif how == "throw":
                    try:
                        await one.athrow(ValueError)
                    except (ValueError, StopAsyncIteration):
                        pass
                del one
                await asyncio.sleep(0)
            async def nested(n):
                await (nested(n - 1) if n else asyncio.sleep(10))
            async def main():
                for kind in plain, guarded:
                    for n in range(3):
                        for how in "close", "throw", "drop":
                            await use(kind, n, how)
                task = asyncio.create_task(nested(10))
                await asyncio.sleep(0)
                task.cancel()
                try:
                    await task
                except asyncio.CancelledError:
                    leaf()
                one = nested(3)
                one.close()
                one = nested(3)
                one.send(None)
                one.close()
            asyncio.run(main())
            late = guarded()
            try:
                late.asend(None).send(None)
            except StopIteration:
                pass
            """, same=lambda finished: finished._replace(err=re.sub("0x[0-9a-f]+", "0x", finished.err)))
        self.check_nesting(trace, ())

    @e2e.alone
    def test_exception_out_of_deep_coroutines(self):
        """It takes a few times the processor's time that it takes alone; a hundred times, if each frame looked at all
        that are outside of it."""
        program = self.write("app.py", """
            import sys, time
            sys.setrecursionlimit(20_000)
            async def deep(n):
                if n: await deep(n - 1)
                raise KeyError
            least = 1e9
            for _ in range(5):
                begin = time.thread_time()
                try:
                    deep(16_000).send(None)
                except KeyError:
                    least = min(least, time.thread_time() - begin)
            print(least)
            """)
        plain, found = float(e2e.plain([program]).out), float(self.recorded([program]).out)
        self.assertLess(found / plain, 40)
        self.check_nesting(self.converted(), ())

    def test_open_before_the_start(self):
        """Exits of frames that were open before, by return and by exception; then start again."""
        text = """
            import panopticon_rec
            recorder = panopticon_rec.Recorder("run.pnr", OPTIONS)
            def f(): pass
            def starts(raises):
                recorder.start()
                f()
                if raises: raise KeyError
            def outer(raises):
                try:
                    return starts(raises)
                finally:
                    f()
            def outermost(raises):
                try:
                    outer(raises)
                except KeyError:
                    f()
                f()
            for raises in False, True:
                outermost(raises)
                f()
                recorder.stop()
                f()
            """
        _, *traces = self.run_script(text, "run.pnr", "run-2.pnr")
        for trace, n in zip(traces, (4, 5)):
            parents = [one.parent.function.name for one in trace.named("__main__.f")]
            names = ["starts", "outer", "outermost", "outermost", "<module>"] if n == 5 else \
                ["starts", "outer", "outermost", "<module>"]
            self.assertEqual(parents, [f"__main__.{name}" for name in names])

    def test_own_functions_and_second_recordings(self):
        """The recorder's own functions are in none of them, whatever else is."""
        text = """
            import panopticon_rec
            def f(): pass
            recorder = panopticon_rec.Recorder("run.pnr", OPTIONS)
            for _ in range(3):
                with recorder:
                    f()
                    with panopticon_rec.Recorder("b.pnr"):
                        f()
                    try:
                        recorder.start()
                    except RuntimeError:
                        pass
            """
        _, *traces = self.run_script(text, "run.pnr", "run-2.pnr", "run-3.pnr")
        for trace in traces:
            self.assertEqual(trace.count()["__main__.f"], 2)
            self.assertFalse([name for name in trace.count() if "panopticon_rec" in name])

    def test_daemon_threads_at_the_end(self):
        trace = self.compare("""
            import threading, time
            def f(): return len("x")
            def work():
                ready.set()
                while True:
                    sorted([1, 2], key=lambda x: f())
            ready = threading.Event()
            for target in work, time.sleep, threading.Event().wait:
                threading.Thread(target=target, args=(60,) if target is time.sleep else (), daemon=True).start()
            ready.wait()
            """)
        self.assertGreater(trace.count()["__main__.f"], 0)

    def test_generators_alive_at_the_end(self):
        self.compare("""
            import atexit
            def leaf(): return len("x")
            def guarded(name):
                try:
                    yield 1
                finally:
                    leaf()
                    print(name)
            async def coroutine():
                try:
                    await Awaitable()
                finally:
                    leaf()
                    print("coroutine")
            class Awaitable:
                def __await__(self): yield 1
            one, two = guarded("first"), coroutine()
            next(one)
            two.send(None)
            atexit.register(lambda: sorted([1], key=lambda x: leaf()))
            def last(): print("last", end=" ")
            class Keeper:
                def __del__(self): last()
            keeper = Keeper()
            """)

    def test_many_short_recordings(self):
        """No memory, object or tool's number is left."""
        text = """
            import gc, os, panopticon_rec, shutil, sys
            def f(n): return n and f(n - 1) or len("x")
            def resources():
                gc.collect()
                return len(gc.get_objects()), sys.getallocatedblocks(), sys.getrefcount(len), sys.getrefcount(f)
            for k in range(501):
                with panopticon_rec.Recorder("run.pnr", OPTIONS):
                    f(5)
                    sorted([1], key=lambda x: [].append(x))
                if k < 500:
                    shutil.rmtree("run.pnr")
                    if k % 50 == 49: print(*resources())
            if hasattr(sys, "monitoring"):
                assert not any(sys.monitoring.get_tool(number) for number in range(6))
            """
        out, _ = self.run_script(text)
        observed = [[int(word) for word in line.split()] for line in out.splitlines()]
        self.assertLess(observed[-1][0] - observed[0][0], 50, "objects")
        self.assertEqual(observed[-1][2:], observed[0][2:], "references")
        # sys.monitoring allocates for a code object when it first runs after a change of events, whenever that is.
        growth = min(after[1] - before[1] for before, after in zip(observed, observed[1:]))
        self.assertLess(growth, 50, "blocks of memory")


class Options(Engines):
    def test_engine_that_is_not_there(self):
        if HAS_MONITORING:
            finished = e2e.recorded(self.path("run.pnr"), ["-c", "print('run')"], options=["--engine", "other"])
            self.assertEqual((finished.status, finished.out), (2, ""))
        else:
            finished = e2e.recorded(self.path("run.pnr"), ["-c", "print('run')"], options=["--engine", "monitoring"])
            self.assertEqual((finished.status, finished.out), (2, ""))
            self.assertEqual(finished.err, "panopticon: CPython 3.11 has no engine monitoring\n")
        self.assertFalse(os.path.exists(self.path("run.pnr")))

    def count_budgets(self, value, capture="run.pnr"):
        """Of how many processes of a capture the name table has the property max_overhead with this value."""
        names = pathlib.Path(self.path(capture)).glob("process-*/names")
        return sum(f"max_overhead{value}".encode() in name.read_bytes() for name in names)

    def test_budget_is_refused(self):
        """In one line with the reason, before the program runs: no engine of this kind can mute functions."""
        for options, reason in ((["--engine", "frame"], "leave --engine out"), ([], "record with CPython 3.12 or later"),
                                (["--engine", "monitoring"], "record with CPython 3.12 or later")):
            if HAS_MONITORING and options != ["--engine", "frame"]:
                continue
            reason = reason if HAS_MONITORING else "record with CPython 3.12 or later"
            finished = e2e.recorded(self.path("run.pnr"), ["-c", "print('run')"],
                                    options=["--max-overhead", "3%", *options])
            self.assertEqual((finished.status, finished.out), (2, ""))
            self.assertRegex(finished.err, rf"\Apanopticon: --max-overhead: [^\n]*{reason}\n\Z")
        for wrong in "0", "0.05%", "1001", "3 %", "much":
            finished = e2e.recorded(self.path("run.pnr"), ["-c", "print('run')"],
                                    options=[f"--max-overhead={wrong}"])
            self.assertEqual((finished.status, finished.out), (2, ""))
            self.assertEqual(finished.err, f"panopticon: --max-overhead: {wrong!r} is not a percentage from 0.1 to 1000, "
                                           "such as 3% or 0.5\n")
        self.assertEqual(os.listdir(self.directory), [])

    def test_budget_is_refused_in_a_program(self):
        """Also where it is recorded already; and nothing is left."""
        out = self.printed("""
            import os, panopticon_rec, sys
            def refused(**keywords):
                try:
                    panopticon_rec.Recorder("budget.pnr", **keywords).start()
                except ValueError as error:
                    print(error)
            with panopticon_rec.record("run.pnr"):
                refused(max_overhead=3, engine="frame")
            refused(max_overhead=3, engine="frame")
            refused(max_overhead=0)
            print(sorted(name for name in os.listdir() if name.endswith(".pnr")))
            """)
        reason = "leave --engine out" if HAS_MONITORING else "record with CPython 3.12 or later"
        lines = out.splitlines()
        for line in lines[:2]:
            self.assertRegex(line, rf"^panopticon: --max-overhead: .*{reason}$")
        self.assertEqual(lines[2:], ["max_overhead: 0 is not a percentage from 0.1 to 1000, such as 3% or 0.5",
                                     "['run.pnr']"])

    def test_started_interpreter_without_the_engine(self):
        """One that cannot be recorded as its parent is runs as it is, and the parent reports why it is not recorded."""
        app = self.write("app.py", """
            import glob, subprocess, sys
            with open(glob.glob("*.pnr/order")[0], "ab") as file: file.write(b"\\0engine=another")
            subprocess.run([sys.executable, "-c", "print('run')"], check=True)
            """)
        finished = e2e.recorded(self.path("run.pnr"), [app], cwd=self.directory)
        self.assertEqual((finished.status, finished.out), (0, "run\n"))
        self.assertRegex(finished.err,
                         r"\Apanopticon: process \d+: not recorded: CPython 3\.\d+ has no engine another\n\Z")
        self.assertEqual(len(e2e.process_directories(self.path("run.pnr"))), 1)

    @needs_monitoring
    def test_budget_takes_the_monitoring_engine(self):
        for value, written in ("3%", "3"), ("0.50", "0.5"), ("1000", "1000"):
            e2e.recorded(self.path("run.pnr"), ["-c", "pass"], options=["-q", "--force", "--max-overhead", value])
            self.assertEqual(self.count_budgets(written), 1)
            self.assertEqual(self.count_budgets(f"{written}0") + self.count_budgets(f"{written}."), 0)
            self.assertRegex(e2e.run([e2e.CONVERT, "--info", self.path("run.pnr")]).out, r"engine +monitoring\n")

    @needs_monitoring
    def test_budget_of_children_and_regions(self):
        """All processes of a capture have it, forked and started, and so has the capture of a region."""
        app = self.write("app.py", """
            import os, subprocess, sys, panopticon_rec
            def work(): pass
            with panopticon_rec.record("region.pnr"):
                work()
            if os.fork() == 0:
                work()
                os._exit(0)
            os.wait()
            subprocess.run([sys.executable, "-c", "import os; os.getpid()"], check=True)
            """)
        finished = e2e.recorded(self.path("run.pnr"), [app], options=["--max-overhead", "2.5"], cwd=self.directory)
        self.assertEqual(finished.status, 0, finished.err)
        self.assertEqual(len(e2e.process_directories(self.path("run.pnr"))), 3)
        self.assertEqual(self.count_budgets("2.5"), 3)
        self.assertEqual(self.count_budgets("2.5", "region.pnr"), 1)

    @needs_monitoring
    def test_takes_a_number_that_is_free(self):
        """Two, and never another tool's; two of 3, 4 and 5 in use: one line, nothing is left."""
        out = self.printed("""
            import os, sys, itertools, panopticon_rec
            monitoring = sys.monitoring
            def f(): return len("x")
            def names(): return [monitoring.get_tool(number) for number in range(6)]
            for options in ({"engine": "monitoring"}, {"c_calls": True}, {"engine": "monitoring", "c_calls": True}):
                for n in range(4):
                    for held in itertools.combinations((3, 4, 5), n):
                        for number in held: monitoring.use_tool_id(number, "another")
                        before = names()
                        recorder = panopticon_rec.Recorder("run.pnr", **options)
                        try:
                            recorder.start()
                            ours = [number for number, name in enumerate(names()) if name != before[number]]
                            assert [names()[number] for number in ours] == ["panopticon", "panopticon"], names()
                            assert set(ours) <= {3, 4, 5} - set(held), (ours, held)
                            f()
                            recorder.stop()
                        except RuntimeError as error:
                            assert n >= 2 and len(str(error).splitlines()) == 1, error
                            print("refused", len([name for name in os.listdir() if name.endswith(".pnr")]))
                        assert names() == before
                        for number in held: monitoring.free_tool_id(number)
            """)
        self.assertEqual(out.splitlines(), [f"refused {n}" for n in (4, 8, 12) for _ in range(4)])
        for name in os.listdir(self.directory):
            if name.endswith(".pnr"):
                self.assertEqual(self.converted(name).count()["__main__.f"], 1)

    @needs_monitoring
    def test_all_numbers_in_use(self):
        self.write("sitecustomize.py", "import sys\nfor k in range(6): sys.monitoring.use_tool_id(k, 'another')\n")
        path = os.pathsep.join([self.directory, e2e.BUILD])
        for way in (["--engine", "monitoring"], ["--c-calls"]):
            finished = e2e.recorded(self.path("run.pnr"), ["-c", "print('run')"], options=way,
                                    env={"PYTHONPATH": path})
            self.assertEqual((finished.status, finished.out, len(finished.err.splitlines())), (2, "", 1), finished.err)
            self.assertIn("3, 4 and 5", finished.err)
            self.assertFalse(os.path.exists(self.path("run.pnr")))

    def test_async_tracer(self):
        out = self.printed("""
            from panopticon_rec import AsyncTracer
            with AsyncTracer() as at:
                sorted([1, 2], key=abs)
            print(str(at))
            """)
        path = self.write("run.trace", out)
        self.assertIn("builtins.sorted", e2e.Trace(path).count())

    def test_interface(self):
        """Errors, and nothing left by them."""
        out = self.printed("""
            import os, panopticon_rec, sys
            def f(): return len("x")
            for options in {"engine": "other"}, {"engine": 5}, {"c_calls": True, "engine": ""}, {"engine": "frame\\0"}:
                try:
                    panopticon_rec.Recorder("run.pnr", **options).start()
                    print("recorded")
                except (TypeError, ValueError) as error:
                    print(type(error).__name__, len(str(error).splitlines()))
            try:
                panopticon_rec.Recorder("run.pnr", "frame")
            except TypeError:
                print("keywords only")
            print(*os.listdir())
            if hasattr(sys, "monitoring"):
                assert not any(sys.monitoring.get_tool(number) for number in range(6))
            with panopticon_rec.Recorder("run.pnr", c_calls=1):
                f()
            """)
        self.assertEqual(out.splitlines(), ["ValueError 1", "TypeError 1", "ValueError 1", "ValueError 1",
                                                     "keywords only", "app.py"])
        self.assertEqual(self.converted().count()["builtins.len"], 1)

    def test_property(self):
        for engine in ENGINES:
            shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
            e2e.recorded(self.path("run.pnr"), ["-c", "pass"], options=["-q", "--engine", engine])
            reported = e2e.run([e2e.CONVERT, "--info", self.path("run.pnr")]).out
            self.assertRegex(reported, rf"engine +{engine}\n")


if __name__ == "__main__":
    unittest.main()
