"""CPython 3.14 and later run a script when another process asks them to (PEP 768).

The table of offsets at the begin of _PyRuntime says where the thread's state has room for the script's path. The main
thread runs it at its next safe point, which it finds by a bit of its eval breaker. sys.remote_exec needs the target's
own version; the table does not.
"""

import os
import struct

COOKIE = b"xdebugpy"
# Indexes of 64-bit words in _Py_DebugOffsets (Include/internal/pycore_debug_offsets.h). Up to interpreter_state all
# versions agree; debugger_support is the last group of each.
INTERPRETERS_HEAD, INTERPRETER_ID, INTERPRETER_NEXT, THREADS_MAIN = 5, 7, 8, 10
DEBUGGER_SUPPORT = {14: 89, 15: 105}

# Bits of the eval breaker (Include/internal/pycore_ceval.h), all stored in one byte. Other threads may set one while that is
# changed. So bits that do nothing when there is nothing to do are set with that of the request (5): those of signals,
# pending calls and exceptions. That of garbage collection is requested again when it is lost. So is that of the GIL (0),
# which must be clear: a thread that gives up the GIL for it waits until another has taken it, and there may be none.
HARMLESS, GIL_DROP = 1 << 5 | 1 << 1 | 1 << 2 | 1 << 3, 1 << 0


class Failed(Exception):
    """No script is run. The text says why, and what to do."""


class Request:
    """The request that the main thread of a process run a script. memory: file descriptor of its memory. runtime: the
    address of _PyRuntime. minor: of its version."""

    def __init__(self, memory, runtime, minor):
        self.memory = memory
        table = os.pread(memory, 8 * (DEBUGGER_SUPPORT[minor] + 6), runtime)
        words = struct.unpack(f"<{len(table) // 8}Q", table)
        if table[:8] != COOKIE or words[1] >> 16 != 0x300 + minor:
            raise Failed("its runtime has no table of debug offsets: it is a build that is not known")
        breaker, support, enabled, pending, path, self.size = words[DEBUGGER_SUPPORT[minor]:]
        interpreter = self._read_word(runtime + words[INTERPRETERS_HEAD])
        while interpreter and self._read_word(interpreter + words[INTERPRETER_ID]):
            interpreter = self._read_word(interpreter + words[INTERPRETER_NEXT])
        thread = self._read_word(interpreter + words[THREADS_MAIN]) if interpreter else 0
        if not thread:
            raise Failed("its interpreter is about to begin or to end: try again")
        if not struct.unpack("<i", os.pread(memory, 4, interpreter + enabled))[0]:
            raise Failed("it was started with PYTHON_DISABLE_REMOTE_DEBUG or -X disable-remote-debug: start it without")
        self.pending, self.path, self.breaker = thread + support + pending, thread + support + path, thread + breaker

    def _read_word(self, address):
        return struct.unpack("<Q", os.pread(self.memory, 8, address))[0]

    def make(self, script):
        """Make the request. script: its path in the target, bytes."""
        if len(script) >= self.size:
            raise Failed(f"the path of a script is too long for it: {os.fsdecode(script)}")
        if self.is_pending():
            raise Failed("another debugger has asked it to run a script, which it has not done yet: try again")
        os.pwrite(self.memory, script + b"\0", self.path)
        os.pwrite(self.memory, struct.pack("<i", 1), self.pending)
        self.remind()

    def remind(self):
        """Have the main thread look for the request."""
        before, = os.pread(self.memory, 1, self.breaker)
        os.pwrite(self.memory, bytes([(before | HARMLESS) & ~GIL_DROP]), self.breaker)

    def is_pending(self):
        """Return whether the main thread has yet to begin to run the script."""
        return struct.unpack("<i", os.pread(self.memory, 4, self.pending))[0] == 1

    def withdraw(self):
        """Take the request back."""
        os.pwrite(self.memory, struct.pack("<i", 0), self.pending)
