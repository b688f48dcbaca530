"""A program does the same with and without the recorder, whatever surrounds it. And its capture has the calls that were
made. Tested with threads that are in the way when the interpreter ends, exceptions and signals at any instant, other
tools, and the interpreter's own options. Also with other interpreters in the process, C code that calls back, limits,
dropped privileges, and violent ends.

A program reports how often its functions were called, or the test knows."""

import collections
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import unittest
import zipfile

import e2e
import ledger

WAYS = [["--engine", engine] for engine in e2e.ENGINES]
WAYS_WITH_C_CALLS = [[*options, "--c-calls"] for options in WAYS]
IS_ROOT = os.geteuid() == 0
CC = shutil.which("gcc")

# How a program is run. calls: how often functions of __main__ were called, a number or (min, max); what the program
# itself reports comes on top. c_calls: also recorded with calls of C functions. modules: that it needs. same: what must
# be equal of (status, out, err). anomalies: what the converter must not report.
Case = collections.namedtuple("Case", "text calls arguments flags env stdin status c_calls modules same anomalies")


def case(text, calls=None, arguments=None, flags=(), env=None, stdin=b"", status=0, c_calls=False, modules=(),
         same=lambda finished: finished, anomalies="exit was not recorded|without a matching entry|lost"):
    return Case(text, calls or {}, arguments, flags, env, stdin, status, c_calls, modules, same, anomalies)


REPORT = """
    import json
    def report(**calls):
        with open("reported", "w") as file:
            json.dump(calls, file)
    """

EXTENSION = """
    #define PY_SSIZE_T_CLEAN
    #include <Python.h>
    #if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030C0000
    #define Py_BUILD_CORE
    #include <internal/pycore_frame.h>
    #else
    struct _PyInterpreterFrame;
    #endif
    #include <pthread.h>

    static PyObject *hook(PyThreadState *ts, struct _PyInterpreterFrame *f, int throwflag)
    {
        return _PyEval_EvalFrameDefault(ts, f, throwflag);
    }

    static _PyFrameEvalFunction before;

    static PyObject *set(PyObject *self, PyObject *unused)
    {
        PyInterpreterState *interp = PyInterpreterState_Get();
        if (_PyInterpreterState_GetEvalFrameFunc(interp) != hook) {
            before = _PyInterpreterState_GetEvalFrameFunc(interp);
            _PyInterpreterState_SetEvalFrameFunc(interp, hook);
        }
        Py_RETURN_NONE;
    }

    static PyObject *unset(PyObject *self, PyObject *unused)
    {
        _PyInterpreterState_SetEvalFrameFunc(PyInterpreterState_Get(), before);
        Py_RETURN_NONE;
    }

    static PyObject *crash(PyObject *self, PyObject *unused)
    {
        *(volatile int *)8 = 1;
        Py_RETURN_NONE;
    }

    static struct { PyObject *callable; int n, keeps; } job;

    static void *work(void *unused)
    {
        PyGILState_STATE outer = PyGILState_UNLOCKED;
        PyThreadState *kept = NULL;
        if (job.keeps) {
            outer = PyGILState_Ensure();
            kept = PyEval_SaveThread();
        }
        for (int i = 0; i < job.n; i++) {
            PyGILState_STATE state = PyGILState_Ensure();
            Py_XDECREF(PyObject_CallNoArgs(job.callable));
            PyErr_Clear();
            PyGILState_Release(state);
        }
        if (job.keeps) {
            PyEval_RestoreThread(kept);
            PyGILState_Release(outer);
        }
        return NULL;
    }

    static PyObject *call(PyObject *self, PyObject *args)
    {
        pthread_t threads[16];
        int n_threads;
        if (!PyArg_ParseTuple(args, "Oiip", &job.callable, &n_threads, &job.n, &job.keeps))
            return NULL;
        Py_BEGIN_ALLOW_THREADS
        for (int i = 0; i < n_threads; i++)
            pthread_create(&threads[i], NULL, work, NULL);
        for (int i = 0; i < n_threads; i++)
            pthread_join(threads[i], NULL);
        Py_END_ALLOW_THREADS
        Py_RETURN_NONE;
    }

    static PyMethodDef methods[] = {
        { "set", set, METH_NOARGS, "" }, { "unset", unset, METH_NOARGS, "" }, { "crash", crash, METH_NOARGS, "" },
        { "call", call, METH_VARARGS, "" }, { 0 } };
    static PyModuleDef definition = { PyModuleDef_HEAD_INIT, .m_name = "surround", .m_size = -1, .m_methods = methods };

    PyMODINIT_FUNC PyInit_surround(void) { return PyModule_Create(&definition); }
    """

SUBINTERPRETERS = """
    try:
        from concurrent import interpreters
    except ImportError:
        try:
            import _interpreters as low
        except ImportError:
            import _xxsubinterpreters as low
        def run(text):
            one = low.create()
            getattr(low, "exec" if hasattr(low, "exec") else "run_string")(one, text)
            low.destroy(one)
    else:
        def run(text):
            one = interpreters.create()
            one.exec(text)
            one.close()
    """

INTERPRETERS = r"panopticon: only the main interpreter is recorded; interpreters that the program has made alongside it: (\d+)\n"


def without_interpreters(finished):
    """What a program printed, without the one line of the recorder about other interpreters."""
    return finished._replace(err=re.sub(INTERPRETERS, "", finished.err, count=1))


