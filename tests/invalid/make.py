#!/usr/bin/env python3
"""Makes the captures of this directory: RULE/run.pnr and RULE/expected.status for each "reject" and "report" rule of
specs/capture-format.md, section 11. Each has exactly one fault.

    tests/invalid/make.py [RULE...]         # default: all

expected.stderr is what the converter prints, stored after it was read and found right. What is left of the trace
tests/format/test_conversion.py checks against the records by a way of its own.
"""

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "format"))
sys.dont_write_bytecode = True

from capture_writer import *                # noqa: E402, F403: the vocabulary of the captures below
from capture_writer import sample as sample_    # noqa: E402: a record; a `sample` is a capture here

RULES = {}                                  # name: (exit status, function that makes the capture)


class Sample(Capture):
    """The capture that is to be damaged: one process, two threads, each with a file in the only segment. The middle one
    of thread 1's three blocks is the victim. The blocks before and after it must be converted."""

    VICTIM, LAST = 1, 2                         # indexes of thread 1's blocks in its file

    def __init__(self, path):
        super().__init__(path)
        self.sample = process = self.process(7)
        self.main = process.function("__main__", "main", "app.py", 1)
        self.work = process.function("__main__", "work", "app.py", 4)
        self.one, self.two = process.thread(1, 7001, "MainThread"), process.thread(2, 7002, "worker")
        self.blocks = process.file(self.one.file)
        self.two.block([call(1500, self.work), return_(2500, self.work)], flags=LAST)
        self.add_first()
        self.victim = self.records()

    def records(self):
        return [open_(self.main), call(4000, self.work), return_(5000, self.work), call(6000, self.work)]

    def add_first(self):
        self.one.block([call(1000, self.main), call(2000, self.work), return_(3000, self.work)])

    def add_victim(self, records=None, **fields):
        self.one.block(records or self.victim, begin=3500, end=6500, **fields)

    def add_last(self):
        self.one.block([open_(self.main), open_(self.work), return_(8000, self.work), return_(9000, self.main)],
                       begin=7000, flags=LAST)

    def finish(self):
        self.add_victim()
        self.add_last()
        self.sample.end(10_000)


def rule(status):
    """Registers a function that damages a finished sample. It is called before the capture is written."""
    def keep(damage):
        def make(path):
            with Sample(path) as sample:
                damage(sample)
        RULES[damage.__name__] = (status, make)
        return damage
    return keep


def rule_after(status):
    """Registers a function that damages a finished sample on disk."""
    def keep(damage):
        def make(path):
            with Sample(path) as sample:
                sample.finish()
            damage(path)
        RULES[damage.__name__] = (status, make)
        return damage
    return keep


# ---- the capture ----

@rule_after(2)
def not_a_directory(path):
    shutil.rmtree(path)
    path.write_bytes(b"PNRNAMES")


@rule_after(2)
def no_process(path):
    (path / "process-7").rename(path / "other")


# ---- names ----

@rule_after(2)
def names_missing(path):
    (path / "process-7/names").unlink()


@rule_after(2)
def names_shorter_than_header(path):
    (path / "process-7/names").write_bytes(b"PNRNAMES\1\0\0")


@rule(2)
def names_magic(sample):
    sample.finish()
    sample.sample.header = encode_names_header(b"PNRNAMEZ")


@rule(2)
def names_version_0(sample):
    sample.finish()
    sample.sample.header = encode_names_header(version=0)


@rule(2)
def names_reserved(sample):
    sample.finish()
    sample.sample.header = encode_names_header(reserved=1)


@rule(2)
def names_later_version(sample):
    sample.finish()
    sample.sample.header = encode_names_header(version=2, reserved=3)


@rule(1)
def names_magic_in_one_of_two(sample):
    sample.finish()
    other = sample.process(8)
    other.thread(1, 8, "").block([call(1000, 1)])
    other.header = encode_names_header(b"PNRNAMEZ")


def change_main(sample, change, *, seal=True):
    """Changes the entry of the function main."""
    sample.finish()
    entries = sample.sample.entries
    at = next(i for i, entry in enumerate(entries) if b"__main__main" in entry)
    entry = bytearray(entries[at])
    change(entry)
    if seal:
        entry[32:40] = struct.pack("<Q", check(entry[:32] + entry[40:]))
    entries[at] = bytes(entry)


