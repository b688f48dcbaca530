"""Panopticon's recorder: what a Python program did, call by call, at the least cost that CPython allows.

    python3 -m panopticon_rec app.py                # writes run.pnr
    panopticon-convert run.pnr                      # writes run.trace, for chrome://tracing

    with panopticon_rec.record("run.pnr"):          # a part of a program
        ...

    with panopticon_rec.AsyncTracer() as at:        # a part of a program, as Catapult JSON
        ...
    print(str(at))

It sees all threads. A recording inside another one gives a capture of its own part. It never raises into the program
that it records: when it cannot go on (disk full) it says so once on standard error and the program runs on.

Imports nothing but what is part of the interpreter itself: a module of the standard library may be the program's own, by its
place in sys.path.
"""

import atexit

import os
import sys

import _signal

__all__ = ["AsyncTracer", "Recorder", "pause", "record", "resume", "snapshot"]
__version__ = "0.1"

UNUSABLE = None     # why this interpreter cannot be recorded, and what to do: a line

if sys.implementation.name != "cpython" or sys.version_info < (3, 11):
    UNUSABLE = ("panopticon_rec records CPython 3.11 and later, and this is "
                f"{sys.implementation.name} {sys.version.split()[0]}: run the program with one of those")
    _recorder = None
else:
    try:
        from . import _recorder
    except ImportError as error:
        _recorder = None
        detail = "" if "cannot import name" in str(error) else f" ({error})"
        if "subinterpreters" in detail:
            UNUSABLE = "panopticon: a process's main interpreter is recorded, and this is another one"
        else:
            UNUSABLE = f"panopticon_rec was not built for this interpreter: scons python={sys.executable}{detail}"
    except MemoryError:
        _recorder = None
        UNUSABLE = "out of memory"


def properties(command, filters=()):
    """What a capture says of this process: dict of str to str (specs/capture-format.md, section 6.3). command: the
    program and its arguments, list of str."""
    told = {"python": sys.version.split()[0], "executable": sys.executable or "",
            "command": " ".join(map(str, command)), "recorder": __version__}
    if filters:
        told["filters"] = "\n".join(filters)
    return told


def options(c_calls=False, engine=None, filters=(), min_duration=0, max_size=0, last=0, when_full="wait", follow="fork",
            start_paused=False, snapshot_on=(), toggle_on=None):
    """The options of a recording as _recorder.start takes them. Raises ValueError."""
    if when_full not in ("wait", "drop") or follow not in ("all", "fork", "none"):
        raise ValueError("when_full is wait or drop; follow is all, fork or none")
    signals = [parse_signal(name) for name in snapshot_on if name != "exception"]
    if len(signals) > 1:
        raise ValueError("one signal makes snapshots")
    if toggle_on and parse_signal(toggle_on) in signals:
        raise ValueError(f"{toggle_on!r} makes snapshots: another signal pauses and resumes")
    return {"c_calls": c_calls, "engine": engine, "filters": [rule for one in filters for rule in parse_filter(one)],
            "min_duration_ns": parse_duration(min_duration), "max_size": parse_size(max_size),
            "last_ns": parse_duration(last), "drops": when_full == "drop", "follows_forks": follow != "none",
            "starts_paused": start_paused, "snapshots_exceptions": "exception" in snapshot_on,
            "snapshot_signal": signals[0] if signals else 0, "toggle_signal": parse_signal(toggle_on) if toggle_on else 0}


def parse_signal(name):
    """The number of a signal that a program can do without. name: SIGUSR2, USR2."""
    key = f"SIG{name.removeprefix('SIG')}" if isinstance(name, str) else ""
    number = getattr(_signal, key, 0) if key[3:4].isalnum() else 0      # SIG_IGN is none
    if not number or number in (_signal.SIGKILL, _signal.SIGSTOP, _signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE,
                                _signal.SIGILL, _signal.SIGABRT):
        raise ValueError(f"{name!r} is no signal for this; SIGUSR1 and SIGUSR2 are")
    return number


def parse_size(size):
    """Bytes. size: a number, or text such as 200M (k, M, G, T: powers of 1,024)."""
    number, scale = size, 1
    if isinstance(size, str):
        scale = {"k": 2**10, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}.get(size[-1:], 1)
        try:
            number = float(size[:-1] if scale > 1 else size)
        except ValueError:
            number = -1
    if not 0 <= number * scale < 2**63:
        raise ValueError(f"{size!r} is no size: a number and k, M, G or T, such as 200M")
    return round(number * scale)


