"""What __main__.py does: reads the recorder's command line, and runs the program in the place of this one."""

import os
import sys

import panopticon_rec
from panopticon_rec import _recorder, options
from panopticon_rec.options import COMMAND, FILE, MODULE

# Begins the first argument when the command `panopticon` runs this command line (command/record.py). After it stands the
# path of a file, or nothing. That file gets the path of what is recorded, and then the user is shown no next step.
COMMAND_WORD = "--panopticon="

BuiltinImporter = next(finder for finder in sys.meta_path if getattr(finder, "__name__", "") == "BuiltinImporter")


def fail(text):
    sys.stderr.write(f"panopticon: {text}\n")
    sys.exit(2)


def absolute(path):
    """Return the path as the interpreter makes its script's path absolute (Python/fileutils.c, _Py_abspath)."""
    return os.getcwd() if path == "." else os.path.join(os.getcwd(), path)


def check_readable(path):
    """Report a script that cannot be run before anything is recorded."""
    try:
        if os.path.isfile(path):        # a pipe is read once
            open(path, "rb").close()
        else:
            os.stat(path)
    except OSError as error:
        fail(f"can't open file {path!r}: [Errno {error.errno}] {error.strerror}")


def choose_paths(path):
    """Return (capture, output), given the path of --output. output: what the capture is converted to at the end of the
    program, or None."""
    if not path:
        fail("-o needs a path")
    name, suffix = os.path.splitext(path)
    if not (name if suffix in options.COMPRESSED_SUFFIXES else path).endswith(options.CONVERTED_SUFFIXES):
        return path, None
    folder = os.path.dirname(path) or os.curdir
    if os.path.isdir(path) or not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        fail(f"{path}: cannot be written; choose another path with -o")
    return path + ".pnr", os.path.abspath(path)


def find_joined(wanted):
    """Return the payload of the recording in which this process takes part, if a command line with the same path has
    begun it: then this is that command line once more, which a program has run to start itself again. Else return
    None."""
    entry = panopticon_rec.find_hook_entry()
    try:
        payload = panopticon_rec.read_payload(entry) if entry else None
    except (OSError, ValueError, LookupError):
        return None
    return payload if payload and payload.get("wanted") == wanted else None


def set_up_as_main(kind, target, argv, loaded_before):
    """Make sys and __main__ what they are when the interpreter starts the program itself. loaded_before: the names of the
    modules that there were before the recorder's."""
    is_archive = kind == FILE and (os.path.isdir(target) or is_importable(target))
    before, is_path = panopticon_rec.find_recorder() or (None, False)   # None: a program runs this module (runpy)
    is_folder = is_path and os.path.isdir(sys.orig_argv[panopticon_rec.program_index()])
    has_own_entry = not sys.flags.safe_path or is_folder        # sys.path[0] is the recorder's, or that of -m
    if kind != MODULE or is_path:       # else sys.path is right already
        del sys.path[:has_own_entry]
        if is_archive:
            sys.path.insert(0, target)
        elif not sys.flags.safe_path:
            sys.path.insert(0, os.path.dirname(os.path.realpath(target)) if kind == FILE else
                            os.getcwd() if kind == MODULE else "")
    if before:
        sys.orig_argv[:] = before + argv
    sys.argv[:] = [argv[0], *argv[2:]] if kind in (MODULE, COMMAND) else argv
    unload(loaded_before, bool(before), ["linecache"] if kind == COMMAND and sys.version_info >= (3, 13) else [])
    main = type(sys)("__main__")
    import builtins
    annotations = {"__annotations__": {}} if sys.version_info < (3, 14) else {}
    main.__dict__.update(__loader__=BuiltinImporter, **annotations, __builtins__=builtins)
    sys.modules["__main__"] = main


def is_importable(path):
    """Return whether the interpreter takes the path as an entry of sys.path: a zip file."""
    for hook in sys.path_hooks:
        try:
            hook(path)
            return True
        except ImportError:
            pass
    return False


def prepare_command(command):
    """Return the text of -c as the interpreter prepares it (Modules/main.c, pymain_run_command). From 3.14 on it
    removes the indentation that all lines share. From 3.13 on tracebacks show its lines, which linecache knows."""
    if sys.version_info >= (3, 14):
        import textwrap
        command = textwrap.dedent(command)
    if sys.version_info >= (3, 13):
        import linecache
        import warnings
        with warnings.catch_warnings():         # of the compiler, which repeats them
            warnings.simplefilter("ignore")
            try:
                code = compile(command, "<string>", "exec")
                key = code if hasattr(linecache, "_interactive_cache") else "<string>"      # 3.13.0
                linecache._register_code(key, command, "<string>")
            except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
                pass                            # running the text reports it
    return command


