#!/usr/bin/env python3
"""Makes the captures of this directory: NAME/run.pnr for each function below. The captures are committed, and a
release's captures stay readable for ever. This program documents what is in them, and makes new ones.

    tests/golden/make.py [NAME...]          # default: all

Times are nanoseconds since the start of the process. expected.trace is not made here: it is what the converter
must write, and tests/format/test_conversion.py checks it against the records independently.
"""

import math
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "format"))
sys.dont_write_bytecode = True

from capture_writer import *                # noqa: E402, F403: records, blocks and captures
import capture_writer                       # noqa: E402


def smallest(path):
    """The worked example of specs/capture-format.md, section 12: few properties, data stored and not compressed."""
    clock = Clock(start_ticks=5_000_000_000, start_monotonic_ns=5_000_000_000)
    with Capture(path) as capture:
        process = capture.process(7, clock=clock, parent_pid=None, python=None, executable=None, command=None,
                                  engine=None, recorder=None)
        thread = process.thread(1, 7, "MainThread")
        main = process.function("__main__", "main", "app.py", 1)
        compress, capture_writer.compress = capture_writer.compress, store
        thread.block([call(1000, main), return_(3500, main)], begin=0, end=4000, flags=LAST)
        capture_writer.compress = compress
        process.entries += [encode_name(PROPERTY, [key, str(value), ""]) for key, value in
                            zip(("end_ticks", "end_monotonic_ns", "end_realtime_ns"), clock.instant(5000))]


def generators(path):
    """Flows of 1, 2, 3 and 6 slices, throw, close, an address used again, an exception, yield from."""
    with Capture(path) as capture:
        process = capture.process(7, command="generators.py")
        main = process.function("__main__", "main", "generators.py", 1)
        once, count, inner, outer, fails = (
            process.function("__main__", name, "generators.py", line, GENERATOR)
            for name, line in (("once", 5), ("Numbers.count", 9), ("inner", 20), ("outer", 25), ("fails", 30)))
        a, b, c = 0x7f00_0000_001, 0x7f00_0000_002, 0xffff_ffff_ffff
        thread = process.thread(1, 7001, "MainThread")
        thread.block([
            call(1000, main),
            create(1100, once, a),                          # one slice: no arrow
            start(1200, once, a), finish(1300, once, a),
            create(1400, once, a),                          # the same address: another flow, of 2
            start(1500, once, a), yield_(1600, once, a),
            resume(1700, once, a), finish(1800, once, a),
            create(2000, count, a), create(2010, count, b),  # two at once, 6 and 3 slices
            start(2100, count, a), yield_(2200, count, a),
            start(2300, count, b), yield_(2400, count, b),
            resume(2500, count, a), yield_(2600, count, a),
            resume(2700, count, a), yield_(2800, count, a),
            resume(2900, count, b), yield_(3000, count, b),
            resume(3100, count, a), yield_(3200, count, a),
            resume(3300, count, a), yield_(3400, count, a),
            resume(3500, count, b), finish_unwind(3600, count, b),  # close(): left by GeneratorExit
            resume(3700, count, a), finish(3800, count, a),
            start(4000, fails, b), yield_(4100, fails, b),  # without CREATE
            resume(4200, fails, b), finish_unwind(4300, fails, b),  # throw()
            start(5000, outer, c),                          # yield from: both are left and entered together
            start(5100, inner, a), yield_(5200, inner, a),
            yield_(5300, outer, c),
            resume(5400, outer, c),
            resume(5500, inner, a), finish(5600, inner, a),
            yield_(5700, outer, c),
            resume(5800, outer, c), finish(5900, outer, c),
            start(6000, count, b), yield_(6100, count, b),  # freed without a record ...
            start(6200, count, b), finish(6300, count, b),  # ... and its address used again
            start(6400, count, a), yield_(6500, count, a),
            resume(6600, count, a), yield_(6700, count, a),  # suspended for ever: the flow ends with its last slice
            resume(6800, fails, 0x123), yield_(6900, fails, 0x123),  # without START
            resume(7000, fails, 0x123), finish(7100, fails, 0x123),
            return_(9000, main),
        ], flags=LAST)
        process.end(10_000)


def generator_moves(path):
    """One generator driven by two threads in turn."""
    with Capture(path) as capture:
        process = capture.process(7, command="moves.py")
        work = process.function("__main__", "work", "moves.py", 3)
        shared = process.function("__main__", "shared", "moves.py", 9, GENERATOR)
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "Thread-1 (work)")
        g = 0x5500_0000_01
        one.block([call(1000, work), create(1100, shared, g), start(1200, shared, g), yield_(2000, shared, g),
                   resume(5000, shared, g), yield_(6000, shared, g)])
        one.block([open_(work), return_(9500, work)], begin=7000, flags=LAST)
        two.block([call(2500, work), resume(3000, shared, g), yield_(4000, shared, g),
                   resume(7000, shared, g), finish(8000, shared, g), return_(9000, work)], flags=LAST)
        process.end(10_000)


def asynchronous(path):
    """Coroutines, an asynchronous generator, an iterable coroutine, cancellation."""
    with Capture(path) as capture:
        process = capture.process(7, command="asynchronous.py")
        run = process.function("asyncio.runners", "run", "/usr/lib/python3.11/asyncio/runners.py", 160)
        step = process.function("asyncio.events", "Handle._run", "/usr/lib/python3.11/asyncio/events.py", 78)
        main, sleeper = (process.function("__main__", name, "asynchronous.py", line, COROUTINE)
                         for name, line in (("main", 10), ("sleeper", 20)))
        ticker = process.function("__main__", "ticker", "asynchronous.py", 30, ASYNC_GENERATOR)
        bridge = process.function("__main__", "bridge", "asynchronous.py", 40, ITERABLE_COROUTINE)
        m, s, t, b = 0x7f12_3450, 0x7f12_3460, 0x7f12_3470, 0x7f12_3480
        thread = process.thread(1, 7001, "MainThread")
        thread.block([
            create(500, main, m),
            call(1000, run),
            call(1100, step),
            start(1200, main, m), create(1250, sleeper, s), create(1260, ticker, t), yield_(1300, main, m),
            return_(1400, step),
            call(1500, step), start(1600, sleeper, s), start(1610, bridge, b), yield_(1620, bridge, b),
            yield_(1700, sleeper, s), return_(1800, step),
            call(2000, step), resume(2100, main, m),
            start(2200, ticker, t), yield_(2300, ticker, t),
            resume(2400, ticker, t), yield_(2500, ticker, t),
            resume(2600, ticker, t), finish_unwind(2700, ticker, t),  # aclose()
            yield_(2800, main, m), return_(2900, step),
            call(3000, step), resume(3100, sleeper, s), resume(3110, bridge, b),
            finish_unwind(3120, bridge, b), finish_unwind(3200, sleeper, s), return_(3300, step),  # cancelled
            call(3400, step), resume(3500, main, m), finish(3600, main, m), return_(3700, step),
            return_(4000, run),
        ], flags=LAST)
        process.end(5000)


def exceptions(path):
    """Frames left by exceptions, one of which is caught in an outer frame; equal times; frames of no length."""
    with Capture(path) as capture:
        process = capture.process(7, command="exceptions.py")
        main, middle, deep = (process.function("__main__", name, "exceptions.py", line)
                              for name, line in (("main", 1), ("middle", 4), ("deep", 8)))
        thread = process.thread(1, 7001, "MainThread")
        thread.block([
            call(1000, main),
            call(2000, middle), call(3000, deep), unwind(4000, deep), unwind(5000, middle),
            call(6000, middle), call(6000, deep), unwind(6000, deep), call(6000, deep), return_(6000, deep),
            return_(6000, middle),
            unwind(9000, main),
        ], flags=LAST)
        process.end(10_000)


def opened(path):
    """Frames that were open when recording began; blocks that begin with the stack, one of them missing."""
    with Capture(path) as capture:
        process = capture.process(7, command="opened.py")
        main, work, leaf = (process.function("__main__", name, "opened.py", line)
                            for name, line in (("main", 1), ("work", 4), ("leaf", 8)))
        numbers = process.function("__main__", "numbers", "opened.py", 20, GENERATOR)
        g = 0x4400_0001
        thread = process.thread(1, 7001, "MainThread")
        thread.block([open_(main), open_(work), open_(numbers, g),          # started inside a generator
                      call(1000, leaf), return_(2000, leaf), yield_(3000, numbers, g),
                      resume(4000, numbers, g), call(5000, leaf)], begin=500)
        thread.block([open_(main), open_(work), open_(numbers, g), open_(leaf),     # the stack of the block before
                      return_(6000, leaf), yield_(7000, numbers, g)], begin=5500)
        thread.block([open_(work), resume(8000, numbers, g)], begin=7500, flags=DEEPER)     # the innermost frames
        thread.block([open_(main), open_(leaf),             # a block is missing: work and numbers have ended
                      return_(11000, leaf), call(12000, work)], begin=10000, flags=RESYNC)
        thread.block([open_(main), open_(work),
                      return_(13000, work), return_(14000, main)], begin=12500, flags=LAST)
        process.end(20_000)


def unrecorded_and_lost(path):
    """Frames whose exits are missing, an unrecorded region, lost events."""
    with Capture(path) as capture:
        process = capture.process(7, command="left.py")
        main, work, leaf = (process.function("__main__", name, "left.py", line)
                            for name, line in (("main", 1), ("work", 4), ("leaf", 8)))
        task = process.function("__main__", "task", "left.py", 20, COROUTINE)
        c = 0x99
        thread = process.thread(1, 7001, "MainThread")
        thread.block([
            call(1000, main),
            call(1100, work), call(1200, leaf), left(1300, 2),
            call(2000, work), unrecorded(2100), unrecorded_end(2900), return_(3000, work),
            start(4000, task, c), call(4100, leaf), left(4200, 2),         # a coroutine whose exit is missing may continue
            resume(5000, task, c), finish(5100, task, c),
            call(6000, work), lost(6500, 1234), return_(7000, work),
            return_(9000, main),
        ], flags=LAST)
        process.end(10_000, lost=1234)


def killed(path):
    """Killed: names and a file cut off, chunks in use, one whose block is in the segment, a thread only there."""
    with Capture(path) as capture:
        process = capture.process(7, command="killed.py")
        main = process.function("__main__", "main", "killed.py", 1)
        work = process.function("__main__", "work", "killed.py", 4)
        ticks = process.function("__main__", "ticks", "killed.py", 9, GENERATOR)
        one, two, three = (process.thread(n, 7000 + n, name) for n, name in
                           ((1, "MainThread"), (2, "worker"), (3, "late")))
        g = 0x77
        one.block([call(1000, main), call(1500, work)])
        again = [open_(main), open_(work), return_(2500, work)]
        stale = one.chunk([call(1000, main), call(1500, work)], sequence=0)     # its block is in the segment
        two.block([call(1200, work)])
        one.block(again, begin=2000)
        blocks = process.file(one.file)
        blocks[-1] = blocks[-1][:-9]                                            # torn: its chunk is used
        torn = one.chunk(again, begin=2000, sequence=1)
        next_one = one.chunk([open_(main), start(3000, ticks, g), yield_(3100, ticks, g),
                              resume(3200, ticks, g), call(3300, work)], begin=2600)
        empty = two.chunk([], begin=4000)                                   # taken, without records
        only = three.chunk([call(3400, work), return_(3500, work), call(3600, work)])
        process.leave_live([stale, None, next_one, torn, empty, only], at=4000)
        process.entries.append(encode_name(FUNCTION, ["__main__", "never", "killed.py"], 0, 4, 99)[:-3])


