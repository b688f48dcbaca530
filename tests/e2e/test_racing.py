"""Threads that run at the same time, in a free-threaded build of CPython: what each of them did is known by the program
itself. Skipped where there is a GIL. The other tests of this folder run under such a build, too."""

import collections
import json
import os
import signal
import subprocess
import unittest

import e2e

# Eight threads that begin at once. Each calls what none has called before, as all others do, then what all know.
RACE = """
    import sys, threading

    FUNCTIONS = {"__name__": "__main__"}
    for i in range(40):
        exec(f"def new_{i}(): return {i}", FUNCTIONS)
    NEW = [FUNCTIONS[f"new_{i}"] for i in range(40)]
    N = 300

    def leaf(x):
        return x + 1

    def steps(n):
        for i in range(n):
            yield leaf(i)

    def fail():
        raise ValueError

    def work(barrier):
        barrier.wait()
        for function in NEW:
            function()
        for i in range(N):
            for _ in steps(5):
                pass
            try:
                fail()
            except ValueError:
                pass

    def race():
        barrier = threading.Barrier(8)
        threads = [threading.Thread(target=work, args=(barrier,), name=f"racer {i}") for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    race()
    print(sys._is_gil_enabled())
    """

# Eight threads that call functions of C, which none has called before, and another one; raise and handle exceptions; pass what all
# of them change; collect garbage; and run tasks in loops of their own.
OPTIONS = """
    import asyncio, gc, math, threading

    N = 300
    NEW = [getattr(math, name) for name in ("sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "exp", "log", "fabs", "ceil")]
    shared_list, shared_dict, shared_set = [[0]], {"a": [1]}, {1}
    collected = []

    class Own(Exception):
        pass

    def touch(one, many, few):
        return one

    def fail(i):
        raise Own(i)

    def change(i):
        shared_list.append([i])
        if i % 10 == 9:
            del shared_list[:]
        shared_dict[str(i % 30)] = [i]
        shared_dict.pop(str((i + 15) % 30), None)
        shared_set.add(i)
        shared_set.discard(i - 5)

    async def step(i):
        await asyncio.sleep(0)
        return i

    async def tasks(number):
        await asyncio.gather(*(asyncio.create_task(step(i), name=f"task {number}.{i}") for i in range(10)))

    def work(barrier, number):
        barrier.wait()
        for function in NEW:
            function(0.5)
        for i in range(N):
            math.gcd(i, 6)
            change(i)
            touch(shared_list, shared_dict, shared_set)
            try:
                fail(i)
            except Own:
                pass
            if i % 50 == 0:
                gc.collect()
        asyncio.run(tasks(number))

    gc.callbacks.append(lambda phase, info: collected.append(phase) if phase == "stop" else None)
    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=work, args=(barrier, number), name=f"racer {number}") for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.callbacks.clear()
    print(len(collected))
    """

# Six threads that work until they are stopped, one that makes threads, two that call nothing but functions of C, and what is
# done meanwhile.
MEANWHILE = """
    import os, threading, time
    import panopticon_rec

    stopping = False

    def leaf(x):
        return x + 1

    def steps(n):
        for i in range(n):
            yield leaf(i)

    def work():
        while not stopping:
            for _ in steps(20):
                leaf(0)

    def make_threads():
        while not stopping:
            thread = threading.Thread(target=lambda: sum(steps(50)))
            thread.start()
            thread.join()

    def wait():
        while not stopping:
            time.sleep(0.001)

    def count():
        while not stopping:
            abs(-1)

    threads = [threading.Thread(target=one) for one in [work] * 6 + [make_threads, wait, count]]
    for thread in threads:
        thread.start()
    try:
        for i in range(3):
            recorder = panopticon_rec.Recorder(f"run{i}.pnr", c_calls=i > 0)
            recorder.start()
            time.sleep(0.02)
            panopticon_rec.pause()
            panopticon_rec.resume()
            panopticon_rec.mark("between", number=i)
            panopticon_rec.snapshot(f"snapshot{i}.pnr")
            time.sleep(0.02)
            inner = panopticon_rec.Recorder(f"inner{i}.pnr", c_calls=i > 1)
            inner.start()
            time.sleep(0.02)
            inner.stop()
            assert recorder.stop().lost == 0
    finally:
        stopping = True
        for thread in threads:
            thread.join()
    """

# Two threads fork while two call what is new.
FORKS = """
    import os, threading

    def leaf(x):
        return x + 1

    def fork():
        for i in range(5):
            pid = os.fork()
            if pid == 0:
                leaf(i)
                os._exit(0)
            os.waitpid(pid, 0)

    def call_new():
        for i in range(30):
            space = {"__name__": "__main__"}
            exec(f"def new(): return {i}", space)
            space["new"]()

    threads = [threading.Thread(target=one) for one in (fork, fork, call_new, call_new)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    """

