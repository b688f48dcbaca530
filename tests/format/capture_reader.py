"""Reads captures by specs/capture-format.md, without the project's C code: a check of that text.

    capture = read(path)
    for process in capture.processes:
        for thread in process.threads.values():
            for block in thread.blocks:
                for record in block.records:            # (absolute ticks, kind, frame, function)

or, flat, `for process, thread, record in records(path)`. `process.ledger` says what was muted when; it is None where
nothing ever was. What was damaged stands in `capture.reports`. NotCapture is raised for what is no capture at all. Slow and plain on purpose. Needs the `zstd` command.
"""

import math
import os
import re
import struct
import subprocess
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import kinds

BLOCK_RECORDS = 16384
globals().update(kinds.NUMBERS)     # EMPTY, CALL, RETURN, ...

SHORT_THREADS = "short-threads.zst"
RESYNC, DEEPER, LAST, PAUSED, SPARSE = 1, 2, 4, 8, 16
SWITCH_OPEN, SWITCH_DEEPER, SWITCH_ADDED = 1, 2, 4
OPEN_C_CALL = 1
C_CALLS = 1                     # in MUTE, ADMIT and MUTED: only the function's calls of C functions
TRACK, LEDGER, SAMPLES = 1, 2, 3    # kinds of threads
FRAME_MAGIC = bytes.fromhex("5b 2a 4d 18 60 00 00 00")
HEADER_MAGIC = FRAME_MAGIC + b"PNRB"


class NotCapture(Exception):
    pass


class Damage(Exception):
    pass


@dataclass
class Report:
    file: str                       # relative to the capture
    offset: int | None
    text: str
    is_damage: bool = True          # else it is only reported


@dataclass
class Function:
    module: str
    name: str
    file: str
    line: int
    kind: int


@dataclass
class Block:
    header: SimpleNamespace
    records: list                   # (absolute ticks, kind, frame, function)
    is_live: bool = False
    is_resync: bool = False         # by its flag, unless it is the thread's first, or by a hole before it
    is_paused: bool = False         # by its flag, unless it is the thread's first
    begin: int = 0                  # its begin's ticks, not before the record before
    last: int = 0                   # ticks of the last record
    track: int | None = 0           # that it begins in; None: one that is not there, so the one before goes on
    opened: list | None = None      # its leading OPEN records; None: not the whole stack


class Between(int):
    """Ticks of an event without a reading of the clock: those of the reading before it. It was no later than
    `latest`."""

    def __new__(cls, ticks, latest):
        self = super().__new__(cls, ticks)
        self.latest = latest            # infinite: not known
        return self


@dataclass
class Thread:
    number: int
    name: str | None = None
    native_id: int = 0
    kind: int = 0
    is_there: bool = False          # it has blocks, be they damaged
    has_hole_at_end: bool = False   # the data of its last blocks is damaged
    blocks: list = field(default_factory=list)

    @property
    def is_track(self):
        return self.kind == TRACK and self.number > 0


@dataclass
class State:
    """What holds from a time until the next state."""
    begin: float                    # ticks; minus infinity: the start
    muted: frozenset | None         # of (function, 0 or C_CALLS); None: not known
    is_window: bool = False


@dataclass
class Samples:
    looks: list = field(default_factory=list)       # of each stretch without a hole: ticks, the thread that holds the GIL, or 0
    spent: dict = field(default_factory=lambda: defaultdict(list))  # by kind: from ticks, to ticks, ns, thread
    schedules: list = field(default_factory=list)   # of each RAN in `spent`: (nanoseconds before its sample, what)
    memory: list = field(default_factory=list)      # ticks, bytes, chunks


@dataclass
class Ledger:
    number: int | None              # None: its name entry is missing
    is_there: bool = False          # it has blocks, be they damaged
    states: list = field(default_factory=list)      # the first is that of the start
    costs: list = field(default_factory=list)       # (ticks, CPU time in ns, cost in ns)
    blocks: list = field(default_factory=list)      # as those of a thread

    def change(self, begin, muted, is_window):
        state = State(begin, muted, is_window and muted is not None)
        if not self.states or (self.states[-1].muted, self.states[-1].is_window) != (state.muted, state.is_window):
            self.states.append(state)

    def spans(self):
        """(begin, end, state), infinite at both ends."""
        ends = [state.begin for state in self.states[1:]] + [math.inf]
        return [(state.begin, end, state) for state, end in zip(self.states, ends)]

    def unrecorded(self, function, what=0):
        """(begin, end, whether that is known) of each time in which there are no entries of the function, or may be
        none. A thread's records with these ticks come after each of the two."""
        for begin, end, state in self.spans():
            if state.muted is None or not state.is_window and (function, what) in state.muted:
                yield begin, end, state.muted is not None

    def is_recorded(self, function, begin, end):
        """All the time between two records of a thread, for certain."""
        return not any(start <= end and begin < stop for start, stop, _ in self.unrecorded(function))

    def was_muted(self, function, ticks):
        """At that time or before it, whether in a window or not, as far as is known."""
        return any(state.begin <= ticks and (function, 0) in (state.muted or ()) for state in self.states)


