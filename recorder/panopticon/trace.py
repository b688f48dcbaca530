"""Traces: Catapult JSON, made of recordings, which are objects whose str() is the trace of each."""


class Trace:
    """A trace in memory; str() of it is a JSON object. A recording is converted only then."""

    def __init__(self):
        self._recordings = []

    def add_recording(self, recording):
        """Add a recording that has been stopped."""
        self._recordings.append(recording)

    def __str__(self):
        if len(self._recordings) == 1:
            return str(self._recordings[0])
        import json
        events = [event for number, recording in enumerate(self._recordings)
                  for event in read_events(recording, number)]
        return json.dumps({"displayTimeUnit": "ns", "traceEvents": events})


class StreamingTrace(Trace):
    """A trace that is written to an open text file: a JSON array without its last bracket, as viewers take it. It has a
    recording when that is added. str() of it is what was written to an io.StringIO."""

    def __init__(self, stream):
        super().__init__()
        self._stream, self._n_recordings = stream, 0
        stream.write("[\n")
        stream.flush()

    def add_recording(self, recording):
        import json
        for event in read_events(recording, self._n_recordings):
            self._stream.write(f"{json.dumps(event)},\n")
        self._n_recordings += 1
        self._stream.flush()

    def __str__(self):
        read = getattr(self._stream, "getvalue", None)
        return read() if read else f"StreamingTrace ({self._stream})"


def read_events(recording, number):
    """Return the events of a recording, each complete in itself: list of dict. number: of the recording in its trace,
    since arrows of two recordings must have different ids."""
    import json
    trace = json.loads(str(recording))
    events, frames = trace["traceEvents"], trace["stackFrames"]
    for event in events:
        if "id" in event:
            event["id"] = f"{number}.{event['id']}"
        if "sf" in event:
            event["args"] = {**event.get("args", {}), "source": frames[str(event.pop("sf"))]["name"]}
    return events