def unload(loaded_before, by_interpreter, but):
    """Remove from sys.modules what was imported for the recorder, also by -m: the program finds the modules that it
    would find without the recorder, and its own imports are in the capture. The last module that any program has is
    site, or __main__ where there is no site (-S). by_interpreter: no program, which has modules of its own, runs this
    one. but: names to keep."""
    last = "site" if "site" in loaded_before else "__main__"
    before = loaded_before[loaded_before.index(last) + 1:] if by_interpreter else []
    for name in [*before, *(set(sys.modules) - set(loaded_before))]:
        if name.partition(".")[0] != "panopticon_rec" and name not in but:
            sys.modules.pop(name, None)


def standard_library():
    """Return the entries of sys.path from which the recorder imports: modules of the same names may be the program's
    own."""
    folder = os.path.dirname(os.__file__)
    return [folder, *(entry for entry in sys.path if os.path.basename(entry) == "lib-dynload")]


class Plan:
    """What the command line asks for."""

    def __init__(self, words):
        self.is_for_command = bool(words) and words[0].startswith(COMMAND_WORD)
        self.note = words.pop(0).removeprefix(COMMAND_WORD) if self.is_for_command else ""
        try:
            given, self.kind, self.target, arguments = options.parse_command_line(words)
            if self.kind is None:
                self.print_and_exit(given)
            self.recording = options.parse({name: given[name] for name in options.KEYWORDS if name in given}, "--")
        except (options.UsageError, ValueError) as error:
            fail(error)
        if panopticon_rec.UNUSABLE:
            fail(panopticon_rec.UNUSABLE)
        if self.kind == FILE:
            check_readable(self.target)
        flag = {MODULE: ["-m"], COMMAND: ["-c"]}.get(self.kind, [])
        self.argv = [*flag, self.target, *arguments]
        self.properties = panopticon_rec.properties(self.argv, self.recording["filters"])
        self.joined = self.on_path = None
        self.capture, output = choose_paths(given["output"])
        is_quiet = "quiet" in given
        if _recorder.state() != "off":
            if not is_quiet:
                sys.stderr.write(f"panopticon: this process is being recorded already: no {given['output']} is made\n")
            return
        wanted = os.path.abspath(given["output"])
        self.joined = find_joined(wanted)
        if self.joined:
            self.join()
        else:
            self.begin(is_quiet, "force" in given, wanted, output)

    @staticmethod
    def print_and_exit(given):
        version = f"panopticon_rec {panopticon_rec.__version__}\n"
        sys.stdout.write(options.format_help(given["help"] == "short") if "help" in given else version)
        sys.exit()

    def join(self):
        """Take part in the recording that this command line has begun, with the options of that one."""
        self.capture, self.recording = self.joined["capture"], self.joined["recording"]
        self.properties["born"] = "exec"
        panopticon_rec.restore_end(self.joined)

    def begin(self, is_quiet, replaces, wanted, output):
        """Prepare a new capture, and what happens with it at the end."""
        converter = panopticon_rec.find_converter() if output else None
        if output and not converter:
            fail(f"{panopticon_rec.NO_CONVERTER}: record into a .pnr instead")
        try:
            self.capture, output = _recorder.choose_destination(self.capture, output, replaces)
        except ValueError as error:
            fail(error)
        next_step = self.choose_next_step(output)
        _recorder.at_exit(not is_quiet, converter, output, next_step)
        hooks_started = options.records_started(self.recording)
        hook = None
        if output or hooks_started:
            hook = panopticon_rec.child_hook(self.recording, hooks_started, {
                "output": output, "tells": not is_quiet, "wanted": wanted, "next_step": next_step})
        self.on_path = note_path(self.note, output, hook) if self.note else hook

    def choose_next_step(self, output):
        """Return what _recorder.at_exit is to suggest."""
        if not self.is_for_command:
            return None
        is_shown = not output or options.is_viewable(output)
        return "panopticon view" if is_shown and not self.note else ""

    def run(self):
        return _recorder.run(self.kind, self.target, self.capture, self.joined is not None, self.properties,
                             options.for_recorder(self.recording), self.on_path)


def note_path(note, output, hook):
    """Return a function that is called with the path of the capture: it writes where the program's recording is to be
    found into the file note, and then calls hook, if that is not None."""
    def write(capture):
        with open(note, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(output or capture)
        if hook:
            hook(capture)

    return write


def main(loaded_before):
    """Run the command line. Returns the exit status, 0 also where the interpreter goes on to its prompt. loaded_before:
    the names of the modules that were loaded before those of the recorder."""
    path = sys.path[:]
    sys.path[:] = standard_library()
    try:
        plan = Plan(sys.argv[1:])
        if plan.kind == FILE:
            plan.target = absolute(plan.target)
        elif plan.kind == COMMAND:
            plan.target = prepare_command(plan.target)
    finally:
        sys.path[:] = path
    set_up_as_main(plan.kind, plan.target, plan.argv, loaded_before)
    try:
        return plan.run()
    except (RuntimeError, ValueError) as error:
        fail(str(error).removeprefix("panopticon: "))
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        fail(f"{text}; choose another path with -o")
    except MemoryError:
        fail("out of memory")
