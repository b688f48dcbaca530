"""Runs Python code in a process of CPython 3.11 to 3.13 by gdb, which is driven through its machine interface.

Where code may be called, in two steps:

1. Py_AddPendingCall may be called by any thread, with or without the GIL, and takes one lock of the interpreter's. It is
   called in the main thread where that does not have the lock: it is stopped in the eval loop itself, in a system call,
   or outside of the interpreter and of the C library. From elsewhere it goes on by single instructions. One that comes to
   no such place in STEPS of them is in a long C function: the lock is never held for that many. It queues
   PyErr_CheckSignals.
2. The main thread calls that at its next safe point, after a breakpoint has been set there. Who calls
   PyErr_CheckSignals expects that it runs Python code, since a signal's handler is such: the GIL is held, and no lock of
   malloc. There the code is run.

gdb is given addresses and reads no symbols. When its standard input ends, it removes its breakpoints and detaches, also
when this process is killed. When gdb itself is killed, its breakpoint is removed here, before a thread comes to it. It is
never asked to interrupt the process, for which it would send SIGINT.
"""

import os
import re
import select
import shutil
import signal
import struct
import subprocess
import time

PATIENCE = 10           # seconds until a process that reaches no safe place is left
ROUND = 1               # seconds for which one breakpoint is waited for
STEPS = 1000            # instructions: more than any thread carries out between taking and giving back the lock
STEP_S = 1              # seconds for which the end of one is waited for
ROOM = 256 << 10        # bytes of a thread's stack: the code is compiled, and imports the recorder
SYSTEM_CALLS = {62: b"\x0f\x05", 183: b"\x01\x00\x00\xd4"}     # by e_machine: x86-64, aarch64
# What a stopped system call has returned when the kernel would go on with it (include/linux/errno.h), and EINTR.
RESTARTS, INTERRUPTED = (-512, -513, -514, -516), -4
FILE_INPUT = 257        # Py_file_input (Include/compile.h)
# How a function is left at its first instruction with the result -1, as assignments: by e_machine.
RETURNS = {62: ("$rax=-1", "$rip=*(long*)$rsp", "$rsp=$rsp+8"), 183: ("$x0=-1", "$pc=$x30")}
OUR_ERRORS = "PyExc_RecursionError", "PyExc_MemoryError"
FUNCTIONS = ("Py_AddPendingCall", "PyErr_CheckSignals", "PyErr_Occurred", "PyErr_Clear", "PyDict_New",
             "Py_CompileString", "PyEval_EvalCode", "Py_DecRef", "PyMem_RawMalloc", "PyMem_RawFree", "PyGILState_Check",
             "PyErr_ExceptionMatches", "_PyEval_EvalFrameDefault")
# The process's signals go to it. What gdb would load, look up or ask costs time, or is another user's to choose.
SETTINGS = ("set pagination off", "set confirm off", "set debuginfod enabled off", "set auto-load off",
            "set auto-solib-add off", "set unwindonsignal on", "set non-stop off", "set detach-on-fork on",
            "set follow-fork-mode parent", "handle all nostop noprint pass", "handle SIGINT nostop noprint pass")


class Failed(Exception):
    """Nothing was run. The text says why, and what to do."""


def find():
    """Return the path of gdb. Raises Failed."""
    path = shutil.which("gdb")
    if not path:
        raise Failed("CPython before 3.14 is entered by gdb, which is not installed: apt-get install gdb, or the like")
    return path


