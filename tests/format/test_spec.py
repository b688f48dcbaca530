"""The worked example of specs/capture-format.md, section 12, is what the text says, and is tests/golden/smallest. The
numbers and the kinds of records of the specifications are those of the code."""

import re
import unittest
from pathlib import Path

import capture_reader as reader
import kinds

ROOT = Path(__file__).resolve().parents[2]
SPEC = (ROOT / "specs/capture-format.md").read_text(encoding="utf-8")
CAPTURE = ROOT / "tests/golden/smallest/run.pnr"


def example(name):
    """The bytes under the heading of the file; each row's offset must be where it stands."""
    section = re.search(rf"^### 12\.\d `{re.escape(name)}`$(.*?)^##", SPEC, re.M | re.S)[1]
    data = b""
    for offset, row in re.findall(r"^    ([0-9a-f]{4})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:   .*)?$", section, re.M):
        if int(offset, 16) != len(data):
            raise AssertionError(f"{name}: the row of {offset} stands at {len(data):04x}")
        data += bytes.fromhex(row)
    return data


class WorkedExample(unittest.TestCase):
    def test_bytes_are_those_of_the_files(self):
        files = {str(path.relative_to(CAPTURE)): path.read_bytes() for path in CAPTURE.rglob("*") if path.is_file()}
        self.assertEqual(sorted(files), ["process-7/names", "process-7/segment-1/thread-1.zst"])
        for name, data in files.items():
            self.assertEqual(example(name).hex(" "), data.hex(" "), name)
            self.assertRegex(SPEC, rf"example\.pnr/{re.escape(name)} +{len(data)} bytes")

    def test_it_means_what_the_text_says(self):
        capture = reader.read(CAPTURE)
        self.assertEqual(capture.reports, [])
        process, = capture.processes
        self.assertTrue(process.has_ended)
        self.assertEqual(process.number("start_ticks"), 5_000_000_000)
        self.assertEqual(process.functions, {1: reader.Function("__main__", "main", "app.py", 1, 0)})
        self.assertEqual([(t.number, t.name, t.native_id) for t in process.threads.values()], [(1, "MainThread", 7)])
        self.assertEqual([record for _, _, record in reader.records(CAPTURE)],
                         [(5_000_001_000, reader.CALL, 0, 1), (5_000_003_500, reader.RETURN, 0, 1)])


class WorkedLedger(unittest.TestCase):
    """Section 12.3 is tests/golden/ledger."""

    def test_bytes_are_those_of_the_files(self):
        process = ROOT / "tests/golden/ledger/run.pnr/process-7"
        names, block = ((process / name).read_bytes() for name in ("names", "segment-1/thread-2.zst"))
        section = re.search(r"^### 12\.3 (.*?)^##", SPEC, re.M | re.S)[1]
        rows = [(int(offset, 16), bytes.fromhex(row)) for offset, row in
                re.findall(r"^    ([0-9a-f]{4})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:   .*)?$", section, re.M)]
        first = next(i for i, (offset, _) in enumerate(rows) if offset == 0)
        entry = b"".join(row for _, row in rows[:first])
        for part, base in (rows[:first], rows[0][0]), (rows[first:], 0):
            at = base
            for offset, row in part:
                self.assertEqual(offset, at)
                at += len(row)
        self.assertEqual(names[rows[0][0]:][:len(entry)].hex(" "), entry.hex(" "))
        self.assertEqual(b"".join(row for _, row in rows[first:]).hex(" "), block.hex(" "))

    def test_it_means_what_the_text_says(self):
        process, = reader.read(ROOT / "tests/golden/ledger/run.pnr").processes
        self.assertEqual(process.ledger.number, 2)
        start = process.number("start_ticks")
        self.assertEqual([(begin - start, end - start) for begin, end, _ in process.ledger.unrecorded(2)],
                         [(1230, 5000), (6000, 7000)])
        self.assertEqual([(ticks - start, *cost) for ticks, *cost in process.ledger.costs],
                         [(5000, 4000, 202), (6000, 1000, 67)])


