"""Several captures as one trace: specs/trace-mapping.md, section 15. The captures are made here, of hosts whose clocks are
wrong by a known amount."""

import json
import random
import re
import shutil
import subprocess
import unittest
from collections import defaultdict

import conversion
import perfetto_reader
from capture_writer import LABEL, START_REALTIME_NS, Capture, Clock, call, remark, return_, span_end

MS = 10**6
S = 10**9


def trace_id(n):
    return f"{n:032x}"


class Host:
    """A machine. error_ns: how far its wall clock is ahead. booted_ns: what CLOCK_MONOTONIC is at the true time 0."""

    def __init__(self, name, booted_ns, error_ns=0):
        self.name, self.booted_ns, self.error_ns = name, booted_ns, error_ns

    def clock(self, start_ns):
        """That of a process which begins at a true time."""
        return Clock(start_ticks=self.booted_ns + start_ns, start_monotonic_ns=self.booted_ns + start_ns)

    def properties(self, start_ns, boot=True):
        return {"start_realtime_ns": START_REALTIME_NS + start_ns + self.error_ns, "host": self.name,
                "boot_id": f"boot of {self.name}" if boot else None}


def write_spans(path, host, start_ns, spans, pid=7, key="trace_id", label="request", instants=(), boot=True, capture=None):
    """Write a process that reports spans: [(true begin, true end, id)], one after another, and instants [(name, true time)]."""
    def write(capture):
        process = capture.process(pid, clock=host.clock(start_ns), command=f"{host.name}.py",
                                  **host.properties(start_ns, boot))
        main = process.function("__main__", "main", "app.py", 1)
        request = process.function("", label, "", 0, kind=LABEL)
        records = [(start_ns + 5, [call(5, main)])]
        for begin, end, number in spans:
            records.append((begin, remark("SPAN", begin - start_ns, request, (key, number))))
            records.append((end, [span_end(end - start_ns, request)]))
        for name, at in instants:
            number = process.function("", name, "", 0, kind=LABEL)
            records.append((at, remark("INSTANT", at - start_ns, number, (key, "ab"))))
        records.sort(key=lambda one: one[0])
        end = max(at for at, _ in records) + 100 - start_ns
        flat = [record for _, group in records for record in group]
        process.thread(1, pid * 1000, "MainThread").block([*flat, return_(end, main)])
        process.end(end + 10)
    if capture:
        write(capture)
        return
    with Capture(path) as capture:
        write(capture)


