"""panopticon attach and detach: have a running process record itself, from some time on and up to some time.

The process imports the recorder from a folder, begins to record by its interface for programs, and answers by a file in a
private folder (panopticon_rec/attachment.py). How code gets into the process: target/.
"""

import contextlib
import glob
import os
import signal
import sys
import time

import panopticon_rec
from panopticon_rec import options
from panopticon_rec.command_line import choose_paths

from . import SUBCOMMANDS, fail, find_converter, printable, target
from .files import find_number
from .target import Refused, Target
from .target.capture import Capture
from .target.image import strip_root

FORKING = "forking"     # an answer: nothing was done, as the process is in os.fork
GRACE = 2               # seconds between the end of a recording and that of the process

# The process runs this. It finds the recorder without a change of sys.path, which other threads use, and imports nothing
# but what is part of the interpreter. The program's main thread runs it, so that an exception of a signal's handler ends up
# here: then what was interrupted is done once more, and the program gets the exception afterwards (_recorder.raise_after).
# A recording does not begin in a function that os.fork calls (os.register_at_fork): from CPython 3.12 on os.fork warns when
# it then finds a thread. Such a function's caller stands at a call of what is named so: the instruction before has loaded
# that (Python/bytecodes.c).
ENTRY = """
import sys

def answer(folder, text):
    posix = sys.modules["posix"]
    try:
        number = posix.open(folder + "/answer.new", posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC, 0o600)
        try:
            posix.write(number, text.encode("utf-8", "surrogateescape"))
        finally:
            posix.close(number)
        posix.rename(folder + "/answer.new", folder + "/answer")
    except (OSError, ValueError):                   # a full disk: this name needs no room
        posix.rename(folder + "/begun", folder + "/answer")

def find_code(handler):
    handler = getattr(handler, "func", handler)     # functools.partial
    return getattr(handler, "__code__", None) or getattr(getattr(type(handler), "__call__", None), "__code__", None)

def is_from_handler(error):
    signals = __import__("_signal")
    handlers = [find_code(signals.getsignal(one)) for one in signals.valid_signals()]
    at = error.__traceback__
    while at and at.tb_frame.f_code not in handlers:
        at = at.tb_next
    error.__traceback__ = at if at else error.__traceback__     # without this script
    return at is not None or isinstance(error, (KeyboardInterrupt, SystemExit))

def describe(error):
    if isinstance(error, RecursionError):
        return "recursion"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return "failed " + str(error.filename) + ": " + error.strerror
    return "failed " + (str(error).removeprefix("panopticon: ") or type(error).__name__)

def is_forking(frame):
    while frame.f_back:
        frame = frame.f_back
        names, code, at = frame.f_code.co_names, frame.f_code.co_code, frame.f_lasti
        for name in {"fork", "forkpty"}.intersection(names):
            number = names.index(name)
            for end in at, at - 2:              # before CALL, and PUSH_NULL
                for n_caches in 9, 4:           # of LOAD_ATTR, as in os.fork(), and LOAD_GLOBAL; all are 0
                    begin = end - 2 * n_caches
                    is_load = begin > 1 and code[begin - 2] and not any(code[begin:end]) and not any(code[end + 1:at])
                    if is_load and code[begin - 1] in (2 * number & 255, 2 * number + 1 & 255):
                        return True
    return False

def load(package, version):
    if "panopticon_rec" not in sys.modules:
        loaded = "atexit" in sys.modules
        spec = sys.modules["_frozen_importlib_external"].spec_from_file_location(
            "panopticon_rec", package + "/__init__.py", submodule_search_locations=[package])
        sys.modules["_frozen_importlib"]._load(spec)
        if not loaded:
            sys.modules.pop("atexit", None)
    module = sys.modules["panopticon_rec"]
    if module.__version__ != version:
        raise ImportError("it has loaded panopticon_rec " + module.__version__ + ", and this is " + version)
    if "panopticon_rec.attachment" not in sys.modules:      # the import system's functions would be recorded
        import panopticon_rec.attachment
    return sys.modules["panopticon_rec.attachment"]

def is_wanted(folder, is_repeated):
    posix = sys.modules["posix"]
    try:
        posix.rename(folder + "/wanted", folder + "/begun")
    except FileNotFoundError:
        return is_repeated and posix.access(folder + "/begun", posix.F_OK)
    return True

def perform(folder, package, version, name, arguments):
    try:
        if name == "start" and is_forking(sys._getframe()):
            return "forking"
        return "done " + str(getattr(load(package, version), name)(*arguments))
    except BaseException as error:
        if is_from_handler(error):
            raise
        return describe(error)

def enter(raised, pid, folder, package, version, name, *arguments):
    if sys.modules["posix"].getpid() != pid:        # a child that was forked meanwhile
        return
    text = None
    for _ in range(100):
        try:
            if text is None and not is_wanted(folder, bool(raised)):
                return
            text = text or perform(folder, package, version, name, arguments)
            sys.path_importer_cache.pop(package, None)
            answer(folder, text)
            return
        except BaseException as error:
            if not is_from_handler(error):          # the command has gone, with its folder
                return
            raised.append(error)

def deliver(error):
    module = sys.modules.get("panopticon_rec")
    script = sys._getframe()
    while script.f_back and script.f_globals is globals():
        script = script.f_back
    return bool(module and module._recorder and module._recorder.raise_after(script, error))
"""