@rule(1)
def entry_check(sample):
    change_main(sample, lambda entry: entry.__setitem__(45, ord("X")), seal=False)


@rule(1)
def entry_size(sample):
    change_main(sample, lambda entry: struct.pack_into("<I", entry, 0, 39))


@rule(1)
def entry_size_too_large(sample):
    change_main(sample, lambda entry: struct.pack_into("<I", entry, 0, 40 + 3 * 65535 + 1))


@rule(1)
def entry_string_sizes(sample):
    change_main(sample, lambda entry: struct.pack_into("<I", entry, 16, 9))


@rule(1)
def entry_reserved(sample):
    change_main(sample, lambda entry: struct.pack_into("<I", entry, 28, 1))


@rule(1)
def entry_index_0(sample):
    change_main(sample, lambda entry: struct.pack_into("<I", entry, 8, 0))


@rule(1)
def entry_index_impossible(sample):
    change_main(sample, lambda entry: struct.pack_into("<I", entry, 8, 0xffffffff))


@rule(1)
def entry_index_again(sample):
    sample.finish()
    sample.sample.entries.append(encode_name(FUNCTION, ["__main__", "other", "app.py"], PLAIN, sample.main, 9))


@rule(1)
def entry_cut_off(sample):
    sample.finish()
    sample.sample.entries.append(encode_name(FUNCTION, ["__main__", "other", "app.py"], PLAIN, 3, 9)[:-1])


# ---- blocks ----

def change_victim(sample, at, format, value, *, seal=True):
    """Changes a field of the victim's block header, or of the frame around it when `at` is negative."""
    sample.finish()
    block = bytearray(sample.blocks[sample.VICTIM])
    struct.pack_into(format, block, 8 + at, value)
    if seal:
        block[96:104] = struct.pack("<Q", check(block[8:96]))
    sample.blocks[sample.VICTIM] = bytes(block)


def header_rule(name, at, format, value, seal=True):
    RULES[name] = (1, lambda path: make_header_rule(path, at, format, value, seal))


def make_header_rule(path, at, format, value, seal):
    with Sample(path) as sample:
        change_victim(sample, at, format, value, seal=seal)


header_rule("block_skippable_magic", -8, "<I", 0x184d2a5a)
header_rule("block_skippable_size", -4, "<I", 95)
header_rule("block_magic", 0, "4s", b"PNRC")
header_rule("block_check", 40, "<Q", 1, seal=False)
header_rule("block_version_0", 4, "<H", 0)
header_rule("block_later_version", 4, "<H", 3)
header_rule("block_sparse_in_version_1", 6, "<H", 16)
header_rule("block_version_2_and_not_sparse", 4, "<H", 2)
header_rule("block_reserved_flag", 6, "<H", 32)
header_rule("block_reserved_field", 31, "<B", 1)
header_rule("block_reserved_field_2", 84, "<I", 1)
header_rule("block_thread_0", 8, "<I", 0)
header_rule("block_n_records_0", 16, "<I", 0)
header_rule("block_n_records_too_large", 16, "<I", 16385)
header_rule("block_n_open_above_n_records", 20, "<I", 5)
header_rule("block_data_size_0", 24, "<I", 0)
header_rule("block_data_size_too_large", 24, "<I", 263169)
header_rule("block_without_plane_of_kinds", 28, "<H", 0x1001)
header_rule("block_planes_of_another_number", 28, "<H", 0x0021)
header_rule("block_tick_shift_too_large", 30, "<B", 40)
header_rule("sequence_hole", 12, "<I", 0xffffffff)


@rule(1)
def data_corrupted(sample):
    sample.finish()
    block = sample.blocks[sample.VICTIM]
    sample.blocks[sample.VICTIM] = block[:-1] + bytes([block[-1] ^ 1])


def replace_data(sample, data):
    """Replaces the data frame of the victim."""
    sample.add_victim(data_size=len(data))
    sample.blocks[sample.VICTIM] = sample.blocks[sample.VICTIM][:104] + data
    sample.add_last()
    sample.sample.end(10_000)