def killed_clock(path):
    """Killed while it renewed the clock sample of the live mapping: the latest one counts, the other is half
    written."""
    with Capture(path) as capture:
        process = capture.process(7, command="killed.py", clock=Clock(
            "tsc", 3 * 10**9, start_ticks=10**15, ticks=lambda at: at * 3003 // 1000))
        main = process.function("__main__", "main", "killed.py", 1)
        work = process.function("__main__", "work", "killed.py", 4)
        thread = process.thread(1, 7001, "MainThread")
        thread.block([call(1000, main), call(500_000_000, work), return_(1_500_000_000, work)], begin=0,
                     end=2_000_000_000)
        chunk = thread.chunk([open_(main), call(2_500_000_000, work), return_(3_500_000_000, work)],
                             begin=2_000_000_000)
        clock = process.clock
        process.leave_live([chunk], latest=1, instants=(
            (clock.ticks(3_000_000_000), *clock.instant(4_500_000_000)[1:]), clock.instant(4_000_000_000)))


def unfinished(path):
    """Open at the end, in a thread that ended and in one that did not; a resumed generator among them."""
    with Capture(path) as capture:
        process = capture.process(7, command="unfinished.py")
        main = process.function("__main__", "main", "unfinished.py", 1)
        wait = process.function("__main__", "wait", "unfinished.py", 4)
        numbers = process.function("__main__", "numbers", "unfinished.py", 9, GENERATOR)
        g = 0x88
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "ends")
        one.block([call(1000, main), start(1100, numbers, g), yield_(1200, numbers, g),
                   resume(1300, numbers, g), call(1400, wait)])
        two.block([call(2000, wait), return_(3000, wait), call(4000, wait)], end=5000, flags=LAST)
        process.end(9000)


def unusual_names(path):
    """Names that are hard for JSON and for viewers."""
    names = ['say "hi"', "back\\slash", "new\nline", "tab\tbell\x07nul\x00del\x7f", "\U0001f642 non-BMP",
             "lone \ud83d here", "pair \ud83d\ude42 kept apart", "</script>", "constructor", "__proto__", "", "<lambda>",
             "Ελλάδα 日本語 e\u0301", "\u2028\u2029\ufeff", "x" * 10_000]
    with Capture(path) as capture:
        process = capture.process(7, command='odd "names".py \\ \n\x01 \U0001f40d \udcff')
        thread = process.thread(1, 7001, 'Main"Thread"\n\U0001f9f5')
        process.thread(2, 7002, "never ran")
        functions = [process.function("módulo", name, 'dir "x"\\\n/odd.py', line) for line, name in enumerate(names, 1)]
        functions += [process.function("m\"\\\n\x1f", "f", "", 0), process.function("", "only_name", "f.py", 7)]
        process.entries.append(encode_name(FUNCTION, ["__main__", "", "bytes.py"], 0, len(functions) + 1, 3))
        process.entries[-1] = with_strings(process.entries[-1], [b"__main__", b"\xff\xfe bad \xc3", b"bytes.py"])
        functions.append(len(functions) + 1)
        records = []
        for i, function in enumerate(functions):
            records += [call(1000 * i + 1000, function), return_(1000 * i + 1500, function)]
        thread.block(records, flags=LAST)
        process.thread(1, 7001, "renamed \ud800")
        process.end(100_000)


def processes(path):
    """Two processes, and a third with the first one's pid. They start an hour apart; times count from the earliest
    start."""
    with Capture(path) as capture:
        for pid, k, begin, command in ((7, 1, 0, "parent.py"), (12, 1, 3000, "child.py"),
                                       (7, 2, 60_000_000, "again.py")):
            process = capture.process(pid, k, command=command, clock=Clock(
                start_ticks=START_MONOTONIC_NS + begin, start_monotonic_ns=START_MONOTONIC_NS + begin))
            main = process.function("__main__", "main", command, 1)
            numbers = process.function("__main__", "numbers", command, 5, GENERATOR)
            thread = process.thread(1, pid, "MainThread")
            g = 0xabc                           # one identity in all three
            thread.block([call(1000, main), start(2000, numbers, g), yield_(3000, numbers, g),
                          resume(4000, numbers, g), finish(5000, numbers, g), return_(6000, main)], flags=LAST)
            process.end(7000)


def clock_drifts(path):
    """A tick clock of 3 GHz by name, that runs 0.1 % fast in the first two seconds and slow in the next two."""
    def ticks(at):
        return at * 3003 // 1000 if at <= 2 * 10**9 else 6_006_000_000 + (at - 2 * 10**9) * 2997 // 1000
    with Capture(path) as capture:
        process = capture.process(7, command="drift.py", clock=Clock("tsc", 3 * 10**9, start_ticks=2**63, ticks=ticks))
        main, work = (process.function("__main__", name, "drift.py", line) for name, line in (("main", 1), ("work", 4)))
        thread = process.thread(1, 7001, "MainThread")
        thread.block([call(1000, main), call(500_000_000, work), return_(1_500_000_000, work)], begin=0,
                     end=2_000_000_000)
        thread.block([open_(main), call(2_500_000_000, work), return_(3_500_000_000, work),
                      return_(3_999_000_000, main)], begin=2_000_000_000, end=4_000_000_000, flags=LAST)
        process.end(4_000_000_000)


def later_minor_version(path):
    """What a later recorder may add: properties, types of names, kinds of functions, files."""
    with Capture(path) as capture:
        process = capture.process(7, command="later.py", colour="blue")
        main = process.function("__main__", "main", "later.py", 1)
        process.entries.append(encode_name(200, ["something", "of a later", "version"], 9, 77, 88))
        task = process.function("__main__", "task", "later.py", 5, 206)
        thread = process.thread(1, 7001, "MainThread")
        thread.block([call(1000, main), start(2000, task, 0x99), yield_(3000, task, 0x99), return_(4000, main)],
                     flags=LAST)
        process.end(5000)
    for name in ("notes.txt", "process-x", "begun-8", "process-7/index", "process-7/segment-1.zst",
                 "process-7/segment-01/thread-1.zst", "process-7/segment-0/thread-1.zst",
                 "process-7/segment-4294967296/thread-1.zst", "process-7/thread-1.zst",
                 *(f"process-7/segment-1/{name}" for name in (
                     "index", "thread-0.zst", "thread-01.zst", "thread-1", "thread-1.zst.old", "thread-4294967296.zst",
                     "short-threads", "thread-1.zst.d/thread-1.zst"))):
        (capture.path / name).parent.mkdir(exist_ok=True)
        (capture.path / name).write_text("of a later version\n")


def c_functions(path):
    """C functions among Python functions."""
    with Capture(path) as capture:
        process = capture.process(7, command="c.py")
        main = process.function("__main__", "main", "c.py", 1)
        length, opener = (process.function("builtins", name, "", 0, C_FUNCTION) for name in ("len", "open"))
        thread = process.thread(1, 7001, "MainThread")
        thread.block([call(1000, main), c_call(2000, length), c_return(3000, length), c_call(4000, opener),
                      c_raise(5000, opener), unwind(6000, main)], flags=LAST)
        process.end(7000)


def min_duration(path):
    """Nothing below 1,000 ns: the converter leaves out what the recorder could not elide."""
    with Capture(path) as capture:
        process = capture.process(7, command="short.py", filters="exclude json.*\nno-frozen", min_duration_ns=1000)
        main, work, leaf = (process.function("__main__", name, "short.py", line)
                            for name, line in (("main", 1), ("work", 4), ("leaf", 8)))
        steps, once = (process.function("__main__", name, "short.py", line, GENERATOR)
                       for name, line in (("steps", 12), ("once", 16)))
        length = process.function("builtins", "len", "", 0, C_FUNCTION)
        g, h = 0x5500_0000_01, 0x5500_0000_02
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "Thread-1 (work)")
        one.block([
            call(1000, main),
            call(2000, work), call(2100, leaf), c_call(2200, length), c_return(2300, length), return_(2400, leaf),
            create(2450, steps, g), return_(2500, work),                # all of it is short
            call(3000, work), start(3100, once, h), finish(3200, once, h), unwind(4000, work),  # 1,000 is not below
            call(5000, work), return_(5999, work),
            call(6000, work), call(6000, leaf), return_(6000, leaf), call(6000, leaf), return_(7000, leaf),
            return_(7000, work),                                        # leaving a slice out moves no begin or end
            start(8000, steps, g), yield_(8500, steps, g),              # a flow of 6 slices, of which 3 are retained
            resume(9000, steps, g), yield_(11_000, steps, g),
            resume(12_000, steps, g), yield_(12_010, steps, g),
        ])
        two.block([
            call(13_000, work),
            resume(14_000, steps, g), yield_(16_000, steps, g),
            return_(17_000, work),
        ], flags=LAST)
        one.block([
            open_(main),
            resume(20_000, steps, g), call(20_100, leaf), return_(22_000, leaf), yield_(22_100, steps, g),
            resume(23_000, steps, g), finish(23_100, steps, g),
            start(24_000, steps, g), yield_(24_100, steps, g),          # another, of which one is retained
            resume(25_000, steps, g), yield_(27_000, steps, g),
            start(28_000, steps, g), yield_(30_000, steps, g),          # ended by the next one, which is not retained
            start(31_000, steps, g), yield_(31_100, steps, g),
            resume(32_000, steps, g), finish(34_000, steps, g),
            call(35_000, work), unrecorded(35_100), unrecorded_end(35_200), return_(35_300, work),
            call(36_000, work), lost(36_100, 3), return_(36_200, work),
            call(37_000, work), call(37_100, leaf),                     # open at the end
        ], begin=19_000)
        process.end(37_200)


def full_block(path):
    """Blocks of 16,384 records, the most there is: 8,300 calls over two blocks, with OPEN records between them."""
    with Capture(path) as capture:
        process = capture.process(7, command="full.py")
        main, leaf = (process.function("__main__", name, "full.py", line) for name, line in (("main", 1), ("leaf", 4)))
        thread = process.thread(1, 7001, "MainThread")
        records = [call(1000, main)]
        for i in range(8_300):
            records += [call(2000 + 10 * i, leaf), return_(2005 + 10 * i, leaf)]
        records.append(return_(2000 + 10 * 8_300, main))
        thread.block(records[:BLOCK_RECORDS])
        thread.block([open_(main), open_(leaf), *records[BLOCK_RECORDS:]], begin=records[BLOCK_RECORDS - 1][0],
                     flags=LAST)
        process.end(300_000)


