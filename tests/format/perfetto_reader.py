"""Reads a Perfetto trace as specs/trace-mapping.md, section 10, specifies it, without a protobuf library. What is
not in that section is an error.

    events = read(data)         # sets of tuples, as json_events(text) gives them of the JSON of the same capture
"""

import json
import math
import struct
from collections import Counter, defaultdict
from decimal import Decimal

NUMBER, DOUBLE, BYTES = 0, 1, 2
TASKS = 2**32                   # uuids of their tracks are above it
COUNTERS = 2**63                # ... and of counters of the program
LEDGERS = 2**62                 # ... and of those of ledgers above this

# Of each message its fields: number to name. Those in capitals are messages; those that end in * may come again.
MESSAGES = {
    "PACKET": {6: "CLOCKS", 8: "timestamp", 10: "sequence", 11: "EVENT", 12: "INTERNED", 13: "flags", 58: "clock",
               59: "DEFAULTS", 60: "TRACK", 126: "ATTRIBUTES"},
    "CLOCKS": {1: "CLOCK*", 2: "primary"},
    "CLOCK": {1: "id", 2: "time", 3: "is_incremental"},
    "DEFAULTS": {11: "EVENT_DEFAULTS", 58: "clock"},
    "EVENT_DEFAULTS": {11: "track"},
    "ATTRIBUTES": {1: "ATTRIBUTE*"},
    "ATTRIBUTE": {1: "key", 3: "string"},
    "TRACK": {1: "uuid", 2: "name", 3: "PROCESS", 4: "THREAD", 5: "parent", 8: "COUNTER",
              12: "rank", 19: "process_order", 20: "thread_order"},
    "COUNTER": {},
    "PROCESS": {1: "pid", 6: "name"},
    "THREAD": {1: "pid", 2: "tid", 5: "name"},
    "INTERNED": {1: "CATEGORY*", 2: "NAME*", 3: "ANNOTATION_NAME*", 4: "SOURCE*"},
    "CATEGORY": {1: "id", 2: "string"},
    "NAME": {1: "id", 2: "string"},
    "ANNOTATION_NAME": {1: "id", 2: "string"},
    "SOURCE": {1: "id", 2: "file", 4: "line"},
    "EVENT": {3: "category", 4: "ANNOTATION*", 6: "FLOW", 9: "type", 10: "name_id", 11: "track", 23: "name",
              30: "integer", 34: "source", 44: "value"},
    "ANNOTATION": {1: "name_id", 2: "is_true", 4: "integer", 5: "double", 6: "string", 10: "name"},
    "FLOW": {2: "phase", 6: "id", 12: "binds_to_enclosing"},
}


def read_varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7f) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def read_message(data, name):
    """A dict; fields that may come again are lists."""
    fields, message, at = MESSAGES[name], {}, 0
    while at < len(data):
        tag, at = read_varint(data, at)
        assert tag & 7 in (NUMBER, DOUBLE, BYTES), f"wire type {tag & 7} in {name}"
        if tag & 7 == DOUBLE:
            (value,), at = struct.unpack_from("<d", data, at), at + 8
        else:
            value, at = read_varint(data, at)
        field = fields[tag >> 3]
        key = field.rstrip("*")
        if tag & 7 == BYTES:
            assert at + value <= len(data), f"{name} is cut off"
            value, at = data[at:at + value], at + value
            value = read_message(value, key) if key.isupper() else value.decode()
        if field.endswith("*"):
            message.setdefault(key, []).append(value)
        else:
            assert key not in message, f"{key} comes again in {name}"
            message[key] = value
    return message


def read_packets(data):
    at = 0
    while at < len(data):
        assert data[at] == 0x0a, f"no packet at {at}"
        size, at = read_varint(data, at + 1)
        assert at + size <= len(data), f"the packet at {at} is cut off"
        yield read_message(data[at:at + size], "PACKET")
        at += size