CASES = {
    # ---- the interpreter's end

    "daemon_threads_that_run": case("""
        import atexit, os, sys, threading, time
        sys.setswitchinterval(1e-5)
        def f(n): return n and f(n - 1) or sum(range(999))
        def loop():
            ready.release()
            while True: f(5)
        def late():
            time.sleep(0.02)
            g()
        def g(): pass
        class Last:
            def __del__(self, g=g, write=os.write):
                write(1, b'last')
                g()
        sys.last, ready = Last(), threading.Semaphore(0)        # what is in __main__ the threads keep alive
        atexit.register(late)
        for _ in range(4): threading.Thread(target=loop, daemon=True).start()
        for _ in range(4): ready.acquire()
        print("end")
        """, {"loop": 4, "late": 1, "Last.__del__": 1, "g": 2}, c_calls=True),
    "daemon_threads_in_c_code": case("""
        import ctypes, os, queue, socket, sys, threading, time
        def f(): pass
        def wait(how):
            f()
            ready.release()
            how()
        class Last:
            def __del__(self, sleep=time.sleep): sleep(0.05)
        lock, ready = threading.Lock(), threading.Semaphore(0)
        lock.acquire()
        libc, pipe, pair, sys.last = ctypes.CDLL(None), os.pipe(), socket.socketpair(), Last()
        ways = [lambda: time.sleep(60), lock.acquire, lambda: os.read(pipe[0], 1), lambda: pair[0].recv(1),
                lambda: libc.usleep(60_000_000), queue.SimpleQueue().get, lambda: time.sleep(0.02)]
        for way in ways: threading.Thread(target=wait, args=(way,), daemon=True).start()
        for way in ways: ready.acquire()
        print("end")
        """, {"f": 7, "wait": 7, "Last.__del__": 1}, c_calls=True),
    "threads_that_outlive_main": case("""
        import threading
        def f(n): return n and f(n - 1)
        def work():
            threading.main_thread().join()
            for _ in range(100): f(9)
        for _ in range(3): threading.Thread(target=work).start()
        raise SystemExit(3)
        """, {"work": 3, "f": 3000}, status=3),

    # ---- exceptions and signals at any instant

    "alarms_that_raise": case("""
        import signal
        from report import report
        class Alarm(Exception): pass
        handled = caught = calls = 0
        def handler(*unused):
            global handled
            handled += 1
            raise Alarm
        def f(n):
            global calls
            calls += 1
            return n and f(n - 1) or sum(range(999))
        def generate():
            while True: yield f(3)
        signal.signal(signal.SIGALRM, handler)
        for i in range(100):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0001 + i % 7 * 0.00003)
                if i % 2:
                    while True: f(20)
                else:
                    for _ in generate(): pass
            except Alarm:
                caught += 1
        report(handler=handled, f=(calls, calls + caught))
        print(handled, caught)
        """, {"handler": 100}, c_calls=True),
    "alarms_at_a_high_rate": case("""
        import signal
        from report import report
        n = calls = 0
        def handler(*unused):
            global n
            n += 1
        def f(k): return k and f(k - 1) or sum(range(999))
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        while n < 100:
            f(9)
            calls += 10
        signal.setitimer(signal.ITIMER_REAL, 0)
        for _ in range(100): pass
        report(handler=n, f=calls)
        """, c_calls=True),
    "asynchronous_exceptions": case("""
        import ctypes, sys, threading
        sys.setswitchinterval(1e-5)
        class Stop(Exception): pass
        caught = 0
        def f(n): return n and f(n - 1) or sum(range(999))
        def work():
            global caught
            while caught < 100:
                try:
                    ready.release()
                    while True: f(20)
                except Stop:
                    caught += 1
                    g()
        def g(): pass
        ready = threading.Lock()
        ready.acquire()
        thread = threading.Thread(target=work)
        thread.start()
        for _ in range(100):
            ready.acquire()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Stop))
        thread.join()
        print(caught)
        """, {"work": 1, "g": 100}, c_calls=True),
    "keyboard_interrupts": case("""
        import _thread, os, signal, sys, threading
        sys.setswitchinterval(1e-5)
        caught = 0
        def f(n): return n and f(n - 1) or sum(range(999))
        def send():
            for i in range(100):
                ready.acquire()
                _thread.interrupt_main() if i % 2 else os.kill(os.getpid(), signal.SIGINT)
        ready = threading.Lock()
        ready.acquire()
        threading.Thread(target=send).start()
        for _ in range(100):
            try:
                ready.release()
                while True: f(5)
            except KeyboardInterrupt:
                caught += 1
        print(caught, flush=True)
        def last():
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000): pass
        last()
        """, {"last": 1, "send": 1}, status=-signal.SIGINT),
    "generators_closed_by_gc": case("""
        import gc
        from report import report
        closed = 0
        def generate(holder):
            global closed
            try:
                yield holder
            finally:
                closed += 1
                f()
        def f(): pass
        def make():
            holder = []
            holder.append(generate(holder))
            next(holder[0])
        gc.set_threshold(7, 2, 2)
        for _ in range(500): make()
        gc.collect()
        print(closed)
        """, {"f": 500, "make": 500, "generate": 1000}, c_calls=True),
    "watchdog_of_faulthandler": case("""
        import faulthandler, os, tempfile, threading, time
        def f(n): return f(n - 1) if n else done.acquire()
        done = threading.Semaphore(0)
        threads = [threading.Thread(target=f, args=(9,)) for _ in range(2)]
        for thread in threads: thread.start()
        with tempfile.TemporaryFile("w+") as file:
            faulthandler.dump_traceback_later(0.05, file=file)
            # In one line, which is written last. The second call waits until all is written.
            while not os.fstat(file.fileno()).st_size or faulthandler.cancel_dump_traceback_later(): time.sleep(0.01)
            file.seek(0)
            print(file.read())
        for _ in threads: done.release()
        for thread in threads: thread.join()
        """, {"f": 20}),
    "watchdog_that_exits": case("""
        import faulthandler, time
        def wait(): time.sleep(60)
        faulthandler.dump_traceback_later(0.05, exit=True)
        wait()
        """, {"wait": 1}, status=1),

    # ---- other tools

    "profile_and_trace_functions": case("""
        import collections, sys, threading
        events = collections.Counter()
        def f(n): return n and f(n - 1)
        def generate():
            yield f(1)
            yield f(2)
        def profile(frame, event, argument):
            if frame.f_code.co_filename == __file__: events[event, frame.f_code.co_name] += 1
        def trace(frame, event, argument):
            if event != "line": profile(frame, "t_" + event, argument)
            return trace
        def work(): return list(generate())
        def in_thread():
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        for module in (sys, threading):
            for set, function in (module.setprofile, profile), (module.settrace, trace):
                for _ in range(3):
                    work()
                    in_thread()
                    set(function)
                    work()
                    in_thread()
                    set(None)
        if hasattr(threading, "setprofile_all_threads"):
            threading.setprofile_all_threads(profile)
            work()
            threading.setprofile_all_threads(None)
            threading.settrace_all_threads(trace)
            work()
            threading.settrace_all_threads(None)
        else:
            work()
            work()
        print(sorted(events.items()))
        """, {"work": 50, "f": 250, "generate": 150}),
    "bdb": case("""
        import bdb
        class Debugger(bdb.Bdb):
            n = 0
            def user_call(self, frame, arguments): self.n += 1
            def user_return(self, frame, value): self.n += 1
            def user_line(self, frame): self.n += 1
        def f(n): return n and f(n - 1)
        def work():
            for i in range(20): f(i % 4)
        debugger = Debugger()
        debugger.runcall(work)
        work()
        print(debugger.n > 100)
        """, {"work": 2, "f": 100}),
    "pdb": case("""
        def f(n):
            return n and f(n - 1)
        def work():
            f(3)
            return f(4)
        print(work())
        """, {"work": 1, "f": 9}, arguments=["-m", "pdb", "app.py"],
        stdin=b"b f\nc\np n\nw\nup\nc\nbt\ncl 1\nc\nq\n", anomalies="lost"),
    "trace_module": case("""
        def f(n):
            return n and f(n - 1)
        f(9)
        """, {"f": 10}, arguments=["-m", "trace", "--count", "--missing", "--summary", "-C", "cover", "app.py"]),
    "profile_module": case("""
        def f(n):
            return n and f(n - 1)
        f(9)
        """, {"f": 10}, arguments=["-m", "profile", "app.py"], same=lambda finished: (finished.status, finished.err)),
    "cprofile": case("""
        import cProfile
        def f(n): return n and f(n - 1)
        def generate():
            yield f(1)
            yield f(2)
        def work(): return list(generate())
        for _ in range(5):
            profile = cProfile.Profile()
            profile.enable()
            work()
            profile.disable()
            work()
            print(sorted((one.code.co_name, one.callcount) for one in profile.getstats()
                         if hasattr(one.code, "co_name")))
        """, {"work": 10, "f": 50, "generate": 30}),
    "coverage": case("""
        import coverage, threading
        def f(n):
            if n: return f(n - 1)
            return 1
        measured = coverage.Coverage(data_file=None, branch=True, source=["."])
        measured.start()
        f(4)
        thread = threading.Thread(target=f, args=(5,))
        thread.start()
        thread.join()
        measured.stop()
        f(6)
        data = measured.get_data()
        print(sorted(data.lines(__file__)), sorted(data.arcs(__file__)))
        """, {"f": 18}, modules=["coverage"]),
    "frame_hooks_that_come_and_go": case("""
        import surround, threading
        def f(n): return n and f(n - 1)
        def work():
            for i in range(300):
                surround.set()
                f(5)
                surround.unset()
                f(5)
        surround.set()
        surround.unset()
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print("end")
        """, {"work": 3}, modules=["surround"], anomalies="lost"),

    # ---- the interpreter's own options

    "garbage_collector": case("""
        import gc
        def f(n): return n and f(n - 1)
        class Node:
            def __del__(self): f(1)
        def make():
            one = Node()
            one.me = one
        gc.freeze()
        gc.disable()
        for _ in range(50): make()
        gc.enable()
        print(gc.isenabled(), gc.collect() >= 50)
        gc.unfreeze()
        gc.set_debug(gc.DEBUG_SAVEALL)
        for _ in range(50): make()
        gc.collect()
        print(sum(type(one) is Node for one in gc.garbage))
        gc.set_debug(0)
        gc.garbage.clear()
        """, {"make": 100, "Node.__del__": 100, "f": 200}),
    "tracemalloc": case("""
        import tracemalloc
        def f(n): return n and f(n - 1)
        tracemalloc.start(5)
        def make(): return bytearray(100_000)
        kept = [make() for _ in range(10)]
        f(9)
        print(*tracemalloc.get_object_traceback(kept[3]).format(), sep="\\n")
        print(tracemalloc.get_traced_memory()[0] > 1_000_000)
        tracemalloc.stop()
        """, {"make": 10, "f": 10}),
    "faulthandler": case("""
        import faulthandler, sys
        faulthandler.enable()
        def f(n):
            if n: return f(n - 1)
            faulthandler.dump_traceback(all_threads=False)
        f(3)
        """, {"f": 4}),
    "development_mode": case("def f(): pass\nfor _ in range(9): f()\nopen('/dev/null')", {"f": 9}, flags=("-X", "dev")),
    "optimized": case("def f():\n    'text'\n    assert False\nf()\nprint(f.__doc__)", {"f": 1}, flags=("-O",)),
    "optimized_twice": case("def f():\n    'text'\n    assert False\nf()\nprint(f.__doc__)", {"f": 1}, flags=("-OO",)),
    "no_bytecode": case("import sys\ndef f(): pass\nf()\nprint(sys.flags)", {"f": 1}, flags=("-B",)),
    "no_site": case("import sys\ndef f(): pass\nf()\nprint(sys.flags, sys.path)", {"f": 1}, flags=("-S",)),
    "import_times": case("import json\ndef f(): pass\nf()", {"f": 1}, flags=("-X", "importtime"),
                         same=lambda finished: (finished.status, finished.out,
                                                {"json", "json.decoder", "json.scanner"} <= set(finished.err.split()))),
    "warnings_are_errors": case("""
        import os, warnings
        def f(): pass
        f()
        child = os.fork()
        if not child: os._exit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        warnings.warn("x")
        """, {"f": 1}, flags=("-W", "error"), status=1),
    "data_on_code_objects": case("""
        import ctypes
        request = getattr(ctypes.pythonapi, "PyUnstable_Eval_RequestCodeExtraIndex", None) or \\
            ctypes.pythonapi._PyEval_RequestCodeExtraIndex
        freed = []
        free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(freed.append)
        request(free)
        def f(): pass
        for _ in range(9): exec("def g(): f()\\ng()")
        print(freed)
        """, {"f": 9, "g": 9}),
    "hash_seed": case("def f(): pass\nf()\nprint(hash('text'), {'a', 'b', 'c', 'd'})", {"f": 1},
                      env={"PYTHONHASHSEED": "5"}),
    "no_frozen_modules": case("import os\ndef f(): pass\nf()\nprint(os.__file__)", {"f": 1},
                              flags=("-X", "frozen_modules=off")),
    "zipapp": case("", arguments=["app.pyz", "x"]),

    # ---- other interpreters in the process

    "subinterpreters": case(SUBINTERPRETERS + """
        def f(n): return n and f(n - 1)
        TEXT = '''
        def inner(n): return n and inner(n - 1)
        def generate(): yield inner(3)
        for _ in range(1000): list(generate())
        print("inside", flush=True)
        '''.replace(8 * " ", "")
        for _ in range(3):
            f(4)
            run(TEXT)
        import threading
        thread = threading.Thread(target=run, args=(TEXT,))
        thread.start()
        f(1000 % 900)
        thread.join()
        """.replace("\n    ", "\n"), {"f": 3 * 5 + 101, "inner": 0, "generate": 0, "run": 4}, c_calls=True,
        same=without_interpreters),
    "os_exit_in_a_subinterpreter": case(SUBINTERPRETERS + """
        def f(n): return n and f(n - 1)
        f(4)
        run("import os; os._exit(4)")
        """.replace("\n    ", "\n"), {"f": 5, "run": 1}, status=4),
    "subinterpreter_that_would_record": case(SUBINTERPRETERS + """
        def f(n): return n and f(n - 1)
        TEXT = '''
        import panopticon_rec
        try:
            panopticon_rec.Recorder("run.pnr").start()
        except (ImportError, RuntimeError) as error:
            print(error, flush=True)
        '''.replace(8 * " ", "")
        f(4)
        run(TEXT)
        """.replace("\n    ", "\n"), {"f": 5, "run": 1}, same=without_interpreters),
    "subinterpreter_of_testcapi": case("""
        import _testcapi
        def f(n): return n and f(n - 1)
        f(3)
        text = "def inner(): pass\\nfor _ in range(99): inner()\\nprint('inside', flush=True)"
        print(_testcapi.run_in_subinterp(text))
        f(3)
        """, {"f": 8, "inner": 0}, modules=["_testcapi"], same=without_interpreters),
    "pool_of_interpreters": case("""
        import math, threading, time
        from concurrent.futures import InterpreterPoolExecutor
        def f(n): return n and f(n - 1)
        def generate(n):
            for i in range(n): yield f(i % 5)
        def spin():
            while not over:
                list(generate(5))
                time.sleep(0.001)
        over = []
        thread = threading.Thread(target=spin, daemon=True)
        thread.start()
        with InterpreterPoolExecutor(3) as pool:
            print(list(pool.map(math.factorial, range(50))))
            print(pool.submit(exec, "def inner(n): return n and inner(n - 1)\\nfor _ in range(999): inner(9)", {}).result())
            try: pool.submit(math.factorial, -1).result()
            except Exception as error: print(type(error).__name__)
        over.append(1)
        thread.join()
        f(4)
        """, {"inner": 0, "spin": 1}, c_calls=True, modules=["concurrent.interpreters"], same=without_interpreters),

    # ---- event loops and C code that calls back

    "asyncio_debug": case("""
        import asyncio
        def f(n): return n and f(n - 1)
        async def one(i):
            await asyncio.sleep(0)
            f(i % 5)
            await asyncio.to_thread(f, 3)
        async def main():
            asyncio.get_running_loop().slow_callback_duration = 60
            print(asyncio.get_running_loop().get_debug())
            await asyncio.gather(*(one(i) for i in range(50)))
        asyncio.run(main())
        """, {"f": 50 * 3 + 50 * 4}, env={"PYTHONASYNCIODEBUG": "1"}),
    "uvloop": case("""
        import asyncio, uvloop
        def f(n): return n and f(n - 1)
        async def one(i, reader, writer):
            writer.write(b"x\\n")
            f(3)
            await reader.readline()
        async def serve(reader, writer):
            while line := await reader.readline():
                f(1)
                writer.write(line)
            writer.close()
        async def main():
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for i in range(50): await one(i, reader, writer)
            writer.close()
            await asyncio.sleep(0.05)
            server.close()
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        asyncio.run(main())
        print(uvloop.Loop.__name__)
        """, {"f": 50 * 6}, modules=["uvloop"]),
    "trio": case("""
        import trio
        def f(n): return n and f(n - 1)
        async def one(i):
            await trio.sleep(0)
            f(3)
            await trio.to_thread.run_sync(f, 2)
        async def main():
            async with trio.open_nursery() as nursery:
                for i in range(20): nursery.start_soon(one, i)
        trio.run(main)
        """, {"f": 20 * 7}, modules=["trio"]),
    "numpy_in_threads": case("""
        import numpy, threading
        def f(x): return float(x) + 1
        def work():
            for _ in range(20): numpy.vectorize(f, otypes=[float])(numpy.arange(10)) @ numpy.ones(10)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """, {"work": 4, "f": 4 * 20 * 10}, modules=["numpy"]),
    "ctypes_callbacks": case("""
        import ctypes
        calls = 0
        def compare(a, b):
            global calls
            calls += 1
            return a[0] - b[0]
        def fail(a, b): raise LookupError
        def sort(function, n):
            numbers = (ctypes.c_int * n)(*(i * 7919 % 1009 for i in range(n)))
            ctypes.CDLL(None).qsort(numbers, n, 4, kind(function))
            return list(numbers)
        pointer = ctypes.POINTER(ctypes.c_int)
        kind = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer)
        print(sort(compare, 200) == sorted(sort(compare, 200)), calls)
        from report import report
        report(compare=calls)
        sort(fail, 2)
        """, {"sort": 3, "fail": (1, 2)}, c_calls=True),
    "c_threads_that_call_python": case("""
        import surround, threading
        from report import report
        lock, calls = threading.Lock(), 0
        def f(n=3):
            global calls
            with lock: calls += 1
            return n and f(n - 1)
        def fail():
            f(0)
            raise LookupError
        surround.call(f, 4, 100, False)
        surround.call(f, 4, 300, True)
        surround.call(fail, 2, 50, False)
        print(calls)
        """, {"f": 400 * 4 + 1200 * 4 + 100, "fail": 100}, modules=["surround"], c_calls=True),

    # ---- ends

    "crash_in_an_extension": case("""
        import surround, sys, threading
        sys.setswitchinterval(1e-5)
        def f(n): return n and f(n - 1)
        def loop():
            while True: f(3)
        def crash():
            surround.crash()
        threading.Thread(target=loop, daemon=True).start()
        for _ in range(5_000): f(2)
        crash()
        """, {"crash": 1, "loop": (0, 1), "f": (15_000, 10**9)}, modules=["surround"], status=-signal.SIGSEGV),
    "abort": case("import os\ndef f(n): return n and f(n - 1)\nf(9)\nos.abort()", {"f": 10}, status=-signal.SIGABRT),
    "stop_and_continue": case("""
        import os, signal, subprocess, threading, time
        def f(n): return n and f(n - 1)
        def work():
            for _ in range(2000): f(4)
        for _ in range(3):
            thread = threading.Thread(target=work)
            thread.start()
            other = subprocess.Popen(["sh", "-c", "sleep 0.03; kill -CONT $PPID"])
            os.kill(os.getpid(), signal.SIGSTOP)
            f(2)
            thread.join()
            other.wait()
        """, {"work": 3, "f": 3 * 10_003}),
    "os_exit_in_a_thread": case("""
        import os, sys, threading
        def f(n): return n and f(n - 1) or sum(range(999))
        def loop():
            while True: f(3)
        def leave():
            f(4)
            os._exit(5)
        sys.setswitchinterval(1e-5)
        for _ in range(3): threading.Thread(target=loop).start()
        threading.Thread(target=leave).start()
        loop()
        """, {"leave": 1, "loop": (1, 4)}, status=5),
    "exec_in_a_thread": case("""
        import os, sys, threading
        def f(n): return n and f(n - 1) or sum(range(999))
        def loop():
            while True: f(3)
        def leave(): os.execv(sys.executable, [sys.executable, __file__, "again"])
        if len(sys.argv) > 1:
            print(len(threading.enumerate()))
            leaves = f(6)
        else:
            threading.Thread(target=loop).start()
            threading.Thread(target=leave).start()
            loop()
        """, {"leave": 1, "loop": (1, 2), "f": (7, 10**9)}),
    "daemon": case("""
        import os, time
        def f(n): return n and f(n - 1)
        def daemonize():
            f(1)
            os.closerange(3, 65536)
            if os.fork():
                while not os.path.exists("done"): time.sleep(0.005)
                os.remove("done")
                time.sleep(0.05)
                os._exit(0)
            os.setsid()
            if os.fork(): os._exit(0)
            null = os.open(os.devnull, os.O_RDWR)
            for i in range(3): os.dup2(null, i)
            os.closerange(3, 65536)
        daemonize()
        for _ in range(20_000): f(1)
        open("done", "w").close()
        os._exit(0)
        """, {"f": 2 + 40_000}),

    # ---- limits

    "no_memory": case("""
        import resource, threading
        def f(n): return n and f(n - 1)
        with open("/proc/self/statm") as file: pages = int(file.read().split()[0])
        size = pages * resource.getpagesize() + (300 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        for _ in range(5):
            try:
                bytearray(1 << 30)
            except MemoryError:
                print("MemoryError")
            for _ in range(2_000): f(2)
        thread = threading.Thread(target=f, args=(9,))
        thread.start()
        thread.join()
        """, {"f": 30_010}),
    "small_stack_from_now_on": case("""
        import resource, sys
        resource.setrlimit(resource.RLIMIT_STACK, (256 << 10, resource.RLIM_INFINITY))
        def f(n): return n and 1 + f(n - 1)
        print(f(900))
        sys.setrecursionlimit(10_000)
        print(f(9000))
        """, {"f": (901, 9902)}),
    "small_threads": case("""
        import os, threading, sys
        threading.stack_size(max(65536, os.sysconf("SC_THREAD_STACK_MIN")))     # aarch64: 128 KiB
        def f(n): return n and 1 + f(n - 1)
        def fork():
            child = os.fork()
            if not child:
                f(5)
                os._exit(0)
            print(os.waitpid(child, 0)[1])
        def work():
            names = {}
            for i in range(100): exec(f"def g{i}(): pass\\ng{i}()", names)
            for i in range(10_000): f(2)
            try:
                f(2000)
            except RecursionError:
                print("RecursionError")
        for target in (work, work, fork):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
            while os.path.exists(f"/proc/self/task/{thread.native_id}"): pass
        """, {"work": 2, "fork": 2, "f": (60_006, 64_010)}),
    "no_more_threads": case("""
        import os, resource, threading
        def f(n): return n and f(n - 1)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        f(1)
        for i in range(3):
            try:
                os.fork()
            except OSError as error:
                print(error.strerror)
            for _ in range(5_000): f(3)
        try:
            threading.Thread(target=f).start()
        except RuntimeError as error:
            print(error)
        """, {"f": 2 + 60_000}),
}