def rounded_ticks(path):
    """Blocks of which the low bits of the ticks were not kept, with all planes, nearly none, and the highest ticks."""
    with Capture(path) as capture:
        process = capture.process(7, command="rounded.py")
        main = process.function("__main__", "main", "rounded.py", 1)
        generator = process.function("__main__", "generator", "rounded.py", 4, GENERATOR)
        thread = process.thread(1, 7001, "MainThread")
        frame = 0x8765_4321_0fed
        thread.block([call(8, main), start(1003, generator, frame), yield_(1011, generator, frame)], begin=0, end=1100,
                     tick_shift=3)
        thread.block([open_(main), resume(1207, generator, frame), yield_(500_000_007, generator, frame),
                      resume(1_000_000_000_007, generator, frame), finish(1_000_000_000_016, generator, frame)],
                     begin=1200, end=1_000_000_000_100, tick_shift=3)
        thread.block([open_(main), return_(1_000_000_000_201 + 2**39, main)], begin=1_000_000_000_200,
                     end=1_000_000_000_300 + 2**39, tick_shift=39, flags=LAST)
        process.end(1_000_000_000_400 + 2**39)


def interleaved(path):
    """Ten threads, whose blocks are interleaved in two segments. A generator moves from thread to thread."""
    with Capture(path) as capture:
        process = capture.process(7, command="interleaved.py")
        work, leaf = (process.function("__main__", name, "interleaved.py", line)
                      for name, line in (("work", 1), ("leaf", 4)))
        shared = process.function("__main__", "shared", "interleaved.py", 8, GENERATOR)
        g = 0x5500_0000_01
        threads = [process.thread(n, 7000 + n, f"Thread-{n}") for n in range(1, 11)]
        for i, thread in enumerate(threads):
            at = 1000 + 100 * i
            enter = start if i == 0 else resume
            thread.block([call(at, work), enter(at + 10, shared, g), yield_(at + 20, shared, g)])
        for i, thread in list(enumerate(threads))[::-1]:        # written in another order than they began
            at = 3000 + 10 * i
            thread.block([open_(work), call(at, leaf), return_(at + 1000, leaf)], begin=2500)
            if i == 5:
                process.segment(2)
        for i, thread in enumerate(threads):
            at = 5000 + 100 * i
            leave = finish if i == 9 else yield_
            thread.block([open_(work), resume(at, shared, g), leave(at + 50, shared, g), return_(at + 90, work)],
                         begin=4500, flags=LAST)
        process.end(10_000)


def empty_segments(path):
    """A segment may be without blocks, and the last one often is. (git cannot keep a segment without a file.)"""
    with Capture(path) as capture:
        process = capture.process(7, command="empty.py")
        main, leaf = (process.function("__main__", name, "empty.py", line) for name, line in (("main", 1), ("leaf", 4)))
        thread = process.thread(1, 7001, "MainThread")
        process.file(thread.file)
        process.segment(2)
        process.file(SHORT_THREADS)
        thread.block([call(1000, main), call(2000, leaf)])
        process.segment(3)
        process.file("thread-9.zst")
        process.segment(4)
        thread.block([open_(main), open_(leaf), return_(4000, leaf), return_(5000, main)], begin=3000, flags=LAST)
        process.segment(5)
        process.file(thread.file)
        process.end(6000)


def evicted(path):
    """Segments 1 to 4 were evicted. Threads begin with any block. One is complete; of one only the name is left."""
    with Capture(path) as capture:
        process = capture.process(7, command="dropped.py", max_size=16 << 20)
        main, work, leaf = (process.function("__main__", name, "dropped.py", line)
                            for name, line in (("main", 1), ("work", 4), ("leaf", 8)))
        numbers = process.function("__main__", "numbers", "dropped.py", 12, GENERATOR)
        g = 0x4400_0001
        one, two, _, four = (process.thread(n, 7000 + n, name) for n, name in
                             ((1, "MainThread"), (2, "worker"), (3, "gone"), (4, "late")))
        ms = 1_000_000
        process.segments.clear()
        process.segment(5)
        one.block([open_(main), open_(numbers, g), call(3001 * ms, leaf), return_(3002 * ms, leaf),
                   yield_(3003 * ms, numbers, g)], begin=3000 * ms, end=3300 * ms, flags=RESYNC, sequence=17)
        two.block([open_(work), call(2500 * ms, leaf), return_(3200 * ms, leaf)], begin=2000 * ms,
                  flags=DEEPER | PAUSED, sequence=2)
        process.segment(6)
        four.block([call(1500 * ms, work), call(3500 * ms, leaf), return_(3600 * ms, leaf), return_(3700 * ms, work)],
                   begin=1000 * ms, flags=LAST)
        one.block([open_(main), resume(4000 * ms, numbers, g), finish(4001 * ms, numbers, g), return_(4100 * ms, main)],
                  begin=3300 * ms, flags=LAST)
        two.block([open_(work), return_(4200 * ms, work)], begin=3900 * ms, flags=LAST)
        process.end(5000 * ms)


def evicted_and_killed(path):
    """Three processes that were killed or ended long ago. All their segments were evicted; one still has chunks."""
    with Capture(path) as capture:
        for pid in 7, 12, 15:
            process = capture.process(pid, command=f"dropped-{pid}.py", last_ns=10**9)
            main, leaf = (process.function("__main__", name, "dropped.py", line)
                          for name, line in (("main", 1), ("leaf", 4)))
            thread = process.thread(1, pid, "MainThread")
            process.segments.clear()
            if pid == 7:
                process.leave_live([thread.chunk([open_(main), call(5000, leaf), return_(6000, leaf)], begin=4000,
                                                 sequence=3)], at=7000)
            elif pid == 12:
                process.end(8000)
            else:                       # killed at its start
                process.leave_live([thread.chunk([call(5000, main), call(6000, leaf)])], at=7000)


def short_threads(path):
    """Threads that ended with a single block, in the file for such threads. One has blocks in a file of its own as
    well, which a reader must accept. A coroutine moves from one to another."""
    with Capture(path) as capture:
        process = capture.process(7, command="short.py")
        main, work, leaf = (process.function("__main__", name, "short.py", line)
                            for name, line in (("main", 1), ("work", 4), ("leaf", 8)))
        shared = process.function("__main__", "shared", "short.py", 12, COROUTINE)
        g = 0x4400_0001
        one = process.thread(1, 7001, "MainThread")
        one.block([call(1000, main), call(1100, leaf), return_(1200, leaf)])
        for n in range(2, 6):
            at = 1000 * n
            records = [call(at, work), resume(at + 100, shared, g), yield_(at + 200, shared, g), return_(at + 300, work)]
            if n == 2:
                records[1] = start(at + 100, shared, g)
            elif n == 5:
                records[2] = finish(at + 200, shared, g)
            process.thread(n, 7000 + n, f"Thread-{n} (work)").block(records, flags=LAST, is_short=True)
            if n == 3:
                process.segment(2)
        one.block([open_(main), call(7000, leaf), return_(7100, leaf)], begin=6000, is_short=True)
        one.block([open_(main), return_(8000, main)], begin=7500, flags=LAST)
        process.end(9000)


def killed_and_finished(path):
    """A killed process whose chunks another process has written as blocks: complete, except for an end."""
    with Capture(path) as capture:
        process = capture.process(7, command="finished.py")
        main, work = (process.function("__main__", name, "finished.py", line) for name, line in (("main", 1), ("work", 4)))
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "worker")
        one.block([call(1000, main), call(2000, work), return_(3000, work)])
        process.segment(2)
        one.block([open_(main), call(6000, work)], begin=5000)
        two.block([call(4000, work), return_(7000, work), call(8000, work)])
        for key, value in zip(("killed_ticks", "killed_monotonic_ns", "killed_realtime_ns"),
                              process.clock.instant(9000)):
            process.add_property(key, value)


def paused(path):
    """Recording was paused between blocks. Exits of frames that ended meanwhile are missing; other frames continue."""
    with Capture(path) as capture:
        process = capture.process(7, command="paused.py")
        main, work, leaf = (process.function("__main__", name, "paused.py", line)
                            for name, line in (("main", 1), ("work", 4), ("leaf", 8)))
        numbers = process.function("__main__", "numbers", "paused.py", 12, GENERATOR)
        g = 0x4400_0001
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "worker")
        one.block([open_(main), call(2000, work), return_(3000, work),          # no pause before the first block
                   start(3100, numbers, g), yield_(3200, numbers, g),
                   call(3300, work), call(3400, leaf)], begin=1000, end=4000, flags=PAUSED)
        two.block([call(1000, work), call(2000, leaf)], end=4000)
        one.block([open_(main), open_(work), return_(9000, work), resume(9100, numbers, g), yield_(9200, numbers, g)],
                  begin=8000, end=9500, flags=PAUSED)                           # leaf has ended
        two.block([open_(work), open_(leaf), return_(9000, leaf)], begin=8500, end=9500,
                  flags=PAUSED)                                                 # nothing has changed
        one.block([open_(main), open_(leaf), return_(13_000, leaf)], begin=12_000, flags=PAUSED | RESYNC)
        one.block([open_(main), call(14_000, work)], begin=13_500, end=15_000)
        one.block([open_(main), return_(20_000, main)], begin=19_000, flags=PAUSED | LAST)
        two.block([call(20_000, leaf), return_(20_500, leaf)], begin=19_500, flags=PAUSED | LAST)   # work has ended
        process.end(21_000)


def greenlets(path):
    """The main greenlet and two others in turn, over three blocks. A generator continues in another greenlet."""
    with Capture(path) as capture:
        process = capture.process(7, command="greenlets.py")
        main, work, leaf = (process.function("__main__", name, "greenlets.py", line)
                            for name, line in (("main", 1), ("work", 4), ("leaf", 8)))
        shared = process.function("__main__", "shared", "greenlets.py", 12, GENERATOR)
        g = 0x4400_0001
        thread = process.thread(1, 7001, "MainThread")
        one = process.track(2, 7001, "greenlet at 0x7f0000000010")
        two = process.track(3, 7001, "greenlet at 0x7f0000000020")
        late = process.thread(4, 7002, "Thread-1 (work)")           # one row of numbers
        other = process.track(5, 7002, "Greenlet at 0x7f0000000030")
        process.track(6, 7001, "never ran")
        process.track(7, 7001, "")
        thread.block([
            call(1000, main), create(1100, shared, g),
            switch(2000, one, SWITCH_OPEN), call(2100, work),       # a new one: nothing is open
            start(2200, shared, g), yield_(2300, shared, g), call(2400, leaf),
            switch(3000, two, SWITCH_OPEN), call(3100, work),
            resume(3200, shared, g), yield_(3300, shared, g),       # the flow continues in another track
            switch(4000, 0), call(4100, leaf), return_(4200, leaf),         # the block began with it
            switch(5000, one), return_(5100, leaf),                 # its stack is known in this block
            resume(5200, shared, g), call(5300, leaf),              # left open with the frames around it
            switch(6000, two), call(6100, leaf),
        ], end=6500)
        thread.block([                                              # begins in a track
            open_(work), open_(leaf), return_(7100, leaf), unwind(7200, work),
            switch(8000, 0, SWITCH_OPEN), open_(main), call(8100, leaf), return_(8200, leaf),
            switch(9000, one, SWITCH_OPEN), open_(work), open_(shared, g), open_(leaf),
            return_(9100, leaf), yield_(9200, shared, g), call(9300, leaf),
            switch(9300, 0), switch(9300, one), return_(9300, leaf),        # at the same time
            switch(10_000, 0), resume(10_100, shared, g), finish(10_200, shared, g),
            switch(11_000, two, SWITCH_OPEN),                       # it has ended
        ], begin=7000, end=11_500, track=two)
        thread.block([
            open_(main), lost(12_100, 3),                           # in the thread's own stack
            switch(13_000, one, SWITCH_OPEN | SWITCH_DEEPER), open_(leaf), left(13_100, 1),
            switch(14_000, two, SWITCH_OPEN), open_(work), return_(14_100, work),   # its entry is missing
            call(14_200, leaf),
            switch(15_000, 7, SWITCH_OPEN), call(15_100, leaf),
            switch(16_000, 0), return_(16_100, main),
        ], begin=12_000, end=17_000, flags=RESYNC | LAST)
        late.block([call(3000, work), switch(3050, other, SWITCH_OPEN), open_(main),    # open before recording began
                    call(4000, leaf), return_(5000, leaf), switch(6000, 0), return_(7000, work),
                    switch(8000, other)])                           # open at the end
        process.end(20_000)


