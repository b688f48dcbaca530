"""The types of panopticon, in a file of their own as those of panopticon_rec are."""

import os
from types import TracebackType

from panopticon import trace as trace, tracer as tracer
from panopticon.tracer import AsyncioTracer as AsyncioTracer

__version__: str

class record_trace:
    def __init__(self, trace_file: str | os.PathLike[str]) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, exc_type: type[BaseException] | None = None, exc_value: BaseException | None = None,
                 traceback: TracebackType | None = None, /) -> None: ...
