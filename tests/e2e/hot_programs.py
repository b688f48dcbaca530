"""Programs of many short calls, which a recording with a budget mutes. Each prints what it has computed and counted.

PROGRAMS maps a name to the text of one round; text_of() gives that of a whole program. They use nothing but the standard
library, and greenlet where the name has it.
"""

import textwrap

ROUNDS = 12         # of some 50 ms, so that functions are muted and admitted many times

PROGRAMS = {
    "recursion": """
        def fib(n):
            return n if n < 2 else fib(n - 1) + fib(n - 2)
        def is_even(n):
            return n == 0 or is_odd(n - 1)
        def is_odd(n):
            return n != 0 and is_even(n - 1)
        def ackermann(m, n):
            if m == 0:
                return n + 1
            return ackermann(m - 1, 1 if n == 0 else ackermann(m, n - 1))
        def deep(n):
            return deep(n - 1) + 1 if n else sum(is_even(k) for k in range(20))
        print([fib(n) for n in (5, 21, 22)])
        print(ackermann(2, 50), sum(is_even(n % 300) for n in range(2000)))
        print(sum(deep(n % 700) for n in range(600)), fib(20))
        """,
    "methods": """
        class Base:
            __slots__ = ("n", "calls")
            def __init__(self):
                self.n, self.calls = 0, 0
            def add(self, k):
                self.calls += 1
                self.n += k
                return self
            def __lt__(self, other):
                return self.value < other.value
            @property
            def value(self):
                return self.n
        class Derived(Base):
            def __init__(self, n):
                super().__init__()
                self.add(n)
            def add(self, k):
                return super().add(k * 2)
            def __getattr__(self, name):
                return len(name)
            def __call__(self, *args, **kwargs):
                return sum(args) + len(kwargs)
        total = 0
        for n in range(12_000):
            one = Derived(n)
            total += one.add(1).value + one.other + one(1, 2, a=3)
        ones = sorted(Derived(n * 7919 % 3001) for n in range(3001))
        print(total, [one.value for one in ones[:5]], sum(one.calls for one in ones))
        """,
    "generators": """
        def numbers(n):
            for i in range(n):
                yield i
        def pairs(n):
            for i in numbers(n):
                yield from numbers(i % 3)
        def echo():
            total = 0
            while True:
                try:
                    got = yield total
                except ValueError as error:
                    got = len(str(error))
                total += got
        def closed(log):
            try:
                yield 1
                yield 2
            finally:
                log.append(1)
        counts = [0, 0]
        for k in range(1200):
            counts[0] += sum(pairs(k % 40))
            one = echo()
            next(one)
            for i in range(20):
                one.send(i) if i % 5 else one.throw(ValueError("four"))
            counts[1] += one.send(0)
        log, suspended = [], []
        for k in range(4000):
            one = closed(log)
            next(one)
            if k % 3:
                one.close()
            elif k % 2:
                next(one)
                suspended.append(one)
        print(counts, len(log), sum(next(one, 5) for one in suspended), sum(1 for _ in numbers(100_000)))
        """,
    "closures and code made by exec": """
        def counter():
            n = 0
            def add(k):
                nonlocal n
                n += k
                return n
            return add
        adds = [counter() for _ in range(50)]
        for i in range(40_000):
            adds[i % 50](i)
        total = sum(add(0) for add in adds)
        for k in range(400):
            names = {}
            exec(compile(f"def made(x):\\n    return (lambda y: y + {k})(x) * 2\\n", f"<made {k % 7}>", "exec"), names)
            made = names["made"]
            total += sum(made(x) for x in range(60))
            total += eval("sum((lambda: i)() for i in range(10))")
        for i in range(60_000):
            total += (lambda: i & 1)()
        print(total)
        """,
    "exceptions by the hundred thousand": """
        class Missing(Exception):
            pass
        def inner(n):
            raise Missing(n)
        def middle(n):
            return inner(n)
        def cleaning(n, log):
            try:
                return middle(n)
            finally:
                log[0] += 1
        def numbers():
            yield 1
            raise Missing(0)
        log, caught = [0], 0
        for n in range(50_000):
            try:
                cleaning(n, log)
            except Missing as error:
                caught += error.args[0] % 3
        for n in range(10_000):
            try:
                list(numbers())
            except Missing:
                caught += 1
        def deep(n):
            return deep(n - 1) if n else inner(0)
        for n in range(500):
            try:
                deep(100)
            except Missing:
                caught += 1
        def endless(n):
            return endless(n + 1)
        for _ in range(20):
            try:
                endless(0)
            except RecursionError:
                caught += 1
        print(log, caught)
        """,
    "threads that come and go": """
        import queue, threading
        def leaf(i):
            return i & 3
        def work(n, results):
            total = 0
            for i in range(n):
                total += leaf(i)
            results.put(total)
        results, total = queue.SimpleQueue(), 0
        for k in range(40):
            threads = [threading.Thread(target=work, args=(500 + k, results)) for _ in range(4)]
            for thread in threads:
                thread.start()
            work(2000, results)
            for thread in threads:
                thread.join()
            total += sum(results.get() for _ in range(5))
        jobs = queue.Queue()
        def serve():
            while (job := jobs.get()) is not None:
                work(job, results)
        threads = [threading.Thread(target=serve) for _ in range(3)]
        for thread in threads:
            thread.start()
        for k in range(600):
            jobs.put(100)
        for thread in threads:
            jobs.put(None)
        for thread in threads:
            thread.join()
        print(total, sum(results.get() for _ in range(600)))
        """,
    "asyncio": """
        import asyncio
        def leaf(n):
            return n & 7
        async def step(n):
            await asyncio.sleep(0)
            return leaf(n)
        async def ticks(n):
            for i in range(n):
                yield leaf(i)
                if i % 5 == 0:
                    await asyncio.sleep(0)
        async def client(n):
            total = 0
            async for tick in ticks(n):
                total += tick
            for i in range(n):
                total += await step(i)
            return total
        async def produce(jobs, n):
            for i in range(n):
                await jobs.put(i)
            await jobs.put(None)
        async def consume(jobs):
            total = 0
            while (job := await jobs.get()) is not None:
                total += leaf(job)
            return total
        async def main():
            total = sum(await asyncio.gather(*(client(n % 50) for n in range(120))))
            jobs = asyncio.Queue(5)
            _, more = await asyncio.gather(produce(jobs, 3000), consume(jobs))
            ones = [asyncio.create_task(client(10**6)) for _ in range(10)]
            await asyncio.sleep(0)
            for one in ones:
                one.cancel()
            ended = await asyncio.gather(*ones, return_exceptions=True)
            print(total, more, [type(one).__name__ for one in ended])
        asyncio.run(main())
        """,
    "forks": """
        import os
        def leaf(i):
            return i & 3
        def numbers(n):
            for i in range(n):
                yield leaf(i)
        def work(n):
            return sum(leaf(i) for i in range(n)) + sum(numbers(n))
        def nested(n, one):
            total = work(150_000) + next(one)
            if n:
                pid = os.fork()
                if not pid:
                    os._exit((nested(n - 1, one) + next(one)) % 200)
                total += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            return total
        print(work(300_000), nested(3, numbers(100)), work(100_000), flush=True)
        """,
    "frames that are examined": """
        import inspect, sys
        def leaf(n):
            frame, names = sys._getframe(), []
            while frame and frame.f_code.co_name in ("leaf", "rec", "outer"):
                names.append((frame.f_code.co_name, frame.f_locals.get("n"), frame.f_lineno is not None))
                frame = frame.f_back
            return len(names) + sum(n or 0 for _, n, _ in names)
        def rec(n):
            extra = n * 2
            if n == 0:
                return leaf(n)
            result = rec(n - 1)
            return result + len(locals()) + locals()["extra"]
        def outer(n):
            kept = locals()
            total = 0
            for i in range(n):
                total += rec(i % 12)
                if i % 100 == 0:
                    total += sorted(locals()) == ["i", "kept", "n", "total"]
            return total + len(kept)
        def names():
            a, b = 1, 2
            def inner():
                return a + len(locals())
            return inner() + len(vars()) + len(dir()), [info.function for info in inspect.stack(0)][:2]
        def cheap():
            x = 1
            return locals()
        class Body:
            total = sum(cheap()["x"] for _ in range(20_000))
            names = sorted(name for name in locals() if not name.startswith("__"))
        print(outer(6000), {str(names()) for _ in range(200)}, Body.total, Body.names, len(cheap()))
        """,
    "destructors": """
        import gc, weakref
        class One:
            ended = 0
            def __init__(self, n):
                self.n = n
            def __del__(self):
                One.ended += leaf(self.n)
        def leaf(n):
            return n & 1
        def gone(_):
            One.ended += leaf(3)
        def make(n):
            one = One(n)
            return n
        def numbers():
            one = One(1)
            yield 1
            yield one
        refs = []
        for n in range(25_000):
            make(n)
            if n % 10 == 0:
                one = One(n)
                refs.append(weakref.ref(one, gone))
                del one
                next(numbers())
            if n % 5000 == 0:
                loop = [One(7)]
                loop.append(loop)
                del loop
                gc.collect()
        print(One.ended, sum(ref() is None for ref in refs))
        """,
    "signals": """
        import signal
        class Interrupted(Exception):
            pass
        n_signals = 0
        def on_signal(number, frame):
            global n_signals
            n_signals += 1
            if n_signals % 2:
                raise Interrupted
        def leaf(n):
            return n + 1
        def rec(n):
            return rec(n - 1) + 1 if n else leaf(n)
        signal.signal(signal.SIGUSR1, on_signal)
        caught = total = 0
        for k in range(3000):
            try:
                total += rec(20)
                if k % 3 == 0:
                    signal.raise_signal(signal.SIGUSR1)
                    leaf(k)
            except Interrupted:
                caught += 1
        print(n_signals, caught, total)
        """,
    "the standard library": """
        import ast, bisect, difflib, io, json, re, tokenize
        json.encoder.c_make_encoder = None
        with open(bisect.__file__) as file:
            text = file.read()
        for _ in range(10):
            tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
            tree = ast.parse(text)
            n_nodes = sum(1 for _ in ast.walk(tree))
            length = len(ast.unparse(tree))
            dumped = json.dumps([[str(token.string), list(token.start)] for token in tokens], indent=1)
            ratio = difflib.SequenceMatcher(None, text[:400], text[200:600]).ratio()
        print(len(tokens), n_nodes, length, len(dumped), ratio, re.sub("[aeiou]", lambda found: "", text)[:60])
        """,
    "greenlets": """
        from greenlet import getcurrent, greenlet
        def leaf(i):
            return i & 3
        def up(value):
            return getcurrent().parent.switch(value)
        def numbers(n):
            for i in range(n):
                yield leaf(i)
        def consume(shared, n):
            for i in range(n):
                for _ in range(5):
                    next(shared, None)
                up(i)
            return -1
        def nested(n):
            if n:
                inner = greenlet(nested)
                inner.switch(n - 1)
                up(n)
                while not inner.dead:
                    inner.switch()
        def deep(n):
            return deep(n - 1) if n else up(n)
        def raising():
            up(0)
            raise ValueError
        def start(function, *args):
            one = greenlet(function)
            one.switch(*args)
            return one
        def finish(*ones):
            while ones:
                for one in ones:
                    one.switch()
                ones = [one for one in ones if not one.dead]
        caught = total = 0
        deeps = [start(deep, 50 * k) for k in range(4)]
        for k in range(40):
            shared = numbers(2000)
            finish(*[start(consume, shared, 40) for _ in range(5)])
            finish(start(nested, 6))
            try:
                finish(start(raising))
            except ValueError:
                caught += 1
            total += sum(numbers(2000)) + sum(leaf(i) for i in range(2000))
            start(leaf, k)
        finish(*deeps)
        kept = start(deep, 3)
        print(caught, total)
        """,
    "excluded and C functions": """
        import math
        def leaf(n):
            return abs(n) + len("text") + math.floor(1.5)
        def excluded(n):
            return leaf(n) + max(n, 1)
        def caller(n):
            return excluded(n) + sum(map(leaf, range(3)))
        print(sum(caller(n) for n in range(15_000)), sorted(range(2000), key=leaf)[:3])
        """,
}


def text_of(name, rounds=ROUNDS):
    return f"for _ in range({rounds}):\n" + textwrap.indent(textwrap.dedent(PROGRAMS[name]), "    ")
