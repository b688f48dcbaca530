"""A program behaves under the recorder as it does without: what it prints, how it ends, what it finds around it.
And the options of the recorder's own command line."""

import collections
import gzip
import json
import os
import pstats
import pty
import re
import shlex
import shutil
import socket
import time
import unittest
import zipfile

import e2e

# A program and how it is run. `arguments` default to the file itself, `flags` are the interpreter's.
Case = collections.namedtuple("Case", "text arguments flags env stdin stdout")

SHOW_MAIN = """
    import sys, __main__
    print(sys.argv, sys.path, sys.orig_argv, sys.flags, sys.warnoptions, sys._xoptions)
    for name in ("__name__", "__file__", "__package__", "__doc__", "__annotations__", "__cached__"):
        print(name, repr(globals().get(name, "missing")))
    print(type(__loader__), __spec__ and (__spec__.name, __spec__.origin, __spec__.parent), __builtins__)
    print(sorted(vars(__main__)), __main__.__dict__ is globals(), __name__ == "__main__")
"""


def case(text, arguments=None, flags=(), env=None, stdin=b"", stdout=None):
    return Case(text, arguments, flags, env, stdin, stdout)


CASES = {
    # What a program finds around it.
    "main": case(SHOW_MAIN, ["app.py", "-x", "--output", "a b", "-q", "--", "-m"]),
    "main_in_a_folder": case(SHOW_MAIN, ["folder/inner.py", "1"]),
    "main_by_a_full_path": case(SHOW_MAIN, ["{directory}/app.py"]),
    "main_of_a_package": case(SHOW_MAIN, ["-m", "package", "-m", "x"]),
    "main_of_a_module": case(SHOW_MAIN, ["-m", "package.part", "x"]),
    "main_of_a_top_module": case(SHOW_MAIN, ["-m", "app"]),
    "main_of_a_directory": case(SHOW_MAIN, ["directory", "x"]),
    "main_of_a_zip": case(SHOW_MAIN, ["app.zip", "x"]),
    "main_of_a_command": case("", ["-c", "import sys; print(sys.argv, sys.path, globals().keys(), __name__)", "-c",
                                  "y"]),
    "main_of_stdin": case("", ["-", "x"], stdin=b"import sys\nprint(sys.argv, sys.path, globals().keys())\n"),
    "command_line_of_a_command": case("", ["-c", "  import sys; print(sys.orig_argv)".strip(), "-c", "--", "y"]),
    "command_line_of_stdin": case("", ["-", "x"], stdin=b"import sys; print(sys.orig_argv)"),
    "command_line_with_flags": case(SHOW_MAIN, ["app.py", "-m", "x"], flags=["-B", "-X", "dev", "-Wignore::UserWarning"]),
    "a_command_of_many_lines": case("", ["-c", "def f():\n    return 1 / 0\nf()"]),
    "module_and_its_package_are_imported": case("", ["-m", "package.part"]),
    "program_in_a_symbolic_link": case(SHOW_MAIN, ["link.py"]),
    "imports_beside_the_program": case("import beside; print(beside.__file__, beside.__name__)"),
    "imports_itself": case("import app, __main__; print(app is __main__, app.__name__)"),
    "pickles_its_own_classes": case("""
        import pickle
        class Own: pass
        print(type(pickle.loads(pickle.dumps(Own()))) is Own, Own.__module__)
        """),
    "finds_its_own_source": case("import inspect\ndef f():\n    return 1\nprint(inspect.getsource(f))"),
    "futures_flags": case("from __future__ import annotations\ndef f(x: y): pass\nprint(f.__annotations__)"),
    "no_futures_flags_of_ours": case("def f(x: int): pass\nprint(f.__annotations__, f.__code__.co_flags)"),
    "stack_at_the_top": case("""
        import sys, traceback, inspect
        traceback.print_stack()
        print(len(inspect.stack()), sys._getframe().f_back)
        try:
            sys._getframe(1)
        except ValueError as error:
            print(error)
        """),
    "stack_in_a_thread": case("""
        import threading, traceback
        thread = threading.Thread(target=traceback.print_stack)
        thread.start()
        thread.join()
        """),
    "trace_functions": case("import sys, threading; print(sys.gettrace(), sys.getprofile(), threading.gettrace())"),
    "profile_function_of_its_own": case("""
        import sys
        def f(n):
            return n and f(n - 1)
        def gen():
            yield 1
            yield 2
        for use in (sys.setprofile, sys.settrace):
            seen = []
            def see(frame, event, argument):
                # 3.12 tells a line again when a call in it has returned, but with a frame evaluation function it does not.
                if event != "line" or seen[-1][1] != "return":
                    seen.append((frame.f_code.co_name, event, frame.f_lineno))
                return see
            use(see)
            f(3); list(gen())
            use(None)
            print(seen)
        """),
    "open_files": case("""
        import os
        print(os.open("/dev/null", os.O_RDONLY), os.pipe(), sorted(os.listdir("/proc/self/fd"), key=int)[:6])
        os.closerange(3, 10)
        """),
    "threads_at_the_start": case("""
        import threading, sys
        print(threading.enumerate(), list(sys._current_frames().values()))
        """),
    "environment": case("import os; print(sorted(key for key in os.environ if key != '_'), os.getcwd())"),
    "garbage_collector": case("""
        import gc
        print(gc.isenabled(), gc.get_threshold(), gc.callbacks, gc.get_freeze_count())
        """),
    "warning_filters": case("""
        import warnings
        print(warnings.filters)
        warnings.warn('here')
        warnings.warn('there', DeprecationWarning)
        """),
    "hooks": case("""
        import sys, threading
        print(sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook, sys.breakpointhook)
        print(sys.meta_path, len(sys.path_hooks), sys.getswitchinterval(), sys.getrecursionlimit())
        print(sys.stdout, sys.stderr, sys.stdin, sys.stdout.line_buffering)
        """),
    "signals_at_the_start": case("""
        import signal
        print([(s, signal.getsignal(s)) for s in sorted(signal.valid_signals())], signal.pthread_sigmask(0, []))
        """),
    "limits": case("import resource; print([resource.getrlimit(k) for k in range(10)])"),

    # How it ends.
    "exception": case("def f():\n    g()\ndef g():\n    raise LookupError('here')\nf()"),
    "exception_with_cause_and_notes": case("""
        try:
            try:
                {}["a"]
            except KeyError as error:
                error.add_note("a note")
                raise ValueError("b") from error
        except ValueError:
            raise ExceptionGroup("c", [OSError(1, "d"), TypeError("e")])
        """),
    "exception_in_a_module": case("", ["-m", "package.broken"]),
    "exception_in_an_import": case("import package.broken"),
    "exception_from_stdin": case("", ["-"], stdin=b"def f():\n    1 / 0\nf()\n"),
    "exception_in_a_directory": case("1 / 0", ["directory"]),
    "exception_in_a_zip": case("1 / 0", ["app.zip"]),
    "exception_in_a_thread": case("""
        import threading
        def f():
            raise LookupError
        thread = threading.Thread(target=f, name="one")
        thread.start()
        thread.join()
        """),
    "exception_in_a_generator": case("def g():\n    yield 1\n    1 / 0\nfor x in g():\n    print(x)"),
    "exit": case("import sys; sys.exit()"),
    "exit_0": case("raise SystemExit(0)"),
    "exit_3": case("import sys; sys.exit(3)"),
    "exit_true": case("import sys; sys.exit(True)"),
    "exit_257": case("import sys; sys.exit(257)"),
    "exit_negative": case("import sys; sys.exit(-1)"),
    "exit_huge": case("import sys; sys.exit(10 ** 30)"),
    "exit_text": case("import sys; print('a'); sys.exit('a text')"),
    "exit_object": case("import sys; sys.exit([1, None])"),
    "exit_by_builtin": case("print('a', end=''); exit(4)"),
    "exit_in_a_module": case("", ["-m", "package.leaves"]),
    "exit_in_a_thread": case("""
        import threading, sys
        thread = threading.Thread(target=lambda: sys.exit(3))
        thread.start()
        thread.join()
        print("on")
        """),
    "exit_with_a_finally": case("try:\n    raise SystemExit(5)\nfinally:\n    print('last')"),
    "os_exit": case("import os; print('lost in the buffer', end=''); os._exit(7)"),
    "os_exit_in_a_thread": case("""
        import os, threading, time
        threading.Thread(target=os._exit, args=(9,)).start()
        time.sleep(60)
        """),
    "abort": case("import os; os.abort()"),
    "keyboard_interrupt": case("raise KeyboardInterrupt"),
    "keyboard_interrupt_caught": case("""
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            print('caught')
        """),
    "sigint": case("""
        import os, signal, time
        def f():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        f()
        """),
    "sigint_caught": case("""
        import os, signal
        try:
            os.kill(os.getpid(), signal.SIGINT)
            while True: pass
        except KeyboardInterrupt:
            print("caught")
        """),
    "sigterm": case("import os, signal; os.kill(os.getpid(), signal.SIGTERM)"),
    "sigpipe": case("""
        import os, signal
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        r, w = os.pipe()
        os.close(r)
        os.write(w, b'x')
        """),
    "segfault": case("import ctypes; ctypes.string_at(0)"),
    "faulthandler": case("""
        import faulthandler, sys
        faulthandler.dump_traceback(sys.stdout, all_threads=False)
        def f():
            faulthandler.dump_traceback(all_threads=False)
        f()
        """),
    "syntax_error": case("def f(:\n    pass\n"),
    "syntax_error_in_stdin": case("", ["-"], stdin=b"x = = 1\n"),
    "syntax_error_in_a_command": case("", ["-c", "x = = 1"]),
    "syntax_error_in_a_module": case("", ["-m", "package.mistaken"]),
    "indentation_error": case("if 1:\nx = 1\n"),
    "bad_encoding": case("# coding: nonsense\nprint(1)\n"),
    "latin_1": case("# coding: latin-1\nprint(ascii('\udce9'))\n"),
    "not_utf_8": case("print('\udce9')\n"),
    "byte_order_mark": case("\ufeffprint('mark')\n"),
    "empty": case(""),
    "no_final_newline": case("if 1:\n    print(2)"),
    "windows_lines": case("if 1:\r\n    print('''a\r\nb''')\r\n"),
    "excepthook": case("""
        import sys
        sys.excepthook = lambda kind, error, traceback: print("hook", kind, error, traceback.tb_lineno)
        raise ValueError("x")
        """),
    "excepthook_that_fails": case("import sys\ndef hook(*x):\n    1 / 0\nsys.excepthook = hook\nraise ValueError"),
    "excepthook_that_exits": case("import sys\nsys.excepthook = lambda *x: sys.exit(6)\nraise ValueError"),
    "threading_excepthook": case("""
        import threading
        threading.excepthook = lambda told: print(told.exc_type, told.thread.name)
        threading.Thread(target=lambda: 1 / 0, name="t").start()
        """),
    "unraisable": case("class A:\n    def __del__(self):\n        1 / 0\nA()\nprint('on')"),
    "unraisable_at_the_end": case("class A:\n    def __del__(self):\n        print('del'); 1 / 0\na = A()"),
    "atexit_order": case("""
        import atexit, threading
        atexit.register(print, "first registered")
        atexit.register(print, "second registered")
        threading._register_atexit(print, "threads ended")
        class A:
            def __del__(self):
                print("deleted")
        a = A()
        print("end of main")
        """),
    "atexit_fails": case("import atexit\natexit.register(lambda: 1 / 0)\natexit.register(lambda: print('on'))"),
    "atexit_exits": case("import atexit, sys\natexit.register(sys.exit, 8)"),
    "last_exception_is_kept": case("""
        import atexit, sys
        atexit.register(lambda: print(getattr(sys, "last_type", None), sys.last_traceback.tb_frame.f_code.co_name))
        1 / 0
        """),
    "module_globals_live_in_atexit": case("""
        import atexit
        value = [1]
        atexit.register(lambda: print(value, __name__))
        """),
    "generator_left_open": case("""
        def g():
            try:
                yield 1
            finally:
                print("closed")
        one = g()
        next(one)
        """),
    "coroutine_never_awaited": case("async def f(): pass\nf()\nprint('on')"),
    "stdout_full": case("print('x')", stdout="/dev/full"),
    "stdout_closed": case("import sys, os; print('lost'); sys.stdout.close(); os.close(2)"),
    "input": case("print(input('? '), input())", stdin=b"one\ntwo\n"),
    "input_ends": case("input()"),
    "output_in_order": case("""
        import os, sys
        for k in range(3):
            print(k, flush=True)
            os.write(1, b"raw\\n")
            print("err", k, file=sys.stderr)
        """),

    # Threads, processes, signals.
    "thread_outlives_main": case("""
        import threading
        main = threading.main_thread()
        def f():
            main.join()
            print("after main")
        threading.Thread(target=f).start()
        print("main ends")
        """),
    "daemon_threads": case("""
        import threading
        started = threading.Event()
        def f():
            started.set()
            while True:
                len("x")
        for _ in range(3):
            threading.Thread(target=f, daemon=True).start()
        started.wait()
        print("main ends")
        """),
    "daemon_threads_that_wait": case("""
        import threading
        started = threading.Event()
        def f():
            started.set()
            threading.Event().wait()
        threading.Thread(target=f, daemon=True).start()
        started.wait()
        print("main ends")
        """),
    "many_threads": case("""
        import threading
        seen = []
        threads = [threading.Thread(target=seen.append, args=(k,)) for k in range(300)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(seen))
        """),
    "fork": case("""
        import os
        def f(n):
            return n and 1 + f(n - 1)
        print(f(3), flush=True)
        child = os.fork()
        if child == 0:
            print("child", f(5), flush=True)
            os._exit(3)
        print("parent", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), f(7))
        """),
    "fork_that_ends_normally": case("""
        import atexit, os, sys
        atexit.register(lambda: print("atexit", os.getpid() == parent, flush=True))
        parent = os.getpid()
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        sys.exit("parent" if child else "child")
        """),
    "fork_of_fork": case("""
        import os, threading
        for _ in range(3):
            child = os.fork()
            if child:
                os.waitpid(child, 0)
            else:
                thread = threading.Thread(target=print, args=("in a thread",), kwargs={"flush": True})
                thread.start()
                thread.join()
                while os.path.exists(f"/proc/self/task/{thread.native_id}"): pass
        os._exit(0)
        """),
    "fork_in_a_thread": case("""
        import os, threading
        def f():
            child = os.fork()
            if child == 0:
                os._exit(len(threading.enumerate()))
            print(os.waitpid(child, 0)[1])
        thread = threading.Thread(target=f)
        thread.start()
        thread.join()
        """),
    "subprocess": case("""
        import subprocess, sys
        print(subprocess.run([sys.executable, "-c", "import sys; print(sys.argv, sorted(sys.modules)[:9])"],
                             capture_output=True, text=True))
        print(subprocess.run(["ls", "/proc/self/fd"], close_fds=False, capture_output=True, text=True).stdout)
        print(subprocess.run("exit 3", shell=True).returncode)
        """),
    "exec": case("""
        import os, sys
        print('before', flush=True)
        os.execv(sys.executable, [sys.executable, '-c', 'print(1)'])
        """),
    "multiprocessing": case("""
        import multiprocessing
        def f(x):
            return x * x
        if __name__ == "__main__":
            for method in ("fork", "spawn"):
                with multiprocessing.get_context(method).Pool(2) as pool:
                    print(pool.map(f, range(20)))
        """),
    "process_pool": case("""
        import concurrent.futures
        def f(x):
            return x + 1
        if __name__ == "__main__":
            with concurrent.futures.ProcessPoolExecutor(2) as pool:
                print(list(pool.map(f, range(10))))
        """),
    "signal_handlers": case("""
        import os, signal
        def handler(number, frame):
            print(number, frame.f_code.co_name)
        def f():
            for k in range(3):
                os.kill(os.getpid(), signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, handler)
        f()
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        signal.pause()
        print(signal.alarm(0))
        """),
    "signal_wakes_main": case("""
        import signal, threading, os, time
        def f():
            os.kill(os.getpid(), signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, lambda *x: 1 / 0)
        threading.Timer(0.05, f).start()
        try:
            time.sleep(60)
        except ZeroDivisionError:
            print("woken")
        """),

    # Limits.
    "recursion_limit": case("""
        import sys
        def depth(n):
            try:
                return depth(n + 1)
            except RecursionError:
                return n
        print(depth(0), sys.getrecursionlimit())
        sys.setrecursionlimit(150)
        print(depth(0))
        try:
            sys.setrecursionlimit(1)
        except RecursionError as error:
            print(error)
        """),
    "recursion_error": case("def f():\n    f()\nf()"),
    "recursion_in_a_thread": case("""
        import threading
        def depth(n):
            try:
                return depth(n + 1)
            except RecursionError:
                return n
        thread = threading.Thread(target=lambda: print(depth(0)))
        thread.start()
        thread.join()
        """),

    # The interpreter's own options.
    "development_mode": case("import sys; print(sys.flags.dev_mode); open('/dev/null')", env={"PYTHONDEVMODE": "1"}),
    "x_dev": case("open('/dev/null')", flags=("-X", "dev")),
    "optimized": case("assert False\nprint(__debug__)", flags=("-O",)),
    "optimized_twice": case("def f():\n    'doc'\nprint(f.__doc__)", flags=("-OO",)),
    "warnings_as_errors": case("import warnings\nwarnings.warn('x')", flags=("-W", "error")),
    "bytes_warnings": case("print(b'' == '')", flags=("-bb",)),
    "unbuffered": case("import os; print('a', end=''); os._exit(0)", flags=("-u",)),
    "safe_path": case(SHOW_MAIN, flags=("-P",)),
    "no_site": case("import sys; print('site' in sys.modules)", flags=("-S",)),
    "utf_8_off": case("import sys; print(sys.flags.utf8_mode, sys.stdout.encoding)", flags=("-X", "utf8=0"),
                      env={"LC_ALL": "POSIX"}),
    "inspect_off": case("import sys; print(sys.flags)"),
    "tracemalloc": case("import tracemalloc; print(tracemalloc.is_tracing())", flags=("-X", "tracemalloc=3")),
    "debug_allocator": case("print(sum(len([x] * 10) for x in range(1000)))", env={"PYTHONMALLOC": "debug"}),
}