class Gdb:
    """A gdb, as a context: it ends with it, and leaves the process."""

    def __init__(self):
        self.process = subprocess.Popen([find(), "-nx", "-q", "--interpreter=mi3"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
                                        env={**os.environ, "LC_ALL": "C"})
        self.rest = b""
        for setting in SETTINGS:
            self.ask(f'-interpreter-exec console "{setting}"', is_optional=True)
        self.ask("-gdb-set mi-async on")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def ask(self, command, is_optional=False):
        """Return the answer to a command, which is waited for."""
        try:
            self.process.stdin.write(command.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed("gdb has ended: try again") from None
        answer = self.wait("^")
        if answer.startswith("^error") and not is_optional:
            found = re.search(r'msg="((?:[^"\\]|\\.)*)"', answer)
            raise Failed(f"gdb: {found[1] if found else answer}")
        return answer

    def wait(self, begin, until=None):
        """Return the next line of gdb's that begins so; None at the time until (of time.monotonic)."""
        while True:
            while b"\n" in self.rest:
                line, _, self.rest = self.rest.partition(b"\n")
                if line.startswith(begin.encode()):
                    return line.decode("utf-8", "replace")
            left = None if until is None else max(0, until - time.monotonic())
            if not select.select([self.process.stdout], [], [], left)[0]:
                return None
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                raise Failed("gdb has ended: try again")
            self.rest += more

    def evaluate(self, expression, thread=1):
        """Return the value of an expression of C that is a number."""
        answer = self.ask(f'-data-evaluate-expression --thread {thread} "(long)({expression})"')
        return int(re.search(r'value="(-?\d+)', answer)[1])

    def call(self, address, *arguments, thread=1):
        """Call a function of the process with numbers and return its value, a number."""
        types, values = ",".join(["long"] * len(arguments)) or "void", ",".join(f"{value}L" for value in arguments)
        return self.evaluate(f"((long(*)({types})){address})({values})", thread)

    def step(self, until):
        """Let the main thread carry out one instruction. Returns whether that was possible up to the time until."""
        self.ask("-exec-step-instruction --thread 1")
        stopped = self.wait("*stopped", until)
        if stopped and "exited" in stopped:
            raise Failed("it has ended")
        return bool(stopped)

    def attach(self, pid):
        self.ask(f"-target-attach {pid}")
        if not self.wait("*stopped", time.monotonic() + PATIENCE):
            raise Failed("gdb cannot stop it: try again")


class Injection:
    """Running Python code once in a process. image: of its interpreter. memory: file descriptor of its memory. code: the
    text, ASCII. name: of its file, bytes."""

    def __init__(self, pid, image, memory, code, name):
        self.pid, self.memory, self.code, self.name = pid, memory, code.encode("ascii") + b"\0", name + b"\0"
        found = {name: image.find(name) for name in FUNCTIONS + OUR_ERRORS}
        if missing := [name for name, one in found.items() if not one]:
            raise Failed(f"its interpreter does not export {missing[0]}: it is a build that is not known")
        self.at = {name: address for name, (address, _) in found.items()}
        begin, size = found["_PyEval_EvalFrameDefault"]
        self.eval_loop = range(begin, begin + size)
        begin, size = found["Py_AddPendingCall"]
        self.adding = range(begin, begin + size)
        machine, = struct.unpack_from("<H", image.data, 18)
        self.system_call, self.leaves = SYSTEM_CALLS.get(machine), RETURNS.get(machine)
        self.interpreter = image.mapped
        self.maps = []          # of the process when it was stopped
        self.instructions = self.read_instructions()    # where the breakpoint comes

    def run(self):
        """Run the code. Returns whether it was run to its end: the handler of a signal may have raised an exception,
        which the program gets. Raises Failed when there was no safe place for it."""
        end = time.monotonic() + PATIENCE
        ends_wait = False
        while time.monotonic() < end:
            gdb = Gdb()
            try:
                with gdb:
                    self.queue(gdb, end)
                    if ends_wait:
                        self.end_wait(gdb)
                    thread = self.reach(gdb, min(end, time.monotonic() + ROUND))
                    if thread:
                        has_run = self.execute(gdb, thread)
                        gdb.ask("-target-detach")
                        return has_run
                    ends_wait = True
            finally:
                if gdb.process.returncode < 0:
                    self.repair()
        self.leave()

    def read_instructions(self):
        return os.pread(self.memory, 8, self.at["PyErr_CheckSignals"])

    def repair(self):
        """Remove what a gdb that was killed has left: its breakpoint, and that the process is stopped."""
        try:
            if self.read_instructions() != self.instructions:
                os.pwrite(self.memory, self.instructions, self.at["PyErr_CheckSignals"])
            os.kill(self.pid, signal.SIGCONT)
        except OSError:
            pass                # it has ended, or become another program

    def queue(self, gdb, end):
        """Stop the process where its main thread may call Py_AddPendingCall, and have it do so."""
        while time.monotonic() < end:
            gdb.attach(self.pid)
            if not os.pread(self.memory, 1, self.at["Py_AddPendingCall"]):
                raise Failed("it has become another program")   # the memory is that of the former one, and gone
            self.maps = read_maps(self.pid)
            if self.step_to_open(gdb) and gdb.call(
                    self.at["Py_AddPendingCall"], self.at["PyErr_CheckSignals"], 0) & 0xffffffff == 0:
                return
            gdb.ask("-target-detach")
            time.sleep(0.01)
        self.leave()

    def step_to_open(self, gdb):
        """Let the main thread go on by instructions to a place where it does not have the lock of the pending calls.
        Returns whether it has come to one."""
        for _ in range(STEPS):
            if self.is_open(address := gdb.evaluate("$pc")):
                return True
            if not gdb.step(time.monotonic() + STEP_S):
                raise Failed("its main thread waits in an unusual way: try again")
        return address not in self.adding and not self.is_closed(address, "")

    @staticmethod
    def leave():
        raise Failed(f"it reached no place in {PATIENCE} s where Python code may run, and is left as it was: try again when "
                     "its main thread runs Python code")

    def is_open(self, address):
        """Return whether a thread that is stopped at this address does not have the lock of the pending calls."""
        return address in self.eval_loop or self.is_system_call(address) or not self.is_closed(address, self.interpreter)

    def is_closed(self, address, interpreter):
        """Return whether an address belongs to the C library, the dynamic linker, what has no file, or the file named
        interpreter."""
        names = re.compile(r"(libc|ld|libpthread)[-.]")
        for begin, end, path in self.maps:
            if begin <= address < end:
                return path in ("", interpreter) or path[0] == "[" or bool(names.match(os.path.basename(path)))
        return True

    def is_system_call(self, address):
        """Return whether the instruction before this address, or at it, is that of a system call."""
        instruction = self.system_call
        try:
            around = os.pread(self.memory, 2 * len(instruction), address - len(instruction)) if instruction else b""
        except OSError:
            return False
        return bool(instruction) and instruction in (around[:len(instruction)], around[len(instruction):])

    def end_wait(self, gdb):
        """End the system call in which the main thread waits without the GIL, as a signal would (EINTR). CPython then
        calls PyErr_CheckSignals, and waits again (PEP 475)."""
        waits = self.is_system_call(gdb.evaluate("$pc")) and self.system_call == SYSTEM_CALLS[62]
        if waits and gdb.evaluate("$rax") in RESTARTS and gdb.call(self.at["PyGILState_Check"]) & 0xffffffff == 0:
            gdb.ask(f"-gdb-set $rax={INTERRUPTED}")
            gdb.ask("-gdb-set $orig_rax=-1")

    def reach(self, gdb, until):
        """Let the process run to PyErr_CheckSignals. Returns the thread that has come there, or None."""
        gdb.ask('-interpreter-exec console "catch exec"')
        gdb.ask(f"-break-insert *{self.at['PyErr_CheckSignals']}")
        while True:
            gdb.ask("-exec-continue --all")
            stopped = gdb.wait("*stopped", until)
            if not stopped:
                return None
            if 'reason="breakpoint-hit"' not in stopped:
                raise Failed("it has ended, or has become another program")
            thread = int(re.search(r'thread-id="(\d+)"', stopped)[1])
            if self.has_room(gdb, thread) and gdb.call(self.at["PyErr_Occurred"], thread=thread) == 0:
                gdb.ask("-break-delete")
                return thread

    def has_room(self, gdb, thread):
        """Return whether the stack of a thread has room for the code. That of the first thread grows."""
        top = gdb.evaluate("$sp", thread)
        for begin, end, path in read_maps(self.pid):
            if begin <= top < end:
                return path == "[stack]" or top - begin >= ROOM
        return False

    def execute(self, gdb, thread):
        """Run the code in a thread that begins PyErr_CheckSignals. It gets a dict of its own. Returns whether it was run
        to its end."""
        def call(name, *arguments):
            return gdb.call(self.at[name], *arguments, thread=thread)

        room = call("PyMem_RawMalloc", len(self.code) + len(self.name))
        if not room:
            raise Failed("it is out of memory")
        os.pwrite(self.memory, self.code + self.name, room)
        names = call("PyDict_New")
        code = names and call("Py_CompileString", room, room + len(self.code), FILE_INPUT)
        result = code and call("PyEval_EvalCode", code, names, names)
        for owned in filter(None, (result, code, names)):
            call("Py_DecRef", owned)
        call("PyMem_RawFree", room)
        if result:
            return True
        is_ours = not code or not self.leaves or any(
            call("PyErr_ExceptionMatches", gdb.evaluate(f"*(long*){self.at[name]}")) & 0xffffffff
            for name in OUR_ERRORS)
        if is_ours:
            call("PyErr_Clear")
            return True
        for assignment in self.leaves:      # the handler of a signal has raised: PyErr_CheckSignals returns -1 for that
            gdb.evaluate(assignment, thread)
        return False


def read_maps(pid):
    """Return the mappings of a process: (begin, end, path of the file or "")."""
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
        rows = [line.rstrip("\n").split(None, 5) for line in maps]
    return [(*(int(one, 16) for one in addresses.split("-")), path[0] if path else "")
            for addresses, _, _, _, _, *path in rows]
