"""What options choose of a capture. The oracle: the trace of the whole capture, cut and sieved here by the rules of
specs/trace-mapping.md, section 9."""

import collections
import datetime
import fnmatch
import json
import os
import unittest

import e2e

PROGRAM = """
    import asyncio, threading, time

    def leaf(n):
        return sum(range(n))

    def node(n):
        if n > 0:
            node(n - 1)
            node(n - 2)
        return leaf(60 + n)

    def numbers(n):
        for i in range(n):
            yield leaf(40)

    async def stream(n):
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    async def session(n):
        async for i in stream(n):
            node(3)
            for number in numbers(3):
                leaf(30)
            await asyncio.sleep(0.0002)
        try:
            raise KeyError(n)
        except KeyError:
            return leaf(10)

    async def serve():
        await asyncio.gather(*(session(15 + n) for n in range(6)))

    shared = numbers(2000)
    lock = threading.Lock()

    def work():
        for i in range(150):
            with lock:
                next(shared)
            node(4)
            if i % 10 == 0:
                time.sleep(0.001)

    threads = [threading.Thread(target=work, name=f"worker-{i}") for i in range(3)]
    for thread in threads:
        thread.start()
    asyncio.run(serve())
    for thread in threads:
        thread.join()
"""

# A begin or an end is moved by no more than this, so that others fit.
TOLERANCE_NS = 200


class Kept:
    """A slice of the whole trace as it should be shown."""

    def __init__(self, one, begin, end, flags):
        self.one, self.begin, self.end, self.flags, self.parent, self.is_kept = one, begin, end, flags, None, False


def sieve(trace, begin=0, end=None, thread=None, takes=lambda name, src: True, minimum=0, deepest=None):
    """The slices that should be shown, by thread, and the flows of those."""
    threads, kept = collections.defaultdict(list), {}
    end = max(one.end for one in trace.slices) + 1 if end is None else end
    for one in sorted(trace.slices, key=lambda one: (one.begin, -one.end)):
        if one.end <= begin or one.begin >= end or not takes(one.function.name, one.function.src):
            continue
        if thread and not fnmatch.fnmatchcase(trace.threads[one.thread], thread):
            continue
        flags = set(one.flags)
        if one.begin < begin:
            flags = (flags - {"begin_unknown"}) | {"cut"}
        if one.end > end:
            flags = (flags - {"exception", "unfinished", "exit_missing"}) | {"cut"}
        found = Kept(one, max(one.begin, begin), min(one.end, end), flags)
        above = one.parent
        while above and above not in kept:
            above = above.parent
        found.parent = kept.get(above)
        found.depth = found.parent.depth + 1 if found.parent else 1
        if deepest and found.depth > deepest:
            continue
        kept[one] = found
    for found in reversed(kept.values()):       # those further in come first
        is_cut = bool(found.flags & {"cut", "unfinished", "begin_unknown"})
        found.is_kept |= found.end - found.begin >= minimum or is_cut
        if found.is_kept and found.parent:
            found.parent.is_kept = True
    for found in kept.values():
        if found.is_kept:
            threads[found.one.thread].append(found)
    flows = [[one for one in flow if one in kept and kept[one].is_kept] for flow in trace.flows]
    return threads, [flow for flow in flows if flow]


