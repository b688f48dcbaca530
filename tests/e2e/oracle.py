"""Runs a program under sys.setprofile and writes what ran: an oracle for its Python frames, independent of the
recorder.

    python3 oracle.py PROGRAM.py OUTPUT.json [c_calls] [monitored]

c_calls: calls of C functions, too. monitored: as it is when sys.monitoring is used.

Output: {"slices": [[function, thread, parent, flow, others], ...], "functions": [[name, src], ...], "callers":
[function, ...]}, with a slice and a caller for each time that a frame was entered, in that order. `parent` is the
number of the slice below it on its stack, or -1. `flow` is the number of the continuable frame's life, or -1. `others`
are the numbers of slices that may be its parent, too. The caller is the function of the frame that f_back gives, or the
one that calls a C function; -1 for none.

The callback only notes what it is given, so that the program runs as it would otherwise: nothing is kept alive,
nothing imported, nothing called. What the notes mean is worked out when the program has ended:

- A frame's address is its identity for one life only. A new life is recognized by the instruction at which the frame is
  entered, which is not after its first RESUME.
- CPython 3.11 does not report that a frame goes on when what it awaited was thrown at and then returned, for it goes
  on after the RESUME that would report it. The next event gives such a frame away: it is the caller of a new frame,
  and stands elsewhere than where it was suspended; or it is left without having been entered.
- From CPython 3.12 on a recorder that takes the place of the evaluation sees a frame left when it has been cleared. What
  runs for that (__del__, callbacks of weak references, generators that are closed) comes after the frame's return here,
  and its caller is the frame's caller, which still stands at the same instruction. So may be what that calls next.
- From CPython 3.13 on close() of a generator or coroutine that stands in no try block does not run it, except for
  the profiler's sake: its code is instrumented, and then close() throws into it.
"""

import importlib    # as python3 -m does; it renames its own innermost modules
import sys
import threading

CONTINUABLE_FLAGS = 0x20 | 0x80 | 0x200     # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR
STANDS_IN_NO_BLOCK = 8 if sys.version_info >= (3, 15) else 4       # RESUME_OPARG_DEPTH1_MASK of RESUME's argument

notes = []


def profile(frame, event, argument, note=notes.append, thread=threading.get_ident):
    if event == "call" or event == "return":
        caller = frame.f_back
        outer = caller and caller.f_back
        note((event, thread(), id(frame), frame.f_code, frame.f_lasti, frame.f_globals.get("__name__"),
              id(caller), caller and caller.f_code.co_flags & CONTINUABLE_FLAGS, caller and caller.f_lasti,
              caller and (caller.f_code, caller.f_globals.get("__name__")),
              outer and (outer.f_code, outer.f_globals.get("__name__"))))


def profile_c(frame, event, argument, note=notes.append, thread=threading.get_ident, profile=profile):
    if event.startswith("c_"):
        note((event, thread(), name_c(argument), None, None, None, None, None, None,
              (frame.f_code, frame.f_globals.get("__name__")), None))
    else:
        profile(frame, event, argument)


def name_c(function, is_class=type.__instancecheck__, module_type=type(sys)):
    """module.function, or class of self.method, the module builtins left out of the latter."""
    of = getattr(function, "__self__", None)
    if of is None and not function.__module__:
        return function.__qualname__            # a static method
    if of is None or is_class(module_type, of):
        return f"{function.__module__ or of.__name__}.{function.__name__}"
    of = of if is_class(type, of) else type(of)
    where = of.__dict__.get("__module__", of.__module__) if of.__flags__ & 1 << 9 else of.__module__
    return f"{of.__qualname__}.{function.__name__}" if where == "builtins" else \
        f"{where}.{of.__qualname__}.{function.__name__}"


def note_close(code, at, exception, note=notes.append, thread=threading.get_ident):
    stands_in_no_block = code.co_code[at + 1] & STANDS_IN_NO_BLOCK
    if isinstance(exception, GeneratorExit) and stands_in_no_block and not code.co_flags & 0x200:
        note(("close", thread(), None, code, at, None, None, None, None, None, None))


def watch_close():
    """Reports exceptions thrown at frames, before the profiler is called for these."""
    monitoring, tool = sys.monitoring, 4
    monitoring.use_tool_id(tool, "oracle")
    monitoring.register_callback(tool, monitoring.events.PY_THROW, note_close)
    monitoring.set_events(tool, monitoring.events.PY_THROW)


