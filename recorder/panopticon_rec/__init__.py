"""Panopticon's recorder: every call of a Python program, at the lowest cost that CPython allows.

    python3 -m panopticon_rec app.py                # writes run.pnr
    panopticon-convert run.pnr                      # writes run.trace, for chrome://tracing

    with panopticon_rec.record("run.pnr"):          # a part of a program
        ...

    with panopticon_rec.AsyncTracer() as at:        # a part of a program, as Catapult JSON
        ...
    print(str(at))

    panopticon_rec.mark("cache miss", key=key)      # what the program itself reports: docs/remarks.md
    with panopticon_rec.span("parse", file=name):
        panopticon_rec.counter("queue", depth=12)

    panopticon_rec.open("run.pnr").slices()         # a table, for DuckDB, polars, pandas: docs/tables.md

Records all threads. A recording that starts inside another one gives a capture of its own part. Never raises into the
program that is recorded: when recording cannot go on (disk full), one line on standard error says so and the program
runs on.

Imports only what is part of the interpreter itself: a module with the name of one of the standard library may be the
program's own, by its place in sys.path.

PYTEST_DONT_REWRITE, or pytest would warn in a recorded process, which imports this before pytest begins.
"""

import atexit

import os
import sys

import _signal

from . import options, request_ids

__all__ = ["AsyncTracer", "Recorded", "Recorder", "counter", "flow", "mark", "pause", "record", "resume", "snapshot",
           "span", "watch"]
__version__ = "0.2.0"     # of the converter, too: SConstruct reads it here

FREE_THREADED = (3, 13)     # the only version whose free-threaded build can be recorded, as in recorder/cpython/versions.h
UNUSABLE = None     # why this interpreter cannot be recorded, and what to do: a line
IS_BESIDE_MAIN = False      # it is not the main one of its process, which may be recorded

if sys.implementation.name != "cpython" or sys.version_info < (3, 11):
    UNUSABLE = ("panopticon_rec records CPython 3.11 and later, and this is "
                f"{sys.implementation.name} {sys.version.split()[0]}: run the program with one of those")
    _recorder = None
elif "t" in sys.abiflags and sys.version_info[:2] != FREE_THREADED:
    UNUSABLE = (f"panopticon_rec records no free-threaded Python but 3.13, and this is {sys.version.split()[0]} without a "
                "GIL: run the program with that, or with the usual build")
    _recorder = None
else:
    try:
        from . import _recorder
    except ImportError as error:
        _recorder = None
        if "subinterpreters" in str(error):
            IS_BESIDE_MAIN = True
            UNUSABLE = "panopticon: a process's main interpreter is recorded, and this is another one"
        elif "cannot import name" in str(error):
            UNUSABLE = (f"panopticon_rec is not built for this Python {sys.version.split()[0]}: "
                        f"{sys.executable} -m pip install panopticon-rec")
        else:
            UNUSABLE = f"panopticon_rec cannot be loaded: {error}"
    except MemoryError:
        _recorder = None
        UNUSABLE = "out of memory"

if _recorder:
    from ._recorder import counter, flow, mark, span
    watch = _recorder.make_watch(options.parse_duration, request_ids.find_trace_id)
else:
    from .stand_ins import counter, flow, mark, span, watch


def properties(command, filters=()):
    """Return the properties of this process: dict of str to str (specs/capture-format.md, section 6.3). command: the
    program and its arguments, list of str."""
    found = {"python": sys.version.split()[0], "executable": sys.executable or "",
             "command": " ".join(map(str, command)), "recorder": __version__}
    if filters:
        found["filters"] = "\n".join(filters)
    return found


NO_CONVERTER = "panopticon-convert was found neither next to panopticon_rec nor on PATH"


