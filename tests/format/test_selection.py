"""What options choose of captures that are made here: specs/trace-mapping.md, section 9."""

import json
import os
import random
import subprocess
import tempfile
import unittest
from collections import defaultdict
from pathlib import Path

import conversion
from capture_writer import (BLOCK_RECORDS, COROUTINE, DEEPER, GENERATOR, LAST, RESYNC, SWITCH_OPEN, Capture, c_call,
                            c_return, call, create, encode_block_header, encode_skippable, finish, lost, open_, resume,
                            return_, start, switch, yield_)

FLAGS = {"exception": "e", "unfinished": "u", "begin_unknown": "o", "exit_missing": "l", "cut": "c"}


def nanoseconds(text):
    whole, _, part = text.partition(".")
    return int(whole) * 1000 + int(part)


def convert(capture, *options):
    return subprocess.run([conversion.CONVERTER, "-q", capture, "-o", "-", *options], capture_output=True, text=True,
                          timeout=60)


def events(run):
    return json.loads(run.stdout, parse_float=nanoseconds)["traceEvents"]


def reported(run):
    """Returns the trace as words, in the order of time: name[begin,end]flags, instant@time, phase and id@time. Phases
    of creations are capital letters; those of tasks are b(egin), r(esume), w(ait) and e(nd)flags. Events of a thread
    other than the one with the lowest id begin with the difference of the ids."""
    words, found = [], [event for event in events(run) if event["ph"] != "M"]
    lowest = min((event["tid"] for event in found), default=0)
    for event in found:
        where = f"{event['tid'] - lowest}/" if event["tid"] > lowest else ""
        name, ts = event["name"].removeprefix("m."), event["ts"]
        if event["ph"] == "X":
            flags = "".join(letter for flag, letter in FLAGS.items() if flag in event.get("args", ()))
            words.append((event["tid"], ts, f"{where}{name}[{ts},{ts + event['dur']}]{flags}"))
        elif event["ph"] == "i":
            words.append((event["tid"], ts, f"{where}{name}@{ts}"))
        else:
            phase = event["ph"]
            if event["cat"] == "creation":
                phase = phase.upper()
            elif name == "[running]":
                phase = {"b": "r", "e": "w"}[phase]
            flags = "".join(FLAGS.get(arg, "") for arg in event.get("args", {}))
            words.append((event["tid"], ts, f"{where}{phase}{event['id']}@{ts}{flags}"))
    return " ".join(word for *_, word in sorted(words, key=lambda word: word[:2]))