if e2e.VERSION < (3, 13):       # whose own evaluation needs more
    CASES["least_threads"] = CASES["small_threads"]._replace(text=CASES["small_threads"].text.replace("65536", "32768"))
if not IS_ROOT:
    del CASES["no_more_threads"]
if e2e.IS_SANITIZED:                # which needs much memory itself, and a good deal of stack
    del CASES["no_memory"]
    CASES.pop("least_threads", None)


def modules_there(names):
    """Those of these modules that this Python can import."""
    text = "import importlib.util, sys; print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name)))"
    return set(e2e.plain(["-c", text, *names]).out.split())


def steady(text):
    """Without the addresses of objects and the identifiers of threads and processes."""
    return re.sub(r"0x[0-9a-f]{6,}|(?<=pid=)\d+", "N", text)


def setUpModule():
    global HOME, THERE
    HOME = tempfile.mkdtemp(prefix="panopticon-")
    unittest.addModuleCleanup(shutil.rmtree, HOME, ignore_errors=True)
    THERE = modules_there(sorted({name for one in CASES.values() for name in one.modules} - {"surround"}))
    with open(os.path.join(HOME, "surround.c"), "w", encoding="ascii") as file:
        file.write(EXTENSION)
    if CC:
        subprocess.run([CC, "-shared", "-fPIC", "-o", f"{HOME}/surround.so", file.name, "-pthread", "-I",
                        sysconfig.get_path("include")], check=True)
        THERE.add("surround")


