"""Writes captures by specs/capture-format.md, without the project's C code.

    with Capture(path) as capture:
        process = capture.process(7)                    # names file with the properties of a start
        main = process.function("__main__", "main", "app.py", 1)
        thread = process.thread(1, 7001, "MainThread")
        thread.block([call(10, main), return_(20, main)])       # in segment 1, file thread-1.zst
        process.segment(2)                              # further blocks go there
        thread.block([call(30, main), return_(40, main)], is_short=True)    # in file short-threads.zst
        process.end(1000)                               # the properties of a clean end

Times are nanoseconds since the start of the process; the clock is "monotonic" (a tick is a nanosecond) unless
another one is asked for. Every structure has an `encode_` function of its own, so that a test can damage it.
Needs the `zstd` command.
"""

import builtins
import keyword
import struct
import subprocess
from pathlib import Path

import kinds

# Kinds of records, EMPTY, CALL, RETURN, ...: section 4.
globals().update(kinds.NUMBERS)

# Bits in the field `frame` of a SWITCH.
SWITCH_OPEN, SWITCH_DEEPER, SWITCH_ADDED = 1, 2, 4

# In the field `frame` of MUTE, ADMIT and MUTED: only the function's calls of C functions.
C_CALLS = 1

# Kinds of functions: section 6.1.
PLAIN, GENERATOR, COROUTINE, ASYNC_GENERATOR, ITERABLE_COROUTINE, C_FUNCTION, LABEL = range(7)

# Types of name entries, and kinds of threads: section 6.
FUNCTION, THREAD, PROPERTY = 1, 2, 3
TRACK = 1
LEDGER = 2
SAMPLES = 3

# Flags of blocks: section 5.
RESYNC, DEEPER, LAST, PAUSED, SPARSE = 1, 2, 4, 8, 16

BLOCK_RECORDS = 16384
SHORT_THREADS = "short-threads.zst"
UNRECORDED_STACK = 1

START_MONOTONIC_NS = 5_000_000_000_000
START_REALTIME_NS = 1_700_000_000_000_000_000


def check(data):
    """FNV-1a, 64 bits: section 3."""
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return value


def compress(data):
    """One zstd frame with content size and content checksum."""
    return subprocess.run(["zstd", "-1", "-q", "-c", "--check", f"--stream-size={len(data)}"], input=data,
                          stdout=subprocess.PIPE, check=True).stdout


# ---- records ----

def encode_record(ticks, kind, frame=0, function=0):
    return (ticks.to_bytes(5, "little") + bytes([kind]) + frame.to_bytes(6, "little")
            + function.to_bytes(4, "little"))


def make_encoder(kind):
    """Gives what makes a record of that kind: call(at, function), start(at, function, frame), lost(at, n), ..."""
    if kind.frame == "0":
        return lambda at, function: (at, kind.number, 0, function)
    return lambda at, function, frame: (at, kind.number, frame, function)


for row in kinds.KINDS:
    function_name = row.name.lower()
    if keyword.iskeyword(function_name) or hasattr(builtins, function_name):
        function_name += "_"            # return_, yield_, open_
    globals()[function_name] = make_encoder(row)


def open_(function, frame=0):
    """`at` is the block's begin, or that of the SWITCH before it."""
    return None, OPEN, frame, function


def unrecorded(at):
    return at, UNRECORDED, 0, UNRECORDED_STACK


def unrecorded_end(at):
    return at, UNRECORDED_END, 0, UNRECORDED_STACK


def switch(at, track, flags=0):
    return at, SWITCH, flags, track


def mute(at, function, what=0):
    return at, MUTE, what, function


def admit(at, function, what=0):
    return at, ADMIT, what, function


def muted(function, what=0):
    """`at` is the block's begin."""
    return None, MUTED, what, function


def sample(at, gil=0, holder=0):
    return at, kinds.NUMBERS["SAMPLE"], gil, holder


def spent(at, kind, thread, ns, since=1):
    """kind: RAN or QUEUED."""
    return at, kinds.NUMBERS[kind], ns | since << 32, thread


def scheduled(at, thread, before_ns, what=0):
    """what: 0: it gets a processor; 1: it waits; 2: it queues; 3: changes are missing."""
    return at, kinds.NUMBERS["SCHEDULE"], before_ns | what << 32, thread