def planes(sample, n=None):
    begin, _, records = sample.one.timed(sample.victim, 3500, None)
    return encode_planes(records[:n])[1]


@rule(1)
def data_without_checksum(sample):
    data = planes(sample)
    replace_data(sample, subprocess.run(["zstd", "-qc", "--no-check", f"--stream-size={len(data)}"], input=data,
                                        stdout=subprocess.PIPE, check=True).stdout)


@rule(1)
def data_without_content_size(sample):
    replace_data(sample, subprocess.run(["zstd", "-qc", "--check"], input=planes(sample), stdout=subprocess.PIPE,
                                        check=True).stdout)


@rule(1)
def data_of_fewer_records(sample):
    replace_data(sample, compress(planes(sample, 3)))


@rule(1)
def data_of_two_frames(sample):
    data = planes(sample)
    replace_data(sample, compress(data[:8]) + compress(data[8:]))


@rule(1)
def data_no_frame(sample):
    replace_data(sample, planes(sample))


@rule(1)
def data_of_older_zstd(sample):
    """A frame of zstd 0.7, which libzstd may still unpack: a raw block, and an end mark with bits of the checksum."""
    data = planes(sample)
    check = int.from_bytes(compress(data)[-4:], "little") >> 11
    replace_data(sample, b"\x27\xb5\x2f\xfd\x24" + bytes([len(data), 0x40, 0, len(data)]) + data +
                 bytes([0xc0 | check >> 16, check >> 8 & 0xff, check & 0xff]))


@rule(1)
def cut_off_in_header(sample):
    sample.finish()
    sample.blocks[sample.LAST] = sample.blocks[sample.LAST][:103]


@rule(1)
def cut_off_in_data(sample):
    sample.finish()
    sample.blocks[sample.LAST] = sample.blocks[sample.LAST][:-1]


@rule(1)
def junk_between_blocks(sample):
    sample.finish()
    sample.blocks.insert(sample.VICTIM, b"\x5b\x2a\x4d\x18 junk that begins like a block, PNRB, and is none" * 3)


@rule(1)
def junk_at_the_end(sample):
    sample.finish()
    sample.blocks.append(bytes(1000))


@rule(1)
def sequence_missing(sample):
    sample.finish()
    del sample.blocks[sample.VICTIM]


@rule(1)
def sequence_repeated(sample):
    sample.finish()
    sample.blocks.insert(sample.LAST, sample.blocks[sample.VICTIM])


# ---- segments: by default a block of thread 1 in each of the first three, and then one with an empty file ----

def spread(sample):
    """Moves each block of thread 1 to a segment of its own. Returns its files, by segment."""
    sample.finish()
    name, segments = sample.one.file, sample.sample.segments
    segments[2], segments[3], segments[4] = ({name: blocks} for blocks in (
        [sample.blocks.pop(sample.VICTIM)], [sample.blocks.pop(sample.VICTIM)], []))
    return {number: files[name] for number, files in segments.items()}


@rule(1)
def segment_missing(sample):
    spread(sample)
    del sample.sample.segments[2]


@rule(1)
def segments_missing(sample):
    """No block is missing: the missing segments had none."""
    spread(sample)
    sample.sample.segments[9] = sample.sample.segments.pop(4)


@rule(1)
def file_missing(sample):
    spread(sample)
    sample.sample.segments[2] = {sample.two.file: []}


@rule(1)
def file_cut_off_in_data(sample):
    blocks = spread(sample)[2]
    blocks[0] = blocks[0][:-1]


@rule(1)
def file_cut_off_in_header(sample):
    blocks = spread(sample)[2]
    blocks[0] = blocks[0][:103]


def without_end(sample):
    """Removes the properties of the end: the process was killed."""
    sample.sample.entries = [entry for entry in sample.sample.entries if b"end_" not in entry]


@rule(1)
def file_cut_off_and_killed(sample):
    """A kill does not cut off a file of a segment that is not the last."""
    blocks = spread(sample)[2]
    without_end(sample)
    blocks[0] = blocks[0][:-1]


@rule(1)
def file_cut_off_and_finished(sample):
    """The process that finished a killed one has cut off such ends."""
    blocks = spread(sample)[3]
    del sample.sample.segments[4]
    without_end(sample)
    sample.sample.add_property("killed_ticks", sample.sample.clock.ticks(9500))
    blocks[0] = blocks[0][:-1]