class SameAsPlain(e2e.EndToEnd):
    def setUp(self):
        super().setUp()
        self.write("beside.py", "")
        self.write("package/__init__.py", "print('package', __name__)")
        self.write("package/broken.py", "def f():\n    raise LookupError\nf()")
        self.write("package/leaves.py", "import sys\nsys.exit(11)")
        self.write("package/mistaken.py", "x = = 1")

    def compare(self, one):
        app = self.write("app.py", one.text)
        for name in ("folder/inner.py", "package/part.py", "package/__main__.py", "directory/__main__.py"):
            self.write(name, one.text)
        os.symlink("folder/inner.py", self.path("link.py"))
        with zipfile.ZipFile(self.path("app.zip"), "w") as file:
            file.write(app, "__main__.py")
        arguments = [part.format(directory=self.directory) if "{directory}" in part else part
                     for part in one.arguments or ["app.py"]]
        settings = dict(cwd=self.directory, flags=one.flags, env=one.env, stdin=one.stdin)
        capture = self.path("run.pnr")
        with open(one.stdout or os.devnull, "w") as stdout:
            if one.stdout:
                settings["stdout"] = stdout
            plain = steady(e2e.plain(arguments, **settings))
            found = steady(e2e.recorded(capture, arguments, **settings))
        self.assertEqual(found.err, plain.err)
        self.assertEqual(found.out, plain.out)
        self.assertEqual(found.status, plain.status)
        if re.search("^(Syntax|Indentation)Error", plain.err, re.M) and not os.path.exists(capture):
            return          # nothing ran
        # A capture of it converts; the recorder's own code is not in it.
        trace = e2e.Trace(e2e.convert(capture))
        self.assertFalse([one for one in trace.slices if "panopticon_rec" in one.function.src][:3])