class Environment(e2e.EndToEnd):
    def setUp(self):
        super().setUp()
        os.chmod(self.directory, 0o755)         # for programs that drop privileges
        self.write("report.py", REPORT)

    def reported(self):
        """What the program reported of its calls when it last ran."""
        try:
            with open(self.path("reported"), encoding="ascii") as file:
                return {name: tuple(n) if isinstance(n, list) else n for name, n in json.load(file).items()}
        except FileNotFoundError:
            return {}

    def recorded(self, options, arguments, **more):
        shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
        return e2e.recorded(self.path("run.pnr"), arguments, options=["-q", *options], cwd=self.directory, **more)

    def check(self, calls, anomalies="exit was not recorded|without a matching entry|lost", name="run.pnr"):
        """The capture converts, reports no anomaly, and has these calls. Returns the trace."""
        finished = e2e.run([e2e.CONVERT, self.path(name), "-o", self.path("run.trace")])
        self.assertEqual(finished.status, 0, finished.err)
        self.assertNotRegex(finished.err, anomalies)
        trace = e2e.Trace(self.path("run.trace"))
        found = trace.count()
        for function, n in calls.items():
            minimum, maximum = n if isinstance(n, tuple) else (n, n)
            self.assertTrue(minimum <= found[f"__main__.{function}"] <= maximum,
                            f"{function}: {found[f'__main__.{function}']}, not {n}")
        return trace


