"""Recording by a variable of the environment: PANOPTICON="--last 30s -o /var/tmp/%p.pnr".

The module site runs panopticon_rec.pth in each interpreter where the package is installed, before the program. Without
the variable that looks it up and imports nothing. The variable has the options of a command line that records, and a
mistake in it is one line on standard error: the program runs in any case.
"""

import os
import sys

import panopticon_rec
from panopticon_rec import options


has_begun = False


def begin():
    """Begin to record this process as the variable says. Does nothing in one that records by itself, or takes part in
    the recording of another, nor when site finds the file in a second folder."""
    global has_begun
    is_first, has_begun = not has_begun, True
    try:
        if is_first and takes_part():
            recorder = make_recorder(os.environ["PANOPTICON"])
            if recorder:
                recorder.start()
    except OSError as error:
        report(f"{error.filename}: {error.strerror}" if error.filename else error)
    except Exception as error:          # whatever it is, the program comes first
        report(error)


def report(error):
    text = str(error).removeprefix("panopticon: ") or type(error).__name__
    if sys.stderr:                      # not closed
        sys.stderr.write(f"panopticon: PANOPTICON: {text}\n")


def takes_part():
    """Return whether this interpreter runs a program that the variable is for: not with -E or -I, and no helper, command or
    child of Panopticon's."""
    if sys.flags.ignore_environment or panopticon_rec.find_hook_entry() or panopticon_rec.find_recorder():
        return False
    return panopticon_rec.helper_kind() is None and program_name() != "panopticon"


def make_recorder(text):
    """Return a Recorder with the options of a text; None for an empty one. Raises ValueError and UsageError."""
    words = split_words(text)
    if not words:
        return None
    given = options.parse_words(words, also=("output", "quiet"))
    keywords = {name: given[name] for name in options.KEYWORDS if name in given}
    options.parse(keywords, "--")
    path = expand(given["output"])
    if not path or path.endswith(options.CONVERTED_SUFFIXES + options.COMPRESSED_SUFFIXES):
        raise ValueError(f"a capture is written, whose name ends in .pnr, and not {path!r}")
    return panopticon_rec.Recorder(path, **keywords)


def split_words(text):
    """Return the words of a text as a shell splits it: quotes of either kind hold together what is between them."""
    words, word, quote = [], None, ""
    for letter in text:
        if quote and letter == quote:
            quote = ""
        elif not quote and letter in "\"'":
            quote, word = letter, word or ""
        elif not quote and letter.isspace():
            words += [] if word is None else [word]
            word = None
        else:
            word = (word or "") + letter
    if quote:
        raise ValueError(f"the quote {quote} is not closed")
    return words if word is None else [*words, word]


def expand(path):
    """Return a path with the values of %p (the process's id), %n (the program's name), %t (the time) and %% in it."""
    first, *rest = path.replace("%%", "\0").split("%")
    for part in rest:
        if part[:1] not in VALUES:
            raise ValueError(f"-o {path}: %{part[:1]} is none of %p, %n, %t and %%")
        first += VALUES[part[0]]() + part[1:]
    return first.replace("\0", "%")


def program_name():
    """Return the name of what this interpreter runs: of a script without its folder and .py, or of a module; "python" for
    -c, the prompt and an interpreter inside another program, which may have no command line."""
    if sys.argv[0] in ("", "-c", "-"):
        return "python"
    return os.path.basename(sys.orig_argv[panopticon_rec.program_index()]).removesuffix(".py") or "python"


def format_time():
    is_loaded = "time" in sys.modules
    import time
    if not is_loaded:
        del sys.modules["time"]
    return time.strftime("%Y%m%d-%H%M%S")


VALUES = {"p": lambda: str(os.getpid()), "n": program_name, "t": format_time}
