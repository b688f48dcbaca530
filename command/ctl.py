"""panopticon ctl: asks running processes what they record, and changes it, by their control sockets (specs/control.md).

    panopticon ctl run.pnr status --watch
    panopticon ctl run.pnr exclude 'json.*' --process 4711

Each process of a capture has a socket in its folder. A command is sent to all that record, at the same time; what was saved
is read from files.
"""

import contextlib
import errno
import json
import os
import socket
import stat
import struct
import sys
import time

from panopticon_rec import options

from . import SUBCOMMANDS, fail, printable
from .files import find_number, read_file

ROW = SUBCOMMANDS["ctl"]
VERSION = b"1"                          # of the protocol
SOCKET = "control"
MAX_REQUEST = 16384
MAX_ANSWER = 64 << 20
ANSWER_S = 10                           # how long an answer is waited for
SOCKET_S = 2                            # how long a socket is waited for: a process that begins or ends has none
WATCH_S = 1
STATUS_NUMBERS = "monotonic_ns", "events", "lost", "bytes", "chunks", "chunks_free", "chunks_queued", "last_ns", "max_size"


# ---- the command line ----

class Command:
    """usage: its arguments. n: how many there are. run: called with (capture, processes, words, given). options: names of
    those that it takes, besides `process` and `json`."""

    def __init__(self, usage, help, run, options=()):
        self.usage, self.help, self.run, self.options = usage, help, run, options
        self.n = len(usage.split())


def main(words):
    """Run the command line. Returns the exit status."""
    if any(word in ("-h", "--help") for word in words):
        sys.stdout.write(format_help())
        return 0
    given, rest = parse(words)
    if len(rest) < 2:
        fail("ctl: give a capture and a command, such as panopticon ctl run.pnr status (try --help)")
    path, name, *words = rest
    command = COMMANDS.get(name) or fail(f"ctl: there is no command {name} (try --help)")
    if len(words) != command.n:
        fail(f"ctl: {' '.join([name, command.usage]).strip()} is what this command needs")
    for option in given:
        if option not in ("process", "json", *command.options):
            fail(f"ctl: --{option} is not for {name}")
    return command.run(path, find_processes(path, given.get("process", [])), words, given)


def parse(words):
    """Return (options that are given by name, other words)."""
    rows = {f"--{row.name}": row for row in ROW.options} | {f"-{row.short}": row for row in ROW.options if row.short}
    given, rest, words = {}, [], list(words)
    while words:
        word = words.pop(0)
        if word == "--":
            rest += words
            break
        flag, equals, value = word.partition("=")
        if word[:1] != "-":
            rest.append(word)
            continue
        row = rows.get(flag) or fail(f"ctl: there is no option {flag} (try --help)")
        if row.type is options.FLAG:
            given[row.name] = True
            continue
        try:
            value = row.type.parse(value if equals else words.pop(0))
        except IndexError:
            fail(f"ctl: {flag} needs an argument: {flag} {row.type.argument}")
        except ValueError as error:
            fail(f"ctl: {flag}: {error}")
        given[row.name] = [*given.get(row.name, []), value] if row.type.is_list else value
    return given, rest


def format_help():
    lines = [f"usage: panopticon ctl {ROW.usage}", "", "Asks running processes what they record, and changes it.", ""]
    lines += [f"  {f'{name} {command.usage}':<20} {command.help}" for name, command in COMMANDS.items()]
    lines += ["", *map(options.format_option, ROW.options), "", options.fill(
        "A command is for all processes of the capture that record at this moment, and for the children that these fork "
        "later. Exit status: 0 when all have done it, 1 when some have, 2 when none has."), ""]
    return "\n".join(lines)


# ---- the processes of a capture ----

