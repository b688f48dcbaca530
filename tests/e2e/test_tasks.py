"""Arrows from where coroutines were made, and rows of tasks. The oracle: what CPython itself reports of where a
coroutine was made (sys.set_coroutine_origin_tracking_depth), and what asyncio reports of its tasks: those that its task
factory makes, and those that are not done at the end."""

import collections
import json
import subprocess
import unittest

import e2e

PROGRAM = """
    import asyncio, contextlib, json, sys, threading, types
    import panopticon_rec

    LOOP
    sys.set_coroutine_origin_tracking_depth(1)
    made, runs = [], []

    def factory(loop, coro, **more):
        if isinstance(coro, types.CoroutineType):
            made.append((coro.cr_origin[0][2], coro.__qualname__))
        return asyncio.Task(coro, loop=loop, **more)

    async def leaf(n):
        await asyncio.sleep(0)
        return n

    async def steps(n):
        "Runs n + 1 times."
        for i in range(n):
            await asyncio.sleep(0.0001 * (i % 2))
        runs.append(n + 1)

    async def inner(n):
        "Runs once more for each leaf and each step that it awaits."
        for i in range(n):
            await leaf(i)
        await steps(n)
        return n

    async def numbers(n):
        for i in range(n):
            yield i
            await asyncio.sleep(0)

    async def parent():
        async for n in numbers(4):
            asyncio.get_running_loop().create_task(inner(n))
        await asyncio.gather(*(spawn(n) for n in range(5)), leaf(1))

    async def forever():
        await asyncio.Event().wait()

    async def cancelled():
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def spawn(n):
        return asyncio.create_task(steps(n))

    def ask(loop):
        sys.set_coroutine_origin_tracking_depth(1)      # each thread has its own
        for n in range(20):
            asyncio.run_coroutine_threadsafe(steps(n % 3), loop).result()

    async def main():
        asyncio.get_running_loop().set_task_factory(factory)
        await asyncio.gather(parent(), parent(), cancelled())
        async with asyncio.TaskGroup() as group:
            for n in range(3):
                group.create_task(inner(n))
        await asyncio.to_thread(ask, asyncio.get_running_loop())
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(forever(), 0.001)
        for _ in range(3):
            asyncio.ensure_future(forever())
        await asyncio.sleep(0.001)

    with panopticon_rec.record("run.pnr", **json.loads(sys.argv[1])):
        made.append(("<module>", "main"))
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
    left = [task.get_coro().__qualname__ for task in asyncio.all_tasks(loop)]
    print(json.dumps([made, runs, left]))
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    """
UVLOOP = "import uvloop; asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())"
HAS_UVLOOP = subprocess.run([e2e.PYTHON, "-c", "import uvloop"], capture_output=True).returncode == 0
OPTIONS = "--flows=all,creation", "--tasks"


def own(name):
    """As CPython calls it: a name without its module, or, if it is no name of the program, as it is."""
    return (name or "").removeprefix("__main__.")


