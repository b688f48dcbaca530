"""The port layer for CPython: the build stops where a structure of the interpreter has moved, the self-test finds what
the build cannot, and a later CPython is recorded by its public interface.

The headers of the interpreter are copied and changed for that. The extension is built from the sources, without
scons."""

import glob
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import unittest

import e2e

ROOT = os.path.realpath(os.path.join(e2e.HERE, "..", ".."))
INCLUDE = sysconfig.get_path("include")
SOURCES = [path for pattern in ("recorder/cpython/*.c", "recorder/*.c", "format/*.c")
           for path in sorted(glob.glob(os.path.join(ROOT, pattern)))]
CPYTHON_SOURCES = [path for path in SOURCES if os.path.basename(os.path.dirname(path)) == "cpython"]
FRAME_HEADERS = "internal/pycore_interpframe_structs.h", "internal/pycore_frame.h", "cpython/frame.h"
GENERATOR_HEADERS = "internal/pycore_interpframe_structs.h", "cpython/genobject.h"

PROGRAM = """
    def generate():
        yield 1
    def call(value):
        return value
    print(sum(map(call, generate())))
    """

# What the program could see of a test that is run when it starts to record.
WATCHED = """
    import gc, sys
    import panopticon_rec
    seen = []
    def see(*event):
        if not paused:
            seen.append(event)
    paused = False
    sys.addaudithook(lambda name, args: see("audit", name) if name in ("compile", "exec", "code.__new__", "import") else None)
    gc.set_threshold(1)
    gc.callbacks.append(lambda phase, info: see("gc", phase))
    modules = set(sys.modules)
    limit, depth = sys.getrecursionlimit(), lambda n=0: n
    def of_package(code): return code.co_filename.startswith(panopticon_rec.PACKAGE)
    own = {"_run", "_generate", "_recurse", "_call_back"}
    if hasattr(sys, "monitoring"):
        sys.monitoring.use_tool_id(2, "watcher")
        sys.monitoring.register_callback(2, sys.monitoring.events.PY_START,
                                         lambda code, at: see("monitoring", code.co_name) if code.co_name in own else None)
        sys.monitoring.set_events(2, sys.monitoring.events.PY_START)
    sys.setprofile(lambda frame, event, arg: see("profile", frame.f_code.co_name) if frame.f_code.co_name in own else None)
    del seen[:]
    recorder = panopticon_rec.Recorder("run.pnr", follow="none")
    recorder.start()
    sys.setprofile(None)
    events = [event for event in seen if event[0] in ("profile", "monitoring") or event[1] in ("compile", "exec")]
    recorder.stop()
    print(events, set(sys.modules) - modules, sys.getrecursionlimit() == limit)
    """


def find_header(include, names, text):
    """The first of these headers that has the text."""
    for name in names:
        path = os.path.join(include, name)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                if text in file.read():
                    return path
    raise AssertionError(f"no header of {names} has {text}")