def find_converter():
    """Return the path of panopticon-convert: of the build that this package is from, of DIR/bin for a package that
    pip installed with --target DIR, of PREFIX/bin for one in PREFIX/lib/pythonX.Y/site-packages, or on PATH; None when
    it is nowhere."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folders = [folder, os.path.join(folder, "bin"), os.path.normpath(os.path.join(folder, *[os.pardir] * 3, "bin")),
               *os.environ.get("PATH", "").split(os.pathsep)]
    for folder in folders:
        tool = os.path.join(folder or os.curdir, "panopticon-convert")
        if os.access(tool, os.X_OK) and not os.path.isdir(tool):
            return os.path.abspath(tool)
    return None


class Recorded(tuple):
    """What was recorded: the tuple (events, threads, bytes, lost), with names.

    events: number of records. threads: number of threads. bytes: size of the capture on disk. lost: number of events
    that could not be kept. What follows is not an item of the tuple. path: the capture's absolute path. overhead: what
    recording has cost, as accounted, in percent of the program's CPU time; None without max_overhead, and for a
    recording inside another one. muted: number of functions that were muted some time.
    """

    def __new__(cls, totals, path="", overhead=None, muted=0):
        recorded = super().__new__(cls, totals)
        recorded.path, recorded.overhead, recorded.muted = path, overhead, muted
        return recorded

    events = property(lambda self: self[0])
    threads = property(lambda self: self[1])
    bytes = property(lambda self: self[2])
    lost = property(lambda self: self[3])

    def __repr__(self):
        return "Recorded(events={}, threads={}, bytes={}, lost={}, path={!r})".format(*self, self.path)


class Recorder:
    __doc__ = options.add_keywords("""Record this process, all its threads, from start() to stop() into a capture
    directory.

    path: where the capture goes; when there is one already, run-2.pnr, run-3.pnr, ... is taken instead. After start()
    the attribute `path` says which, as an absolute path. A recorder may be started again after a stop: each recording
    is a capture of its own. Functions that run already at the start are shown as opened before. Also a context manager.
    Raises ValueError for an option with a wrong value, TypeError for an unknown option.

    The options are those of the command line (python3 -m panopticon_rec --help). A duration is a number of seconds, or
    text such as "20us"; a size is a number of bytes, or text such as "1.5G"; a percentage is a number, or text such as
    "3%".""")

    def __init__(self, path="run.pnr", **keywords):
        self.path = self._wanted = os.fspath(path)
        self._options = options.parse(keywords)
        self._is_running = self._hooks_children = False
        self._number = 0

    def start(self):
        """Start recording. Returns the recorder. Raises OSError when the capture cannot be written, RuntimeError when
        this recorder is running already, ImportError when this interpreter cannot be recorded, ValueError when it does
        not have the engine."""
        if UNUSABLE:
            raise ImportError(UNUSABLE)
        if self._is_running:
            raise RuntimeError("panopticon: this recorder is running already")
        # Inside another recording, that one decides what becomes of children.
        self._hooks_children = options.records_started(self._options) and _recorder.state() == "off"
        on_path = child_hook(self._options) if self._hooks_children else None
        before = os.environ.get("PYTHONPATH")
        try:
            self._number, self.path = _recorder.start(
                self._wanted, False, properties(getattr(sys, "argv", []), self._options["filters"]),
                options.for_recorder(self._options), on_path)
        except BaseException:
            if os.environ.get("PYTHONPATH") != before:
                remove_child_hook()
            raise
        self._is_running = True
        if self._hooks_children:
            atexit.register(restore_environment, before)
        return self

    def stop(self):
        """Stop recording and write everything, in any function and any thread. Returns Recorded, a tuple (events,
        threads, bytes, lost) with names; in a forked child those of the child. Raises RuntimeError when this recorder
        is not running, OSError when the capture could not be written to its end: what was recorded until then is
        kept."""
        if not self._is_running:
            raise RuntimeError("panopticon: this recorder is not running")
        self._is_running = False
        try:
            *totals, overhead, muted = _recorder.stop(self._number)
            return Recorded(totals, self.path, overhead, muted)
        finally:
            if self._hooks_children:    # after the stop: what this calls in os is not in the capture
                remove_child_hook()
                atexit.unregister(restore_environment)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        """Stop, but never raise into the program: a failure to write was reported on standard error."""
        if self._is_running:
            try:
                self.stop()
            except OSError:
                pass


record = Recorder


def pause():
    """Record nothing until resume(), at no cost. Raises RuntimeError when this process is not being recorded."""
    _recorder.pause()


def resume():
    """Record again after pause(), or at last after a paused start. Raises RuntimeError when this process is not being
    recorded."""
    _recorder.resume()


def snapshot(path="run-snapshot.pnr"):
    """Save what this process has recorded up to now and still keeps as a capture of its own, while recording goes on.
    Returns its absolute path. When there is one already, run-snapshot-2.pnr, ... is taken instead.
    Raises OSError when it cannot be written, RuntimeError when this process is not being recorded."""
    return _recorder.snapshot(os.fspath(path))


def __getattr__(name):
    """Return `open` of tables.py, which is imported when it is first asked for (PEP 562). The name is not bound here,
    where `open` is Python's own."""
    if name == "open":
        from . import tables
        return tables.open
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# ---- IPython and Jupyter (notebook.py) ----

def load_ipython_extension(shell):
    """Add the magic %%panopticon to a shell of IPython: what `%load_ext panopticon_rec` calls."""
    from . import notebook
    notebook.load(shell)


def unload_ipython_extension(shell):
    """Remove the magic: what `%unload_ext panopticon_rec` calls."""
    from . import notebook
    notebook.unload(shell)


