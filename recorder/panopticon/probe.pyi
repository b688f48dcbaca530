from collections.abc import Callable
from typing import TypeVar

from panopticon.trace import Trace

_T = TypeVar("_T")

def probe(trace: Trace) -> Callable[[_T], _T]: ...