@rule(1)
def cut_off_by_a_kill_and_block_missing(sample):
    """An end that was cut off by the kill does not hide real damage."""
    files = spread(sample)
    without_end(sample)
    files[2].clear()
    sample.sample.segment(4)
    sample.two.block([call(9000, sample.work)])
    blocks = sample.sample.file(sample.two.file)
    blocks[0] = blocks[0][:-1]


@rule(1)
def block_in_two_segments(sample):
    files = spread(sample)
    files[4] += files[2]


@rule(1)
def block_in_two_segments_damaged(sample):
    """The first one counts, even if its data is damaged."""
    files = spread(sample)
    block = files[2][0]
    files[2][0] = block[:-1] + bytes([block[-1] ^ 1])
    files[4].append(block)


@rule(1)
def block_in_two_files(sample):
    """The file of short threads comes first."""
    sample.finish()
    sample.sample.file(SHORT_THREADS).append(sample.blocks[sample.VICTIM])


@rule(1)
def block_in_the_file_of_another_thread(sample):
    sample.finish()
    sample.sample.file(sample.two.file).append(sample.blocks.pop(sample.VICTIM))


@rule(1)
def first_segment_missing(sample):
    """There is no limit that allowed to evict it."""
    spread(sample)
    del sample.sample.segments[1]


@rule_after(1)
def all_segments_missing(path):
    shutil.rmtree(path / "process-7/segment-1")


@rule_after(1)
def segment_is_a_link(path):
    (path / "process-7/segment-2").symlink_to("segment-1")


@rule_after(1)
def segment_is_a_file(path):
    (path / "process-7/segment-1/thread-1.zst").rename(path / "process-7/segment-2")


@rule_after(1)
def file_is_a_link(path):
    (path / "process-7/segment-1/thread-3.zst").symlink_to("thread-1.zst")


@rule_after(1)
def file_is_a_directory(path):
    (path / "process-7/segment-1/short-threads.zst").mkdir()
    (path / "process-7/segment-1/short-threads.zst/file").write_bytes(b"git keeps no empty directories")


@rule(1)
def evicted_and_block_missing(sample):
    """Thread 2 may begin with any block, but thread 1 lacks a block."""
    sample.sample.add_property("max_size", str(16 << 20))
    files = spread(sample)
    del sample.sample.segments[1][sample.two.file]
    sample.sample.segment(3)
    sample.two.block([open_(sample.work), call(7000, sample.work), return_(8000, sample.work)], begin=6600)
    files[2].clear()
    sample.sample.segments = {number + 5: files for number, files in sample.sample.segments.items()}


# ---- records ----

@rule(1)
def sparse_ticks_back(sample):
    """Among events without a reading."""
    sample.victim = [open_(sample.main), call(4000, sample.work), return_(None, sample.work), call(3800, sample.work),
                     return_(None, sample.work), call(6000, sample.work)]
    sample.add_victim(flags=SPARSE)
    sample.add_last()
    sample.sample.end(10_000)


@rule(1)
def sparse_unknown_kinds(sample):
    """The second is that of a CALL, except for its highest bit."""
    sample.victim = [open_(sample.main), call(4000, sample.work), return_(None, sample.work), (None, 100, 0, 1),
                     (None, 128 + CALL, 0, 1), call(6000, sample.work)]
    sample.add_victim(flags=SPARSE)
    sample.add_last()
    sample.sample.end(10_000)


@rule(1)
def unknown_kind(sample):
    sample.victim += [(6100, 254, 0, 0), (6200, 255, 1, 1)]
    sample.finish()


def add_remarks(sample, *remarks):
    """Adds records to the victim, after its last one; key 3 is a label."""
    sample.sample.function("", "label", "", 0, kind=LABEL)
    sample.victim += [record for records in remarks for record in records]
    sample.finish()


@rule(1)
def values_of_nothing(sample):
    add_remarks(sample, data_of(b"\x03\x03"), [call(6100, sample.work)], data_of(b"\x03\x03"),
                [return_(6200, sample.work)], remark("INSTANT", 6300, 3, (3, True)), data_of(b"too much"))


