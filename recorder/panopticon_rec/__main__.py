"""The command line: python3 -m panopticon_rec [options] (FILE | -m MODULE | -c COMMAND | -) [ARGS...]"""

import sys

LOADED_BEFORE = list(sys.modules)

import os

import panopticon_rec
from panopticon_rec import _recorder

FILE, MODULE, COMMAND, STDIN = range(4)
BuiltinImporter = next(finder for finder in sys.meta_path if getattr(finder, "__name__", "") == "BuiltinImporter")

EPILOG = """
Everything behind FILE or MODULE belongs to the program. Behind COMMAND, options of the recorder may still follow;
-- ends them. The capture is read with: panopticon-convert run.pnr
Exit status: the program's; 2 when it was not run.
"""

# What convert/main.c knows.
CONVERTED = (".trace", ".json", ".pftrace", ".perfetto-trace", ".folded", ".pstats", ".prof")


def parse(arguments):
    """Returns (options, kind, target, arguments of the program)."""
    import argparse
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("-o", "--output", metavar="PATH", default="run.pnr",
                         help="where the capture goes [run.pnr; run-2.pnr, ... when it is taken]; "
                              "a PATH that ends as what panopticon-convert writes (.trace, .json, .pftrace, "
                              ".perfetto-trace, .folded, .pstats, .prof, and with .gz or .zst behind it) gets that "
                              "instead")
    options.add_argument("-q", "--quiet", action="store_true", help="no line on standard error at the end")
    options.add_argument("--c-calls", action="store_true", help="record calls of C functions, too")
    options.add_argument("--engine", choices=["frame", "monitoring"],
                         help="where events come from: the fastest that this Python has, or monitoring (3.12 and later)")
    options.add_argument("--include", metavar="GLOB", dest="filters", action="append", type="include {}".format,
                         help="record functions whose module name or file path matches, and no others if this comes "
                              "before any --exclude")
    options.add_argument("--exclude", metavar="GLOB", dest="filters", action="append", type="exclude {}".format,
                         help="do not record them; of all these options the last one that matches a function decides")
    options.add_argument("--no-stdlib", dest="filters", action="append_const", const="no-stdlib",
                         help="do not record functions of the standard library")
    options.add_argument("--no-frozen", dest="filters", action="append_const", const="no-frozen",
                         help="do not record functions of frozen modules")
    options.add_argument("--min-duration", metavar="TIME", default="0s",
                         help="leave out calls that are shorter, such as 20us (ns, us, ms, s)")
    options.add_argument("--max-size", metavar="SIZE", default="0",
                         help="the capture takes no more, such as 2G (k, M, G, T); the oldest data goes first")
    options.add_argument("--last", metavar="TIME", default="0s",
                         help="keep at least the last TIME, such as 30s (ns, us, ms, s, min, h), and drop what is older")
    options.add_argument("--when-full", choices=["wait", "drop"], default="wait",
                         help="when the disk is too slow: let the program wait, or lose events and count them [wait]")
    options.add_argument("--follow", choices=["all", "fork", "none"], default="all",
                         help="record child processes, too: all; only those that are forked; none [all]")
    options.add_argument("--start-paused", action="store_true",
                         help="record nothing before panopticon_rec.resume() or the signal of --toggle-on")
    options.add_argument("--toggle-on", metavar="SIGNAL", help="a signal that pauses and resumes, such as SIGUSR1")
    options.add_argument("--snapshot-on", metavar="WHEN", action="append", default=[],
                         help="SIGNAL, such as SIGUSR2, or exception (that ends the program or a thread): save a snapshot "
                              "beside the capture; may be given for both")
    options.add_argument("--force", action="store_true", help="replace a capture that is there, if no process uses it")
    parser = argparse.ArgumentParser(
        prog="python3 -m panopticon_rec", parents=[options], allow_abbrev=False, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter, description="Record a Python program.",
        usage="python3 -m panopticon_rec [options] (FILE | -m MODULE | -c COMMAND | -) [ARGS...]")
    parser.add_argument("--version", action="version", version=f"panopticon_rec {panopticon_rec.__version__}")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help="MODULE [ARGS]: run a module as a program")
    what.add_argument("-c", dest="command", nargs=argparse.REMAINDER, help="COMMAND [ARGS]: run a command")
    parser.add_argument("file", nargs=argparse.REMAINDER, metavar="FILE",
                        help="a script, or a folder or zip file with __main__.py; - is standard input")
    parser.error = options.error = fail         # one line
    args = parser.parse_args(arguments)
    if args.command is not None:
        kind, rest = COMMAND, args.command + args.file      # argparse gives a -- and what follows to the latter
    elif args.module is not None:
        kind, rest = MODULE, args.module + args.file
    else:
        kind, rest = FILE, args.file[args.file[:1] == ["--"]:]
    if not rest:
        parser.error("nothing to run: give a FILE, -m MODULE, -c COMMAND or -")
    target, *rest = rest
    if kind == COMMAND:
        own = 0
        actions = options._option_string_actions
        while own < len(rest) and rest[own] in actions:
            own += 1 if actions[rest[own]].nargs == 0 else 2
        options.parse_args(rest[:own], namespace=args)
        rest = rest[own + 1:] if rest[own:own + 1] == ["--"] else rest[own:]
    elif kind == FILE and target == "-":
        kind = STDIN
    return args, kind, target, rest