# One thread forks while another one, with a lock that it needs for that, calls what is new. The package is imported after the
# module that takes the lock before a fork.
FORK_WAITS = """
    import concurrent.futures.thread, os, threading, time
    import panopticon_rec

    LOCK = concurrent.futures.thread._global_shutdown_lock
    has_lock, forking = threading.Event(), threading.Event()

    def call_new():
        with LOCK:
            has_lock.set()
            forking.wait()
            time.sleep(0.3)             # until the other thread waits for the lock; if it does not yet, nothing is tested
            for i in range(30):
                space = {"__name__": "__main__"}
                exec(f"def new(): return {i}", space)
                space["new"]()

    with panopticon_rec.Recorder("run.pnr"):
        os.register_at_fork(before=forking.set)         # the last one, which is called first
        thread = threading.Thread(target=call_new)
        thread.start()
        has_lock.wait()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        thread.join()
    """

# Each generator goes round through all threads, which run it in turn.
HANDED_ON = """
    import queue, threading

    def count(n):
        for i in range(n):
            yield i

    queues = [queue.SimpleQueue() for _ in range(4)]

    def run(i):
        while (generator := queues[i].get()) is not None:
            following = queues[(i + 1) % 4]
            if next(generator, None) is not None:
                following.put(generator)
            else:
                done.release()

    done = threading.Semaphore(0)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for i in range(20):
        queues[i % 4].put(count(50))
    for _ in range(20):
        done.acquire()
    for one in queues:
        one.put(None)
    for thread in threads:
        thread.join()
    """


