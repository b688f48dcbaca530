from collections.abc import Callable
from typing import TypeVar

from panopticon.trace import Trace

__all__ = ["probe"]

_T = TypeVar("_T")

def probe(trace: Trace) -> Callable[[_T], _T]: ...
