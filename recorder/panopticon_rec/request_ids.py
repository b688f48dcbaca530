"""The ids of what a watched section works for: of OpenTelemetry's spans, and of requests by their headers.

Imports only what the interpreter itself has imported, since it is imported with the package.
"""

import sys

MAX_ID = 128                # characters of an id that a client sends


def find_trace_id():
    """Return the trace id of the current span of OpenTelemetry, 32 hexadecimal digits, or None: the program does not
    use its API, or there is no span."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def is_hex(text, size):
    """Return whether this is a number of so many lower-case hexadecimal digits that is not 0."""
    return len(text) == size and not text.strip("0123456789abcdef") and text.strip("0") != ""


def parse_traceparent(text):
    """Return the trace id of a header `traceparent`, or None when it is not valid (W3C Trace Context, 3.2)."""
    version, trace_id, parent_id = f"{text.strip()}---".split("-")[:3]
    is_valid = (len(version) == 2 and not version.strip("0123456789abcdef") and version != "ff" and
                is_hex(trace_id, 32) and is_hex(parent_id, 16))
    return trace_id if is_valid else None


def find_request_id(traceparent, request_id):
    """Return the id of a request: the trace id of its header `traceparent`, or else its `x-request-id`, cut and
    cleaned. Both headers are str, or None. None when there is no id."""
    trace_id = parse_traceparent(traceparent) if traceparent else None
    if trace_id:
        return trace_id
    text = "".join(c for c in request_id or "" if c.isascii() and c.isprintable()).strip()[:MAX_ID]
    return text or None
