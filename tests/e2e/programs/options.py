"""argparse: subcommands, errors, help."""
import argparse
import contextlib
import gc
import io

gc.disable()


def number(text):
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("negative")
    return value


def parser():
    top = argparse.ArgumentParser("tool", description="a tool " * 20)
    top.add_argument("-v", "--verbose", action="count", default=0)
    parts = top.add_subparsers(dest="command", required=True)
    add = parts.add_parser("add", help="adds")
    add.add_argument("numbers", nargs="+", type=number)
    show = parts.add_parser("show", help="shows")
    group = show.add_mutually_exclusive_group()
    group.add_argument("--long", action="store_true")
    group.add_argument("--short", action="store_true")
    show.add_argument("--format", choices=["text", "json"])
    return top


def parse(arguments):
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream), contextlib.redirect_stdout(stream):
        try:
            return vars(parser().parse_args(arguments))
        except SystemExit as end:
            return end.code, len(stream.getvalue())


def main():
    for arguments in (["add", "1", "2"], ["-vv", "add", "3"], ["add", "-4"], ["add", "x"], ["show", "--long"],
                      ["show", "--long", "--short"], ["show", "--format", "xml"], ["-h"], ["show", "-h"], []):
        print(parse(arguments))


def warm_up():
    main()


warm_up()
main()