class Same(Environment):
    def compare(self, one):
        if not THERE.issuperset(one.modules):
            self.skipTest(f"{', '.join(one.modules)}: not there for this Python")
        self.write("app.py", one.text)
        self.make_zipapp()
        settings = dict(flags=one.flags, stdin=one.stdin,
                        env={**(one.env or {}), "PYTHONPATH": f"{e2e.BUILD}:{HOME}"})
        arguments = one.arguments or ["app.py"]
        plain = e2e.plain(arguments, cwd=self.directory, **settings)
        self.assertEqual(plain.status, one.status, plain.err)
        for options in WAYS + WAYS_WITH_C_CALLS if one.c_calls else WAYS:
            with self.subTest(options=options):
                found = self.recorded(options, arguments, **settings)
                self.assertEqual(one.same(self.steady(found)), one.same(self.steady(plain)))
                self.check({**self.reported(), **one.calls}, one.anomalies)

    @staticmethod
    def steady(finished):
        return e2e.Finished(finished.status, steady(finished.out), steady(finished.err))

    def make_zipapp(self):
        with open(self.path("app.pyz"), "wb") as file:
            file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(self.path("app.pyz"), "a") as file:
            file.writestr("__main__.py", "import sys, inside\ndef f(): print(sys.argv, __file__, __spec__.name)\nf()\n")
            file.writestr("inside/__init__.py", "print(__file__, __loader__.archive)\n")