LAST_LINES = """
enter(raised, %s)
left = [one for one in raised if is_from_handler(one) and not deliver(one)]
raised.clear()
"""

# What runs ENTRY, again when the handler of a signal has interrupted that. From CPython 3.14 on what it raises is printed.
# Before that it is raised in the program: then that gets it also when the recorder cannot be loaded. At the end nothing is
# left for the garbage collector, which may not come for long.
WRAPPER = """
names = {{"raised": []}}
for _ in range(100):
 try:
  __import__("builtins").exec(__import__("builtins").compile({entry!a}, {file!a}, "exec"), names)
  break
 except BaseException as error:
  names["raised"].append(error)
left = names.get("left")
names.clear()
"""
RAISING_WRAPPER = WRAPPER + """
if left:
 raise left.pop()
"""


def main(words):
    """Attach, wait until the recording ends, and return the exit status."""
    given, pid = parse("attach", words)
    if pid is None:
        return print_help("attach", given)
    keywords = {name: given[name] for name in options.KEYWORDS if name in given}
    try:
        options.parse(keywords, "--")
        duration = options.parse_duration(given["for"]) / 1e9 if "for" in given else None
    except (TypeError, ValueError) as error:
        fail(error)
    capture, trace = choose_paths(given.get("output", options.FLAGS["--output"].default))
    converter = trace and find_converter()
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, interrupt)
    with Attachment(pid, given.get("library")) as attachment:
        path = attachment.place(capture, is_wanted="output" in given and not trace)
        if trace:
            attachment.watch_for_capture(path)
        with contextlib.suppress(KeyboardInterrupt):
            attachment.begin(path, keywords)
            if "quiet" not in given:
                sys.stderr.write(f"panopticon: process {pid} is being recorded into {attachment.shown}: Ctrl-C ends it\n")
            attachment.wait(duration)
        totals = attachment.end()
        if "quiet" not in given:
            attachment.report(totals)
        if converter and not attachment.convert(converter, trace):
            return 2
        shown = given["output"] if trace else attachment.shown
        if "quiet" not in given and (not trace or options.is_viewable(trace)):
            sys.stderr.write(f"panopticon view {shown}\n")
    return 0


def detach(words):
    """End what attach has begun in a process. Returns the exit status."""
    given, pid = parse("detach", words)
    if pid is None:
        return print_help("detach", given)
    with Attachment(pid, given.get("library")) as attachment:
        n_stopped = attachment.call("stop")
    if n_stopped == "0":
        fail(f"no command attach is recording process {pid}")
    return 0


def interrupt(number, frame):
    raise KeyboardInterrupt


# ---- the command line ----

def flags_of(name):
    row = SUBCOMMANDS[name]
    own = {f"--{option.name}": option for option in row.options}
    return {**own, **(options.FLAGS if row.takes else {flag: options.FLAGS[flag] for flag in ("-h", "--help", "--version")})}


def parse(name, words):
    """Return (given, pid) of a command line. pid: None when only help or the version is wanted."""
    given, rest = {}, list(words)
    try:
        kinds = [options.take_options(rest, given, flags_of(name))]
        if given.get("help") or given.get("version"):
            return given, None
        pid = rest.pop(0) if rest else ""
        kinds.append(options.take_options(rest, given, flags_of(name)))
    except options.UsageError as error:
        fail(error)
    if not is_number(pid) or rest or kinds != [options.FILE] * 2:
        fail(f"give the id of one process: panopticon {name} {SUBCOMMANDS[name].usage}")
    if "force" in given:
        fail("--force has no meaning here: where there is a capture, the next free name is taken")
    return given, int(pid)


def is_number(text):
    return text.isascii() and text.isdigit()


def print_help(name, given):
    if "help" not in given:
        sys.stdout.write(f"panopticon {panopticon_rec.__version__}\n")
        return 0
    row = SUBCOMMANDS[name]
    rows = sorted(flags_of(name).values(), key=lambda one: options.GROUPS.index(one.group))
    rows = [one for at, one in enumerate(rows) if one not in rows[:at] and one.name != "force"]
    sys.stdout.write(options.format_help(given["help"] == "short", f"usage: panopticon {name} {row.usage}",
                                         f"{row.help[:1].upper()}{row.help[1:]}.", rows))
    return 0