class WorkedSparseBlock(unittest.TestCase):
    """Section 12.4 is tests/golden/sparse_killed."""
    CAPTURE = ROOT / "tests/golden/sparse_killed/run.pnr"

    def test_bytes_are_those_of_the_file(self):
        section = re.search(r"^### 12\.4 (.*?)^##", SPEC, re.M | re.S)[1]
        data = b""
        for offset, row in re.findall(r"^    ([0-9a-f]{4})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:   .*)?$", section, re.M):
            self.assertEqual(int(offset, 16), len(data))
            data += bytes.fromhex(row)
        self.assertEqual((self.CAPTURE / "process-7/segment-1/thread-1.zst").read_bytes().hex(" "), data.hex(" "))

    def test_it_means_what_the_text_says(self):
        process, = reader.read(self.CAPTURE).processes
        first, second = process.threads[1].blocks
        self.assertEqual([ticks - first.header.begin[0] for ticks, *_ in first.records], [100, 100, 160])
        self.assertEqual([ticks - second.header.begin[0] for ticks, kind, *_ in second.records if kind != reader.OPEN],
                         [40, 60, 100, 100, 100, 200, 200, 200])


class WorkedValues(unittest.TestCase):
    """Section 12.5 is tests/golden/remarks_killed."""
    CAPTURE = ROOT / "tests/golden/remarks_killed/run.pnr"

    def test_bytes_are_those_of_the_files(self):
        section = re.search(r"^### 12\.5 (.*?)^##", SPEC, re.M | re.S)[1]
        files = [(self.CAPTURE / "process-7" / name).read_bytes() for name in ("names", "live")]
        rows = re.findall(r"^    ([0-9a-f]{4})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:   .*)?$", section, re.M)
        self.assertEqual(len(rows), 18)
        for offset, row in rows:
            data, at = bytes.fromhex(row), int(offset, 16)
            self.assertEqual(files[at >= 0x2000][at:at + len(data)].hex(" "), row)

    def test_it_means_what_the_text_says(self):
        process, = reader.read(self.CAPTURE).processes
        block, = process.threads[1].blocks
        found = [(ticks - process.number("start_ticks"), kind, values.pairs)
                 for ticks, kind, values, _ in block.records if kind in (reader.INSTANT, reader.SPAN)]
        self.assertEqual(found, [(1100, reader.INSTANT, (("key", (6, "whole")),)), (1200, reader.SPAN, (("key", 1),))])


class WorkedSamples(unittest.TestCase):
    """Section 12.6 is tests/golden/samples_killed."""
    CAPTURE = ROOT / "tests/golden/samples_killed/run.pnr"

    def test_bytes_are_those_of_the_files(self):
        section = re.search(r"^### 12\.6 (.*?)^##", SPEC, re.M | re.S)[1]
        files = [(self.CAPTURE / "process-7" / name).read_bytes() for name in ("names", "live")]
        rows = re.findall(r"^    ([0-9a-f]{4,5})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:   .*)?$", section, re.M)
        self.assertEqual(len(rows), 12)
        for offset, row in rows:
            data, at = bytes.fromhex(row), int(offset, 16)
            self.assertEqual(files[at >= 0x2000][at:at + len(data)].hex(" "), row)

    def test_they_mean_what_the_text_says(self):
        process, = reader.read(self.CAPTURE).processes
        start = process.number("start_ticks")
        self.assertEqual([(ticks - start, holder) for ticks, holder in process.samples.looks[0]], [(1500, 1), (1_001_500, 1)])
        self.assertEqual({kind: [(begin - start, end - start, *rest) for begin, end, *rest in spent]
                          for kind, spent in process.samples.spent.items()},
                         {reader.RAN: [(1500, 1_001_500, 972_672, 1)], reader.QUEUED: [(1500, 1_001_500, 20_000, 1)]})
        self.assertEqual([(ticks - start, *rest) for ticks, *rest in process.samples.memory], [(1500, 24_150_016, 2)])


