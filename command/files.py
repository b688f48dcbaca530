"""Reads and writes the files of subcommands, and knows how captures are named."""

import contextlib
import errno
import os
import re
import shutil
import signal
import stat
import sys


def read_file(path):
    """Return the bytes of a file of a capture, which may be another user's: there may be a device, a pipe or a symbolic link in
    its place. Raises OSError."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return file.read()


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


def name_numbered(path, number):
    """Return the path of the capture that is made when this path and lower numbers are taken: run.pnr, run-2.pnr, ..."""
    folder, name = os.path.split(path)
    stem, dot, suffix = name.rpartition(".") if "." in name[1:] else (name, "", "")
    return os.path.join(folder, f"{stem}-{number}{dot}{suffix}") if number > 1 else path


def find_number(taken, path):
    """Return the number of a path that name_numbered has made of another one; None when it has not. taken: any text."""
    found = re.search(r"-([1-9][0-9]{0,8})(?:\.[^./]*)?$", taken)
    numbers = [1, *([int(found[1])] if found else [])]
    return next((number for number in numbers if name_numbered(path, number) == taken), None)