def forked(path):
    """Processes that were forked, executed or named, in several combinations."""
    with Capture(path) as capture:
        for pid, begin, properties in ((7, 0, {}), (8, 5000, {"born": "fork", "parent_pid": 7}),
                                  (9, 6000, {"born": "fork", "parent_pid": 7, "process_name": "Process-1"}),
                                  (10, 7000, {"born": "exec", "parent_pid": 8, "command": "-c pass"}),
                                  (11, 8000, {"born": "exec", "parent_pid": 7, "process_name": "Wörker \"2\""}),
                                  (12, 9000, {"born": "fork", "command": None}), (13, 9500, {"process_name": ""})):
            process = capture.process(pid, command=properties.pop("command", "forked.py"), **properties, clock=Clock(
                start_ticks=START_MONOTONIC_NS + begin, start_monotonic_ns=START_MONOTONIC_NS + begin))
            main = process.function("__main__", "main", "forked.py", 1)
            work = process.function("__main__", "work", "forked.py", 4)
            thread = process.thread(1, pid, "MainThread")
            thread.block([*([open_(main)] if properties.get("born") == "fork" else [call(50, main)]),
                          call(100, work), return_(900, work), return_(1000, main)], begin=0, flags=LAST)
            if pid == 9:
                process.add_property("process_name", "Process-1:1")         # renamed: the latest name counts
            process.end(1500)


def creations(path):
    """Spawn arrows of generators and coroutines, and cases without an arrow."""
    with Capture(path) as capture:
        process = capture.process(7, command="creations.py")
        main, work = (process.function("__main__", name, "creations.py", line)
                      for name, line in (("main", 1), ("work", 4)))
        numbers = process.function("__main__", "numbers", "creations.py", 9, GENERATOR)
        task = process.function("__main__", "task", "creations.py", 20, COROUTINE)
        ticks = process.function("__main__", "ticks", "creations.py", 30, ASYNC_GENERATOR)
        apply = process.function("builtins", "map", "", 0, C_FUNCTION)
        a, b, c, d, e = (0x5500_0000_01 + i for i in range(5))
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "Thread-1 (work)")
        one.block([
            create(500, numbers, a),                        # in no slice
            start(600, numbers, a), yield_(700, numbers, a),
            call(1000, main),
            create(1100, numbers, a),                       # a plain case; the address belonged to another one before
            start(1200, numbers, a), yield_(1300, numbers, a), resume(1400, numbers, a), finish(1500, numbers, a),
            create(2000, task, a), create(2000, task, b), create(2000, ticks, c),       # at the same time
            start(2000, task, a),                           # one of them makes another one, which runs at once
            create(2000, numbers, d), start(2000, numbers, d), finish(2000, numbers, d),
            yield_(2000, task, a),
            start(2100, task, b), finish_unwind(2200, task, b),
            create(2300, numbers, b),                       # it never runs: the address is used again
            create(2400, numbers, b), create(2500, task, d),            # both run in another thread
            c_call(3000, apply), create(3100, numbers, e), start(3200, numbers, e), finish(3300, numbers, e),
            c_return(3400, apply),                          # a C function made it
            resume(3500, task, a),
            call(3600, work), create(3650, numbers, e), return_(3700, work), finish(3800, task, a),
            start(3900, numbers, e), yield_(4000, numbers, e),          # after the end of the frame that made it
            resume(4050, ticks, c), yield_(4060, ticks, c),             # its first slice is missing
            create(4100, task, a), start(4200, numbers, a), finish(4300, numbers, a),   # its first slice is missing
            create(4400, work, a), create(4500, 99, a), create(4600, task, 0),  # invalid ones
            create(5000, task, c),                          # it has not run
            return_(9000, main),
        ], flags=LAST)
        two.block([call(2600, work), start(2700, numbers, b), yield_(2800, numbers, b), start(2900, task, d),
                   finish(3000, task, d), return_(3100, work)], flags=LAST)
        process.end(10_000)


def creations_min_duration(path):
    """Spawn arrows where short slices are left out. Whether a slice is short may be known only when it ends."""
    with Capture(path) as capture:
        process = capture.process(7, command="creations.py", min_duration_ns=1000)
        main, work = (process.function("__main__", name, "creations.py", line)
                      for name, line in (("main", 1), ("work", 4)))
        numbers = process.function("__main__", "numbers", "creations.py", 9, GENERATOR)
        a, b, c, d = (0x5500_0000_01 + i for i in range(4))
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "Thread-1 (work)")
        one.block([
            call(1000, main),
            call(1100, work), create(1200, numbers, a), return_(1300, work),    # the slice that made it is not retained
            start(1400, numbers, a), finish(2500, numbers, a),
            call(3000, work), create(3100, numbers, a), create(3110, numbers, b),   # it is retained because of its contents:
            start(3200, numbers, a), finish(3300, numbers, a),          # not because of this one, too short itself
            start(3400, numbers, b), yield_(4500, numbers, b), return_(4550, work),     # because of this one
            call(5000, work), create(5100, numbers, a), create(5200, numbers, c),
            call(5300, work), create(5400, numbers, d), return_(5500, work),    # an inner one is not retained
            return_(7000, work),                                        # it is retained, which is known only here
            start(7100, numbers, c), yield_(8200, numbers, c),
            call(9000, work), create(9100, numbers, c), return_(9200, work),    # the address again, for a short time
            start(9300, numbers, c), yield_(10_400, numbers, c),
            call(11_000, work), call(11_100, work), create(11_200, numbers, c), lost(11_300, 3),
            return_(11_400, work), return_(11_500, work),               # both are retained because events were lost
            start(11_600, numbers, c), yield_(12_700, numbers, c),
            call(13_000, work), create(14_500, numbers, c), start(14_600, numbers, c), finish(15_700, numbers, c),
            return_(15_800, work),                                      # open for long when it makes it
            call(16_000, work), create(16_100, numbers, c),             # open at the end
        ])
        two.block([call(5150, main), start(5600, numbers, a), finish(6700, numbers, a),     # before that is known
                   start(6750, numbers, d), finish(7900, numbers, d),
                   start(16_150, numbers, c), lost(16_160, 1), finish(16_170, numbers, c), return_(16_200, main)],
                  flags=LAST)
        process.end(16_500, lost=4)


def tasks(path):
    """Tasks of asyncio, and coroutines that are not tasks. The second process is recorded without asyncio."""
    with Capture(path) as capture:
        process = capture.process(7, command="tasks.py")
        run = process.function("asyncio.runners", "Runner.run", "/usr/lib/python3.11/asyncio/runners.py", 86)
        step = process.function("asyncio.events", "Handle._run", "/usr/lib/python3.11/asyncio/events.py", 78)
        sleep = process.function("asyncio.tasks", "sleep", "/usr/lib/python3.11/asyncio/tasks.py", 627, COROUTINE)
        context = process.function("builtins", "Context.run", "", 0, C_FUNCTION)
        by_hand = process.function("asyncio_like", "drive", "like.py", 1)
        main, child, late = (process.function("__main__", name, "tasks.py", line, COROUTINE)
                             for name, line in (("main", 10), ("child", 20), ("late", 30)))
        ticker = process.function("__main__", "ticker", "tasks.py", 40, ASYNC_GENERATOR)
        m, c, d, s, t, e = (0x7f12_3450 + i for i in range(6))
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "Thread-1 (loop)")
        one.block([
            create(500, main, m), call(1000, run),
            call(1100, step), start(1200, main, m), create(1250, child, c), create(1260, child, d),
            yield_(1300, main, m), return_(1400, step),
            call(1500, step), start(1600, child, c), create(1610, sleep, s), start(1620, sleep, s),     # awaited
            yield_(1650, sleep, s), yield_(1700, child, c), return_(1800, step),
            call(1900, step), c_call(1910, context), start(1920, child, d), yield_(1930, child, d),
            c_return(1940, context), return_(1950, step),
            call(2000, step), resume(2100, child, c), resume(2110, sleep, s), finish(2120, sleep, s),
            finish(2200, child, c), return_(2300, step),
            call(2400, step), start(2500, ticker, t), yield_(2600, ticker, t), return_(2700, step),     # no coroutine
            call(3000, step), resume(3100, main, m), call(3150, by_hand), start(3200, child, c), yield_(3300, child, c),
            resume(3310, child, c), finish(3320, child, c), return_(3350, by_hand), yield_(3400, main, m),
            return_(3500, step),                                        # run by hand
            call(3600, step), resume(3700, child, d), finish_unwind(3800, child, d), return_(3900, step),
            call(4000, step), start(4000, child, e), yield_(4000, child, e), resume(4000, child, e), # at the same time
            yield_(4000, child, e), return_(4000, step),
            call(4050, step), start(4060, child, e), yield_(4070, child, e), return_(4080, step),   # the address again
            call(4100, step), resume(4200, late, s), yield_(4300, late, s), return_(4400, step),    # its begin is missing
            call(5000, step), resume(5100, main, m),                    # open at the end, others are suspended
        ], end=6000)
        two.block([call(3000, run), call(3650, step), resume(3950, child, e), return_(3960, step)])     # no task yet
        process.end(7000)
        process = capture.process(8, command="no_stdlib.py", filters="no-stdlib", clock=Clock(
            start_ticks=START_MONOTONIC_NS + 10_000, start_monotonic_ns=START_MONOTONIC_NS + 10_000))
        module = process.function("__main__", "<module>", "no_stdlib.py", 1)
        main, child = (process.function("__main__", name, "no_stdlib.py", line, COROUTINE)
                       for name, line in (("main", 10), ("child", 20)))
        thread = process.thread(1, 8001, "MainThread")
        thread.block([
            call(500, module), create(600, main, m),
            start(1000, main, m), create(1100, child, c), create(1110, child, d), start(1200, child, d),
            finish(1300, child, d), yield_(1400, main, m),
            start(1500, child, c), yield_(1600, child, c), resume(1700, child, c), finish(1800, child, c),
            resume(1900, main, m), finish(2000, main, m), return_(3000, module),
        ], flags=LAST)
        process.end(4000)