# ---- interpreters that the program starts (specs/recording.md, section 9) ----
#
# The process that begins the capture leaves in it a file `order`, the payload: how to record. PYTHONPATH brings the
# folder `follow` and an entry that names the capture to each interpreter that is started; sitecustomize.py in that
# folder calls join_parent(), which reads the payload.

PACKAGE = os.path.dirname(os.path.abspath(__file__))
HOOK_FOLDER = os.path.join(PACKAGE, "follow")
HOOK_ENTRY = f"{HOOK_FOLDER}/order-"


def child_hook(recording, hooks_started=True, at_end=()):
    """Return a function that leaves the payload in a capture, given its path. It also makes interpreters that this
    process starts join, by PYTHONPATH, the one variable of the environment that is changed. recording: the options.
    at_end: dict of what this process does at its end."""

    def install(capture):
        by = _recorder.identify()
        fields = [f"{key}={int(value) if isinstance(value, bool) else value}"
                  for key, value in {"by": by, **dict(at_end)}.items() if value is not None]
        payload = "\0".join([*fields, *options.write(recording)]).encode("utf-8", "surrogatepass")
        with open(os.path.join(capture, "order"), "xb", opener=open_for_owner) as file:
            file.write(payload)
        if hooks_started:
            remove_child_hook()
            before = os.environ.get("PYTHONPATH")
            os.environ["PYTHONPATH"] = os.pathsep.join([HOOK_FOLDER, f"{HOOK_ENTRY}{by}-{os.fsencode(capture).hex()}",
                                                        *([before] if before else [])])

    return install


def open_for_owner(path, flags):
    return os.open(path, flags, 0o600)


def remove_child_hook():
    """Restore the value that PYTHONPATH had."""
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    after = [entry for entry in before if not entry.startswith(HOOK_FOLDER)]
    if not after:
        os.environ.pop("PYTHONPATH", None)
    elif after != before:
        os.environ["PYTHONPATH"] = os.pathsep.join(after)


def restore_environment(before):
    """Restore the variable in the C environment, which a later interpreter of this process reads, at the end of this
    one. Call only C functions, since the capture goes on."""
    os.unsetenv("PYTHONPATH") if before is None else os.putenv("PYTHONPATH", before)


def find_hook_entry():
    """Return the entry of PYTHONPATH that names a capture in which this process takes part; or None."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return next((entry for entry in entries if entry.startswith(HOOK_ENTRY)), None)


def parse_hook_entry(entry):
    """Return who left the payload that an entry of PYTHONPATH names, and in which capture."""
    by, _, path = entry.removeprefix(HOOK_ENTRY).rpartition("-")
    return by, os.fsdecode(bytes.fromhex(path))


def read_payload(entry):
    """Return what a capture that an entry of PYTHONPATH names has for processes that join: dict of str to str, with the
    path as `capture` and all options as `recording`. None when the capture is gone, or another one is there now. Raises
    PermissionError, and ValueError or LookupError for a damaged payload."""
    by, capture = parse_hook_entry(entry)
    try:
        with open(os.path.join(capture, "order"), "rb") as file:
            fields = file.read().decode("utf-8", "surrogatepass").split("\0")
    except (FileNotFoundError, NotADirectoryError):
        return None
    pairs = [field.partition("=")[::2] for field in fields]
    payload = {**dict(pairs), "capture": capture}
    return {**payload, "recording": options.read(pairs)} if payload["by"] == by else None


def restore_end(payload):
    """Restore what this process was asked to do at its end, if it has replaced the program that began the capture
    (exec)."""
    if payload["by"] == _recorder.identify() and "tells" in payload:
        _recorder.at_exit(payload["tells"] == "1", find_converter(), payload.get("output"), payload.get("next_step"))


def program_index():
    """Return the index in sys.orig_argv of what the interpreter runs: a script, the module of -m, the command of -c."""
    return len(sys.orig_argv) - len(sys.argv)


MODULES = "panopticon_rec", "panopticon_rec.__main__"


def find_recorder():
    """Return (words, is_path) when this interpreter runs the recorder's command line: the words before its name, which
    are the interpreter and its flags, and whether it is named by its path; else None."""
    index = program_index()
    if index < 1:
        return None
    *before, word = sys.orig_argv[:index + 1]
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


def helper_kind():
    """Return what this interpreter is if it is not one of the program's, but a helper of multiprocessing or loky:
    "resource_tracker", or "forkserver", which only forks the program's; else None."""
    statements = sys.orig_argv[program_index()].split(";")[:2] if sys.argv[0] == "-c" else []   # one may be import sys
    for kind in "resource_tracker", "forkserver":
        for words in map(str.split, statements):
            if words[:1] + words[2:] == ["from", "import", "main"] and words[1].endswith("." + kind):
                return kind
    return None


