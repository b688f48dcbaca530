"""The command `panopticon`: its subcommands, each a row of SUBCOMMANDS.

    panopticon record app.py            # python3 -m panopticon_rec app.py
    panopticon convert run.pnr          # panopticon-convert run.pnr

A subcommand that is another program's work becomes that program (os.execv), so that it has its process id, signals and
terminal.
"""

import os
import sys

import panopticon_rec


def become_converter(*options):
    """Return a function that becomes panopticon-convert with these options before the words of the command line."""

    def become(words):
        converter = panopticon_rec.find_converter()
        if not converter:
            sys.exit("panopticon: panopticon-convert was found neither next to panopticon_rec nor on PATH")
        os.execv(converter, [converter, *options, *words])

    return become


def record(words):
    """Become python3 -m panopticon_rec: what it reads of the interpreter's own command line must be true."""
    os.execv(sys.executable, [sys.executable, "-m", "panopticon_rec", *words])


def report(words):
    from .report import main as write_page
    return write_page(words)


# Name, what it does, and the function that takes the words after the name and returns the exit status.
SUBCOMMANDS = {
    "record": ("record a Python program", record),
    "convert": ("convert a capture to a trace", become_converter()),
    "report": ("write a capture as one HTML page", report),
    "top": ("print the functions that took the most time", become_converter("--top")),
    "info": ("print what is in a capture", become_converter("--info")),
    "verify": ("read all of a capture and report damage", become_converter("--verify")),
}


def usage():
    return "\n".join(["panopticon SUBCOMMAND [options] ...", "",
                      *(f"  {name:<10} {text}" for name, (text, _) in SUBCOMMANDS.items()), "",
                      "panopticon SUBCOMMAND --help describes each.", ""])


def main():
    """Run the command line. Returns the exit status."""
    name, *words = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0
    if name == "--version":
        sys.stdout.write(f"panopticon {panopticon_rec.__version__}\n")
        return 0
    if name not in SUBCOMMANDS:
        sys.stderr.write(f"panopticon: there is no subcommand {name} (try --help)\n")
        return 2
    return SUBCOMMANDS[name][1](words)