def waits(path):
    """What tasks wait for: by the functions of asyncio that are suspended with them, and by those of the program."""
    with Capture(path) as capture:
        process = capture.process(7, command="waits.py")
        step = process.function("asyncio.events", "Handle._run", "/usr/lib/python3.12/asyncio/events.py", 78)
        read, wait_for_data, aexit = (
            process.function(f"asyncio.{module}", name, f"/usr/lib/python3.12/asyncio/{module}.py", line, COROUTINE)
            for module, name, line in (("streams", "StreamReader.read", 700), ("streams", "StreamReader._wait", 520),
                                       ("taskgroups", "TaskGroup.__aexit__", 60)))
        sleep0 = process.function("asyncio.tasks", "__sleep0", "/usr/lib/python3.12/asyncio/tasks.py", 630,
                                  ITERABLE_COROUTINE)
        await_ = process.function("asyncio.futures", "Future.__await__", "/usr/lib/python3.12/asyncio/futures.py", 280,
                                  GENERATOR)
        plain = process.function("__main__", "plain", "waits.py", 1)
        worker, fetch = (process.function("__main__", name, "waits.py", line, COROUTINE)
                         for name, line in (("worker", 10), ("fetch", 20)))
        numbers = process.function("__main__", "numbers", "waits.py", 30, ASYNC_GENERATOR)
        debug, running = (process.function("asyncio.base_events", f"BaseEventLoop.{name}", "base_events.py", line)
                          for name, line in (("get_debug", 1), ("is_running", 2)))
        label = process.function("", "part", "", 0, LABEL)
        w, f, r, d, a, s, n, e = (0x7f12_3450 + i for i in range(8))
        thread = process.thread(1, 7001, "MainThread")
        thread.block([                      # the row goes on in the next block
            call(100, step), start(110, worker, w), start(120, fetch, f), start(130, read, r), start(140, wait_for_data, d),
            yield_(150, wait_for_data, d), yield_(160, read, r)])
        thread.block([open_(step), open_(worker, w), open_(fetch, f),
            yield_(170, fetch, f), yield_(180, worker, w), return_(190, step),
            call(200, step), resume(210, worker, w), resume(220, fetch, f), resume(230, read, r), finish(240, read, r),
            yield_(250, fetch, f), yield_(260, worker, w), return_(270, step),          # a future, in fetch
            call(300, step), resume(310, worker, w), resume(320, fetch, f), finish(330, fetch, f),
            start(340, aexit, a), yield_(350, aexit, a), yield_(360, worker, w), return_(370, step),
            call(400, step), resume(410, worker, w), resume(420, aexit, a), finish(430, aexit, a),
            start(440, sleep0, s), yield_(450, sleep0, s), yield_(460, worker, w), return_(470, step),  # private: all there is
            call(500, step), resume(510, worker, w), resume(520, sleep0, s), finish(530, sleep0, s),
            start(540, await_, s), yield_(550, await_, s), yield_(560, worker, w), return_(570, step),
            call(600, step), resume(610, worker, w), resume(620, await_, s), finish(630, await_, s),
            start(640, numbers, n), yield_(650, numbers, n), yield_(660, worker, w), return_(670, step),   # a value, or not
            call(700, step), resume(710, worker, w), resume(720, numbers, n), yield_(730, numbers, n), call(740, plain),
            return_(750, plain), yield_(760, worker, w), return_(770, step),            # after a value
            call(800, step), resume(810, worker, w), call(820, debug), return_(821, debug), call(822, running),
            return_(823, running), start(830, fetch, e), start(840, read, r), yield_(850, read, r), yield_(860, fetch, e),
            yield_(870, worker, w), return_(880, step),                                 # fetch is a task that began at once
            call(900, step), resume(910, worker, w), *remark("SPAN", 920, label), start(930, read, d), *remark("SPAN", 931, label),
            yield_(940, read, d), yield_(950, worker, w), return_(960, step),           # in spans
            call(1000, step), resume(1010, worker, w), lost(1020, 3), yield_(1030, worker, w), return_(1040, step),
        ], flags=LAST)
        process.end(2000, lost=3)


def task_names(path):
    """Names of tasks: set before the first run and in it, later, by others, never; in a span, over the begin of a block. A
    task that waits for another one."""
    with Capture(path) as capture:
        process = capture.process(7, command="names.py", task_names=1)
        step = process.function("asyncio.events", "Handle._run", "/usr/lib/python3.12/asyncio/events.py", 78)
        sleep = process.function("asyncio.tasks", "sleep", "/usr/lib/python3.12/asyncio/tasks.py", 627, COROUTINE)
        worker, other = (process.function("__main__", name, "names.py", line, COROUTINE)
                         for name, line in (("worker", 10), ("other", 20)))
        label, name, task = (process.function("", text, "", 0, LABEL) for text in ("part", "name", "task"))
        a, b, c, d, s = (0x7f12_3450 + i for i in range(5))
        thread = process.thread(1, 7001, "MainThread")
        thread.block([
            call(100, step), start(110, worker, a), *remark("TASK", 111, worker, ("name", "Task-1")), start(120, sleep, s),
            yield_(130, sleep, s), *remark("TASK", 140, worker, ("name", "first")), yield_(150, worker, a), return_(160, step),
            call(200, step), start(210, other, b), *remark("TASK", 211, other, ("name", "tea & \u00fc\"\n")),
            *remark("SPAN", 212, label), *remark("TASK", 220, other, ("task", "first")), yield_(230, other, b),
            return_(240, step),
            call(300, step), start(310, other, c), yield_(320, other, c), return_(330, step),           # it has no name
            call(400, step), resume(410, worker, a), *remark("TASK", 420, worker, ("name", "last"))])
        thread.block([open_(step), open_(worker, a), finish(430, worker, a), return_(440, step),
            call(500, step), start(510, worker, a), *remark("TASK", 511, worker, ("name", "again")),    # the identity again
            *remark("TASK", 520, other, ("name", "of nobody")), yield_(530, worker, a), return_(540, step),
            call(600, step), resume(610, other, c), *remark("TASK", 620, other, ("name", "late"), ("task", "again")),
            yield_(630, other, c), return_(640, step),
            call(700, step), start(710, other, d), *remark("TASK", 711, other, ("name", "running")),
        ], end=900)
        process.end(1000)


def task_names_killed(path):
    """The worked example of specs/capture-format.md, section 12.9."""
    with Capture(path) as capture:
        process = capture.process(7, command="names.py", task_names=1)
        worker = process.function("__main__", "worker", "names.py", 1, kind=COROUTINE)
        name = process.function("", "name", "", 0, kind=LABEL)
        thread = process.thread(1, 7001, "MainThread")
        process.leave_live([thread.chunk([start(1000, worker, 0x7f12_3450),
                                          *remark("TASK", 1010, worker, (name, "fetch 7"))], begin=900)], at=2000)


def lag(path):
    """Iterations of event loops, in two threads: short ones, long ones, one that is not complete. The second process has no
    iterations."""
    ms = 1_000_000
    with Capture(path) as capture:
        process = capture.process(7, command="lag.py")
        once = process.function("asyncio.base_events", "BaseEventLoop._run_once", "base_events.py", 1900)
        run = process.function("asyncio.events", "Handle._run", "events.py", 78)
        select = process.function("selectors", "EpollSelector.select", "selectors.py", 435)
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "loop \u00fc")
        one.block([
            call(0, once), call(10, select), return_(5 * ms, select), call(5 * ms + 10, run), return_(6 * ms, run),
            call(6 * ms + 10, run), return_(8 * ms, run), return_(9 * ms, once),
            call(9 * ms + 10, once), call(9 * ms + 20, run), return_(9 * ms + 900_000, run), return_(10 * ms, once),
            call(10 * ms + 10, once), call(10 * ms + 20, select), return_(20 * ms, select), return_(20 * ms + 10, once),
            call(21 * ms, once), call(21 * ms, run), return_(22 * ms, run), call(22 * ms + 10, run)], end=30 * ms)
        two.block([call(ms, once), call(2 * ms, run), return_(4 * ms, run), return_(4 * ms + 10, once)], flags=LAST)
        process.end(31 * ms)
        process = capture.process(8, command="lag.py")
        run = process.function("asyncio.events", "Handle._run", "events.py", 78)
        thread = process.thread(1, 8001, "MainThread")
        thread.block([call(0, run), return_(3 * ms, run), call(4 * ms, run), return_(4 * ms + 10, run)], flags=LAST)
        process.end(5 * ms)


def works(path):
    """Work that is handed to other threads: to functions of the standard library that are recorded, and to some that are
    not. Identities that are used again, a C function, work that is never done, and records that are missing."""
    with Capture(path) as capture:
        process = capture.process(7, command="works.py")
        main, work, other = (process.function("__main__", name, "works.py", line)
                             for name, line in (("main", 1), ("work", 5), ("other", 9)))
        handed = process.function("__main__", "handed", "works.py", 13, COROUTINE)
        run = process.function("concurrent.futures.thread", "_WorkItem.run", "thread.py", 53)
        a, b, c, d, e, f, g, h = (0x7f12_3450 + i for i in range(8))
        one, two, three = (process.thread(i + 1, 7001 + i, name) for i, name in enumerate(("MainThread", "pool_0", "pool_1")))
        one.block([
            submit(100, 0, h),                                             # in no slice: no arrow
            call(1000, main), submit(1100, 0, a), submit(1200, 0, b), submit(1300, 0, c), call(1400, other), submit(1500, 0, d),
            return_(1600, other), submit(1700, 0, a), submit(2100, 0, e), submit(2500, 0, b), submit(2510, 0, f), submit(3500, 0, g)])
        one.block([open_(main), lost(4000, 7), submit(4600, 0, f), return_(9000, main)], flags=LAST)
        two.block([
            take(1150, 0, a), call(1160, run), call(1170, work), return_(1180, work), return_(1190, run),
            take(1650, 0, c), call(1660, work), return_(1670, work), take(1680, 0, 0), call(1690, other), return_(1700, other),
            take(2000, 0, h), call(2010, run), return_(2020, run),
            take(2200, 0, e), start(2210, handed, h), finish(2250, handed, h),                 # a coroutine
            take(2300, 0, d), take(2400, 0, 0), call(2450, other), return_(2460, other),          # a C function
            take(2600, 0, b)])                                             # submitted twice: the second time counts
        two.block([call(2700, run), return_(2710, run), take(5000, 0, g), call(5010, run), return_(5020, run),     # forgotten
                   take(5100, 0, f), call(5110, run)], flags=LAST)
        three.block([take(1800, 0, a), call(1810, run), return_(1820, run)], flags=LAST)
        process.end(10_000, lost=7)