class Tasks(e2e.EndToEnd):
    def check(self, loop="", has_creations=True, **how):
        finished = self.script(PROGRAM.replace("LOOP", loop), json.dumps(how))
        made, runs, left = json.loads(finished.out)
        trace = e2e.Trace(e2e.convert(self.path("run.pnr"), *OPTIONS))
        tasks = [task for task in trace.tasks if task.name.startswith("__main__.")]
        self.assertSame(collections.Counter(name for _, name in made),
                        collections.Counter(own(task.name) for task in tasks), "tasks")
        self.assertGreater(len(tasks), 40)
        self.assertEqual(sorted(own(task.name) for task in tasks if task.flags), sorted(left))
        self.assertSame(collections.Counter(runs), collections.Counter(
            len(task.runs) for task in tasks if task.name == "__main__.steps") + self.inner(tasks), "runs")
        if not has_creations:
            self.assertEqual(trace.creations, [])
            return
        makers = {creation.made: creation.maker for creation in trace.creations}
        found = collections.Counter((own(makers[task.runs[0]].function.name).rpartition(".")[2], own(task.name))
                                    for task in tasks)
        self.assertSame(collections.Counter(map(tuple, made)), found, "who made them")

    def inner(self, tasks):
        """steps() that a task awaits: it goes on where the task does, except those of the leaves that come first."""
        return collections.Counter((len(task.runs) + 1) // 2 for task in tasks if task.name == "__main__.inner")

    def test_of_asyncio(self):
        self.check()

    def test_c_functions(self):
        self.check(c_calls=True)

    def test_asyncio_is_not_recorded(self):
        self.check(filters=["no-stdlib"])

    @unittest.skipUnless(HAS_UVLOOP, "uvloop is not there for this Python")
    def test_of_uvloop(self):
        self.check(UVLOOP)

    @unittest.skipIf("monitoring" not in e2e.ENGINES, "there is no monitoring engine")
    def test_monitoring(self):
        self.check(has_creations=False, engine="monitoring")

    @unittest.skipIf(e2e.VERSION < (3, 12), "eager tasks are of CPython 3.12 and later")
    def test_eager_tasks(self):
        _, trace = self.trace_of("""
            import asyncio
            async def quick():
                return 1
            async def slow():
                await asyncio.sleep(0)
            async def main():
                asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
                tasks = [asyncio.create_task(one()) for one in (quick, slow, quick)]
                await quick()
                await asyncio.gather(*tasks, slow())
            asyncio.run(main())
            """)
        self.assertEqual([(own(task.name), len(task.runs)) for task in trace.tasks if own(task.name) != task.name],
                         [("main", 2), ("quick", 1), ("slow", 2), ("quick", 1), ("slow", 2)])

    @unittest.skipIf(e2e.VERSION < (3, 12), "eager tasks are of CPython 3.12 and later")
    def test_tasks_that_begin_where_they_are_made(self):
        """In coroutines, async generators and plain functions, which await them, or do not; the program prints which
        are tasks, and how often each runs."""
        program = """
            import asyncio, json
            made, calls = [], []
            def note(coro, n):
                made.append((coro.__qualname__, n))
                return coro
            async def quick():
                pass
            async def slow(n):
                for _ in range(n): await asyncio.sleep(0)
            async def outer(n):
                await asyncio.Task(note(slow(n), n + 1), loop=loop(), eager_start=True)
                await slow(1)
            async def fails():
                await slow(1)
                raise KeyError
            async def forever():
                await asyncio.Event().wait()
            async def numbers():
                task = asyncio.Task(note(slow(2), 3), loop=loop(), eager_start=True)
                yield 1
                await task
            def plain(coro, n):
                return asyncio.Task(note(coro, n), loop=loop(), eager_start=True)
            loop = asyncio.get_running_loop
            async def main():
                tasks = [asyncio.Task(note(quick(), 1), loop=loop(), eager_start=True),
                         asyncio.Task(note(slow(3), 4), loop=loop(), eager_start=True),
                         plain(slow(2), 3), plain(quick(), 1), asyncio.create_task(note(slow(1), 2))]
                await quick()
                if loop().is_running():
                    await slow(1)                       # this is none
                [await slow(0) async for _ in numbers()]
                for n in range(2000):                   # so that some begin where a block of the capture does
                    asyncio.Task(note(quick(), 1), loop=loop(), eager_start=True)
                await asyncio.gather(*tasks, asyncio.Task(note(outer(2), 3), loop=loop(), eager_start=True),
                                     asyncio.Task(note(fails(), 2), loop=loop(), eager_start=True), return_exceptions=True)
                cancelled = asyncio.Task(note(forever(), 2), loop=loop(), eager_start=True)
                await asyncio.sleep(0)
                cancelled.cancel()
                await asyncio.gather(cancelled, return_exceptions=True)
            runner = asyncio.Runner()
            runner.get_loop()
            runner.run(main())
            print(json.dumps(made))
            """
        for options in [], ["--c-calls"], ["--engine", "monitoring"]:
            with self.subTest(options):
                finished, trace = self.trace_of(program, options=["-q", "--force", *options])
                found = collections.Counter((own(task.name), len(task.runs)) for task in trace.tasks
                                            if own(task.name) not in (task.name, "main"))
                expected = collections.Counter(map(tuple, json.loads(finished.out)))
                self.assertSame(expected, found, "tasks")

    def test_importing_makes_no_tasks(self):
        """Modules make coroutines for the sake of their type, and close them, which 3.11 enters."""
        _, trace = self.trace_of("""
            import importlib, sys
            for name in "types", "_collections_abc":
                sys.modules.pop(name, None)
                importlib.import_module(name)
            async def main(): pass
            def drive(coro):
                try:
                    coro.send(None)
                except StopIteration:
                    pass
            drive(main())
            """)
        self.assertEqual([task.name for task in trace.tasks], ["__main__.main"])

    def trace_of(self, text, **how):
        finished, _ = self.record(text, **how)
        return finished, e2e.Trace(e2e.convert(self.path("run.pnr"), *OPTIONS))

    def test_generators(self):
        _, trace = self.trace_of("""
            import threading
            def numbers(n):
                for i in range(n):
                    yield i
            def take(one):
                for _ in one:
                    pass
            def never():
                return numbers(3)
            def nested(n):
                yield from numbers(n)
            never()
            def main():
                for n in range(100):
                    take(nested(n % 3))
                    never()
                shared = numbers(5)
                thread = threading.Thread(target=take, args=(shared,))
                thread.start()
                thread.join()
            main()
            """)
        found = collections.Counter((own(maker.function.name), own(made.function.name), maker.thread == made.thread)
                                    for maker, made in trace.creations if made.function.name != own(made.function.name))
        expected = {("main", "nested", True): 100, ("nested", "numbers", True): 100, ("main", "numbers", False): 1}
        if e2e.VERSION < (3, 12):           # to close one that never ran is to run it
            expected["never", "numbers", True] = 101
        self.assertSame(expected, found, "creations")


class Waits(e2e.EndToEnd):
    """What tasks waited for. The oracle: the program writes down what it awaits, right before it does."""

    PROGRAM = """
        import asyncio, json, socket, time
        written = {}
        def note(what, where=None):
            "What the running task awaits now, and in which coroutine."
            coro = asyncio.current_task().get_coro().__qualname__
            written.setdefault(coro, []).append((what, where or coro))
        async def numbers():
            for n in range(2):
                note("asyncio.tasks.sleep", "numbers")
                await asyncio.sleep(0.001)
                yield n
        async def inner(future):
            note(None, "inner")                         # a future: the records do not show which
            await future
        async def sleeper():
            for _ in range(3):
                note("asyncio.tasks.sleep")
                await asyncio.sleep(0.001)
            note("asyncio.tasks.sleep")
            await asyncio.sleep(0)
            async for _ in numbers():
                future = asyncio.get_running_loop().create_future()
                asyncio.get_running_loop().call_later(0.001, future.set_result, None)
                note(None)
                await future
        async def reader(queue, event, stream, server, loop):
            note("asyncio.queues.Queue.get")
            await queue.get()
            note("asyncio.locks.Event.wait")
            await event.wait()
            note("asyncio.streams.StreamReader.read")
            await stream.read(1)
            note(SOCK_RECV)
            await loop.sock_recv(server, 1)
            future = loop.create_future()
            loop.call_later(0.001, future.set_result, None)
            await inner(future)
        async def locks(lock, queue, event, writer, client):
            note("asyncio.tasks.sleep")
            await asyncio.sleep(0.001)
            await queue.put(1)
            note("asyncio.tasks.sleep")
            await asyncio.sleep(0.001)
            event.set()
            note("asyncio.tasks.sleep")
            await asyncio.sleep(0.001)
            writer.write(b"x")
            note("asyncio.tasks.sleep")
            await asyncio.sleep(0.01)
            client.send(b"x")
            async with lock:
                task = asyncio.ensure_future(waits(lock))
                note("asyncio.tasks.sleep")
                await asyncio.sleep(0.001)
            note(None)
            await task
            note("asyncio.tasks.wait")
            await asyncio.wait([asyncio.ensure_future(quick())])
        async def quick():
            pass
        async def waits(lock):
            note("asyncio.locks.Lock.acquire")
            async with lock:
                pass
        async def main():
            loop = asyncio.get_running_loop()
            server, client = socket.socketpair()
            server.setblocking(False)
            other, end = socket.socketpair()
            stream, writer = await asyncio.open_connection(sock=other)
            stream_end, writer_end = await asyncio.open_connection(sock=end)
            queue, event, lock = asyncio.Queue(), asyncio.Event(), asyncio.Lock()
            tasks = [asyncio.ensure_future(each) for each in (sleeper(), reader(queue, event, stream, server, loop),
                                                              locks(lock, queue, event, writer_end, client))]
            await asyncio.gather(*tasks)
            for each in writer, writer_end:
                each.close()
            for each in server, client:
                each.close()
        asyncio.run(main())
        print(json.dumps(written))
        """.replace("SOCK_RECV", repr("asyncio.selector_events.BaseSelectorEventLoop.sock_recv"))

    def check_waits(self, *options):
        finished, _ = self.record(self.PROGRAM, options=["-q", "--force", *options])
        trace = e2e.Trace(e2e.convert(self.path("run.pnr"), *OPTIONS))
        written = json.loads(finished.out)
        found = {own(task.name): [(what, own(where)) for what, where in task.waits[:-1]] for task in trace.tasks
                 if own(task.name) in written}
        self.assertEqual(found, {coro: [tuple(each) for each in waits] for coro, waits in written.items()})
        self.assertEqual({task.waits[-1] for task in trace.tasks}, {(None, None)})          # they finish

    def test_what_is_awaited(self):
        self.check_waits()

    def test_sparse(self):
        self.check_waits("--clock", "sparse")

    def test_c_functions(self):
        self.check_waits("--c-calls")

    @unittest.skipIf("monitoring" not in e2e.ENGINES, "there is no monitoring engine")
    def test_monitoring(self):
        self.check_waits("--engine", "monitoring")

    def test_asyncio_is_not_recorded(self):
        """Then it is not known for what, but in which coroutine."""
        finished, _ = self.record(self.PROGRAM, options=["-q", "--no-stdlib"])
        trace = e2e.Trace(e2e.convert(self.path("run.pnr"), *OPTIONS))
        found = {own(task.name): [(what, own(where)) for what, where in task.waits[:-1]] for task in trace.tasks}
        for coro, waits in json.loads(finished.out).items():
            # what numbers() awaits looks like a value that it yields
            self.assertEqual(found[coro], [(None, where) if where != "numbers" else (None, "") for _, where in waits], coro)

    def test_table(self):
        self.record(self.PROGRAM)
        finished = e2e.run([e2e.CONVERT, "-q", "--top", "--tasks", "--json", self.path("run.pnr")])
        lines = {own(line["name"]): line for line in json.loads(finished.out)["tasks"]}
        waits = {(wait.get("for"), own(wait.get("in", ""))): wait for wait in lines["locks"]["waits"]}
        self.assertEqual({key: wait["count"] for key, wait in waits.items()},
                         {("asyncio.tasks.sleep", "locks"): 5, (None, "locks"): 1, ("asyncio.tasks.wait", "locks"): 1})
        self.assertGreaterEqual(waits["asyncio.tasks.sleep", "locks"]["ns"], 14_000_000)
        self.assertEqual(sum(wait["ns"] for wait in lines["locks"]["waits"]), lines["locks"]["suspended_ns"])
        text = e2e.run([e2e.CONVERT, "-q", "--top", "--tasks", self.path("run.pnr")]).out
        self.assertRegex(text, r"(?m)^ +5 +[\d.]+ms  __main__\.locks:\d+ for asyncio\.tasks\.sleep:\d+$")
        self.assertRegex(text, r"(?m)^ +1 +[\d.]+\ws  __main__\.reader:\d+ for what is not known, in __main__\.inner:\d+$")


class Works(e2e.EndToEnd):
    """Arrows to what a pool of threads does. The oracle: the program writes down which function submitted each work, and in
    which thread it ran."""

    PROGRAM = """
        import asyncio, concurrent.futures, json, threading, time
        done = []
        def work(submitter, n):
            done.append((submitter, threading.get_native_id()))
            time.sleep(0.0001 * n)
        def first(pool):
            return [pool.submit(work, "first", n % 3) for n in range(30)]
        def second(pool):
            return [pool.submit(work, "second", n % 2) for n in range(30)]
        def third(pool):
            futures = [pool.submit(work, "third", 1) for n in range(20)]
            for future in futures[::2]:
                future.cancel()                 # whether that comes too late is not known
            time.sleep(0.001)
            return futures[1::2]
        async def asks():
            await asyncio.gather(*(asyncio.to_thread(work, "asks", n % 2) for n in range(20)))
        async def main():
            loop = asyncio.get_running_loop()
            await asyncio.gather(asks(), *(loop.run_in_executor(None, work, "main", n) for n in range(10)),
                                 asyncio.to_thread(time.sleep, 0.001), asks())
        with concurrent.futures.ThreadPoolExecutor(3) as pool, concurrent.futures.ThreadPoolExecutor(2) as other:
            thread = threading.Thread(target=lambda: concurrent.futures.wait(first(pool) + second(other)))
            thread.start()
            concurrent.futures.wait(second(pool) + third(pool) + first(other))
            asyncio.run(main())
            thread.join()
        print(json.dumps(done))
        """

    def check_works(self, *options, are_all=True):
        finished, _ = self.record(self.PROGRAM, options=["-q", "--force", *options])
        trace = e2e.Trace(e2e.convert(self.path("run.pnr")))
        expected = collections.Counter((submitter, thread) for submitter, thread in json.loads(finished.out))
        found, of_works = collections.Counter(), set()
        for each in trace.named("__main__.work"):
            while each:                         # from work() to what called it
                of_works.add(each)
                each = each.parent
        for one in trace.works:
            maker = one.maker
            while maker.parent and own(maker.function.name) == maker.function.name:
                maker = maker.parent            # from submit() to the program's function
            if one.made in of_works:
                submitter = own(maker.function.name).partition(".")[0]     # without the generator in it
                found[submitter if submitter in ("first", "second", "third", "main") else "asks", one.made.thread[1]] += 1
        if are_all:
            self.assertSame(expected, found, "works")
        self.assertEqual(found - expected, collections.Counter())

    def test_works(self):
        self.check_works()

    def test_standard_library_is_not_recorded(self):
        self.check_works("--no-stdlib")

    def test_mine(self):
        self.check_works("--mine")

    def test_sparse(self):
        self.check_works("--clock", "sparse")

    @unittest.skipIf("monitoring" not in e2e.ENGINES, "there is no monitoring engine")
    def test_monitoring(self):
        self.check_works("--engine", "monitoring")
        self.check_works("--engine", "monitoring", "--no-stdlib")

    @unittest.skipIf(e2e.VERSION < (3, 12), "there are no budgets")
    def test_budget(self):
        """What does the work may be muted."""
        self.check_works("--max-overhead", "0.1%", are_all=False)

    def test_c_function_is_not_the_next_call(self):
        """What a thread of a pool calls after work in C is no part of that work."""
        self.record("""
            import concurrent.futures, time, weakref
            class Value: pass
            def collected(reference): pass
            def made(value): return weakref.ref(value, collected)
            def after(): pass
            def begin(): pass
            with concurrent.futures.ThreadPoolExecutor(1, initializer=begin) as pool:
                pool.submit(time.sleep, 0.001).result()
                pool.submit(after).result()
            """, options=["-q", "--no-stdlib"])
        trace = e2e.Trace(e2e.convert(self.path("run.pnr")))
        self.assertEqual([(own(one.maker.function.name), own(one.made.function.name)) for one in trace.works],
                         [("<module>", "after")])

    def test_other_flows(self):
        self.record(self.PROGRAM)
        for flows, has_works in ("none", False), ("generator", False), ("generator,work", True), ("all", True):
            trace = e2e.Trace(e2e.convert(self.path("run.pnr"), "--flows", flows))
            self.assertEqual(bool(trace.works), has_works, flows)


class Names(e2e.EndToEnd):
    """Names of tasks (--task-names). The oracle: the program writes down what get_name() returns, and what it awaits."""

    PROGRAM = """
        import asyncio, json
        names, waits = {}, {}
        def keep(task, others=()):
            names[task.get_coro().__qualname__] = task.get_name()
            waits[task.get_coro().__qualname__] = [each and each.get_name() for each in others]
        class Own(asyncio.Task):
            "What it overrides is not called."
            def get_name(self): raise AssertionError("the recorder runs the program's code")
            get_coro = get_name
        class Hidden(asyncio.tasks._PyTask):
            _name = property(Own.get_name, lambda self, name: None)
        async def leaf(): await asyncio.sleep(0)
        async def given(): await leaf()
        async def default(): await leaf()
        async def early(): await leaf()
        async def itself():
            asyncio.current_task().set_name("by itself")
            await leaf()
        async def later():
            await leaf()
            asyncio.current_task().set_name("changed " + 2000 * "x")
            await leaf()
        async def by_other(): await asyncio.sleep(0.01)
        async def derived(): await leaf()
        async def in_python(): await leaf()
        async def waits_for(first, second):
            await first
            await leaf()
            await second
        async def main():
            loop = asyncio.get_running_loop()
            tasks = [asyncio.create_task(given(), name="given \\u00fc \\ud800"), asyncio.create_task(default()),
                     asyncio.create_task(early()), asyncio.create_task(itself()), asyncio.create_task(later()),
                     asyncio.create_task(by_other()), asyncio.tasks._PyTask(in_python(), loop=loop, name="in Python")]
            tasks[2].set_name(12)
            own, hidden = Own(derived(), loop=loop, name="own"), Hidden(leaf(), loop=loop)
            keep(tasks[6])
            last = asyncio.create_task(waits_for(tasks[1], tasks[5]), name="waits")
            await asyncio.sleep(0)
            tasks[5].set_name("by another")
            await asyncio.gather(*tasks, own, hidden, last)
            for task in tasks[:6]:
                keep(task)
            keep(last, [tasks[1], None, tasks[5], None])
            names["derived"] = asyncio.Task.get_name(own)
        asyncio.run(main())
        print(json.dumps([names, waits]))
        """

    def check_names(self, *options):
        finished, _ = self.record(self.PROGRAM, options=["-q", "--force", "--task-names", *options])
        names, waits = json.loads(finished.out)
        if e2e.VERSION >= (3, 14):
            del names["in_python"]              # nothing shows which one runs
        trace = e2e.Trace(e2e.convert(self.path("run.pnr"), "--tasks", "--flows=none"))
        found = {}
        for task in trace.tasks:
            row, _, coroutine = task.name.rpartition(": __main__.")
            found[coroutine] = task.renamed or row
            if coroutine == "waits_for":
                self.assertEqual(["".join(other or "") for other in task.others], [other or "" for other in waits[coroutine]])
            elif coroutine in ("later", "by_other"):
                self.assertEqual(row, names["default"].replace("2", {"later": "5", "by_other": "6"}[coroutine])
                                 if names["default"] == "Task-2" else row)
        self.assertEqual({coroutine: name.rstrip("x\u2026") for coroutine, name in found.items() if coroutine in names},
                         {coroutine: name.replace("\ud800", "\ufffd").rstrip("x") for coroutine, name in names.items()})
        self.assertNotIn("Task-", found.get("leaf", ""))        # its class hides the name

    def test_names(self):
        self.check_names()

    def test_sparse(self):
        self.check_names("--clock", "sparse")

    def test_standard_library_is_not_recorded(self):
        self.check_names("--no-stdlib")

    @unittest.skipIf("monitoring" not in e2e.ENGINES, "there is no monitoring engine")
    def test_monitoring(self):
        self.check_names("--engine", "monitoring")

    def test_table(self):
        finished, _ = self.record(self.PROGRAM, options=["-q", "--task-names"])
        names, _ = json.loads(finished.out)
        finished = e2e.run([e2e.CONVERT, "-q", "--top", "--tasks", "--json", self.path("run.pnr")])
        lines = {own(line["name"]): line.get("task_name") for line in json.loads(finished.out)["tasks"]}
        self.assertEqual({name: lines[name] for name in ("given", "default", "early", "itself", "later", "derived", "waits_for")},
                         {"given": "given \u00fc \ufffd", "default": None, "early": "12", "itself": "by itself", "later": None,
                          "derived": "own", "waits_for": "waits"})
        text = e2e.run([e2e.CONVERT, "-q", "--top", "--tasks", self.path("run.pnr")]).out
        self.assertRegex(text, r"(?m) __main__\.itself:\d+, by itself$")

    def test_off(self):
        self.record(self.PROGRAM, options=["-q"])
        trace = e2e.Trace(e2e.convert(self.path("run.pnr"), "--tasks", "--flows=none"))
        self.assertEqual([task.name for task in trace.tasks if ": " in task.name or task.renamed], [])

    def test_killed(self):
        finished, _ = self.record("""
            import asyncio, os, signal
            async def runs(): os.kill(os.getpid(), signal.SIGKILL)
            async def main():
                await asyncio.create_task(runs(), name="the last")
            asyncio.run(main())
            """, options=["-q", "--task-names"], status=-9)
        trace = e2e.Trace(e2e.convert(self.path("run.pnr"), "--tasks", "--flows=none"))
        self.assertEqual([task.name for task in trace.tasks], ["Task-1: __main__.main", "the last: __main__.runs"])


class Lag(e2e.EndToEnd):
    """The counter of an event loop's lag. The oracle: the program measures for how long it blocks the loop."""

    def check_lag(self, *options):
        finished, _ = self.record("""
            import asyncio, json, threading, time
            blocked = {}
            def block(seconds):
                begin = time.monotonic_ns()
                time.sleep(seconds)
                blocked.setdefault(threading.get_native_id(), []).append((time.monotonic_ns() - begin) / 1e6)
            async def main(times):
                for seconds in times:
                    await asyncio.sleep(0.002)
                    block(seconds)
                await asyncio.sleep(0)
            thread = threading.Thread(target=asyncio.run, args=(main([0.03, 0.04]),))
            thread.start()
            asyncio.run(main([0.05, 0.02]))
            thread.join()
            print(json.dumps(blocked))
            """, options=["-q", "--force", *options])
        counters = e2e.Trace(e2e.convert(self.path("run.pnr"), "--tasks")).counters
        for tid, blocked in json.loads(finished.out).items():
            values, = ([(ts, value / 1000) for ts, value in values] for name, values in counters.items() if name.endswith(f" {tid}: loop lag, ms"))
            self.assertTrue(all(value == 0 for _, value in values[1::2]), values)
            long = [(value, (end - begin) / 1e6) for (begin, value), (end, _) in zip(values[::2], values[1::2]) if value >= 19.9]
            self.assertGreaterEqual(len(long), 2)
            for ms in blocked:
                self.assertTrue(any(value >= ms - 0.1 for value, _ in long), (values, blocked))
            for value, ms in long:
                self.assertAlmostEqual(value, ms, delta=0.002)

    def test_lag(self):
        self.check_lag()

    def test_sparse(self):
        self.check_lag("--clock", "sparse")

    def test_without_loop(self):
        self.record("print(1)")
        self.assertFalse(any("lag" in name for name in e2e.Trace(e2e.convert(self.path("run.pnr"), "--tasks")).counters))


class Table(e2e.EndToEnd):
    """The table of --top --tasks. The oracle: the program counts the runs of its tasks, and knows which one blocks."""

    def table(self, *options):
        finished = e2e.run([e2e.CONVERT, "-q", "--top", "--tasks", self.path("run.pnr"), *options])
        self.assertEqual((finished.status, finished.err), (0, ""))
        return finished.out

    def test_what_tasks_did(self):
        finished, _ = self.record("""
            import asyncio, json, time
            blocked = []
            async def steps(n):
                for i in range(n):
                    await asyncio.sleep(0)
            async def waits():
                await asyncio.sleep(0.2)
            async def blocks():
                await asyncio.sleep(0)
                begin = time.monotonic_ns()
                time.sleep(0.05)
                blocked.append(time.monotonic_ns() - begin)
                await asyncio.sleep(0)
            async def main():
                await asyncio.gather(*(steps(n) for n in range(5)), blocks(), waits())
            asyncio.run(main())
            print(json.dumps(blocked))
            """)
        blocked, = json.loads(finished.out)
        lines = {line["name"].removeprefix("__main__."): line for line in json.loads(self.table("--json"))["tasks"]}
        self.assertEqual({name: (lines[name]["tasks"], lines[name]["runs"]) for name in ("main", "steps", "blocks", "waits")},
                         {"main": (1, 2), "steps": (5, 15), "blocks": (1, 3), "waits": (1, 2)})
        self.assertGreaterEqual(lines["blocks"]["longest_run_ns"], blocked)
        self.assertGreaterEqual(lines["blocks"]["running_ns"], lines["blocks"]["longest_run_ns"])
        self.assertGreater(lines["waits"]["suspended_ns"], 190_000_000)
        self.assertLess(lines["waits"]["running_ns"], lines["waits"]["suspended_ns"])
        head, *rows = self.table().splitlines()
        self.assertEqual(head.split(), ["tasks", "runs", "running", "suspended", "longest", "run", "coroutine"])
        self.assertIn("__main__.blocks:", rows[0])

    def test_without_tasks(self):
        self.record("print(1)")
        self.assertEqual(self.table(), "no tasks in the capture\n")
        self.assertEqual(json.loads(self.table("--json")), {"lost_events": 0, "tasks": []})

    def test_refused(self):
        for options in (["--busy"], ["--exceptions"], ["--split", "1M"], ["--format", "folded"]):
            finished = e2e.run([e2e.CONVERT, "--top", "--tasks", self.path("run.pnr"), *options])
            self.assertEqual(finished.status, 2, options)


if __name__ == "__main__":
    unittest.main()