def steady(finished):
    """Without the addresses of objects and the identifiers of threads and processes."""
    varying = r"0x[0-9a-f]{6,}|(?<=started )\d+|(?<=pid=)\d+"
    return finished._replace(out=re.sub(varying, "N", finished.out), err=re.sub(varying, "N", finished.err))


def add(name, one):
    def test(self):
        self.compare(one)

    setattr(SameAsPlain, f"test_{name}", test)


for name, one in CASES.items():
    add(name, one)


class Environment(e2e.EndToEnd):
    def test_modules_at_the_start(self):
        """No module is loaded for the recorder but its own and those that python3 -m loads for any program."""
        self.write("show.py", "import sys\nprint(*sorted(sys.modules))")
        as_script = set(e2e.plain(["show.py"], cwd=self.directory).out.split())
        as_module = set(e2e.plain(["-m", "show"], cwd=self.directory).out.split())
        found = set(e2e.recorded(self.path("run.pnr"), ["show.py"], cwd=self.directory).out.split())
        ours = {name for name in found if name.partition(".")[0] == "panopticon_rec"}
        self.assertEqual(found - ours - as_script - as_module, set())
        self.assertEqual(as_script - found, set())

    def test_sigint_from_outside(self):
        """The signal comes while the program waits in C code."""
        program = self.write("app.py", """
            import socket, sys
            def wait():
                with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as end:
                    end.send(b"!")
                    end.recv(1)
            wait()
            """)
        found = []
        for how in ("plain", "recorded"):
            with socket.create_server(("127.0.0.1", 0)) as server:
                port = str(server.getsockname()[1])
                command = [e2e.PYTHON, program, port]
                if how == "recorded":
                    command = e2e.recorder(self.path("run.pnr"), [program, port])
                process = e2e.subprocess.Popen(command, stderr=e2e.subprocess.PIPE, env=e2e.environment())
                with server.accept()[0] as end:
                    end.recv(1)
                    e2e.wait_until_it_sleeps(process.pid)
                    process.send_signal(e2e.signal.SIGINT)
                    err = process.communicate(timeout=60)[1]
                found.append((process.returncode, err))
        self.assertEqual(found[0][0], -e2e.signal.SIGINT)
        self.assertEqual(found[0], found[1])
        trace = e2e.Trace(e2e.convert(self.path("run.pnr")))
        self.assertEqual([one.flags for one in trace.named("__main__.wait")], [{"exception"}])


