"""The options of the recorder: one table, OPTIONS. From it come the command line and its help, the keywords of
Recorder, what _recorder.start and processes that take part later are given, and the documentation (docs/generate.py).

A new option is a row here; a row in recorder/cpython/options.c takes its value over into the C code.

Imports only what the interpreter itself has imported. This file alone can be loaded by an interpreter that cannot be
recorded.
"""

import os
import sys

import _signal


# ---- values as they are written ----

def parse_size(value):
    """Return bytes. value: a number, or text such as 200M or 1.5G (k, M, G, T: powers of 1,024)."""
    units = {"": 1, "k": 2**10, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    return parse_quantity(value, units, 1, "a size: give a number and k, M, G or T, such as 200M or 1.5G")


def parse_duration(value):
    """Return nanoseconds. value: seconds as a number, or text such as 20us."""
    units = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
    return parse_quantity(value, units, 10**9,
                          "a duration: give a number and ns, us, ms, s, min or h, such as 20us or 1.5s")


def parse_percent(value):
    """Return millionths. value: percent as a number, or text such as 3% or 0.5."""
    return parse_quantity(value, {"": 10**4, "%": 10**4}, 10**4, "a percentage from 0.1 to 1000, such as 3% or 0.5",
                          10**3, 10**7)


def parse_quantity(value, units, scale, meaning, smallest=0, largest=2**63 - 1):
    """Return a number times its unit, rounded down, as convert/slices/quantity.c does. scale: the unit of a value that
    is not text. smallest, largest: results that are accepted. tests/format/quantities.txt has the cases that both must
    agree on."""
    result = -1
    if not isinstance(value, str):
        result = round(value * scale) if 0 <= value * scale < 2**63 else -1
    elif value.isascii():
        number = value.rstrip("abcdefghijklmnopqrstuvwxyzGKMT%")
        whole, _, fraction = number.partition(".")
        unit = units.get(value[len(number):])
        if unit and whole.isdigit() and len(whole.lstrip("0")) < 20 and (fraction or "0").isdigit():
            fraction = fraction[:18]
            result = int(whole.lstrip("0") + fraction or 0) * unit // 10**len(fraction)
    if not smallest <= result <= largest:
        raise ValueError(f"{value!r} is not {meaning}")
    return result


def parse_signal(name):
    """Return the number of a signal that a program can do without. name: SIGUSR2 or USR2."""
    key = f"SIG{name.removeprefix('SIG')}" if isinstance(name, str) else ""
    number = getattr(_signal, key, 0) if key[3:4].isalnum() else 0      # SIG_IGN is not a signal
    if not number or number in (_signal.SIGKILL, _signal.SIGSTOP, _signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE,
                                _signal.SIGILL, _signal.SIGABRT):
        raise ValueError(f"{name!r} is not a signal that a program can do without, such as SIGUSR1 or SIGUSR2")
    return int(number)


def parse_occasion(name):
    """Return the number of a signal, or 0 for an exception."""
    return 0 if name == "exception" else parse_signal(name)


def parse_filter(text):
    """Return the text of a filter as it is."""
    expand_filter(text)
    return text


def parse_glob(text):
    """Return a glob as it is."""
    expand_filter(f"include {text}" if isinstance(text, str) else text)
    return text


def parse_redaction(text):
    """Return words, which are separated by vertical bars, as they are."""
    if not isinstance(text, str) or not text.replace("|", "") or "\n" in text or "\0" in text:
        raise ValueError(f"{text!r} is not a list of words, such as 'ssn|iban'")
    return text


def expand_filter(text):
    """Return the rules of a filter: (action, text), the action as in format/filter.h."""
    include, exclude, exclude_below, own, library = range(5)
    action, _, glob = text.partition(" ") if isinstance(text, str) else ("", "", "")
    if action in ("include", "exclude") and glob and "\n" not in glob and "\0" not in glob:
        return [(include if action == "include" else exclude, glob)]
    frozen = exclude_below, "<frozen "
    if text == "no-frozen":
        return [frozen]
    if text == "no-stdlib":             # the module os is part of it, and has always been imported
        return [frozen, (exclude_below, os.path.join(os.path.dirname(os.__file__), ""))]
    if action == "mine" and os.path.isabs(glob) and "\n" not in glob and "\0" not in glob:
        folder = real_folder(glob)
        return [(library, ""), (own, folder), *((library, other) for other in library_folders()
                                                if not folder.startswith(other))]
    raise ValueError(f"{text!r} is not a filter: 'include GLOB', 'exclude GLOB', 'no-stdlib', 'no-frozen' or "
                     "'mine FOLDER'")


def real_folder(path):
    return os.path.join(os.path.realpath(path), "")


def library_folders():
    """Return where this interpreter's libraries are apart from site-packages: the standard library, and the virtual
    environment. Own code may lie in either: a virtual environment may have been made in the program's own folder."""
    folders = [real_folder(os.path.dirname(os.__file__))]
    return folders if sys.prefix == sys.base_prefix else [*folders, real_folder(sys.prefix)]


def mine():
    """Return the filter of the option `mine`: own code is what lies below the current directory."""
    try:
        return parse_filter(f"mine {os.getcwd()}")
    except OSError as error:
        raise ValueError(f"mine: the current directory cannot be found: {error.strerror}") from None


class Type:
    """How the values of an option are written and kept. parse: returns the value to keep, or raises ValueError.
    argument: its name in the help; empty for a flag. kept_as: int or str. is_list: the option can be given several
    times."""

    def __init__(self, parse, argument="", kept_as=int, is_list=False, choices=()):
        self.parse, self.argument, self.kept_as, self.is_list, self.choices = parse, argument, kept_as, is_list, choices


def choice(*names, kept_as=int, aliases={}):
    """Return a type: one of these names, kept as it is or by its position. aliases: undocumented names to their
    meaning."""
    def parse(value):
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is not one of {', '.join(names)}")
        name = aliases.get(value, value)
        if name not in names:
            raise ValueError(f"{value!r} is not one of {', '.join(names)}")
        return names.index(name) if kept_as is int else name

    return Type(parse, "|".join(names), kept_as, choices=names)


FLAG = Type(bool)
PATH = Type(str, "PATH", str)
SIZE = Type(parse_size, "SIZE")
DURATION = Type(parse_duration, "DURATION")
PERCENT = Type(parse_percent, "PERCENT")
SIGNAL = Type(parse_signal, "SIGNAL")
OCCASIONS = Type(parse_occasion, "WHEN", is_list=True)
FILTERS = Type(parse_filter, "GLOB", str, is_list=True)
FILTER_FLAG = Type(bool)
GLOBS = Type(parse_glob, "GLOB", str, is_list=True)
WORDS = Type(parse_redaction, "WORDS", str, is_list=True)


# ---- the table ----

OUTPUT, EVENTS, SPACE, PROCESSES, OTHER = GROUPS = ("Output", "Which events are recorded", "Time and space",
                                                   "Processes and signals", "Other")


class Option:
    """A row of the table.

    name: on the command line, without its dashes. default: as the value of the keyword; shown: how the help says it.
    help: a few words, at most 45 characters with the default; more: what --help, the documentation and the man page
    add. Code in these texts stands between backticks. short: a letter. alias: an undocumented older name.
    keyword: in Python; None for an option of the command line alone. All filters are one list: what an option of the
    command line adds to it is its name and its argument.
    """

    def __init__(self, name, type, default, group, help, more="", short=None, shown=None, alias=None):
        self.name, self.type, self.default, self.group, self.help, self.more = name, type, default, group, help, more
        self.short, self.shown, self.alias = short, shown, alias
        self.is_filter = type in (FILTERS, FILTER_FLAG)
        self.keyword = None if group in (OUTPUT, OTHER) else "filters" if self.is_filter else name.replace("-", "_")


# What panopticon-convert writes, by the end of the name (convert/options.def).
CONVERTED_SUFFIXES = (".trace", ".json", ".pftrace", ".perfetto-trace", ".folded", ".pstats", ".prof")
COMPRESSED_SUFFIXES = (".gz", ".zst")
VIEWED_SUFFIXES = (".trace", ".json", ".pftrace", ".perfetto-trace")     # Perfetto also takes them with .gz


def is_viewable(path):
    """Return whether the path is named as a trace that a viewer opens."""
    return path.removesuffix(".gz").endswith(VIEWED_SUFFIXES)


OPTIONS = (
    Option("output", PATH, "run.pnr", OUTPUT, "where the capture or trace goes",
           "When a capture is there already, the next free name (`run-2.pnr`, ...) is taken. A PATH that "
           "ends as what `panopticon-convert` writes (`.trace`, `.json`, `.pftrace`, `.perfetto-trace`, "
           "`.folded`, `.pstats`, `.prof`, each also with `.gz` or `.zst` after it) gets that instead of "
           "the capture.", short="o"),
    Option("force", FLAG, False, OUTPUT, "replace an existing capture",
           "A capture that a process uses is refused, and so is whatever is not a capture."),
    Option("quiet", FLAG, False, OUTPUT, "no summary at the end",
           "What the recorder has to report otherwise is still written to standard error.", short="q"),
    Option("c-calls", FLAG, False, EVENTS, "record calls of C functions, too",
           "They are named as in `builtins.print` and `list.append`."),
    Option("exceptions", FLAG, False, EVENTS, "record raised and handled exceptions",
           "Each is an instant with the type of the exception, and its arguments as far as they are numbers or text. On CPython "
           "3.11 only those have one that leave the function in which they were raised."),
    Option("gc", FLAG, False, EVENTS, "record garbage collections",
           "Each is a slice of the thread that collects, with its generation and how many objects it found."),
    Option("task-names", FLAG, False, EVENTS, "record names of asyncio's tasks",
           "A row of `--tasks` has the name of its task, as `Task.get_name()` gives it, and shows which other task it waits for. "
           "Each entry and exit of a coroutine takes longer with it."),
    Option("samples", DURATION, 0, EVENTS, "sample threads every DURATION",
           "The recorder's own thread looks which thread holds the GIL, how long each thread ran or waited for a processor, "
           "and how much memory the process has. `1ms` to `10ms` are of use.", shown="never"),
    Option("args", GLOBS, (), EVENTS, "record arguments of functions that match",
           "GLOB is as in `--include`. Numbers, text, bytes and containers of these are copied when the function is called. Of "
           "anything else the type is shown."),
    Option("results", GLOBS, (), EVENTS, "record results of functions that match",
           "What the function returns, or the type of the exception that leaves it."),
    Option("args-repr", GLOBS, (), EVENTS, "as --args, with repr() of other objects",
           "It holds for their results, too, if `--results` chooses them. The `repr()` is the program's own code: it is not "
           "recorded, its exceptions are swallowed, and a function for which it takes 50 ms has none from then on."),
    Option("redact", WORDS, (), EVENTS, "names of values that are not recorded",
           "WORDS is one or several, separated by `|`. Parameters and keys of dicts whose names contain one, whatever its case, "
           "show `[redacted]`. They are added to those that always hold: password, passwd, passphrase, secret, token, "
           "credential, cookie, authorization, api_key, apikey, access_key and private_key."),
    Option("engine", choice("frame", "monitoring", kept_as=str), None, EVENTS, "where events come from",
           "`monitoring` (CPython 3.12 and later) is slower, and uses only documented interfaces.", shown="frame"),
    Option("mine", FLAG, False, EVENTS, "only code below the current directory",
           "Of libraries, what that code calls itself is recorded, and not what they call in turn. Calls of C "
           "functions are recorded where that code makes them. It is the first of the rules of `--include` and "
           "`--exclude`."),
    Option("include", FILTERS, (), EVENTS, "record functions that match", shown="all functions"),
    Option("exclude", FILTERS, (), EVENTS, "do not record functions that match"),
    Option("no-stdlib", FILTER_FLAG, (), EVENTS, "do not record the standard library",
           "It is a rule among those of `--include` and `--exclude`; so is `--no-frozen`."),
    Option("no-frozen", FILTER_FLAG, (), EVENTS, "do not record frozen modules"),
    Option("min-duration", DURATION, 0, EVENTS, "leave out calls shorter than DURATION",
           "What such a call contains is left out with it.", shown="0s"),
    Option("clock", choice("full", "sparse"), "full", EVENTS, "when to read the clock",
           "`full` reads it at each event. `sparse` reads it where time passes: an event costs less, the order of all events "
           "is exact, and so are the begin and end of calls that take 5 us or more. Short calls share a reading. With "
           "`--min-duration` each event reads the clock."),
    Option("max-overhead", PERCENT, None, EVENTS, "mute hot functions beyond PERCENT",
           "PERCENT is a share of the program's CPU time, such as `3%` or `0.5`. While recording would cost more, the "
           "functions whose calls are the shortest are muted: their calls are not recorded for some time. The trace says "
           "which, and estimates their calls and time. No call of 25 ms or more is hidden. The monitoring engine records "
           "(CPython 3.12 and later).", shown="no limit"),
    Option("start-paused", FLAG, False, EVENTS, "record nothing at first",
           "Recording begins with `panopticon_rec.resume()`, or the signal of `--toggle-on`."),
    Option("max-size", SIZE, 0, SPACE, "evict the oldest data beyond SIZE", "SIZE counts all processes of the capture.",
           shown="no limit"),
    Option("last", DURATION, 0, SPACE, "evict data older than DURATION", "At least the last DURATION is kept.",
           shown="no limit"),
    Option("on-overflow", choice("block", "discard", aliases={"wait": "block", "drop": "discard"}), "block", SPACE,
           "what to do when the disk is slow",
           "`block` lets the program wait; `discard` loses events, which are counted, and marked in the trace.",
           alias="when-full"),
    Option("follow", choice("none", "fork", "all"), "all", PROCESSES, "which child processes to record",
           "They are recorded into the same capture: none; only those that are forked; or interpreters that are "
           "started as well, which are reached by way of `PYTHONPATH` in their environment."),
    Option("snapshot-on", OCCASIONS, (), PROCESSES, "save a snapshot at a signal or exception",
           "A snapshot is what the capture holds at that moment, saved next to it (`run-snapshot.pnr`). WHEN is the "
           "name of a signal, such as `SIGUSR2`, or `exception`, for one that ends the program or a thread; both can "
           "be given."),
    Option("toggle-on", SIGNAL, None, PROCESSES, "a signal that pauses and resumes"),
    Option("help", FLAG, False, OTHER, "this list; `--help` describes each", short="h"),
    Option("version", FLAG, False, OTHER, "the version"),
)

FILTERS_OPTION = Option("filters", FILTERS, (), EVENTS,
                        'a list of "include GLOB", "exclude GLOB", "no-stdlib", "no-frozen" and "mine FOLDER"')

# Options of a recording, by keyword, in the order of the table.
KEYWORDS = {option.keyword: FILTERS_OPTION if option.is_filter else option for option in OPTIONS if option.keyword}

# What stands for other options, and is not kept itself.
PRESETS = ("mine",)

ALIASES = {option.alias.replace("-", "_"): option.keyword for option in OPTIONS if option.alias}

# Options of the command line, by the words that stand for them.
FLAGS = {**{f"--{option.name}": option for option in OPTIONS},
         **{f"-{option.short}": option for option in OPTIONS if option.short},
         **{f"--{option.alias}": option for option in OPTIONS if option.alias}}

# What the command line runs: the option that names it, and its argument.
FILE, MODULE, COMMAND, STDIN = range(4)
PROGRAMS = {"-m": MODULE, "-c": COMMAND}


# ---- the options of a recording ----

def parse(given, prefix=""):
    """Return the options of a recording: dict of keyword to value, for write() and for_recorder(). given: keywords and
    values of Recorder; those that are missing or None have their default. prefix: what precedes the name of an option
    in a message. Raises ValueError for a value, TypeError for a keyword."""
    given = {ALIASES.get(name, name): value for name, value in given.items()}
    for name in given.keys() - KEYWORDS.keys():
        raise TypeError(f"{name!r} is not an option of a recording: those are {', '.join(KEYWORDS)}")
    options = {keyword: parse_value(option, given.get(keyword), prefix) for keyword, option in KEYWORDS.items()}
    if options.pop("mine"):
        options["filters"].insert(0, mine())
        options["c_calls"] |= given.get("c_calls") is None
    signals = [number for number in options["snapshot_on"] if number]
    if len(signals) > 1:
        raise ValueError("only one signal can save snapshots")
    if options["toggle_on"] in signals:
        raise ValueError(f"{given['toggle_on']!r} saves snapshots: choose another signal to pause and resume")
    return options


def parse_value(option, value, prefix):
    value = option.default if value is None else value
    try:
        if option.type.is_list:
            return [option.type.parse(one) for one in ([value] if isinstance(value, str) else value)]
        return None if value is None else option.type.parse(value)
    except (TypeError, ValueError) as error:
        name = f"{prefix}{option.name}" if prefix else option.keyword
        raise type(error)(str(error) if option is FILTERS_OPTION else f"{name}: {error}") from None


def write(options):
    """Return the options as fields of a capture's file `order`: list of "keyword=value"."""
    return [f"{keyword}={KEYWORDS[keyword].type.kept_as(one)}" for keyword, value in options.items()
            for one in (value if isinstance(value, list) else [value]) if one is not None]


def read(fields):
    """Return the options that write() gave. fields: list of (keyword, text). Raises ValueError or LookupError."""
    options = {}
    for keyword, option in KEYWORDS.items():
        if keyword in PRESETS:
            continue
        values = [option.type.kept_as(text) for name, text in fields if name == keyword]
        has_value = values or option.default is not None
        options[keyword] = values if option.type.is_list else values[-1] if has_value else None
    return options


def for_recorder(options):
    """Return the options as _recorder.start takes them (recorder/cpython/options.c)."""
    return {**options, "filters": [rule for text in options["filters"] for rule in expand_filter(text)]}


def records_started(options):
    """Return whether interpreters that the program starts are recorded."""
    return options["follow"] == KEYWORDS["follow"].type.parse("all")


def add_keywords(text):
    """Return a docstring to which the keywords of a recording are added."""
    lines = [text, ""]
    for keyword, option in KEYWORDS.items():
        choices = f" ({', '.join(option.type.choices)})" if option.type.choices else ""
        lines.append(f"    {keyword}={option.default!r}: {plain(option.help)}{choices}")
    return "\n".join([*lines, "    "])


# ---- the command line ----

class UsageError(Exception):
    """The command line is wrong. Its text says how."""


def parse_command_line(words, flags=FLAGS):
    """Return (given, kind, target, arguments of the program). given: dict of the options' keywords, or names, to
    values.
    kind: which of FILE, MODULE, COMMAND, STDIN; None when only help or the version is wanted. flags: the options that there
    are, as in FLAGS. Raises UsageError."""
    given = {"output": FLAGS["--output"].default}
    words = list(words)
    kind = take_options(words, given, flags)
    if given.get("help") or given.get("version"):
        return given, None, None, []
    if not words:
        raise UsageError("nothing to run: give a FILE, -m MODULE, -c COMMAND or - (try --help)")
    target = words.pop(0)
    if kind == COMMAND:
        while words and words[0] in flags and flags[words[0]].group != OTHER:
            take_option(words, given, flags)
        if words[:1] == ["--"]:
            words.pop(0)
    elif kind == FILE and target == "-":
        kind = STDIN
    return given, kind, target, words


def parse_words(words, also=()):
    """Return the options among the words of a command line that runs no program: dict of keywords, or names, to values.
    also: the names of options that may be given, although they are no keywords. Raises UsageError."""
    given, rest = {}, list(words)
    if take_options(rest, given, FLAGS) != FILE or rest:
        raise UsageError(f"there is no program to be named here: {' '.join(map(str, words))}")
    for name in given.keys() - KEYWORDS.keys() - set(also):
        raise UsageError(f"--{name} has no meaning here")
    return given


def take_options(words, given, flags):
    """Move options from the front of words into given, up to what is to be run, and return of which kind that is."""
    while words and words[0][:1] == "-" and words[0] != "-":
        if words[0] == "--":
            words.pop(0)
            return FILE
        kind = PROGRAMS.get(words[0][:2])
        if kind is not None:
            words[:1] = [words[0][2:]] if len(words[0]) > 2 else []
            return kind
        take_option(words, given, flags)
    return FILE


def take_option(words, given, flags):
    """Move the option at the front of words, with its argument, into given. Of several letters in a word the rest
    stays."""
    word = words.pop(0)
    if word.startswith("--"):
        flag, equals, value = word.partition("=")
    else:
        flag, equals, value = word[:2], "", word[2:]
    option = flags.get(flag)
    if not option:
        raise UsageError(f"unknown option {flag} (try --help)")
    if not option.type.argument:
        if equals:
            raise UsageError(f"{flag} takes no argument")
        if value:
            words.insert(0, f"-{value}")
        value = True
    elif not equals and not value:
        if not words or words[0][:1] == "-" and words[0] != "-":
            raise UsageError(f"{flag} needs an argument: {flag} {option.type.argument}")
        value = words.pop(0)
    if option.is_filter:
        given.setdefault("filters", []).append(f"{option.name} {value}" if option.type.argument else option.name)
    elif option.type.is_list:
        given.setdefault(option.keyword, []).append(value)
    else:
        given[option.keyword or option.name] = "short" if flag == "-h" else value


# ---- help ----

USAGE = "python3 -m panopticon_rec [options] (FILE | -m MODULE | -c COMMAND | -) [ARGS]"
PROGRAM_TEXT = (
    "FILE is a script, or a directory or zip file with `__main__.py`; `-` is standard input. What follows FILE or "
    "MODULE belongs to the program. After COMMAND, options of the recorder may still follow; `--` ends them. The "
    "capture is converted with `panopticon-convert run.pnr`.")
# convert/options.def has the same text.
VALUES_TEXT = (
    "A SIZE is a number of bytes, or has a unit: `200M`, `1.5G` (k, M, G, T: powers of 1,024). A DURATION is a number "
    "with a unit: `20us`, `1.5s`, `2min` (ns, us, ms, s, min, h). A GLOB of `--include` and `--exclude` is matched "
    "against the whole of the function's module (`json.decoder`), of its module and qualified name "
    "(`json.decoder.JSONDecoder.decode`), and of the path of its file; its `*` also stands for dots and slashes. The "
    "last of these options that matches a function decides. When the first of them is `--include`, functions that none "
    "matches are left out. What a function that is left out calls appears in its caller.")
EXIT_STATUS = "Exit status: that of the program; 2 when it was not run."


def plain(text):
    return text.replace("`", "")


def shown_default(option):
    """The default as the documentation says it; empty when there is none."""
    return option.shown or ("" if option.default in (None, False, ()) else str(option.default))


def format_option(option):
    """Return the line of an option in the help."""
    left = f"  {f'-{option.short},' if option.short else '   '} --{option.name} {option.type.argument}".rstrip()
    default = f" [{shown_default(option)}]" if shown_default(option) else ""
    return f"{left:<33} {plain(option.help)}{default}"


def fill(text, indent=""):
    """Return text in lines of at most 79 columns."""
    import textwrap             # for --help alone: it takes long
    return textwrap.fill(plain(text), 79, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def format_help(is_short, usage=USAGE, about=PROGRAM_TEXT, rows=OPTIONS):
    """Return what -h prints, a screenful, or what --help prints. about: what is run. rows: the options."""
    if is_short:
        return "\n".join([usage, *map(format_option, rows), ""])
    lines = [usage, "", "Records a Python program.", fill(about)]
    for group in GROUPS:
        lines += ["", f"{group}:"]
        for option in rows:
            if option.group == group:
                lines += [format_option(option), *([fill(option.more, " " * 8)] if option.more else [])]
    return "\n".join([*lines, "", fill(VALUES_TEXT), "", EXIT_STATUS, ""])