def fail(text):
    sys.stderr.write(f"panopticon: {text}\n")
    sys.exit(2)


def absolute(path):
    """As the interpreter makes its script's path absolute (Python/fileutils.c, _Py_abspath): no more is changed."""
    return os.getcwd() if path == "." else os.path.join(os.getcwd(), path)


def check_readable(path):
    """A script that cannot be run is told before anything is recorded."""
    try:
        if os.path.isfile(path):        # a pipe is read once
            open(path, "rb").close()
        else:
            os.stat(path)
    except OSError as error:
        fail(f"can't open file {path!r}: [Errno {error.errno}] {error.strerror}")


def choose_paths(args):
    """Returns (capture, output): output is what to make of it when the program has ended, or None."""
    if not args.output:
        fail("-o needs a path")
    name, suffix = os.path.splitext(args.output)
    if (name if suffix in (".gz", ".zst") else args.output).endswith(CONVERTED):
        folder = os.path.dirname(args.output) or os.curdir
        if os.path.isdir(args.output) or not os.path.isdir(folder) or not os.access(folder, os.W_OK):
            fail(f"{args.output}: cannot be written; choose another path with -o")
        return args.output + ".pnr", os.path.abspath(args.output)
    return args.output, None


def find_joined(wanted):
    """The order of the recording in which this process takes part, if it was begun by a command line that names the same
    path: this is that command line once more, which a program has run to start itself again."""
    entry = panopticon_rec.find_order()
    try:
        order = panopticon_rec.read_order(entry) if entry else None
    except (OSError, ValueError, LookupError):
        return None
    return order if order and order.get("wanted") == wanted else None


def set_up_as_main(kind, target, argv):
    """Makes sys and __main__ what they are when the interpreter starts the program itself."""
    is_archive = kind == FILE and (os.path.isdir(target) or is_importable(target))
    before, is_path = panopticon_rec.find_recorder() or (None, False)   # None: a program runs this module (runpy)
    is_folder = is_path and os.path.isdir(sys.orig_argv[panopticon_rec.program_at()])
    has_place = not sys.flags.safe_path or is_folder    # sys.path[0] is ours, or -m's
    if kind != MODULE or is_path:       # else it is what it is to be
        del sys.path[:has_place]
        if is_archive:
            sys.path.insert(0, target)
        elif not sys.flags.safe_path:
            sys.path.insert(0, os.path.dirname(os.path.realpath(target)) if kind == FILE else
                            os.getcwd() if kind == MODULE else "")
    if before:
        sys.orig_argv[:] = before + argv
    sys.argv[:] = [argv[0], *argv[2:]] if kind in (MODULE, COMMAND) else argv
    unload(bool(before), ["linecache"] if kind == COMMAND and sys.version_info >= (3, 13) else [])
    main = type(sys)("__main__")
    import builtins
    annotations = {"__annotations__": {}} if sys.version_info < (3, 14) else {}
    main.__dict__.update(__loader__=BuiltinImporter, **annotations, __builtins__=builtins)
    sys.modules["__main__"] = main


def is_importable(path):
    """True for what the interpreter takes as an entry of sys.path: a zip file."""
    for hook in sys.path_hooks:
        try:
            hook(path)
            return True
        except ImportError:
            pass
    return False