class Merge(conversion.CaptureCase):
    def convert(self, *words, status=0):
        done = subprocess.run([conversion.CONVERTER, "-o", "-", *words], cwd=self.folder, capture_output=True, timeout=60)
        self.assertEqual(done.returncode, status, done.stderr.decode())
        self.err = done.stderr.decode()
        return done.stdout

    def events(self, *words, status=0):
        trace = json.loads(self.convert(*words, status=status))
        self.zero_ns = int(trace.get("otherData", {}).get("start_realtime_ns", 0))
        return trace["traceEvents"]

    @staticmethod
    def ns(event):
        return round(event["ts"] * 1000)

    def spans_of(self, events, name="request"):
        """Begin and end of each span, by the name of its process and its id."""
        names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
        return {(names[event["pid"]], next(iter(event["args"].values()))):
                (self.ns(event), self.ns(event) + round(event["dur"] * 1000))
                for event in events if event["ph"] == "X" and event["name"] == name}

    def write_requests(self, error_ns, n=40, seed=1, early=False):
        """A client on a host, whose requests a server on another host handles. Returns the true delays on the ways."""
        choice = random.Random(seed)
        calls, handles = [], []
        for i in range(n):
            begin, way, work, back = i * 10 * MS + S, *(choice.randrange(MS // 10, MS) for _ in range(3))
            calls.append((begin, begin + way + work + back, trace_id(i + 1)))
            handles.append((begin + way, begin + way + work, trace_id(i + 1)))
        write_spans(self.folder / "a.pnr", Host("a", 100 * S), 0, calls)
        write_spans(self.folder / "b.pnr", Host("b", 7000 * S, error_ns), S // 2, handles)
        return calls, handles

    def test_wall(self):
        """Times are those of the wall clocks, and the offset that they have is shown."""
        calls, handles = self.write_requests(error_ns=3 * MS)
        spans = self.spans_of(self.events("a.pnr", "b.pnr"))
        self.assertEqual(spans, {**{("a: a.py", id): (begin, end) for begin, end, id in calls},
                                 **{("b: b.py", id): (begin + 3 * MS, end + 3 * MS) for begin, end, id in handles}})
        low = max(begin - own for (begin, _, _), (own, _, _) in zip(calls, handles)) - 3 * MS
        high = min(end - own for (_, end, _), (_, own, _) in zip(calls, handles)) - 3 * MS
        found = re.search(r"b.pnr: its clock is ([\d.]+) ms ahead of that of a.pnr, with an error of at most ([\d.]+) ms "
                          r"if each request is handled within its call, by 40 of 40 ids that both have: not corrected\n", self.err)
        self.assertAlmostEqual(float(found[1]), -(low + high) / 2e6, 5)
        self.assertAlmostEqual(float(found[2]), (high - low) / 2e6, 5)
        self.assertLessEqual(abs(float(found[1]) - 3), float(found[2]))

    def test_ids(self):
        """Whatever the clock's error is: each request is handled within its call, and the error is as large as reported."""
        for error_ns in (0, 1, -250_000, 40 * MS, -3600 * S):
            with self.subTest(error_ns):
                for name in "a.pnr", "b.pnr":
                    shutil.rmtree(self.folder / name, ignore_errors=True)
                calls, handles = self.write_requests(error_ns, seed=error_ns)
                spans = self.spans_of(self.events("a.pnr", "b.pnr", "--align", "ids"))
                shifts = set()
                for (begin, end, id), (own, own_end, _) in zip(calls, handles):
                    outer, inner = spans["a: a.py", id], spans["b: b.py", id]
                    self.assertTrue(outer[0] <= inner[0] and inner[1] <= outer[1], (outer, inner))
                    shifts.add((inner[0] - outer[0]) - (own - begin))
                shift, = shifts                     # one for all
                error_ms = float(re.search(r"error of at most ([\d.]+) ms if .*, by 40 of 40 ids .*: corrected\n", self.err)[1])
                self.assertLessEqual(abs(shift), error_ms * MS + 1)

    def test_outliers(self):
        """Some servers go on after the answer. What most ids say is right."""
        calls, handles = self.write_requests(error_ns=5 * MS)
        handles[7] = (handles[7][0], calls[7][1] + 2 * MS, handles[7][2])
        shutil.rmtree(self.folder / "b.pnr")
        write_spans(self.folder / "b.pnr", Host("b", 7000 * S, 5 * MS), S // 2, handles)
        spans = self.spans_of(self.events("a.pnr", "b.pnr", "--align=ids"))
        self.assertRegex(self.err, "by (39|40) of 40 ids")
        for i, (_, _, id) in enumerate(calls):
            outer, inner = spans["a: a.py", id], spans["b: b.py", id]
            self.assertTrue(i == 7 or outer[0] <= inner[0] and inner[1] <= outer[1], (i, outer, inner))

    def test_next(self):
        """The third host has ids in common with the second only. The fourth has none."""
        way = MS // 4
        def nested(k):
            return [(S + i * 10 * MS + k * way, S + i * 10 * MS + 5 * MS - k * way, trace_id(i + 1)) for i in range(9)]
        write_spans(self.folder / "a.pnr", Host("a", 1 * S), 0, nested(0))
        both = [(begin, end, f"{id[:-2]}ff") for begin, end, id in nested(1)]
        with Capture(self.folder / "b.pnr") as capture:
            write_spans(None, Host("b", 2 * S, 90 * MS), 0, nested(1), capture=capture)
            write_spans(None, Host("b", 2 * S, 90 * MS), 0, [(b, e, "x" + i) for b, e, i in nested(1)], pid=8, capture=capture)
        write_spans(self.folder / "c.pnr", Host("c", 3 * S, -40 * MS), 0, [(b, e, "x" + i) for b, e, i in nested(2)])
        write_spans(self.folder / "d.pnr", Host("d", 4 * S, 20 * MS), 0, [(S, 2 * S, "alone")])
        self.assertTrue(both)
        spans = self.spans_of(self.events("a.pnr", "b.pnr", "c.pnr", "d.pnr", "--align=ids"))
        for _, _, id in nested(0):
            for outer, inner in ((("a: a.py", id), ("b: b.py", id)), (("b: b.py", "x" + id), ("c: c.py", "x" + id))):
                self.assertTrue(spans[outer][0] <= spans[inner][0] and spans[inner][1] <= spans[outer][1])
        self.assertEqual(spans["d: d.py", "alone"], (S + 20 * MS, 2 * S + 20 * MS))
        self.assertIn("d.pnr: no id is in the others, too: aligned by the wall clock\n", self.err)

    def test_keys(self):
        """request_id, also as an integer; the trace id in traceparent."""
        host = Host("b", 7 * S, 10 * MS)
        for ours, theirs, key, other in ((17, "17", "request_id", "request_id"),
                                         (trace_id(3), f"00-{trace_id(3)}-00f067aa0ba902b7-01", "trace_id", "traceparent")):
            for name in "a.pnr", "b.pnr":
                shutil.rmtree(self.folder / name, ignore_errors=True)
            write_spans(self.folder / "a.pnr", Host("a", S), 0, [(S, S + 5 * MS, ours)], key=key)
            write_spans(self.folder / "b.pnr", host, 0, [(S + MS, S + 4 * MS, theirs)], key=other)
            self.convert("a.pnr", "b.pnr", "--align=ids")
            self.assertIn("b.pnr: its clock is 10.000000 ms ahead of that of a.pnr, with an error of at most 1.000000 ms "
                          "if each request is handled within its call, by 1 of 1 ids that both have: corrected\n", self.err)

    def test_flows(self):
        """An arrow from client to server for each id, in both formats; none for ids that one process has alone."""
        calls, _ = self.write_requests(error_ns=0, n=5)
        with Capture(self.folder / "c.pnr") as capture:
            write_spans(None, Host("c", S), 0, [(S, S + MS, "own"), (S + 2 * MS, S + 3 * MS, "own")], capture=capture)
        events = self.events("a.pnr", "b.pnr", "c.pnr")
        flows = defaultdict(list)
        for event in events:
            if event["ph"] in "stf":
                flows[event["id"], event["name"], event["cat"]].append(event)
        self.assertEqual(len(flows), 5)
        inside = []
        for steps in flows.values():
            self.assertEqual([step["ph"] for step in sorted(steps, key=self.ns)], ["s", "f"])
            for step in steps:
                inside.append(next(event["args"]["trace_id"] for event in events if event["ph"] == "X" and
                                   event["name"] == "request" and event["pid"] == step["pid"] and
                                   self.ns(event) <= self.ns(step) <= self.ns(event) + event["dur"] * 1000))
        self.assertEqual(sorted(inside), sorted([id for _, _, id in calls] * 2))
        found = perfetto_reader.read(self.convert("a.pnr", "b.pnr", "c.pnr", "--format=perfetto"))
        expected = perfetto_reader.json_events(self.convert("a.pnr", "b.pnr", "c.pnr"))
        for name, value in vars(expected).items():
            self.assertEqual(getattr(found, name), value, name)
        self.assertFalse([event for event in self.events("a.pnr", "b.pnr", "--flows=none") if event["ph"] in "stf"])

    def test_label(self):
        write_spans(self.folder / "a.pnr", Host("a", S), 0, [], instants=[("ready", 3 * S), ("ready", 4 * S)])
        write_spans(self.folder / "b.pnr", Host("b", 9 * S), S, [], instants=[("ready", 5 * S + 17)])
        events = self.events("a.pnr", "b.pnr", "--align=mark:ready")
        ready = sorted((self.ns(event), event["pid"]) for event in events if event["name"] == "ready")
        self.assertEqual([ns for ns, _ in ready], [ready[0][0]] * 2 + [ready[0][0] + S])
        self.assertEqual(len({pid for _, pid in ready[:2]}), 2)
        write_spans(self.folder / "c.pnr", Host("c", 9 * S), S, [], instants=[("other", 5 * S + 17)])
        self.convert("a.pnr", "c.pnr", "--align=mark:ready", status=2)
        self.assertIn("c.pnr: no instant and no span is called ready\n", self.err)
        self.convert("a.pnr", "--align=mark:ready")         # of one capture nothing is aligned

    def test_start(self):
        """Two runs on one host, one after the other."""
        host = Host("a", S)
        write_spans(self.folder / "before.pnr", host, 0, [(S, 2 * S, "x")])
        write_spans(self.folder / "after.pnr", host, 100 * S, [(101 * S, 103 * S, "x")], pid=7)
        spans = self.spans_of(self.events("before.pnr", "after.pnr", "--align=start"))
        self.assertEqual(spans, {("before.pnr: a.py", "x"): (S, 2 * S), ("after.pnr: a.py", "x"): (S, 3 * S)})
        spans = self.spans_of(self.events("before.pnr", "after.pnr"))
        self.assertEqual(spans, {("before.pnr: a.py", "x"): (S, 2 * S), ("after.pnr: a.py", "x"): (101 * S, 103 * S)})

    def test_group(self):
        """Names that are given, for as many captures as there are names."""
        write_spans(self.folder / "a.pnr", Host("a", S), 0, [(S, 2 * S, "x")])
        write_spans(self.folder / "b.pnr", Host("b", S), 0, [(S, 3 * S, "x")])
        for options, names in (([], {"a", "b"}), (["--group=one"], {"one", "b"}), (["--group=b", "--group", "c"], {"b", "c"})):
            spans = self.spans_of(self.events("a.pnr", "b.pnr", *options))
            self.assertEqual({name.split(": ")[0] for name, _ in spans}, names)
        self.convert("a.pnr", "b.pnr", *["--group=x"] * 1001, status=2)

    def test_one_boot(self):
        """Captures of one boot are as they are: the wall clock may have been set meanwhile."""
        write_spans(self.folder / "a.pnr", Host("a", S), 0, [(S, 2 * S, "x")])
        write_spans(self.folder / "b.pnr", Host("a", S, error_ns=50 * S), 100 * S, [(101 * S, 103 * S, "x")])
        self.assertEqual(self.spans_of(self.events("a.pnr", "b.pnr"))["b.pnr: a.py", "x"], (101 * S, 103 * S))
        for name in "a.pnr", "b.pnr":
            shutil.rmtree(self.folder / name)
        write_spans(self.folder / "a.pnr", Host("a", S), 0, [(S, 2 * S, "x")], boot=False)
        write_spans(self.folder / "b.pnr", Host("b", S, error_ns=50 * S), 100 * S, [(101 * S, 103 * S, "x")], boot=False)
        self.assertEqual(self.spans_of(self.events("a.pnr", "b.pnr"))["b: b.py", "x"], (151 * S, 153 * S))

    def test_parts(self):
        """A capture that is missing, or something else, is reported; the rest goes on."""
        write_spans(self.folder / "a.pnr", Host("a", S), 0, [(S, 2 * S, "x")])
        (self.folder / "none.pnr").write_text("x")
        write_spans(self.folder / "b.pnr", Host("b", S), 0, [(S, 2 * S, "x")], label="other")
        spans = self.spans_of(self.events("a.pnr", "missing.pnr", "none.pnr", "b.pnr", status=1))
        self.assertEqual(list(spans), [("a: a.py", "x")])
        self.assertRegex(self.err, r"(?s)missing\.pnr.*none\.pnr")
        self.convert("missing.pnr", "none.pnr", status=2)
        done = subprocess.run([conversion.CONVERTER, "a.pnr", "b.pnr"], cwd=self.folder, capture_output=True)
        self.assertEqual((done.returncode, done.stderr), (
            2, b"panopticon-convert: several captures become one file: give it a name with -o\n"))
        self.convert("a.pnr", "b.pnr", "--align=nothing", status=2)

    def test_other_outputs(self):
        """The calls of all captures are added up."""
        self.write_requests(error_ns=0)
        top = {row["name"]: row for row in json.loads(self.convert("a.pnr", "b.pnr", "--top", "--json"))["functions"]}
        self.assertEqual(sum(row["calls"] for row in top.values()), 82)
        folded = self.convert("a.pnr", "b.pnr", "--format=folded").decode()
        self.assertEqual({line.split(";")[0] for line in folded.splitlines()}, {"a: a.py", "b: b.py"})
        done = subprocess.run([conversion.CONVERTER, "--info", "a.pnr", "b.pnr"], cwd=self.folder, capture_output=True)
        self.assertTrue(done.stdout.startswith(b"2 captures: 2 processes\n"), done.stdout)
        done = subprocess.run([conversion.CONVERTER, "--verify", "a.pnr", "b.pnr"], cwd=self.folder, capture_output=True)
        self.assertRegex(done.stdout, rb"^2 captures: 2 processes, 2 threads, .* all whole\n$")


if __name__ == "__main__":
    unittest.main()
