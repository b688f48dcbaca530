"""Arguments and results (--args, --results, --args-repr, --redact). The oracle is what the program itself writes down of
its calls, with its own repr()."""

import collections
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

import e2e


# Values of all plain types, nested. `shown` is how the trace has one: numbers and text as they are, others by repr().
VALUES = """
    import asyncio, json, math, random, sys, threading
    import panopticon_rec as rec

    wrote = []
    rng = random.Random(int(sys.argv[2]))

    def make(depth):
        kind = rng.randrange(12 if depth else 8)
        if kind == 0: return rng.choice([0, 1, -1, 2**31, -2**53, 2**53 + 1, 2**63 - 1, -2**63])
        if kind == 1: return rng.choice([0.0, -0.0, 1.5, 1e300, 1e-7, math.inf, -math.inf, math.nan])
        if kind == 2: return rng.choice([True, False, None])
        if kind <= 5: return "".join(rng.choice("ab '\\"\\\\\\n\\t\\r\\x00\\x7f\\xe4\\u20ac\\U0001f600\\u200b\\xad") for _ in range(rng.randrange(9)))
        if kind <= 7: return bytes(rng.choice(b"ab '\\"\\\\\\n\\t\\r\\x00\\xff") for _ in range(rng.randrange(9)))
        n = rng.randrange(5)
        if kind == 8: return [make(depth - 1) for _ in range(n)]
        if kind == 9: return tuple(make(depth - 1) for _ in range(n))
        if kind == 10: return {make(0): make(depth - 1) for _ in range(n)}
        return rng.choice([set, frozenset])(make(0) for _ in range(n))

    def make_short():                   # so that it is not cut, also in a container with another
        while len(repr(value := make(3)).encode()) > 400: pass
        return value

    def shown(value):
        if value is None or type(value) is bool: return value
        if type(value) is str: return value.replace("\\0", "\\ufffd")     # as in any text of a trace
        if type(value) is int: return value if abs(value) <= 2**53 else str(value)
        if type(value) is float: return value if math.isfinite(value) else str(value)
        return repr(value)

    def write(name, **values):
        one = [threading.get_native_id(), name, {key: shown(value) for key, value in values.items()}]
        wrote.append(one)
        return one[2]
"""


def slices(trace):
    """[thread, function, args without flags] of each slice with args, in the order in which they begin."""
    with open(trace, encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    found = [[event["tid"], event["name"].rpartition(".")[2],
              {key: value for key, value in event.get("args", {}).items() if key not in e2e.FLAGS}]
             for event in sorted((event for event in events if event["ph"] == "X"), key=lambda event: event["ts"])]
    return [one for one in found if one[2]]


def by_thread(found):
    return {tid: [one[1:] for one in found if one[0] == tid] for tid in {one[0] for one in found}}


def read_files(capture):
    """All bytes of a capture, unpacked."""
    data = b""
    for folder, _, names in os.walk(capture):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".zst"):
                data += subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE, check=True).stdout
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    data += file.read()
    return data