def change(path, *replacements):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for pattern, replacement in replacements:
        text, n = re.subn(pattern, replacement, text, count=1)
        if n != 1:
            raise AssertionError(f"{path} has no {pattern}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def of_package(count):
    return [name for name in count if name.startswith("panopticon_rec.")]


def swap_generator_fields(include):
    """A generator whose state lies where another field of the same size was."""
    path = find_header(include, GENERATOR_HEADERS, "_running_async")
    change(path, (r"char prefix##_running_async;", "int8_t prefix##_FRAME;"), (r"int8_t prefix##_frame_state;",
           "char prefix##_running_async;"), (r"int8_t prefix##_FRAME;", "int8_t prefix##_frame_state;"))


@unittest.skipIf(e2e.IS_SANITIZED, "it would be built without the sanitizer")
@unittest.skipUnless(os.path.exists(os.path.join(INCLUDE, "Python.h")), "this Python has no headers")
@unittest.skipUnless(shutil.which("gcc"), "there is no gcc")
class Port(e2e.EndToEnd):
    def setUp(self):
        super().setUp()
        self.include = self.path("include")
        shutil.copytree(INCLUDE, self.include)

    def compile(self, *arguments):
        command = ["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-fPIC", f"-I{ROOT}", "-isystem", self.include, "-isystem",
                   os.path.join(self.include, "internal"), *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    def build(self, *flags):
        """A package with the extension as it is built by these headers. Returns the directory for PYTHONPATH."""
        where = self.path("build")
        shutil.copytree(os.path.join(ROOT, "recorder", "panopticon_rec"), os.path.join(where, "panopticon_rec"))
        target = os.path.join(where, "panopticon_rec", "_recorder" + sysconfig.get_config_var("EXT_SUFFIX"))
        done = self.compile("-O0", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-shared", "-o", target, *flags,
                            *SOURCES, "-lzstd", "-lpthread")
        self.assertEqual(done.returncode, 0, done.stdout)
        return where

    def pretend_later_version(self):
        minor = e2e.NEWEST + 1
        change(os.path.join(self.include, "patchlevel.h"), (r"(#define\s+PY_MINOR_VERSION\s+)\d+", rf"\g<1>{minor}"))
        return minor

    @unittest.skipUnless(e2e.IS_KNOWN, "the layout of this version is not known")
    def test_a_field_that_has_moved_stops_the_build(self):
        source = os.path.join(ROOT, "recorder", "cpython", "engine_frame.c")
        self.assertEqual(self.compile("-fsyntax-only", source).stdout, "")
        path = find_header(self.include, FRAME_HEADERS, "struct _PyInterpreterFrame *previous;")
        change(path, (r"struct _PyInterpreterFrame \*previous;", r"void *inserted; \g<0>"))
        done = self.compile("-fsyntax-only", source)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"CPython has changed struct _PyInterpreterFrame\.previous \(Include/internal/"
                                      r"pycore_frame\.h.*\); see docs/porting\.md")

    @unittest.skipUnless(e2e.VERSION == (3, e2e.NEWEST), "only the newest version's headers resemble a later one's")
    def test_a_later_version_is_built_by_its_public_interface(self):
        self.pretend_later_version()
        done = self.compile("-fsyntax-only", "-Wall", "-Wextra", "-Werror", *CPYTHON_SOURCES)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    @unittest.skipUnless(e2e.VERSION == (3, e2e.NEWEST), "only the newest version's headers resemble a later one's")
    def test_a_later_version_has_no_layout(self):
        self.pretend_later_version()
        done = self.compile("-fsyntax-only", "-DCPYTHON_IS_KNOWN=1", CPYTHON_SOURCES[0])
        self.assertIn("recorder/cpython/layout.h has no column for this CPython: see docs/porting.md", done.stdout)

    @unittest.skipUnless(e2e.IS_KNOWN, "there is no frame engine")
    def test_the_self_test_finds_a_wrong_layout(self):
        swap_generator_fields(self.include)
        where = self.build("-DCPYTHON_LAYOUT_IS_UNCHECKED")
        path = self.write("app.py", PROGRAM)
        found = e2e.recorded(self.path("run.pnr"), [path], cwd=self.directory, env={"PYTHONPATH": where})
        fault = r"a generator: (yield expected, finish|finish expected, yield) seen"   # what it reads never changes
        version = ".".join(map(str, sys.version_info[:3]))
        if "monitoring" not in e2e.ENGINES:
            self.assertEqual(found.status, 2)
            self.assertRegex(found.err, rf"\Apanopticon: the frame engine does not fit CPython {version} \({fault}\), which has "
                                        r"no other\n\Z")
            self.assertFalse(os.path.exists(self.path("run.pnr")))
            return
        self.assertEqual((found.status, found.out), (0, "1\n"))
        self.assertRegex(found.err, rf"\Apanopticon: the frame engine does not fit CPython {version} \({fault}\): the slower "
                                    r"monitoring engine records\n\Z")
        self.check_capture(fault)

    @unittest.skipIf("monitoring" not in e2e.ENGINES, "there would be no engine")
    def test_an_unknown_version_says_so(self):
        where = self.build("-DCPYTHON_IS_KNOWN=0")
        path = self.write("app.py", PROGRAM)
        env = {"PYTHONPATH": where}
        fault = f"its internals are not known, only those of CPython 3.{e2e.OLDEST} to 3.{e2e.NEWEST} are"
        found = e2e.recorded(self.path("run.pnr"), [path], cwd=self.directory, env=env)
        self.assertEqual((found.status, found.out), (0, "1\n"))
        self.assertEqual(found.err.splitlines()[1:], [])
        self.assertIn(fault, found.err)
        self.check_capture(fault)
        found = e2e.recorded(self.path("own.pnr"), [path], cwd=self.directory, env=env, options=["-q", "--engine", "monitoring"])
        self.assertEqual((found.status, found.err), (0, ""))        # that was wanted
        for options in [], ["--engine", "monitoring"]:
            found = e2e.recorded(self.path("budget.pnr"), [path], cwd=self.directory, env=env,
                                 options=["--max-overhead", "3%", *options])
            self.assertEqual((found.status, found.out), (2, ""))
            self.assertRegex(found.err, r"\Apanopticon: --max-overhead: this CPython is later than [^\n]*\n\Z")
            self.assertFalse(os.path.exists(self.path("budget.pnr")))

    def check_capture(self, fault):
        info = e2e.run([e2e.CONVERT, "--info", self.path("run.pnr")]).out
        self.assertRegex(info, r"engine +monitoring\n")
        self.assertRegex(info, fault)
        count = e2e.Trace(e2e.convert(self.path("run.pnr"))).count()
        self.assertEqual((count["__main__.generate"], count["__main__.call"]), (2, 1))
        self.assertEqual(of_package(count), [])


@unittest.skipUnless(e2e.IS_KNOWN, "there is no frame engine")
class Effects(e2e.EndToEnd):
    def test_the_program_sees_nothing_of_the_self_test(self):
        finished = self.script(WATCHED)
        self.assertEqual(finished.out, "[] set() True\n")
        count = e2e.Trace(e2e.convert(self.path("run.pnr"))).count()
        self.assertEqual(of_package(count), [])

    def test_deep_in_a_recursion(self):
        """Where the limit leaves no space for the test it is not run, and nothing else changes."""
        finished = self.script("""
            import sys
            import panopticon_rec
            def leaf(): pass
            def dive(n):
                if n:
                    return dive(n - 1)
                recorder = panopticon_rec.Recorder("run.pnr", follow="none")
                recorder.start()
                leaf()
                recorder.stop()
            sys.setrecursionlimit(200)
            dive(160)
            """)
        self.assertEqual(finished.out, "")
        self.assertEqual(self.trace().count()["__main__.leaf"], 1)

    def test_a_signal_handler_may_raise(self):
        """The handler of a signal that is pending when recording starts runs in the test, as it would in any Python
        code."""
        finished = self.script("""
            import _thread, os, panopticon_rec
            recorder = panopticon_rec.Recorder("run.pnr", follow="none")
            caught = 0
            for _ in range(3):
                try:
                    _thread.interrupt_main()
                    recorder.start()
                except KeyboardInterrupt:
                    caught += 1
            try:
                recorder.start()
            except RuntimeError:                    # it runs
                pass
            def leaf(): pass
            leaf()
            recorder.stop()
            print(caught)
            """)
        self.assertRegex(finished.out, r"\A[123]\n\Z")


if __name__ == "__main__":
    unittest.main()
