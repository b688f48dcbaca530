"""The file of the interpreter in a running process: where its symbols are in memory, and which extensions it loads.

Reads ELF files (System V ABI, chapters 4 and 5; elf(5)) of 64 bits, little-endian, also stripped ones: the symbols that
extension modules are linked with are always there.
"""

import errno
import mmap
import os
import re
import struct

from .folder import open_below

# The name that an interpreter gives its extension modules is a constant in it (Python/dynload_shlib.c). It names the
# version, the ABI flags, the processor and the C library: .cpython-313-x86_64-linux-gnu.so
SUFFIX = re.compile(rb"\.cpython-3(\d+)([a-z]*)(?:-[\w-]+)?\.so\0")

READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
HEAD = 1024         # bytes at the begin of a file that no two builds have in common: its headers


class Image:
    """path: the file, as the process names it. mapped: the same as /proc/PID/maps does. suffix: of its extension modules, text. minor: of CPython 3. flags: of its
    ABI, such as "d" and "t"."""

    def __init__(self, path, mapped, base, data):
        self.path, self.mapped, self.base, self.data = path, mapped, base, data
        found = SUFFIX.search(data)
        self.suffix, self.minor, self.flags = "", 0, ""
        if found:
            self.suffix, self.minor, self.flags = found[0][:-1].decode(), int(found[1]), found[2].decode()

    def find(self, name):
        """Return the (address, size) in memory of an exported symbol, or None."""
        wanted = name.encode()
        for sections in self._sections():
            for kind, offset, size, link in sections:
                if kind != 11:          # SHT_DYNSYM
                    continue
                strings = sections[link][1]
                for at in range(offset, offset + size, 24):
                    start, _, _, index, value, length = struct.unpack_from("<IBBHQQ", self.data, at)
                    begin = strings + start
                    if index and self.data[begin:begin + len(wanted) + 1] == wanted + b"\0":
                        return value + self._bias(), length
        return None

    def _sections(self):
        """Yield the list of sections: (type, offset, size, link). Nothing when there is none."""
        offset, = struct.unpack_from("<Q", self.data, 40)
        entry, n = struct.unpack_from("<HH", self.data, 58)
        if offset and n and offset + n * entry <= len(self.data):
            rows = (struct.unpack_from("<IIQQQQII", self.data, offset + k * entry) for k in range(n))
            yield [(kind, begin, size, link) for _, kind, _, _, begin, size, link, _ in rows]

    def _bias(self):
        """Return how much higher the file lies in memory than its addresses say."""
        offset, = struct.unpack_from("<Q", self.data, 32)
        entry, n = struct.unpack_from("<HH", self.data, 54)
        loads = (struct.unpack_from("<IIQQ", self.data, offset + k * entry) for k in range(n))
        return next(self.base - (address - begin) for kind, _, begin, address in loads if kind == 1)    # PT_LOAD


def find(pid, memory):
    """Return the Image of the interpreter of a process, or None. memory: file descriptor of its memory. Raises
    PermissionError, and FileNotFoundError with the path of a file that has been replaced since the process began."""
    program = os.readlink(f"/proc/{pid}/exe")
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
        rows = [line.rstrip("\n").split(None, 5) for line in maps]
    for addresses, _, offset, _, _, *path in rows:
        is_program = path == [program]
        if path and int(offset, 16) == 0 and (is_program or os.path.basename(path[0]).startswith("libpython3")):
            image = open_image(pid, memory, path[0], int(addresses.partition("-")[0], 16), is_program)
            if image and image.suffix and image.find("Py_Version"):
                return image
    return None


def open_image(pid, memory, mapped, base, is_program):
    """Return the Image of a mapped file, or None when it is none of a 64-bit processor."""
    path = strip_root(pid, mapped)
    with open(os.open(f"/proc/{pid}/exe", READ) if is_program else open_mapped(pid, path), "rb") as file:
        data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    if data[:HEAD] != os.pread(memory, HEAD, base):     # an overlay may show other numbers of inodes
        raise FileNotFoundError(2, "replaced", path)
    return Image(path, mapped, base, data) if data[:6] == b"\x7fELF\x02\x01" else None


def open_mapped(pid, path):
    """Return a descriptor of a file that a process has mapped, given its path there. What the process has put in its place is
    not followed if it is a symbolic link, which would lead out of the root directory of the process, and not waited for if
    it is a pipe. Raises FileNotFoundError with the path where the file is not there any more."""
    try:
        folder = open_below(os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), os.path.dirname(path))
        try:
            return os.open(os.path.basename(path), READ | os.O_NOFOLLOW, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
            raise FileNotFoundError(errno.ENOENT, "replaced", path) from None
        raise


def strip_root(pid, path):
    """Return a path in /proc/PID as the process names it: the kernel adds what leads to its root directory (chroot)."""
    root = os.readlink(f"/proc/{pid}/root").rstrip("/")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path
