"""Write the documentation of the options of both tools, and of the command `panopticon`, from the tables that they
themselves use: recorder/panopticon_rec/options.py, convert/options.def and command/__init__.py. Write which Pythons are
tested, from recorder/cpython/versions.h and .ci/run.

    python3 docs/generate.py                # after a change of a table; tests/format/test_options.py checks that
    it was done

docs/command-line.md, docs/api.md and docs/compatibility.md get their tables; docs/man/ and docs/completion/ are written as a whole.
"""

import ast
import functools
import importlib.util
import re
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORDER, CONVERTER = "python3 -m panopticon_rec", "panopticon-convert"


@dataclass(frozen=True)
class Row:
    """An option of either tool, as the documentation has it."""

    short: str | None
    name: str
    argument: str
    group: str
    default: str
    help: str
    more: str
    choices: tuple = ()

    def spellings(self, between):
        """The option as it is written: -o, --output PATH."""
        long = f"--{self.name}{between}{self.argument}" if self.argument else f"--{self.name}"
        return ([f"-{self.short}"] if self.short else []) + [long]

    @property
    def sentence(self):
        return " ".join(filter(None, [f"{self.help[:1].upper()}{self.help[1:]}.", self.more]))


@dataclass
class Tool:
    command: str
    page: str                           # the name of the man page
    summary: str
    usage: str
    description: str
    values: str
    exit_status: str
    between: str                        # an option and its argument
    rows: list


# ---- the two tables ----

def load_options():
    """Return the module panopticon_rec.options, without the package."""
    spec = importlib.util.spec_from_file_location("options", ROOT / "recorder/panopticon_rec/options.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_row(one):
    return Row(one.short, one.name, one.type.argument, one.group, load_options().shown_default(one), one.help, one.more,
               one.type.choices)


def recorder():
    options = load_options()
    rows = [as_row(one) for one in options.OPTIONS]
    return Tool(RECORDER, "panopticon_rec", "record a Python program", options.USAGE,
                f"Records a Python program. {options.PROGRAM_TEXT}", options.VALUES_TEXT, options.EXIT_STATUS,
                " ", rows)


def calls(macro):
    """Yield the arguments of each row of convert/options.def that is a call of this macro: text; None for NULL and 0; the
    name of a constant. The rows are calls that Python's parser reads, except for the `&` of an address."""
    text = (ROOT / "convert/options.def").read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/|^#.*?$|&(?=\w)", "", text, flags=re.S | re.M)
    for row in ast.parse(text).body:
        if row.value.func.id == macro:
            yield [argument.value or None if isinstance(argument, ast.Constant) else
                   None if ast.unparse(argument) == "NULL" else ast.unparse(argument) for argument in row.value.args]


def formats():
    """Return the formats that the converter writes: name to suffixes."""
    return {name: [suffix for suffix in suffixes if suffix] for _, name, *suffixes, _ in calls("FORMAT")}


def converter():
    headings = {group: heading for group, heading in calls("GROUP")}
    texts = {name: one for name, one in calls("TEXT")}
    rows = [Row(short, name, argument or "", headings[group], default or "", help, more or "",
                tuple(formats()) if name == "format" else ())
            for short, name, argument, group, _, _, default, help, more in calls("OPTION")]
    return Tool(CONVERTER, CONVERTER, "convert what Panopticon has recorded", texts["usage"], texts["about"],
                texts["values"], texts["exit_status"], "=", rows)


def selection():
    """Return the converter with only those of its options that select a part of a capture."""
    heading = dict(calls("GROUP"))["SELECTION"]
    return replace(converter(), rows=[row for row in converter().rows if row.group == heading])


def load_command():
    """Return the module panopticon_rec.command, of the package as the sources have it."""
    if "panopticon_rec.command" not in sys.modules:
        sys.path.insert(0, str(ROOT / "recorder"))
        spec = importlib.util.spec_from_file_location("panopticon_rec.command", ROOT / "command/__init__.py",
                                                      submodule_search_locations=[str(ROOT / "command")])
        sys.modules["panopticon_rec.command"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.path.remove(str(ROOT / "recorder"))
    return sys.modules["panopticon_rec.command"]


def subcommands():
    """Return the subcommands of `panopticon`, each as a Tool whose rows are all options that it takes: dict of name to
    Tool."""
    command, tools = load_command(), {None: None, "recorder": recorder(), "converter": converter(),
                                      "selection": selection()}
    found = {}
    for name, row in command.SUBCOMMANDS.items():
        other = tools[row.takes]
        found[name] = Tool(f"panopticon {name}", "panopticon", row.help, f"panopticon {name} {row.usage}", row.help, "", "",
                           other.between if other else " ", [*map(as_row, row.options), *(other.rows if other else [])])
    return found


# ---- docs/command-line.md ----

def table_of_subcommands():
    """The subcommands, and the options that only they have."""
    lines = ["| command | does |", "|---|---|",
             *(f"| `{tool.command}` | {tool.summary} |" for tool in subcommands().values()), "",
             "| option | meaning |", "|---|---|"]
    for name, row in load_command().SUBCOMMANDS.items():
        for one in map(as_row, row.options):
            spelling = one.spellings(" ")[-1].replace("|", "\\|")
            lines.append(f"| `panopticon {name} {spelling}` | {one.sentence} |")
    return "\n".join(lines) + "\n"


def table(tool):
    lines = ["| option | meaning | default |", "|---|---|---|"]
    for row in tool.rows:
        if row.name in ("help", "version"):
            continue
        names = ", ".join(f"`{one}`" for one in row.spellings(tool.between))
        default = f"`{row.default}`" if row.default and " " not in row.default else row.default
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in (names, row.sentence, default)) + " |")
    return "\n".join(line.replace("|  |", "| |") for line in lines) + "\n"