def parse_filter(text):
    """The rules of a filter: (action, text), the action as in recorder/filter.h."""
    include, exclude, exclude_below = range(3)
    action, _, glob = text.partition(" ") if isinstance(text, str) else ("", "", "")
    if action in ("include", "exclude") and glob and "\n" not in glob and "\0" not in glob:
        return [(include if action == "include" else exclude, glob)]
    frozen = exclude_below, "<frozen "
    if text == "no-frozen":
        return [frozen]
    if text == "no-stdlib":             # os lies in it, and is there at any start
        return [frozen, (exclude_below, os.path.join(os.path.dirname(os.__file__), ""))]
    raise ValueError(f"{text!r} is no filter: those are 'include GLOB', 'exclude GLOB', 'no-stdlib' and 'no-frozen'")


def parse_duration(duration):
    """Nanoseconds. duration: seconds as a number, or text such as 20us."""
    number, scale = duration, 10**9
    if isinstance(duration, str):
        units = ("ns", 1), ("us", 10**3), ("ms", 10**6), ("s", 10**9), ("min", 60 * 10**9), ("h", 3600 * 10**9)
        unit, scale = next(((unit, scale) for unit, scale in units if duration.endswith(unit)), ("", 0))
        try:
            number = float(duration.removesuffix(unit))
        except ValueError:
            number = -1
    if not scale or not 0 <= number * scale < 2**63:
        raise ValueError(f"{duration!r} is no duration: a number and ns, us, ms, s, min or h, such as 20us")
    return round(number * scale)


def find_converter():
    """The path of panopticon-convert: beside the package as it was built, where `scons install` put it, or on PATH;
    None when it is nowhere."""
    package = os.path.dirname(os.path.abspath(__file__))
    folders = [os.path.dirname(package), os.path.normpath(os.path.join(package, *[os.pardir] * 4, "bin")),
               *os.environ.get("PATH", "").split(os.pathsep)]
    for folder in folders:
        tool = os.path.join(folder or os.curdir, "panopticon-convert")
        if os.access(tool, os.X_OK) and not os.path.isdir(tool):
            return os.path.abspath(tool)
    return None


class Recorder:
    """Records this process, all its threads, from start() to stop() into a capture directory.

    path: where to; when a capture is there already, run-2.pnr, run-3.pnr, ... is taken instead. From start() on the
    attribute `path` says which, as an absolute path. May be started again after a stop: each recording is a capture of
    its own. Functions that are running when it starts are shown as opened before. Also a context manager.
    c_calls: records calls of C functions, too. engine: "frame" or "monitoring" (3.12 and later); None takes the faster
    one that this Python has.
    filters: which functions are recorded: a list of "include GLOB", "exclude GLOB", "no-stdlib" (functions of the
    standard library are not recorded) and "no-frozen" (those of frozen modules). A glob is for the module's name or the
    file's path, as a whole; its * also stands for dots and slashes. The last filter that matches a function decides. One
    that none matches is recorded, but not if the first glob is to be included. What functions call that are not recorded
    appears in whoever called these.
    min_duration: calls that are shorter, and all that is in them, leave nothing behind. Seconds, or text such as "20us"
    (ns, us, ms, s, min, h).
    max_size: bytes that the capture may take on disk, or text such as "2G"; the oldest data goes first. last: how much of
    the past is kept at least, as a duration; what is older goes. 0: no limit.
    when_full: what happens to events when the disk is too slow: "wait" until it has taken some, or "drop", which counts.
    follow: which processes are recorded into the same capture: "fork", those that this one forks; "all", interpreters
    that it starts as well, by way of PYTHONPATH in os.environ; or "none".
    start_paused: nothing is recorded before resume().
    snapshot_on: a list of a signal's name, such as "SIGUSR2", and "exception", for one that ends the program or a thread: a
    snapshot is made beside the capture. toggle_on: the name of a signal that pauses and resumes.
    Raises ValueError for what is none of these.
    """

    def __init__(self, path="run.pnr", *, filters=(), snapshot_on=(), follow="fork", **more):
        self.path = self._wanted = os.fspath(path)
        self._filters = [filters] if isinstance(filters, str) else list(filters)
        snapshot_on = [snapshot_on] if isinstance(snapshot_on, str) else list(snapshot_on)
        self._options = options(filters=self._filters, snapshot_on=snapshot_on, follow=follow, **more)
        self._follows_all = follow == "all"
        self._is_running = self._leads = False
        self._number = 0

    def start(self):
        """Begins. Raises OSError when the capture cannot be written, RuntimeError when this recorder is running
        already, ImportError when this interpreter cannot be recorded, ValueError when it does not have the
        engine. Returns the recorder."""
        if UNUSABLE:
            raise ImportError(UNUSABLE)
        if self._is_running:
            raise RuntimeError("panopticon: this recorder is running already")
        # Inside another recording it is that one which says what becomes of children.
        self._leads = self._follows_all and not _recorder.is_on()
        lead = leader(self._options, self._filters) if self._leads else None
        before = os.environ.get("PYTHONPATH")
        try:
            self._number, self.path = _recorder.start(
                self._wanted, False, properties(getattr(sys, "argv", []), self._filters), self._options, lead)
        except BaseException:
            if os.environ.get("PYTHONPATH") != before:
                lead_no_more()
            raise
        self._is_running = True
        return self

    def stop(self):
        """Ends and writes everything, from any function and any thread. Returns (events, threads, bytes, lost); in a
        forked child those of the child. Raises RuntimeError when this recorder is not running, OSError when the capture
        could not be written to its end: what was recorded until then is kept."""
        if not self._is_running:
            raise RuntimeError("panopticon: this recorder is not running")
        self._is_running = False
        if self._leads:
            lead_no_more()
        return _recorder.stop(self._number)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        """As stop(), but never raises into the program: a failure to write was told on standard error."""
        if self._is_running:
            try:
                self.stop()
            except OSError:
                pass