class Arguments(e2e.EndToEnd):
    def verify(self, name="run.pnr"):
        verified = e2e.run([e2e.CONVERT, "--verify", self.path(name)])
        self.assertEqual(verified.status, 0, verified.err)

    def run_script(self, text, *arguments):
        """Runs a program that records itself and prints what it wrote down. Returns that, and what the trace has."""
        shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
        wrote = json.loads(self.script(text, *arguments).out)
        self.verify()
        return wrote, slices(e2e.convert(self.path("run.pnr")))

    def record_values(self, text, *options, **more):
        """Records a program and returns the args of its slices: function to a list of them."""
        shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
        finished = self.record(text, options=("-q", *options), **more)[0]
        self.verify()
        found = collections.defaultdict(list)
        for _, name, args in slices(e2e.convert(self.path("run.pnr"))):
            found[name].append(args)
        return finished, found

    def test_all_plain_values(self):
        """In threads, of functions with all kinds of parameters, in cells, of generators and coroutines."""
        program = VALUES + """
    def plain(a, b=2, /, c=3, *rest, key=None, **more):
        return rest
    def cells(a, *rest, key, **more):
        def inner(): return a, rest, key, more
        return inner
    def generate(a, held):
        yield lambda: held
        return a
    async def coroutine(a):
        await asyncio.sleep(0)
        return [a]
    class Class:
        def method(self, a): return a
        @classmethod
        def made(cls, a): return a
        @staticmethod
        def static(a): raise LookupError(a)

    begun = threading.Barrier(3)        # then no thread has the id of another that has ended
    def works(is_main=False):
        is_main or begun.wait()
        for _ in range(60):
            a, b, c, key, other = (make_short() for _ in range(5))
            wrote.append(None)
            at = len(wrote) - 1
            write("plain", a=a, b=b, c=c, rest=(a, b), key=key, more={"other": other}, **{"return": (a, b)})
            plain(a, b, c, a, b, key=key, other=other)
            write("cells", a=a, rest=(), key=key, more={})["return"] = "<function>"
            cells(a, key=key)
            write("generate", a=a, held=b)
            write("generate", **{"return": a})
            list(generate(a, b))
            write("coroutine", a=c)
            write("coroutine", **{"return": [c]})
            coro = coroutine(c)
            try:
                while True: coro.send(None)
            except StopIteration: pass
            write("method", self=None, a=a, **{"return": a})["self"] = "<Class>"
            Class().method(a)
            write("made", cls=None, a=b, **{"return": b})["cls"] = "<type>"
            Class.made(b)
            write("static", a=c)["raise"] = "<LookupError>"
            try: Class.static(c)
            except LookupError: pass

    with rec.record("run.pnr", **json.loads(sys.argv[1])):
        works(True)
        threads = [threading.Thread(target=works) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    print(json.dumps([one for one in wrote if one]))
    """
        seed = str(self.random().randrange(10**6))
        chosen = [f"__main__.{name}" for name in ("plain", "cells", "generate", "coroutine", "Class.*")]
        for engine in e2e.ENGINES:
            for more in ({}, {"clock": "sparse"}, {"c_calls": True}, {"min_duration": "1s"}):
                with self.subTest(engine=engine, seed=seed, **more):
                    how = {"engine": engine, "args": chosen, "results": chosen, **more}
                    wrote, found = self.run_script(program, json.dumps(how), seed)
                    self.assertEqual(len(wrote), 4 * 60 * 9)
                    self.maxDiff = 3000
                    for tid, expected in by_thread(wrote).items():
                        for want, have in zip(expected, by_thread(found)[tid], strict=True):
                            self.assertEqual(have, want)

    def test_limits(self):
        """What is long, deep or huge is cut, and says so."""
        _, found = self.record_values("""
    def f(value): pass
    f("x" * 1001); f("\\xe4" * 501); f(list(range(25))); f([[[[[1]]]]]); f({i: i for i in range(21)})
    f(["y" * 2000]); f(2**64); f(-2**1000); f([2**70]); f(10**1000); f(b"z" * 999); f({1: {2: ({3: {4: 5}},)}})
    f(set(range(30))); f("a\\ud800b")
    def many(**more): pass
    many(**{f"key{i}": "v" * 90 for i in range(30)})
    def fullest(a, b, c, d, e, f): pass
    fullest(*["w" * 900] * 6)
    """, "--args", "__main__.*")
        values = [args["value"] for args in found["f"]]
        self.assertEqual(values[:2], ["x" * 1000 + "\u2026", "\xe4" * 500 + "\u2026"])
        self.assertEqual(values[2], f"[{', '.join(map(str, range(20)))}, \u2026 5 more]")
        self.assertEqual(values[3], "[[[[[\u2026]]]]]".replace("[[[[[", "[[[[[", 1))
        self.assertEqual(values[4], "{" + ", ".join(f"{i}: {i}" for i in range(20)) + ", \u2026 1 more}")
        self.assertEqual(values[5], "['" + "y" * 998 + "\u2026")
        self.assertEqual(values[6:10], [hex(2**64), hex(-2**1000), f"[{hex(2**70)}]", "<int>"])
        self.assertEqual(values[10], "b'" + "z" * 998 + "\u2026")
        self.assertEqual(values[11], "{1: {2: ({3: {\u2026}},)}}")
        self.assertRegex(values[12], r"^\{(\d+, ){20}\u2026 10 more\}$")
        self.assertEqual(values[13], "a\ufffdb" if "\ufffd" in values[13] else "a\ud800b")
        self.assertRegex(found["many"][0]["more"], "^\\{'key0': 'v{90}', .*\u2026$")
        fullest, = found["fullest"]
        self.assertEqual({key: value for key, value in fullest.items() if key != "left_out"},
                         dict.fromkeys("abcd", "w" * 900))
        self.assertEqual(fullest["left_out"], 2)

    HOSTILE = """
    import collections, enum, sys
    def strikes(*args, **kwargs): raise AssertionError("called")
    class Hostile:
        __repr__ = __str__ = __hash__ = __eq__ = __len__ = __iter__ = __getattribute__ = __bool__ = __format__ = strikes
        __class__ = property(strikes)
    class Int(int): __repr__ = __index__ = __int__ = strikes
    class Str(str): __repr__ = __str__ = strikes
    class List(list): __iter__ = __len__ = __getitem__ = __repr__ = strikes
    class Dict(dict): items = keys = __iter__ = __repr__ = strikes
    class Key:
        def __hash__(self): return 1
        __eq__ = __repr__ = strikes
    class Meta(type): __repr__ = __getattribute__ = strikes
    class Named(metaclass=Meta): pass
    Point = collections.namedtuple("Point", "x y")
    Color = enum.Enum("Color", "RED")
    def f(value): return value
    hostile = Hostile()
    cycle = []
    cycle.append(cycle)
    for value in (hostile, Int(5), Str("x"), List([1]), Dict({1: 2}), {Key(): 1}, {Key()}, [hostile, (hostile,)], Named,
                  Point(1, 2), Color.RED, cycle, range(3), bytearray(b"x"), 1j, object(), len, Ellipsis):
        before = sys.getrefcount(value)
        f(value)
        assert sys.getrefcount(value) == before
    print(sys.exc_info(), len(cycle))
    """

    def test_no_code_of_the_program_is_called(self):
        for engine in e2e.ENGINES:
            self.record_as_plain(self.HOSTILE, "--args", "__main__.*", "--results", "__main__.*", "--engine", engine)
            self.verify()
            found = [args["value"] for _, name, args in slices(e2e.convert(self.path("run.pnr"))) if name == "f"]
            self.assertEqual(found, ["<Hostile>", "<Int>", "<Str>", "<List>", "<Dict>", "{<Key>: 1}", "{<Key>}",
                                     "[<Hostile>, (<Hostile>,)]", "<Meta>", "<Point>", "<Color>", "[[[[[\u2026]]]]]",
                                     "<range>", "<bytearray>", "<complex>", "<object>",
                                     "<builtin_function_or_method>", "<ellipsis>"])

    def test_reprs(self):
        """They are the program's, are not recorded themselves, and what goes wrong in one is swallowed and counted."""
        program = """
    import sys
    class Order:
        def __init__(self, n): self.n = n
        def __repr__(self): return f"Order({self.helper()})"
        def helper(self): return sum(x for x in [self.n])
    class Fails:
        def __repr__(self): raise ValueError("no")
    class Exits:
        def __repr__(self): sys.exit(7)
    class Recursive:
        def __repr__(self): return repr(self)
    class Long:
        def __repr__(self): return "\\xe4" * 5000
    class Wrong:
        def __repr__(self): return 5
    class Changes(list):
        def __repr__(self):
            for container in containers: container.clear()
            return "changed"
    containers = [], {}, set()
    def f(value): return value
    for value in Order(1), [Order(2), {"k": Order(3)}], Fails(), Exits(), Recursive(), Long(), Wrong():
        f(value)
    containers[0].extend([Changes(), 1, 2]); f(containers[0])
    containers[1].update({1: Changes(), 2: 3}); f(containers[1])
    print(sys.exc_info())
    def deep(n):
        if n: return deep(n - 1)
        return f(Order(4))
    deep(700)
    """
        for engine in e2e.ENGINES:
            self.record_as_plain(program, "--args-repr", "*.f", "--results", "*.f", "--engine", engine)
            self.verify()
            trace = e2e.convert(self.path("run.pnr"))
            found = [args["value"] for _, name, args in slices(trace) if name == "f"]
            self.assertEqual(found, ["Order(1)", "[Order(2), {'k': Order(3)}]", "<Fails>", "<Exits>", "<Recursive>",
                                     "\xe4" * 500 + "\u2026", "<Wrong>", "[changed]", "{1: changed}", "Order(4)"])
            self.assertEqual([name for name in e2e.Trace(trace).count() if "repr" in name or "helper" in name], [])
            info = e2e.run([e2e.CONVERT, "--info", self.path("run.pnr")]).out
            self.assertRegex(info, r"\n  no repr +\d+\n")

    def test_a_slow_repr_is_called_once(self):
        _, found = self.record_values("""
    import time
    class Slow:
        def __repr__(self):
            time.sleep(0.06)
            calls.append(self)
            return "slow"
    calls = []
    def f(a, b): pass
    def g(a): pass
    for _ in range(5): f(Slow(), Slow())
    g(Slow())
    print(len(calls))
    """, "--args-repr", "__main__.*")
        self.assertEqual(found["f"], [{"a": "slow", "b": "<Slow>"}] + [{"a": "<Slow>", "b": "<Slow>"}] * 4)
        self.assertEqual(found["g"], [{"a": "slow"}])

    def test_reprs_that_record(self):
        """A repr makes remarks, pauses, resumes, and stops the recording: the program runs on as it is."""
        for engine in e2e.ENGINES:
            for action in ("rec.mark('m'); rec.span('s').__enter__()", "rec.pause()", "rec.pause(); rec.resume()",
                           "recorder.stop()", "recorder.stop(); again.start()", "os.fork() or os._exit(0)",
                           "import threading; t = threading.Thread(target=g, args=(5,)); t.start(); t.join()",
                           "sys.setprofile(None)", "f(7)", "next(numbers)", "os.fork() or f(3) or os._exit(0); os.wait()"):
                with self.subTest(engine=engine, action=action):
                    for name in os.listdir(self.directory):
                        if ".pnr" in name:
                            shutil.rmtree(self.path(name))
                    self.script(f"""
    import os, sys
    import panopticon_rec as rec
    how = dict(args_repr="__main__.*", results="__main__.*", engine={engine!r})
    recorder, again = rec.Recorder("run.pnr", **how), rec.Recorder("again.pnr", **how)
    class Acts:
        did = False
        def __repr__(self):
            if not Acts.did:
                Acts.did = True
                {action}
            return "acts"
    def count():
        for i in range(3): yield i
    def g(n): return n
    def f(value):
        g(1)
        return value
    def main():
        global numbers
        numbers = count()
        next(numbers)
        assert f(Acts()).did
        g(2)
        f(Acts())
        return list(numbers)
    recorder.start()
    main()
    try: rec.resume()
    except RuntimeError: pass
    main()
    for one in recorder, again:
        try: one.stop()
        except RuntimeError: pass
    """)
                    for name in sorted(os.listdir(self.directory)):
                        if name.endswith(".pnr"):
                            self.verify(name)
                            e2e.Trace(e2e.convert(self.path(name)))

    def test_ctrl_c_in_a_repr(self):
        """It comes all the same."""
        for engine in e2e.ENGINES:
            self.record_as_plain("""
    import os, signal
    class Interrupted:
        def __repr__(self):
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000): pass
            return "x"
    def f(value): pass
    def main():
        try:
            f(Interrupted())
            if "panopticon_rec" not in __import__("sys").modules: os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000): pass
        except KeyboardInterrupt: print("interrupted")
    main()
    """, "--args-repr", "*.f", "--engine", engine)

    def test_exceptions_of_signal_handlers_in_a_repr(self):
        """They reach the program, of whatever type; what the repr itself raises does not."""
        program = """
    import os, signal, sys
    class Stop(Exception): pass
    class Handler:
        def __init__(self, exception): self.exception = exception
        def __call__(self, number, frame): raise self.exception
        def method(self, number, frame): self(number, frame)
    def function(number, frame): raise SystemExit(3)
    class Interrupted:
        def __repr__(self):
            os.kill(os.getpid(), signal.SIGUSR1)
            for _ in range(1000): pass
            return "x"
    class Exits:
        def __repr__(self): raise SystemExit(4)
    def f(value): pass
    for handler in function, Handler(Stop("a")), Handler(KeyboardInterrupt()).method, Handler(BaseException("b")):
        signal.signal(signal.SIGUSR1, handler)
        try:
            f(Exits())
            f(Interrupted())
            if "panopticon_rec" not in sys.modules: os.kill(os.getpid(), signal.SIGUSR1)
            for _ in range(1000): pass
            print("not reached")
        except BaseException as e: print(repr(e), e.__traceback__.tb_frame.f_code.co_name)
    print(sys.exc_info())
    """
        for engine in e2e.ENGINES:
            self.record_as_plain(program, "--args-repr", "*.f", "--engine", engine)
            self.verify()

    @unittest.skipUnless(e2e.run([e2e.PYTHON, "-c", "import greenlet"]).status == 0, "no greenlet")
    def test_a_repr_that_switches_greenlets(self):
        """None is called: all calls of the other greenlet are recorded, and none in the wrong one."""
        program = """
    from greenlet import greenlet, getcurrent
    class Switches:
        def __repr__(self):
            other.switch()
            return "x"
    def f(value): pass
    def leaf(): pass
    def work():
        for _ in range(10):
            leaf()
            f(1)
            main.switch()
    main, other = getcurrent(), greenlet(work)
    for _ in range(5): f(Switches())
    while not other.dead: other.switch()
    """
        for engine in e2e.ENGINES:
            _, found = self.record_values(program, "--args-repr", "*.f", "--engine", engine)
            self.assertEqual(sorted(args["value"] for args in found["f"] if args["value"] != 1), ["<Switches>"] * 5)
            self.assertEqual(len(found["f"]), 15)
            self.assertEqual([n for name, n in self.trace().count().items() if "leaf" in name], [10])

    def test_a_repr_that_recurses_deeply(self):
        """It needs no more C stack than without the recorder."""
        for engine in e2e.ENGINES:
            self.record_as_plain("""
    import sys
    sys.setrecursionlimit(200_000)
    def down(n): return down(n - 1) if n else 0
    class Deep:
        def __repr__(self): return f"deep {down(100_000)}"
    def f(value): return value
    f(Deep())
    print(down(100_000))
    """, "--args-repr", "*.f", "--engine", engine)
            self.verify()
            self.assertEqual([args for _, name, args in slices(e2e.convert(self.path("run.pnr"))) if name == "f"],
                             [{"value": "deep 0"}])

    def test_secrets(self):
        """Neither a parameter nor a key of a dict with such a name: their bytes are nowhere in the capture."""
        program = """
    class Secret:
        def __repr__(self): return "".join(["hid", "den"])
    hidden = "".join(["hid", "den"])
    def login(user, password, api_key=None, *, AuthToken=hidden, **more): return {"session_cookie": hidden, "user": user}
    def get_token(): return hidden
    def iban(my_iban): return my_iban
    def own(x): return x
    login("me", hidden, Secret(), headers={"Authorization": hidden, "X-Api-Key": [hidden], "Accept": "x"}, passwd=hidden)
    get_token()
    iban(hidden)
    own({"IBAN": hidden, ("password", 1): 2, "deep": [{"secret": {"a": hidden}}]})
    """
        for engine in e2e.ENGINES:
            _, found = self.record_values(program, "--args-repr", "__main__.*", "--results", "__main__.*", "--redact", "iban|ssn",
                                          "--redact", "pin", "--engine", engine)
            hidden = "[redacted]"
            more = ("{'headers': {'Authorization': [redacted], 'X-Api-Key': [redacted], 'Accept': 'x'}, "
                    "'passwd': [redacted]}")
            self.assertEqual(found["login"], [{"user": "me", "password": hidden, "api_key": hidden, "AuthToken": hidden,
                                               "more": more, "return": "{'session_cookie': [redacted], 'user': 'me'}"}])
            self.assertEqual(found["get_token"], [{"return": hidden}])
            self.assertEqual(found["iban"], [{"my_iban": hidden, "return": hidden}])
            own = "{'IBAN': [redacted], ('password', [redacted]): 2, 'deep': [{'secret': [redacted]}]}"
            self.assertEqual(found["own"], [{"x": own, "return": own}])
            self.assertNotIn(b"hidden", read_files(self.path("run.pnr")))

    def test_secrets_under_other_keys(self):
        """Keys that are bytes, of classes derived from str and bytes, and in pairs; names in any case."""
        program = """
    hidden = "".join(["hid", "den"])
    class Text(str): pass
    class Bytes(bytes): pass
    def f(x): pass
    def names(apiKey, *, privateKey, **more): pass
    f({b"password": hidden, Text("token"): hidden, Bytes(b"X-Secret"): hidden, b"user": "me"})
    f([(b"Authorization", hidden), ["set-cookie", hidden], ("accept", "x"), (hidden[:0] + "api key", [hidden])])
    f(("PassWord", hidden))
    f({"x" * 5000 + "password": hidden})
    f({"x" * 400 + "password": hidden})
    names(hidden, privateKey=hidden, Access_Key=hidden, accessKey=hidden)
    """
        for engine in e2e.ENGINES:
            _, found = self.record_values(program, "--args", "__main__.*", "--engine", engine)
            self.assertEqual([args["x"] for args in found["f"]][:3], [
                "{b'password': [redacted], <Text>: [redacted], <Bytes>: [redacted], b'user': 'me'}",
                "[(b'Authorization', [redacted]), ['set-cookie', [redacted]], ('accept', 'x'), ('api key', [redacted])]",
                "('PassWord', [redacted])"])
            self.assertEqual(found["names"], [{"apiKey": "[redacted]", "privateKey": "[redacted]",
                                               "more": "{'Access_Key': [redacted], 'accessKey': [redacted]}"}])
            self.assertNotIn(b"hidden", read_files(self.path("run.pnr")))

    def test_containers_that_were_large(self):
        """Of a set that has become small no more is looked at than of others; the program decides what is left."""
        program = """
    def f(x): pass
    large = set(range(1_000_000))
    for _ in range(1_000_000 - 2): large.pop()
    f(large)
    large.clear()
    f(large)
    small = set(range(100))
    for _ in range(98): small.pop()
    f(small)
    print(sorted(small))
    """
        finished, found = self.record_values(program, "--args", "__main__.*")
        left = ", ".join(map(str, eval(finished.out)))
        self.assertEqual([args["x"] for args in found["f"]], ["{\u2026 2 more}", "set()", "{%s}" % left])

    def test_which_functions(self):
        """A glob matches as that of --include; modules and class bodies have none; others have no values."""
        program = """
    import json
    class C:
        def f(self, x): return x
    def f(x): return x
    def g(x): return x
    C().f(1); f(2); g(3); json.dumps("t")
    """
        for options, chosen in ((("--args", "__main__.f"), {"f": [{"x": 2}]}),
                                (("--args", "*.C.*", "--args", "__main__.g"), {"f": [{"self": "<C>", "x": 1}], "g": [{"x": 3}]}),
                                (("--results", "__main__"), {"f": [{"return": 1}, {"return": 2}], "g": [{"return": 3}]}),
                                (("--args", "*app.py", "--exclude", "*.C.*"), {"f": [{"x": 2}], "g": [{"x": 3}]}),
                                (("--redact", "x"), {})):
            with self.subTest(options):
                self.assertEqual(self.record_values(program, *options)[1], chosen)
        _, found = self.record_values(program, "--args", "json.dumps", "--results", "json.dumps", "--mine")
        self.assertEqual([(args["obj"], args["return"]) for args in found["dumps"]], [("t", '"t"')])

    def test_mistakes(self):
        for options, message in ((("--args", ""), "args: 'include ' is not a filter"), (("--redact", "|"), "redact: '|' is not"),
                                 (("--args", "-q"), "--args needs an argument: --args GLOB")):
            finished = e2e.recorded(self.path("run.pnr"), [self.write("app.py", "pass")], options=["-q", *options])
            self.assertEqual((finished.status, message in finished.err), (2, True), finished.err)

    def test_recursion_to_the_limit(self):
        """The call that is one too many has no slice and no values."""
        for engine in e2e.ENGINES:
            for options in (), ("--clock", "sparse"):
                self.record_as_plain("""
    import sys
    def f(n, text):
        global deepest
        deepest = n
        assert n < 5000
        return f(n + 1, text)
    try: f(0, "some text that takes a few records")
    except RecursionError: print(deepest)
    """, "--args", "*.f", "--results", "*.f", "--engine", engine, *options)
                self.verify()
                found = [args for _, name, args in slices(e2e.convert(self.path("run.pnr"))) if name == "f"]
                self.assertEqual([args["n"] for args in found], list(range(len(found))))
                self.assertEqual({args["raise"] for args in found}, {"<RecursionError>"})

    def test_children(self):
        _, found = self.record_values("""
    import os, sys, subprocess
    def f(who): return who
    f("parent")
    if not os.fork():
        f("child")
        os._exit(0)
    os.wait()
    subprocess.run([sys.executable, "-c", "def f(who): return who\\nf('started')"])
    """, "--args", "__main__.f", "--results", "__main__.f")
        self.assertEqual(sorted(args["who"] for args in found["f"]), ["child", "parent", "started"])
        self.assertEqual({args["who"] == args["return"] for args in found["f"]}, {True})

    def test_many(self):
        """Over many blocks, with rotation: values are whole, of each call that is there."""
        for engine in e2e.ENGINES:
            for options in (), ("--max-size", "16M"):
                with self.subTest(engine=engine, options=options):
                    _, found = self.record_values("""
    import os
    def f(n, text, again): return -n
    for n in range(20000):
        text = os.urandom(200).hex()
        f(n, text, text[::-1])
    """, "--args", "*.f", "--results", "*.f", "--engine", engine, *options)
                    numbers = [args["n"] for args in found["f"] if "n" in args]
                    self.assertEqual(numbers, list(range(numbers[0], 20000)))
                    self.assertTrue(options or numbers[0] == 0)
                    for args in found["f"][1:]:
                        self.assertEqual((args["return"], args["again"]), (-args["n"], args["text"][::-1]))

    def test_killed_at_any_moment(self):
        """Values are whole or absent, never mixed."""
        program = self.write("killed.py", """
    import os
    def f(n, text, again): return text
    n = 0
    while True:
        text = chr(97 + n % 26) * (n * 37 % 900)
        f(n, text, text)
        if n % 50 == 0: os.write(1, b"%d\\n" % n)
        n += 1
    """)
        random = self.random()
        for i in range(16):
            engine = e2e.ENGINES[i % len(e2e.ENGINES)]
            options = ["-q", "--args", "*.f", "--results", "*.f", "--engine", engine, *["--clock", "sparse"][:i & 2]]
            capture = self.path(f"run-{i}.pnr")
            process = subprocess.Popen(e2e.recorder(capture, [program], options=options), stdout=subprocess.PIPE,
                                       env=e2e.environment())
            process.stdout.readline()
            time.sleep(random.random() * 0.2)
            process.send_signal(signal.SIGKILL)
            out = process.stdout.read().split()
            process.stdout.close()
            process.wait()
            self.verify(capture)
            calls = [args for _, name, args in slices(e2e.convert(capture)) if name == "f"]
            for n, args in enumerate(calls):
                text = chr(97 + n % 26) * (n * 37 % 900)
                whole = {"n": n, "text": text, "again": text, "return": text}
                if n + 1 < len(calls):
                    self.assertEqual(args, whole)
                else:
                    self.assertIn(args, [{key: whole[key] for key in whole if key != "return"}, whole])
            if out:
                self.assertGreaterEqual(len(calls), int(out[-1]))

    @unittest.skipIf(e2e.VERSION < (3, 12), "a budget needs CPython 3.12")
    def test_with_a_budget(self):
        """A chosen function is muted like any other; a call that is recorded has its values."""
        _, found = self.record_values("""
    import time
    def f(n, text): return n
    end = time.process_time() + 0.5
    n = 0
    while time.process_time() < end:
        f(n, str(n)); n += 1
    """, "--args", "*.f", "--results", "*.f", "--max-overhead", "3%")
        with_values = [args for args in found["f"] if "n" in args]
        self.assertGreater(len(with_values), 10)
        for args in with_values:
            self.assertEqual(args["text"], str(args["n"]))
            self.assertEqual(args.get("return", args["n"]), args["n"])
        self.assertEqual([args for args in found["f"] if "n" not in args and "return" not in args], [])

    def test_perfetto_and_tables(self):
        self.record_values("""
    def f(text, number, items, password): return items
    f("t", 3, [1, "two"], "p")
    """, "--args", "*.f", "--results", "*.f")
        e2e.run([e2e.CONVERT, self.path("run.pnr"), "-o", self.path("run.pftrace")])
        with open(self.path("run.pftrace"), "rb") as file:
            data = file.read()
        for text in b"text", b"number", b"[1, 'two']", b"[redacted]", b"return":
            self.assertIn(text, data)
        read = e2e.plain(["-c", "import panopticon_rec, sys; sys.path.insert(0, sys.argv[2]); import arrow_reader\n"
                                "for row in arrow_reader.rows_of(panopticon_rec.open(sys.argv[1]).slices()):\n"
                                "    if row['values_json']: print(row['values_json'])", self.path("run.pnr"), e2e.HERE])
        self.assertEqual(json.loads(read.out), {"text": "t", "number": 3, "items": "[1, 'two']", "password": "[redacted]",
                                                "return": "[1, 'two']"}, read.err)


if __name__ == "__main__":
    unittest.main()