@rule(1)
def values_missing(sample):
    add_remarks(sample, remark("INSTANT", 6100, 3, (3, "a text of more than 10 bytes"))[:-1],
                remark("SPAN", 6200, 3, (3, "text"))[:1], [span_end(6300, 3)])


@rule(1)
def values_size_too_large(sample):
    add_remarks(sample, remark("INSTANT", 6100, 3, (3, 1), size=4001), remark("COUNTER", 6200, 3, (3, 1), size=65535))


@rule(1)
def values_of_a_later_type(sample):
    """What comes before it is read. Nobody knows where it ends. So it is with one that is damaged."""
    add_remarks(sample, remark("INSTANT", 6100, 3, (3, 1), (3, b"\x0c\x01\x02"), (3, 2)),
                remark("INSTANT", 6200, 3, (3, b"\x00")), remark("INSTANT", 6300, 3, (3, b"\x04\x80\x80")),
                remark("SPAN", 6400, 3, (3, b"\x06\x63abc")), [span_end(6500, 3)])


@rule(1)
def values_of_unknown_labels(sample):
    add_remarks(sample, remark("INSTANT", 6100, 99, (98, 1)), remark("COUNTER", 6200, 97, (96, 2)),
                remark("SPAN", 6300, 95, (94, 3)), [span_end(6400, 95)], remark("FLOW", 6500, 93, ("id", 4)))


@rule(1)
def values_of_calls(sample):
    """Arguments of no entry, of one that is not innermost, and of another function; results of nothing, which are ignored
    like exits. Sizes and texts that are wrong; arguments twice."""
    work = sample.work
    sample.sample.function("", "label", "", 0, kind=LABEL)
    sample.victim += [
        *remark("ARGUMENTS", 6000, 99, ("x", 1)), *remark("RESULT", 6010, 99, ("return", 1)),
        call(6100, work), *remark("ARGUMENTS", 6110, work, ("x", 1)), *remark("ARGUMENTS", 6120, work, ("x", 2), ("y", 3)),
        *remark("ARGUMENTS", 6130, work, size=4001), *remark("ARGUMENTS", 6140, work, size=30),
        *remark("ARGUMENTS", 6150, 0, ("x", 4)), *remark("SPAN", 6160, 3), *remark("ARGUMENTS", 6170, work, ("x", 5)),
        span_end(6180, 3), *remark("RESULT", 6190, work, ("return", b"\x09\x7fabc")),
        *remark("RESULT", 6200, 2**32 - 1, ("return", b"\x0b")), return_(6300, work),
        *remark("RESULT", 6310, work, ("return", 5))]
    sample.finish()


@rule(0)
def collections_that_do_not_nest(sample):
    """Ends without a begin, begins without an end, ends of another generation, generations that do not exist."""
    sample.victim += [collect_end(6000, 2, 2**48 - 1), collect(6100, 2**32 - 1), collect_end(6150, 7, 0), collect(6200, 0),
                      call(6250, sample.work), collect_end(6300, 0, 5),
                      collect_end(6400, 2**32 - 1, 2**48 - 1), collect(6500, 0)]
    sample.finish()


@rule(1)
def empty_record(sample):
    sample.victim.insert(2, (4500, EMPTY, 0, 0))
    sample.finish()


@rule(1)
def open_inside(sample):
    sample.victim.insert(2, (4500, OPEN, 0, sample.work))
    sample.add_victim(n_open=1)
    sample.add_last()
    sample.sample.end(10_000)


@rule(1)
def unknown_function(sample):
    sample.victim[1:3] = [call(4000, 1234), return_(5000, 1234)]
    sample.finish()


@rule(1)
def ticks_back_inside(sample):
    sample.victim[2] = return_(3600, sample.work)
    sample.finish()


@rule(1)
def ticks_back_between_blocks(sample):
    sample.victim[1] = call(2500, sample.work)
    sample.one.block(sample.victim, begin=500, end=6500)
    sample.add_last()
    sample.sample.end(10_000)


# ---- tracks of the sample's thread 1: the victim has a switch to one and back ----

