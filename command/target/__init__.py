"""Another process in which an interpreter runs: whether Python code can be run in it, and running it there.

    with Target(pid) as target:
        target.run(code, name, begun)

CPython 3.14 and later offer it themselves (remote_debugging.py); a debugger does it in 3.11 to 3.13 (debugger.py).
Whatever prevents it is found before the process is touched, where that is possible.
"""

import fcntl
import os
import pwd
import select
import struct
import sys
import time

from . import debugger, image, remote_debugging
from .folder import FOLDERS, Folder
from .owner import Owner

OLDEST, NEWEST = 11, 15             # minor versions of CPython 3
HINT_AFTER = 2                      # seconds
REMIND_AFTER = 1                    # seconds
BEGUN_AFTER = 3                     # seconds in which a script that an interpreter has taken begins
MAX_VAIN = 3                        # tries: each may have CPython 3.14 and later print why the script was not run
INTERRUPTED, NOT_RUN = "interrupted", "recursion"


class Refused(Exception):
    """Nothing was run in the process. The text says why, and what to do."""


class Target:
    """pid: of the process here. inner_pid: in its own PID namespace. root: the path here of its root directory. owner: its
    Owner. image: of its interpreter. Raises Refused."""

    def __init__(self, pid):
        self.pid, self.root = pid, f"/proc/{pid}/root"
        try:
            self.handle = os.pidfd_open(pid)
        except (OSError, OverflowError):
            raise Refused(f"there is no process {pid}") from None
        status = self.read_status()
        self.inner_pid = int(status.get("NSpid", str(pid)).split()[-1])
        user, group = (int(status[key].split()[1]) for key in ("Uid", "Gid"))
        self.owner = Owner(user, group, [int(one) for one in status.get("Groups", "").split()])
        self.check_state(status)
        self.memory = self.open_memory()
        self.image = self.find_image()
        self.check_image()
        self.lock = None

    def __enter__(self):
        """Wait for other processes that run code in it, and look whether that can be done now."""
        self.lock = os.open(f"/proc/{self.pid}", os.O_RDONLY | os.O_DIRECTORY)
        self.wait_for_lock()
        status = self.read_status()
        self.check_state(status)
        self.check_tracer(status)
        return self

    def wait_for_lock(self):
        """Wait until no other command is entering it, and say so after two seconds."""
        start, is_said = time.monotonic(), False
        while not self.find_end():
            try:
                return fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.02)
            if not is_said and time.monotonic() > start + HINT_AFTER:
                sys.stderr.write(f"panopticon: another command is entering process {self.pid}: waiting for it\n")
                is_said = True
        raise self.make_refusal()

    def __exit__(self, *exception):
        os.close(self.lock)

    # ---- checks ----

    def read_status(self):
        """Return the fields of /proc/PID/status: dict of str to str."""
        try:
            with open(f"/proc/{self.pid}/status", encoding="utf-8", errors="replace") as file:
                return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        except (FileNotFoundError, ProcessLookupError):
            raise Refused(f"there is no process {self.pid}") from None

    def check_state(self, status):
        state = status["State"][:1]
        if state in "ZX":
            raise Refused(f"process {self.pid} has ended, and its parent has yet to take note of it (a zombie)")
        if state == "T":
            raise Refused(f"process {self.pid} is stopped: let it go on, kill -CONT {self.pid}")

    def check_tracer(self, status):
        """With the lock: it may else be the debugger of another command."""
        if status.get("TracerPid", "0") != "0":
            raise Refused(f"process {self.pid} is in the hands of a debugger, process {status['TracerPid']}: end that first")

    def open_memory(self):
        """Return a file descriptor of its memory, for which the kernel asks the rights of a debugger (ptrace(2))."""
        try:
            return os.open(f"/proc/{self.pid}/mem", os.O_RDWR)
        except FileNotFoundError:
            raise Refused(f"there is no process {self.pid}") from None
        except OSError:
            self.refuse()

    def refuse(self):
        """Raise Refused: this process may not enter it."""
        if os.geteuid() not in (0, self.owner.user):
            raise Refused(f"process {self.pid} belongs to {name_user(self.owner.user)}: run this as that user, or with sudo")
        scope = read_ptrace_scope()
        if scope == 3:
            raise Refused("the kernel forbids to enter processes until the machine starts again (kernel.yama.ptrace_scope = 3)")
        if scope and os.geteuid():
            raise Refused(f"the kernel lets only root enter other processes (kernel.yama.ptrace_scope = {scope}): use sudo, "
                          "or sudo sysctl kernel.yama.ptrace_scope=0")
        raise Refused(f"no right to enter process {self.pid}: in a container it takes the capability SYS_PTRACE (docker run "
                      "--cap-add SYS_PTRACE), else sudo")

    def find_image(self):
        try:
            found = image.find(self.pid, self.memory)
            program = os.readlink(f"/proc/{self.pid}/exe")
        except FileNotFoundError as error:
            path = (error.filename or "").removeprefix(self.root).removesuffix(" (deleted)")
            raise Refused(f"process {self.pid} has ended" if path.startswith("/proc/") else
                          f"process {self.pid} runs {path}, which has been replaced since: start it again") from None
        except OSError:
            self.refuse()
        if not found:
            raise Refused(f"process {self.pid} runs {program}, which is not CPython, or exports no symbols")
        return found

    def check_image(self):
        version = f"CPython 3.{self.image.minor}{self.image.flags}"
        if not OLDEST <= self.image.minor <= NEWEST:
            raise Refused(f"process {self.pid} runs {version}, and CPython 3.{OLDEST} to 3.{NEWEST} can be entered")
        if "t" in self.image.flags:
            raise Refused(f"process {self.pid} runs {version}, which is free-threaded: that is not supported yet")
        if self.image.minor < 14:
            try:
                debugger.find()
            except debugger.Failed as error:
                raise Refused(str(error)) from None

    # ---- running code ----

    def find_end(self):
        """Return what has become of it: "has ended", "has become another program" (exec), or "" for neither."""
        if select.select([self.handle], [], [], 0)[0]:
            return "has ended"
        try:
            if os.pread(self.memory, 1, self.image.base):
                return ""
            os.readlink(f"/proc/{self.pid}/exe")        # not there either while it ends
        except OSError:
            return "has ended"
        return "has become another program"

    def make_refusal(self, text=""):
        """Return a Refused: the process has ended, or else this text."""
        end = self.find_end()
        return Refused(f"process {self.pid} {end}" if end else f"process {self.pid}{text or ' has ended'}")

    def make_folder(self):
        """Return a Folder in which it answers."""
        try:
            return Folder(self.root, self.owner)
        except OSError:
            raise self.make_refusal(
                f" has no folder for temporary files that can be written: {', '.join(FOLDERS)}") from None

    def run(self, code, name, folder, on_wait):
        """Run code, which answers in a Folder, and return the text of the answer; INTERRUPTED when the handler of a
        signal has raised an exception meanwhile, NOT_RUN when nothing has begun. name: of the file from which the code
        is said to be, as the process names it. on_wait: called once when the main thread does not run it within two
        seconds. Raises Refused when it was not run."""
        try:
            folder.ask()
            if self.image.minor >= 14:
                self.request(folder.leave_script(code), on_wait)
                return self.wait_for_answer(folder)
            has_run = debugger.Injection(self.pid, self.image, self.memory, code, os.fsencode(name)).run()
            text = folder.read("answer")            # if there is none now, there will be none
            return text if text is not None else NOT_RUN if has_run and not folder.has_begun() else INTERRUPTED
        except (debugger.Failed, remote_debugging.Failed) as error:
            raise self.make_refusal(f": {error}") from None
        except (OSError, struct.error) as error:
            raise self.make_refusal(f": {error}") from None

    def request(self, script, on_wait):
        """Have the main thread run a script, and wait until it has begun to. script: its path there."""
        request = remote_debugging.Request(self.memory, self.image.find("_PyRuntime")[0], self.image.minor)
        request.make(os.fsencode(script))
        start = reminded = time.monotonic()
        try:
            while request.is_pending():
                if self.find_end():
                    raise self.make_refusal()
                time.sleep(0.005)
                if time.monotonic() > reminded + REMIND_AFTER:     # a thread of the target may have overwritten it
                    request.remind()
                    reminded = time.monotonic()
                if on_wait and time.monotonic() > start + HINT_AFTER:
                    on_wait()
                    on_wait = None
        except BaseException:
            if not self.find_end():
                request.withdraw()
            raise

    def wait_for_answer(self, folder):
        """Return the text of the answer, or NOT_RUN."""
        end = time.monotonic() + BEGUN_AFTER
        while (text := folder.read("answer")) is None:
            if self.find_end():
                raise self.make_refusal()
            if time.monotonic() > end and not folder.has_begun() and folder.withdraw():
                return NOT_RUN
            time.sleep(0.005)
        return text


def name_user(uid):
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user {uid}"


def read_ptrace_scope():
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0