class CommandLine(e2e.EndToEnd):
    """However the recorder is named, the program finds the command line, and all else, that it has without."""

    def test_ways_to_name_the_recorder(self):
        show = self.write("app.py", SHOW_MAIN)
        for name in "directory/__main__.py", "package/part.py":
            self.write(name, SHOW_MAIN)
        package = os.path.join(e2e.BUILD, "panopticon_rec")
        ways = (["-mpanopticon_rec"], ["-Bmpanopticon_rec"], ["-Bm", "panopticon_rec"], ["-m", "panopticon_rec.__main__"],
                [package], [package + "/"], [package + "/__main__.py"], ["panopticon_rec"])
        os.symlink(package, self.path("panopticon_rec"))
        for way in ways:
            for arguments in ["app.py", "-m", "panopticon_rec"], ["-m", "package.part", "x"], ["directory"]:
                for safe in [], ["-P"]:
                    with self.subTest(way=way, arguments=arguments, safe=safe):
                        given = ["-B"] if way[0].startswith("-B") else []
                        plain = e2e.plain(arguments, flags=[*safe, *given], cwd=self.directory)
                        found = e2e.run([e2e.PYTHON, *safe, *way, "-q", "-o", "run.pnr", "--force", *arguments],
                                        cwd=self.directory)
                        self.assertEqual(steady(found), steady(plain))
        self.assertTrue(os.path.exists(show))