# ---- the recording in the other process ----

class Attachment:
    """A process that this command enters, as a context. The folder for its answers is removed at the end."""

    def __init__(self, pid, library):
        try:
            self.target = Target(pid)
            self.package = self.find_library(library)
            self.folder = self.target.make_folder()
        except Refused as error:
            fail(error)
        except (FileNotFoundError, ProcessLookupError):
            fail(f"process {pid} has ended")
        self.shown = self.shown_root = ""
        self.capture = None     # Capture, when it is to be converted
        self.live = None        # path here of the process's live mapping in the capture, if it has one of its own
        self.was_live = 0       # when the recording was last known to go on, of time.monotonic

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.folder.remove()

    def find_library(self, library):
        """Return the folder of the recorder that fits the process, as that names it."""
        image, root = self.target.image, self.target.root
        parents = [os.path.abspath(library)] if library else [os.path.dirname(panopticon_rec.PACKAGE), *self.find_packages()]
        extension = f"_recorder{image.suffix}"
        for parent in map(os.path.realpath, parents):
            package = os.path.join(parent, "panopticon_rec")
            if os.path.exists(f"{root}{package}/{extension}"):
                return package
        here = any(os.path.exists(os.path.join(parent, "panopticon_rec", extension)) for parent in parents)
        wanted = f"Python 3.{image.minor} ({image.suffix.removeprefix('.').removesuffix('.so')})"
        where = f"in {library}" if library else "here, nor where that Python looks"
        if here:
            fail(f"process {self.target.pid} does not see {parents[0]}, as it has another root directory: install "
                 "panopticon-rec there, and give its folder by --library")
        fail(f"there is no panopticon_rec for {wanted} {where}: install panopticon-rec for it, and give the folder "
             "by --library")

    def find_packages(self):
        """Return folders of packages that the process's interpreter has, by the place of its program and its library."""
        program = strip_root(self.target.pid, os.readlink(f"/proc/{self.target.pid}/exe"))
        prefixes = [os.path.dirname(os.path.dirname(path)) for path in (
            self.target.image.path, program, *self.read_command())]
        return [f"{prefix}/{lib}/python3{version}/{name}" for prefix in dict.fromkeys(prefixes)
                for lib in ("lib", "lib64", "local/lib") for version in (f".{self.target.image.minor}", "")
                for name in ("site-packages", "dist-packages") if os.path.isabs(prefix)]

    def read_command(self):
        """Return the path by which the process was started, which may lie in a virtual environment."""
        with open(f"/proc/{self.target.pid}/cmdline", "rb") as file:
            return [os.fsdecode(file.read().partition(b"\0")[0])]

    def place(self, capture, is_wanted):
        """Return where the capture goes, as the process names it. is_wanted: it goes to no other folder there."""
        path, root = os.path.abspath(capture), self.target.root
        folder = os.path.dirname(path)
        is_same = os.path.isdir(root + folder) and os.path.isdir(folder) and os.path.samefile(folder, root + folder)
        if not is_same and not is_wanted:
            path = f"/tmp/{os.path.basename(path)}"
        self.shown_root = "" if is_same else root
        return path

    def watch_for_capture(self, path):
        """Prepare to convert the capture that the process makes at this path."""
        try:
            self.capture = Capture(path, self.shown_root, self.target.owner)
        except OSError as error:
            fail(f"{os.path.dirname(path)}: {error.strerror}")

    def call(self, name, *arguments):
        """Have the process call a function of panopticon_rec.attachment. Returns its value as text. Ends with a line when it
        was not called or has raised."""
        file = os.path.join(self.package, "attachment.py")
        entry = ENTRY + LAST_LINES % ", ".join(map(ascii, (
            self.target.inner_pid, self.folder.path, self.package, panopticon_rec.__version__, name, *arguments)))
        code = (RAISING_WRAPPER if self.target.image.minor < 14 else WRAPPER).format(entry=entry, file=file)
        end, n_vain = time.monotonic() + target.debugger.PATIENCE, 0
        while True:
            try:
                with self.target:
                    kind, _, text = self.target.run(code, file, self.folder, self.report_wait).partition(" ")
            except Refused as error:
                fail(error)
            if kind == "done":
                return text
            if not kind:
                fail(f"process {self.target.pid} cannot write its answer into {self.folder.path}: is the disk full? When "
                     f"it is recorded, panopticon detach {self.target.pid} ends that")
            if kind == "failed":
                fail(f"process {self.target.pid}: {text}")
            n_vain += kind == target.NOT_RUN
            if kind == target.NOT_RUN and (time.monotonic() > end or n_vain == target.MAX_VAIN):
                fail(f"process {self.target.pid} has run nothing: it is at its recursion limit, out of memory, or has an audit "
                     "hook that forbids it: try again")
            if time.monotonic() > end and kind == FORKING:
                fail(f"process {self.target.pid}: it forks all the time: try again")
            if time.monotonic() > end:
                fail(f"process {self.target.pid}: signals interrupt it: try again")
            time.sleep(0.05)

    def report_wait(self):
        sys.stderr.write(f"panopticon: the main thread of process {self.target.pid} is in C code or waits: it is entered when it "
                         "runs Python code again\n")

    def begin(self, path, keywords):
        try:
            taken = self.call("start", self.folder.path, path, keywords)
        except KeyboardInterrupt:
            self.folder.withdraw()
            if self.folder.has_begun() and not self.target.find_end():
                self.undo_begin()
            fail(f"process {self.target.pid} is not recorded")
        if not find_number(taken, path) or self.capture and not self.capture.take(taken):
            self.call("stop", self.folder.path)
            fail(f"process {self.target.pid} has recorded into another capture than it was asked for: {taken}")
        is_below = not self.shown_root and taken.startswith(os.path.join(os.getcwd(), ""))
        self.shown = printable(os.path.relpath(taken) if is_below else self.shown_root + taken)
        here = glob.escape(self.shown_root + taken)
        self.live = next(glob.iglob(f"{here}/process-{self.target.inner_pid}*/live"), None)

    def undo_begin(self):
        """End the recording that the process has begun, or is about to begin."""
        try:
            self.target.wait_for_answer(self.folder)
        except Refused as error:
            fail(error)
        self.call("stop", self.folder.path)

    def wait(self, duration):
        """Wait until the recording ends, or for that many seconds; None: however long it takes."""
        end = time.monotonic() + duration if duration is not None else None
        while not self.is_over():
            left = 0.05 if end is None else min(0.05, end - time.monotonic())
            if left <= 0:
                break
            time.sleep(left)

    def is_over(self):
        """Return whether the recording has ended: with the process, by detach, or otherwise, such as by panopticon ctl. Then
        the live mapping has gone from the capture, as it also goes when the process is about to end."""
        has_gone = self.live and os.path.isdir(os.path.dirname(self.live)) and not os.path.exists(self.live)
        if not has_gone:
            self.was_live = time.monotonic()
        return bool(self.target.find_end() or self.read_totals() or time.monotonic() > self.was_live + GRACE)

    def end(self):
        """End the recording, if it goes on: the one place that does so from outside. Returns its totals: words; None when
        something else has ended it."""
        try:
            if not self.is_over():
                self.call("stop", self.folder.path)
        except (SystemExit, KeyboardInterrupt):
            if not self.target.find_end():
                sys.stderr.write(f"panopticon: process {self.target.pid} is still being recorded: panopticon detach "
                                 f"{self.target.pid} ends it\n")
                raise
        if not self.shown:
            fail(f"process {self.target.pid} is not recorded")
        return self.read_totals()

    def read_totals(self):
        words = (self.folder.read("stopped") or "").split()
        return words if len(words) == 4 and all(map(is_number, words)) else None

    def report(self, totals):
        if totals:
            n_events, n_threads, n_bytes, n_lost = map(int, totals)
            sys.stderr.write(f"panopticon: {self.shown}: {n_events:,} events, {n_threads} thread{'s' * (n_threads != 1)}, "
                             f"{n_bytes:,} bytes, {n_lost} lost\n")
        elif end := self.target.find_end():
            sys.stderr.write(f"panopticon: process {self.target.pid} {end}: {self.shown}\n")
        else:
            sys.stderr.write(f"panopticon: process {self.target.pid} is not recorded any more: {self.shown}\n")

    def convert(self, converter, trace):
        """Convert the capture to a trace, and remove it when nothing more comes into it. Returns whether there is a trace; the
        converter has reported what was wrong."""
        if not self.capture.is_there():
            sys.stderr.write(f"panopticon: {self.shown} has been moved or removed: no trace is made\n")
            return False
        try:
            status = self.capture.convert(converter, trace)
        except OSError as error:
            fail(f"{converter}: {error.strerror}")
        except KeyboardInterrupt:
            status = None
        if status == 0 and not self.capture.is_recorded_into() and self.capture.is_there():
            self.capture.remove()
        else:
            sys.stderr.write(f"panopticon: the capture is kept: {self.shown}\n")
        return status in (0, 1)
