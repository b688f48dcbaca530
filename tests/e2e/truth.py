"""Runs a program under sys.setprofile and writes what ran: the independent truth about its Python frames.

    python3 truth.py PROGRAM.py OUTPUT.json

Output: {"slices": [[function, thread, parent, chain], ...], "functions": [[name, src], ...]}, one slice for each
time that a frame was entered, in that order; `parent` is the number of the slice below it on its stack or -1,
`chain` the number of the continuable frame's life or -1.

The callback only notes what it is told, so that the program runs as it would otherwise: nothing is kept alive,
nothing imported, nothing called. What the notes mean is worked out when the program has ended:

- A frame's address is its identity for one life only. A new life is seen by the instruction at which the frame is
  entered, which is not behind its first RESUME.
- CPython 3.11 does not tell that a frame goes on when what it awaited was thrown at and then returned, for it goes
  on behind the RESUME that would tell it. The next event gives such a frame away: it is the caller of a new frame,
  and stands elsewhere than where it was suspended; or it is left without having been entered.
"""

import importlib    # as python3 -m does; it renames its own innermost modules
import sys
import threading

CONTINUABLE_FLAGS = 0x20 | 0x80 | 0x200     # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR

notes = []


def profile(frame, event, argument, note=notes.append, thread=threading.get_ident):
    if event == "call" or event == "return":
        caller = frame.f_back
        note((event, thread(), id(frame), frame.f_code, frame.f_lasti, frame.f_globals.get("__name__"),
              id(caller), caller and caller.f_code.co_flags & CONTINUABLE_FLAGS, caller and caller.f_lasti))


def run(path):
    main = type(sys)("__main__")
    main.__file__ = path
    main.__builtins__ = __builtins__
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec")
    sys.modules["__main__"] = main
    sys.argv = [path]
    sys.path[0] = path.rpartition("/")[0]
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        exec(code, main.__dict__)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


class Story:
    """What the notes tell."""

    def __init__(self):
        self.numbers, self.functions = {}, []       # of functions
        self.lives, self.n_lives = {}, 0            # address of a continuable frame: (function, life)
        self.suspended = {}                         # address: instruction where it was left last
        self.stacks, self.slices = {}, []           # thread: [(address, slice), ...]

    def function(self, code, module):
        """The function's number, and the place of its first RESUME."""
        import dis
        if (id(code), module) not in self.numbers:
            resume = next(step.offset for step in dis.get_instructions(code) if step.opname == "RESUME")
            self.numbers[id(code), module] = len(self.functions), resume
            name = f"{module or '?'}.{code.co_qualname}"
            self.functions.append([name, f"{code.co_filename}:{code.co_firstlineno}"])
        return self.numbers[id(code), module]

    def enter(self, stack, thread, frame, function, life):
        self.slices.append([function, thread, stack[-1][1] if stack else -1, life])
        stack.append((frame, len(self.slices) - 1))

    def enter_unseen(self, stack, thread, frame):
        self.enter(stack, thread, frame, *self.lives[frame])

    def tell(self, event, thread, frame, code, at, module, caller, caller_continues, caller_at):
        stack = self.stacks.setdefault(thread, [])
        top = stack[-1][0] if stack else None
        if event == "return":
            if top != frame and frame in self.lives and code.co_flags & CONTINUABLE_FLAGS:
                self.enter_unseen(stack, thread, frame)
            if stack:
                assert stack.pop()[0] == frame, f"{code} left, but another frame is on top"
            self.suspended[frame] = at
            return
        if caller_continues and caller in self.lives and caller != top and self.suspended[caller] != caller_at:
            self.enter_unseen(stack, thread, caller)
        function, resume = self.function(code, module)
        life = -1
        if code.co_flags & CONTINUABLE_FLAGS:
            if at <= resume:
                self.lives[frame] = function, self.n_lives
                self.n_lives += 1
            life = self.lives[frame][1]
        else:
            self.lives.pop(frame, None)
        self.enter(stack, thread, frame, function, life)


if __name__ == "__main__":
    program, output = sys.argv[1:]
    run(program)
    story = Story()
    for note in notes:
        story.tell(*note)
    import json
    with open(output, "w") as file:
        json.dump({"slices": story.slices, "functions": story.functions}, file)