def command_line():
    """Return the text of docs/command-line.md."""
    return fill_places("docs/command-line.md", {
        "subcommands": table_of_subcommands(), "options of the recorder": table(recorder()),
        "options of the converter": table(converter()),
        "values of both": textwrap.fill(converter().values, 120, break_on_hyphens=False) + "\n"})


def fill_places(path, parts):
    """Return the text of a page, in which each place with a name has the part of this name."""
    text = (ROOT / path).read_text(encoding="utf-8")
    for name, part in parts.items():
        begin, end = f"<!-- {name}: docs/generate.py -->\n", "<!-- end -->\n"
        before, found, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found or not found_end:
            raise SystemExit(f"{path} has no place for the {name}")
        text = before + begin + part + end + after
    return text


# ---- docs/api.md ----

def python_interface():
    """Return the text of docs/api.md."""
    lines = ["| keyword | default | meaning |", "|---|---|---|"]
    for keyword, option in load_options().KEYWORDS.items():
        choices = f": {', '.join(f'`{one!r}`' for one in option.type.choices)}" if option.type.choices else ""
        lines.append(f"| `{keyword}` | `{option.default!r}` | {option.help}{choices} |")
    return fill_places("docs/api.md", {"keywords": "\n".join(lines) + "\n"})


# ---- man pages ----

