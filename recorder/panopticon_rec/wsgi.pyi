from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["PanopticonMiddleware"]

_App = Callable[..., Iterable[bytes]]

class PanopticonMiddleware:
    app: _App
    # Durations are seconds or text such as "250ms".
    def __init__(self, app: _App, slower_than: float | str | None = None, *, name: str = "request",
                 response_header: str | None = None, keep: float | str = "2s", every: float | str = "1min",
                 at_most: int = 100, on_error: bool = False) -> None: ...
    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]: ...
