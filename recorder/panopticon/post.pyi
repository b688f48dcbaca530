from typing import Any

__all__ = ["flatten"]

def flatten(*, trace_file: str | None = None, trace_str: str | None = None, trace_json: Any = None) -> Any: ...