class Process:
    """folder: of the process in the capture. pid: as it knows itself."""

    def __init__(self, folder):
        self.folder = folder
        self.pid = int(os.path.basename(folder).split("-")[1])

    def may_run(self):
        """Return whether it may still record: it has a live mapping, and a socket or an entry in /proc."""
        return os.path.exists(os.path.join(self.folder, "live")) and (
            self.has_socket() or os.path.exists(f"/proc/{self.pid}"))

    def has_socket(self):
        try:
            return stat.S_ISSOCK(os.lstat(os.path.join(self.folder, SOCKET)).st_mode)
        except OSError:
            return False

    def wait_for_socket(self):
        """Return whether it has a socket, also when it begins just now. Raises EndedError when it has just ended."""
        end = time.monotonic() + SOCKET_S
        while not self.has_socket():
            if not self.may_run():
                raise EndedError
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def connect(self):
        """Return a connection to the socket that lies in the folder itself: a symbolic link would lead to another process,
        which may obey this user and not the one who made the link. Raises OSError."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(ANSWER_S)
        with contextlib.ExitStack() as stack:
            folder = os.open(self.folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
            stack.callback(os.close, folder)
            found = os.open(SOCKET, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
            stack.callback(os.close, found)
            stack.push(lambda kind, *_: connection.close() if kind else None)
            if not stat.S_ISSOCK(os.fstat(found).st_mode):
                raise ConnectionRefusedError
            # The path may be longer than an address can be.
            connect(connection, f"/proc/self/fd/{found}" if os.path.isdir("/proc/self/fd") else
                    os.path.join(self.folder, SOCKET))
        return connection

    def ask(self, *words):
        """Send a request. Returns the answer as (name, value) pairs of bytes. Raises RefusedError with the reason why there
        is not one, or EndedError when the process has ended."""
        request = b"".join(os.fsencode(word) + b"\0" for word in (VERSION, *words)) + b"\0"
        if len(request) > MAX_REQUEST:
            raise RefusedError(f"what is asked for has more than {MAX_REQUEST} bytes")
        if not self.wait_for_socket():
            raise RefusedError("it has no control socket: the file system of the capture may not have any")
        try:
            with self.connect() as connection:
                connection.sendall(request)
                answer = receive_all(connection)
        except (ConnectionRefusedError, FileNotFoundError):
            raise EndedError from None
        except TimeoutError:
            raise RefusedError(f"it has not answered for {ANSWER_S} s: its threads may be stopped, or in C code; what was "
                          "asked for may be done when one of them runs Python code again") from None
        except OSError as error:
            raise RefusedError(error.strerror or str(error)) from None
        if not answer.endswith(b"\0\0"):
            if self.is_anothers():
                raise RefusedError("it has closed the connection: it belongs to another user")
            raise EndedError
        fields = answer[:-2].split(b"\0")
        if fields[0] != b"ok":
            raise RefusedError(os.fsdecode(fields[-1]))
        return list(zip(fields[1::2], fields[2::2]))

    def is_anothers(self):
        try:
            return os.geteuid() not in (0, os.stat(self.folder).st_uid)
        except OSError:
            return False


class RefusedError(Exception):
    """The process has not done what was asked."""


NOT_UNDERSTOOD = str(RefusedError("its answer is none to what it was asked"))


class EndedError(Exception):
    """The process has ended meanwhile."""


def connect(connection, path):
    """Connect, also when very many others wait for that."""
    end = time.monotonic() + ANSWER_S
    while True:
        try:
            return connection.connect(path)
        except BlockingIOError:
            if time.monotonic() > end:
                raise TimeoutError from None
            time.sleep(0.01)


def receive_all(connection):
    """Return what comes, up to the end. Raises RefusedError when there is none."""
    parts, size, end = [], 0, time.monotonic() + 2 * ANSWER_S
    while part := connection.recv(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER or time.monotonic() > end:
            raise RefusedError("its answer has no end")
    return b"".join(parts)


def find_processes(path, pids):
    """Return the processes of a capture, of these pids or all, in the order of their pids."""
    try:
        names = os.listdir(path)
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    found = [Process(os.path.join(path, name)) for name in names
             if name.startswith("process-") and name.split("-")[1].isdecimal()]
    if not found:
        fail(f"{path}: not a capture")
    for pid in pids:
        if all(process.pid != pid for process in found):
            fail(f"{path}: no process {pid} in it")
    return sorted((process for process in found if not pids or process.pid in pids), key=lambda process: process.pid)


def ask_all(processes, *words):
    """Ask all at the same time. Returns [(process, answer or None, reason)]; those that have ended are left out."""
    import concurrent.futures

    def ask(process):
        try:
            return process, process.ask(*words), None
        except RefusedError as reason:
            return process, None, str(reason)
        except EndedError:
            return None

    if not processes:
        return []
    with concurrent.futures.ThreadPoolExecutor(min(len(processes), 64)) as pool:
        return [one for one in pool.map(ask, processes) if one]


def running(path, processes):
    return [process for process in processes if process.may_run()] or fail(f"{path}: no process records into it now")


def report(path, answers, given):
    """Report what was refused. Returns the exit status."""
    if not answers:
        fail(f"{path}: no process records into it now")
    if given.get("json"):
        print(json.dumps([{"pid": process.pid, "ok": reason is None, "error": reason} for process, _, reason in answers]))
    for process, _, reason in answers:
        if reason:
            sys.stderr.write(f"panopticon: process {process.pid} has not done it: {printable(reason)}\n")
    n_refused = sum(reason is not None for _, _, reason in answers)
    return 0 if not n_refused else 1 if n_refused < len(answers) else 2


# ---- commands that change something ----

def order(name):
    """Return the function of a command that is sent as it is."""
    return lambda path, processes, words, given: report(path, ask_all(running(path, processes), name, *words), given)


def stop(path, processes, words, given):
    """End the recording. Of all processes: programs that these start later are not recorded either."""
    running(path, processes)
    if "process" not in given:
        forbid_joining(path)
        processes = find_processes(path, [])    # one may have joined meanwhile
    return order("stop")(path, processes, words, given)


def forbid_joining(path):
    """Enter into the capture's file `order` that no process joins the recording any more, if it has such a file. The capture
    may be another user's, who may have put another file there."""
    try:
        number = os.open(os.path.join(path, "order"), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            found = os.fstat(number)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid != os.stat(path).st_uid:
                raise OSError(errno.EPERM, "its file `order` is not its own")
            os.write(number, b"\0stopped=1")
        finally:
            os.close(number)
    except FileNotFoundError:
        pass                            # no process can join it
    except OSError as error:
        sys.stderr.write(f"panopticon: {path}: programs that are started later are still recorded: {error.strerror}\n")


def filter_order(name):
    def run(path, processes, words, given):
        try:
            options.parse_filter(f"{name} {words[0]}")
        except ValueError as error:
            fail(f"ctl: {error}")
        return order(name)(path, processes, words, given)
    return run


def change_limits(path, processes, words, given):
    words = [str(part) for name in ("last", "max-size") if name in given for part in (name, given[name])]
    if not words:
        fail("ctl: limits needs --last, --max-size or both; 0 is no limit")
    return order("limits")(path, processes, words, given)


def save_snapshot(path, processes, words, given):
    """Save one snapshot of all processes: one makes the capture, and the others join it."""
    stem, suffix = os.path.splitext(path.rstrip("/"))
    wanted = os.path.abspath(given.get("output", f"{stem}-snapshot{suffix}"))
    left, answers, taken = running(path, processes), [], None
    while left and not taken:
        answers += ask_all([left.pop(0)], "snapshot", wanted)
        if answers and answers[-1][1] is not None:
            process, answer, _ = answers[-1]
            taken = os.fsdecode(dict(answer).get(b"path", b""))
            if not find_number(taken, wanted):      # the others are not to write there for it
                taken, answers[-1] = None, (process, None, NOT_UNDERSTOOD)
    answers += ask_all(left, "snapshot", taken, "join") if taken else []
    if taken and not given.get("json"):
        print(taken)
    return report(path, answers, given)


# ---- status ----

class Names:
    """The names of the threads and functions of a process, read as far as they are written (specs/capture-format.md)."""

    def __init__(self, folder):
        self.threads, self.functions, self.ledgers = {}, {}, set()
        try:
            data = read_file(os.path.join(folder, "names"))
        except OSError:
            data = b""
        at = 16
        while at + 40 <= len(data):
            size, type_, kind, _, index, _, *sizes = struct.unpack_from("<IBBHII3I", data, at)
            if not 40 <= size <= len(data) - at:
                break
            first, second, _ = cut(data[at + 40:at + size], sizes)
            if type_ == 1:
                self.functions.setdefault(index, f"{first}.{second}" if first else second)
            elif type_ == 2:
                self.threads[index] = first
                if kind == 2:
                    self.ledgers.add(index)
            at += size


def cut(data, sizes):
    """Return the three strings of an entry."""
    parts, at = [], 0
    for size in sizes:
        parts.append(data[at:at + size].decode("utf-8", "replace"))
        at += size
    return parts


def read_status(process, answer):
    """Return an answer to `status` as a dict, as --json prints it. Raises ValueError for another answer."""
    names = Names(process.folder)
    found = {"pid": process.pid, "state": "", "filters": [], "muted": [], "threads": []}
    events = {}
    for key, value in ((key.decode(), os.fsdecode(value)) for key, value in answer):
        if key == "thread":
            number, n = map(int, value.split())
            events[number] = events.get(number, 0) + n
        elif key == "muted":
            found["muted"].append(names.functions.get(int(value), f"function {value}"))
        elif key == "filter":
            found["filters"].append(value)
        elif key in STATUS_NUMBERS:
            found[key] = int(value)
        elif key == "state":
            found[key] = value
    if not all(name in found for name in STATUS_NUMBERS):
        raise ValueError
    found["threads"] = [{"number": number, "name": names.threads.get(number, ""), "events": n}
                        for number, n in sorted(events.items()) if number not in names.ledgers]
    return found


def add_rates(now, before):
    """Add events per second, since the status before."""
    seconds = (now["monotonic_ns"] - before["monotonic_ns"]) / 1e9
    earlier = {thread["number"]: thread["events"] for thread in before["threads"]}
    if seconds > 0:
        now["events_per_second"] = max(0, now["events"] - before["events"]) / seconds
        for thread in now["threads"]:
            thread["events_per_second"] = max(0, thread["events"] - earlier.get(thread["number"], 0)) / seconds


def size_on_disk(path):
    """Return the bytes that the capture takes."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                pass
    return total


def format_number(n):
    for limit, unit in (1e9, "G"), (1e6, "M"), (1e4, "k"):
        if n >= limit:
            return f"{n / (limit if unit != 'k' else 1e3):.3g}{unit}"
    return f"{n:.0f}"


def format_rate(row):
    return f" ({format_number(row['events_per_second'])}/s)" if "events_per_second" in row else ""


def format_status(found):
    """Return the lines of one process."""
    used = found["chunks"] - found["chunks_free"]
    lines = [f"process {found['pid']}: {found['state']}, {format_number(found['events'])} events{format_rate(found)}, "
             f"{found['lost']} lost, {format_number(found['bytes'])}B written, {used} of {found['chunks']} buffers in use"]
    limits = [f"last {found['last_ns'] / 1e9:g}s"] * bool(found["last_ns"]) + \
        [f"max-size {format_number(found['max_size'])}B"] * bool(found["max_size"])
    if limits:
        lines.append(f"  limits: {', '.join(limits)}")
    if found["filters"]:
        lines.append(f"  filters since the start: {', '.join(found['filters'])}")
    if found["muted"]:
        more = f", and {len(found['muted']) - 8} more" if len(found["muted"]) > 8 else ""
        lines.append(f"  muted: {', '.join(found['muted'][:8])}{more}")
    lines += [f"  thread {thread['number']} {thread['name']}: {format_number(thread['events'])} events{format_rate(thread)}"
              for thread in found["threads"]]
    return lines


def look_once(path, processes, before):
    """Ask all. Returns (status of each process, what to report)."""
    answers, found = ask_all([process for process in processes if process.may_run()], "status"), []
    for at, (process, answer, reason) in enumerate(answers):
        try:
            found += [read_status(process, answer)] if not reason else []
        except ValueError:
            answers[at] = process, None, NOT_UNDERSTOOD
    for one in found:
        if one["pid"] in before:
            add_rates(one, before[one["pid"]])
    return found, answers


def print_status(path, found, given):
    disk = size_on_disk(path)
    if given.get("json"):
        print(json.dumps({"capture": os.path.abspath(path), "disk": disk, "processes": found}), flush=True)
        return
    if given.get("watch") and sys.stdout.isatty():
        sys.stdout.write("\x1b[H\x1b[J")
    lines = [line for one in found for line in format_status(one)]
    print("\n".join(map(printable, [*lines, f"capture {path}: {format_number(disk)}B on disk"])), flush=True)


def show_status(path, processes, words, given):
    del words
    running(path, processes)
    found, answers = look_once(path, processes, {})
    is_watched = given.get("watch")
    if not answers:
        fail(f"{path}: no process records into it now")
    if found:
        print_status(path, found, given)
    try:
        while is_watched and found:
            time.sleep(WATCH_S)
            processes = find_processes(path, given.get("process", []))
            found, answers = look_once(path, processes, {one["pid"]: one for one in found})
            if found:
                print_status(path, found, given)
    except KeyboardInterrupt:
        return 0
    return 0 if is_watched and not answers else report(path, answers, {})


# ---- snapshots ----

def list_snapshots(path, processes, words, given):
    """List what was saved by the processes of the capture, also by those that have ended."""
    del words
    lines = read_snapshots(path)
    if "process" in given:
        lines = [line for line in lines if line["pid"] in given["process"]]
    rows = gather_snapshots(path, lines)
    not_saved = sum(line.get("not_saved", 0) for line in lines)
    if given.get("json"):
        print(json.dumps({"snapshots": rows, "not_saved": not_saved}))
        return 0
    for row in rows:
        print("\n".join(map(printable, format_snapshot(row))))
    if not_saved:
        print(f"{not_saved} slow or failed sections were not saved, by the limits of their watches")
    return 0


def read_snapshots(path):
    """Return the lines of the capture's list (specs/recording.md, section 9.3) as dicts. What is not a whole line, or not
    one of these, is left out."""
    try:
        lines = read_file(os.path.join(path, "snapshots")).decode("utf-8", "surrogateescape").split("\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    found = []
    for line in lines:
        try:
            one = json.loads(line)
            if isinstance(one["pid"], int) and isinstance(one["realtime_ns"], int):
                found.append(one)
        except (ValueError, TypeError, KeyError):
            pass
    return found


def gather_snapshots(path, lines):
    """Return a row for each snapshot, and for each that failed, by time. Processes may have saved one together."""
    folder = os.path.dirname(os.path.abspath(path))
    rows, by_path = [], {}
    for line in sorted(lines, key=lambda line: line["realtime_ns"]):
        if "snapshot" not in line and "failure" not in line:
            continue
        row = {"time": line["realtime_ns"] / 1e9, "cause": line.get("cause"), "pids": []}
        if "snapshot" in line:
            where = os.path.join(folder, line["snapshot"])
            row |= {"path": where, "is_there": os.path.isdir(where)}
            known = by_path.setdefault(where, row)
            if known is row:
                rows.append(row)
            row = known
        else:
            rows.append(row)
        row["pids"].append(line["pid"])
        row |= {key: line[key] for key in ("failure", "missing_ns", "incidents") if key in line}
    return rows


def format_snapshot(row):
    """Return the lines of one snapshot: when, who asked for it, where; and of the sections that it was saved for."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["time"]))
    gone = "" if row.get("is_there", True) else "  (not there any more)"
    yield f"{when}  {row['cause'] or '':<9}  {row['path'] if 'path' in row else 'not saved: ' + row['failure']}{gone}"
    for incident in row.get("incidents", ()):
        yield (f"    {incident.get('watch')}: {incident.get('duration_ns', 0) / 1e6:.1f} ms"
               f"{', ended by an exception' if incident.get('why') == 'exception' else ''}"
               f"{', id ' + incident['id'] if 'id' in incident else ''}")
    if "missing_ns" in row:
        yield f"    the first {row['missing_ns'] / 1e6:.1f} ms were no longer there"


COMMANDS = {
    "status": Command("", "what is recorded at this moment", show_status, ["watch"]),
    "pause": Command("", "record nothing until resume", order("pause")),
    "resume": Command("", "record again", order("resume")),
    "exclude": Command("GLOB", "leave these functions out from now on", filter_order("exclude")),
    "include": Command("GLOB", "record these functions from now on", filter_order("include")),
    "mark": Command("TEXT", "put an instant of this name into the recording", order("mark")),
    "limits": Command("", "keep as much as --last and --max-size allow", change_limits, ["last", "max-size"]),
    "snapshot": Command("", "save what was recorded up to now", save_snapshot, ["output"]),
    "snapshots": Command("", "list what was saved", list_snapshots),
    "stop": Command("", "end the recording; the program goes on", stop),
}