@e2e.once
class Selection(e2e.EndToEnd):
    def setUp(self):
        super().setUp()
        self.chance = self.random()

    def capture(self):
        _, trace = self.record(PROGRAM)
        return trace

    def quiet_time(self, trace, wanted):
        """The first time from there on that is not near a begin or an end."""
        times = sorted({time for one in trace.slices for time in (one.begin, one.end)})
        for before, after in zip(times, times[1:]):
            if after > wanted and after - before > 4 * TOLERANCE_NS:
                return max((before + after) // 2, min(wanted, after - 2 * TOLERANCE_NS))
        return times[-1] + 4 * TOLERANCE_NS

    def check(self, trace, *options, **rules):
        expected, flows = sieve(trace, **rules)
        found = e2e.Trace(e2e.convert(self.path("run.pnr"), "-q", *options))
        places = {}
        by_thread = collections.defaultdict(list)
        for one in found.slices:
            by_thread[one.thread].append(one)
        self.assertEqual(sorted(by_thread), sorted(expected))
        self.assertEqual(sorted(found.threads), sorted(expected))           # no others are named
        self.assertEqual(sorted(found.processes), sorted({pid for pid, _ in expected}))
        for thread, wanted in expected.items():
            have = by_thread[thread]
            self.assertEqual([(one.function, sorted(one.flags), one.depth) for one in have],
                             [(kept.one.function, sorted(kept.flags), kept.depth - 1) for kept in wanted])
            for one, kept in zip(have, wanted):
                self.assertLessEqual(max(abs(one.begin - kept.begin), abs(one.end - kept.end)), TOLERANCE_NS,
                                     (one, kept.begin, kept.end))
                places[one] = kept.one
        self.assertEqual(sorted(sorted(map(str, (places[one] for one in flow))) for flow in found.flows),
                         sorted(sorted(map(str, flow)) for flow in flows))
        self.assertEqual({len(flow) for flow in found.flows}, {len(flow) for flow in flows})
        return expected

    def windows(self, trace, n):
        last = max(one.end for one in trace.slices)
        first = min(one.begin for one in trace.slices)
        for _ in range(n):
            begin, end = sorted(self.chance.randrange(first, last) for _ in range(2))
            begin = self.quiet_time(trace, begin)
            end = self.quiet_time(trace, end)
            if begin < end:
                yield begin, end

    def test_windows_are_what_is_cut_out_of_the_whole(self):
        trace = self.capture()
        n_cut = 0
        for begin, end in self.windows(trace, 12):
            with self.subTest(begin=begin, end=end):
                shown = self.check(trace, f"--from={begin}ns", f"--to={end / 1e9:.9f}", begin=begin, end=end)
                n_cut += sum("cut" in kept.flags for kept in sum(shown.values(), []))
        self.assertGreater(n_cut, 20)
        middle = self.quiet_time(trace, 50_000_000)
        self.check(trace, "--to", f"{middle}ns", end=middle)
        self.check(trace, "--from", f"{middle}ns", begin=middle)

    def test_functions_threads_lengths_and_depths_are_sieved(self):
        trace = self.capture()
        self.check(trace, "--thread", "worker-[12]", thread="worker-[12]")
        self.check(trace, "--exclude=*.node", takes=lambda name, src: name != "__main__.node")
        self.check(trace, "--exclude=asyncio*", "--include=asyncio.runners",
                   takes=lambda name, src: not name.startswith("asyncio") or name.startswith("asyncio.runners."))
        self.check(trace, "--include=*/app.py", "--exclude=__main__.leaf",
                   takes=lambda name, src: "/app.py:" in src and name != "__main__.leaf")
        self.check(trace, "--max-depth=3", deepest=3)
        self.check(trace, "--max-depth=2", "--include=__main__", takes=lambda name, src: name.startswith("__main__."),
                   deepest=2)
        # Lengths that many slices have, to the nanosecond, are no good ones.
        lengths = sorted({one.end - one.begin for one in trace.slices})
        minimum = next(a + 2 for a, b in zip(lengths[len(lengths) // 2:], lengths[len(lengths) // 2 + 1:]) if b - a > 4)
        self.check(trace, f"--min-duration={minimum}ns", minimum=minimum)
        for begin, end in self.windows(trace, 4):
            self.check(trace, f"--from={begin}ns", f"--to={end}ns", f"--min-duration={minimum}ns", "--max-depth=6",
                       "--exclude=asyncio.*", "--thread=MainThread", "--thread=worker-1", begin=begin, end=end,
                       thread="[Mw][ao][ir][nk][Te]*[d1]", minimum=minimum, deepest=6,
                       takes=lambda name, src: not name.startswith("asyncio."))

    def test_all_formats_show_the_same(self):
        trace = self.capture()
        begin, end = max(self.windows(trace, 8), key=lambda window: window[1] - window[0])
        shown, _ = sieve(trace, begin, end, deepest=5)
        calls = collections.Counter(kept.one.function.name for kept in sum(shown.values(), []))
        options = f"--from={begin}ns", f"--to={end}ns", "--max-depth=5", "-q"
        top = e2e.run([e2e.CONVERT, self.path("run.pnr"), "--top", "--json", *options])
        self.assertEqual((top.status, top.err), (0, ""))
        found = collections.Counter()
        for function in json.loads(top.out)["functions"]:
            found[function["name"]] += function["calls"]
        self.assertEqual(found, calls)
        for name in "run.folded", "run.pstats":
            finished = e2e.run([e2e.CONVERT, self.path("run.pnr"), "-o", self.path(name), *options])
            self.assertEqual((finished.status, finished.err), (0, ""))
        with open(self.path("run.folded"), encoding="utf-8") as file:
            total = sum(int(line.rpartition(" ")[2]) for line in file)
        outermost = sum(kept.end - kept.begin for kept in sum(shown.values(), []) if not kept.parent)
        self.assertAlmostEqual(total * 1000, outermost, delta=outermost * 0.02 + 1e6)

    def test_processes_are_chosen(self):
        self.record("""
            import os
            def parent(): return 1
            def child(): return 2
            if os.fork() == 0:
                child()
                os._exit(0)
            os.wait()
            parent()
        """)
        for options, has, hasnt in ((["--process=*(fork)"], "child", "parent"),
                                    (["--process=*app.py"], "parent", "child"),
                                    (["--process=*app.py*"], "parent", "nobody")):
            trace = self.trace_of(*options)
            names = set(trace.count())
            self.assertTrue(any(name.endswith(has) for name in names), (options, names))
            self.assertFalse(any(name.endswith(hasnt) for name in names), (options, names))
        pid, = (pid for pid, name in self.trace_of().processes.items() if "fork" in name)
        self.assertEqual(list(self.trace_of(f"--process={pid}").processes), [pid])

    def trace_of(self, *options):
        return e2e.Trace(e2e.convert(self.path("run.pnr"), *options))


@e2e.once
class Texts(e2e.EndToEnd):
    """How options are written, and which messages there are."""

    def run_convert(self, *options):
        return e2e.run([e2e.CONVERT, self.path("run.pnr"), "-o", self.path("out.trace"), *options],
                       env={"TZ": "Asia/Kolkata"})

    def test_wrong_ones_are_one_line(self):
        self.record("print(1)")
        os.unlink(self.path("run.trace"))
        for option in ("--from=soon", "--from=", "--to=-", "--to=1parsec", "--from=2026-02-30T08:00:00Z", "--from=8:61",
                       "--from=5", "--to=0", "--min-duration=5", "--min-duration=-5s", "--max-depth=0", "--max-depth=x",
                       "--include=", "--info", "--from=08:00:00+5", "--from=99999999999999999999"):
            options = ["--to=3"] if option == "--from=5" else ["--max-depth=1"] if option == "--info" else []
            with self.subTest(option):
                finished = self.run_convert(*options, option)
                self.assertEqual((finished.status, finished.out), (2, ""))
                self.assertRegex(finished.err, r"\Apanopticon-convert: [^\n]+\n\Z")
                self.assertEqual(os.listdir(self.directory).count("out.trace"), 0)

    def test_an_empty_result_is_reported(self):
        self.record("print(1)")
        finished = self.run_convert("--thread=nobody")
        self.assertEqual(finished.status, 0)
        self.assertRegex(finished.err, "nothing in the capture matches the selection: 0 slices, 0 flows, 0 threads")
        self.assertEqual(e2e.Trace(self.path("out.trace")).metadata, [])

    def test_the_clock_on_the_wall(self):
        """The same time, by the trace's clock, by the wall's in three zones, and from the end."""
        self.record("""
            import time
            def early(): time.sleep(0.05)
            def late(): time.sleep(0.05)
            early()
            time.sleep(0.3)
            late()
        """)
        with open(self.path("run.trace"), encoding="utf-8") as file:
            start = json.loads(file.read())["otherData"]["start"]
        late, = e2e.Trace(self.path("run.trace")).named("__main__.late")
        second, fraction = start.removesuffix("Z").split(".")
        ns = int(fraction.ljust(9, "0")) + late.begin - 10**8
        moment = datetime.datetime.fromisoformat(second + "+00:00") + datetime.timedelta(seconds=ns // 10**9)

        def wall(zone_s, text="%H:%M:%S"):
            zone = datetime.timezone(datetime.timedelta(seconds=zone_s))
            return f"{moment.astimezone(zone):{text}}.{ns % 10**9:09}"

        india, dated = 19800, "%Y-%m-%dT%H:%M:%S"
        for begin in (f"{late.begin - 10**8}ns", f"{(late.begin - 10**8) / 1e9:.6f}", wall(0) + "Z",
                      wall(0, dated) + "Z", wall(india, dated).replace("T", " ") + "+05:30", wall(india),
                      wall(-3600, dated) + "-01:00"):
            with self.subTest(begin):
                finished = self.run_convert("--from", begin)
                self.assertEqual(finished.status, 0, finished.err)
                found = e2e.Trace(self.path("out.trace"))
                self.assertEqual(len(found.named("__main__.late")), 1)
                self.assertEqual(len(found.named("__main__.early")), 0)
                begins = min(one.begin for one in found.slices)
                self.assertAlmostEqual(begins, late.begin - 10**8, delta=2000)


if __name__ == "__main__":
    unittest.main()