def memory(at, size, n_chunks):
    return at, kinds.NUMBERS["MEMORY"], size, n_chunks


def cost(at, cpu_ns, cost_ns):
    return at, COST, cpu_ns, cost_ns


# ---- values: section 4.2 ----

def varint(number):
    """7 bits to a byte, the lowest first."""
    data = b""
    while number >= 0x80:
        data, number = data + bytes([number & 0x7f | 0x80]), number >> 7
    return data + bytes([number])


def sized(text):
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return varint(len(data)) + data


def worth(value):
    """Type and content of a value; an object of the wrong type is given as its encoding (bytes)."""
    if isinstance(value, bytes):
        return value
    if value is None or isinstance(value, bool):
        return bytes([1 if value is None else 2 + value])
    if isinstance(value, int):
        return b"\x04" + varint(2 * value if value >= 0 else -2 * value - 1)
    return b"\x05" + struct.pack("<d", value) if isinstance(value, float) else b"\x06" + sized(value)


def remark(kind, at, label, *values, n_left_out=0, size=None):
    """Records of a remark, or of the values of a call: itself, and its DATA records. values: (key, value); a key is a number or text."""
    data = b"".join((varint(key) if isinstance(key, int) else b"\0" + sized(key)) + worth(value) for key, value in values)
    return [(at, kinds.NUMBERS[kind], (len(data) if size is None else size) | n_left_out << 16, label), *data_of(data)]


def data_of(data):
    """DATA records, at the time of the record before them."""
    pieces = [data[at:at + 10].ljust(10, b"\0") for at in range(0, len(data), 10)]
    return [(None, kinds.NUMBERS["DATA"], int.from_bytes(piece[:6], "little"), int.from_bytes(piece[6:], "little"))
            for piece in pieces]


def count_leading(records):
    """How many OPEN records they begin with."""
    return next((i for i, record in enumerate(records) if record[1] != OPEN), len(records))


# ---- blocks: section 5 ----

def encode_planes(records, tick_shift=0):
    """records: (ticks, kind, frame, function). Ticks become differences, bytes become planes. Returns the field
    `planes` and the bytes."""
    rows, before = [], 0
    for ticks, kind, frame, function in records:
        ticks >>= tick_shift
        rows.append(encode_record(ticks - before & 0xffffffffff, kind, frame, function))
        before = ticks
    present = [k for k in range(16) if k == 5 or any(row[k] for row in rows)]
    return sum(1 << k for k in present), bytes(row[k] for k in present for row in rows)


def encode_block_header(thread, sequence, n_records, n_open, data_size, begin, end, flags=0, *, planes=0, tick_shift=0,
                        track=0, magic=b"PNRB", version=None, reserved=0, reserved2=0):
    if version is None:
        version = 2 if flags & SPARSE else 1
    header = magic + struct.pack("<HHIIIIIHBB3Q3QII", version, flags, thread, sequence, n_records, n_open, data_size,
                                 planes, tick_shift, reserved, *begin, *end, track, reserved2)
    return header + struct.pack("<Q", check(header))


def encode_skippable(header):
    return struct.pack("<II", 0x184d2a5b, len(header)) + header


# ---- names: section 6 ----

def encode_names_header(magic=b"PNRNAMES", version=1, reserved=0):
    return magic + struct.pack("<II", version, reserved)


def encode_name(type, strings, kind=0, index=0, number=0):
    strings = [s.encode("utf-8", "surrogatepass") for s in strings]
    head = struct.pack("<IBBHII3II", 40 + sum(map(len, strings)), type, kind, 0, index, number,
                       *map(len, strings), 0)
    body = b"".join(strings)
    return head + struct.pack("<Q", check(head + body)) + body


# ---- live mapping: section 7 ----

def encode_live_header(n_chunks, *, magic=b"PNR-LIVE", version=1, chunk_records=BLOCK_RECORDS, latest=0,
                       instants=((0, 0, 0), (0, 0, 0)), process_start=1000, pid_namespace=4026531836):
    header = magic + struct.pack("<IIIIQ6QQQ", version, n_chunks, chunk_records, latest, 0, *instants[0],
                                 *instants[1], process_start, pid_namespace)
    return header.ljust(4096, b"\0")


def encode_live_chunk(block_header=bytes(96), state=0):
    return block_header + struct.pack("<I", state) + bytes(28)


