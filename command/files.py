"""Writes the files of subcommands."""

import contextlib
import os


def write_file(path, parts):
    """Write bytes to a device, or as a file: under a temporary name that then becomes the path, so that at no time there
    is half a file. A symbolic link is kept, as panopticon-convert does. parts: iterable of bytes. Raises OSError."""
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            file.writelines(parts)
        return
    real = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(real), f".panopticon-{os.getpid()}-{os.urandom(6).hex()}")
    try:
        with open(temporary, "xb") as file:
            file.writelines(parts)
        os.replace(temporary, real)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
