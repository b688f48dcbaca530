"""The capture that a process makes so that the command converts it and then removes it.

It is held by descriptors from its begin on. So nothing else is taken for it: no capture that was there before, no other one
that lies at its name meanwhile, none to which a symbolic link leads. What is removed is what the descriptor has.
"""

import os
import shutil
import subprocess

from ..files import find_number, name_numbered
from .folder import DIRECTORY, open_below

PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Capture:
    """path: where the process is to make it, as it names it. root: path here of its root directory, or "" when it is this
    command's. owner: its Owner. Raises OSError when the folder cannot be opened."""

    def __init__(self, path, root, owner):
        self._path, self._root, self._owner = path, root, owner
        folder = os.path.dirname(path)
        base = os.open(root, PATH) if root else None
        with owner.rights():
            self._folder = open_below(base, folder) if root else os.open(folder, PATH)
            self._first = 1
            while self._find(os.path.basename(name_numbered(path, self._first))):
                self._first += 1

    def _find(self, name):
        """Return which file or directory has this name now: (device, inode), or None."""
        try:
            found = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def take(self, taken):
        """Take a new capture for it. taken: the path that the process reports. Returns whether there is such a one."""
        self._name = os.path.basename(taken)
        if (find_number(taken, self._path) or 0) < self._first:
            return False
        try:
            with self._owner.rights():
                self._capture = os.open(self._name, DIRECTORY, dir_fd=self._folder)
        except OSError:
            return False
        found = os.fstat(self._capture)
        self._identity = found.st_dev, found.st_ino
        return True

    def is_there(self):
        """Return whether its name is still its own."""
        with self._owner.rights():
            return self._find(self._name) == self._identity

    def is_recorded_into(self):
        """Return whether a process of it has a live mapping, since it still runs."""
        with self._owner.rights():
            return any(self._has_live(name) for name in os.listdir(self._capture))

    def _has_live(self, name):
        try:
            os.stat(f"{name}/live", dir_fd=self._capture, follow_symlinks=False)
        except OSError:
            return False
        return name.startswith("process-")

    def convert(self, converter, trace):
        """Run the converter, with the owner's rights where he can reach what it writes: the trace lies beside the capture,
        and where he has the same root directory. Else it has this command's rights, and is given the capture itself: the
        owner may have put another one at its name. Returns its exit status. Raises OSError when it cannot be run."""
        program = os.open(converter, os.O_PATH | os.O_CLOEXEC)      # the owner need not be able to reach it
        capture = f"/proc/self/fd/{self._capture}" if self._root else self._name
        try:
            return subprocess.run(
                ["panopticon attach", "-q", "-o", trace, "--", capture], executable=f"/proc/self/fd/{program}",
                cwd=f"/proc/self/fd/{self._folder}", pass_fds=[program, self._folder, self._capture], check=False,
                **({} if self._root else self._owner.of_child())).returncode
        finally:
            os.close(program)

    def remove(self):
        """Remove it, as far as that can be done."""
        with self._owner.rights():
            for name in os.listdir(self._capture):
                try:
                    os.unlink(name, dir_fd=self._capture)
                except OSError:
                    shutil.rmtree(name, ignore_errors=True, dir_fd=self._capture)
            try:
                if self._find(self._name) == self._identity:
                    os.rmdir(self._name, dir_fd=self._folder)
            except OSError:
                pass            # more was put into it meanwhile