def roff(text):
    """Return running text for roff: what stands between backticks is bold."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"`(.*?)`", r"\\fB\1\\fR", text)


def man_page(tool, version):
    other = {"panopticon_rec": CONVERTER, CONVERTER: "panopticon_rec"}[tool.page]
    lines = [f'.TH {tool.page.upper()} 1 "" "Panopticon {version}"', ".SH NAME", f"{tool.page} \\- {tool.summary}",
             ".SH SYNOPSIS", roff(tool.usage), ".SH DESCRIPTION", roff(tool.description), ".SH OPTIONS"]
    group = None
    for row in tool.rows:
        if row.group != group:
            group = row.group
            lines.append(f".SS {group}")
        default = f" The default is {row.default}." if row.default else ""
        lines += [".TP", ", ".join(f"\\fB{roff(one)}\\fR" for one in row.spellings(tool.between)),
                  roff(row.sentence + default)]
    lines += [".SH VALUES", roff(tool.values),
              ".SH EXIT STATUS", roff(tool.exit_status.removeprefix("Exit status: ")),
              ".SH SEE ALSO", f".BR {other} (1)", ""]
    return "\n".join(lines)


def command_page(version):
    """Return the man page of `panopticon`: its subcommands with their own options."""
    command = load_command()
    pages = {"recorder": "panopticon_rec", "converter": CONVERTER, "selection": CONVERTER}
    lines = [f'.TH PANOPTICON 1 "" "Panopticon {version}"', ".SH NAME", "panopticon \\- record Python programs, and show "
             "what was recorded", ".SH SYNOPSIS", roff("panopticon SUBCOMMAND [options] ..."), ".SH SUBCOMMANDS"]
    for name, row in command.SUBCOMMANDS.items():
        lines += [".TP", f"\\fBpanopticon {name}\\fR {roff(row.usage)}", roff(f"{row.help[:1].upper()}{row.help[1:]}.")]
        if row.takes:
            which = " that select a part of a capture" if row.takes == command.SELECTION else ""
            lines.append(f"Takes the options of \\fB{roff(pages[row.takes])}\\fR(1){which}.")
        for one in map(as_row, row.options):
            spelling = ", ".join(f"\\fB{roff(word)}\\fR" for word in one.spellings(" "))
            default = f" The default is {one.default}." if one.default else ""
            lines += [".RS", ".TP", spelling, roff(one.sentence + default), ".RE"]
    lines += [".SH EXIT STATUS", "Of \\fBpanopticon record\\fR: that of the program. Of the others: 0 when all was done, 1 "
              "when a part was, 2 when nothing was. Of \\fBpanopticon diff\\fR: 1 when \\fB\\-\\-fail\\-above\\fR finds "
              "a function that is slower, 3 when a part was compared.", ".SH SEE ALSO",
              f".BR panopticon_rec (1), {CONVERTER} (1)", ""]
    return "\n".join(lines)


# ---- completion ----

COMMENT = ("# Completion for panopticon, for panopticon-convert, and for python3 -m panopticon_rec. Made by "
           "docs/generate.py.")


def words_of(tool):
    return " ".join(word for row in tool.rows for word in row.spellings("")[:-1] + [f"--{row.name}"])


def bash_function(tool, name):
    lines = [f"{name}() {{",
             "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}",
             '    [[ $word == "=" ]] && word=""',
             '    [[ $before == "=" ]] && before=${COMP_WORDS[COMP_CWORD-2]}',
             "    case $before in"]
    for row in tool.rows:
        if row.choices:
            words = " ".join(row.choices)
            lines.append(f'        --{row.name}) COMPREPLY=($(compgen -W "{words}" -- "$word")); return ;;')
    lines += ["    esac", f'    [[ $word == -* ]] && COMPREPLY=($(compgen -W "{words_of(tool)}" -- "$word"))',
              "    return 0", "}"]
    return "\n".join(lines)


def shared_functions(bodies, known):
    """Return (functions, cases): the different functions of subcommands, and the branches of `case` that call them.

    bodies: dict of subcommand to a function of the name, which returns the text. known: the same for functions that
    there are already, by their names. Subcommands with the same options share a function."""
    names = {make(""): name for name, make in known.items()}
    functions, subcommands_of = [], {}
    for name, make in bodies.items():
        if make("") not in names:
            names[make("")] = f"_panopticon_{name}"
            functions.append(make(f"_panopticon_{name}"))
        subcommands_of.setdefault(names[make("")], []).append(name)
    return functions, "".join(f"        {'|'.join(names)}) {function} ;;\n" for function, names in subcommands_of.items())


def bash_command(tools, cases):
    names = " ".join(tools)
    return ("_panopticon() {\n"
            "    COMPREPLY=()\n"
            "    if [[ $COMP_CWORD -eq 1 ]]; then\n"
            f'        COMPREPLY=($(compgen -W "{names} --help --version" -- "${{COMP_WORDS[1]}}"))\n'
            "        return\n"
            "    fi\n"
            "    case ${COMP_WORDS[1]} in\n"
            f"{cases}"
            "    esac\n"
            "}")


def bash(tools):
    commands = subcommands()
    functions, cases = shared_functions(
        {name: functools.partial(bash_function, tool) for name, tool in commands.items()},
        {"_panopticon_convert": functools.partial(bash_function, tools[1])})
    return "\n\n".join([
        COMMENT, bash_function(tools[0], "_panopticon_rec"), bash_function(tools[1], "_panopticon_convert"), *functions,
        bash_command(commands, cases),
        "_panopticon_python() {\n"
        '    COMPREPLY=()\n'
        '    if [[ ${COMP_WORDS[1]} == -m && ${COMP_WORDS[2]} == panopticon_rec && $COMP_CWORD -gt 2 ]]; then\n'
        "        _panopticon_rec\n"
        "    elif declare -F _python > /dev/null; then\n"
        '        _python "$@"\n'
        "    fi\n"
        "}",
        "complete -o default -F _panopticon panopticon\n"
        "complete -o default -F _panopticon_convert panopticon-convert\n"
        "complete -o default -F _panopticon_python python3\n"])


def quote(text):
    return "'" + text.replace("`", "").replace("'", "'\\''") + "'"


def zsh_function(tool, last, name):
    lines = [f"{name}() {{", "    _arguments -s -S \\"]
    for row in tool.rows:
        help = row.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
        action = f"({' '.join(row.choices)})" if row.choices else "_files"
        what = f":{row.argument}:{action}" if row.argument else ""
        for word in ([f"-{row.short}"] if row.short else []) + [f"--{row.name}"]:
            equals = "=" if row.argument and word.startswith("--") else ""
            lines.append("        " + quote(f"*{word}{equals}[{help}]{what.replace('|', ' ')}") + " \\")
    return "\n".join([*lines, f"        {last}", "}"])


def zsh_command(tools, cases):
    names = " ".join(quote(f"{name}:{tool.summary}") for name, tool in tools.items())
    return ("_panopticon() {\n"
            "    if (( CURRENT == 2 )); then\n"
            f"        local -a names=({names})\n"
            "        _describe subcommand names\n"
            "        return\n"
            "    fi\n"
            "    shift words\n"
            "    (( CURRENT -= 1 ))\n"
            "    case $words[1] in\n"
            f"{cases}"
            "    esac\n"
            "}")


def zsh(tools):
    commands, program, capture = subcommands(), "'*::program:_files'", "'*:CAPTURE:_files -/'"
    lasts = {"record": program, "convert": capture}
    functions, cases = shared_functions(
        {name: functools.partial(zsh_function, tool, lasts.get(name, "'*:PATH:_files'")) for name, tool in commands.items()},
        {"_panopticon_convert": functools.partial(zsh_function, tools[1], capture)})
    return "\n\n".join([
        f"#compdef panopticon panopticon-convert\n{COMMENT}",
        zsh_function(tools[0], program, "_panopticon_rec"), zsh_function(tools[1], capture, "_panopticon_convert"),
        *functions, zsh_command(commands, cases),
        "_panopticon_python() {\n"
        "    if [[ $words[2] == -m && $words[3] == panopticon_rec ]] && (( CURRENT > 3 )); then\n"
        "        shift 2 words\n"
        "        (( CURRENT -= 2 ))\n"
        "        _panopticon_rec\n"
        "    else\n"
        '        _python "$@"\n'
        "    fi\n"
        "}",
        "compdef _panopticon_python python3\n"
        "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then\n"
        "    case $service in\n"
        '        panopticon) _panopticon "$@" ;;\n'
        '        *) _panopticon_convert "$@" ;;\n'
        "    esac\n"
        "else\n"
        "    compdef _panopticon panopticon\n"
        "    compdef _panopticon_convert panopticon-convert\n"
        "fi\n"])


def fish(tools):
    commands = subcommands()
    lines = [COMMENT]
    for name, tool in commands.items():
        lines.append(f"complete -c panopticon -n __fish_use_subcommand -a {name} -d {quote(tool.summary)}")
    alike = {}                          # rows to the subcommands that have these
    for name, tool in commands.items():
        alike.setdefault(tuple(tool.rows), []).append(name)
    for tool in [*tools, *(commands[names[0]] for names in alike.values())]:
        command, condition = "panopticon-convert", ""
        if tool.page == "panopticon":
            names = " ".join(alike[tuple(tool.rows)])
            command, condition = "panopticon", f" -n '__fish_seen_subcommand_from {names}'"
        elif tool.command == RECORDER:
            command, condition = "python3", " -n 'string match -q -- \"* -m panopticon_rec *\" \"\"(commandline -p)'"
        for row in tool.rows:
            short = f" -s {row.short}" if row.short else ""
            argument = f" -x -a {quote(' '.join(row.choices))}" if row.choices else " -r" if row.argument else ""
            lines.append(f"complete -c {command}{condition}{short} -l {row.name}{argument} -d {quote(row.help)}")
    return "\n".join([*lines, ""])


# ---- docs/compatibility.md ----

ALL = "in CI: all tests"
STEPS = {"e2e": "in CI: unit and end-to-end tests", "python": "in CI: what depends most on the Python", "engines": "in CI: the engines"}

# What the lists that the tools use do not say: what was run by hand, the builds of CPython, and the other processor.
BY_HAND = {14: "; by hand: all tests"}
FREE_THREADED = {"x86-64": "built from source; by hand: threads that run at the same time, the interface, "
                           "what else is recorded",      # docs/porting.md
                 "aarch64": "built from source; not run"}
REFUSED = "no: refused in one line"
AARCH64 = "in CI: a part, under emulation"
AARCH64_OTHERS = "a wheel; not run"
LATER = "built from source; tested as a build of the newest one that knows no internals"


def supported():
    """Return the list recorder/cpython/versions.h: name to minor version of CPython 3."""
    text = (ROOT / "recorder/cpython/versions.h").read_text(encoding="utf-8")
    return {name: int(minor) for name, minor in re.findall(r"^#define CPYTHON_(\w+) (\d+)", text, re.M)}


def steps_in_ci():
    """Return what CI runs with each Python: minor version to the row of STEPS. The oldest is Debian's, which ./test takes."""
    rows = re.findall(r'^    "\w+ +3\.(\d+) +(.+)"$', (ROOT / ".ci/run").read_text(encoding="utf-8"), re.M)
    found = {int(minor): next(text for step, text in STEPS.items() if step in steps.split()) for minor, steps in rows}
    return {supported()["OLDEST"]: ALL, **found}


