"""Python on C stacks that are not the thread's own: coroutines of C code, as makecontext and fibers make them."""

import shutil
import sysconfig
import unittest

import e2e

FIBERS = """
    #include <Python.h>
    #include <sys/mman.h>
    #include <ucontext.h>

    struct fiber {
        ucontext_t own, back;
        PyObject *function, *result;
        int is_done;
    };
    static struct fiber *running;

    static void run(void)
    {
        struct fiber *f = running;
        f->result = PyObject_CallNoArgs(f->function);
        f->is_done = 1;
        swapcontext(&f->own, &f->back);
    }

    static PyObject *stack(PyObject *self, PyObject *args)
    {
        Py_ssize_t size;
        int is_mapped;
        if (!PyArg_ParseTuple(args, "ni", &size, &is_mapped))
            return NULL;
        if (!is_mapped)
            return PyLong_FromVoidPtr(malloc(size));
        return PyLong_FromVoidPtr(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    }

    static PyObject *make(PyObject *self, PyObject *args)
    {
        unsigned long long address;
        Py_ssize_t size;
        PyObject *function;
        if (!PyArg_ParseTuple(args, "KnO", &address, &size, &function))
            return NULL;
        struct fiber *f = calloc(1, sizeof *f);
        f->function = Py_NewRef(function);
        getcontext(&f->own);
        f->own.uc_stack.ss_sp = (void *)(uintptr_t)address;
        f->own.uc_stack.ss_size = size;
        makecontext(&f->own, run, 0);
        return PyLong_FromVoidPtr(f);
    }

    /* Runs it until it suspends (None) or ends (what its function gave). */
    static PyObject *resume(PyObject *self, PyObject *number)
    {
        struct fiber *f = PyLong_AsVoidPtr(number), *before = running;
        running = f;
        swapcontext(&f->back, &f->own);
        running = before;
        return f->is_done ? f->result : Py_NewRef(Py_None);
    }

    static PyObject *suspend(PyObject *self, PyObject *unused)
    {
        struct fiber *f = running;
        swapcontext(&f->own, &f->back);
        return Py_NewRef(Py_None);
    }

    static PyObject *here(PyObject *self, PyObject *unused)
    {
        return PyLong_FromVoidPtr(__builtin_frame_address(0));
    }

    static PyMethodDef methods[] = {
        { "stack", stack, METH_VARARGS, "" }, { "make", make, METH_VARARGS, "" }, { "resume", resume, METH_O, "" },
        { "suspend", suspend, METH_NOARGS, "" }, { "here", here, METH_NOARGS, "" }, { 0 }
    };
    static PyModuleDef definition = { PyModuleDef_HEAD_INIT, "fibers", "", -1, methods };
    PyMODINIT_FUNC PyInit_fibers(void) { return PyModule_Create(&definition); }
    """

# Each of main's stacks: one that was there before the thread's, one that came later, one of malloc.
PROGRAM = """
    import sys, threading, fibers
    sys.setrecursionlimit(5000)
    SIZE = 512 * 1024
    def f(n): return n and 1 + f(n - 1)
    def generate(n):
        for i in range(n):
            yield leaf(i)
    def leaf(i): return i
    def fail(n):
        if not n: raise ValueError("deep")
        fail(n - 1)
    def body():
        places.add(fibers.here() > main_is_at)
        total = f({depth}) + sum(generate(5)) + sum(sorted([3, 1, 2], key=leaf))
        try: fail(5)
        except ValueError as error: total += len(str(error))
        return total
    def nested():
        return fibers.resume(fibers.make(fibers.stack(SIZE, 1), SIZE, body))
    def bad(): fail(3)
    def main(*stacks):
        global main_is_at
        main_is_at = fibers.here()
        for stack in stacks:
            print(fibers.resume(fibers.make(stack, SIZE, body)), leaf(1))
            print(fibers.resume(fibers.make(stack, SIZE, nested)))
            try: fibers.resume(fibers.make(stack, SIZE, bad))
            except ValueError as error: print("raised", error)
        f(3)
    def start():
        main(early, fibers.stack(SIZE, 1), fibers.stack(SIZE, 0))
    places = set()
    early = fibers.stack(SIZE, 1)
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert places == {{True, False}}, places
    main(early)
    """