record = Recorder


def pause():
    """Records nothing until resume(), at no cost. Raises RuntimeError when this process is not being recorded."""
    _recorder.pause()


def resume():
    """Goes on after pause(), or begins after a paused start. Raises RuntimeError when this process is not being recorded."""
    _recorder.resume()


def snapshot(path="run-snapshot.pnr"):
    """Saves what this process has recorded up to now, as far as it is kept, as a capture of its own, while recording goes
    on. Returns its absolute path; as for Recorder, run-snapshot-2.pnr, ... is taken when it is there already. Raises
    OSError when it cannot be written, RuntimeError when this process is not being recorded."""
    return _recorder.snapshot(os.fspath(path))


# ---- interpreters that the program starts ----

PACKAGE = os.path.dirname(os.path.abspath(__file__))
FOLLOW = os.path.join(PACKAGE, "follow")        # see sitecustomize.py in it
MARK = f"{FOLLOW}/order-"


def leader(options, filters, follows_all=True, **duty):
    """Returns a function that leaves in a capture, given its path, what an interpreter needs to know that takes part later
    (specs/recording.md, section 9), and sees to it that those which this process starts do: by PYTHONPATH, the one variable
    of the environment that is changed. duty: what this process does at its end."""

    def lead(capture):
        by = _recorder.identify()
        known = {"by": by, **duty, **{key: value for key, value in options.items() if key != "filters"}}
        fields = [f"{key}={int(value) if isinstance(value, bool) else value}" for key, value in known.items()
                  if value is not None]
        order = "\0".join([*fields, *(f"filter={text}" for text in filters)]).encode("utf-8", "surrogatepass")
        with open(os.path.join(capture, "order"), "xb", opener=open_for_owner) as file:
            file.write(order)
        if follows_all:
            lead_no_more()
            before = os.environ.get("PYTHONPATH")
            os.environ["PYTHONPATH"] = os.pathsep.join([FOLLOW, f"{MARK}{by}-{os.fsencode(capture).hex()}",
                                                        *([before] if before else [])])

    return lead


def open_for_owner(path, flags):
    return os.open(path, flags, 0o600)


def lead_no_more():
    """Makes PYTHONPATH again what it was."""
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    after = [entry for entry in before if not entry.startswith(FOLLOW)]
    if not after:
        os.environ.pop("PYTHONPATH", None)
    elif after != before:
        os.environ["PYTHONPATH"] = os.pathsep.join(after)