class Sequence:
    """The packets of one process."""

    def __init__(self, packet):
        assert packet["flags"] == 1, "the first packet of a sequence does not begin it"
        clocks = {clock["id"]: clock for clock in packet["CLOCKS"]["CLOCK"]}
        assert packet["CLOCKS"]["primary"] == 6 and clocks[6]["time"] == 0
        assert clocks[64] == {"id": 64, "time": 0, "is_incremental": 1}
        assert packet["DEFAULTS"]["clock"] == 64
        self.realtime_ns = clocks.get(1, {}).get("time", 0)
        self.clock_ns = 0
        self.track = packet["DEFAULTS"]["EVENT_DEFAULTS"]["track"]
        self.interned = defaultdict(dict)

    def time(self, packet):
        if "clock" in packet:
            assert packet["clock"] == 6
            return packet["timestamp"]
        self.clock_ns += packet["timestamp"]
        return self.clock_ns

    def intern(self, interned):
        for kind, entries in interned.items():
            for entry in entries:
                assert entry["id"] not in self.interned[kind], f"{kind} {entry['id']} comes again"
                self.interned[kind][entry["id"]] = entry

    def name(self, event):
        assert ("name" in event) != ("name_id" in event)
        return event["name"] if "name" in event else self.interned["NAME"][event["name_id"]]["string"]

    def category(self, event):
        return self.interned["CATEGORY"][event["category"]]["string"] if "category" in event else "python"

    def args(self, event):
        args = {}
        if "source" in event:
            source = self.interned["SOURCE"][event["source"]]
            args["src"] = f"{source['file']}:{source['line']}"
        for annotation in event.get("ANNOTATION", ()):
            if "name" in annotation:
                args[annotation["name"]] = value_of(annotation)
                continue
            value = annotation["string"] if "string" in annotation else bool(annotation["is_true"])
            args[self.interned["ANNOTATION_NAME"][annotation["name_id"]]["string"]] = value
        return args


def signed(number):
    return number - 2**64 if number >= 2**63 else number


def value_of(annotation):
    """As JSON has it."""
    if "integer" in annotation:
        number = signed(annotation["integer"])
        return number if abs(number) <= 2**53 else str(number)
    if "double" in annotation:
        return annotation["double"] if math.isfinite(annotation["double"]) else str(annotation["double"])
    return annotation["string"] if "string" in annotation else bool(annotation["is_true"])


class Events:
    """What a trace means, however it is written. Times are nanoseconds."""

    def __init__(self):
        self.slices, self.flow_events, self.instants, self.tasks = Counter(), Counter(), Counter(), Counter()
        self.processes, self.threads = {}, {}           # pid, (pid, tid): name, order
        self.about = {}
        self.counters = Counter()                       # pid, name of the track, time, value
        self.ledgers = Counter()                        # pid, name of the track, time, value or phase of a window

    def add_slice(self, where, begin, end, name, cat, args):
        self.slices[(*where, begin, end, name, cat, *sorted(args.items()))] += 1

    def __eq__(self, other):
        return vars(self) == vars(other)


def read(data):
    events, sequences, unpaired = Events(), {}, []
    tracks = {}                                         # uuid: pid, tid
    for packet in read_packets(data):
        sequence = packet.get("sequence")
        if "ATTRIBUTES" in packet:
            events.about = {one["key"]: one["string"] for one in packet["ATTRIBUTES"]["ATTRIBUTE"]}
        if "TRACK" in packet:
            read_track(packet["TRACK"], events, tracks)
        if sequence not in sequences and sequence is not None:
            sequences[sequence] = Sequence(packet)
        if "INTERNED" in packet:
            sequences[sequence].intern(packet["INTERNED"])
        if "EVENT" in packet:
            unpaired.append(read_event(packet, sequences[sequence], tracks))
    pair(unpaired, events)
    events.realtime_ns = {one.realtime_ns for one in sequences.values()}
    return events


def read_track(track, events, tracks):
    uuid = track["uuid"]
    assert uuid not in tracks, f"track {uuid} comes again"
    if uuid == 0:
        assert track["process_order"] == track["thread_order"] == 1
        tracks[uuid] = None
    elif "PROCESS" in track:
        process = track["PROCESS"]
        tracks[uuid] = process["pid"]
        assert process["pid"] not in events.processes
        events.processes[process["pid"]] = process["name"], track["rank"]
    elif uuid >= COUNTERS:
        tracks[uuid] = tracks[track["parent"]], COUNTERS, track["name"]
        assert "COUNTER" in track
    elif "parent" in track and "name" in track:
        assert uuid >= LEDGERS and ("COUNTER" in track) == (track["name"] != "windows")
        tracks[uuid] = tracks[track["parent"]], LEDGERS, track["name"]
    elif "parent" in track:
        assert uuid > TASKS
        tracks[uuid] = tracks[track["parent"]], TASKS, uuid - TASKS
    else:
        thread = track["THREAD"]
        tracks[uuid] = thread["pid"], thread["tid"]
        assert thread["pid"] in events.processes and tracks[uuid] not in events.threads
        events.threads[tracks[uuid]] = thread["name"], track["rank"]


def read_event(packet, sequence, tracks):
    """(thread or task, time, type, args, name, category, flow). Interned data and tracks must have come before."""
    event = packet["EVENT"]
    where, args = tracks[event.get("track", sequence.track)], sequence.args(event)
    if event.get("type") == 4:
        assert ("value" in event) != ("integer" in event)
        value = signed(event["integer"]) if "integer" in event else event["value"]
        return where, sequence.time(packet), 4, args, value if COUNTERS in where else round(value, 3), None, None
    if event.get("type") == 2:
        return where, sequence.time(packet), 2, args, None, None, None
    return (where, sequence.time(packet), event.get("type", 0), args, sequence.name(event), sequence.category(event),
            event.get("FLOW"))