def add(name, one):
    def test(self):
        self.compare(one)

    setattr(Same, f"test_{name}", test)


for name, one in CASES.items():
    add(name, one)


class Special(Environment):
    """What takes more than one program, or is not the same but reported."""

    @unittest.skipUnless(e2e.IS_KNOWN, "the interface does not give how many there were")
    def test_interpreters_are_reported_once(self):
        """In one line at the end of the process that made them, and in the capture; the next recording says nothing."""
        self.write("app.py", SUBINTERPRETERS + """
        import os, panopticon_rec
        for _ in range(3): run("pass")
        child = os.fork()
        if not child: os._exit(0)
        os.waitpid(child, 0)
        """.replace("\n    ", "\n"))
        for options in WAYS:
            with self.subTest(options=options):
                finished = self.recorded(options, ["app.py"], flags=["-W", "ignore"])
                self.assertEqual(finished.status, 0, finished.err)
                self.assertEqual(re.findall(INTERPRETERS, finished.err), ["3"])
                self.assertEqual(re.sub(INTERPRETERS, "", finished.err), "")
                info = e2e.run([e2e.CONVERT, self.path("run.pnr"), "--info"])
                self.assertEqual(re.findall(r"interps +(\d+)", info.out), ["3"])

    @unittest.skipIf(e2e.IS_SANITIZED, "a sanitizer's runtime wants to be loaded first")
    def test_venv(self):
        """The recorder comes by PYTHONPATH, or by a .pth where that is ignored."""
        e2e.run([e2e.PYTHON, "-m", "venv", "--without-pip", "--symlinks", self.path("venv")])
        python = self.path("venv/bin/python3")
        site = e2e.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).out.strip()
        self.assertTrue(site.startswith(self.path("venv")), site)
        text = "import sys\ndef f(): pass\nf()\nprint(sys.prefix, sys.flags, sys.path, __file__)"
        program = self.write("app.py", text)
        self.compare_runs(python, [], program)
        with open(os.path.join(site, "recorder.pth"), "w", encoding="ascii") as file:
            file.write(e2e.BUILD + "\n")
        for flags in ["-I"], ["-E"], ["-I", "-B", "-OO", "-W", "error"], ["-s", "-E"]:
            self.compare_runs(python, flags, program)

    def compare_runs(self, python, flags, program):
        with self.subTest(flags=flags):
            shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
            plain = e2e.run([python, *flags, program], cwd=self.directory)
            found = e2e.run([python, *flags, "-m", "panopticon_rec", "-q", program], cwd=self.directory)
            self.assertEqual(found, plain)
            self.assertEqual(found.status, 0, found.err)
            self.check({"f": 1})

    @unittest.skipUnless(IS_ROOT, "not root")
    def test_other_root(self):
        program = self.write("app.py", """
            import os, sys, threading
            def f(n): return n and f(n - 1)
            f(3)
            os.mkdir("root")
            os.chroot("root")
            os.chdir("/")
            thread = threading.Thread(target=f, args=(5,))
            thread.start()
            thread.join()
            exec("def g(): pass\\ng()")
            for _ in range(30_000): f(1)
            print(os.listdir("/"))
            """)
        plain = e2e.plain([program], cwd=self.directory)
        self.assertEqual(plain, (0, "[]\n", ""))
        for options in WAYS:
            os.rmdir(self.path("root"))
            with self.subTest(options=options):
                self.assertEqual(self.recorded(options, [program]), plain)
                self.check({"f": 60_010, "g": 1})

    @unittest.skipUnless(IS_ROOT, "not root")
    def test_dropped_privileges(self):
        """What cannot be recorded any more, a child, is reported in one line; all else is as it was."""
        program = self.write("app.py", """
            import os, threading
            def f(n): return n and f(n - 1)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            thread = threading.Thread(target=f, args=(5,))
            thread.start()
            thread.join()
            for _ in range(30_000): f(1)
            while os.path.exists(f"/proc/self/task/{thread.native_id}"): pass
            child = os.fork()
            if not child:
                f(3)
                os._exit(7)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), os.getuid())
            """)
        plain = e2e.plain([program], cwd=self.directory)
        self.assertEqual(plain, (0, "7 65534\n", ""))
        for options in WAYS:
            with self.subTest(options=options):
                found = self.recorded(options, [program])
                self.assertEqual(found[:2], plain[:2])
                self.assertRegex(found.err, r"^panopticon: process \d+: not recorded: .*Permission denied\n$")
                self.check({"f": 60_006})
                found = self.recorded([*options, "--follow", "none"], [program])
                self.assertEqual(found, plain)

    def test_limit_of_file_sizes(self):
        """The signal of a file that becomes too large is for the program's own files."""
        program = self.write("app.py", """
            import os, resource, signal, sys
            def f(n): return n and f(n - 1)
            if sys.argv[1] == "default":
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            elif sys.argv[1] == "handler":
                signal.signal(signal.SIGXFSZ, lambda *unused: print("handled"))
            f(3)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            names = {}
            for i in range(300): exec(f"def g{i}(): pass\\ng{i}()", names)
            for i in range(60_000): f(i % 9)
            child = os.fork()
            if not child:
                f(3)
                os._exit(7)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), signal.sigpending(), flush=True)
            with open("large", "wb", buffering=0) as file:
                try:
                    file.write(bytes(4096))
                    file.write(bytes(4096))
                except OSError as error:
                    print(error)
            """)
        for how, status in ("ignored", 0), ("default", -signal.SIGXFSZ), ("handler", 0):
            plain = e2e.plain([program, how], cwd=self.directory)
            self.assertEqual(plain.status, status, plain.err)
            for options in WAYS:
                with self.subTest(how=how, options=options):
                    found = self.recorded(options, [program, how])
                    self.assertEqual(found[:2], plain[:2])
                    self.assertRegex(found.err, r"\A(panopticon: .*File too large.*\n)+\Z")
                    self.check({}, anomalies="damaged")

    def test_nobody_reads_standard_error(self):
        """The recorder's own lines end nobody by SIGPIPE."""
        program = "import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)\ndef f(): pass\nf()"
        for options in WAYS:
            with self.subTest(options=options):
                shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
                read, write = os.pipe()
                command = e2e.recorder(self.path("run.pnr"), ["-c", program], options=options)
                process = subprocess.Popen(command, stderr=write, env=e2e.environment())
                os.close(write)
                os.close(read)
                self.assertEqual(process.wait(60), 0)
                self.check({"f": 1})

    @unittest.skipUnless(os.access("/dev/shm", os.W_OK), "there is no tmpfs")
    def test_start_alongside_a_fast_timer(self):
        """A signal takes back what is allocated on a tmpfs."""
        folder = tempfile.mkdtemp(prefix="panopticon-", dir="/dev/shm")
        self.addCleanup(shutil.rmtree, folder)
        finished = self.script("""
            import panopticon_rec, signal, sys
            def f(): pass
            signal.signal(signal.SIGALRM, lambda *unused: None)
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            for i in range(3):
                with panopticon_rec.record(f"{sys.argv[1]}/{i}.pnr"): f()
            signal.setitimer(signal.ITIMER_REAL, 0)
            print("end")
            """, folder)
        self.assertEqual(finished.out, "end\n")
        for i in range(3):
            self.check({"f": 1}, name=f"{folder}/{i}.pnr")

    EMBEDDING = """
        #include <Python.h>
        int main(int argc, char **argv)
        {
            for (int i = 0; i < 3; i++) {
                PyConfig config;
                PyConfig_InitPythonConfig(&config);
                PyConfig_SetBytesString(&config, &config.program_name, argv[1]);
                if (PyStatus_Exception(Py_InitializeFromConfig(&config)))
                    return 3;
                PyConfig_Clear(&config);
                FILE *file = fopen(argv[2], "rb");
                if (!file || PyRun_SimpleFile(file, argv[2]) != 0)
                    return 4;
                fclose(file);
                if (Py_FinalizeEx() != 0)
                    return 5;
            }
            return 0;
        }
        """

    def make_embedding(self):
        library = sysconfig.get_config_var("LDVERSION")
        folder = sysconfig.get_config_var("LIBDIR")
        made = subprocess.run([CC, "-o", self.path("embedding"), self.write("embedding.c", self.EMBEDDING), "-I",
                               sysconfig.get_path("include"), f"-L{folder}", f"-Wl,-rpath,{folder}",
                               f"-lpython{library}"],
                              stderr=subprocess.DEVNULL, check=False)
        if made.returncode:
            self.skipTest("this Python has no library to embed")

    @unittest.skipUnless(CC and not e2e.IS_SANITIZED, "there is no compiler")
    @unittest.skipUnless(e2e.IS_KNOWN and "monitoring" in e2e.ENGINES, "there are no budgets on this Python")
    def test_embedding_with_a_budget(self):
        """In each of three interpreters functions are muted while they are open, and their exits are recorded."""
        self.make_embedding()
        script = self.write("app.py", """
            import time
            import panopticon_rec
            def leaf(n): return n & 3
            def outer(n):
                end = time.process_time_ns() + n
                while time.process_time_ns() < end:
                    for k in range(50):
                        outer(0) if k % 10 == 0 else leaf(k)
            recorder = panopticon_rec.Recorder("run.pnr", max_overhead=0.3).start()
            for _ in range(4):
                outer(150_000_000)
            """)
        finished = e2e.run([self.path("embedding"), e2e.PYTHON, script], cwd=self.directory)
        self.assertEqual(finished, (0, "", ""))
        for name in "run.pnr", "run-2.pnr", "run-3.pnr":
            one, = ledger.read(self.path(name))
            self.assertIn("__main__.outer", one.muted(), name)
            verified = e2e.run([e2e.CONVERT, "--verify", self.path(name)])
            self.assertEqual((verified.status, verified.err), (0, ""), name)
            slices = self.trace(name).named("__main__.outer")
            self.assertEqual([one for one in slices if "exit_missing" in one.flags], [], name)

    @unittest.skipUnless(CC and not e2e.IS_SANITIZED, "there is no compiler")
    def test_embedding(self):
        """A program with three interpreters, one after the other. A recording that is not stopped ends with its own."""
        self.make_embedding()
        script = self.write("app.py", """
            import os, threading
            class Pair:
                def __init__(self): self.x = 1
                def __getitem__(self, i): return i
            def f(n): return n and f(n - 1)
            def generate():
                for i in range(50): yield Pair()[f(3)]
            class Last:
                def __del__(self): f(2)
            last = Last()
            if os.environ.get("RECORD"):
                import panopticon_rec
                recorder = panopticon_rec.Recorder("run.pnr", engine=os.environ["RECORD"],
                                                   c_calls=bool(os.environ.get("C_CALLS"))).start()
            for _ in range(40): list(generate())
            thread = threading.Thread(target=f, args=(9,))
            thread.start()
            thread.join()
            if os.environ.get("STOP"): recorder.stop()
            print("end", flush=True)
            """)
        command = [self.path("embedding"), e2e.PYTHON, script]
        plain = e2e.run(command, cwd=self.directory)
        self.assertEqual(plain, (0, "end\n" * 3, ""))
        for options in WAYS:
            for more in {}, {"STOP": "1"}, {"STOP": "1", "C_CALLS": "1"}, {"C_CALLS": "1"}:
                with self.subTest(options=options, more=more):
                    for name in "run.pnr", "run-2.pnr", "run-3.pnr":
                        shutil.rmtree(self.path(name), ignore_errors=True)
                    self.assertEqual(e2e.run(command, cwd=self.directory, env={"RECORD": options[1], **more}), plain)
                    for name in "run.pnr", "run-2.pnr", "run-3.pnr":
                        self.check({"f": 40 * 50 * 4 + 10 + (0 if more.get("STOP") else 3), "generate": 40 * 51,
                                    "Pair.__init__": 2000, "Pair.__getitem__": 2000}, name=name,
                                   anomalies="without a matching entry|lost|recovered")


if __name__ == "__main__":
    unittest.main()
