"""The types of panopticon_rec, in a file of their own: the module imports nothing that only types need."""

import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Literal, TypedDict, TypeVar, final
from typing_extensions import Self, Unpack

from ._recorder import counter as counter, flow as flow, mark as mark, span as span
from .tables import open as open

__all__ = ["AsyncTracer", "Recorded", "Recorder", "counter", "flow", "mark", "pause", "record", "resume", "snapshot",
           "span", "watch"]
__version__: str
UNUSABLE: str | None

_Function = TypeVar("_Function", bound=Callable[..., Any])

class _Options(TypedDict, total=False):
    # Seconds or text such as "20us"; percent or text such as "3%"; bytes or text such as "1.5G". None stands for the
    # default.
    c_calls: bool | None
    exceptions: bool | None
    gc: bool | None
    task_names: bool | None
    samples: float | str | None
    args: str | Iterable[str] | None
    results: str | Iterable[str] | None
    args_repr: str | Iterable[str] | None
    redact: str | Iterable[str] | None
    engine: Literal["frame", "monitoring"] | None
    mine: bool | None
    filters: str | Iterable[str] | None
    min_duration: float | str | None
    clock: Literal["full", "sparse"] | None
    max_overhead: float | str | None
    start_paused: bool | None
    max_size: float | str | None
    last: float | str | None
    on_overflow: Literal["block", "discard"] | None
    follow: Literal["none", "fork", "all"] | None
    snapshot_on: str | Iterable[str] | None
    toggle_on: str | None

class Recorded(tuple[int, int, int, int]):
    path: str
    overhead: float | None
    muted: int
    def __new__(cls, totals: Iterable[int], path: str = "", overhead: float | None = None, muted: int = 0) -> Self: ...
    @property
    def events(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def lost(self) -> int: ...

class Recorder:
    path: str
    def __init__(self, path: str | os.PathLike[str] = "run.pnr", **keywords: Unpack[_Options]) -> None: ...
    def start(self) -> Self: ...
    def stop(self) -> Recorded: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, exc_type: type[BaseException] | None = None, exc_value: BaseException | None = None,
                 traceback: TracebackType | None = None, /) -> None: ...

record = Recorder

class AsyncTracer:
    def __init__(self, **keywords: Unpack[_Options]) -> None: ...
    def start(self) -> Self: ...
    def stop(self) -> None: ...
    def get_trace(self) -> str: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, exc_type: type[BaseException] | None = None, exc_value: BaseException | None = None,
                 traceback: TracebackType | None = None, /) -> None: ...
    def __del__(self) -> None: ...

def pause() -> None: ...
def resume() -> None: ...
def snapshot(path: str | os.PathLike[str] = "run-snapshot.pnr") -> str: ...
@final
class watch:
    id: str | None
    @property
    def name(self) -> str: ...
    # Durations are seconds or text such as "250ms".
    def __new__(cls, name: str, slower_than: float | str | None = None, *, keep: float | str = "2s",
                every: float | str = "1min", at_most: int = 100, on_error: bool = False,
                id: object = None) -> Self: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, exc_type: type[BaseException] | None, exc_value: BaseException | None,
                 traceback: TracebackType | None, /) -> Literal[False]: ...
    def __call__(self, function: _Function, /) -> _Function: ...

def find_converter() -> str | None: ...
def load_ipython_extension(shell: Any) -> None: ...
def unload_ipython_extension(shell: Any) -> None: ...