def works_killed(path):
    """The worked example of specs/capture-format.md, section 12.8."""
    with Capture(path) as capture:
        process = capture.process(7, command="works.py")
        main = process.function("__main__", "main", "works.py", 1)
        run = process.function("concurrent.futures.thread", "_WorkItem.run", "thread.py", 53)
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "pool_0")
        process.leave_live([one.chunk([call(1000, main), submit(1100, 0, 0x7f12_3450)], begin=900),
                            two.chunk([take(1150, 0, 0x7f12_3450), call(1160, run)], begin=1120)], at=2000)


def store(data):
    """A zstd frame with the data as one raw block, which is readable."""
    return (bytes.fromhex("28 b5 2f fd 24") + bytes([len(data)]) + (len(data) << 3 | 1).to_bytes(3, "little") + data
            + compress(data)[-4:])


def with_strings(entry, strings):
    """Returns the name entry with other bytes as its strings."""
    sizes = [len(string) for string in strings]
    head = struct.pack("<I", 40 + sum(sizes)) + entry[4:16] + struct.pack("<3I", *sizes) + bytes(4)
    body = b"".join(strings)
    return head + struct.pack("<Q", check(head + body)) + body


def stack_again(path):
    """A SWITCH to the track that runs: its stack anew, with frames that ran unrecorded so far."""
    with Capture(path) as capture:
        process = capture.process(7, command="again.py")
        main, work, leaf = (process.function("__main__", name, "again.py", line)
                            for name, line in (("main", 1), ("work", 4), ("leaf", 8)))
        numbers = process.function("__main__", "numbers", "again.py", 12, GENERATOR)
        g = 0x4400_0001
        thread, track = process.thread(1, 7001, "MainThread"), process.track(2, 7001, "greenlet")
        thread.block([
            call(1000, main), start(1100, numbers, g), yield_(1200, numbers, g),
            switch(2000, 0, SWITCH_OPEN), open_(main), open_(work), open_(leaf), return_(2500, leaf),
            call(2600, leaf), return_(2700, leaf),
            switch(2800, 0, SWITCH_OPEN | SWITCH_DEEPER), open_(work), open_(numbers, g),  # only the innermost frames
            yield_(2900, numbers, g), return_(3000, work),
            switch(3100, 0), call(3200, leaf),                              # no list: nothing changes
            switch(3300, 0, SWITCH_OPEN), open_(main), open_(leaf),         # nothing is new
            switch(3400, track, SWITCH_OPEN), call(3500, work),
            switch(3600, track, SWITCH_OPEN), open_(work), open_(leaf), return_(3700, leaf), return_(3800, work),
            switch(3900, 0), return_(4000, leaf),
            call(4100, work), switch(4200, 0, SWITCH_ADDED), open_(work), open_(leaf), open_(work),     # inwards of main, work
            return_(4300, work), return_(4350, leaf), return_(4400, work), return_(4500, work),
            switch(4600, 0, SWITCH_ADDED), call(4700, leaf), return_(4800, leaf),                       # nothing is new
            return_(5000, main),
        ], flags=LAST)
        process.end(6000)


# ---- what is muted: specs/capture-format.md, section 4.1. tests/format/test_ledger.py has what each of them means ----

def budget(capture, pid=7, **properties):
    """A process that records with a budget: its functions main, tiny and work, its thread, its ledger."""
    process = capture.process(pid, command="budget.py", engine="monitoring", max_overhead="3", event_cost_ns="33.6",
                              **properties)
    functions = [process.function("__main__", name, "budget.py", line)
                 for name, line in (("main", 1), ("tiny", 5), ("work", 9))]
    return process, *functions, process.thread(1, pid * 1000 + 1, "MainThread"), process.ledger(2)


def ledger(path):
    """The worked example of specs/capture-format.md, section 12.3: a function is muted while one of its frames runs, a
    slow call, a window, and it is admitted."""
    with Capture(path) as capture:
        process, main, tiny, _, thread, ledger = budget(capture)
        compress, capture_writer.compress = capture_writer.compress, store
        thread.block([
            call(1000, main), call(1100, tiny), return_(1150, tiny),
            call(1200, tiny), return_(1260, tiny),                          # muted meanwhile: a recorded frame
            switch(3500, 0, SWITCH_OPEN), open_(main), open_(tiny), return_(4000, tiny),   # one that turned out slow
            call(5100, tiny), return_(5200, tiny),                          # in a window
            call(7100, tiny), return_(7200, tiny),
            return_(8000, main)], flags=LAST)
        ledger.block([mute(1230, tiny), cost(5000, 4000, 202), window(5000, 1), cost(6000, 1000, 67), window_end(6000, 1),
                      admit(7000, tiny)], begin=0, end=9000, flags=LAST)
        capture_writer.compress = compress
        process.end(10_000)


def ledger_windows(path):
    """Recursion, frames around a recorded one, a MUTE in a window, calls of C functions, two threads."""
    with Capture(path) as capture:
        process, main, walk, leaf, one, ledger = budget(capture)
        length = process.function("builtins", "len", "", 0, C_FUNCTION)
        two = process.thread(3, 7003, "worker")
        one.block([
            call(1000, main), call(1100, walk), call(1200, walk),           # both are recorded frames when walk is muted
            call(1500, leaf),                                               # called by a walk that is not recorded ...
            switch(1600, 0, SWITCH_OPEN), open_(main), open_(walk), open_(walk), open_(leaf), open_(walk),
            return_(1700, walk), return_(1750, leaf),                       # ... nor is its exit
            return_(1800, walk), call(1850, walk), return_(1950, walk), return_(2000, walk),
            c_call(2010, length), c_return(2020, length),
            c_call(3100, length), c_raise(3200, length),
            call(3350, leaf), return_(3380, leaf), call(3450, leaf), return_(3500, leaf),
            return_(4000, main)], flags=LAST)
        two.block([call(1250, main), call(1260, walk), return_(1400, walk), call(1620, walk), return_(1630, walk),
                   return_(9000, main)], flags=LAST)
        ledger.block([
            mute(1300, walk), cost(1600, 600, 200), window(1600, 1), cost(1900, 300, 300), window_end(1900, 1),
            mute(2100, main, C_CALLS), admit(3000, main, C_CALLS), cost(3300, 1400, 90), window(3300, 1),
            mute(3400, leaf)], begin=500)
        ledger.block([muted(leaf), muted(walk), window(3550, 2), cost(3600, 300, 40), window_end(3600, 2),
                      cost(4500, 900, 2**32 - 1)],
                     begin=3550, flags=LAST)
        process.end(9500)


def ledger_flows(path):
    """Flows of generators that are suspended, run, or are made while their function is muted."""
    with Capture(path) as capture:
        process, main, _, _, thread, ledger = budget(capture)
        numbers, other = (process.function("__main__", name, "budget.py", line, GENERATOR)
                          for name, line in (("numbers", 20), ("other", 30)))
        a, b, c, d, e, f = range(0x1001, 0x1007)
        thread.block([
            call(1000, main),
            start(1100, numbers, a), yield_(1200, numbers, a),              # suspended when it is muted
            start(1250, numbers, b), yield_(1400, numbers, b),              # runs when it is muted
            start(1450, other, c), yield_(1500, other, c),
            resume(2100, numbers, a), yield_(2200, numbers, a),             # in a window
            resume(2210, numbers, b), yield_(2220, numbers, b),
            resume(2300, numbers, a), yield_(2400, numbers, a),
            resume(3100, numbers, a), yield_(3200, numbers, a),             # it is admitted again
            resume(3300, numbers, a), finish(3400, numbers, a),
            resume(3500, other, c), finish(3600, other, c),                 # never muted
            create(3700, numbers, d), start(3900, numbers, d), finish(4000, numbers, d),    # muted in between
            create(4090, numbers, e),
            start(4100, numbers, e), yield_(4300, numbers, e),              # muted and admitted while it runs
            resume(4400, numbers, e), finish(4500, numbers, e),
            start(4600, numbers, f), yield_(4700, numbers, f),
            resume(4800, numbers, f), yield_(4850, numbers, f),             # at the ticks of MUTE: after it
            resume(4900, numbers, f), finish(4950, numbers, f),             # at those of ADMIT: after it
            return_(5000, main)], flags=LAST)
        ledger.block([mute(1300, numbers), cost(2000, 900, 200), window(2000, 1), cost(2500, 500, 200),
                      window_end(2500, 1), admit(3000, numbers),
                      mute(3750, numbers), admit(3800, numbers), mute(4150, numbers), admit(4200, numbers),
                      mute(4800, numbers), admit(4900, numbers), cost(5000, 2500, 600)], begin=0, flags=LAST)
        process.end(6000)


def ledger_evicted(path):
    """The first segments were evicted: what was muted is known from the first block of the ledger on, in a window."""
    with Capture(path) as capture:
        process, main, tiny, work, thread, ledger = budget(capture, max_size=16 << 20)
        other = process.function("__main__", "other", "budget.py", 30, GENERATOR)
        g = 0x1001
        process.segments.clear()
        process.segment(3)
        thread.block([open_(main), resume(2100, other, g), yield_(2200, other, g), resume(2300, other, g),
                      yield_(2400, other, g)], begin=2000, sequence=5)      # it may have been muted in between
        ledger.block([muted(tiny), muted(work, C_CALLS), window(3000, 2), cost(3200, 10_000, 300), window_end(3200, 2)],
                     begin=3000, end=3300, sequence=4)
        process.segment(4)
        thread.block([open_(main), resume(3100, other, g), yield_(3150, other, g), resume(3400, other, g),
                      finish(3500, other, g), call(4100, tiny), return_(4200, tiny), return_(5000, main)],
                     begin=3000, flags=LAST)
        ledger.block([muted(work, C_CALLS), muted(tiny), admit(4000, tiny)], begin=3900, flags=LAST)
        process.end(6000)


def ledger_window_cut(path):
    """The first block that exists begins in a window, of which it has only the end: also in the block after it."""
    with Capture(path) as capture:
        process, main, tiny, _, thread, ledger = budget(capture, last_ns=10**9)
        process.segments.clear()
        process.segment(2)
        thread.block([open_(main), call(2100, tiny), return_(2200, tiny), return_(5000, main)], begin=2000, sequence=1,
                     flags=LAST)
        ledger.block([muted(tiny), cost(2300, 500, 30)], begin=2000, sequence=1)
        ledger.block([muted(tiny), cost(2500, 200, 10), window_end(2500, 1)], begin=2400, flags=LAST)
        process.end(6000)