def add_track(sample, switches=(), **fields):
    """The victim switches to greenlet 3. The given switches are among its records there."""
    track = sample.sample.track(3, 7001, "greenlet")
    sample.add_victim([
        open_(sample.main), switch(3600, track, SWITCH_OPEN), call(3700, sample.main), *switches,
        return_(5000, sample.main), switch(5500, 0), call(6000, sample.work)], **fields)
    sample.add_last()
    sample.sample.end(10_000)


@rule(1)
def track_unknown(sample):
    """The records that follow belong to the track before, and the OPEN records have no meaning."""
    add_track(sample, [switch(4000, 4, SWITCH_OPEN), open_(sample.work), call(4100, sample.work),
                       return_(4200, sample.work)])


@rule(1)
def track_that_is_a_thread(sample):
    add_track(sample, [switch(4000, 2)])


@rule(1)
def track_of_another_thread(sample):
    """The track has run in thread 2 before."""
    other = sample.sample.track(4, 7002, "of thread 2")
    sample.two.block([call(3550, sample.work), switch(3560, other, SWITCH_OPEN), call(3600, sample.work),
                      return_(3900, sample.work)], flags=LAST)
    add_track(sample, [switch(4000, other, SWITCH_OPEN), call(4100, sample.work), return_(4200, sample.work)])


@rule(1)
def block_in_unknown_track(sample):
    """The track before continues, with its stack."""
    sample.victim = [open_(sample.work), call(4000, sample.work), return_(5000, sample.work),
                     switch(5500, 0, SWITCH_OPEN), open_(sample.main), call(6000, sample.work)]
    sample.add_victim(track=3)
    sample.add_last()
    sample.sample.end(10_000)


@rule(1)
def open_behind_switch_without_flag(sample):
    add_track(sample, [switch(4000, 0), open_(sample.main), switch(4100, 3)])


# ---- the ledger, 3: by default three blocks in a file of its own ----

def add_ledger(sample, *blocks):
    """Returns the blocks of the ledger's file. blocks: the records of each, in place of the default."""
    sample.finish()
    sample.sample.add_property("max_overhead", "3")
    sample.tiny, sample.other = (sample.sample.function("__main__", name, "app.py", line)
                                 for name, line in (("tiny", 7), ("other", 9)))
    sample.ledger = sample.sample.ledger(3)
    for records in blocks:
        sample.ledger.block([(at, kind, what, sample.tiny if function == "tiny" else function)
                             for at, kind, what, function in records], begin=500)
    if not blocks:
        tiny, other = sample.tiny, sample.other
        sample.ledger.block([mute(1200, tiny)], begin=500, end=2000)
        sample.ledger.block([muted(tiny), mute(4000, other), window(5000, 2)], begin=3000, end=5500)
        sample.ledger.block([muted(tiny), muted(other), window(5600, 2), window_end(6000, 2), admit(7000, tiny)],
                            begin=5600, end=8000)
    return sample.sample.file(sample.ledger.file)


def ledger_rule(name, *records):
    def make(path):
        with Sample(path) as sample:
            add_ledger(sample, records)
    RULES[name] = (1, make)


ledger_rule("ledger_with_records_of_a_thread", mute(1200, "tiny"), call(1300, "tiny"), create(1400, "tiny", 9),
            switch(1500, 1), return_(1600, "tiny"), admit(2000, "tiny"))
ledger_rule("ledger_with_other_frames", (None, MUTED, 2, "tiny"), mute(1200, "tiny"), mute(3000, "tiny", 2),
            admit(4000, "tiny", 2**47), mute(5000, 0), admit(7000, "tiny"))
ledger_rule("ledger_muted_inside", mute(1200, "tiny"), (2000, MUTED, 0, "tiny"), cost(2100, 10, 1),
            (2200, MUTED, C_CALLS, "tiny"), admit(3000, "tiny"))
ledger_rule("ledger_ticks_back", mute(2500, "tiny"), cost(2000, 10, 1), admit(3000, "tiny"))


@rule(1)
def ledger_records_in_a_thread(sample):
    sample.victim += [mute(6100, sample.work), admit(6110, sample.work), (6120, MUTED, 0, sample.work), window(6130, 1),
                      window_end(6140, 1), cost(6150, 10, 1)]
    add_ledger(sample, [mute(1200, "tiny")])