def check_live_rows(case, number, n_rows, offset=r"([0-9a-f]{4})  "):
    """The rows of section 12.<number>, of which there are so many, are records of the live mapping of case.CAPTURE."""
    section = re.search(rf"^### 12\.{number} (.*?)^##", SPEC, re.M | re.S)[1]
    rows = re.findall(rf"^    {offset}((?:[0-9a-f]{{2}} )*[0-9a-f]{{2}})(?:   .*)?$", section, re.M)
    case.assertEqual(len(rows), n_rows)
    live = (case.CAPTURE / "process-7/live").read_bytes()
    for at, row in rows:
        case.assertEqual(live[int(at, 16):][:16].hex(" "), row)


class WorkedSchedule(unittest.TestCase):
    """Section 12.10 is tests/golden/schedule."""
    CAPTURE = ROOT / "tests/golden/schedule/run.pnr"

    def test_bytes_are_those_of_the_file(self):
        check_live_rows(self, 10, 5, r"([0-9a-f]{5})  ")

    def test_they_mean_what_the_text_says(self):
        process, = reader.read(self.CAPTURE).processes
        start = process.number("start_ticks")
        (begin, end, ran_ns, thread), changes = process.samples.spent[reader.RAN][0], process.samples.schedules[0]
        self.assertEqual((begin - start, end - start, ran_ns, thread), (1_000_000, 2_000_000, 500_000, 1))
        self.assertEqual(reader.running(begin - start, end - start, changes), [(1_000_000, 1_300_000), (1_800_000, 2_000_000)])


class WorkedArguments(unittest.TestCase):
    """Section 12.7 is tests/golden/call_values_killed."""
    CAPTURE = ROOT / "tests/golden/call_values_killed/run.pnr"

    def test_bytes_are_those_of_the_file(self):
        check_live_rows(self, 7, 10)

    def test_it_means_what_the_text_says(self):
        process, = reader.read(self.CAPTURE).processes
        block, = process.threads[1].blocks
        found = [(ticks - process.number("start_ticks"), values.pairs) for ticks, kind, values, function in block.records
                 if kind in (reader.ARGUMENTS, reader.RESULT)]
        self.assertEqual(found, [(1010, (("order", (9, "[1, 'a']")),)), (1090, (("return", 3.5),))])
        self.assertEqual({name: number for number, one in process.functions.items() for name in [one.name]},
                         {"price": 1, "order": 2, "return": 3})


class WorkedWorks(unittest.TestCase):
    """Section 12.8 is tests/golden/works_killed."""
    CAPTURE = ROOT / "tests/golden/works_killed/run.pnr"

    def test_bytes_are_those_of_the_file(self):
        check_live_rows(self, 8, 4, offset=r"([0-9a-f]{4,5}) +")

    def test_it_means_what_the_text_says(self):
        process, = reader.read(self.CAPTURE).processes
        found = [(number, kind, frame) for number, thread in process.threads.items() for block in thread.blocks
                 for _, kind, frame, _ in block.records if kind in (reader.SUBMIT, reader.TAKE)]
        self.assertEqual(found, [(1, reader.SUBMIT, 0x7f12_3450), (2, reader.TAKE, 0x7f12_3450)])


class WorkedTaskName(unittest.TestCase):
    """Section 12.9 is tests/golden/task_names_killed."""
    CAPTURE = ROOT / "tests/golden/task_names_killed/run.pnr"

    def test_bytes_are_those_of_the_file(self):
        check_live_rows(self, 9, 3)

    def test_it_means_what_the_text_says(self):
        process, = reader.read(self.CAPTURE).processes
        block, = process.threads[1].blocks
        self.assertEqual([values.pairs for _, kind, values, _ in block.records if kind == reader.TASK],
                         [(("name", (6, "fetch 7")),)])


