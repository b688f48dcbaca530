"""Traces of both formats opened in the Perfetto UI, and read back from its engine's tables."""

import bisect
import collections
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import browser
import captures
import comparison
import perfetto
import viewer_case
from captures import HERE, ROOT
from comparison import Shown, Slice, Task, canonical

sys.path.append(str(ROOT / "tests/e2e"))
sys.path.append(str(ROOT / "tests/format"))
import ledger                   # noqa: E402
import conversion               # noqa: E402
import test_merge               # noqa: E402


def as_it_reads(text):
    """JSON: before v53 it decodes escapes only if one of them is that of a quotation mark."""
    if '"' in text:
        return text
    return re.sub(r"[\0-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", text.replace("\\", "\\\\"))


def signed(tid):
    """In a protobuf ids have 32 bits and a sign: those of greenlets are shown as negative."""
    return tid - 2**32 if tid >= 2**31 else tid


class PerfettoCase(viewer_case.ViewerCase):
    @classmethod
    def setUpClass(cls):
        cls.viewer = perfetto.Viewer(browser.shared())

    def show(self, path):
        self.viewer.open(path)
        args, sources = collections.defaultdict(dict), collections.defaultdict(dict)
        for number, key, text, integer, type in self.viewer.query(
                "select arg_set_id, key, string_value, int_value, value_type from args"):
            group, _, key = key.partition(".")
            if group in ("args", "debug"):
                args[number][key] = text if type == "string" else integer != 0
            elif group == "source":
                sources[number][key] = text if type == "string" else integer
        sources = {number: "{file_name}:{line_number}".format_map(source) for number, source in sources.items()
                   if "file_name" in source}
        rows = {row[0]: row for row in self.viewer.query("""
            select slice.id, slice.ts, slice.dur, slice.name, category, pid, tid, slice.arg_set_id, slice.parent_id
            from slice join thread_track on track_id = thread_track.id
            join thread using (utid) join process using (upid)
            """)}
        slices = {}
        for number, begin, duration, name, cat, pid, tid, arg_set, parent in rows.values():
            slices[number] = Slice(pid, tid, begin, begin + duration, name, cat, canonical(args[arg_set]),
                                   None if parent is None else (rows[parent][1], rows[parent][3]), sources.get(arg_set))
        arrows = collections.Counter()
        for origin, target, cat, name in self.viewer.query("""
                select slice_out, slice_in, extract_arg(arg_set_id, 'cat') as cat,
                extract_arg(arg_set_id, 'name') as name from flow"""):
            arrows[comparison.arrow(cat, name, slices[origin], slices[target])] += 1
        threads = {(pid, tid): (thread, process) for pid, tid, thread, process in self.viewer.query("""
            select pid, tid, thread.name, process.name from thread join process using (upid)
            where thread.name is not null and pid > 0""")}        # Perfetto adds a process 0 of its own
        warnings = [f"{name}: {value}" for name, value in self.viewer.query(
            "select name, value from stats where severity != 'info' and value > 0")]
        tasks, runs = {}, collections.defaultdict(list)
        for number, begin, duration, name, pid, arg_set, parent in self.viewer.query("""
                select slice.id, slice.ts, slice.dur, slice.name, pid, slice.arg_set_id, slice.parent_id
                from slice left join process_track on track_id = process_track.id left join process using (upid)
                where track_id not in (select id from thread_track) order by slice.ts"""):
            if parent is None:
                tasks[number] = Task(pid, begin, begin + duration, name, canonical(args[arg_set]),
                                     sources.get(arg_set), None)
            else:
                self.assertEqual(name, "[running]")
                runs[parent].append((begin, begin + duration))
        tasks = collections.Counter(task._replace(runs=tuple(runs[number])) for number, task in tasks.items())
        return Shown(list(slices.values()), arrows, threads, tasks, warnings)

    def test_tasks(self):
        for program in ROOT / "examples/demo.py", HERE / "programs/generators.py":
            trace = self.check(captures.recorded(program), "--tasks", "--flows=none", *viewer_case.OWN)
            self.assertTrue(trace.tasks)


@unittest.skipUnless(perfetto.FOLDER.is_dir(), "tests/viewers/run fetches Perfetto")
class Merged(unittest.TestCase):
    """Captures of two machines as one trace."""

    def test_requests(self):
        """An arrow from each client's span to that of the server with the same id, and each process under its host."""
        viewer = perfetto.Viewer(browser.shared())
        with tempfile.TemporaryDirectory() as folder:
            calls = [(test_merge.S + i * 10**7, test_merge.S + i * 10**7 + 5_000_000, f"id {i}") for i in range(9)]
            handles = [(begin + 10**6, end - 10**6, id) for begin, end, id in calls]
            for name, booted_ns, spans in ("web1", 10**9, calls), ("db1", 7 * 10**9, handles):
                test_merge.write_spans(pathlib.Path(folder, name), test_merge.Host(name, booted_ns), 0, spans)
            for suffix in ".trace", ".pftrace":
                path = f"{folder}/fleet{suffix}"
                subprocess.run([conversion.CONVERTER, "-q", f"{folder}/web1", f"{folder}/db1", "-o", path],
                               check=True, stderr=subprocess.DEVNULL)
                viewer.open(path)
                found = viewer.query("""
                    select source.ts, source.dur, source_process.name, target.ts, target.dur, target_process.name
                    from flow join slice source on slice_out = source.id join slice target on slice_in = target.id
                    join thread_track source_track on source.track_id = source_track.id
                    join thread source_thread on source_track.utid = source_thread.utid
                    join process source_process on source_thread.upid = source_process.upid
                    join thread_track target_track on target.track_id = target_track.id
                    join thread target_thread on target_track.utid = target_thread.utid
                    join process target_process on target_thread.upid = target_process.upid order by 1""")
                self.assertEqual([tuple(row) for row in found], [
                    (begin, end - begin, "web1: web1.py", own, own_end - own, "db1: db1.py")
                    for (begin, end, _), (own, own_end, _) in zip(calls, handles)])
                self.assertEqual(viewer.query("select count(*) from slice where name = 'request'"), [[18]])
                self.assertEqual(viewer.query("select name from stats where severity != 'info' and value > 0"), [])


