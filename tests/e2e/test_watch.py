"""panopticon_rec.watch: which sections are saved as snapshots, and that the program does not notice."""

import concurrent.futures
import glob
import http.client
import inspect
import json
import os
import subprocess
import sys
import unittest

import e2e
from e2e import EndToEnd, Trace, convert, environment, once, plain, recorded, recorder

sys.path.insert(0, os.path.join(e2e.HERE, "..", "..", "recorder"))
from panopticon_rec import request_ids, stand_ins


class Watched(EndToEnd):
    def list_snapshots(self, capture="run.pnr"):
        """The lines of the capture's list, of watched sections."""
        path = os.path.join(self.path(capture), "snapshots")
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return [line for line in map(json.loads, file) if line["cause"] == "watch"]

    def saved(self):
        """(name, id) of all incidents that were saved, sorted."""
        return sorted((one["watch"], one.get("id")) for line in self.list_snapshots() if "snapshot" in line
                      for one in line["incidents"])

    def record_watched(self, text, *options, status=0):
        """Records a program; every line on standard error is the recorder's. Returns what came of it."""
        finished = recorded(self.path("run.pnr"), [self.write("app.py", text)], cwd=self.directory,
                            options=["-q", *options])
        self.assertEqual(finished.status, status, finished.err)
        self.assertTrue(all(line.startswith("panopticon: ") for line in finished.err.splitlines()), finished.err)
        return finished

    def snapshots(self):
        return sorted(os.path.basename(path) for path in glob.glob(self.path("run-*.pnr")))


SERVER = """
    import asyncio, http, json, socket, sys, time
    from panopticon_rec.asgi import PanopticonMiddleware
    durations = {}                      # seconds by id, measured around and inside of what is watched
    for number in range(500, 5000, 1000):       # functions of their own, to be found in the trace
        exec(f"def begin_{number}(): pass\\ndef end_{number}(): pass")
    async def app(scope, receive, send):
        begin = time.monotonic()
        number = int(scope["path"][1:])
        if number % 1000 == 500:
            globals()[f"begin_{number}"]()
            await asyncio.sleep(0.3)
            globals()[f"end_{number}"]()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        durations[number] = [time.monotonic() - begin]
    app = PanopticonMiddleware(app, slower_than="200ms", keep="250ms", every=0, response_header="X-Request-ID")
    async def serve(reader, writer):
        while head := await reader.readuntil(b"\\r\\n\\r\\n"):
            first, *lines = head.decode("latin-1").split("\\r\\n")[:-2]
            headers = [tuple(part.strip().encode("latin-1") for part in line.split(":", 1)) for line in lines]
            path = first.split()[1]
            if path == "/end":
                return stop.set()
            async def send(message):
                if message["type"] == "http.response.start":
                    for name, value in message["headers"]:
                        more.append(name.decode() + ": " + value.decode() + "\\r\\n")
            more = []
            begin = time.monotonic()
            await app({"type": "http", "path": path, "headers": headers}, None, send)
            durations[int(path[1:])].append(time.monotonic() - begin)
            writer.write(("HTTP/1.1 200 OK\\r\\n" + "".join(more) + "content-length: 2\\r\\n\\r\\nok").encode())
    async def main():
        global stop
        stop = asyncio.Event()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await stop.wait()
        print(json.dumps(durations), flush=True)
    asyncio.run(main())
"""


