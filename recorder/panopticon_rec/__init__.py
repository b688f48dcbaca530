"""Panopticon's recorder: what a Python program did, call by call, at the least cost that CPython allows.

    python3 -m panopticon_rec app.py                # writes run.pnr
    panopticon-convert run.pnr                      # writes run.trace, for chrome://tracing

    with panopticon_rec.record("run.pnr"):          # a part of a program
        ...

    with panopticon_rec.AsyncTracer() as at:        # a part of a program, as Catapult JSON
        ...
    print(str(at))

One recorder at a time in a process. It sees all threads. It never raises into the program that it records:
when it cannot go on (disk full) it says so once on standard error and the program runs on.
"""

import os
import sys

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


def facts(command, filters=()):
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
    import signal
    number = signal.Signals.__members__.get(f"SIG{name.removeprefix('SIG')}") if isinstance(name, str) else None
    if not number or number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
                                signal.SIGABRT):
        raise ValueError(f"{name!r} is no signal for this; SIGUSR1 and SIGUSR2 are")
    return int(number)


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
    if action in ("include", "exclude") and glob and "\n" not in glob:
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
        self._is_running = False
        self._number = 0

    def start(self):
        """Begins. Raises OSError when the capture cannot be written, RuntimeError when this recorder is running
        already, ImportError when this interpreter cannot be recorded, ValueError when it does not have the
        engine. Returns the recorder."""
        if UNUSABLE:
            raise ImportError(UNUSABLE)
        if self._is_running:
            raise RuntimeError("panopticon: this recorder is running already")
        lead = leader(self._options, self._filters) if self._follows_all else None
        before = os.environ.get("PYTHONPATH")
        try:
            self._number, self.path = _recorder.start(
                self._wanted, False, facts(getattr(sys, "argv", []), self._filters), self._options, lead)
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
        if self._follows_all:
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

FOLLOW = os.path.join(os.path.dirname(os.path.abspath(__file__)), "follow")     # see sitecustomize.py in it


def leader(options, filters):
    """Returns a function that sees to it, given the path of a capture, that interpreters which this process starts are
    recorded into it: by PYTHONPATH, the one variable of the environment that is changed."""
    import base64
    import json

    def lead(capture):
        order = json.dumps({"capture": capture, "options": options, "filters": filters}).encode()
        order = base64.urlsafe_b64encode(order).decode().rstrip("=")
        lead_no_more()
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([FOLLOW, f"{FOLLOW}/order-{order}", *([before] if before else [])])

    return lead


def lead_no_more():
    """Makes PYTHONPATH again what it was."""
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    after = [entry for entry in before if not entry.startswith(FOLLOW)]
    if not after:
        os.environ.pop("PYTHONPATH", None)
    elif after != before:
        os.environ["PYTHONPATH"] = os.pathsep.join(after)


def follow(order):
    """Records this interpreter, which is about to run its program, as its parent wants it. Returns whether it does; raises
    what _recorder.start raises."""
    import base64
    import json
    if UNUSABLE or "panopticon_rec" in sys.orig_argv:       # which has orders of its own
        return False
    order = json.loads(base64.urlsafe_b64decode(order + "=" * (-len(order) % 4)))
    chosen = {**order["options"], "filters": [tuple(rule) for rule in order["options"]["filters"]]}
    if not os.path.isdir(order["capture"]):
        return False
    try:
        _recorder.start(order["capture"], True, {**facts(sys.orig_argv[1:], order["filters"]), "born": "exec"}, chosen, None)
    except (OSError, MemoryError) as error:
        reason = f"{error.filename}: {error.strerror}" if getattr(error, "filename", None) else "out of memory"
        sys.stderr.write(f"panopticon: process {os.getpid()} is not recorded: {reason}\n")
        return False
    return True


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
        import tempfile
        import weakref
        self._forget()
        folder = tempfile.mkdtemp(prefix="panopticon-")
        self._remove = weakref.finalize(self, remove_folder, folder, os.getpid())
        self._recorder = Recorder(os.path.join(folder, "run.pnr"), c_calls=True, follow="none")
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

    def __str__(self):
        if self._remove:
            if self._recorder._is_running:
                raise RuntimeError("panopticon: the tracer is still running: stop it first")
            self._text = self._convert()
            self._forget()
        return self._text

    def _convert(self):
        import subprocess
        converter = find_converter()
        if not converter:
            raise FileNotFoundError("panopticon-convert was found neither beside panopticon_rec nor on PATH")
        done = subprocess.run([converter, "-q", "-o", "-", self._recorder.path], stdout=subprocess.PIPE, check=False)
        if done.returncode > 1:
            raise OSError(f"panopticon-convert failed with status {done.returncode}")
        return done.stdout.decode("utf-8")

    def _forget(self):
        if self._remove:
            self._remove()
            self._remove = None


def remove_folder(folder, pid):
    """Removes a tracer's temporary folder, in the process that made it and not in a forked child."""
    if os.getpid() == pid:
        import shutil
        shutil.rmtree(folder, ignore_errors=True)