@rule(1)
def ledger_twice(sample):
    """The one with the lowest number counts."""
    add_ledger(sample, [mute(1200, "tiny")])
    sample.sample.ledger(4).block([mute(1500, sample.other), admit(1600, sample.other)], begin=500)


@rule(1)
def ledger_block_missing(sample):
    del add_ledger(sample)[1]


def add_samples(sample, *extra):
    """The samples 3, in three blocks. Gives these, as a list that may be changed."""
    sample.finish()
    seen = sample.sample.samples(3)
    seen.block([sample_(1000, 2, 1), spent(1000, "RAN", 1, 5), *extra, sample_(2000, 2, 1), spent(2000, "RAN", 1, 700)],
               begin=500)
    seen.block([sample_(3000, 2, 2), spent(3000, "RAN", 1, 100, since=2), spent(3000, "RAN", 2, 400)], begin=2500)
    seen.block([sample_(4000, 1), spent(4000, "RAN", 2, 300), spent(4000, "RAN", 1, 10, since=3),
                sample_(5000, 1), spent(5000, "RAN", 2, 300)], begin=3500)
    return sample.sample.file(seen.file)


@rule(1)
def samples_with_records_of_others(sample):
    add_samples(sample, call(1100, sample.work), return_(1200, sample.work), mute(1300, sample.work), open_(sample.main))


@rule(1)
def samples_in_a_thread(sample):
    sample.victim += [sample_(6100, 2, 1), spent(6110, "RAN", 1, 10), spent(6120, "QUEUED", 1, 10), memory(6130, 10, 1)]
    add_samples(sample)


@rule(1)
def samples_twice(sample):
    """Those with the lowest number count."""
    add_samples(sample)
    sample.sample.samples(4).block([sample_(1500, 2, 2), sample_(1600, 2, 2), spent(1600, "RAN", 2, 90)], begin=500)


@rule(1)
def samples_of_nobody(sample):
    """Threads that do not exist, among them the samples; since no sample. A holder that is no thread is not one."""
    add_samples(sample, spent(1100, "RAN", 0, 10), spent(1100, "RAN", 3, 10), spent(1100, "QUEUED", 2**32 - 1, 10),
                sample_(1200, 2, 3), spent(1200, "RAN", 1, 10, since=0), sample_(1300, 2, 77), sample_(1400, 2**48 - 1, 1))


@rule(1)
def samples_beyond_all(sample):
    """More than time has passed, earlier than the sample before, since more samples than there were: cut, or of no use."""
    add_samples(sample, spent(1100, "RAN", 2, 2**32 - 1, since=2**16 - 1), sample_(1200, 2, 1),
                spent(1200, "RAN", 1, 2**32 - 1), spent(1200, "QUEUED", 1, 2**32 - 1), memory(1200, 2**48 - 1, 2**32 - 1),
                sample_(800, 2, 1), spent(800, "RAN", 1, 100), spent(800, "RAN", 2, 100), sample_(1300, 2, 1))


@rule(1)
def samples_schedule_of_nothing(sample):
    """Changes of a schedule that no RAN of their thread follows: before a sample, another thread's RAN, a pause, the end, where
    a kill may have cut off the RAN."""
    add_samples(sample, scheduled(1100, 1, 50), sample_(1200, 2, 1), scheduled(1200, 1, 50), scheduled(1200, 2, 20),
                spent(1200, "RAN", 1, 70))
    seen = sample.sample.samples(3)
    seen.block([sample_(8000, 2, 1), scheduled(8000, 1, 50)], begin=7900)
    seen.block([sample_(9000, 2, 1), scheduled(9000, 1, 50)], begin=8900, flags=PAUSED)


@rule(1)
def samples_block_missing(sample):
    """What refers to a sample before the hole is of no use."""
    del add_samples(sample)[1]


@rule(1)
def samples_block_damaged(sample):
    blocks = add_samples(sample)
    blocks[1] = blocks[1][:-1] + bytes([blocks[1][-1] ^ 1])


def damage_ledger(sample, at):
    blocks = add_ledger(sample)
    blocks[at] = blocks[at][:-1] + bytes([blocks[at][-1] ^ 1])


@rule(1)
def ledger_first_block_damaged(sample):
    damage_ledger(sample, 0)


