"""panopticon record --view: runs the recorder as a child process (child.py), and shows what it has recorded."""

import os
import tempfile

from panopticon_rec import options

from . import child, fail, view


def run(path, command, output):
    """Record, and view. path: the interpreter. command: a function of the path of a file, which gets the path of what is
    recorded; it returns argv. output: the value of --output. Returns the exit status of the program, or ends by the
    signal that ended it."""
    if output.endswith(options.CONVERTED_SUFFIXES + options.COMPRESSED_SUFFIXES) and not options.is_viewable(output):
        fail(f"--view shows a trace, and {output} is not one: leave out --view, or choose another path with -o")
    with tempfile.TemporaryDirectory(prefix="panopticon-") as folder:
        note = os.path.join(folder, "path")
        status = child.run(path, command(note))
        try:
            with open(note, encoding="utf-8", errors="surrogateescape") as file:
                recorded = file.read()
        except FileNotFoundError:       # it was not run: the recorder has reported why
            recorded = None
    if recorded and os.path.exists(recorded):
        try:
            view.show([os.path.relpath(recorded)])
        except (SystemExit, KeyboardInterrupt):     # what was wrong is reported, and the status is the program's
            pass
    return child.end_as(status)
