"""The independent reader takes what the independent writer wrote, so that both may judge the project's code."""

import random
import tempfile
import unittest
from pathlib import Path

import capture_reader as reader
import capture_writer as writer

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


class Reader(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "run.pnr"

    def test_takes_any_record(self):
        source = random.Random(1)
        records = [(at, source.randint(1, 17), source.getrandbits(48), source.getrandbits(32)) for at in range(3000)]
        with writer.Capture(self.path) as capture:
            thread = capture.process(7).thread(1, 7, "")
            for at in range(0, 3000, 1000):
                thread.block(records[at:at + 1000])
        thread = reader.read(self.path).processes[0].threads[1]
        got = [(at - writer.START_MONOTONIC_NS, *rest) for block in thread.blocks for at, *rest in block.records]
        self.assertEqual(got, [record for record in records if record[1] != writer.OPEN])

    def test_takes_tracks(self):
        """OPEN records after a SWITCH are at its time. A change to a track that is not there is left out with them."""
        with writer.Capture(self.path) as capture:
            process = capture.process(7)
            main = process.function("__main__", "main")
            one, two = process.thread(1, 7, ""), process.thread(2, 8, "")
            track = process.track(3, 7, "greenlet")
            records = [writer.call(10, main), writer.switch(20, track, writer.SWITCH_OPEN), writer.open_(main),
                       writer.open_(main), writer.call(30, main), writer.switch(40, 0), writer.call(50, main)]
            lost = [writer.switch(60, track + 1, writer.SWITCH_OPEN), writer.open_(main), writer.switch(70, 2)]
            one.block(records + lost)
            one.block([writer.open_(main), writer.return_(90, main)], begin=80, track=track)
            one.block([writer.open_(main), writer.return_(110, main)], begin=100, track=track + 1)
            two.block([writer.call(15, main), writer.switch(25, track)])
        process, = reader.read(self.path).processes
        first, second, third = process.threads[1].blocks
        self.assertEqual([(at - writer.START_MONOTONIC_NS, *rest) for at, *rest in first.records],
                         [(20 if kind == writer.OPEN else at, kind, *rest) for at, kind, *rest in records])
        self.assertEqual([block.track for block in (first, second, third)], [0, track, None])
        self.assertEqual([block.opened and len(block.opened) for block in (first, second, third)], [[], 1, None])
        self.assertEqual([kind for _, kind, _, _ in third.records], [writer.RETURN])
        other, = process.threads[2].blocks
        self.assertEqual([kind for _, kind, _, _ in other.records], [writer.CALL])
        self.assertEqual(process.skipped, {"unknown track": 4})

    def test_takes_what_lies_in_a_live_mapping(self):
        with writer.Capture(self.path) as capture:
            process = capture.process(7)
            main = process.function("__main__", "main")
            thread = process.thread(1, 7, "")
            thread.block([writer.call(10, main)])
            process.leave_live([thread.chunk([writer.return_(20, main)])])
        capture = reader.read(self.path)
        self.assertEqual(capture.reports, [])
        self.assertEqual(capture.processes[0].n_recovered, 1)
        self.assertEqual([kind for _, _, (_, kind, _, _) in reader.records(self.path)], [writer.CALL, writer.RETURN])

    def test_no_bytes_crash_it(self):
        """Not a rule of the format but of this reader: else a test that trusts it may fail for a wrong reason."""
        files = [path for path in (GOLDEN / "smallest/run.pnr").rglob("*") if path.is_file()]
        source = random.Random(2)
        for _ in range(150):
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "run.pnr/process-7"
                path.mkdir(parents=True)
                for file in files:
                    data = bytearray(file.read_bytes())
                    for _ in range(source.choice([0, 1, 3])):
                        data[source.randrange(len(data))] = source.randrange(256)
                    (path / file.name).write_bytes(data[:source.choice([len(data), source.randrange(len(data))])])
                reader.read(path.parent)


if __name__ == "__main__":
    unittest.main()