@unittest.skipUnless(shutil.which("gcc"), "there is no compiler")
class Fibers(e2e.EndToEnd):
    def setUp(self):
        super().setUp()
        finished = e2e.run(["gcc", "-shared", "-fPIC", "-I", sysconfig.get_path("include"),
                            "-o", self.path("fibers.so"), self.write("fibers.c", FIBERS)])
        self.assertEqual(finished.status, 0, finished.err)

    def compare(self, text, *options):
        found = self.record_as_plain(text, *options)
        self.assertEqual((found.status, found.err), (0, ""))
        trace = e2e.Trace(e2e.convert(self.path("run.pnr")))
        # not of the main thread's in threading: what it does in another thread's unrecorded region is not recorded
        self.assertFalse({flag for one in trace.of(self.path("app.py")) for flag in one.flags} - {"exception"})
        return trace

    def test_all_is_recorded(self):
        for options in [(), ("--c-calls",), ("--min-duration", "1ns"), ("--exclude", "threading")]:
            with self.subTest(options=options):
                count = self.compare(PROGRAM.format(depth=10), *options).count()
                bodies, bad = 8, 4
                expected = {"main": 2, "body": bodies, "nested": bad, "bad": bad, "f": bodies * 11 + 2 * 4,
                            "generate": bodies * 6, "leaf": bodies * (5 + 3) + 4, "fail": bodies * 6 + bad * 4}
                self.assertEqual({name: count[f"__main__.{name}"] for name in expected}, expected)
                self.assertEqual(count["[not recorded]"], 0)

    def test_deep_recursion(self):
        """It works as without the recorder, and what the guard left out is shown."""
        trace = self.compare(PROGRAM.format(depth=4000))
        deep = [one for one in trace.slices if one.function.name == "__main__.f" and one.parent and
                one.parent.function.name == "__main__.body"]
        self.assertEqual(len(deep), 8)
        self.assertEqual(trace.count()["[not recorded]"], 8)
        self.assertGreaterEqual(trace.count()["__main__.f"], 8 * 10)
        self.assertEqual(trace.count()["__main__.generate"], 8 * 6)

    def test_switches_in_the_midst(self):
        """Each fiber is suspended and goes on, between frames, in a generator and in an except block."""
        trace = self.compare("""
            import fibers
            SIZE = 256 * 1024
            def f(n):
                if n: return f(n - 1)
                fibers.suspend()
            def generate():
                for i in range(3):
                    fibers.suspend()
                    yield i
            def body():
                f(3)
                list(generate())
                try: raise ValueError
                except ValueError: fibers.suspend()
                return "done"
            def work():
                for how in 0, 1:
                    one = fibers.make(fibers.stack(SIZE, how), SIZE, body)
                    while not (result := fibers.resume(one)): pass
                    print(result)
            work()
            """)
        count = trace.count()
        self.assertEqual({name: count[f"__main__.{name}"] for name in ("work", "body", "f", "generate")},
                         {"work": 1, "body": 2, "f": 8, "generate": 8})

    def test_recording_begins_there(self):
        self.script("""
            import fibers, panopticon_rec
            SIZE = 256 * 1024
            def f(n): return n and f(n - 1)
            def begin():
                global recorder
                recorder = panopticon_rec.Recorder("run.pnr")
                recorder.start()
                f(2)
            def body():
                begin()
                f(1)
            def work():
                fibers.resume(fibers.make(fibers.stack(SIZE, 1), SIZE, body))
                f(0)
            work()
            recorder.stop()
            """)
        trace = self.trace()
        parents = [one.parent.function.name for one in trace.named("__main__.f")]
        f = "__main__.f"
        self.assertEqual(parents, ["__main__.begin", f, f, "__main__.body", f, "__main__.work"])


if __name__ == "__main__":
    unittest.main()