def ledger_killed(path):
    """Three killed processes. The ledger of the first is only in a chunk, with a window open. A chunk of the second's was
    to begin, so its list may be cut off. Of the third's there is nothing but such a list."""
    with Capture(path) as capture:
        process, main, tiny, work, thread, ledger = budget(capture)
        process.leave_live([
            thread.chunk([call(1000, main), call(1100, tiny), return_(1200, tiny), call(2100, tiny), return_(2150, tiny)]),
            ledger.chunk([mute(1300, tiny), cost(2000, 900, 100), window(2000, 1)], begin=500)], at=3000)
        process, main, tiny, work, thread, ledger = budget(capture, 12)
        thread.block([call(1000, main), call(1100, tiny), return_(1200, tiny)])
        ledger.block([mute(1300, tiny), mute(1350, work), cost(1400, 400, 30)], begin=500)
        process.leave_live([thread.chunk([open_(main), call(2500, main)], begin=2000),
                            ledger.chunk([muted(tiny)], begin=2600)], at=3000)
        process, main, tiny, work, thread, ledger = budget(capture, 15, last_ns=10**9)
        process.segments.clear()
        process.leave_live([thread.chunk([open_(main), call(2500, main)], begin=2000, sequence=4),
                            ledger.chunk([muted(tiny)], begin=2600, sequence=2)], at=3000)


def ledger_finished(path):
    """Killed, and finished by another process. A thread's chunk became a block, but the ledger had no record."""
    with Capture(path) as capture:
        process, main, tiny, _, thread, _ = budget(capture)
        thread.block([call(1000, main), call(1100, tiny), return_(1200, tiny)])
        for key, value in zip(("killed_ticks", "killed_monotonic_ns", "killed_realtime_ns"),
                              process.clock.instant(2000)):
            process.add_property(key, value)


def ledger_lost(path):
    """Records of the ledger were lost before a block, and before another one that only has the flag for it."""
    with Capture(path) as capture:
        process, main, tiny, work, thread, ledger = budget(capture)
        thread.block([call(1000, main), call(1100, tiny), return_(1150, tiny), return_(8000, main)], flags=LAST)
        ledger.block([mute(1200, tiny), mute(1300, work)], begin=500, end=1400)
        ledger.block([muted(tiny), lost(2000, 7), admit(2500, tiny)], begin=2000, end=2600)
        ledger.block([mute(3000, work)], begin=2700, end=3100)              # nothing was lost between those two
        ledger.block([cost(4000, 500, 20)], begin=3900, flags=RESYNC | LAST)
        process.end(9000, lost=7)


def ledger_without_effect(path):
    """Records that change nothing, a function without a name, and a list that differs from what was before: it holds."""
    with Capture(path) as capture:
        process, main, tiny, work, thread, ledger = budget(capture)
        thread.block([call(1000, main), return_(8000, main)], flags=LAST)
        ledger.block([mute(1200, tiny), mute(1300, tiny), window(2000, 1), window(2100, 1), window_end(2500, 1),
                      window_end(2600, 1), admit(4000, tiny), admit(4100, tiny), admit(4200, work), mute(5000, work),
                      mute(5500, 1234)],
                     begin=500)
        ledger.block([muted(tiny), muted(tiny), cost(6100, 1000, 20)], begin=6000, flags=PAUSED | DEEPER | LAST)
        process.end(9000)


def ledger_of_each(path):
    """A process and its child, which begins with nothing muted; a third without a budget."""
    with Capture(path) as capture:
        process, main, tiny, _, thread, ledger = budget(capture)
        thread.block([call(1000, main), call(1100, tiny), return_(1150, tiny), return_(8000, main)], flags=LAST,
                     is_short=True)
        ledger.block([mute(1200, tiny)], begin=500, flags=LAST, is_short=True)      # it may be in this file, too
        process.end(9000)
        process, main, tiny, _, thread, ledger = budget(capture, 12, parent_pid=7)
        thread.block([open_(main), call(2100, tiny), return_(2150, tiny), return_(8000, main)], begin=2000, flags=LAST)
        process.end(9000)
        process = capture.process(15, command="other.py")
        other = process.function("__main__", "main", "other.py", 1)
        process.thread(1, 15001, "MainThread").block([call(1000, other), return_(2000, other)], flags=LAST)
        process.end(9000)


def sparse(path):
    """Events without a reading of the clock: between two readings, at a block's begin and end, before a wait, in a time
    that is not usual, in a greenlet, more than there are ticks. Blocks with and without the flag in one thread."""
    with Capture(path) as capture:
        process = capture.process(7, command="sparse.py", clock_mode="sparse")
        main, tiny, work = (process.function("__main__", name, "sparse.py", line)
                            for name, line in (("main", 1), ("tiny", 4), ("work", 8)))
        count = process.function("__main__", "count", "sparse.py", 12, GENERATOR)
        sort = process.function("builtins", "sorted", "", 0, C_FUNCTION)
        g = 0x4400_0001
        thread = process.thread(1, 7001, "MainThread")
        track = process.track(2, 7001, "greenlet at 0x7f0000000010")
        loop = [record for _ in range(3) for record in (call(None, tiny), return_(None, tiny))]
        thread.block([
            call(1000, main),
            call(1040, tiny), return_(1060, tiny),                  # readings side by side: how long each stretch is
            call(1100, tiny), return_(1120, tiny),
            *loop, call(1300, work),                                # 60 ns for each call of tiny
            call(None, tiny), return_(None, tiny), return_(1390, work),
            *loop, c_call(205_000_000, sort), c_return(205_020_000, sort),      # a wait after the last event
            *loop, call(205_026_000, work),                           # longer than usual: who took the time is not known
            start(None, count, g), yield_(205_026_100, count, g), resume(None, count, g), finish(None, count, g),
            unwind(205_026_300, work),
            *loop, return_(205_026_303, main), call(205_026_400, main),  # fewer nanoseconds than events
            call(None, tiny), return_(None, tiny),                  # up to the end of the block
        ], begin=900, end=205_026_460, flags=SPARSE)
        thread.block([open_(main), call(205_027_000, tiny), return_(205_027_000, tiny)])    # as it was in 1.1
        thread.block([
            open_(main), call(None, tiny), return_(None, tiny),     # from the begin of the block
            switch(205_028_200, track, SWITCH_OPEN), open_(work), call(None, tiny), return_(None, tiny),
            return_(205_028_300, work), switch(205_028_400, 0), call(None, tiny), return_(None, tiny),
        ], begin=205_028_000, end=409_000_000, flags=SPARSE | RESYNC)
        thread.block([open_(main), call(None, tiny), return_(None, tiny)], begin=409_000_000, end=409_000_100,
                     flags=SPARSE | LAST)                           # without any reading
        process.end(409_100_000)


def sparse_killed(path):
    """A chunk of a killed process: events without a reading have ticks 0, and the last of them no end."""
    with Capture(path) as capture:
        process = capture.process(7, command="sparse.py", clock_mode="sparse")
        main = process.function("__main__", "main", "sparse.py", 1)
        tiny = process.function("__main__", "tiny", "sparse.py", 4)
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "worker")
        one.block([call(1000, main), call(None, tiny), return_(1060, tiny)], begin=900, end=1100, flags=SPARSE)
        process.leave_live([
            one.chunk([open_(main), call(2040, tiny), return_(2060, tiny), call(2100, tiny), return_(None, tiny),
                       call(None, tiny), return_(2200, tiny), call(None, tiny), return_(None, tiny)], begin=2000,
                      flags=SPARSE),
            two.chunk([call(None, main), call(None, tiny)], begin=1500, flags=SPARSE)], at=3000)


def remarks(path):
    """All that a program can report, and all types of values. Spans that outlive their frames, are suspended with a
    coroutine, overlap, or have no begin. Values in a sparse block."""
    with Capture(path) as capture:
        process = capture.process(7, command="remarks.py")
        main = process.function("__main__", "main", "remarks.py", 1)
        enter = process.function("__main__", "enter", "remarks.py", 5)
        work = process.function("__main__", "work", "remarks.py", 9, kind=COROUTINE)
        numbers = process.function("__main__", "numbers", "remarks.py", 13, kind=GENERATOR)
        miss, parse, outer, queue, flow, key, depth = (
            process.function("", name, "", 0, kind=LABEL)
            for name in ("cache miss", "parse", "outer", "queue", "flow", "key", "depth"))
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "worker")
        one.block([
            call(1000, main), *remark("INSTANT", 1100, miss, (key, 12), (depth, True)),
            *remark("INSTANT", 1110, miss),
            *remark("INSTANT", 1120, miss, (key, None), (depth, False), ("run time", "tea & \u00fc\ud800\n"), ("half", 0.5),
                    ("nan", math.nan), ("inf", -math.inf), ("min", -2**63), ("max", 2**63 - 1), ("exact", -2**53),
                    ("cut", b"\x07\x03abc"), ("other", b"\x08\x04list"), ("", ""), n_left_out=3),
            *remark("SPAN", 1200, parse, (key, "file.txt")), call(1300, enter),
            *remark("SPAN", 1400, outer), return_(1500, enter), call(1600, enter), return_(1650, enter),
            span_end(1700, outer), span_end(1800, parse),
            *remark("SPAN", 1900, outer), *remark("SPAN", 1910, parse), span_end(1920, outer), span_end(1930, parse),
            *remark("SPAN", 1940, outer), call(1950, enter), span_end(1960, outer), return_(1970, enter),
            span_end(1980, miss),
            *remark("COUNTER", 2000, queue, (depth, 12), ("load", 0.25), ("text", "no number"), ("on", True)),
            *remark("COUNTER", 2100, queue, (depth, -1), n_left_out=1), *remark("COUNTER", 2110, queue, (key, "none")),
            start(2200, work, 0x50), *remark("SPAN", 2210, outer, (key, 1)), *remark("SPAN", 2220, parse),
            yield_(2300, work, 0x50), call(2400, enter), return_(2450, enter), resume(2500, work, 0x50),
            span_end(2510, parse), yield_(2520, work, 0x50), resume(2530, work, 0x50), span_end(2540, outer),
            finish(2600, work, 0x50),
            start(2700, numbers, 0x60), *remark("SPAN", 2710, outer), yield_(2720, numbers, 0x60), call(2730, enter),
            return_(2740, enter), resume(2750, numbers, 0x60), span_end(2760, outer), finish(2770, numbers, 0x60),
            *remark("FLOW", 2800, flow, ("id", 7)), *remark("FLOW", 2810, flow, ("id", "seven")),
            *remark("SPAN", 2900, parse, ("text", "two words")), return_(3000, main)], begin=900, end=3100)
        one.block([*remark("SPAN", 3200, parse, (key, 2)), call(3300, main)], begin=3150, end=3350)
        one.block([open_(main), return_(3400, main), span_end(3500, parse)], begin=3360, end=3600, flags=LAST)
        two.block([call(4000, main), *remark("FLOW", 4100, flow, ("id", 7)), call(None, enter), return_(None, enter),
                   *remark("INSTANT", 4200, miss, (key, "x" * 25)), return_(4300, main)], begin=3900, end=4400,
                  flags=SPARSE | LAST)
        process.end(5000)


def remarks_killed(path):
    """A chunk with values, of a sparse clock; after the last record, DATA records whose record was not stored."""
    with Capture(path) as capture:
        process = capture.process(7, command="remarks.py", clock_mode="sparse")
        main = process.function("__main__", "main", "remarks.py", 1)
        miss, key = (process.function("", name, "", 0, kind=LABEL) for name in ("cache miss", "key"))
        thread = process.thread(1, 7001, "MainThread")
        process.leave_live([thread.chunk([
            call(1000, main), *remark("INSTANT", 1100, miss, (key, "whole")),
            *remark("SPAN", 1200, miss, (key, 1)), call(None, main), return_(None, main), (1300, 0, 0, 0),
            *capture_writer.data_of(b"not stored")], begin=900, flags=SPARSE)], at=2000)