def prepare_command(command):
    """What the interpreter does with the text behind -c before it runs it: from 3.14 on it takes the indentation away that
    all lines share; from 3.13 on tracebacks show its lines, for which it has linecache (Modules/main.c,
    pymain_run_command)."""
    if sys.version_info >= (3, 14):
        import textwrap
        command = textwrap.dedent(command)
    if sys.version_info >= (3, 13):
        import linecache
        import warnings
        with warnings.catch_warnings():         # of the compiler, which will tell them again
            warnings.simplefilter("ignore")
            try:
                code = compile(command, "<string>", "exec")
                key = code if hasattr(linecache, "_interactive_cache") else "<string>"      # 3.13.0
                linecache._register_code(key, command, "<string>")
            except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
                pass                            # which will be told again
    return command


def unload(by_interpreter, but):
    """Takes out of sys.modules what was loaded for us, by -m too: the program finds the modules that it would find
    without us, and its own imports are in the capture. The last module that any program has is site, or __main__ where
    there is no site (-S). by_interpreter: this is not run by a program, which has modules of its own."""
    last = "site" if "site" in LOADED_BEFORE else "__main__"
    before = LOADED_BEFORE[LOADED_BEFORE.index(last) + 1:] if by_interpreter else []
    for name in [*before, *(set(sys.modules) - set(LOADED_BEFORE))]:
        if name.partition(".")[0] != "panopticon_rec" and name not in but:
            sys.modules.pop(name, None)


def standard_library():
    """The part of sys.path in which the modules lie that we import: those of the program's that have the same names are its
    own business."""
    folder = os.path.dirname(os.__file__)
    return [folder, *(entry for entry in sys.path if os.path.basename(entry) == "lib-dynload")]


class Plan:
    """What the command line asks for."""

    def __init__(self, words):
        args, self.kind, self.target, arguments = parse(words)
        if panopticon_rec.UNUSABLE:
            fail(panopticon_rec.UNUSABLE)
        filters = args.filters or []
        try:
            self.options = panopticon_rec.options(args.c_calls, args.engine, filters, args.min_duration, args.max_size,
                                                  args.last, args.when_full, args.follow, args.start_paused,
                                                  args.snapshot_on, args.toggle_on)
        except ValueError as error:
            fail(error)
        if self.kind == FILE:
            check_readable(self.target)
        flag = {MODULE: ["-m"], COMMAND: ["-c"]}.get(self.kind, [])
        self.properties = panopticon_rec.properties([*flag, self.target, *arguments], filters)
        self.argv = [*flag, self.target, *arguments]
        self.joined = self.lead = None
        self.capture, output = choose_paths(args)
        if _recorder.state() != "off":
            if not args.quiet:
                sys.stderr.write(f"panopticon: this process is being recorded already: no {args.output} is made\n")
            return
        wanted = os.path.abspath(args.output)
        self.joined = find_joined(wanted)
        if self.joined:
            self.join()
        else:
            self.begin(args, filters, wanted, output)

    def join(self):
        """Takes part in the recording that this command line has begun: its options are those of that one."""
        self.capture, self.options = self.joined["capture"], panopticon_rec.options_of(self.joined)
        self.properties["born"] = "exec"
        panopticon_rec.take_duty(self.joined)

    def begin(self, args, filters, wanted, output):
        converter = panopticon_rec.find_converter() if output else None
        if output and not converter:
            fail("panopticon-convert was found neither beside panopticon_rec nor on PATH: record into a .pnr instead")
        try:
            self.capture, output = _recorder.choose_place(self.capture, output, args.force)
        except ValueError as error:
            fail(error)
        _recorder.at_exit(not args.quiet, converter, output)
        if output or args.follow == "all":
            self.lead = panopticon_rec.leader(self.options, filters, args.follow == "all", output=output,
                                              tells=not args.quiet, wanted=wanted)

    def run(self):
        return _recorder.run(self.kind, self.target, self.capture, self.joined is not None, self.properties, self.options,
                             self.lead)


def main():
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
    set_up_as_main(plan.kind, plan.target, plan.argv)
    try:
        return plan.run()
    except (RuntimeError, ValueError) as error:
        fail(str(error).removeprefix("panopticon: "))
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        fail(f"{text}; choose another path with -o")
    except MemoryError:
        fail("out of memory")


status = main()
if status:                      # else -i goes on to its prompt
    raise SystemExit(status)    # no call of a C function, which would be in the capture
