"""Writes the files of subcommands."""

import contextlib
import os
import shutil
import signal
import sys


def write_file(path, parts):
    """Write bytes to a device, or as a file: under a temporary name that then becomes the path, so that at no time there
    is half a file. A symbolic link is kept, as panopticon-convert does. parts: iterable of bytes. Raises OSError."""
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            file.writelines(parts)
        return
    with completed(path) as temporary, open(temporary, "xb") as file:
        file.writelines(parts)


@contextlib.contextmanager
def completed(path):
    """Give a temporary name beside the path, for a file or a folder that is made within the `with` statement. It becomes
    the path when that ends, and is removed when it ends by an exception, Ctrl-C or SIGTERM. Raises OSError."""
    real = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(real), f".panopticon-{os.getpid()}-{os.urandom(6).hex()}")
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield temporary
        os.replace(temporary, real)
    finally:
        signal.signal(signal.SIGTERM, before)
        if os.path.isdir(temporary):
            shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.unlink(temporary)