class Prompt(e2e.EndToEnd):
    """With -i, and with PYTHONINSPECT, the interpreter asks for more when the program has ended."""

    PROGRAMS = {
        "good": "print('good')\nvalue = 5",
        "bad": "value = 6\nraise LookupError('the program\'s')",
        "exits": "import sys\nvalue = 7\nsys.exit(3)",
        "asks": "import os\nvalue = 8\nos.environ['PYTHONINSPECT'] = '1'",
        "asks_and_fails": "import os\nvalue = 9\nos.environ['PYTHONINSPECT'] = '1'\n1 / 0",
    }
    ASK = (b"import sys; print(value, repr(getattr(sys, 'last_value', None)), sys.argv, __name__)\n"
           b"def more(): pass\n\nmore()\n")

    def compare(self, run, name, flags, env):
        app = self.write("app.py", self.PROGRAMS[name])
        self.write("package/__init__.py", "")
        self.write("package/__main__.py", self.PROGRAMS[name])
        for arguments in [app], ["-m", "package"], ["-c", self.PROGRAMS[name]]:
            with self.subTest(name, flags=flags, env=env, arguments=arguments):
                plain = run([e2e.PYTHON, *flags, *arguments], env)
                self.assertEqual(steady(run([e2e.PYTHON, *flags, "-m", "panopticon_rec", "-q", "--force", *arguments], env)),
                                 steady(plain))
        return e2e.Trace(e2e.convert(self.path("run.pnr"))).count()["__main__.more"]

    def test_without_a_terminal(self):
        def run(command, env):
            return e2e.run(command, cwd=self.directory, env=env, stdin=self.ASK)

        for name in self.PROGRAMS:
            self.assertEqual(self.compare(run, name, ["-i"], {}), 1)
            for flags, env in ([], {"PYTHONINSPECT": "1"}), (["-E"], {"PYTHONINSPECT": "1", "PYTHONPATH": ""}), ([], {}):
                if "-E" not in flags:           # else the recorder is not found
                    self.assertEqual(self.compare(run, name, flags, env), 0)

    def test_at_a_terminal(self):
        def run(command, env):
            pid, terminal = pty.fork()
            if not pid:
                os.chdir(self.directory)
                os.execve(command[0], command, e2e.environment(PYTHON_BASIC_REPL="1", TERM="dumb", **env))
            os.write(terminal, self.ASK + b"raise SystemExit(5)\n")
            out = b""
            try:
                while part := os.read(terminal, 4096):
                    out += part
            except OSError:                     # its other end is closed
                pass
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            os.close(terminal)
            # What is typed, and the prompts, come when they come.
            lines = [line for line in out.decode().splitlines() if not line.startswith((">>>", "...")) and line not in typed]
            return e2e.Finished(status, "\n".join(sorted(lines)), "")

        typed = (*self.ASK.decode().splitlines(), "raise SystemExit(5)")
        for name in self.PROGRAMS:
            for env in {}, {"PYTHONINSPECT": "1"}:
                self.compare(run, name, [], env)


