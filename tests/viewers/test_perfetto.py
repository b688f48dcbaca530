"""Traces opened in the Perfetto UI, and read back from its engine's tables. Two things that this version (v52) does are taken
for granted here, see `as_it_reads` and `expected`."""

import bisect
import collections
import json
import re
import unittest

import browser
import comparison
import perfetto
import viewer_case
from comparison import Shown, Slice, canonical


def as_it_reads(text):
    """It takes escapes for what they are only where one of them is that of a quotation mark: v53 reads all of them right."""
    if '"' in text:
        return text
    return re.sub(r"[\0-\x1f]", lambda found: f"\\u{ord(found[0]):04x}", text.replace("\\", "\\\\"))


@unittest.skipUnless(perfetto.FOLDER.is_dir(), "tests/viewers/run fetches Perfetto")
class Perfetto(viewer_case.ViewerCase, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.viewer = perfetto.Viewer(browser.shared())

    def expected(self, trace):
        slices = {each: each._replace(
            name=as_it_reads(each.name), cat=as_it_reads(each.cat),
            args=canonical({key: as_it_reads(value) if key == "src" else value
                            for key, value in json.loads(each.args).items()}),
            parent=each.parent and (each.parent[0], as_it_reads(each.parent[1]))) for each in trace.slices}

        # Slices that have ended are open to it until the next one of the thread begins: so a point belongs to the slice that
        # began last before it, whether that still runs or not.
        begun = collections.defaultdict(list)
        for each in trace.slices:       # in the order of begins
            begun[each.pid, each.tid].append(each)
        chains = []
        for chain in trace.chains:
            chains.append([])
            for at, _, meant in chain:
                thread = begun[meant.pid, meant.tid]
                chains[-1].append(slices[thread[bisect.bisect(thread, at, key=lambda each: each.begin) - 1]])
        return Shown(list(slices.values()), comparison.arrows(chains),
                     {thread: tuple(map(as_it_reads, names)) for thread, names in trace.threads.items()})

    def show(self, path):
        self.viewer.open(path)
        args = collections.defaultdict(dict)
        for number, key, text, integer, type in self.viewer.query(
                "select arg_set_id, key, string_value, int_value, value_type from args"):
            args[number][key.partition(".")[2]] = text if type == "string" else integer != 0
        rows = {row[0]: row for row in self.viewer.query("""
            select slice.id, slice.ts, slice.dur, slice.name, category, pid, tid, slice.arg_set_id, slice.parent_id
            from slice join thread_track on track_id = thread_track.id join thread using (utid) join process using (upid)
            """)}
        slices = {}
        for number, begin, duration, name, cat, pid, tid, arg_set, parent in rows.values():
            slices[number] = Slice(pid, tid, begin, begin + duration, name, cat, canonical(args[arg_set]),
                                   None if parent is None else (rows[parent][1], rows[parent][3]))
        arrows = collections.Counter()
        for origin, target in self.viewer.query("select slice_out, slice_in from flow"):
            arrows[comparison.arrow(slices[origin], slices[target])] += 1
        threads = {(pid, tid): (thread, process) for pid, tid, thread, process in self.viewer.query(
            "select pid, tid, thread.name, process.name from thread join process using (upid)"
            " where thread.name is not null")}          # nobody named process 0, which it always has
        warnings = [f"{name}: {value}" for name, value in self.viewer.query(
            "select name, value from stats where severity != 'info' and value > 0")]
        (n,), = self.viewer.query("select count(*) from slice")
        if n != len(slices):
            warnings.append(f"{n - len(slices)} slices on other tracks than those of threads")
        return Shown(list(slices.values()), arrows, threads, warnings)


if __name__ == "__main__":
    unittest.main()