def live_records_at(n_chunks):
    return 4096 + (n_chunks * 128 + 4095) // 4096 * 4096


class Clock:
    """Ticks of a process from nanoseconds since its start."""

    def __init__(self, name="monotonic", ticks_per_second=10**9, start_ticks=START_MONOTONIC_NS,
                 start_monotonic_ns=START_MONOTONIC_NS, ticks=None):
        self.name, self.ticks_per_second = name, ticks_per_second
        self.start_ticks, self.start_monotonic_ns = start_ticks, start_monotonic_ns
        self.elapsed_ticks = ticks or (lambda at: at * ticks_per_second // 10**9)

    def ticks(self, at):
        return self.start_ticks + self.elapsed_ticks(at)

    def instant(self, at):
        return self.ticks(at), self.start_monotonic_ns + at, START_REALTIME_NS - START_MONOTONIC_NS \
            + self.start_monotonic_ns + at


class Capture:
    def __init__(self, path):
        self.path = Path(path)
        self.processes = []

    def __enter__(self):
        self.path.mkdir(parents=True)
        return self

    def __exit__(self, *exception):
        for process in self.processes:
            process.write()

    def process(self, pid, k=1, clock=None, **properties):
        process = Process(self.path / (f"process-{pid}" + (f"-{k}" if k > 1 else "")), pid, clock or Clock(), properties)
        self.processes.append(process)
        return process


class Process:
    """One process directory. Kept in memory as bytes until write(), so that a test may change anything."""

    def __init__(self, path, pid, clock, properties):
        self.path, self.clock = path, clock
        self.header = encode_names_header()
        self.entries = []                       # of the names file, encoded
        self.threads = {}
        self.segments = {}                      # number: {file's name: encoded blocks, and whatever else is among them}
        self.segment(1)
        self.live = None                        # bytes of the live file
        self.n_functions = 0
        ticks, monotonic_ns, realtime_ns = clock.instant(0)
        for key, value in ({"pid": pid, "parent_pid": 1, "python": "3.11.2", "executable": "/usr/bin/python3",
                            "command": "app.py", "engine": "frame", "recorder": "1.0.0", "clock": clock.name,
                            "ticks_per_second": clock.ticks_per_second, "start_ticks": ticks,
                            "start_monotonic_ns": monotonic_ns, "start_realtime_ns": realtime_ns} | properties).items():
            if value is not None:
                self.add_property(key, value)

    def add_property(self, key, value):
        self.entries.append(encode_name(PROPERTY, [key, str(value), ""]))

    def function(self, module, name, file="app.py", line=1, kind=PLAIN):
        self.n_functions += 1
        self.entries.append(encode_name(FUNCTION, [module, name, file], kind, self.n_functions, line))
        return self.n_functions

    def thread(self, number, native_id, name):
        self.entries.append(encode_name(THREAD, [name, "", ""], 0, number, native_id))
        return self.threads.setdefault(number, Thread(self, number))

    def ledger(self, number):
        """The ledger: written like a thread, which it is not."""
        self.entries.append(encode_name(THREAD, ["", "", ""], LEDGER, number, 0))
        return self.threads.setdefault(number, Thread(self, number, is_ledger=True))

    def samples(self, number):
        """The samples: written like a thread, which they are not."""
        self.entries.append(encode_name(THREAD, ["", "", ""], SAMPLES, number, 0))
        return self.threads.setdefault(number, Thread(self, number, is_ledger=True))

    def track(self, number, native_id, name):
        self.entries.append(encode_name(THREAD, [name, "", ""], TRACK, number, native_id))
        return number

    def segment(self, number):
        """Begins a segment, or goes on with it."""
        self.files = self.segments.setdefault(number, {})
        return self.files

    def file(self, name):
        """Blocks of a file of the segment, a list that may be changed: thread-1.zst, short-threads.zst."""
        return self.files.setdefault(name, [])

    def end(self, at, lost=0):
        """The properties of a clean end."""
        ticks, monotonic_ns, realtime_ns = self.clock.instant(at)
        events = sum(thread.n_events for thread in self.threads.values() if not thread.is_ledger)
        for key, value in (("end_ticks", ticks), ("end_monotonic_ns", monotonic_ns), ("end_realtime_ns", realtime_ns),
                           ("events", events), ("lost", lost), ("forks", 0)):
            self.add_property(key, value)

    def leave_live(self, chunks, at=0, n_chunks=None, **header):
        """A live file as a killed process leaves it. chunks: None (free) or what Thread.chunk gave."""
        n_chunks = n_chunks or len(chunks)
        chunks = chunks + [None] * (n_chunks - len(chunks))
        header = {"instants": (self.clock.instant(at), (0, 0, 0))} | header
        self.live = bytearray(encode_live_header(n_chunks, **header))
        for chunk in chunks:
            self.live += encode_live_chunk(chunk[0], 1) if chunk else encode_live_chunk()
        self.live = self.live.ljust(live_records_at(n_chunks), b"\0")
        for chunk in chunks:
            self.live += (chunk[1] if chunk else b"").ljust(BLOCK_RECORDS * 16, b"\0")

    def write(self):
        self.path.mkdir()
        (self.path / "names").write_bytes(self.header + b"".join(self.entries))
        for number, files in self.segments.items():
            (self.path / f"segment-{number}").mkdir()
            for name, blocks in files.items():
                (self.path / f"segment-{number}" / name).write_bytes(b"".join(blocks))
        if self.live is not None:
            write_sparse(self.path / "live", self.live)


class Thread:
    def __init__(self, process, number, is_ledger=False):
        self.process, self.clock, self.number, self.is_ledger = process, process.clock, number, is_ledger
        self.sequence = 0                       # of the next block
        self.n_events = 0

    @property
    def file(self):
        """The name of its file in a segment."""
        return f"thread-{self.number}.zst"

    def block(self, records, begin=None, end=None, flags=0, sequence=None, tick_shift=0, is_short=False, **fields):
        """Encodes a block and appends it to the thread's file in the segment, or to that of short threads. Records with the
        time None have that of the record before, as those without a reading of the clock. fields: what the header holds
        in place of the true values. Without `begin` it begins with its first record that has a
        time."""
        begin, end, records = self.timed(records, begin, end)
        planes, data = encode_planes(records, tick_shift)
        data = compress(data)
        fields = {"n_records": len(records), "n_open": count_leading(records), "data_size": len(data),
                  "planes": planes, "tick_shift": tick_shift} | fields
        header = encode_block_header(self.number, self.take(sequence), begin=begin, end=end, flags=flags, **fields)
        self.process.file(SHORT_THREADS if is_short else self.file).append(encode_skippable(header) + data)
        self.n_events += sum(r[1] not in (OPEN, kinds.NUMBERS["DATA"]) for r in records)

    def chunk(self, records, begin=None, flags=0, sequence=None, **fields):
        """A chunk in use, for Process.leave_live: its block header and its records."""
        begin, _, timed = self.timed(records, begin, None)
        if flags & SPARSE:                                  # ticks 0: no reading
            timed = [(0 if at is None else ticks, *rest) for (at, *_), (ticks, *rest) in zip(records, timed)]
        fields = {"n_open": count_leading(records)} | fields
        fields = {"n_records": 0, "data_size": 0, "end": (0, 0, 0)} | fields
        header = encode_block_header(self.number, self.take(sequence), begin=begin, flags=flags, **fields)
        return header, b"".join(encode_record(*r) for r in timed)

    def take(self, sequence):
        """Returns the number of a block: the next one unless given."""
        sequence = self.sequence if sequence is None else sequence
        self.sequence = sequence + 1
        return sequence

    def timed(self, records, begin, end):
        """The instants of begin and end, and the records with ticks since the begin."""
        times = [r[0] for r in records if r[0] is not None]
        begin = min(times, default=0) if begin is None else begin
        end = max(times, default=begin) if end is None else end
        base, ticks, result = self.clock.ticks(begin), 0, []
        for at, *rest in records:
            if at is not None:
                ticks = self.clock.ticks(at) - base & 0xffffffffff
            result.append((ticks, *rest))
        return self.clock.instant(begin), self.clock.instant(end), result


def write_sparse(path, data):
    """Leaves holes where whole pages are zero: a live file is mostly empty."""
    with open(path, "wb") as file:
        for at in range(0, len(data), 4096):
            if any(data[at:at + 4096]):
                file.seek(at)
                file.write(data[at:at + 4096])
        file.truncate(len(data))