def run(path, profile, is_monitored):
    main = type(sys)("__main__")
    main.__file__ = path
    main.__builtins__ = __builtins__
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec")
    sys.modules["__main__"] = main
    sys.argv = [path]
    sys.path[0] = path.rpartition("/")[0]
    if sys.version_info >= (3, 13) and not is_monitored:
        watch_close()
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        exec(code, main.__dict__)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


class Story:
    """What the notes mean."""

    def __init__(self):
        self.numbers, self.functions = {}, []       # of functions
        self.lives, self.n_lives = {}, 0            # address of a continuable frame: (function, life)
        self.suspended = {}                         # address: instruction where it was left last
        self.stacks, self.slices, self.callers = {}, [], []     # thread: [(address, slice), ...]
        self.cleared = {}                           # thread: (caller's address and instruction, slices, code)
        self.closing = {}                           # thread: (code that is being closed, instruction)

    def function(self, code, module):
        """The function's number, and the place of its first RESUME."""
        import dis
        if (id(code), module) not in self.numbers:
            # 3.15 has one of another kind before it where a generator expression asks for its first iterator.
            resume = next(step.offset for step in dis.get_instructions(code) if step.opname == "RESUME" and step.arg == 0)
            self.numbers[id(code), module] = len(self.functions), resume
            name = f"{module or '?'}.{code.co_qualname}"
            self.functions.append([name, f"{code.co_filename}:{code.co_firstlineno}"])
        return self.numbers[id(code), module]

    def enter(self, stack, thread, frame, function, life, calling, others=()):
        self.callers.append(calling)
        self.slices.append([function, thread, stack[-1][1] if stack else -1, life, others])
        stack.append((frame, len(self.slices) - 1))

    def caller(self, reported):
        return self.function(*reported)[0] if reported else -1

    def enter_unreported(self, stack, thread, frame, called_by):
        self.enter(stack, thread, frame, *self.lives[frame], self.caller(called_by))

    def report(self, event, thread, frame, code, at, module, caller, caller_continues, caller_at, called_by, outer):
        calling = self.caller(called_by)
        stack = self.stacks.setdefault(thread, [])
        top = stack[-1][0] if stack else None
        if event == "close":
            self.closing[thread] = code, at
            return
        closing = self.closing.pop(thread, None)
        if event == "c_call":
            self.cleared.pop(thread, None)
            if frame not in self.numbers:
                self.numbers[frame] = len(self.functions), None
                self.functions.append([frame, ""])
            self.enter(stack, thread, frame, self.numbers[frame][0], -1, calling)
            return
        if event.startswith("c_"):
            self.cleared.pop(thread, None)
            if top == frame:
                stack.pop()
            return
        if event == "return":
            if top != frame and frame in self.lives and code.co_flags & CONTINUABLE_FLAGS:
                self.enter_unreported(stack, thread, frame, called_by)
            if stack:
                left, number = stack.pop()
                assert left == frame, f"{code} left, but another frame is on top"
                if closing == (code, at):           # nothing was run
                    self.slices.pop()
                    self.callers.pop()
                    return
                self.cleared[thread] = (caller, caller_at), (*self.slices[number][4], number), code
            self.suspended[frame] = at
            return
        place, others, cleared_code = self.cleared.pop(thread, (None, (), None))
        if place != (caller, caller_at) or sys.version_info < (3, 12):
            others = ()
        elif code is cleared_code:
            others = others[:-1]
        if sys.version_info < (3, 12) and caller_continues and caller in self.lives and \
                caller != next((frame for frame, _ in reversed(stack) if not isinstance(frame, str)), None) and \
                self.suspended[caller] != caller_at:
            self.enter_unreported(stack, thread, caller, outer)
        function, resume = self.function(code, module)
        life = -1
        if code.co_flags & CONTINUABLE_FLAGS:
            if at <= resume:
                self.lives[frame] = function, self.n_lives
                self.n_lives += 1
            life = self.lives[frame][1]
        else:
            self.lives.pop(frame, None)
        self.enter(stack, thread, frame, function, life, calling, others)
        if closing:
            self.closing[thread] = closing


if __name__ == "__main__":
    program, output, *options = sys.argv[1:]
    run(program, profile_c if "c_calls" in options else profile, "monitored" in options)
    story = Story()
    for note in notes:
        story.report(*note)
    import json
    with open(output, "w") as file:
        json.dump({"slices": story.slices, "functions": story.functions, "callers": story.callers}, file)
