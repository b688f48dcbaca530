"""The types of tables.py."""

import os
from collections.abc import Iterable
from typing import Any

__all__ = ["Capture", "Table", "open"]

_Time = float | str             # seconds from the start, or text such as "20ms"
_Ids = int | str | Iterable[int | str] | None
_Globs = str | Iterable[str] | None
_Columns = str | Iterable[str] | None

def open(path: str | os.PathLike[str], *others: str | os.PathLike[str]) -> Capture: ...

class Capture:
    paths: tuple[str, ...]
    def __init__(self, path: str | os.PathLike[str], *others: str | os.PathLike[str]) -> None: ...
    @property
    def path(self) -> str: ...
    @property
    def messages(self) -> list[str]: ...
    @property
    def is_whole(self) -> bool: ...
    def slices(self, *, from_: _Time | None = None, to: _Time | None = None, process: _Ids = None, thread: _Ids = None,
               include: _Globs = None, exclude: _Globs = None, min_duration: float | str | None = None,
               columns: _Columns = None) -> Table: ...
    def functions(self, *, from_: _Time | None = None, to: _Time | None = None, process: _Ids = None,
                  thread: _Ids = None, include: _Globs = None, exclude: _Globs = None,
                  min_duration: float | str | None = None, columns: _Columns = None) -> Table: ...
    def stacks(self, *, from_: _Time | None = None, to: _Time | None = None, process: _Ids = None, thread: _Ids = None,
               include: _Globs = None, exclude: _Globs = None, min_duration: float | str | None = None,
               columns: _Columns = None) -> Table: ...
    def counters(self, *, from_: _Time | None = None, to: _Time | None = None, process: _Ids = None,
                 thread: _Ids = None, columns: _Columns = None) -> Table: ...
    def flows(self, *, from_: _Time | None = None, to: _Time | None = None, process: _Ids = None, thread: _Ids = None,
              include: _Globs = None, exclude: _Globs = None, min_duration: float | str | None = None,
              columns: _Columns = None) -> Table: ...

class Table:
    columns: tuple[str, ...]
    def __init__(self, capture: Capture, name: str, columns: _Columns, selection: Iterable[tuple[str, Any]]) -> None: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...
    def __arrow_c_schema__(self) -> object: ...
