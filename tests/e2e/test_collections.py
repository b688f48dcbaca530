"""Garbage collections (--gc). The oracle is what the interpreter reports to the program's own callable in
gc.callbacks."""

import json
import os
import shutil
import signal
import subprocess
import unittest

import e2e

PROGRAM = """
    import gc, json, sys, threading
    import panopticon_rec as rec

    class Node:
        pass

    def cycles(n):
        for i in range(n):
            one, other = Node(), Node()
            one.other, other.one = other, one

    seen = []

    def notice(phase, info):
        if phase == "stop":
            seen.append([threading.get_native_id(), info["generation"], info["collected"], info["uncollectable"]])

    def work():
        cycles(500)
        gc.collect(0)
        gc.collect(1)
        cycles(3000)
        gc.collect()

    gc.callbacks.append(notice)
    with rec.record("run.pnr", **json.loads(sys.argv[1])):
        seen.clear()
        work()
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        wrote = list(seen)
    print(json.dumps(wrote))
    """

CYCLES = """
    import gc
    def cycles(n):
        for i in range(n):
            a = []
            a.append(a)
    """


def collections(trace):
    """[thread, generation, collected, uncollectable] of each, in the order of time."""
    with open(trace, encoding="utf-8") as file:
        events = [event for event in json.load(file)["traceEvents"] if event["name"] == "[garbage collection]"]
    events.sort(key=lambda event: event["ts"] + event["dur"])
    return [[event["tid"], *(event["args"].get(key) for key in ("generation", "collected", "uncollectable"))]
            for event in events]


