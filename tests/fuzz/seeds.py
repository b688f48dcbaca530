#!/usr/bin/env python3
"""Makes the fuzz targets' first inputs of captures, and of requests to a control socket. tests/fuzz/fuzz.h describes their form.

    tests/fuzz/seeds.py FOLDER [CAPTURE...]     # default: those of tests/golden and tests/invalid; FOLDER/block, names, ...
"""

import struct
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
PAGE, CHUNK, RECORD, CHUNK_RECORDS = 4096, 128, 16, 16384
LONGEST = 1 << 14                   # of one file: longer ones slow a fuzzer down


def read(path):
    return path.read_bytes()[:LONGEST] if path.is_file() else b""


def live(path):
    """The bytes of the mapping that are not 0."""
    if not path.is_file():
        return b""
    file = path.read_bytes()
    n_chunks = struct.unpack_from("<I", file, 12)[0] if len(file) >= 16 else 0
    records_at = -(-(PAGE + n_chunks * CHUNK) // PAGE) * PAGE
    n = min(n_chunks, 4, len(file[PAGE:]) // CHUNK)
    chunks, records = b"", b""
    for k in range(n):
        at = records_at + k * CHUNK_RECORDS * RECORD
        own = file[at:at + CHUNK_RECORDS * RECORD].rstrip(b"\0")[:64 * RECORD]
        own += bytes(-len(own) % RECORD)
        chunks += file[PAGE + k * CHUNK:][:CHUNK]
        records += struct.pack("<H", len(own) // RECORD) + own
    return file[:96].ljust(96, b"\0") + bytes([n]) + chunks + records


def main(folder, captures):
    for capture in captures or sorted(TESTS.glob("golden/*/*.pnr")) + sorted(TESTS.glob("invalid/*/*.pnr")):
        for process in sorted(Path(capture).glob("process-*")):
            segments = sorted(process.glob("segment-*"))[:2]
            first, second = [*segments, process / "none", process / "none"][:2]
            blocks = [read(path) for path in (first / "thread-1.zst", first / "thread-2.zst", first / "short-threads.zst",
                                              second / "thread-1.zst")]
            parts = [read(process / "names"), *blocks, live(process / "live")]
            whole = struct.pack("<6I", *map(len, parts)) + b"".join(parts)
            for target, seeds in {"names": parts[:1], "block": blocks, "live": parts[-1:], "capture": [whole]}.items():
                (folder / target).mkdir(parents=True, exist_ok=True)
                for i, seed in enumerate(seeds):
                    if seed:
                        (folder / target / f"{Path(capture).parent.name}-{process.name}-{i}").write_bytes(seed)
    (folder / "control").mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate((b"1\0status\0\0", b"1\0limits\0last\x0060000000000\0max-size\x000\0\0", b"1\0exclude\0*\0\0x")):
        (folder / "control" / f"request-{i}").write_bytes(seed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