def pair(unpaired, events):
    """Begins and ends, in the order of their times, make slices."""
    open_slices = defaultdict(list)
    for where, ns, type, args, name, cat, flow in sorted(unpaired, key=lambda event: event[1]):
        if COUNTERS in where:
            events.counters[where[0], where[2], ns, float(name)] += 1
        elif LEDGERS in where:
            assert (type == 4) == (where[2] != "windows")
            assert type == 4 or (type, name) in ((1, "[all functions recorded]"), (2, None))
            events.ledgers[where[0], where[2], ns, name if type == 4 else "be"[type - 1]] += 1
        elif TASKS in where:
            assert type == 2 or cat == "task"
            add_task(events, where[0], where[2], ns, "be"[type - 1], open_slices[where], name, args)
        elif type == 2:
            begin, name, cat, of_begin = open_slices[where].pop()
            events.add_slice(where, begin, ns, name, cat, of_begin | args)
        elif type == 1:
            open_slices[where].append((ns, name, cat, args))
        elif type == 3:
            events.instants[(*where, ns, name, cat, *sorted(args.items()))] += 1
        else:
            assert flow["binds_to_enclosing"] == 1
            phase, around = chr(flow["phase"]), open_slices[where][-1]
            # What a viewer does: the innermost slice that is open then.
            assert around[1] == name or cat == "label" or (cat in ("creation", "work") and phase == "s"), f"a flow event of {name} lies in {around}"
            events.flow_events[(*where, ns, name, cat, phase, flow["id"])] += 1
    assert not any(open_slices.values()), "a slice has no end"


def add_task(events, pid, task, ns, phase, open_names, name, args):
    """What ends is what began last."""
    if phase == "b":
        open_names.append(name)
    else:
        name = open_names.pop()
    events.tasks[(pid, task, ns, phase, name, *sorted(args.items()))] += 1


def add_counters(events, event, ns):
    names = {"cost": "cost of recording, %", "budget": "budget of recording, %", "functions": "functions muted"}
    for key, value in event["args"].items():
        if key != "budget" or value:
            events.ledgers[event["pid"], names[key], ns, float(value)] += 1


def plain_args(event):
    return {key: "None" if value is None else float(value) if isinstance(value, Decimal) else value
            for key, value in event.get("args", {}).items()}


def json_events(text):
    """Return the events of a trace in Catapult's JSON, in the form of read()."""
    def source(trace, event):
        return {"src": trace["stackFrames"][str(event["sf"])]["name"]} if "sf" in event else {}
    trace, events = json.loads(text, parse_float=Decimal), Events()
    named, open_names = defaultdict(dict), defaultdict(list)
    for event in trace["traceEvents"]:
        where, ns = (event["pid"], event.get("tid")), int(event["ts"] * 1000)
        if event["ph"] == "C" and event.get("cat") == "label":
            for key, value in event["args"].items():
                events.counters[where[0], f"{event['name']} {key}", ns, float(value)] += 1
        elif event["ph"] == "C" and event.get("cat") in ("sample", "lag"):
            events.counters[where[0], event["name"], ns, float(event["args"]["value"])] += 1
        elif event["ph"] == "C":
            add_counters(events, event, ns)
        elif event["cat"] == "window":
            events.ledgers[where[0], "windows", ns, event["ph"]] += 1
        elif event["ph"] == "X":
            end = ns + int(event["dur"] * 1000)
            args = source(trace, event) | plain_args(event)
            events.add_slice(where, ns, end, event["name"], event["cat"], args)
        elif event["cat"] == "task":
            args = source(trace, event) | event.get("args", {})
            add_task(events, where[0], event["id"], ns, event["ph"], open_names[event["id"]], event["name"], args)
        elif event["ph"] == "i":
            events.instants[(*where, ns, event["name"], event["cat"], *sorted(plain_args(event).items()))] += 1
        elif event["ph"] == "M":
            kind, what = event["name"].split("_", 1)
            key = where[0] if kind == "process" else where
            named[kind].setdefault(key, {})[what] = event["args"][what]
        else:
            events.flow_events[(*where, ns, event["name"], event["cat"], event["ph"], event["id"])] += 1
    events.processes = {key: (value["name"], value["sort_index"]) for key, value in named["process"].items()}
    events.threads = {key: (value["name"], value["sort_index"]) for key, value in named["thread"].items()}
    events.about = {key: value for key, value in trace["otherData"].items() if key != "start"}
    return events