def find_order():
    """The entry of PYTHONPATH that names a capture in which this process takes part; or None."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return next((entry for entry in entries if entry.startswith(MARK)), None)


def parse_entry(entry):
    """Who left the order that an entry of PYTHONPATH names, and in which capture."""
    by, _, path = entry.removeprefix(MARK).rpartition("-")
    return by, os.fsdecode(bytes.fromhex(path))


def read_order(entry):
    """What there is to know of the capture that an entry of PYTHONPATH names: dict of str to str, and a list for `filters`.
    None when it is gone, or another lies there now. Raises PermissionError."""
    by, capture = parse_entry(entry)
    try:
        with open(os.path.join(capture, "order"), "rb") as file:
            fields = file.read().decode("utf-8", "surrogatepass").split("\0")
    except (FileNotFoundError, NotADirectoryError):
        return None
    pairs = [field.partition("=")[::2] for field in fields]
    order = {**dict(pairs), "capture": capture, "filters": [value for key, value in pairs if key == "filter"]}
    return order if order["by"] == by else None


OPTIONS = ("c_calls", "min_duration_ns", "max_size", "last_ns", "drops", "follows_forks", "starts_paused",
           "snapshots_exceptions", "snapshot_signal", "toggle_signal")


def options_of(order):
    """The options of the recording in which this process takes part, as _recorder.start takes them."""
    rules = [rule for text in order["filters"] for rule in parse_filter(text)]
    return {**{key: int(order[key]) for key in OPTIONS}, "engine": order.get("engine"), "filters": rules}


def take_duty(order):
    """A process that has run another program (exec) still has to do at its end what was asked of it."""
    if order["by"] == _recorder.identify() and "tells" in order:
        _recorder.at_exit(order["tells"] == "1", find_converter(), order.get("output"))


def program_at():
    """Where in sys.orig_argv what the interpreter runs is named: a script, the module behind -m, the command behind -c."""
    return len(sys.orig_argv) - len(sys.argv)


MODULES = "panopticon_rec", "panopticon_rec.__main__"


def find_recorder():
    """Returns (words, is_path) when it is the recorder's command line that this interpreter runs: the words before its name,
    which are the interpreter and its flags, and whether it is named by its path; else None."""
    at = program_at()
    if at < 1:
        return None
    *before, word = sys.orig_argv[:at + 1]
    last = before[-1]
    if word in MODULES and last[:1] == "-" and last[-1] == "m" and last[1] not in "-XW":
        flags = before.pop()[:-1]       # -m, or -Bm
    elif word.startswith("-") and word.endswith(tuple(f"m{module}" for module in MODULES)):
        flags = word[:word.index("mpanopticon_rec")]
    elif os.path.realpath(word) in (os.path.realpath(PACKAGE), os.path.join(os.path.realpath(PACKAGE), "__main__.py")):
        return before, True
    else:
        return None
    return before if flags == "-" else [*before, flags], False


def helper():
    """What this interpreter is if it is none of the program's, but a helper of multiprocessing or loky: "resource_tracker",
    or "forkserver", which does nothing but fork the program's; else None."""
    statements = sys.orig_argv[program_at()].split(";")[:2] if sys.argv[0] == "-c" else []      # the first may be import sys
    for kind in "resource_tracker", "forkserver":
        for words in map(str.split, statements):
            if words[:1] + words[2:] == ["from", "import", "main"] and words[1].endswith("." + kind):
                return kind
    return None


def follow(entry):
    """Records this interpreter, which is about to run its program, as its parent wants it. Returns whether it does, or will
    in children; raises ValueError or LookupError for an order that is damaged, and what else _recorder.start raises."""
    is_server = helper() == "forkserver"
    if UNUSABLE or helper() == "resource_tracker" or find_recorder():       # which sees to it itself
        return False
    try:
        order = read_order(entry)
        if not order:
            return False
        if is_server:
            os.register_at_fork(after_in_child=lambda: _recorder.is_on() or take_part(order, "fork"))
            return True
        take_duty(order)
    except OSError as error:
        return leave_message(parse_entry(entry)[1], error)
    return take_part(order, "exec")