def collections(path):
    """Collections of garbage: with a finalizer in one, over the end of a block, in a coroutine, in a sparse block. The
    most that a record can say. Collections without a begin, of another generation, and without an end."""
    with Capture(path) as capture:
        process = capture.process(7, command="collections.py")
        main = process.function("__main__", "main", "collections.py", 1)
        finalizer = process.function("__main__", "Node.__del__", "collections.py", 5)
        work = process.function("__main__", "work", "collections.py", 9, kind=COROUTINE)
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "worker")
        one.block([
            call(1000, main), collect(1100, 0), collect_end(1105, 0, 12),
            collect(1200, 2), call(1250, finalizer), return_(1350, finalizer), collect_end(1400, 2, 3 << 32 | 70_000),
            call(1500, finalizer), collect(1510, 1), collect_end(1520, 1, 0), return_(1530, finalizer),
            start(1600, work, 0x50), collect(1610, 0), collect_end(1700, 0, 0xffff_ffff_ffff), yield_(1800, work, 0x50),
            collect(1900, 2)], begin=900, end=1950)
        one.block([open_(main), collect_end(2000, 2, 5), collect_end(2100, 2, 6), collect(2200, 1),
                   collect_end(2300, 0, 7), return_(2400, main)], begin=1960, end=2500, flags=LAST)
        two.block([call(3000, main), collect(3100, 0), call(None, finalizer), return_(None, finalizer),
                   collect_end(3300, 0, 1), collect(3400, 2)], begin=2900, end=3500, flags=SPARSE | LAST)
        process.end(5000)


def samples(path):
    """Two threads that run, queue and wait for the GIL, over the end of a block and a pause. More than a thread can have
    spent; what refers to a sample before the pause."""
    with Capture(path) as capture:
        process = capture.process(7, command="samples.py", samples_ns=1_000_000)
        main = process.function("__main__", "main", "samples.py", 1)
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "worker")
        seen = process.samples(3)
        ms = 1_000_000
        one.block([call(1 * ms, main), return_(55 * ms, main)], begin=900, end=60 * ms, flags=LAST)
        two.block([call(2 * ms, main), return_(54 * ms, main)], begin=900, end=60 * ms, flags=LAST)
        seen.block([
            sample(1 * ms, 2, 1), memory(1 * ms, 24_150_016, 3),
            sample(2 * ms, 2, 1), spent(2 * ms, "RAN", 1, 972_672), spent(2 * ms, "QUEUED", 1, 20_000),
            sample(12 * ms, 1), spent(12 * ms, "RAN", 1, 5 * ms), spent(12 * ms, "RAN", 2, 1 * ms, since=2),
            spent(12 * ms, "QUEUED", 2, 2 * ms, since=2)], begin=900)
        seen.block([
            sample(14 * ms, 2), spent(14 * ms, "QUEUED", 2, 1_500_000, since=2),
            sample(15 * ms, 2, 2), spent(15 * ms, "RAN", 2, 5 * ms), memory(15 * ms, 24_158_208, 3)], begin=13 * ms)
        seen.block([
            sample(30 * ms, 2, 1), spent(30 * ms, "RAN", 1, 1 * ms), spent(30 * ms, "RAN", 2, 4 * ms, since=70),
            sample(32 * ms, 2, 1), spent(32 * ms, "RAN", 1, 2 * ms), spent(32 * ms, "RAN", 1, 1 * ms),
            sample(52 * ms, 2, 2), spent(52 * ms, "RAN", 2, 19 * ms), spent(52 * ms, "RAN", 1, 300_000),
            memory(52 * ms, 24_154_112, 4)], begin=29 * ms, flags=PAUSED | LAST)
        process.end(60 * ms)


def schedule(path):
    """The worked example of specs/capture-format.md, section 12.10, with more samples: changes of two threads' schedules, one
    of which has a sample without any and one where some are missing; changes before the sample that they belong to."""
    with Capture(path) as capture:
        process = capture.process(7, command="schedule.py", samples_ns=1_000_000, scheduling="exact")
        main = process.function("__main__", "main", "schedule.py", 1)
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "worker")
        seen, ms = process.samples(3), 1_000_000
        process.leave_live([
            one.chunk([call(1000, main), return_(7 * ms, main)], begin=900),
            two.chunk([call(1000, main)], begin=900),
            seen.chunk([
                sample(1 * ms, 2, 1),
                sample(2 * ms, 2, 1), scheduled(2 * ms, 1, 700_000, 1), scheduled(2 * ms, 1, 200_000),
                spent(2 * ms, "RAN", 1, 500_000),
                sample(3 * ms, 2, 1), spent(3 * ms, "RAN", 1, 1 * ms),
                scheduled(3 * ms, 2, 1_500_000), scheduled(3 * ms, 2, 900_000, 2), scheduled(3 * ms, 2, 400_000),
                scheduled(3 * ms, 2, 100_000, 1), spent(3 * ms, "RAN", 2, 900_000, since=2),
                spent(3 * ms, "QUEUED", 2, 600_000, since=2),
                sample(4 * ms, 2, 1), scheduled(4 * ms, 1, 800_000, 1), scheduled(4 * ms, 1, 0, 3),
                spent(4 * ms, "RAN", 1, 250_000),
                sample(5 * ms, 1), scheduled(5 * ms, 1, 1_000_500, 1), scheduled(5 * ms, 1, 300_000),
                scheduled(5 * ms, 1, 300_000, 1), scheduled(5 * ms, 1, 100_000), spent(5 * ms, "RAN", 1, 100_000),
                sample(7 * ms, 1)], begin=1 * ms)],
            at=7 * ms + 1000)


def samples_killed(path):
    """The worked example of specs/capture-format.md, section 12.6: samples in the live mapping."""
    with Capture(path) as capture:
        process = capture.process(7, command="samples.py", samples_ns=1_000_000)
        main = process.function("__main__", "main", "samples.py", 1)
        thread, seen = process.thread(1, 7001, "MainThread"), process.samples(2)
        process.leave_live([
            thread.chunk([call(1000, main), call(1_050_000, main)], begin=900),
            seen.chunk([sample(1500, 2, 1), memory(1500, 24_150_016, 2), sample(1_001_500, 2, 1),
                        spent(1_001_500, "RAN", 1, 972_672), spent(1_001_500, "QUEUED", 1, 20_000)], begin=1500)],
            at=1_100_000)


def call_values(path):
    """Arguments and results of calls: all types of values; under spans, over the begin of a block, of a coroutine, in a
    sparse block, of a frame that is not the innermost one."""
    with Capture(path) as capture:
        process = capture.process(7, command="values.py")
        main = process.function("__main__", "main", "values.py", 1)
        price = process.function("shop", "price", "values.py", 5)
        enter = process.function("__main__", "enter", "values.py", 9)
        work = process.function("__main__", "work", "values.py", 13, kind=COROUTINE)
        order, password, back, parse = (process.function("", name, "", 0, kind=LABEL)
                                        for name in ("order", "password", "return", "parse"))
        one, two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "worker")
        one.block([
            call(1000, main), call(1100, price),
            *remark("ARGUMENTS", 1110, price, (order, b"\x09\x08[1, 'a']"), (password, b"\x0b"), ("count", 2)),
            *remark("RESULT", 1190, price, (back, 3.5)), return_(1200, price),
            call(1300, price), *remark("ARGUMENTS", 1310, price, (order, b"\x0a\x04[1, "), n_left_out=2),
            *remark("RESULT", 1390, price, ("raise", b"\x08\x0aValueError"), n_left_out=1), unwind(1400, price),
            call(1500, enter), *remark("SPAN", 1510, parse, (order, 7)), *remark("RESULT", 1520, enter, (back, None)),
            return_(1530, enter), span_end(1600, parse),
            start(1700, work, 0x50), *remark("ARGUMENTS", 1710, work, ("x", True)), yield_(1800, work, 0x50),
            resume(1900, work, 0x50), *remark("RESULT", 1910, work, (back, "done")), finish(1920, work, 0x50),
            call(2000, price), call(2100, enter), *remark("RESULT", 2110, price, (back, 1)), return_(2120, price),
            *remark("RESULT", 2130, price, (back, 2)), *remark("ARGUMENTS", 2140, main, ("late", 3)),
            call(2200, price), *remark("ARGUMENTS", 2210, price)], begin=900, end=2300)
        one.block([open_(main), open_(price), *remark("ARGUMENTS", 2310, price, ("after", "the begin of a block")),
                   return_(2400, price), return_(2500, main)], begin=2300, end=2600, flags=LAST)
        two.block([call(3000, main), call(None, price), *remark("ARGUMENTS", 3010, price, ("x", 1)), return_(None, price),
                   call(None, price), *remark("RESULT", 3100, price, (back, "x" * 25)), return_(3110, price),
                   return_(3200, main)], begin=2900, end=3300, flags=SPARSE | LAST)
        process.end(5000)


def call_values_killed(path):
    """A chunk with arguments and a result; after the last record, a DATA record of arguments that were not stored."""
    with Capture(path) as capture:
        process = capture.process(7, command="values.py")
        price = process.function("shop", "price", "values.py", 5)
        order, back = (process.function("", name, "", 0, kind=LABEL) for name in ("order", "return"))
        thread = process.thread(1, 7001, "MainThread")
        process.leave_live([thread.chunk([
            call(1000, price), *remark("ARGUMENTS", 1010, price, (order, b"\x09\x08[1, 'a']")),
            *remark("RESULT", 1090, price, (back, 3.5)), return_(1100, price), call(1200, price), (1210, 0, 0, 0),
            *capture_writer.data_of(b"not stored")], begin=900)], at=2000)


CASES = [smallest, generators, generator_moves, asynchronous, exceptions, opened, unrecorded_and_lost, killed,
         killed_clock, unfinished, unusual_names, processes, clock_drifts, later_minor_version, c_functions, min_duration,
         full_block, rounded_ticks, interleaved, empty_segments, short_threads, evicted, evicted_and_killed,
         killed_and_finished, paused,
         greenlets, forked, creations, creations_min_duration, tasks, waits, lag, task_names, task_names_killed, works, works_killed, stack_again,
         sparse, sparse_killed,
         ledger, ledger_windows, ledger_flows, ledger_evicted, ledger_window_cut, ledger_killed, ledger_finished,
         ledger_lost, ledger_without_effect, ledger_of_each,
         remarks, remarks_killed, collections, samples, schedule, samples_killed, call_values,
         call_values_killed]

if __name__ == "__main__":
    for case in CASES:
        if not sys.argv[1:] or case.__name__ in sys.argv[1:]:
            path = HERE / case.__name__ / "run.pnr"
            shutil.rmtree(path, ignore_errors=True)
            case(path)
