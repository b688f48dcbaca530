"""panopticon record: finds the program and its interpreter, and becomes the recorder under that interpreter.

The recorder runs by the path of its package, after the flags of the interpreter. So the program finds what it finds
without the recorder: its environment, sys.path, sys.argv and sys.orig_argv.
"""

import os
import sys

import panopticon_rec
from panopticon_rec import options

from . import SUBCOMMANDS, become, fail

ROW = SUBCOMMANDS["record"]
FLAGS = {**options.FLAGS, **{f"--{option.name}": option for option in ROW.options}}
USAGE = f"panopticon record {ROW.usage}"
ABOUT = ("SCRIPT is the name of a Python script on PATH, such as `pytest` or `flask`; it runs with its own interpreter. "
         + options.PROGRAM_TEXT)


def main(words):
    """Record. Returns only with --view, the exit status of the program."""
    try:
        given, kind, target, arguments = options.parse_command_line(words, FLAGS)
    except options.UsageError as error:
        fail(str(error).replace("a FILE,", "a FILE, a SCRIPT on PATH,"))
    if kind is None:
        return print_help(given)
    restore_locale()
    n_own = len(words) - len(arguments)
    own = [word for word in words[:n_own] if word != "--view"]
    if kind == options.FILE:
        interpreter, own[-1] = find_program(target)
    else:
        interpreter = find_default()
    program, *before = interpreter.words

    def command(note):
        return [program, *before, interpreter.package, f"--panopticon={note}", *own, *arguments]

    if "view" in given:
        from . import record_and_view
        return record_and_view.run(interpreter.path, command, given["output"])
    become(interpreter.path, command(""))


def print_help(given):
    if "help" not in given:
        sys.stdout.write(f"panopticon {panopticon_rec.__version__}\n")
    else:
        rows = sorted([*options.OPTIONS, *ROW.options], key=lambda row: options.GROUPS.index(row.group))
        sys.stdout.write(options.format_help(given["help"] == "short", f"usage: {USAGE}", ABOUT, rows))
    return 0


def restore_locale():
    """Have the program's interpreter find the locale that this one has found. In the locale C an interpreter chooses
    UTF-8 mode, and sets LC_CTYPE to another one, in which the next interpreter does not choose that mode (PEP 538, 540)."""
    is_chosen = sys.flags.utf8_mode and sys.version_info < (3, 15) and not os.environ.get("PYTHONUTF8")
    if is_chosen and os.environ.get("LC_CTYPE") in ("C.UTF-8", "C.utf8", "UTF-8"):
        os.environ["LC_CTYPE"] = "C"


# ---- interpreters ----

class Interpreter:
    """words: itself and its flags, as argv has them. path: the file. package: the panopticon_rec that it can load."""

    def __init__(self, words, path, package):
        self.words, self.path, self.package = words, path, package


# Run by any interpreter, also by one of Python 2. Prints the version of Python, with a "t" for a free-threaded build, and
# the package or "-".
PROBE = """
import sys
folder, version = sys.argv[1:]
before = [entry for entry in sys.path if entry]
found = "-"
for sys.path[:] in [folder] + before, before:
    for name in [name for name in sys.modules if name.partition(".")[0] == "panopticon_rec"]:
        del sys.modules[name]
    try:
        import panopticon_rec
    except Exception:
        continue
    if not panopticon_rec.UNUSABLE and panopticon_rec.__version__ == version:
        found = panopticon_rec.PACKAGE
        break
build = "t" if "t" in getattr(sys, "abiflags", "") else ""
print(sys.version.split()[0] + build + " " + sys.implementation.name + " " + found)
"""