def take_part(order, born):
    """Begins to record this process into the capture of the order. Returns whether it could."""
    try:
        _recorder.start(order["capture"], True, {**properties(sys.orig_argv[1:], order["filters"]), "born": born},
                        options_of(order), None)
    except (OSError, MemoryError) as error:
        return leave_message(order["capture"], error)
    return True


def leave_message(capture, error):
    """This process is not recorded: the one that began the capture says so at its end, as in recorder/diagnostics.c. Returns
    False."""
    reason = f"{error.filename}: {error.strerror}" if getattr(error, "filename", None) else "out of memory"
    try:
        with open(os.path.join(capture, "messages"), "ab", opener=open_to_append) as file:
            file.write(f"process {os.getpid()}: not recorded: {reason}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        pass                            # nobody is left to tell
    return False


def open_to_append(path, flags):
    """Opens the file, or makes it: O_CREAT on a file of another user may be refused (protected_regular in proc(5))."""
    try:
        return os.open(path, flags & ~os.O_CREAT | os.O_NOFOLLOW)
    except FileNotFoundError:
        return os.open(path, flags | os.O_NOFOLLOW, 0o600)


class AsyncTracer:
    """Records a part of a program, calls of C functions too, and gives it as Catapult JSON text:

        with AsyncTracer() as at:
            ...
        text = str(at)

    Needs panopticon-convert. The capture lies in a temporary place until str() has read it.
    """

    def __init__(self):
        self._recorder = self._remove = None
        self._text = ""

    def start(self):
        """Begins, as Recorder.start; what an earlier recording of this tracer gave is forgotten. Returns the tracer."""
        self._forget()
        folder = make_folder()
        self._recorder = Recorder(os.path.join(folder, "run.pnr"), c_calls=True, follow="none")
        self._remove = remover(folder, self._recorder)
        atexit.register(self._remove)
        try:
            self._recorder.start()
        except BaseException:
            self._forget()
            raise
        return self

    def stop(self):
        """Ends. Raises as Recorder.stop."""
        if not self._recorder:
            raise RuntimeError("panopticon: this tracer was not started")
        self._recorder.stop()

    def get_trace(self):
        """The trace as text: str(at)."""
        return str(self)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self._recorder.__exit__(*exception)

    def __del__(self):
        self._forget()

    def __str__(self):
        if self._remove:
            if self._recorder._is_running:
                raise RuntimeError("panopticon: the tracer is still running: stop it first")
            self._text = convert(self._recorder.path)
            self._forget()
        return self._text

    def _forget(self):
        if self._remove:
            atexit.unregister(self._remove)
            self._remove()
            self._remove = None


def make_folder():
    """A temporary folder."""
    name = f"panopticon-{os.getpid()}-{os.urandom(6).hex()}"
    places = [*filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), "/tmp", "/var/tmp", os.getcwd()]
    for place in places:
        folder = os.path.join(os.path.abspath(place), name)
        try:
            os.mkdir(folder, 0o700)
            return folder
        except OSError:
            if place is places[-1]:
                raise


def remover(folder, recorder):
    """The function that removes the folder of a recorder, which it ends before; not in a forked child."""
    pid = os.getpid()

    def remove():
        if os.getpid() == pid:
            recorder.__exit__()
            _recorder.remove(folder)

    return remove


def convert(capture):
    """The text of a trace, which lies beside the capture meanwhile."""
    converter = find_converter()
    if not converter:
        raise FileNotFoundError("panopticon-convert was found neither beside panopticon_rec nor on PATH")
    trace = f"{capture}.trace"
    pid = os.posix_spawn(converter, [converter, "-q", "-o", trace, capture], os.environ)
    try:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:           # the program ignores SIGCHLD
        status = 0 if os.path.exists(trace) else 2
    except BaseException:
        os.kill(pid, _signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    if status not in (0, 1):
        raise OSError(f"panopticon-convert failed with status {status}")
    with open(trace, encoding="utf-8") as file:
        return file.read()


# ---- what the frame engine tries itself on before the first recording (recorder/cpython/self_test.c) ----


def _run():
    for _ in _generate():
        pass
    _recurse(32)
    [2, 1].sort(key=_call_back)


def _generate():
    yield


def _recurse(depth):
    if depth:
        _recurse(depth - 1)


def _call_back(item):
    return item


if _recorder:
    _recorder.set_self_test((_run, _generate, _recurse, _call_back))