class Collections(e2e.EndToEnd):
    def check(self, **how):
        wrote = json.loads(self.script(PROGRAM, json.dumps({"gc": True, **how})).out)
        self.assertGreater(len(wrote), 6)
        verified = e2e.run([e2e.CONVERT, "--verify", self.path("run.pnr")])
        self.assertEqual(verified.status, 0, verified.err)
        found = collections(e2e.convert(self.path("run.pnr")))
        at = next(i for i in range(len(found)) if found[i:][:len(wrote)] == wrote)
        self.assertLessEqual(at, 3)         # those before the program's list was cleared
        self.assertLessEqual(len(found) - at - len(wrote), 3)

    def test_each_is_a_slice_of_the_thread_that_ran_it(self):
        for engine in e2e.ENGINES:
            for more in ({}, {"clock": "sparse"}, {"c_calls": True}, {"mine": True}, {"min_duration": "1ms"}):
                with self.subTest(engine=engine, **more):
                    shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
                    self.check(engine=engine, **more)

    def test_without_the_option_there_is_none(self):
        _, trace = self.record(CYCLES + "\n    cycles(5000); gc.collect()")
        self.assertEqual(trace.named("[garbage collection]"), [])

    def test_it_lies_in_the_function_that_caused_it(self):
        _, trace = self.record(CYCLES + """
    class Node:
        def __del__(self):
            helper()
    def helper(): pass
    def collect():
        gc.collect()
    gc.disable()
    node = Node(); node.me = node; del node
    collect()
    """, options=("-q", "--gc"))
        slice, = [slice for slice in trace.named("[garbage collection]")
                  if slice.parent.function.name == "__main__.collect"]
        self.assertEqual([child.function.name for child in trace.slices if child.parent is slice],
                         ["__main__.Node.__del__"])

    @unittest.skipUnless(e2e.IS_KNOWN, "the recorder's callable is in gc.callbacks")
    def test_the_program_sees_nothing_of_it(self):
        self.record_as_plain(CYCLES + """
    import sys
    gc.collect()
    print(gc.callbacks, type(gc.callbacks), len(gc.callbacks))
    phases = []
    def one(phase, info): phases.append(("one", phase, sorted(info)))
    class Fails:
        def __call__(self, phase, info): raise LookupError(phase)
        def __repr__(self): return "fails"
    gc.callbacks += [one, Fails(), one]
    gc.callbacks.remove(one)
    gc.disable()
    cycles(10)
    print(gc.collect(), phases, len(gc.callbacks))
    gc.callbacks.clear()
    cycles(10)
    print(gc.collect(), len(phases))
    def removes_itself(phase, info):
        phases.append(phase)
        gc.callbacks.remove(removes_itself)
    gc.callbacks[:] = [removes_itself, one]
    gc.collect()
    print(phases, gc.callbacks == [one])
    print([one for one in gc.get_objects() if "recorder" in str(type(one)) and "gc" in repr(one)])
    print([type(one) for one in gc.get_referrers(gc.callbacks) if type(one) is not dict])
    def deep(n):
        try:
            deep(n + 1)
        except RecursionError:
            gc.collect()
    sys.setrecursionlimit(200)
    gc.callbacks.clear()
    deep(0)
    print("end")
    """, "--gc")

    def test_start_and_stop_where_callables_are_called(self):
        """Each callable of the program is called once for each phase, whatever it starts or stops."""
        program = """
    import gc
    import panopticon_rec as rec
    recorder, calls = rec.Recorder("run.pnr", gc=True), []
    def first(phase, info): calls.append(("first", phase))
    def second(phase, info):
        calls.append(("second", phase))
        if len(calls) == 8:
            recorder.stop()
    def third(phase, info): calls.append(("third", phase))
    gc.disable()
    gc.callbacks[:] = [first, second, third]
    recorder.start()
    gc.collect()
    gc.collect()
    gc.collect()
    once = [(name, phase) for phase in ("start", "stop") for name in ("first", "second", "third")]
    print(calls == 3 * once)
    print(gc.callbacks == [first, second, third])
    with rec.record("again.pnr", gc=True):
        gc.collect()
    print(len(calls))
    """
        self.assertEqual(self.script(program).out.split(), ["True", "True", "24"])
        self.assertEqual(len(collections(e2e.convert(self.path("run.pnr")))), 1)
        self.assertEqual(len(collections(e2e.convert(self.path("again.pnr")))), 1)

    def test_a_pause_amid_a_collection(self):
        program = """
    import gc
    import panopticon_rec as rec
    class Node:
        def __del__(self):
            rec.pause()
            rec.resume()
    def collect():
        node = Node(); node.me = node; del node
        gc.collect()
    gc.disable()
    with rec.record("run.pnr", gc=True):
        collect()
        gc.collect(0)
    """
        self.script(program)
        self.assertEqual([found[1] for found in collections(e2e.convert(self.path("run.pnr")))], [2, 0])

    def test_children_and_regions(self):
        program = CYCLES + """
    import os
    import panopticon_rec as rec
    gc.disable()
    with rec.record("run.pnr"):
        gc.collect()
        with rec.record("region.pnr", gc=True):
            gc.collect(0)
        gc.collect()
    with rec.record("parent.pnr", gc=True):
        gc.collect(1)
        pid = os.fork()
        if not pid:
            cycles(1)
            gc.collect(0)
            os._exit(0)
        os.waitpid(pid, 0)
    """
        self.script(program)
        self.assertEqual([found[1] for found in collections(e2e.convert(self.path("region.pnr")))], [0])
        self.assertEqual(sorted(found[1] for found in collections(e2e.convert(self.path("parent.pnr")))), [0, 1])

    def test_killed_amid_a_collection(self):
        program = self.write("app.py", """
    import gc, time
    class Node:
        def __del__(self):
            print("ready", flush=True)
            time.sleep(60)
    node = Node(); node.me = node; del node
    gc.collect()
    """)
        process = subprocess.Popen(e2e.recorder(self.path("run.pnr"), [program], options=("-q", "--gc")), text=True,
                                   env=e2e.environment(), stdout=subprocess.PIPE, start_new_session=True)
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        self.assertEqual(collections(e2e.convert(self.path("run.pnr")))[-1][1:], [2, None, None])


if __name__ == "__main__":
    unittest.main()