class Shadows(e2e.EndToEnd):
    """Modules of the program that have the names of those that the recorder needs."""

    NAMES = ("argparse atexit base64 bz2 codecs contextlib copy enum fcntl functools gettext inspect io json keyword "
             "linecache locale marshal math operator os pathlib posixpath random re reprlib runpy shutil signal stat string struct "
             "subprocess sysconfig tempfile textwrap threading tokenize traceback types warnings weakref zipfile").split()

    def setUp(self):
        super().setUp()
        for name in self.NAMES:
            self.write(f"shadows/{name}.py", f"print('shadow', {name!r}, __name__)")
        self.shadows = self.path("shadows")

    def check(self, arguments, options=(), err="", **more):
        """The same output: a shadow prints a line when it is imported."""
        plain = e2e.plain(arguments, **more)
        found = e2e.recorded(self.path("run.pnr"), arguments, options=["-q", "--force", *options], **more)
        self.assertEqual(found, plain)
        return plain

    def remove_needed(self, arguments, **more):
        """Those that the interpreter, site and -m import themselves, before any program, are no business of ours."""
        while found := {line.split()[1] for line in e2e.plain(arguments, **more).out.splitlines() if "shadow" in line}:
            for name in found:
                os.remove(f"{self.shadows}/{name}.py")

    def test_in_the_current_directory(self):
        self.remove_needed(["-m", "nothing_there"], cwd=self.shadows)
        self.write("shadows/app.py", "import json, locale, shutil, sys\nprint(json.__file__, sorted(sys.modules) and 1)")
        self.write("shadows/package/__main__.py", "import argparse, re, signal\nprint(argparse.__file__, re.__file__)")
        plain = self.check(["app.py"], cwd=self.shadows)
        self.assertIn("shadow json", plain.out)
        self.check(["-m", "package"], cwd=self.shadows)
        self.check(["package"], cwd=self.shadows)
        self.remove_needed(["-c", "pass"], cwd=self.shadows)    # from 3.13 on: linecache and what that needs
        self.check(["-c", "import argparse, signal; print(argparse.__file__)"], cwd=self.shadows)
        self.check(["../shadows/app.py"], cwd=self.shadows)
        for options in (["--no-stdlib", "--exclude", "x*"], ["--max-size", "20M", "--last", "20s", "--snapshot-on", "USR2"],
                        ["--toggle-on", "USR1"], ["--follow", "none"]):
            self.check(["app.py"], options, cwd=self.shadows)
        self.check(["app.py"], ["-o", self.path("out.trace")], cwd=self.shadows)
        self.assertTrue(os.path.exists(self.path("out.trace")))
        for arguments in ["--help"], ["--nonsense"], ["missing.py"]:
            finished = e2e.run([e2e.PYTHON, "-m", "panopticon_rec", *arguments], cwd=self.shadows)
            self.assertNotIn("shadow", finished.out + finished.err)

    def test_on_the_path(self):
        """In PYTHONPATH, before the standard library, in the program and in the interpreters that it starts."""
        env = {"PYTHONPATH": f"{e2e.BUILD}:{self.shadows}"}
        self.remove_needed(["-m", "nothing_there"], env=env)
        app = self.write("app.py", """
            import sys
            if sys.argv[1:]:
                import json
                print(json.__file__)
            else:
                import _posixsubprocess, os
                os.spawnv(os.P_WAIT, sys.executable, [sys.executable, sys.argv[0], "child"])
            def work(): pass
            work()
            """)
        self.check([app], env=env)
        self.assertEqual(e2e.Trace(e2e.convert(self.path("run.pnr"))).count()["__main__.work"], 2)