@unittest.skipUnless(perfetto.FOLDER.is_dir(), "tests/viewers/run fetches Perfetto")
class PerfettoJson(PerfettoCase, unittest.TestCase):
    golden = ["asynchronous", "creations", "generators", "greenlets", "interleaved", "unrecorded_and_lost", "unusual_names",
              "opened", "paused", "processes", "tasks", "unfinished"]

    def expected(self, trace):
        slices = {each: each._replace(
            name=as_it_reads(each.name), src=None,
            parent=each.parent and (each.parent[0], as_it_reads(each.parent[1]))) for each in trace.slices}

        # Perfetto takes a slice as open until the next one of the thread begins. So a flow event belongs to the slice
        # that began last before it, whether that still runs or not.
        begun = collections.defaultdict(list)
        for each in trace.slices:       # in the order of begins
            begun[each.pid, each.tid].append(each)

        def bind(at, meant):
            thread = begun[meant.pid, meant.tid]
            return thread[bisect.bisect(thread, at, key=lambda each: each.begin) - 1]

        bound, arrows = trace.bound_arrows(bind), collections.Counter()
        self.assertLessEqual({cat for cat, *_ in bound - trace.arrows}, {"creation", "work"})
        for (cat, name, *ends), n in bound.items():
            arrows[cat, as_it_reads(name), *ends] += n
        return Shown(list(slices.values()), arrows,
                     {thread: tuple(map(as_it_reads, names)) for thread, names in trace.threads.items()},
                     collections.Counter(each._replace(pid=None, name=as_it_reads(each.name), src=None)
                                         for each in trace.tasks.elements()))


@unittest.skipUnless(perfetto.FOLDER.is_dir(), "tests/viewers/run fetches Perfetto")
class PerfettoProtobuf(PerfettoCase, unittest.TestCase):
    extension = ".pftrace"
    golden = ["greenlets", "unrecorded_and_lost", "unusual_names", "paused", "processes"]
    test_split = None                   # where it splits depends on the bytes of JSON


    def expected(self, trace):
        slices = [each._replace(tid=signed(each.tid), cat=None if each.cat == "python" else each.cat,
                                src=each.src and each.src.replace("\\", "/")) for each in trace.slices]
        return Shown(slices, trace.bound_arrows(lambda at, meant: meant._replace(tid=signed(meant.tid))),
                     {(pid, signed(tid)): names for (pid, tid), names in trace.threads.items()}, trace.tasks)


@unittest.skipUnless(perfetto.FOLDER.is_dir(), "tests/viewers/run fetches Perfetto")
@unittest.skipUnless(captures.has_budgets(), "there are no budgets on the recorded Python")
class Budgets(unittest.TestCase):
    """Of a recording with a budget it shows the windows, what recording has cost, and how much is muted."""

    def test_tracks(self):
        capture = captures.recorded(HERE / "programs/spreadsheet.py", "--max-overhead=1%")
        one, = ledger.read(capture.path)
        self.assertTrue(one.of("WINDOW"))
        viewer = perfetto.Viewer(browser.shared())
        for name in "budget.trace", "budget.pftrace":
            with self.subTest(name):
                viewer.open(capture.convert(name)[0])
                warnings = viewer.query("select name, value from stats where severity != 'info' and value > 0")
                self.assertEqual(warnings, [])
                windows = viewer.query("select ts, dur from slice where name = '[all functions recorded]' order by ts")
                self.assertEqual(len(windows), len(one.of("WINDOW")))
                self.assertTrue(all(duration > 0 for _, duration in windows))
                counters = collections.defaultdict(list)
                for track, value in viewer.query("""
                        select track.name, cast(value * 1000 as int) from counter join track on track.id = track_id
                        order by ts"""):
                    counters[re.sub(r" functions$", "", track)].append(value / 1000)
                muted = next(values for track, values in counters.items() if track.startswith("functions muted"))
                self.assertLessEqual(max(muted), len({entry.function for entry in one.of("MUTE", "MUTED")}))
                self.assertGreater(max(muted), 1)
                cost = [values for track, values in counters.items() if track.startswith("cost of recording")]
                self.assertTrue(cost)
                self.assertGreater(max(map(max, cost)), 0)

    def test_slow_calls(self):
        """What is worth seeing is there: each revision of the program, and what it called for long."""
        capture = captures.recorded(HERE / "programs/spreadsheet.py", "--max-overhead=1%")
        viewer = perfetto.Viewer(browser.shared())
        viewer.open(capture.convert("budget.pftrace")[0])
        counts = dict(viewer.query("""select name, count(*) from slice where name in
            ('__main__.load', '__main__.recompute', '__main__.save') and dur > 25000000 group by name"""))
        self.assertEqual(counts.get("__main__.save"), 12)


if __name__ == "__main__":
    unittest.main()