def check_interpreter(words, path, needed_by=""):
    """Return the Interpreter of these words. needed_by: what runs under it, for the message when that cannot be."""
    if is_own(path):
        return Interpreter(words, path, panopticon_rec.PACKAGE)
    import subprocess                   # only here: it takes as long as the rest
    folder = os.path.dirname(panopticon_rec.PACKAGE)
    try:
        done = subprocess.run([*words, "-c", PROBE, folder, panopticon_rec.__version__], executable=path, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        version, name, package = done.stdout.splitlines()[-1].split(" ", 2)
        number = tuple(int(part) for part in version.split(".")[:2])
    except OSError as error:
        fail(f"{needed_by}{path}, which cannot be run: {error.strerror}")
    except (IndexError, ValueError):
        fail(f"{needed_by}{path}, which is not a Python that can be recorded")
    if name != "cpython" or number < (3, 11):
        fail(f"{needed_by}{path}, which is {name} {version}: CPython 3.11 and later can be recorded")
    if version.endswith("t") and number != panopticon_rec.FREE_THREADED:
        fail(f"{needed_by}{path}, which is a free-threaded CPython {version}: that is not supported yet")
    if package == "-":
        fail(f"{needed_by}{path}, where Panopticon {panopticon_rec.__version__} is not installed: "
             f"{path} -m pip install panopticon-rec=={panopticon_rec.__version__}")
    return Interpreter(words, path, package)


def is_own(path):
    """Return whether this file is the interpreter that runs, in the same environment."""
    return os.path.dirname(path) == os.path.dirname(sys.executable) and \
        os.path.realpath(path) == os.path.realpath(sys.executable)


def find_default():
    """Return the Interpreter of what names none: that of the virtual environment that is active, else this one."""
    active = os.environ.get("VIRTUAL_ENV")
    python = os.path.join(active or "", "bin", "python")
    if active and os.path.realpath(active) != os.path.realpath(sys.prefix) and os.path.exists(python):
        return check_interpreter([python], python, "the active virtual environment has ")
    return Interpreter([sys.executable], sys.executable, panopticon_rec.PACKAGE)


# ---- programs ----

def find_program(name):
    """Return (Interpreter, path) for a file, or a script on PATH."""
    is_there = os.path.exists(name)
    is_empty_folder = os.path.isdir(name) and not os.path.exists(os.path.join(name, "__main__.py"))
    on_path = find_on_path(name) if not is_there or is_empty_folder else None
    if on_path:
        return find_interpreter(on_path), on_path
    if is_empty_folder:
        fail(f"{name} is a directory without __main__.py: name the file in it that is to run")
    if not is_there and "/" not in name:
        fail_unknown(name)
    return find_interpreter(name) if names_interpreter(name) else find_default(), name


def names_interpreter(path):
    """Return whether a program that the user has named runs under what its first line names. On some file systems every
    file is executable. A program of another kind gets its message from find_interpreter()."""
    if path.endswith(".py") or not os.path.isfile(path) or not os.access(path, os.X_OK):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(4).startswith((b"#!", b"\x7fELF"))
    except OSError:
        return False                    # the recorder reports it


def find_on_path(name):
    """Return where the shell finds a program of this name, or None."""
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if "/" not in name else ():
        path = os.path.join(folder or os.curdir, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def find_interpreter(script):
    """Return the Interpreter that the first lines of an executable file name."""
    words = read_interpreter(script)
    name = os.path.basename(words[0]) if words else ""
    if not name.startswith(("python", "pypy")):
        fail_other_program(script, name)
    path = words[0] if "/" in words[0] else find_on_path(words[0])
    if not path or not os.path.exists(path):
        fail(f"{script} runs under {words[0]}, which is not there")
    return check_interpreter(words, path, f"{script} runs under ")


def read_interpreter(script):
    """Return the words that run a script, from its first lines: the interpreter and its flags. Empty when it is no
    script."""
    try:
        with open(script, "rb") as file:
            first, second = (os.fsdecode(file.readline(4096)).strip() for _ in range(2))
    except OSError as error:
        fail(f"{script}: {error.strerror}")
    if not first.startswith("#!"):
        return []
    words = first[2:].strip().split(None, 1)        # as the kernel does
    name = os.path.basename(words[0]) if words else ""
    if name == "env" and len(words) == 2:
        is_split = words[1].startswith("-S")
        return words[1][2:].split() if is_split else [words[1]]
    if name in ("sh", "bash") and second.startswith("'''exec' "):      # pip's form for a long path, or one with spaces
        import shlex
        return shlex.split(second[len("'''exec' "):])[:-2]              # without "$0" "$@"
    return words


def fail_other_program(path, interpreter):
    """Explain why a program on PATH is not recorded."""
    name = os.path.basename(path)
    if name.startswith("python"):
        fail(f"name what {name} is to run, and leave {name} out: panopticon record app.py")
    if os.path.basename(os.path.dirname(path)) == "shims":
        fail(f'{path} only looks for {name}: panopticon record "$(pyenv which {name})"')
    kind = f"a script for {interpreter}" if interpreter else "not a script"
    fail(f"{path} is {kind}: only Python programs are recorded")


def fail_unknown(name):
    """Explain that there is neither a file nor a script of this name."""
    script = "" if name.endswith(".py") else f", and no script {name} on PATH"
    if os.path.isfile(f"{name}.py"):
        fail(f"there is no file {name}{script}: panopticon record {name}.py")
    if is_module(name):
        fail(f"there is no file {name}{script}, but a module: panopticon record -m {name}")
    fail(f"there is no file {name}{script}")


def is_module(name):
    import importlib.util
    sys.path.insert(0, "")              # as -m does
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