class Test(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "run.pnr"

    def make(self, fill, **properties):
        """fill(process, thread, f, g, h, gen)"""
        with Capture(self.path) as capture:
            process = capture.process(7, **properties)
            names = [process.function("m", name, "m.py", i + 1) for i, name in enumerate("fgh")]
            names.append(process.function("m", "gen", "m.py", 9, GENERATOR))
            fill(process, process.thread(1, 7001, "MainThread"), *names)

    def expect(self, *cases):
        for options, words in cases:
            with self.subTest(options):
                run = convert(self.path, *options.split())
                self.assertEqual((run.returncode, run.stderr), (0, ""))
                self.assertEqual(reported(run), words)

    def whole(self):
        return reported(convert(self.path))


class Window(Test):
    def nested(self, process, thread, f, g, h, gen):
        thread.block([call(1000, f), call(2000, g), call(3000, h), return_(4000, h)], end=5000)
        thread.block([open_(f), open_(g), call(6000, h), return_(7000, h), return_(8000, g)], begin=5000, end=9000)
        thread.block([open_(f), call(10_000, g), return_(11_000, g), return_(12_000, f)], begin=9000, end=13_000)
        process.end(20_000)

    def test_begins_and_ends(self):
        self.make(self.nested)
        self.expect(
            ("--from=0", self.whole()),
            ("--from=2500ns --to=3500ns", "f[2500,3502]c g[2501,3501]c h[3000,3500]c"),
            # at a block's begin, and next to it; what is open there is no longer `begin_unknown`
            ("--from=5000ns --to=6500ns", "f[5000,6502]c g[5001,6501]c h[6000,6500]c"),
            ("--from=4999ns --to=5001ns", "f[4999,5002]c g[5000,5001]c"),
            ("--from=9us --to=10us", "f[9000,10000]c"),
            ("--from=9500ns", "f[9500,12000]c g[10000,11000]"),
            # an entry at `to` is not inside, one at `from` is
            ("--from=2us --to=3us", "f[2000,3001]c g[2001,3000]c"),
            ("--from=6us --to=7us", "f[6000,7002]c g[6001,7001]c h[6002,7000]c"),
            # before anything, after everything
            ("--to=1000ns", ""),
            ("--to=1500ns", "f[1000,1500]c"),
            ("--from=12000ns", "f[12000,12001]c"),          # left then
            ("--from=12001ns", ""),
            ("--from=15us", ""),
            ("--from=-8500ns", "f[11500,12000]c"),
            ("--from=20s", ""),
            ("--to=20s", self.whole()),
        )

    def test_no_window(self):
        self.make(self.nested)
        for options, words in (["--to=0"], "--to is not after the start of the trace"), \
                              (["--from=-5s", "--to=-4s"], "--to is not after the start of the trace"), \
                              (["--from=2us", "--to=1us"], "--from is not before --to"):
            run = convert(self.path, *options)
            self.assertEqual((run.returncode, run.stdout), (2, ""))
            self.assertEqual(run.stderr, f"panopticon-convert: {self.path}: {words}\n")

    def test_what_is_unfinished(self):
        def fill(process, thread, f, g, h, gen):
            thread.block([call(1000, f), call(2000, g)], end=3000)
            other = process.thread(2, 7002, "Other")
            other.block([call(1000, h), call(1500, f)], end=4000, flags=LAST)
            process.end(20_000)
        self.make(fill)
        self.expect(
            ("--from=2500ns", "f[2500,20001]uc g[2501,20000]uc 1/h[2500,4001]uc 1/f[2501,4000]uc"),
            # its thread had ended, however the stack looked
            ("--from=4000ns", "f[4000,20001]uc g[4001,20000]uc"),
            ("--from=10us --to=11us", "f[10000,11001]c g[10001,11000]c"),
            # a thread's end, though not its last record, is inside; or it is after
            ("--from=3500ns", "f[3500,20001]uc g[3501,20000]uc 1/h[3500,4001]uc 1/f[3501,4000]uc"),
            ("--from=3000ns --to=3900ns",
             "f[3000,3901]c g[3001,3900]c 1/h[3000,3901]c 1/f[3001,3900]c"),
        )

    def test_flows(self):
        def fill(process, thread, f, g, h, gen):
            thread.block([start(1000, gen, 77), yield_(1500, gen, 77), resume(2000, gen, 77), yield_(2500, gen, 77)],
                         end=2600)
            thread.block([resume(3000, gen, 77), yield_(3500, gen, 77), resume(4000, gen, 77), finish(4500, gen, 77),
                          create(4600, gen, 77), start(5000, gen, 77), yield_(5500, gen, 77),
                          resume(6000, gen, 77), finish(6500, gen, 77)], begin=2600, end=7000)
            process.end(7000)
        self.make(fill)
        one, two, three, four = "gen[1000,1500] gen[2000,2500] gen[3000,3500] gen[4000,4500]".split()
        self.expect(
            ("--to=1600ns", one),                           # one slice has no flow
            ("--to=2600ns", f"{one} s1@1001 {two} f1@2001"),
            ("--from=1700ns --to=4700ns", f"{two} s1@2001 {three} t1@3001 {four} f1@4001"),
            ("--from=2200ns --to=3200ns", "gen[2200,2500]c s1@2201 gen[3000,3200]c f1@3001"),
            ("--from=4200ns", "gen[4200,4500]c gen[5000,5500] s1@5001 gen[6000,6500] f1@6001"),
            ("--from=3600ns --to=5600ns", f"{four} gen[5000,5500]"),
        )

    def test_flows_between_threads(self):
        def fill(process, thread, f, g, h, gen):
            other = process.thread(2, 7002, "Other")
            thread.block([start(1000, gen, 77), yield_(1500, gen, 77), resume(3000, gen, 77), yield_(3500, gen, 77)])
            other.block([resume(2000, gen, 77), yield_(2500, gen, 77), resume(4000, gen, 77), finish(4500, gen, 77),
                         start(5000, gen, 77), yield_(5100, gen, 77)])
            thread.block([resume(6000, gen, 77), finish(6500, gen, 77)])
            process.end(7000)
        self.make(fill)
        self.expect(
            ("--from=1700ns --to=3200ns", "gen[3000,3200]c f1@3001 1/gen[2000,2500] 1/s1@2001"),
            # the last one is another generator of the same function, which only the thread that is not read has
            ("--thread=MainThread", "gen[1000,1500] s1@1001 gen[3000,3500] t1@3001 gen[6000,6500] f1@6001"),
            ("--thread=7002", "gen[2000,2500] s1@2001 gen[4000,4500] f1@4001 gen[5000,5100]"),
        )

    def test_flows_that_the_same_address_does_not_join(self):
        """Another generator came to the address in a thread that is not read: of another function; or begun, or made,
        in the thread that is read."""
        def fill(process, thread, f, g, h, gen):
            other, another = process.thread(2, 7002, "Other"), process.function("m", "another", "s.py", 7, GENERATOR)
            thread.block([start(1000, gen, 77), yield_(1500, gen, 77)])
            other.block([resume(1600, gen, 77), finish(1700, gen, 77), start(1800, another, 77), yield_(1900, another, 77)])
            thread.block([resume(2000, another, 77), yield_(2100, another, 77)])
            other.block([resume(2200, another, 77), finish(2300, another, 77)])
            thread.block([start(3000, another, 77), yield_(3100, another, 77)])
            other.block([resume(3200, another, 77), finish(3300, another, 77)])
            thread.block([create(4000, another, 77)])
            other.block([start(4100, another, 77), yield_(4200, another, 77)])
            thread.block([resume(4300, another, 77), yield_(4400, another, 77)])
            process.end(7000)
        self.make(fill)
        self.expect(("--thread=MainThread", "gen[1000,1500] another[2000,2100] another[3000,3100] another[4300,4400]"))

    def test_files_of_other_threads_are_not_read(self):
        """So nothing is reported of them. An id is that in the whole trace."""
        def fill(process, thread, f, g, h, gen):
            ids = {2: 7002, 3: 7003, 4: 7001, 5: 7001}          # two have the id of the first one
            others = [process.thread(number, tid, f"Other-{number}") for number, tid in ids.items()]
            for k, other in enumerate([thread, *others]):
                other.block([call(1000 + 10 * k, f), return_(1005 + 10 * k, f)], flags=LAST, is_short=k == 2)
            process.end(2000)
        self.make(fill)
        file = self.path / "process-7/segment-1/thread-2.zst"
        file.unlink()
        file.mkdir()
        self.expect(("--thread=Other-3", "f[1020,1025]"), ("--thread=Other-5", "f[1040,1045]"),
                    (f"--thread={7001 + 2**22}", "f[1030,1035]"), (f"--thread={7001 + 2 * 2**22}", "f[1040,1045]"),
                    ("--thread=7001", f"f[1000,1005] {2**22}/f[1030,1035] {2 * 2**22}/f[1040,1045]"),
                    ("--thread=nobody", ""), ("--process=8", ""))
        self.assertEqual(convert(self.path, "--thread=7002").returncode, 1)
        self.assertEqual(convert(self.path, "--process=7").returncode, 1)

    def test_a_greenlet_brings_the_file_of_its_thread(self):
        def fill(process, thread, f, g, h, gen):
            other, one = process.thread(2, 7002, "Other"), process.track(3, 7002, "one")
            thread.block([call(1000, f), return_(1100, f)])
            other.block([call(1000, f), switch(2000, one, SWITCH_OPEN), call(2100, g), return_(2200, g)])
            process.end(3000)
        self.make(fill)
        (self.path / "process-7/segment-1/thread-1.zst").write_bytes(b"junk")
        self.expect(("--thread=one", "g[2100,2200]"), (f"--thread={2**31 + 3}", "g[2100,2200]"),
                    ("--thread=Other", "f[1000,3000]u"))

    def test_greenlets(self):
        def fill(process, thread, f, g, h, gen):
            one, two = process.track(2, 7001, "one"), process.track(3, 7001, "two")
            thread.block([call(1000, f), switch(2000, one, SWITCH_OPEN), call(2100, g),
                          switch(3000, two, SWITCH_OPEN), call(3100, h)], end=4000)
            thread.block([open_(h), call(4500, g), return_(4600, g), switch(5000, 0, SWITCH_OPEN), open_(f),
                          call(5500, g), return_(5600, g), switch(6000, one, SWITCH_OPEN), open_(g), return_(6100, g),
                          switch(6200, 0), return_(6300, f)], begin=4000, end=7000, track=two)
            process.end(8000)
        self.make(fill)
        n = 2**31 + 2 - 7001
        self.expect(
            # each is open from the cut on, whenever it goes on
            ("--from=4400ns", f"f[4400,6300]c g[5500,5600] {n}/g[4400,6100]c {n + 1}/h[4400,8000]uc "
                              f"{n + 1}/g[4500,4600]"),
            ("--from=4700ns --to=5550ns", f"f[4700,5551]c g[5500,5550]c {n + 1 }/h[4700,5550]c"),
            (f"--thread={2**31 + 3}", "h[3100,8000]u g[4500,4600]"),
            ("--thread=one --from=2500ns", "g[2500,6100]c"),
            ("--thread=MainThread --from=4400ns", "f[4400,6300]c g[5500,5600]"),
        )

    def test_holes(self):
        def fill(process, thread, f, g, h, gen):
            one = process.track(2, 7001, "one")
            thread.block([call(1000, f), call(2000, g)], end=2500)
            thread.block([open_(f), open_(h), return_(4000, h), lost(4500, 5), switch(5000, one, SWITCH_OPEN), open_(g),
                          switch(6000, 0), return_(7000, f)], begin=3000, end=8000, flags=RESYNC)
            process.end(9000, lost=5)
        self.make(fill)
        n = 2**31 + 2 - 7001
        hole, events_lost = "[events may be missing]@3000", "[lost 5 events]@4500"
        for options, words, messages in (
                ("--from=2100ns --to=4700ns", f"f[2100,4700]c g[2101,3001]lc {hole} h[3002,4000]o {events_lost}",
                 ["5 events lost by the recorder", "1 place where events may be missing"]),
                ("--from=3500ns --to=4200ns", "f[3500,4200]c h[3501,4000]c", ["5 events lost by the recorder"]),
                ("--from=2100ns", f"f[2100,7000]c g[2101,3001]lc {hole} h[3002,4000]o {events_lost} {n}/g[5000,9000]uo",
                 ["5 events lost by the recorder", "1 place where events may be missing"])):
            with self.subTest(options):
                run = convert(self.path, *options.split())
                self.assertEqual(run.returncode, 0)
                self.assertEqual([line.rpartition("process-7: ")[2] for line in run.stderr.splitlines()], messages)
                self.assertEqual(reported(run), words)

    def test_a_damaged_block_before_a_hole(self):
        """The block after it begins after `from`, however early the damaged one does."""
        def fill(process, thread, f, g, h, gen):
            thread.block([call(100, f)], end=1000)
            thread.block([open_(f), call(2000, h), return_(2100, h)], begin=2000, end=3000)
            blocks = process.file(thread.file)
            blocks[-1] = blocks[-1][:-6] + bytes(6)
            thread.block([open_(g), call(5000, h), return_(5100, h), return_(6000, g)], begin=4000, end=6000)
            process.end(7000)
        self.make(fill)
        run = convert(self.path, "--from=3000ns")
        self.assertEqual(run.returncode, 1)
        self.assertEqual(reported(run), "[events may be missing]@4000 g[4001,6000]o h[5000,5100]")

    def test_a_killed_process(self):
        def fill(process, thread, f, g, h, gen):
            thread.block([call(1000, f), call(2000, g)], end=3000)
            process.leave_live([thread.chunk([open_(f), open_(g), call(4000, h), return_(5000, h), call(6000, h)],
                                             begin=3000)], at=7000)
        self.make(fill)
        for options, words in (("--from=4500ns --to=5500ns", "f[4500,5501]c g[4501,5500]c h[4502,5000]c"),
                               ("--from=2500ns --to=2600ns", "f[2500,2601]c g[2501,2600]c"),
                               ("--from=-500ns", "f[5500,6003]uc g[5501,6002]uc h[6000,6001]u")):
            with self.subTest(options):
                run = convert(self.path, *options.split())
                self.assertEqual(run.returncode, 0)
                self.assertEqual(reported(run), words)

    def test_deep_stacks(self):
        """A block that has the innermost frames only is not where reading can begin."""
        def fill(process, thread, f, g, h, gen):
            thread.block([call(1000, f), call(2000, g)], end=2500)
            thread.block([open_(g), call(3000, h)], begin=2500, end=3500, flags=DEEPER)
            thread.block([open_(h), return_(4000, h), return_(5000, g), return_(6000, f)], begin=3500, flags=DEEPER)
            process.end(7000)
        self.make(fill)
        self.expect(("--from=3600ns", "f[3600,6000]c g[3601,5000]c h[3602,4000]c"),
                    ("--from=3000ns --to=3100ns", "f[3000,3102]c g[3001,3101]c h[3002,3100]c"))

    def test_c_functions_that_were_called_before(self):
        """The begin of a block does not have them: they are not shown, and their end is no fault."""
        def fill(process, thread, f, g, h, gen):
            thread.block([call(1000, f), c_call(2000, g)], end=3000)
            thread.block([open_(f), call(4000, h), return_(5000, h), c_return(6000, g), return_(7000, f)], begin=3500)
            process.end(8000)
        self.make(fill)
        self.expect(("--from=2500ns", "f[2500,7000]c g[2501,6000]c h[4000,5000]"),
                    ("--from=4500ns", "f[4500,7000]c h[4501,5000]c"))


class Sieve(Test):
    def test_functions_and_depths(self):
        def fill(process, thread, f, g, h, gen):
            thread.block([call(1000, f), call(2000, g), call(3000, h), start(4000, gen, 77), yield_(5000, gen, 77),
                          return_(6000, h), resume(7000, gen, 77), finish(8000, gen, 77), return_(9000, g),
                          return_(10_000, f), call(11_000, h), return_(11_100, h)])
            process.end(12_000)
        self.make(fill)
        flow = "gen[4000,5000] s1@4001"
        self.expect(
            ("--exclude=m.g", f"f[1000,10000] h[3000,6000] {flow} gen[7000,8000] f1@7001 h[11000,11100]"),
            ("--exclude=m.gen", "f[1000,10000] g[2000,9000] h[3000,6000] h[11000,11100]"),
            ("--include=m.gen", f"{flow} gen[7000,8000] f1@7001"),
            ("--include=*.g", "g[2000,9000]"),
            ("--include=m --exclude=m.[fgh]", f"{flow} gen[7000,8000] f1@7001"),
            ("--exclude=m.py --include=m.h", "h[3000,6000] h[11000,11100]"),
            ("--max-depth=1", "f[1000,10000] h[11000,11100]"),
            ("--max-depth=2 --exclude=m.f", "g[2000,9000] h[3000,6000] gen[7000,8000] h[11000,11100]"),
            # one in the flow is too deep: it is not in the flow
            ("--max-depth=3", "f[1000,10000] g[2000,9000] h[3000,6000] gen[7000,8000] h[11000,11100]"),
            ("--min-duration=1001ns", "f[1000,10000] g[2000,9000] h[3000,6000]"),
            ("--min-duration=1001ns --from=3500ns --to=7500ns",
             "f[3500,7502]c g[3501,7501]c h[3502,6000]c gen[7000,7500]c"),
        )

    def test_a_recorded_minimum_is_kept(self):
        def fill(process, thread, f, g, h, gen):
            thread.block([call(1000, f), call(2000, g), return_(2500, g), call(3000, h), return_(5000, h),
                          return_(9000, f)])
            process.end(12_000)
        self.make(fill, min_duration_ns=1000)
        self.expect(("--min-duration=10ns", "f[1000,9000] h[3000,5000]"),
                    ("--min-duration=3us", "f[1000,9000]"))

    def test_globs_are_of_characters(self):
        def fill(process, thread, f, g, h, gen):
            other = process.function("m", "größe", "m.py", 9)
            process.thread(2, 7002, "wörker").block([call(1000, other), return_(2000, other), call(3000, g), return_(4000, g)],
                                                    end=5000)
            process.end(6000)
        self.make(fill)
        self.expect(
            ("--thread=w?rker", "größe[1000,2000] g[3000,4000]"),
            ("--thread=w[äö]rker --include=m.gr[!a-z]?e", "größe[1000,2000]"),
            ("--thread=w???rker", ""),
        )

    def test_names_of_processes(self):
        with Capture(self.path) as capture:
            for pid, command in ((7, "a.py"), (8, "b.py")):
                process = capture.process(pid, command=command)
                process.thread(1, pid, "MainThread").block([call(1000, process.function("m", "f")),
                                                            return_(2000, 1)])
                process.end(3000)
        for options, pids in (("--process=a.py", [7]), ("--process=8", [8]), ("--process=?.py", [7, 8]),
                              ("--process=8 --process=a*", [7, 8]), ("--process=c.py", []), ("--thread=8", [8]),
                              ("--thread=7 --process=8", [])):
            with self.subTest(options):
                self.assertEqual(sorted({event["pid"] for event in events(convert(self.path, *options.split()))}), pids)


class Creations(Test):
    def test_what_is_not_shown_has_no_arrow(self):
        def fill(process, thread, f, g, h, gen):
            thread.block([call(1000, f), call(2000, g), create(2500, gen, 77), return_(3000, g),
                          start(4000, gen, 77), yield_(4500, gen, 77), return_(9000, f)])
            process.thread(2, 7002, "Other").block([call(1000, h), create(2400, gen, 88), return_(5000, h)])
            thread.block([start(9100, gen, 88), finish(9200, gen, 88)])
            process.end(10_000)
        self.make(fill)
        f, g, arrow, other = "f[1000,9000]", "g[2000,3000]", "gen[4000,4500] F1@4001", "gen[9100,9200]"
        self.expect(
            ("--flows=creation", f"{f} {g} S1@2500 {arrow} {other} F2@9101 1/h[1000,5000] 1/S2@2400"),
            ("--flows=generator", f"{f} {g} gen[4000,4500] {other} 1/h[1000,5000]"),
            ("--flows=coroutine,creation", f"{f} {g} gen[4000,4500] {other} 1/h[1000,5000]"),
            # neither a slice of another thread, nor what runs before that
            ("--flows=creation --thread=7001", f"{f} {g} S1@2500 {arrow} {other}"),
            ("--flows=creation --thread=7001 --from=2600ns", "f[2600,9000]c g[2601,3000]c gen[4000,4500] " + other),
            ("--flows=creation --thread=7001 --from=2500ns --to=4300ns",
             "f[2500,4301]c g[2501,3000]c S1@2502 gen[4000,4300]c F1@4001"),
            ("--flows=creation --thread=7001 --from=2400ns --to=4000ns", "f[2400,4000]c g[2401,3000]c"),
            ("--flows=creation --thread=7002", "h[1000,5000]"),
            # what is left out has made it in its caller
            ("--flows=creation --thread=7001 --exclude=m.g", f"{f} S1@2500 {arrow} {other}"),
            ("--flows=creation --thread=7001 --exclude=m.[fg]", f"gen[4000,4500] {other}"),
            ("--flows=creation --thread=7001 --exclude=m.gen", f"{f} {g}"),
            ("--flows=creation --thread=7001 --max-depth=1", f"{f} {other}"),
            ("--flows=creation --thread=7001 --min-duration=500ns", f"{f} {g} S1@2500 {arrow}"),
            ("--flows=creation --thread=7001 --min-duration=501ns", f"{f} {g}"),
            ("--flows=creation --thread=7001 --min-duration=500ns --exclude=m.g", f"{f} S1@2500 {arrow}"),
        )


class Tasks(Test):
    def test_what_is_shown_of_them(self):
        def fill(process, thread, f, g, h, gen):
            step = process.function("asyncio.events", "Handle._run", "events.py", 78)
            main, child = (process.function("m", name, "m.py", 20, COROUTINE) for name in ("main", "child"))
            thread.block([call(1000, step), start(1100, main, 77), yield_(1900, main, 77), return_(2000, step),
                          call(3000, step), start(3100, main, 88), start(3200, child, 99), yield_(3800, child, 99),
                          yield_(3900, main, 88), return_(4000, step),
                          call(5000, step), resume(5100, main, 77), finish(5900, main, 77), return_(6000, step),
                          call(7000, step), resume(7100, main, 88), resume(7200, child, 99), call(7300, f),
                          return_(7400, f), yield_(7500, child, 99), yield_(7900, main, 88), return_(8000, step)])
            process.end(10_000)
        self.make(fill)
        def lanes(options):
            run = convert(self.path, "--tasks", "--flows=none", *options.split())
            self.assertEqual((run.returncode, run.stderr), (0, ""))
            return " ".join(word for word in reported(run).split() if word[0] in "brwe" and word[1].isdigit())
        one, two = "b1@1100 r1@1100 w1@1900", "b2@3100 r2@3100 w2@3900"
        for options, words in (
                ("", f"{one} {two} r1@5100 w1@5900 e1@5900 r2@7100 w2@7900 e2@10000u"),
                # from the first slice that is shown on, and to the cut
                ("--from=2500ns", "b1@3100 r1@3100 w1@3900 b2@5100 r2@5100 w2@5900 e2@5900 r1@7100 w1@7900 e1@10000u"),
                ("--from=3300ns --to=5500ns", "b1@3301 r1@3301 w1@3900 b2@5100 r2@5100 w2@5500 e1@5500c e2@5500c"),
                ("--from=3300ns --to=4500ns", "b1@3301 r1@3301 w1@3900 e1@4500c"),
                ("--to=1500ns", "b1@1100 r1@1100 w1@1500 e1@1500c"),
                ("--from=8100ns", ""),
                # functions that are not shown make them known, too
                ("--exclude=asyncio.*", f"{one} {two} r1@5100 w1@5900 e1@5900 r2@7100 w2@7900 e2@10000u"),
                ("--exclude=m.main", ""),
                ("--max-depth=1", ""),
                ("--min-duration=801ns", ""),
                ("--min-duration=800ns --to=4500ns", f"{one} {two} e1@4500c e2@4500c"),
                ("--thread=8000", "")):
            with self.subTest(options):
                self.assertEqual(lanes(options), words)


class AnyCapture(Test):
    """Whatever is chosen of whatever capture: the converter ends in order, and begins, ends and flows are right."""

    def check(self, case, *options):
        run = case.convert(*options)
        self.assertIn(run.returncode, (case.status(), 0, 1), (options, run.stderr))
        if run.returncode == 2:
            return
        found = [event for event in json.loads(run.stdout, parse_float=nanoseconds)["traceEvents"]
                 if event["ph"] != "C" and event["cat"] != "window"]
        named = {(event["pid"], event["tid"]) for event in found if event["name"] == "thread_name"}
        threads, flows, tasks = defaultdict(list), defaultdict(list), defaultdict(list)
        for event in found:
            where = event["pid"], event["tid"]
            if event["ph"] != "M":
                self.assertIn(where, named)
            if event["ph"] == "X":
                threads[where].append((event["ts"], event["ts"] + event["dur"], event["name"]))
            elif event["ph"] in "stf":
                flows[event["id"]].append((event["ts"], event["ph"], where, event["name"], event["cat"]))
            elif event["ph"] in "be":
                tasks[event["id"]].append((event["ts"], event["ph"]))
        for slices in threads.values():
            slices.sort()
            times = sorted(time for begin, end, _ in slices for time in (begin, end))
            self.assertEqual(len(times), len(set(times)), options)
            stack = []
            for begin, end, _ in slices:
                while stack and stack[-1] < begin:
                    stack.pop()
                self.assertFalse(stack and stack[-1] < end, options)
                stack.append(end)
        for flow in flows.values():
            flow.sort()
            if flow[0][4] == "label":       # of the program
                self.assertEqual("".join(phase for _, phase, *_ in flow), "s" + "t" * (len(flow) - 1), options)
                continue
            self.assertEqual("".join(phase for _, phase, *_ in flow), "s" + "t" * (len(flow) - 2) + "f", options)
            for ts, phase, where, name, cat in flow:
                inmost = [one for one in threads[where] if one[0] < ts < one[1]][-1]
                if (phase, cat) not in (("s", "creation"), ("s", "work")):
                    self.assertEqual(inmost[2], name, options)
        for task in tasks.values():
            self.assertEqual("".join(phase for _, phase in task), "b" + "be" * (len(task) // 2 - 1) + "e", options)
            self.assertEqual(task, sorted(task, key=lambda event: event[0]), options)
        return threads

    def test_golden_and_invalid_ones(self):
        choose = random.Random(7)
        for case in [*conversion.cases("golden"), *conversion.cases("invalid")]:
            if case.status() == 2:
                continue
            whole = self.check(case, "--tasks", "--flows=all,creation")
            times = sorted({time for slices in whole.values() for begin, end, _ in slices for time in (begin, end)})
            for _ in range(4 if times else 0):
                begin, end = sorted(choose.choice(times) + choose.randrange(-1, 2) for _ in range(2))
                if 0 <= begin < end:
                    with self.subTest(case.name, begin=begin, end=end):
                        part = f"--from={begin}ns", f"--to={end}ns", "--tasks", "--flows=all,creation"
                        self.check(case, *part)
                        self.check(case, *part, "--max-depth=2", "--exclude=*.leaf")


class ManyThreads(Test):
    def test_they_are_reported_when_they_are_shown(self):
        """However many threads make the text: threads begin one after another, and each has many slices."""
        def fill(process, thread, f, g, h, gen):
            for i in range(2, 150):
                at = i * 10**6
                process.thread(i, 7000 + i, f"t{i}").block(
                    [record for k in range(1500) for record in (call(at + 200 * k, f), return_(at + 200 * k + 50, f))])
            process.end(2 * 10**8)
        self.make(fill)
        one, many = (convert(self.path, "-j", n, "--from=5ms", "--exclude=m.g") for n in "14")
        self.assertEqual((one.returncode, many.returncode), (0, 0))
        self.assertTrue(one.stdout == many.stdout)
        self.assertEqual(one.stdout.count('"thread_name"'), 145)
        self.assertEqual(one.stdout.count('"ph":"X"'), 145 * 1500)


class Bytes(Test):
    def test_few_are_read(self):
        """One second out of many blocks: their headers are read, and the blocks of that second."""
        choose, n_blocks = random.Random(3), 1500
        with Capture(self.path) as capture:
            process = capture.process(7)
            names = [process.function("m", f"f{i}") for i in range(8)]
            thread = process.thread(1, 7001, "MainThread")
            at, records = 0, []
            for i in range(BLOCK_RECORDS // 2):
                name = names[choose.randrange(8)]
                records += [call(at, name), return_(at + 40 + choose.randrange(60), name)]
                at += 100 + choose.randrange(400)
            thread.block(records)
            block = process.file(thread.file).pop()
            fields = dict(zip(("n_records", "n_open", "data_size", "planes"),
                              (len(records), 0, len(block) - 104, int.from_bytes(block[36:38], "little"))))
            self.assertGreater(len(block), 12_000)              # as recorded ones are
            for k in range(n_blocks):
                begin, end = process.clock.instant(k * 10**7), process.clock.instant(k * 10**7 + at)
                header = encode_block_header(1, k, begin=begin, end=end, **fields)
                process.segment(1 + k // 500)
                process.file(thread.file).append(encode_skippable(header) + block[104:])
            process.end(n_blocks * 10**7)
        size = sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
        nothing = self.bytes_read("--version")
        read = self.bytes_read(self.path, "-q", "-o", os.devnull, "--from=5.003", "--to=5.022") - nothing
        self.assertGreater(read, n_blocks * 104)
        self.assertLess(read, size * 0.02)
        whole = self.bytes_read(self.path, "-q", "-o", os.devnull, "--top", "--from=0", "--to=14.9")
        self.assertGreater(whole, size * 0.98)

    def bytes_read(self, *arguments):
        """By the converter: what a process has read is added to its parent's when it has ended."""
        def count():
            with open("/proc/self/io", encoding="ascii") as file:
                return int(file.readline().split()[1])
        before = count()
        cost = count() - before
        before = count()
        subprocess.run([conversion.CONVERTER, *arguments], check=True, stdout=subprocess.DEVNULL)
        return count() - before - cost


if __name__ == "__main__":
    unittest.main()