def table_of_pythons():
    """Where each engine records, and what shows it: by version of CPython, its build, and processor."""
    versions, in_ci = supported(), steps_in_ci()
    oldest, newest = versions["OLDEST"], versions["NEWEST"]

    def row(python, build, processor, frame, monitoring=None):
        return f"| {python} | {build} | {processor} | {frame} | {monitoring or frame} |"

    def engines(minor, text):
        return text, "no: has no `sys.monitoring`" if minor < versions["MONITORING"] else text

    lines = ["| CPython | build | processor | `frame` | `monitoring` |", "|---|---|---|---|---|"]
    for minor in range(oldest, newest + 1):
        lines.append(row(f"3.{minor}", "with the GIL", "x86-64", *engines(minor, in_ci[minor] + BY_HAND.get(minor, ""))))
    for minor in range(oldest, newest + 1):
        lines.append(row(f"3.{minor}", "with the GIL", "aarch64",
                         *engines(minor, AARCH64 if minor == oldest else AARCH64_OTHERS)))
    recorded = versions["FREE_THREADED"]
    for processor, text in FREE_THREADED.items():
        lines.append(row(f"3.{recorded}", "free-threaded", processor, "no: needs the GIL", text))
    lines.append(row(f"3.{recorded + 1} to 3.{newest}", "free-threaded", "both", REFUSED))
    lines.append(row("later", "with the GIL", "both", "no", LATER))
    return "\n".join(lines) + "\n"


# ---- all ----

def outputs():
    """Return what the files are to be: path to text."""
    tools = recorder(), converter()
    package = (ROOT / "recorder/panopticon_rec/__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.+?)"', package, re.M)[1]
    return {ROOT / "docs/command-line.md": command_line(),
            ROOT / "docs/api.md": python_interface(),
            ROOT / "docs/compatibility.md": fill_places("docs/compatibility.md", {"pythons": table_of_pythons()}),
            **{ROOT / "docs/man" / f"{tool.page}.1": man_page(tool, version) for tool in tools},
            ROOT / "docs/man/panopticon.1": command_page(version),
            ROOT / "docs/completion/panopticon.bash": bash(tools),
            ROOT / "docs/completion/panopticon.zsh": zsh(tools),
            ROOT / "docs/completion/panopticon.fish": fish(tools)}


if __name__ == "__main__":
    for path, text in outputs().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