@dataclass
class Process:
    directory: str
    properties: dict = field(default_factory=dict)
    functions: dict = field(default_factory=dict)
    threads: dict = field(default_factory=dict)     # without ledger and samples
    ledger: Ledger | None = None
    samples: Samples | None = None
    is_readable: bool = True        # False: its names file is rejected
    has_ended: bool = False         # or was finished by another process: nothing may be cut off
    has_evicted: bool = False       # segments with the lowest numbers are not there any more
    is_part: bool = False           # blocks before the first of a thread are in another capture
    is_absent: bool = False         # the first segments are not there: evicted, or missing
    is_live_damaged: bool = False   # the live mapping, or a chunk of it
    torn: set = field(default_factory=set)          # threads whose file is damaged at its end; None: all of them
    headers: list = field(default_factory=list)     # the valid ones, also of blocks whose data is damaged
    live_clock_sample: tuple | None = None
    n_recovered: int = 0
    n_reported: int = 0                 # reports that may be of blocks that are missing
    skipped: Counter = field(default_factory=Counter)

    def number(self, key, default=None):
        """A property that is a number; default if it is not there or none."""
        value = self.properties.get(key, "")
        return int(value) if re.fullmatch("0|[1-9][0-9]*", value) else default

    def clock_samples(self):
        """All known (ticks, monotonic ns)."""
        for end in ("start", "end", "killed"):
            clock_sample = self.number(f"{end}_ticks"), self.number(f"{end}_monotonic_ns")
            if None not in clock_sample:
                yield clock_sample
        for header in self.headers:
            yield header.begin[:2]
            if header.end != (0, 0, 0):
                yield header.end[:2]
        if self.live_clock_sample:
            yield self.live_clock_sample[:2]


@dataclass
class Capture:
    processes: list = field(default_factory=list)
    reports: list = field(default_factory=list)