@once
class Server(Watched):
    REQUESTS = 4000

    def ask(self, port, numbers):
        """Makes requests on one connection; each answer has the request's id as a header."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in numbers:
            connection.request("GET", f"/{number}", headers={"x-request-id": f"request-{number}"})
            answer = connection.getresponse()
            self.assertEqual((answer.read(), answer.getheader("x-request-id")), (b"ok", f"request-{number}"))
        connection.close()

    def test_one_of_a_thousand(self):
        """Each slow request is in a snapshot, whole, with its id; and no other one."""
        process = subprocess.Popen(recorder(self.path("run.pnr"), [self.write("app.py", SERVER)],
                                            options=["-q", "--last", "20s"]), env=environment(),
                                   cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        port = int(process.stdout.readline())
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(self.ask, port, range(k, self.REQUESTS, 4)) for k in range(4)]:
                done.result()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/end")
        out, _ = process.communicate()
        connection.close()
        self.assertEqual(process.returncode, 0)
        durations = json.loads(out)
        slow = {number for number, (inner, _) in durations.items() if inner >= 0.2}
        maybe = {number for number, (_, outer) in durations.items() if outer >= 0.2}
        self.assertGreaterEqual(slow, {"500", "1500", "2500", "3500"})
        saved = {id.removeprefix("request-") for _, id in self.saved()}
        self.assertGreaterEqual(saved, slow)
        self.assertLessEqual(saved, maybe)
        self.check_whole(saved & {"500", "1500", "2500", "3500"})

    def check_whole(self, numbers):
        for line in self.list_snapshots():
            trace = Trace(convert(self.path(line["snapshot"])))
            counts = trace.count()
            for incident in line["incidents"]:
                number = incident["id"].removeprefix("request-")
                if number in numbers:
                    self.assertEqual((counts[f"__main__.begin_{number}"], counts[f"__main__.end_{number}"]), (1, 1))
                    begin, = trace.named(f"__main__.begin_{number}")
                    end, = trace.named(f"__main__.end_{number}")
                    self.assertGreaterEqual(end.begin - begin.end, 300_000_000)
                    self.assertLessEqual(end.begin - begin.end, incident["duration_ns"])
            names, = glob.glob(self.path(line["snapshot"]) + "/process-*/names")
            with open(names, "rb") as file:
                content = file.read()
            for incident in line["incidents"]:
                self.assertIn(f'"id":"{incident["id"]}"'.encode(), content)
            self.assertIn(line["incidents"][0]["id"], line["snapshot"])


class Sections(Watched):
    def test_slow_and_failed(self):
        finished = self.record_watched("""
            import panopticon_rec, time
            watch = panopticon_rec.watch
            class Odd(Exception): pass
            def slow():
                with watch("slow", slower_than=0.02, keep=0): time.sleep(0.03)
            def fast():
                with watch("fast", slower_than="1h", on_error=True): pass
            def fails(error, **more):
                try:
                    with watch(type(error).__name__, keep="1ms", **more) as section:
                        section.id = 7
                        raise error
                except BaseException as raised:
                    assert raised is error and raised.__traceback__.tb_next is None
            slow()
            fast()
            fails(Odd("1"), on_error=True)
            fails(KeyError("2"), slower_than="1h")
            fails(SystemExit(3), on_error=True)
            fails(GeneratorExit(), on_error=True)
        """)
        self.assertEqual(self.saved(), [("Odd", "7"), ("slow", None)])
        why = {one["watch"]: one["why"] for line in self.list_snapshots() for one in line["incidents"]}
        self.assertEqual(why, {"slow": "slow", "Odd": "exception"})
        self.assertRegex(finished.err, r'run-slow-\d{8}T\d{6}\.\d{3}Z\.pnr: "slow" took \d+\.\d ms\n')
        self.assertRegex(finished.err, r'run-Odd-\d{8}T\d{6}\.\d{3}Z-7\.pnr: "Odd" ended by an exception after')
        for line in self.list_snapshots():
            counts = Trace(convert(self.path(line["snapshot"]))).count()
            self.assertEqual((counts["__main__.slow"], counts["__main__.fast"]),
                             (1, 1 if line["incidents"][0]["watch"] == "Odd" else counts["__main__.fast"]))
            incident, = line["incidents"]
            self.assertIn(self.as_instant(incident), self.instants(line["snapshot"]))
        self.assertEqual(self.instants("run.pnr"), sorted(self.as_instant(incident) for line in self.list_snapshots()
                                                          for incident in line["incidents"]))

    def instants(self, capture):
        """(name, thread, values) of all instants in a capture, sorted."""
        with open(convert(self.path(capture)), encoding="utf-8") as file:
            events = [event for event in json.load(file)["traceEvents"] if event.get("cat") == "label"]
        return sorted((event["name"], event["tid"], sorted(event["args"].items())) for event in events)

    def as_instant(self, incident):
        """What the timeline has of an incident that the list has."""
        values = {"why": incident["why"], "duration_ns": incident["duration_ns"]}
        values |= {"id": incident["id"]} if "id" in incident else {}
        return incident["watch"], incident["thread"], sorted(values.items())

    def test_instants(self):
        """Each incident is in the timeline of its thread when its section ends, also if the limits keep it from being saved;
        none is in a pause."""
        self.record_watched("""
            import panopticon_rec, threading
            def section(name, **more):
                with panopticon_rec.watch(name, 0, every="1h", **more): pass
            def work(name):
                for i in range(20): section(name, id=i)
            def end(): pass
            threads = [threading.Thread(target=work, args=(f"thread {n}",)) for n in range(2)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            panopticon_rec.pause()
            section("in a pause")
            panopticon_rec.resume()
            end()
        """)
        found = self.instants("run.pnr")
        self.assertEqual(sorted((name, dict(values)["id"]) for name, _, values in found),
                         sorted((f"thread {n}", str(i)) for n in range(2) for i in range(20)))
        self.assertEqual(len({thread for _, thread, _ in found}), 2)

    def test_what_follows(self):
        """The snapshot is made when what follows has happened, too; or at the end of the program."""
        self.record_watched("""
            import panopticon_rec, time
            def before(): pass
            def after(): pass
            before()
            with panopticon_rec.watch("one", 0, keep="100ms"): pass
            after()
            end = time.monotonic() + 60
            import os
            while not os.path.exists("run.pnr/snapshots") and time.monotonic() < end: time.sleep(0.01)
            def last(): pass
            last()
            with panopticon_rec.watch("two", 0, keep="1h"): pass
            last()
        """)
        one, two = [Trace(convert(self.path(line["snapshot"]))).count() for line in self.list_snapshots()]
        self.assertEqual([one[f"__main__.{name}"] for name in ("before", "after", "last")], [1, 1, 0])
        self.assertEqual([two[f"__main__.{name}"] for name in ("before", "after", "last")], [1, 1, 2])

    def test_limits(self):
        finished = self.record_watched("""
            import panopticon_rec, os, time
            def incident(name, **limits):
                with panopticon_rec.watch(name, 0, keep=0, **limits): pass
                end = time.monotonic() + 0.05
                while time.monotonic() < end: time.sleep(0.01)
            for _ in range(5): incident("every", every="1h")
            for _ in range(3): incident("other", every=0)
            for _ in range(4): incident("all", every=0, at_most=6)
        """)
        names = [name for name, _ in self.saved()]
        # an incident that comes while a snapshot of its name still waits joins it, whatever the limits
        snapshots = [line for line in self.list_snapshots() if "snapshot" in line]
        self.assertEqual([line["incidents"][0]["watch"] for line in snapshots].count("every"), 1)
        self.assertLessEqual(len(snapshots), 6)
        not_saved = sum(line.get("not_saved", 0) for line in self.list_snapshots())
        self.assertEqual(len(names) + not_saved, 12)
        self.assertGreater(not_saved, 0)
        self.assertIn(f"panopticon: {not_saved} slow or failed sections were not saved, by the limits of their watches\n",
                      finished.err)
        self.assertEqual(len(self.snapshots()), len(snapshots))

    def test_many_at_once(self):
        """Threads and tasks share a watch; what ends while a snapshot waits joins it."""
        self.record_watched("""
            import asyncio, panopticon_rec, threading, time
            shared = panopticon_rec.watch("shared", "100ms", keep="1h")
            other = panopticon_rec.watch("other", "100ms", keep="1h")
            async def task(seconds):
                with other:
                    await asyncio.sleep(seconds)
            async def tasks():
                await asyncio.gather(*(task(0.15 if k % 4 == 0 else 0) for k in range(40)))
            def work(seconds):
                with shared:
                    with shared: pass
                    time.sleep(seconds)
            threads = [threading.Thread(target=work, args=(0.15 if k % 2 else 0,)) for k in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            asyncio.run(tasks())
        """)
        found = [(line["incidents"][0]["watch"], len(line["incidents"])) for line in self.list_snapshots()]
        # on a machine that stalls others may be slow, too
        self.assertEqual([name for name, _ in found], ["other", "shared"])
        self.assertGreaterEqual(dict(found)["shared"], 4)
        self.assertGreaterEqual(dict(found)["other"], 10)

    def test_names(self):
        """Any text is a name, and an id: the file has a safe one, the list the whole one."""
        names = ["../../etc/passwd", "a b\tc\n", "", "\N{SNOWMAN}" * 300, "q\"\\", "\ud800", ".", "x" * 1000]
        self.record_watched(f"""
            import panopticon_rec
            for name in {names!a}:
                with panopticon_rec.watch(name, 0, keep=0, every=0, id=name): pass
        """)
        escaped = [name.replace("\ud800", "\\ud800") for name in names]
        self.assertEqual(self.saved(), sorted((name, name) for name in escaped))
        for name in self.snapshots():
            self.assertRegex(name, r"^run[-A-Za-z0-9._]{0,200}\.pnr$")
        self.assertEqual(len(self.snapshots()), len(names))

    def test_long_ago(self):
        """A snapshot has the segments that it needs, and no more."""
        self.record_watched("""
            import glob, os, panopticon_rec, time
            def f(n): return n and f(n - 1)
            def until(end):
                while time.monotonic() < end: f(20); time.sleep(0.001)
            def early(): pass
            early()
            f(900)
            end = time.monotonic() + 60
            while not any(map(os.path.getsize, glob.glob("run.pnr/*/segment-1/thread-1.zst"))) and time.monotonic() < end:
                f(900)                              # fills chunks, which become blocks
            panopticon_rec.snapshot("cut.pnr")          # which ends a segment
            until(time.monotonic() + 0.5)
            def late(): pass
            with panopticon_rec.watch("late", 0, keep="100ms"): late()
            until(time.monotonic() + 0.2)
        """)
        line, = self.list_snapshots()
        counts = Trace(convert(self.path(line["snapshot"]))).count()
        self.assertEqual((counts["__main__.early"], counts["__main__.late"]), (0, 1))
        self.assertNotIn("missing_ns", line)

    @unittest.skipUnless(e2e.LONG, "takes long")
    def test_longer_than_what_is_kept(self):
        self.record_watched("""
            import panopticon_rec, time
            def f(n): return n and f(n - 1)
            with panopticon_rec.watch("long", "1s", keep=0):
                end = time.monotonic() + 8
                while time.monotonic() < end:
                    f(5); time.sleep(0.001)
        """, "--last", "1s")
        line, = self.list_snapshots()
        self.assertGreater(line["missing_ns"], 2_000_000_000)
        self.assertLess(line["missing_ns"], line["incidents"][0]["duration_ns"] - 900_000_000)

    def test_forks(self):
        """A child has what it saves itself, and limits of its own; what its parent waits for is the parent's."""
        finished = self.record_watched("""
            import os, panopticon_rec, warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            def incident(id):
                with panopticon_rec.watch("fork", 0, keep="1h", at_most=1, id=id): pass
            with panopticon_rec.watch("around", 0, keep=0, id=os.getpid()) as around:
                incident("parent")
                if (pid := os.fork()) == 0:
                    incident("child")
                    around.id = "child"
            if pid:
                os.waitpid(pid, 0)
                print(os.getpid())
        """)
        parent = int(finished.out)
        lines = [line for line in self.list_snapshots() if "snapshot" in line]
        found = sorted((line["pid"] == parent, one["watch"], one["id"]) for line in lines for one in line["incidents"])
        self.assertEqual(found, [(False, "around", "child"), (False, "fork", "child"), (True, "around", str(parent)),
                                 (True, "fork", "parent")])

    def test_disk_is_full(self):
        """The failure is reported and listed, the program runs on."""
        folder = self.path("small")
        os.mkdir(folder)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m,nr_inodes=12", "panopticon-test", folder],
                              stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            self.skipTest(f"nothing can be mounted here: {done.stderr.decode().strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", folder], check=False)
        app = self.write("app.py", """
            import panopticon_rec, time
            with panopticon_rec.watch("full", 0, keep=0): pass
            time.sleep(0.3)
            print("ran")
        """)
        finished = recorded(folder + "/run.pnr", [app], cwd=self.directory)
        self.assertEqual((finished.status, finished.out), (0, "ran\n"))
        self.assertRegex(finished.err, r"^panopticon: .*No space left on device; the time around 'full' is not saved, "
                         r"recording goes on\n")
        self.assertEqual(os.listdir(folder), ["run.pnr"])

    def test_requests_that_are_not_recorded(self):
        """Their ids are not even looked up, except for the response."""
        finished = plain(["-c", """if True:
            import panopticon_rec.asgi, panopticon_rec.wsgi
            lookups = []
            class Headers(dict):
                def get(self, name, default=None):
                    if "HTTP_" in name or name == "headers": lookups.append(name)
                    return dict.get(self, name, default)
            def wsgi_app(environ, start_response): start_response("200 OK", [], None); return ["wsgi"]
            async def asgi_app(scope, receive, send): await send({"type": "http.response.start"}); return "asgi"
            async def send(message): sent.append(message)
            for more in {}, {"response_header": "X-Request-Id"}:
                sent = []
                answer = panopticon_rec.wsgi.PanopticonMiddleware(wsgi_app, 0, **more)(
                    Headers(HTTP_X_REQUEST_ID="7"), lambda status, headers, *more: sent.append(headers))
                try:
                    panopticon_rec.asgi.PanopticonMiddleware(asgi_app, 0, **more)(
                        Headers(type="http", headers=[(b"x-request-id", b"7")]), None, send).send(None)
                except StopIteration: pass
                print(answer, sent, lookups)
        """])
        none, with_header = finished.out.splitlines()
        self.assertEqual(none, "['wsgi'] [[], {'type': 'http.response.start'}] []")
        self.assertIn("[('X-Request-Id', '7')]", with_header)
        self.assertIn("(b'x-request-id', b'7')", with_header)

    def test_nothing_is_recorded(self):
        finished = plain([self.write("app.py", """
            import os, panopticon_rec
            watch = panopticon_rec.watch
            @watch("f", 0)
            def f(): return 1
            with watch("x", 0, on_error=True) as section:
                assert f() == 1 and section.name == "x" and section.id is None
            try:
                with watch("y", on_error=True): 1 / 0
            except ZeroDivisionError: pass
            for wrong, error in [(lambda: watch("x"), ValueError), (lambda: watch("x", "1 year"), ValueError),
                                 (lambda: watch("x", -1), ValueError), (lambda: watch(1, 2), TypeError),
                                 (lambda: watch("x", 1, 2), TypeError), (lambda: watch("x", 1, other=2), TypeError),
                                 (lambda: watch("x", 1, name="y"), TypeError), (lambda: watch(), TypeError),
                                 (lambda: watch("x", 1, at_most="many"), TypeError),
                                 (lambda: watch("x", 1)(5), TypeError)]:
                try:
                    wrong()
                except error:
                    continue
                assert False, wrong
            assert os.listdir() == ["app.py"], os.listdir()
        """)], cwd=self.directory)
        self.assertEqual(finished, (0, "", ""))

    def test_pause(self):
        """A section that begins in a pause is not watched."""
        self.record_watched("""
            import panopticon_rec
            watch = panopticon_rec.watch
            panopticon_rec.pause()
            with watch("in a pause", 0, keep=0):
                panopticon_rec.resume()
            with watch("outside", 0, keep=0):
                panopticon_rec.pause()
        """)
        self.assertEqual(self.saved(), [("outside", None)])


class Functions(Watched):
    def test_kinds(self):
        """Functions of all kinds behave as without, and each call is a section."""
        finished = self.record_watched("""
            import asyncio, functools, inspect, panopticon_rec, time
            def watched(name): return panopticon_rec.watch(name, "30ms", keep="1h", on_error=True)

            @watched("function")
            def function(a: int, *, b=2):
                "Its text."
                time.sleep(0.04)
                return a + b
            assert function(1, b=5) == 6 and function.__doc__ == "Its text." and function.__name__ == "function"
            assert str(inspect.signature(function)) == "(a: int, *, b=2)"

            class Class:
                @watched("method")
                def method(self): time.sleep(0.04); return self
                @watched("static")
                @staticmethod
                def static(): time.sleep(0.04); return 3
                @classmethod
                @watched("class method")
                def of_class(cls): time.sleep(0.04); return cls
            one = Class()
            assert one.method() is one and one.static() == 3 and one.of_class() is Class

            @watched("generator")
            def generator():
                sent = yield 1
                try:
                    yield sent
                except KeyError:
                    time.sleep(0.04)
                    yield "thrown"
                return "end"
            assert inspect.isgeneratorfunction(generator)
            g = generator()
            assert next(g) == 1 and g.send(5) == 5 and g.throw(KeyError()) == "thrown"
            try: next(g)
            except StopIteration as stop: assert stop.value == "end"
            closed = generator(); next(closed); closed.close()

            @watched("coroutine")
            async def coroutine(x):
                await asyncio.sleep(0.04)
                return x
            assert inspect.iscoroutinefunction(coroutine) and asyncio.run(coroutine(4)) == 4
            partial = watched("partial")(functools.partial(coroutine.__wrapped__, 5))
            assert asyncio.run(partial()) == 5

            steps = []
            @watched("async generator")
            async def agenerator(n):
                try:
                    for k in range(n):
                        try:
                            steps.append((yield k))
                        except KeyError:
                            steps.append("thrown")
                        await asyncio.sleep(0.02)
                finally:
                    steps.append("finally")
            async def use():
                assert [k async for k in agenerator(3)] == [0, 1, 2]
                g = agenerator(3)
                assert await g.asend(None) == 0 and await g.asend("sent") == 1
                assert await g.athrow(KeyError()) == 2
                await g.aclose()
                async for k in agenerator(2): break
                try:
                    await anext(agenerator(0))
                except StopAsyncIteration: pass
            assert inspect.isasyncgenfunction(agenerator)
            asyncio.run(use())
            assert steps == [None] * 3 + ["finally", "sent", "thrown", "finally", "finally", "finally"], steps

            @watched("fails")
            def fails(): raise KeyError(1)
            try: fails()
            except KeyError as error: assert error.args == (1,)
            print("done")
        """)
        self.assertEqual(finished.out, "done\n")
        names = {name for name, _ in self.saved()}
        self.assertEqual(names, {"function", "method", "static", "class method", "generator", "coroutine", "partial",
                                 "async generator", "fails"})

    def test_as_without(self):
        """Whatever callers do with functions of all kinds, they find what they find without a decorator: for spans, too."""
        finished = self.record_watched("""
            import asyncio, functools, inspect, panopticon_rec, sys, types
            sys.unraisablehook = lambda unraisable: None        # of generators that ignore GeneratorExit

            def scenario(decorate):
                log = []
                def attempt(call, *args):
                    try: log.append(call(*args))
                    except BaseException as error: log.append((type(error).__name__, str(error)))

                @decorate
                def generator(n, stubborn=False):
                    try:
                        for i in range(n):
                            try: log.append(("sent", (yield i)))
                            except KeyError as error: log.append(("caught", error.args)); yield "thrown"
                            except GeneratorExit:
                                if stubborn: yield "stays"
                                raise
                    finally: stubborn or log.append("finally")
                    return "result"
                def delegate(): log.append(("returned", (yield from generator(1))))
                attempt(list, delegate())
                g = generator(3)
                for call in (next, (lambda g: g.send("a")), (lambda g: g.throw(KeyError(1))), next,
                             (lambda g: g.throw(ZeroDivisionError("b"))), next): attempt(call, g)
                for more in ((), (True,)):
                    g = generator(3, *more); attempt(next, g); attempt(lambda: g.close())
                g = generator(3); attempt(g.close); attempt(next, g)
                attempt(generator(1).send, "early")

                @decorate
                async def asyncgen(n, stubborn=False):
                    try:
                        for i in range(n):
                            await asyncio.sleep(0)
                            try: log.append(("sent", (yield i)))
                            except KeyError as error: log.append(("caught", error.args)); yield "thrown"
                            except GeneratorExit:
                                if stubborn: yield "stays"
                                raise
                    finally:
                        await asyncio.sleep(0)
                        log.append("finally")
                async def attempt_async(call, *args):
                    try: log.append(await call(*args))
                    except BaseException as error: log.append((type(error).__name__, str(error)))
                async def use_asyncgen():
                    g = asyncgen(4)
                    for call in ((lambda: g.asend(None)), (lambda: g.asend("a")), (lambda: g.athrow(KeyError(1))),
                                 (lambda: g.__anext__()), (lambda: g.athrow(ZeroDivisionError("b"))), (lambda: g.__anext__())):
                        await attempt_async(call)
                    for more in ((), (True,)):
                        g = asyncgen(3, *more)
                        await attempt_async(g.__anext__); await attempt_async(g.aclose)
                    g = asyncgen(3); await attempt_async(g.aclose); await attempt_async(g.__anext__)
                    await attempt_async(asyncgen(1).asend, "early")
                    log.append([i async for i in asyncgen(2)])

                @decorate
                async def coroutine(n):
                    try: await asyncio.sleep(n)
                    except asyncio.CancelledError: log.append("cancelled"); raise
                    return n
                @decorate
                @types.coroutine
                def old(n): yield from asyncio.sleep(0).__await__(); return n
                async def use_coroutines():
                    log.append((await coroutine(0), await old(2)))
                    task = asyncio.ensure_future(coroutine(60))
                    await asyncio.sleep(0); task.cancel()
                    await attempt_async(lambda: task)
                    partial = decorate(functools.partial(coroutine, 0))
                    log.append((await partial(), inspect.iscoroutinefunction(partial)))
                    if hasattr(inspect, "markcoroutinefunction"):
                        marked = decorate(inspect.markcoroutinefunction(lambda n: coroutine(n)))
                        log.append((await marked(0), inspect.iscoroutinefunction(marked)))

                class Class:
                    @decorate
                    def method(self, n): return type(self).__name__, n
                    @decorate
                    @staticmethod
                    def static(n): return n
                    @decorate
                    @classmethod
                    def of_class(cls, n): return cls.__name__, n
                    @decorate
                    def annotated(self, a: "Missing", *, b=2) -> "int": "Its text."
                log.append((Class().method(1), Class.static(2), Class().static(3), Class.of_class(4), Class().of_class(5)))
                about = Class.annotated
                log.append((about.__name__, about.__qualname__, about.__doc__, str(inspect.signature(about))))
                log.append([test(function) for function in (generator, asyncgen, coroutine) for test in
                            (inspect.isgeneratorfunction, inspect.isasyncgenfunction, inspect.iscoroutinefunction)])
                asyncio.run(use_asyncgen())
                asyncio.run(use_coroutines())
                return log

            plain = scenario(lambda function: function)
            assert len(plain) > 45, plain
            for decorate in panopticon_rec.span("span", n=1), panopticon_rec.watch("watch", "1h", on_error=True, at_most=0):
                found = scenario(decorate)
                assert found == plain, [pair for pair in zip(found, plain) if pair[0] != pair[1]]
                for wrong in (5, None, "text"):
                    try: decorate(wrong)
                    except TypeError as error: assert repr(wrong) in str(error)
                    else: raise AssertionError
            print("done")
        """)
        self.assertEqual(finished.out, "done\n")

    def test_moved_between_threads(self):
        """A generator may be run by one thread after another."""
        self.record_watched("""
            import panopticon_rec, threading
            @panopticon_rec.watch("moved", "1ms", keep=0)
            def numbers():
                yield 1
                threading.Event().wait(0.01)
                yield 2
            g = numbers()
            for _ in range(3):
                thread = threading.Thread(target=next, args=(g, None))
                thread.start()
                thread.join()
        """)
        self.assertEqual(self.saved(), [("moved", None)])

    def test_signature_where_nothing_can_be_recorded(self):
        finished = plain(["-c", "import inspect, panopticon_rec; print(inspect.signature(panopticon_rec.watch))"])
        self.assertEqual(finished.out.strip(), str(inspect.signature(stand_ins.watch)))


class Ids(Watched):
    def test_headers(self):
        trace_id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
        for traceparent, request_id, expected in [
                (f"00-{trace_id}-{span}-01", "other", trace_id), (f"01-{trace_id}-{span}-01-more", None, trace_id),
                (f"ff-{trace_id}-{span}-01", "other", "other"), (f"00-{trace_id.upper()}-{span}-01", None, None),
                (f"00-{'0' * 32}-{span}-01", "x", "x"), (f"00-{trace_id}-{'0' * 16}-01", "x", "x"),
                ("nonsense", " y\r\nz ", "yz"), (None, "i" * 1000, "i" * 128), (None, "", None), (None, None, None)]:
            self.assertEqual(request_ids.find_request_id(traceparent, request_id), expected, (traceparent, request_id))

    def test_opentelemetry(self):
        """The API's modules, as far as they are used; they may also raise."""
        self.record_watched("""
            import panopticon_rec, sys, types
            def incident(name):
                with panopticon_rec.watch(name, 0, keep=0): pass
            class Span:
                def __init__(self, **more): self.more = more
                def get_span_context(self): return types.SimpleNamespace(**self.more)
            incident("none")
            trace = sys.modules["opentelemetry.trace"] = types.ModuleType("opentelemetry.trace")
            trace.get_current_span = lambda: Span(trace_id=0x1234, is_valid=True)
            incident("valid")
            trace.get_current_span = lambda: Span(trace_id=0, is_valid=False)
            incident("invalid")
            trace.get_current_span = lambda: 1 / 0
            incident("raises")
        """)
        self.assertEqual(self.saved(), [("invalid", None), ("none", None), ("raises", None), ("valid", f"{0x1234:032x}")])

    def test_wsgi(self):
        finished = self.record_watched("""
            import panopticon_rec, time
            from panopticon_rec.wsgi import PanopticonMiddleware
            from wsgiref.validate import validator
            from wsgiref.util import setup_testing_defaults
            closed = []
            class Body:
                def __iter__(self):
                    time.sleep(0.04)
                    yield b"a"
                def close(self): closed.append(1)
            def app(environ, start_response):
                write = start_response("200 OK", [("content-type", "text/plain")])
                kind = environ["PATH_INFO"]
                if kind == "/list": return [b"a"]
                if kind == "/slow": time.sleep(0.04); return [b"a"]
                if kind == "/fails": raise KeyError(kind)
                if kind == "/write": write(b"b"); return []
                if kind == "/later": return iter([b"a"]) if False else fails()
                return Body()
            def fails():
                yield b"a"
                raise KeyError("later")
            watched = validator(PanopticonMiddleware(validator(app), slower_than="30ms", keep="1h", on_error=True,
                                                     response_header="X-Request-ID"))
            def ask(path, **more):
                environ = {"SCRIPT_NAME": "", "PATH_INFO": path, "HTTP_X_REQUEST_ID": path[1:], "QUERY_STRING": "", **more}
                setup_testing_defaults(environ)
                sent = []
                def start_response(status, headers, exc_info=None):
                    sent.append(dict(headers)["X-Request-ID"])
                    return sent.append
                response = watched(environ, start_response)
                try:
                    return sent + list(response)
                finally:
                    response.close()
            assert ask("/list") == ["list", b"a"]
            assert ask("/slow") == ["slow", b"a"]
            assert ask("/body") == ["body", b"a"] and closed == [1]
            for path in "/fails", "/later":
                try: ask(path)
                except KeyError: pass
                else: assert False
            print("done")
        """)
        self.assertEqual(finished.out, "done\n", finished.err)
        ids = {id for _, id in self.saved()}
        self.assertGreaterEqual(ids, {"slow", "body", "fails", "later"})


if __name__ == "__main__":
    unittest.main()
