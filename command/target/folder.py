"""The folder by which a process answers: it lies where that process has its temporary files, and belongs to its user.

The process may be another user's, who may put anything there, also symbolic links, and mount anything. So all is done with
his rights (owner.py), by descriptors of the folder, and no link is followed. They outlive the process, whose root
directory cannot be named after its end.

    wanted --the process begins--> begun --it has done it--> answer
    wanted --withdraw()--> nothing: the process does not begin any more
"""

import os
import stat

FOLDERS = "/tmp", "/var/tmp", "/dev/shm"
MAX_TEXT = 65536        # bytes of an answer
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """path: as the process names it. root: path here of the process's root directory. owner: Owner, to whom the folder
    belongs. Raises OSError when there is no place for one."""

    def __init__(self, root, owner):
        self._owner = owner
        self._name = f"panopticon-{os.getpid()}-{os.urandom(6).hex()}"
        for parent in FOLDERS:
            try:
                self._make(root, parent)
                self.path = f"{parent}/{self._name}"
                break
            except OSError:
                if parent is FOLDERS[-1]:
                    raise

    def _make(self, root, parent):
        base = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)     # with the rights of a debugger (proc(5))
        with self._owner.rights():
            self._parent = open_below(base, parent)
            os.mkdir(self._name, 0o700, dir_fd=self._parent)
            self._folder = os.open(self._name, DIRECTORY, dir_fd=self._parent)

    def ask(self):
        """Allow the process to begin."""
        for left in "begun", "answer":
            self._unlink(left)
        self._write("wanted", "")

    def withdraw(self):
        """Have the process not begin. Returns whether it had not."""
        return self._unlink("wanted")

    def has_begun(self):
        return self.read("begun") is not None

    def leave_script(self, code):
        """Leave a script for the process, ASCII. Returns its path there."""
        self._write("script.py", code)
        return f"{self.path}/script.py"

    def read(self, name):
        """Return the text of a file, or None when there is none that may be read."""
        with self._owner.rights():
            try:
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._folder)
            except OSError:
                return None
        try:
            is_file = stat.S_ISREG(os.fstat(file).st_mode)
            return os.read(file, MAX_TEXT).decode("utf-8", "surrogateescape") if is_file else ""
        finally:
            os.close(file)

    def remove(self):
        """Remove the folder with what is in it."""
        with self._owner.rights():
            try:
                for name in os.listdir(self._folder):
                    self._unlink(name)
                os.rmdir(self._name, dir_fd=self._parent)
            except OSError:
                pass            # it has been removed, or more was put into it than files

    def _write(self, name, text):
        self._unlink(name)
        with self._owner.rights():
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._folder)
        try:
            os.write(file, text.encode("ascii"))
        finally:
            os.close(file)

    def _unlink(self, name):
        with self._owner.rights():
            try:
                os.unlink(name, dir_fd=self._folder)
                return True
            except OSError:
                return False


def open_below(base, path):
    """Return a descriptor of a directory below another one, on whose way there is no symbolic link. base: a descriptor, which
    is closed."""
    directory = base
    for part in filter(None, path.split("/")):
        parent, directory = directory, -1
        try:
            directory = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        finally:
            os.close(parent)
    return directory