def check(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return value


# ---- section 2 ----

def read(path, is_ledger_only=False):
    """is_ledger_only: of other threads the headers are read, not the records, so it is quick for captures of any size."""
    path, found = Path(path), []
    if not path.is_dir():
        raise NotCapture("it is no directory")
    for entry in path.iterdir():
        if match := re.fullmatch("process-(0|[1-9][0-9]*)(?:-([1-9][0-9]*))?", entry.name):
            found.append((int(match[1]), int(match[2] or 1), entry.name))
    if not found:
        raise NotCapture("no process was recorded in it")
    capture = Capture()
    for _, _, directory in sorted(found):
        capture.processes.append(read_process(path, directory, capture.reports, is_ledger_only))
    return capture


def records(path):
    for process in read(path).processes:
        for thread in process.threads.values():
            for block in thread.blocks:
                for record in block.records:
                    yield process, thread, record


def read_process(path, directory, reports, is_ledger_only):
    process = Process(directory)

    def report(file, offset, text, is_damage=True):
        reports.append(Report(f"{directory}/{file}", offset, text, is_damage))

    read_names(path / directory, process, report)
    if not process.is_readable:
        return process
    chunks = read_live(path / directory, process, report)
    stored = read_segments(path / directory, process, chunks, report)
    if is_ledger_only:
        for blocks in chunks, stored:
            for key in [key for key in blocks if key[0] not in process.threads or process.threads[key[0]].kind != LEDGER]:
                del blocks[key]
    take_blocks(process, chunks, stored, report)
    read_ledger(process)
    read_samples(process)
    for thread in process.threads.values():
        scan(process, thread)
    check_tracks(process)
    return process


# ---- section 6 ----

def read_names(path, process, report):
    file = path / "names"
    data = file.read_bytes() if is_file(file) else b""
    if data[:8] != b"PNRNAMES" or data[8:16] != bytes([1, 0, 0, 0, 0, 0, 0, 0]):
        process.is_readable = False
        report("names", 0, "later version" if data[:8] == b"PNRNAMES" and data[8:12] > bytes([1, 0, 0, 0])
               else "not a name table")
        return
    at, cut_off = 16, None
    while at < len(data):
        size = int.from_bytes(data[at:at + 4], "little")
        if len(data) - at < 40:
            cut_off = at
            break
        if not 40 <= size <= 40 + 3 * 65535:
            report("names", at, "impossible size")
            break
        if size > len(data) - at:
            cut_off = at
            break
        try:
            keep_name(process, data[at:at + size], report, at, at // 40 + 1)
        except Damage as damage:
            report("names", at, str(damage))
        at += size
    process.has_ended = not process.properties.keys().isdisjoint({"end_ticks", "killed_ticks"})
    if cut_off is not None:
        report("names", cut_off, "cut off", process.has_ended)


def keep_name(process, entry, report, at, max_index):
    size, type, kind, reserved, index, number, *sizes, reserved2, stored = struct.unpack_from("<IBBHII3IIQ", entry)
    if stored != check(entry[:32] + entry[40:]):
        raise Damage("wrong check")
    if max(sizes) > 65535 or sum(sizes) + 40 != size:
        raise Damage("sizes do not add up")
    if reserved or reserved2:
        raise Damage("reserved field")
    strings, begin = [], 40
    for string_size in sizes:
        strings.append(entry[begin:begin + string_size].decode("utf-8", "surrogatepass")
                       if is_text(entry[begin:begin + string_size]) else
                       entry[begin:begin + string_size].decode("utf-8", "replace"))
        begin += string_size
    if type == 1:
        if index == 0 or index > max_index:
            raise Damage("impossible number")
        if index in process.functions:
            report("names", at, f"function {index} again")
        else:
            process.functions[index] = Function(*strings, number, kind if kind <= 6 else 0)
    elif type == 2:
        thread = process.threads.setdefault(index, Thread(index))
        thread.name, thread.native_id, thread.kind = strings[0], number, kind
    elif type == 3:
        process.properties[strings[0]] = strings[1]
    else:
        process.skipped["name type"] += 1


def is_text(data):
    try:
        data.decode("utf-8", "surrogatepass")
        return True
    except UnicodeDecodeError:
        return False


# ---- section 5 ----

def read_header(data, at, is_live=False):
    """A valid block header, or Damage."""
    if len(data) - at < 96:
        raise Damage("cut off")
    (magic, version, flags, thread, sequence, n_records, n_open, data_size, planes, tick_shift, reserved, *instants,
     track, reserved2, stored) = struct.unpack_from("<4sHHIIIIIHBB6QIIQ", data, at)
    if magic != b"PNRB":
        raise Damage("no block header")
    if version not in (1, 2):
        raise Damage("later version" if version else "version 0")
    if stored != check(data[at:at + 88]):
        raise Damage("wrong check")
    if flags > 31 or reserved or reserved2:
        raise Damage("reserved field or flag")
    if (version == 2) != bool(flags & SPARSE):
        raise Damage("version and flags differ")
    if thread == 0:
        raise Damage("thread 0")
    header = SimpleNamespace(flags=flags, thread=thread, sequence=sequence, n_records=n_records, n_open=n_open,
                             data_size=data_size, planes=[k for k in range(16) if planes >> k & 1],
                             tick_shift=tick_shift, begin=tuple(instants[:3]), end=tuple(instants[3:]), track=track)
    if is_live:
        if n_records or data_size or planes or tick_shift or any(header.end) or n_open > BLOCK_RECORDS:
            raise Damage("not of a chunk")
    elif not (1 <= n_records <= BLOCK_RECORDS and n_open <= n_records and 1 <= data_size <= 263168 and
              5 in header.planes and tick_shift < 40):
        raise Damage("out of range")
    return header


def frame_size(data, content_size):
    """The size of the zstd frame at the beginning of data (RFC 8878, section 3.1.1), which must have a checksum and
    content_size in its header."""
    if data[:4] != bytes.fromhex("28 b5 2f fd") or len(data) < 6:
        raise Damage("no zstd frame")
    descriptor = data[4]
    is_single = descriptor >> 5 & 1
    fcs_size = (is_single, 2, 4, 8)[descriptor >> 6]
    at = 5 + (not is_single) + (0, 1, 2, 4)[descriptor & 3]
    content = int.from_bytes(data[at:at + fcs_size], "little") + (256 if fcs_size == 2 else 0)
    if not descriptor & 4 or not fcs_size or content != content_size:
        raise Damage("zstd frame of another kind")
    at += fcs_size
    is_last = False
    while not is_last:
        block = int.from_bytes(data[at:at + 3], "little")
        is_last = block & 1
        at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
        if at + 4 > len(data):
            raise Damage("zstd frame cut off")
    return at + 4


def decode_data(data, header):
    n = header.n_records
    size = len(header.planes) * n
    if frame_size(data, size) != len(data):
        raise Damage("data frame of another size")
    run = subprocess.run(["zstd", "-dc"], input=data, capture_output=True)
    if run.returncode or len(run.stdout) != size:
        raise Damage("zstd refuses the data frame")
    cut, result = 0, []
    for i in range(n):
        row = bytearray(16)
        for position, k in enumerate(header.planes):
            row[k] = run.stdout[position * n + i]
        cut = cut + int.from_bytes(row[:5], "little") & 0xffffffffff
        ticks = cut << header.tick_shift & 0xffffffffff
        result.append((header.begin[0] + ticks & 0xffffffffffffffff, row[5], int.from_bytes(row[6:12], "little"),
                       int.from_bytes(row[12:], "little")))
    return result


# ---- section 7 ----

def read_live(path, process, report):
    """(thread, sequence) -> blocks of the chunks in use that have records."""
    chunks = {}
    if not is_file(path / "live"):
        if os.path.lexists(path / "live"):
            report("live", 0, "no regular file")
            process.is_live_damaged = True
        return chunks
    data = memoryview((path / "live").read_bytes())
    start = bytes(data[:24]).ljust(24, b"\0")
    magic, version, n_chunks, chunk_records, latest = struct.unpack("<8sIIII", start)
    records_at = 4096 + (n_chunks * 128 + 4095) // 4096 * 4096
    if (magic != b"PNR-LIVE" or version != 1 or not 1 <= n_chunks <= 4096 or chunk_records != BLOCK_RECORDS
            or len(data) < records_at + n_chunks * BLOCK_RECORDS * 16):
        report("live", 0, "later version" if magic == b"PNR-LIVE" and version > 1 else "not a live mapping")
        process.is_live_damaged = True
        return chunks
    if latest <= 1 and any(clock_sample := struct.unpack_from("<3Q", data, 32 + 24 * latest)):
        process.live_clock_sample = clock_sample
    for k in range(n_chunks):
        at = 4096 + 128 * k
        state = int.from_bytes(data[at + 96:at + 100], "little")
        if state == 0:
            continue
        try:
            if state != 1:
                raise Damage("unknown state")
            header = read_header(data, at, is_live=True)
        except Damage as damage:
            report("live", at, str(damage))
            process.n_reported += 1
            process.is_live_damaged = True
            continue
        result, record_at, before = [], records_at + k * BLOCK_RECORDS * 16, 0
        for ticks_kind, frame_low, frame_high, function in struct.iter_unpack(
                "<6sHII", data[record_at:record_at + BLOCK_RECORDS * 16]):
            if ticks_kind[5] == EMPTY:
                break
            ticks = int.from_bytes(ticks_kind[:5], "little")
            if header.flags & SPARSE:
                ticks = before = ticks or before            # 0: as the record before (section 7)
            result.append((header.begin[0] + ticks & 0xffffffffffffffff, ticks_kind[5], frame_low | frame_high << 16,
                           function))
        if result:
            process.headers.append(header)
            chunks.setdefault((header.thread, header.sequence), []).append(Block(header, result, True))
    return chunks


# ---- section 9, steps 3 to 7 ----

def is_file(path):
    """A regular file that is no link to one."""
    return path.is_file() and not path.is_symlink()


def numbers_in(path, pattern):
    """Of the entries whose name is that with a number, 1 to 4,294,967,295, in their order."""
    matches = (re.fullmatch(pattern, entry.name) for entry in path.iterdir())
    return sorted(int(match[1]) for match in matches if match and int(match[1]) < 2**32)


def read_segments(path, process, chunks, report):
    """Returns the blocks: (thread, sequence) to (header, data frame, file, offset)."""
    numbers = numbers_in(path, r"segment-([1-9][0-9]*)")
    for number, next_number in zip(numbers, numbers[1:]):
        if next_number > number + 1:
            report(f"segment-{number + 1}", None, f"{next_number - number - 1} segments missing")
    begin = int(process.properties.get("first_segment", "1"))
    process.is_part = begin > 1
    is_absent = (numbers[0] > begin if numbers else
                 "end_ticks" in process.properties or any(sequence for _, sequence in chunks))
    process.is_absent = is_absent
    process.has_evicted = is_absent and not process.properties.keys().isdisjoint({"max_size", "last_ns"})
    if is_absent and not process.has_evicted:
        report(f"segment-{numbers[0] - 1 if numbers else 1}", None, "the first segments are missing")
    stored = {}
    for number in numbers:
        name = f"segment-{number}"
        if not (path / name).is_dir() or (path / name).is_symlink():
            report(name, 0, "no directory")
            process.n_reported += 1
            process.torn.add(None)
            continue
        threads = [f"thread-{thread}.zst" for thread in numbers_in(path / name, r"thread-([1-9][0-9]*)\.zst")]
        for file in [SHORT_THREADS] * os.path.lexists(path / name / SHORT_THREADS) + threads:
            is_killed = number == numbers[-1] and not process.has_ended
            read_file(path, f"{name}/{file}", is_killed, process, chunks, stored, report)
    return stored


def read_file(path, name, is_killed, process, chunks, stored, report):
    """is_killed: if it is cut off, that is how a killed process leaves it."""
    own = None if name.endswith(SHORT_THREADS) else int(re.search(r"thread-(\d+)", name)[1])
    if not is_file(path / name):
        report(name, 0, "no regular file")
        process.n_reported += 1
        process.torn.add(own)
        return
    data, at = (path / name).read_bytes(), 0
    while at < len(data):
        header = None
        try:
            if len(data) - at >= 104:
                if data[at:at + 8] != FRAME_MAGIC:
                    raise Damage("no block")
                header = read_header(data, at + 8)
        except Damage as damage:
            report(name, at, str(damage))
            process.n_reported += 1
            process.torn.add(own)
            at = find_header(data, at + 1)
            continue
        if header is None or header.data_size > len(data) - at - 104:
            held = ((header.thread, header.sequence) in chunks if header else
                    any(own in (None, thread) for thread, _ in chunks))
            if not is_killed or not held:
                report(name, at, "cut off", not is_killed)
                process.n_reported += not is_killed
                process.torn.add(own)
            return
        if own not in (None, header.thread):
            report(name, at, "block of another thread")
            process.n_reported += 1
            process.torn.add(own)
        else:
            process.torn.discard(own)
            note_block(process, header, data[at + 104:at + 104 + header.data_size], name, at, stored, report)
        at += 104 + header.data_size


def note_block(process, header, data, name, at, stored, report):
    process.headers.append(header)
    key = header.thread, header.sequence
    if key in stored:
        report(name, at, "block again")
    else:
        stored[key] = header, data, name, at


def find_header(data, at):
    while (at := data.find(HEADER_MAGIC, at)) >= 0:
        try:
            read_header(data, at + 8)
            return at
        except Damage:
            at += 1
    return len(data)


# ---- section 9, steps 8 to 10 ----

def take_blocks(process, chunks, stored, report):
    """Puts the blocks of the segments and of the live mapping in order, and finds what is missing."""
    missing = []                        # (thread, first, number of blocks)
    expected, is_hole = {}, {}          # of each thread
    for number, sequence in sorted(stored.keys() | chunks.keys()):
        thread = process.threads.setdefault(number, Thread(number))
        is_first = not thread.is_there
        thread.is_there = True
        first = expected.get(number, sequence if process.has_evicted or process.is_part else 0)
        if sequence > first:
            missing.append((number, first, sequence - first))
            is_hole[number] = True
        expected[number] = sequence + 1
        block = take_block(process, chunks.get((number, sequence), []), stored.get((number, sequence)), report)
        if not block:
            is_hole[number] = thread.has_hole_at_end = True
            continue
        thread.has_hole_at_end = False
        block.is_resync = is_hole.pop(number, False) or bool(block.header.flags & RESYNC) and not is_first
        block.is_paused = bool(block.header.flags & PAUSED) and not is_first
        thread.blocks.append(block)
    if sum(n for _, _, n in missing) > process.n_reported:
        for number, first, n in missing:
            report("", None, f"{n} blocks of thread {number} missing, from {first} on")


def take_block(process, chunks, stored, report):
    """That of the segment if it is valid, else that of the first chunk; None if there is none."""
    damage = None
    if stored:
        header, data, name, at = stored
        try:
            return Block(header, decode_data(data, header))
        except Damage as found:
            damage = name, at, str(found)
    if not chunks:
        report(*damage)
        return None
    for _ in chunks[1:]:
        report("live", None, "chunk again")
    process.n_recovered += len(chunks[0].records)
    return chunks[0]


# ---- section 4.1 ----

OF_LEDGER = MUTE, ADMIT, MUTED, WINDOW, WINDOW_END, COST


def read_ledger(process):
    """Takes the ledger from among the threads. What it says becomes states, one after another."""
    numbers = sorted(n for n, thread in process.threads.items() if thread.kind == LEDGER and n > 0)
    ledgers = [process.threads.pop(number) for number in numbers]
    for further in ledgers[1:]:
        process.skipped["misplaced"] += sum(len(block.records) for block in further.blocks)
    if not ledgers:
        if "max_overhead" in process.properties:
            process.ledger = Ledger(None, states=[State(-math.inf, None)])
        return
    thread = ledgers[0]
    ledger = process.ledger = Ledger(thread.number, any(one.is_there for one in ledgers))
    blocks = [block for block in thread.blocks
              if not block.is_live or any(kind != MUTED for _, kind, _, _ in block.records)]
    ledger.blocks = blocks
    is_torn = thread.has_hole_at_end or process.is_live_damaged or not process.torn.isdisjoint({None, thread.number})
    if blocks:
        is_first_of_part = process.is_part and not process.is_absent and not follows_hole(blocks[0])
        begins_known = blocks[0].header.sequence == 0 or is_first_of_part
    else:
        begins_known = not (process.is_absent or is_torn)
    ledger.change(-math.inf, frozenset() if begins_known else None, False)
    now = 0
    for i, block in enumerate(blocks):
        is_known = ledger.states[-1].muted is not None and not follows_hole(block)
        if not is_known:
            ledger.change(now, None, False)
        is_window = ledger.states[-1].is_window if is_known else is_window_open(blocks[i:])
        now = read_ledger_block(process, ledger, block, is_window, now)
    if blocks and is_torn and not blocks[-1].header.flags & LAST:
        ledger.change(now, None, False)


def follows_hole(block):
    return block.is_resync or any(kind == LOST for _, kind, _, _ in block.records)


def is_window_open(blocks):
    """At the begin of the first one, before which nothing was known: when the next thing is that a window closes."""
    for i, block in enumerate(blocks):
        if i and follows_hole(block):
            break
        for _, kind, _, _ in block.records:
            if kind in (WINDOW, WINDOW_END):
                return kind == WINDOW_END
    return False


def read_ledger_block(process, ledger, block, is_window, now):
    """Returns the ticks of its end."""
    now, muted, is_leading = max(now, block.header.begin[0]), set(), True
    for ticks, kind, what, function in block.records:
        if is_leading and kind != MUTED:
            is_leading = False
            ledger.change(now, frozenset(muted), is_window)
        if not is_leading:
            process.skipped["time back"] += ticks < now
            now = max(now, ticks)
        if kind in (MUTE, ADMIT, MUTED) and what <= C_CALLS and function and (kind != MUTED or is_leading):
            (muted.discard if kind == ADMIT else muted.add)((function, what))
        elif kind in (WINDOW, WINDOW_END):
            is_window = kind == WINDOW
        elif kind == COST:
            ledger.costs.append((now, what, function))
        elif kind != LOST:
            process.skipped["misplaced"] += 1
        if not is_leading:
            ledger.change(now, frozenset(muted), is_window)
    ledger.change(now, frozenset(muted), is_window)
    return max(now, block.header.end[0])


# ---- section 4.4 ----

OF_SAMPLES = SAMPLE, RAN, QUEUED, MEMORY, SCHEDULE
RUNS, WAITS, QUEUES, MISSING = range(4)     # what a SCHEDULE record says
CHANGES_MAX = 65_536                        # SCHEDULE records before a RAN
GIL_HELD = 2


def read_samples(process):
    """Takes the samples from among the threads."""
    found = [process.threads.pop(number)
             for number in sorted(n for n, thread in process.threads.items() if thread.kind == SAMPLES and n > 0)]
    for further in found[1:]:
        process.skipped["misplaced"] += sum(len(block.records) for block in further.blocks)
    if not found:
        return
    samples, is_hole, now, changes, changed = Samples(), True, 0, [], 0
    process.samples = samples
    for block in found[0].blocks:
        if is_hole or block.is_resync or block.header.flags & (RESYNC | PAUSED):
            samples.looks.append([])
            process.skipped["misplaced"] += len(changes)
            changes = []
        is_hole = False
        for ticks, kind, frame, function in block.records:
            is_thread = function in process.threads and function > 0 and process.threads[function].kind == 0
            process.skipped["time back"] += ticks < now
            ticks = now = max(ticks, now)
            since = frame >> 32 & 0xffff
            looks = samples.looks[-1]
            if changes and not (kind in (SCHEDULE, RAN) and function == changed):
                process.skipped["misplaced"] += len(changes)
                changes = []
            if kind not in OF_SAMPLES or kind in (RAN, QUEUED) and not (is_thread and since) or kind == SCHEDULE and not is_thread:
                process.skipped["misplaced"] += 1
            elif kind == SCHEDULE:
                changed = function
                if len(changes) < CHANGES_MAX:
                    changes.append((frame & 0xffffffff, frame >> 32 & 3))
                else:
                    changes[-1] = changes[-1][0], MISSING
                    process.skipped["misplaced"] += 1
            elif kind == SAMPLE:
                looks.append((ticks, function if frame == GIL_HELD and is_thread else 0))
            elif kind == MEMORY:
                samples.memory.append((ticks, frame, function))
            elif since < len(looks):
                samples.spent[kind].append((looks[-1 - since][0], ticks, frame & 0xffffffff, function))
                if kind == RAN:
                    samples.schedules.append(changes)
            if kind == RAN:
                changes = []
    if found[0].has_hole_at_end:
        samples.looks.append([])


def running(begin, end, changes):
    """When a thread ran between two moments, the second of which is the sample's: (begin, end) of each time. None if its
    changes do not say it."""
    if not changes or any(what == MISSING for _, what in changes):
        return None
    runs, times = changes[0][1] != RUNS, []
    for before_ns, what in changes + [(0, WAITS)]:
        at = max(begin, end - before_ns)
        if runs and at > begin:
            times.append((begin, at))
        begin, runs = at, what == RUNS
    return times


def find_muted_entries(process):
    """Entries of functions that were muted then, which a recorder must not write: (thread, record)."""
    for thread in process.threads.values():
        for block in thread.blocks:
            for record in block.records:
                ticks, kind, _, function = record
                spans = process.ledger.unrecorded(function) if process.ledger else ()
                if kind in (CALL, START, RESUME, CREATE) and any(
                        begin < ticks < end and is_known for begin, end, is_known in spans):
                    yield thread, record


# ---- section 5.4 ----

def bound_events(block):
    """Gives the events of a sparse block that have no reading their bounds. OPEN and DATA records have the time of the record
    before them."""
    end, result, latest = block.header.end[0], [], math.inf
    if end and end >= block.header.begin[0]:
        latest = end
    for at in reversed(range(len(block.records))):
        ticks, *rest = block.records[at]
        before = block.records[at - 1][0] if at else block.header.begin[0]
        if rest[0] in (OPEN, DATA):
            result.append((ticks, *rest))
        elif ticks == before:
            result.append((Between(ticks, latest), *rest))
        else:
            result.append((ticks, *rest))
            latest = ticks
    block.records = result[::-1]


# ---- section 9, steps 11 to 13 ----

def scan(process, thread):
    """Skips and counts records in a wrong position; ensures that time does not go back."""
    last = 0
    for block in thread.blocks:
        kept, n_leading, is_listed = [], 0, False     # is_listed: OPEN records may follow here, after a SWITCH
        block.begin = last = max(last, block.header.begin[0])
        if block.header.flags & SPARSE:
            bound_events(block)
        for i, (ticks, kind, frame, function) in enumerate(block.records):
            is_leading = kind == OPEN and i == n_leading < block.header.n_open
            n_leading += is_leading
            is_listed = kind == SWITCH and frame & (SWITCH_OPEN | SWITCH_ADDED) or kind == OPEN and is_listed
            if kind == DATA or kind == OPEN and (is_leading or is_listed):
                ticks = last
            elif ticks < last and isinstance(ticks, Between):
                ticks = Between(last, max(last, ticks.latest))
            elif ticks < last:
                process.skipped["time back"] += 1
                ticks = last
            last = block.last = ticks
            if kind == EMPTY or kind >= len(kinds.KINDS):
                process.skipped["unknown kind"] += 1
            elif kind in OF_LEDGER + OF_SAMPLES:
                process.skipped["misplaced"] += 1
            elif kind == OPEN and not is_leading and not is_listed:
                process.skipped["OPEN inside"] += 1
            else:
                if kind in (CALL, START, RESUME, C_CALL, OPEN) and function not in process.functions:
                    process.skipped["unknown function"] += 1
                kept.append((ticks, kind, frame, function))
        if n_leading < block.header.n_open and n_leading == len(block.records):
            block.records = []          # killed before the last of them was written
        else:
            block.records, block.opened = join_values(process, kept), kept[:n_leading]


# ---- section 4.2 ----

WITH_VALUES = SPAN, INSTANT, COUNTER, FLOW, ARGUMENTS, RESULT, TASK


@dataclass(frozen=True)
class Values:
    """What a record has in place of `frame`: (key, value) in order. A value of another type is a tuple: type, text."""
    pairs: tuple
    n_left_out: int = 0


def join_values(process, records):
    """Reads the DATA records of those that have some, and leaves them out."""
    joined, at = [], 0
    while at < len(records):
        ticks, kind, frame, function = records[at]
        at += 1
        if kind == DATA:
            process.skipped["stray values"] += 1
            continue
        if kind in WITH_VALUES:
            size, n_left_out, data = frame & 0xffff, frame >> 16 & 0xffff, b""
            n = -(-size // 10) if size <= 4000 else 0
            while n and at < len(records) and records[at][1] == DATA:
                data += records[at][2].to_bytes(6, "little") + records[at][3].to_bytes(4, "little")
                n, at = n - 1, at + 1
            is_whole = not n and size <= 4000
            process.skipped["stray values"] += not is_whole
            frame = Values(tuple(read_values(process, data[:size] if is_whole else b"")), n_left_out)
        joined.append((ticks, kind, frame, function))
    return joined


def read_values(process, data):
    """Gives each value, up to one that cannot be read, which is counted."""
    at = 0

    def varint():
        nonlocal at
        number = 0
        for shift in range(0, 64, 7):
            byte, at = data[at], at + 1
            number |= (byte & 0x7f) << shift
            if byte < 0x80:
                if number >= 2**64:
                    raise ValueError
                return number
        raise ValueError

    def take(n):
        nonlocal at
        at += n
        if at > len(data):
            raise IndexError
        return data[at - n:at]

    def text():
        data = take(varint())
        return data.decode("utf-8", "surrogatepass" if is_text(data) else "replace")

    try:
        while at < len(data):
            number = varint()
            if number >= 2**32:
                raise ValueError
            label = process.functions.get(number)
            key = text() if not number else label.name if label else "?"
            what, = take(1)
            if what in (1, 2, 3):
                yield key, (None, False, True)[what - 1]
            elif what == 4:
                number = varint()
                yield key, -(number + 1) // 2 if number % 2 else number // 2
            elif what == 5:
                yield key, struct.unpack("<d", take(8))[0]
            elif what in (6, 7, 8, 9, 10):
                yield key, (what, text())
            elif what == 11:
                yield key, (what, "")
            else:
                raise ValueError
    except (IndexError, ValueError):
        process.skipped["unread values"] += 1


def check_tracks(process):
    """A track is that of the thread that it runs in first. Skips and counts changes to others, with the OPEN
    records after them."""
    owners = {}
    uses = [use for thread in process.threads.values() for block in thread.blocks for use in
            [(block.begin, thread.number, block.header.track),
             *((ticks, thread.number, track) for ticks, kind, _, track in block.records if kind == SWITCH)]]
    for _, number, track in sorted(uses):
        owners.setdefault(track, number)

    def is_there(thread, track):
        return track == 0 or (track in process.threads and process.threads[track].is_track
                              and owners[track] == thread.number)

    for thread in process.threads.values():
        for block in thread.blocks:
            block.track = block.header.track
            is_skipped = not is_there(thread, block.track)      # the OPEN records that come are
            process.skipped["unknown track"] += is_skipped
            if is_skipped:
                block.track = block.opened = None
            kept = []
            for record in block.records:
                if record[1] == SWITCH and not is_there(thread, record[3]):
                    is_skipped = True
                    process.skipped["unknown track"] += 1
                elif record[1] != OPEN or not is_skipped:
                    is_skipped = False
                    kept.append(record)
            block.records = kept
    process.skipped = +process.skipped