def join_parent(entry):
    """Record this interpreter, which is about to run its program, as its parent wants it. Returns whether it is
    recorded, or will be in its children. The capture gets a message where it cannot be. Raises ValueError or LookupError
    for a damaged payload, and whatever else _recorder.start raises."""
    kind = helper_kind()
    if kind == "resource_tracker" or IS_BESIDE_MAIN or find_recorder():     # the command line joins by itself
        return False
    try:
        payload = read_payload(entry)
        if not payload:
            return False
        if UNUSABLE:
            return False if "stopped" in payload else leave_message(payload["capture"], UNUSABLE)
        if kind == "forkserver":
            os.register_at_fork(after_in_child=lambda: _recorder.state() != "off" or join_forked(entry))
            return True
        restore_end(payload)
        if "stopped" in payload:
            return False
    except OSError as error:
        return leave_message(parse_hook_entry(entry)[1], error)
    return join_capture(payload, "exec")


def join_forked(entry):
    """Record this process, which a fork server has forked."""
    try:
        payload = read_payload(entry)
        if payload and "stopped" not in payload:
            join_capture(payload, "fork")
    except (OSError, ValueError, LookupError):
        pass                            # the capture is damaged, or gone


def join_capture(payload, start_method):
    """Begin to record this process into the capture of a payload. Returns whether that was possible."""
    recording = payload["recording"]
    try:
        _recorder.start(payload["capture"], True,
                        {**properties(sys.orig_argv[1:], recording["filters"]), "born": start_method},
                        options.for_recorder(recording), None)
    except (OSError, MemoryError, ValueError) as error:
        return leave_message(payload["capture"], error)
    return True


def leave_message(capture, error):
    """Leave a line in the capture: this process is not recorded. The process that began the capture prints it at its
    end, as in recorder/diagnostics.c. Returns False."""
    reason = (f"{error.filename}: {error.strerror}" if getattr(error, "filename", None) else
              str(error).removeprefix("panopticon: ") or "out of memory")
    try:
        with open(os.path.join(capture, "messages"), "ab", opener=open_to_append) as file:
            file.write(f"process {os.getpid()}: not recorded: {reason}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        pass                            # there is nowhere to report it
    return False


def open_to_append(path, flags):
    """Open the file, or make it: O_CREAT on a file of another user may be refused (protected_regular in proc(5))."""
    try:
        return os.open(path, flags & ~os.O_CREAT | os.O_NOFOLLOW)
    except FileNotFoundError:
        return os.open(path, flags | os.O_NOFOLLOW, 0o600)


# ---- a part of a program as a trace ----

class AsyncTracer:
    """Record a part of a program, and give it as Catapult JSON text:

        with AsyncTracer() as at:
            ...
        text = str(at)

    keywords: those of Recorder; calls of C functions are recorded, and child processes are not, unless they say
    otherwise. Needs panopticon-convert. The capture lies in a temporary directory until str() has read it.
    """

    def __init__(self, **keywords):
        self._recorder = self._remove = None
        self._text = ""
        self._keywords = {"c_calls": True, "follow": "none", **keywords}
        options.parse(self._keywords)   # a wrong one is refused here

    def start(self):
        """Start as Recorder.start does, and forget an earlier recording of this tracer. Returns the tracer."""
        self._forget()
        folder = make_folder()
        self._recorder = Recorder(os.path.join(folder, "run.pnr"), **self._keywords)
        self._remove = remover(folder, self._recorder)
        atexit.register(self._remove)
        try:
            self._recorder.start()
        except BaseException:
            self._forget()
            raise
        return self

    def stop(self):
        """Stop as Recorder.stop does."""
        if not self._recorder:
            raise RuntimeError("panopticon: this tracer was not started")
        self._recorder.stop()

    def get_trace(self):
        """Return the trace as text: str(at)."""
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
    """Make a temporary directory, and return its path."""
    name = f"panopticon-{os.getpid()}-{os.urandom(6).hex()}"
    parents = [*filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), "/tmp", "/var/tmp", os.getcwd()]
    for parent in parents:
        folder = os.path.join(os.path.abspath(parent), name)
        try:
            os.mkdir(folder, 0o700)
            return folder
        except OSError:
            if parent is parents[-1]:
                raise


def remover(folder, recorder):
    """Return the function that stops a recorder and removes its directory; it does nothing in a forked child."""
    pid = os.getpid()

    def remove():
        if os.getpid() == pid:
            recorder.__exit__()
            _recorder.remove(folder)

    return remove


def convert(capture):
    """Return the text of a capture's trace, which lies next to the capture meanwhile."""
    converter = find_converter()
    if not converter:
        raise FileNotFoundError(NO_CONVERTER)
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