@rule(1)
def ledger_block_damaged(sample):
    damage_ledger(sample, 1)


@rule(1)
def ledger_last_block_damaged(sample):
    damage_ledger(sample, 2)


@rule(1)
def ledger_cut_off(sample):
    blocks = add_ledger(sample)
    blocks[2] = blocks[2][:-1]


@rule(1)
def ledger_entry_damaged(sample):
    """What was the ledger is a thread without a name then."""
    add_ledger(sample)
    entry = sample.sample.entries[-1]
    sample.sample.entries[-1] = entry[:32] + bytes([entry[32] ^ 1]) + entry[33:]


@rule(1)
def ledger_chunk_damaged(sample):
    """It may be one of the ledger."""
    blocks = add_ledger(sample)
    del blocks[1:]
    without_end(sample)
    sample.sample.leave_live([sample.ledger.chunk([muted(sample.tiny), mute(4000, sample.other)], begin=3000, sequence=1)],
                             at=9500)
    struct.pack_into("<I", sample.sample.live, 4096 + 96, 2)


def make_ledger_link(path):
    with Sample(path) as sample:
        add_ledger(sample)
    file = path / "process-7/segment-1/thread-3.zst"
    file.rename(file.with_name("other.zst"))
    file.symlink_to("other.zst")


RULES["ledger_file_is_a_link"] = (1, make_ledger_link)


# ---- the live mapping: by default the victim is its only chunk ----

def killed(sample, **header):
    sample.sample.leave_live([sample.one.chunk(sample.victim, begin=3500)], at=6500, **header)


def live_rule(name, **header):
    def make(path):
        with Sample(path) as sample:
            killed(sample, **header)
    RULES[name] = (1, make)


live_rule("live_magic", magic=b"PNR-LIVF")
live_rule("live_version_0", version=0)
live_rule("live_later_version", version=2)
live_rule("live_chunk_records", chunk_records=16383)


@rule(1)
def live_n_chunks_0(sample):
    killed(sample)
    struct.pack_into("<I", sample.sample.live, 12, 0)


@rule(1)
def live_n_chunks_too_large(sample):
    killed(sample)
    struct.pack_into("<I", sample.sample.live, 12, 4097)


@rule(1)
def live_n_chunks_absurd(sample):
    killed(sample)
    struct.pack_into("<I", sample.sample.live, 12, 0xffffffff)


@rule(1)
def live_too_short(sample):
    killed(sample)
    del sample.sample.live[-1:]


@rule(1)
def live_shorter_than_header(sample):
    killed(sample)
    del sample.sample.live[4095:]


def change_chunk(sample, at, format, value, *, seal=True):
    """Two chunks. The first is damaged; the second must be converted."""
    first = sample.one.chunk(sample.victim, begin=3500)
    second = sample.one.chunk([open_(sample.main), open_(sample.work), return_(8000, sample.work)], begin=7000)
    sample.sample.leave_live([first, second], at=9000)
    live = sample.sample.live
    struct.pack_into(format, live, 4096 + at, value)
    if seal:
        live[4096 + 88:4096 + 96] = struct.pack("<Q", check(live[4096:4096 + 88]))


@rule(1)
def chunk_header_damaged(sample):
    change_chunk(sample, 40, "<Q", 1, seal=False)


@rule(1)
def chunk_with_fields_of_a_block(sample):
    change_chunk(sample, 16, "<I", 4)


@rule(1)
def chunk_n_open_too_large(sample):
    change_chunk(sample, 20, "<I", 16385)


@rule(1)
def chunk_of_later_version(sample):
    change_chunk(sample, 4, "<H", 3)


@rule(1)
def chunk_state(sample):
    change_chunk(sample, 96, "<I", 2)


@rule(1)
def chunk_again(sample):
    chunk = sample.one.chunk(sample.victim, begin=3500)
    other = sample.one.chunk([open_(sample.main), call(6100, sample.work)], begin=3500, sequence=1)
    sample.sample.leave_live([chunk, other], at=9000)


if __name__ == "__main__":
    for name, (status, make) in RULES.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        path = HERE / name / "run.pnr"
        if path.is_file():
            path.unlink()
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(exist_ok=True)
        make(path)
        (path.parent / "expected.status").write_text(f"{status}\n")