class Options(e2e.EndToEnd):
    HELLO = ["-c", "print('hello')"]

    def record_with(self, options, arguments=HELLO, **more):
        return e2e.run([e2e.PYTHON, "-m", "panopticon_rec", *options, *arguments], cwd=self.directory, **more)

    def assertRefused(self, finished, text=""):
        """One line that names what is wrong; no traceback, no program run."""
        self.assertNotEqual(finished.status, 0)
        self.assertEqual(finished.out, "")
        self.assertEqual(len(finished.err.splitlines()), 1, finished.err)
        self.assertIn(text, finished.err)

    def test_default_names_never_overwrite(self):
        for name in ("run.pnr", "run-2.pnr", "run-3.pnr"):
            finished = self.record_with([])
            self.assertEqual((finished.status, finished.out), (0, "hello\n"))
            self.assertIn(name, finished.err)
            self.assertTrue(os.path.isdir(self.path(name)))

    def test_given_name_never_overwrites(self):
        for name in ("a.pnr", "a-2.pnr"):
            finished = self.record_with(["-o", "a.pnr"])
            self.assertIn(name, finished.err)
            self.assertTrue(os.path.isdir(self.path(name)))

    def test_force(self):
        self.record_with(["-q"], ["-c", "def old(): pass\nold()"])
        finished = self.record_with(["-q", "--force"], ["-c", "def new(): pass\nnew()"])
        self.assertEqual((finished.status, finished.err), (0, ""))
        self.assertEqual(os.listdir(self.directory), ["run.pnr"])
        names = self.trace_of("run.pnr").count()
        self.assertEqual((names["__main__.old"], names["__main__.new"]), (0, 1))

    def trace_of(self, name):
        return e2e.Trace(e2e.convert(self.path(name)))

    def test_force_removes_only_captures(self):
        self.write("run.pnr/precious", "text")
        self.assertRefused(self.record_with(["--force"]), "run.pnr")
        self.assertTrue(os.path.exists(self.path("run.pnr/precious")))

    def test_summary(self):
        finished = self.record_with([], ["-c", "def f(): pass\nfor _ in range(1000): f()"])
        self.assertEqual(len(finished.err.splitlines()), 1)
        slices = len(self.trace_of("run.pnr").slices)       # what site has imported may run at the end, too
        self.assertGreaterEqual(slices, 1001)
        self.assertIn(f" {2 * slices} events", finished.err)
        self.assertIn("panopticon-convert run.pnr", finished.err)

    def test_summary_has_a_command_to_paste(self):
        for name in "it's a $run.pnr", "a;b*.pnr", "tab\t.pnr", "\u00fc.pnr":
            line = self.record_with(["-o", name]).err
            self.assertEqual(shlex.split(line.rpartition("lost; ")[2]), ["panopticon-convert", name])
        self.assertIn(" panopticon-convert \u00fc.pnr\n", line)

    def test_quiet(self):
        self.assertEqual(self.record_with(["-q"]), e2e.Finished(0, "hello\n", ""))

    def test_summary_after_the_programs_output(self):
        finished = self.record_with([], ["-c", "import atexit, sys\natexit.register(print, 'last', file=sys.stderr)"])
        lines = finished.err.splitlines()
        self.assertEqual(lines[0], "last")
        self.assertEqual(len(lines), 2)

    def test_options_after_a_command(self):
        command = ["-c", "import sys; print(sys.argv)"]
        finished = self.record_with(command + ["-o", "print_hello.trace", "-q"], [])
        self.assertEqual(finished, e2e.Finished(0, "['-c']\n", ""))
        self.assertIn("__main__.<module>", e2e.Trace(self.path("print_hello.trace")).count())
        for after, left in ((["x", "-o", "y"], ["-c", "x", "-o", "y"]), (["-q", "--", "-o", "y"], ["-c", "-o", "y"]),
                            (["-q", "-x"], ["-c", "-x"])):
            self.assertEqual(self.record_with(command + after, []).out, f"{left}\n")

    def test_trace_as_output(self):
        for name in ("print_hello.trace", "print_hello.json"):
            finished = self.record_with(["-o", name])
            self.assertEqual((finished.status, finished.out), (0, "hello\n"))
            self.assertLessEqual(len(finished.err.splitlines()), 1)
            self.assertIn("__main__.<module>", e2e.Trace(self.path(name)).count())
        self.assertEqual(sorted(os.listdir(self.directory)), ["print_hello.json", "print_hello.trace"])

    @e2e.once
    def test_other_formats_as_output(self):
        for name in ("a.trace.gz", "a.json.zst", "a.folded", "a.folded.gz", "a.pstats", "a.prof", "a.pftrace",
                     "a.perfetto-trace"):
            finished = self.record_with(["-o", name])
            self.assertEqual((finished.status, finished.out), (0, "hello\n"), finished.err)
        with gzip.open(self.path("a.trace.gz"), "rt", encoding="utf-8") as file:
            self.assertIn("__main__.<module>", [event["name"] for event in json.load(file)["traceEvents"]])
        with gzip.open(self.path("a.folded.gz"), "rb") as file:
            self.assertIn(b"__main__.<module> ", file.read())
        self.assertIn(("<string>", 1, "<module>"), pstats.Stats(self.path("a.prof")).stats)
        with open(self.path("a.pftrace"), "rb") as file:
            self.assertIn(b"__main__.<module>", file.read())
        self.assertEqual(len(os.listdir(self.directory)), 8)

    def test_trace_as_output_keeps_the_exit_status(self):
        self.assertEqual(self.record_with(["-q", "-o", "a.trace"], ["-c", "exit(5)"]).status, 5)
        self.assertIn("__main__.<module>", e2e.Trace(self.path("a.trace")).count())

    def test_trace_as_output_while_a_child_runs(self):
        app = self.write("app.py", """
            import os, time
            def late(): pass
            if os.fork() == 0:
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, 1)
                os.dup2(null, 2)
                while not os.path.exists("go"): time.sleep(0.01)
                late()
                os._exit(0)
            """)
        finished = self.record_with(["-q", "-o", "a.trace"], [app])
        self.assertEqual((finished.status, finished.out), (0, ""))
        self.assertIn("other processes go on: the capture is " + self.path("a.trace.pnr"), finished.err)
        self.assertEqual(e2e.Trace(self.path("a.trace")).count()["__main__.late"], 0)
        self.write("go", "")
        while any("live" in files for _, _, files in os.walk(self.path("a.trace.pnr"))):
            time.sleep(0.01)
        self.assertEqual(e2e.Trace(e2e.convert(self.path("a.trace.pnr"))).count()["__main__.late"], 1)

    def test_trace_as_output_of_a_program_that_goes_into_the_background(self):
        """Its child has come to no event when its parent's end is over: it waits in the statement in which it was
        forked."""
        app = self.write("app.py", """
            import os
            def late(): pass
            reader, writer = os.pipe()
            if os.fork(): os._exit(0)
            if os.close(writer) or os.read(reader, 1) == b"": late()
            """)
        finished = self.record_with(["-q", "-o", "a.trace"], [app])      # up to the child's end, which has its output
        self.assertEqual((finished.status, finished.out), (0, ""))
        self.assertIn("other processes go on: the capture is " + self.path("a.trace.pnr"), finished.err)
        self.assertEqual(e2e.Trace(self.path("a.trace")).count()["__main__.late"], 0)
        self.assertEqual(e2e.Trace(e2e.convert(self.path("a.trace.pnr"))).count()["__main__.late"], 1)
        app = self.write("app.py", """
            import os
            reader, writer = os.pipe()
            pid = os.fork()
            if not pid:
                os.dup2(reader, 0)
                os.execv("/bin/cat", ["/bin/cat"])
            while open(f"/proc/{pid}/comm").read() != "cat\\n": pass
            """)
        self.assertEqual(self.record_with(["-q", "-o", "b.trace"], [app]).err, "")
        self.assertFalse(os.path.exists(self.path("b.trace.pnr")), "what has become another program does not count")

    def test_help_and_version(self):
        for option in ("-h", "--help", "--version"):
            finished = self.record_with([option], [])
            self.assertEqual((finished.status, finished.err), (0, ""))
            self.assertTrue(finished.out)
        self.assertEqual(os.listdir(self.directory), [])

    def test_old_names(self):
        """They go on working, and are not in the help."""
        for options in ["--when-full", "drop"], ["--when-full=wait"], ["--on-overflow", "discard"], ["--on-overflow=block"]:
            self.assertEqual(self.record_with(["-q", *options]), e2e.Finished(0, "hello\n", ""))
        self.assertRefused(self.record_with(["--when-full=never"]), "'never'")
        for flag in "-h", "--help":
            self.assertNotIn("when-full", self.record_with([flag], []).out)

    def test_wrong_usage(self):
        for arguments in ([], ["-m"], ["-c"], ["--nonsense", "app.py"], ["-o"]):
            finished = self.record_with(arguments, [])
            self.assertNotEqual(finished.status, 0)
            self.assertNotIn("Traceback", finished.err)
            self.assertTrue(finished.err)
        self.assertEqual(os.listdir(self.directory), [])

    def test_missing_programs(self):
        os.symlink("loop", self.path("loop"))
        os.mkdir(self.path("empty"))
        self.write("package/__init__.py", "")
        for arguments, text in ((["missing.py"], "missing.py"), (["loop"], "loop"), (["empty"], "empty"),
                                (["-m", "missing"], "missing"), (["-m", "package"], "package"),
                                (["-m", "package.missing"], "missing")):
            with self.subTest(arguments=arguments):
                plain = e2e.plain(arguments, cwd=self.directory)
                finished = self.record_with(["-q"], arguments)
                self.assertRefused(finished, text)
                self.assertEqual(finished.status, plain.status)

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_unreadable_program(self):
        os.chmod(self.write("app.py", "print(1)"), 0)
        self.assertRefused(self.record_with(["-q"], ["app.py"]), "app.py")

    def test_unwritable_outputs(self):
        self.write("file", "text")
        for output in ("file", "file/run.pnr", "missing/run.pnr", "/proc/run.pnr", "/dev/null", "", "missing/a.trace"):
            with self.subTest(output=output):
                self.assertRefused(self.record_with(["-o", output]), output)
        with open(self.path("file")) as file:
            self.assertEqual(file.read(), "text")

    def test_name_too_long(self):
        self.assertRefused(self.record_with(["-o", "x" * 300]))

    def test_unusual_names(self):
        for name in ("a b.pnr", "\u20ac.pnr", "-o.pnr", "new\nline.pnr"):
            with self.subTest(name=name):
                finished = self.record_with(["-q", f"--output={name}"])
                self.assertEqual(finished, e2e.Finished(0, "hello\n", ""))
                self.assertTrue(os.path.isdir(self.path(name)))

    def test_program_changes_directory(self):
        os.mkdir(self.path("elsewhere"))
        self.record_with(["-q"], ["-c", "import os; os.chdir('elsewhere')\ndef f(): pass\nf()"])
        self.assertEqual(self.trace_of("run.pnr").count()["__main__.f"], 1)

    def test_program_removes_its_capture(self):
        """The program runs on to its own end."""
        finished = self.record_with(["-q"], ["-c", "import shutil; shutil.rmtree('run.pnr'); print(1)"])
        self.assertEqual((finished.status, finished.out), (0, "1\n"))
        self.assertNotIn("Traceback", finished.err)

    def test_program_closes_all_files(self):
        finished = self.record_with(["-q"], [self.write("app.py", """
            import os
            def f(): pass
            os.closerange(3, 65536)
            for _ in range(100_000): f()
            print(1)
            """)])
        self.assertEqual((finished.status, finished.out), (0, "1\n"))
        self.assertNotIn("Traceback", finished.err)
        trace = e2e.Trace(e2e.convert(self.path("run.pnr")))
        self.assertEqual(trace.count()["__main__.f"], 100_000)

    def test_program_limits_file_size(self):
        """A full disk, as the program could see it: it runs on, what was lost is reported."""
        text = """
            import resource
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
            def f(n):
                return n and f(n - 1)
            for k in range(40_000):
                f(k % 50)
            print("done")
            """
        finished = self.record_with([], [self.write("app.py", text)])
        self.assertEqual((finished.status, finished.out), (0, "done\n"))
        self.assertIn("lost", finished.err)
        self.assertNotIn("Traceback", finished.err)


if __name__ == "__main__":
    unittest.main()