@unittest.skipUnless(e2e.IS_FREE_THREADED, "this build of CPython has a GIL")
class Racing(e2e.EndToEnd):
    GIL = {"PYTHON_GIL": "0"}           # as it is by default

    def assertWhole(self, capture, *remarks):
        """The converter has nothing to remark but what these lines say."""
        finished = e2e.run([e2e.CONVERT, "--verify", self.path(capture)])
        self.assertEqual(finished.status, 0, finished.err)
        self.assertIn(": all whole\n", finished.out)
        for line in finished.err.splitlines():
            self.assertTrue(any(remark in line for remark in remarks), line)

    def test_race(self):
        """Each call of each thread is recorded once, also the first calls of functions that all threads make at once."""
        finished, trace = self.record(RACE, env=self.GIL)
        self.assertEqual(finished.out, "False\n")
        self.assertWhole("run.pnr")
        expected = {"leaf": 300 * 5, "steps": 300 * 6, "fail": 300, "work": 1, **{f"new_{i}": 1 for i in range(40)}}
        racers = [thread for thread, name in trace.threads.items() if name.startswith("racer ")]
        self.assertEqual(len(racers), 8)
        for racer in racers:
            slices = [one for one in trace.slices if one.thread == racer]
            found = collections.Counter(one.function.name.removeprefix("__main__.") for one in slices)
            self.assertSame(expected, {name: found[name] for name in expected}, trace.threads[racer])
            failed = [one for one in slices if one.function.name.endswith("fail")]
            self.assertTrue(all("exception" in one.flags for one in failed))
            self.assertFalse([one for one in slices if one.flags - {"exception"}])

    def test_options(self):
        """What is recorded with calls is so of each thread, once; values are read of objects that others change."""
        finished, trace = self.record(OPTIONS, env=self.GIL, options=(
            "-q", "--c-calls", "--exceptions", "--gc", "--task-names", "--args", "__main__.*", "--results", "__main__.*"))
        self.assertEqual(finished.err, "")
        self.assertWhole("run.pnr")
        racers = [thread for thread, name in trace.threads.items() if name.startswith("racer ")]
        self.assertEqual(len(racers), 8)
        expected = {"math.gcd": 300, "math.sqrt": 1, "math.ceil": 1, "math.fabs": 1, "__main__.touch": 300, "__main__.fail": 300,
                    "__main__.change": 300, "__main__.step": 20}
        for racer in racers:
            found = collections.Counter(one.function.name for one in trace.slices if one.thread == racer)
            self.assertSame(expected, {name: found[name] for name in expected}, trace.threads[racer])
        instants = collections.Counter(trace.instants)
        self.assertEqual((instants["[raised Own]"], instants["[handled Own]"]), (8 * 300, 8 * 300))
        n_collections = sum(one.function.name == "[garbage collection]" for one in trace.slices)
        self.assertIn(n_collections - int(finished.out), range(20))         # some before the program begins to count, and after
        with_tasks = e2e.Trace(e2e.convert(self.path("run.pnr"), "--tasks"))
        names = {one.name.partition(":")[0] for one in with_tasks.tasks}
        self.assertLessEqual({f"task {number}.{i}" for number in range(8) for i in range(10)}, names)
        with open(self.path("run.trace"), encoding="utf-8") as file:
            touched = [event["args"] for event in json.load(file)["traceEvents"] if event["name"] == "__main__.touch"]
        for args in touched:
            for key, begin in ("one", "["), ("many", "{"), ("few", ("{", "set(")), ("return", "["):
                self.assertTrue(args[key].startswith(begin), args)

    def test_generators_are_handed_on(self):
        _, trace = self.record(HANDED_ON, env=self.GIL)
        self.assertWhole("run.pnr")
        flows = [flow for flow in trace.flows if flow[0].function.name.endswith("count")]
        self.assertEqual([len(flow) for flow in flows], [51] * 20)
        for flow in flows:
            self.assertEqual(len({run.thread for run in flow}), 4)
            self.assertTrue(all(a.end <= b.begin for a, b in zip(flow, flow[1:])))

    def test_while_all_run(self):
        """Recordings begin and end, pause and are saved while all threads run; none ever has an exit without its entry."""
        self.script(MEANWHILE, env=self.GIL)
        captures = sorted(name for name in os.listdir(self.directory) if name.endswith(".pnr"))
        self.assertEqual(len(captures), 9)
        for capture in captures:
            self.assertWhole(capture)

    def test_forks(self):
        """All ten children are recorded, each with its one call."""
        finished = e2e.recorded(self.path("run.pnr"), [self.write("app.py", FORKS)], flags=("-W", "ignore"), env=self.GIL)
        self.assertEqual((finished.status, finished.err), (0, ""))
        self.assertWhole("run.pnr")
        self.assertEqual(len(e2e.process_directories(self.path("run.pnr"))), 11)
        count = self.trace().count()
        found = {name.removeprefix("__main__."): n for name, n in count.items()}
        self.assertEqual((found["leaf"], found["fork"]), (10, 2 + 10))
        self.assertEqual(found["new"], 60)

    def test_fork_that_waits_for_a_lock(self):
        """The recorder's lock is the last one that a fork takes: a thread that has another one may wait for it."""
        self.script(FORK_WAITS, env={"PYTHONWARNINGS": "ignore", **self.GIL})
        self.assertWhole("run.pnr")
        self.assertEqual(self.trace().count()["__main__.new"], 30)

    def test_killed(self):
        random = self.random()
        for i in range(100 if e2e.LONG else 8):
            capture = self.path(f"killed{i}.pnr")
            app = self.write("app.py", RACE.replace("    race()\n", "    while True:\n        race()\n"))
            process = subprocess.Popen(e2e.recorder(capture, [app]), env=e2e.environment(**self.GIL), cwd=self.directory)
            try:
                process.wait(0.4 + random.random())
            except subprocess.TimeoutExpired:
                process.kill()
            self.assertEqual(process.wait(), -signal.SIGKILL)
            if os.path.exists(capture) and e2e.process_directories(capture):    # else it had not begun
                self.assertWhole(f"killed{i}.pnr", "did not end in order")

    def test_the_gil_stays_off(self):
        finished = e2e.plain(["-c", "import sys, panopticon_rec; print(panopticon_rec.UNUSABLE, sys._is_gil_enabled())"],
                             env=self.GIL)
        self.assertEqual(finished, (0, "None False\n", ""))
        self.record("pass", env=self.GIL)
        finished = e2e.plain(["-c", "import sys, panopticon_rec\n"
                              "print(panopticon_rec.open('run.pnr').slices().__arrow_c_stream__(), sys._is_gil_enabled())"],
                             cwd=self.directory, env=self.GIL)
        self.assertRegex(finished.out, r"arrow_array_stream.* False\n\Z")

    def test_refused(self):
        """What is not right yet is refused in one line, and the program does not run."""
        app = self.write("app.py", "print('ran')")
        for option, *words in ["max-overhead", "3%"], ["clock", "sparse"]:
            finished = e2e.recorded(self.path("run.pnr"), [app], options=[f"--{option}", *words], env=self.GIL)
            self.assertEqual((finished.status, finished.out), (2, ""), option)
            self.assertRegex(finished.err, rf"\Apanopticon: --{option} is not supported yet in a free-threaded "
                                           r"build of CPython\n\Z")
        finished = e2e.recorded(self.path("run.pnr"), [app], options=["--engine", "frame"], env=self.GIL)
        self.assertEqual((finished.status, finished.out, finished.err),
                         (2, "", "panopticon: CPython 3.13 has no engine frame\n"))
        self.assertEqual(os.listdir(self.directory), ["app.py"])


class RacingWithGil(Racing):
    """The same build with the GIL on."""

    GIL = {"PYTHON_GIL": "1"}

    def test_race(self):
        finished, _ = self.record(RACE, env=self.GIL)
        self.assertEqual(finished.out, "True\n")
        self.assertWhole("run.pnr")

    test_the_gil_stays_off = test_killed = test_refused = None


if __name__ == "__main__":
    unittest.main()