class Numbers(unittest.TestCase):
    """Every number of the spec's limits is the constant of the code that the table names."""

    def test_limits_are_the_constants(self):
        headers = "".join(path.read_text() for path in (ROOT / "format").glob("*.h"))
        rows = re.findall(r"^\|[^|]*\| ([^|]*) \| (`PNR_[^|]*) \|$", SPEC, re.M)
        self.assertEqual(len(rows), 10)
        for value, names in rows:
            values = re.findall(r"\d[\d,]*", value)
            for name, value in zip(re.findall("`(PNR_[A-Z_]+)`", names), values):
                text = re.search(rf"^#define {name} (.*?)(?: */\*.*)?$", headers, re.M)[1]
                with self.subTest(name):
                    if name == "PNR_TICKS_MAX":
                        self.assertEqual(text, "((UINT64_C(1) << PNR_TICKS_BITS) - 1)")
                    elif name == "PNR_BLOCK_PREFIX_SIZE":
                        self.assertEqual((text, value), ("(8 + PNR_BLOCK_HEADER_SIZE)", "104"))
                    else:
                        self.assertEqual(text, value.replace(",", ""))


class Kinds(unittest.TestCase):
    """format/kinds.def is consistent, and says what the two specifications say."""

    def section(self, text, begin, end):
        return text[text.index(begin):text.index(end)]

    def test_the_table_of_the_capture_format_has_the_rows_of_the_code(self):
        def words(name):
            return {"PYTHON": "Python", "C": "C"}.get(name, name.lower().replace("_", " "))

        section = self.section(SPEC, "## 4. The record", "## 5. The block")
        in_spec = re.findall(r"^\| \d+ \| [A-Z_]+ \|.*$", section, re.M)
        in_code = [f"| {kind.number} | {kind.name} | {words(kind.effect)} | {words(kind.subject)} | {kind.meaning} | "
                   f"{kind.ticks} | {kind.frame} | {kind.function} |" for kind in kinds.KINDS]
        self.assertEqual(in_spec, in_code)

    def test_the_trace_mapping_says_of_each_kind_what_happens(self):
        mapping = (ROOT / "specs/trace-mapping.md").read_text(encoding="utf-8")
        section = self.section(mapping, "## 4. From records to slices", "**Leaving a frame.**")
        names = [name for row in re.findall(r"^\| ([A-Z].*?) \|", section, re.M)
                 for name in re.findall("[A-Z][A-Z_]+", row)]
        self.assertEqual(sorted(names), sorted(kind.name for kind in kinds.KINDS if kind.name != "EMPTY"))

    def test_each_effect_and_subject_is_explained(self):
        text = self.section(SPEC, "The **effect** is", "What a recorder guarantees")
        for effect in {kind.effect for kind in kinds.KINDS}:
            self.assertIn(f"*{effect.lower().replace('_', ' ')}*", text)

    def test_numbers_have_no_holes(self):
        self.assertEqual([kind.number for kind in kinds.KINDS], list(range(len(kinds.KINDS))))
        self.assertEqual(len(kinds.NUMBERS), len(kinds.KINDS))

    def test_an_exit_is_retracted_with_an_entry_of_its_kind(self):
        rows = {kind.name: kind for kind in kinds.KINDS}
        for kind in kinds.KINDS:
            with self.subTest(kind.name):
                self.assertEqual(kind.effect == "LEAVE", kind.entry != "EMPTY")
                if kind.effect != "LEAVE":
                    continue
                entry = rows[kind.entry]
                self.assertEqual((entry.effect, entry.subject), ("ENTER", kind.subject))
                self.assertEqual("PNR_CONTINUABLE" in entry.traits, "PNR_CONTINUABLE" in kind.traits)
                self.assertEqual("PNR_FIRST" in entry.traits, "PNR_LAST" in kind.traits)


if __name__ == "__main__":
    unittest.main()
