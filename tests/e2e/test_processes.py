"""Child processes: each writes its own files into the capture, and the trace shows it as a process, in whatever way it
was made and however it ends."""

import collections
import os
import shutil
import subprocess
import sys

from e2e import BUILD, PYTHON, CONVERT, EndToEnd, Trace, convert, environment, plain, process_directories, recorded, recorder, run

# What every program below does in each process: f(n) calls itself n times, so the trace shows what ran where.
DEFINITIONS = """
    import os, sys, time

    def f(n):
        return n and f(n - 1)

    def wait(pid):
        status = os.waitpid(pid, 0)[1]
        return os.waitstatus_to_exitcode(status)
"""


class Processes(EndToEnd):

    def check(self, text, *arguments, options=("-q",), status=0, err="", env=None):
        """Runs a program without and with the recorder: the same comes of it. Returns the trace and how often f was
        called in each process."""
        script = self.write("app.py", DEFINITIONS + text)
        alone = plain([script, *arguments], cwd=self.directory, env=env)
        self.assertEqual((alone.status, alone.err), (status, err))
        capture = self.path("run.pnr")
        shutil.rmtree(capture, ignore_errors=True)
        finished = recorded(capture, [script, *arguments], cwd=self.directory, options=options, env=env)
        self.assertEqual(finished, alone)
        trace = Trace(convert(capture))
        return trace, self.count(trace)

    def count(self, trace, name="__main__.f"):
        named = [one for one in trace.slices if one.function.name.replace("__mp_main__", "__main__") == name]
        counts = collections.Counter(one.thread[0] for one in named)
        return sorted(counts[process] for process in trace.processes)

    def test_fork(self):
        trace, counts = self.check("""
    def child():
        f(4)
        os._exit(3)

    def parent():
        f(1)
        pid = os.fork()
        if not pid:
            child()
        f(2)
        return wait(pid)

    print(parent())
        """)
        self.assertEqual(counts, [5, 5])
        self.assertEqual(sorted(trace.processes.values()), [self.path("app.py"), self.path("app.py") + " (fork)"])
        # the frames that were open at the fork
        inner = trace.named("__main__.child")[0]
        forked = inner.parent
        self.assertEqual((forked.function.name, forked.flags), ("__main__.parent", {"begin_unknown", "unfinished"}))
        self.assertEqual(forked.parent.function.name, "__main__.<module>")
        # clocks agree: it began after the parent's f(1) and before the parent's last call had ended
        first, *_, last = sorted(one.begin for one in trace.named("__main__.f") if one.thread[0] != inner.thread[0])
        self.assertLess(first, inner.begin)
        self.assertLess(inner.end, trace.named("__main__.wait")[0].end)

    def test_forked_child_runs_to_the_end(self):
        trace, counts = self.check("""
    import atexit
    pid = os.fork()
    if pid:
        print(wait(pid))
    else:
        atexit.register(f, 6)
        f(3)
        sys.exit(5)
        """)
        self.assertEqual(counts, [0, 11])

    def test_fork_of_fork_and_fork_in_a_thread(self):
        trace, counts = self.check("""
    import threading
    def generations(n):
        f(n)
        if n < 5:
            pid = os.fork()
            if pid:
                code = wait(pid)
                os._exit(code) if n > 1 else print(code)
            else:
                generations(n + 1)
                os._exit(n)
    thread = threading.Thread(target=generations, args=(1,))
    thread.start()
    thread.join()
        """, env={"PYTHONWARNINGS": "ignore"})
        self.assertEqual(counts, [2, 3, 4, 5, 6])

    def test_ends_of_children(self):
        """Return, os._exit, an exception, SIGKILL, SIGTERM, abort, exec of something else."""
        trace, counts = self.check("""
    import signal
    ends = [lambda: None, lambda: os._exit(1), lambda: os.kill(os.getpid(), signal.SIGKILL),
            lambda: os.kill(os.getpid(), signal.SIGTERM), lambda: os.abort(), lambda: os.execv("/bin/true", ["true"])]
    for n, end in enumerate(ends):
        pid = os.fork()
        if not pid:
            f(n)
            end()
            os._exit(0)
        print(wait(pid))
        """)
        self.assertEqual(counts, [0, 1, 2, 3, 4, 5, 6])

    def test_fork_then_exec(self):
        trace, counts = self.check("""
    if sys.argv[1:]:
        f(int(sys.argv[1]))
    else:
        for n in range(3):
            pid = os.fork()
            if not pid:
                os.execv(sys.executable, [sys.executable, sys.argv[0], str(n)])
            print(wait(pid))
        """)
        self.assertEqual(sum(counts), 1 + 2 + 3)

    def test_subprocess(self):
        trace, counts = self.check("""
    import subprocess
    if sys.argv[1:]:
        f(int(sys.argv[1]))
        print(sys.argv, sys.path[0] == os.path.dirname(os.path.abspath(sys.argv[0])), "sitecustomize" in sys.modules)
        print([entry for entry in sys.path if "panopticon" in entry and "follow" in entry])
        print([name for name in ("base64", "json", "struct") if name in sys.modules])
    else:
        for n in 3, 4:
            print(subprocess.run([sys.executable, *sys.argv, str(n)], stdout=subprocess.PIPE).stdout.decode())
        print(subprocess.check_output(["sh", "-c", "exec " + sys.executable + " " + sys.argv[0] + " 1"]).decode())
        print(subprocess.check_output([sys.executable, "-c", "import sys; print(sys.argv, repr(sys.path[0]))"]).decode())
        """)
        self.assertEqual(counts, [0, 0, 2, 4, 5])

    def test_environment(self):
        """The program finds one variable changed, and one that an interpreter can do without."""
        script = self.write("app.py", "import os\nprint(dict(os.environ))\n")
        alone = eval(plain([script]).out)
        with_recorder = eval(recorded(self.path("run.pnr"), [script]).out)
        different = {key for key in {**alone, **with_recorder} if alone.get(key) != with_recorder.get(key)}
        self.assertEqual(different, {"PYTHONPATH"})
        for follow in "fork", "none":
            found = eval(recorded(self.path("run.pnr"), [script], options=["-q", "--follow", follow]).out)
            self.assertEqual(found, alone)

    def test_sitecustomize_of_the_users(self):
        for text in "import sys\nsys.users_own = 'yes'\n", "1 / 0\n", "raise ImportError('no', name='sitecustomize')\n":
            site = os.path.dirname(self.write("site/sitecustomize.py", text))
            trace, counts = self.check("""
    import subprocess
    if sys.argv[1:]:
        f(1)
        print(getattr(sys, "users_own", None), sys.modules.get("sitecustomize"))
    else:
        done = subprocess.run([sys.executable, *sys.argv, "x"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        print(done.stdout.decode())
            """, env={"PYTHONPATH": BUILD + ":" + site}, err=plain(["-c", ""], env={"PYTHONPATH": BUILD + ":" + site}).err)
            self.assertEqual(counts, [0, 2])

    def test_multiprocessing(self):
        for method in "fork", "spawn", "forkserver":
            with self.subTest(method):
                trace, counts = self.check("""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    def work(n):
        f(n)
        return n, multiprocessing.current_process().name

    if __name__ == "__main__":
        multiprocessing.set_start_method(sys.argv[1])
        process = multiprocessing.Process(target=work, args=(7,), name="the seventh")
        process.start()
        process.join()
        print(process.exitcode)
        with ProcessPoolExecutor(2) as executor:
            print(sum(n for n, _ in executor.map(work, range(20))))
        pool = multiprocessing.Pool(2)
        print(sum(n for n, _ in pool.map(work, range(10))))
        pool.terminate()
        pool.join()
                """, method, env={"PYTHONWARNINGS": "ignore"})
                self.assertEqual(sum(counts), 8 + sum(range(21)) + sum(range(11)))
                self.assertEqual(sum("the seventh" in name for name in trace.processes.values()), 1)
                if method == "fork":
                    self.assertEqual(len(trace.processes), 6)

    def test_follow(self):
        text = """
    import subprocess
    f(1)
    if sys.argv[1:] != ["end"]:
        pid = os.fork()
        if not pid:
            f(2)
            os._exit(0)
        print(wait(pid), subprocess.call([sys.executable, sys.argv[0], "end"]))
        """
        for follow, expected in ("all", [2, 2, 3]), ("fork", [2, 3]), ("none", [2]):
            self.assertEqual(self.check(text, options=["-q", "--follow", follow])[1], expected)

    def test_filters_and_c_calls_come_down(self):
        trace, counts = self.check("""
    import math, subprocess
    def main():
        f(2)
        return math.hypot(3, 4)
    main()
    if sys.argv[1:] != ["end"]:
        pid = os.fork()
        if not pid:
            main()
            os._exit(0)
        print(wait(pid), subprocess.call([sys.executable, sys.argv[0], "end"]))
        """, options=["-q", "--c-calls", "--include", "__main__", "--include", "math"])
        self.assertEqual(counts, [3, 3, 3])
        self.assertEqual(self.count(trace, "math.hypot"), [1, 1, 1])
        self.assertEqual({one.function.name.partition(".")[0] for one in trace.slices}, {"__main__", "math"})

    def test_pid_used_twice(self):
        """A process that is replaced by another program keeps its pid, and is another process."""
        trace, counts = self.check("""
    n = int(sys.argv[1])
    f(n)
    if n < 3:
        os.execv(sys.executable, [sys.executable, sys.argv[0], str(n + 1)])
        """, "1")
        self.assertEqual(counts, [2, 3, 4])
        names = process_directories(self.path("run.pnr"))
        self.assertEqual([name.count("-") for name in names], [1, 2, 2])

    def test_child_outlives_its_parent(self):
        """The parent waits for nobody; what the child does after is in the capture. The child waits for a file that is
        made when the parent has ended, and holds a pipe until its own end."""
        script = self.write("app.py", DEFINITIONS + """
    f(1)
    if not os.fork():
        os.close(0); os.close(1); os.close(2)
        while not os.path.exists("go"): time.sleep(0.01)
        f(4)
        """)
        capture = self.path("run.pnr")
        held, holds = os.pipe()
        with open(held, "rb") as child:
            with open(holds, "wb") as inherited:
                process = subprocess.Popen(recorder(capture, [script]), cwd=self.directory, env=environment(),
                                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                           pass_fds=[inherited.fileno()])
            self.assertEqual((process.communicate(timeout=120), process.returncode), ((b"", b""), 0))
            open(self.path("go"), "w").close()
            self.assertEqual(child.read(), b"")
        self.assertEqual(self.count(Trace(convert(capture))), [2, 5])

    def test_daemon_and_threads_in_children(self):
        trace, counts = self.check("""
    import threading
    def work():
        f(9)
    for i in range(2):
        pid = os.fork()
        if not pid:
            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            os._exit(0)
        wait(pid)
        """)
        self.assertEqual(counts, [0, 30, 30])

    def test_many_children(self):
        trace, counts = self.check("""
    for n in range(100):
        pid = os.fork()
        if not pid:
            f(1)
            os._exit(0)
        wait(pid)
        """)
        self.assertEqual(counts, [0] + [2] * 100)

    def test_recorder_interface(self):
        """A recording that begins inside a program follows, too; a child's stop ends the child's part. The default is
        that of the command line."""
        for follow, counts in ("", [2, 3, 4]), (', follow="all"', [2, 3, 4]), (', follow="fork"', [2, 3]):
            with self.subTest(follow):
                self.check_recorder_interface(follow, counts)
                shutil.rmtree(self.path("run.pnr"))

    def check_recorder_interface(self, follow, counts):
        script = self.write("app.py", DEFINITIONS + """
    import panopticon_rec, subprocess
    if sys.argv[1:]:
        f(3)
    else:
        before = os.environ.get("PYTHONPATH")
        with panopticon_rec.record("run.pnr"FOLLOW):
            f(1)
            pid = os.fork()
            if pid:
                wait(pid)
                subprocess.call([sys.executable, sys.argv[0], "x"])
            else:
                f(2)
        f(10)
        assert os.environ.get("PYTHONPATH") == before
        if not pid:
            os._exit(0)
        """.replace("FOLLOW", follow))
        finished = plain([script], cwd=self.directory)
        self.assertEqual(finished, (0, "", ""))
        self.assertEqual(self.count(self.trace()), counts)

    def test_the_recorders_name_in_a_command_line(self):
        """It decides nothing where it is none of the interpreter's words: an argument, a value, a file."""
        self.write("panopticon_rec.txt", "")
        trace, counts = self.check("""
    import subprocess
    words = [["panopticon_rec"], ["-m", "panopticon_rec"], ["--title=panopticon_rec"], ["panopticon_rec.txt"]]
    if sys.argv[1:2] == ["child"]:
        f(int(sys.argv[2]))
        print(sys.argv[3:], sys.orig_argv[1:])
    else:
        for word in words:
            print(subprocess.check_output([sys.executable, "-Wignore", sys.argv[0], "child", "4", *word]))
        print(subprocess.check_output([sys.executable, "-c", "print('panopticon_rec')", "panopticon_rec"]))
        """)
        self.assertEqual(counts, [0, 0, 5, 5, 5, 5])

    def test_a_child_that_is_the_recorder(self):
        """It records its program, once, into its own capture, and its program ends as ever; but see the next two
        tests."""
        trace, counts = self.check("""
    import panopticon_rec, subprocess
    package = panopticon_rec.__path__[0]
    if sys.argv[1:2] == ["child"]:
        f(int(sys.argv[2]))
        print(sys.argv, sys.orig_argv[1:])
        sys.exit(3)
    ways = [["-m", "panopticon_rec"], ["-mpanopticon_rec"], ["-Bm", "panopticon_rec"], [package], [package + "/__main__.py"]]
    for i, way in enumerate(ways):
        child = subprocess.run([sys.executable, *way, "-q", "--force", "-o", f"own-{i}.pnr", sys.argv[0], "child", str(i)],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        print(child.returncode, child.stdout.decode(), sorted(os.listdir(f"own-{i}.pnr")) and 1)
        """)
        self.assertEqual(counts, [0])
        for i in range(5):
            self.assertEqual(self.count(Trace(convert(self.path(f"own-{i}.pnr")))), [i + 1])

    def test_the_recorder_run_by_a_program(self):
        """By runpy, in a process that is being recorded: its program is run, and recorded with it."""
        self.write("inner.py", DEFINITIONS + "\n    f(6)\n    print(sys.argv, __name__)\n    sys.exit(5)\n")
        trace, counts = self.check("""
    import json, runpy, subprocess
    text = "import runpy, sys; sys.argv[1:] = ['-q', '-o', 'o.pnr', '--force', 'inner.py', 'x']; " \\
           "runpy.run_module('panopticon_rec', run_name='__main__', alter_sys=True)"
    child = subprocess.run([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(child.returncode, child.stdout.decode())
    sys.argv[1:] = ["-q", "-o", "o.pnr", "--force", "inner.py", "y"]
    try:
        runpy.run_module("panopticon_rec", run_name="__main__", alter_sys=True)
    finally:
        print(json is sys.modules.get("json"))
        """, status=5)
        self.assertEqual(counts, [7, 7])

    def test_its_own_command_line_again(self):
        """A program that starts itself again by the command line that the kernel knows, and so the recorder: the child
        takes part in its parent's recording, whatever else that command line asks for."""
        self.write("app.py", DEFINITIONS + """
    import subprocess
    if "IS_CHILD" in os.environ:
        f(8)
        subprocess.check_call([sys.executable, "app.py", "x"]) if not sys.argv[1:] else None
    else:
        f(1)
        with open("/proc/self/cmdline", "rb") as file:
            command = file.read().split(b"\\0")[:-1]
        subprocess.check_call(command, env={**os.environ, "IS_CHILD": "1"})
        f(2)
        """.replace("\\\\", "\\"))
        for options, name in (["-q", "-o", "run.pnr"], "run.pnr"), (["-q", "--force", "-o", "./run.pnr"], "run.pnr"), \
                             (["-q", "-o", "out.trace"], "out.trace"):
            finished = run([PYTHON, "-m", "panopticon_rec", *options, "app.py"], cwd=self.directory)
            self.assertEqual(finished, (0, "", ""))
            trace = Trace(convert(self.path(name)) if name.endswith(".pnr") else self.path(name))
            self.assertEqual(self.count(trace), [5, 9, 9])
        self.assertEqual(sorted(os.listdir(self.directory)), ["app.py", "out.trace", "run.pnr", "run.trace"])

    def test_many_filters(self):
        """What children need to know is in the capture: the environment does not grow, and exec works."""
        options = ["-q", "--include", "__main__", *(word for i in range(9000) for word in ("--exclude", f"module{i}.*"))]
        trace, counts = self.check("""
    import json, subprocess
    f(1)
    assert len(os.environ["PYTHONPATH"]) < 8000
    if not sys.argv[1:]:
        print(subprocess.check_output([sys.executable, sys.argv[0], "child"]).decode())
    json.dumps({})
        """, options=options)
        self.assertEqual(counts, [2, 2])
        self.assertEqual({one.function.name.partition(".")[0] for one in trace.slices}, {"__main__"})

    def test_capture_that_is_gone(self):
        """Moved, removed, or another one in its place: interpreters that are started then run as ever."""
        for change in ('os.rename("run.pnr", "moved.pnr")', 'shutil.rmtree("run.pnr")',
                       'os.rename("run.pnr", "moved.pnr"); '
                       'call("-m", "panopticon_rec", "-q", "-o", "run.pnr", "-c", "1", env=clean)',
                       'os.rename("run.pnr", "moved.pnr"); open("run.pnr", "w").close()',
                       'os.unlink("run.pnr/order"); os.mkdir("run.pnr/order")',
                       'open("run.pnr/order", "w").close()', 'open("run.pnr/order", "wb").write(bytes(range(256)) * 9)'):
            for name in "run.pnr", "moved.pnr":
                shutil.rmtree(self.path(name), ignore_errors=True)
                if os.path.exists(self.path(name)):
                    os.remove(self.path(name))
            script = self.write("app.py", DEFINITIONS + f"""
    import shutil, subprocess
    def call(*words, env=None):
        print(subprocess.run([sys.executable, *words], stdout=-1, stderr=-2, env=env))
    clean = {{**os.environ, "PYTHONPATH": {BUILD!r}}}
    if not sys.argv[1:]:
        {change}
        call("app.py", "child")
    else:
        f(1)
        print("child")
            """)
            with self.subTest(change):
                finished = recorded("run.pnr", [script], cwd=self.directory)
                self.assertIn("stdout=b'child\\n'", finished.out)
                messages = r"panopticon: process \d+: not recorded: .*Is a directory\n" if "os.mkdir" in change else \
                    r"panopticon: .*cannot open: No such file or directory; recording ends.*\n" if "rmtree" in change else ""
                self.assertRegex(finished.err, rf"\A{messages}\Z")
                self.assertEqual(finished.status, 0)

    def test_signals_of_a_child_that_is_not_recorded(self):
        """They are the program's again; in one that is recorded they are the recorder's."""
        script = self.write("app.py", DEFINITIONS + """
    import signal
    pid = os.fork()
    if not pid:
        f(1)
        os.kill(os.getpid(), signal.SIGUSR1)
        os._exit(0)
    print(os.waitpid(pid, 0)[1] == signal.SIGUSR1)
            """)
        for follow in "none", "fork":
            shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
            finished = recorded("run.pnr", [script], cwd=self.directory,
                                options=["-q", "--follow", follow, "--toggle-on", "SIGUSR1"])
            self.assertEqual((finished.out, finished.err), (f"{follow == 'none'}\n", ""))

    def test_helpers_of_multiprocessing(self):
        """They are no programs of the user: one file, one line, whatever of theirs still runs at the end."""
        self.write("app.py", DEFINITIONS + """
    import multiprocessing
    from multiprocessing import shared_memory

    if __name__ == "__main__":
        context = multiprocessing.get_context(sys.argv[1])
        memory = shared_memory.SharedMemory(create=True, size=100)
        processes = [context.Process(target=f, args=(n,)) for n in (2, 4)]
        for process in processes: process.start()
        for process in processes: process.join()
        memory.close()
        memory.unlink()
        """)
        for method in "fork", "spawn", "forkserver":
            with self.subTest(method):
                finished = run([PYTHON, "-m", "panopticon_rec", "-o", "out.trace", "app.py", method], cwd=self.directory,
                               env={"PYTHONWARNINGS": "ignore"})
                self.assertEqual(finished[:2], (0, ""))
                self.assertRegex(finished.err, r"\Apanopticon: \S*/out\.trace: \d+ events, .* of 3 processes, 0 lost\n\Z")
                self.assertEqual(sorted(os.listdir(self.directory)), ["app.py", "out.trace"])
                trace = Trace(self.path("out.trace"))
                self.assertEqual(self.count(trace), [0, 3, 5])
                names = sorted(trace.processes.values())
                kind = {"fork": "ForkProcess", "spawn": "SpawnProcess", "forkserver": "ForkServerProcess"}[method]
                self.assertEqual([name.partition(":")[0] for name in names], [f"{kind}-1", f"{kind}-2", f"app.py {method}"])

    def test_names_of_execnets_processes(self):
        """pytest-xdist's workers: the function that runs in each gets its own name (execnet/gateway_base.py)."""
        self.write("execnet/__init__.py", "")
        self.write("execnet/gateway_base.py", "def serve(io, id):\n    print(id)\n")
        trace, counts = self.check("""
    import subprocess
    for name in "gw0", "gw1":
        text = f"from execnet.gateway_base import serve; serve(None, id='{name}-worker')"
        print(subprocess.check_output([sys.executable, "-c", text]).decode())
        """)
        names = [name.partition(":")[0] for name in trace.processes.values()]
        self.assertEqual(sorted(names), [self.path("app.py"), "gw0-worker", "gw1-worker"])

    def test_a_fork_that_takes_long(self):
        """As that of a large process does. From 3.12 on os.fork would warn about a thread that returns before its end."""
        if not shutil.which("gcc"):
            self.skipTest("gcc is not installed")
        source = self.write("slow.c", """
            #include <pthread.h>
            #include <unistd.h>
            static void nap(void) { usleep(30000); }
            __attribute__((constructor)) static void begin(void) { pthread_atfork(nap, NULL, NULL); }
        """)
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", self.path("slow.so"), source], check=True)
        self.check("""
    os.register_at_fork(after_in_parent=lambda: f(3))
    for _ in range(3):
        pid = os.fork()
        if not pid: os._exit(0)
        wait(pid)
        """, env={"LD_PRELOAD": self.path("slow.so")})
