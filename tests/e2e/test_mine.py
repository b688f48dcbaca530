"""--mine: own code in full, and of libraries what own code calls itself."""

import fnmatch
import json
import os
import shutil
import unittest

import e2e
import test_filters
import test_oracle

FULL, BOUNDARY, EXCLUDED = range(3)
INCLUDE, EXCLUDE = test_filters.INCLUDE, test_filters.EXCLUDE


def is_library(file):
    return {"site-packages", "dist-packages"} & set(file.split(os.sep)) or \
        test_filters.is_below(file, test_filters.PATHS["stdlib"])


def judge(name, file, folder, rules):
    """What becomes of a function. name: with its module; file: empty for a C function."""
    module = test_filters.module_of(name, file)
    is_own = file.startswith(folder + os.sep) or (module == "__main__" and file.startswith(os.sep))
    outcome = FULL if is_own and not is_library(file) else BOUNDARY
    for option, glob in rules:
        if any(fnmatch.fnmatchcase(text, glob) for text in (module, name, file)):
            outcome = FULL if option == INCLUDE else EXCLUDED
    return outcome


def kept_slices(slices, callers, outcomes):
    """The slices that --mine keeps, each with the nearest of those around it for parent. callers: the function that
    called each, or None. outcomes: of functions; a C function is recorded where one that is FULL calls it."""
    place, kept = [], []
    for (function, parent, flow, step, others), caller in zip(slices, callers):
        is_c = not function[1]
        parent = place[parent] if parent >= 0 else -1
        is_called_by_full = caller is not None and outcomes[caller] == FULL
        if outcomes[function] == EXCLUDED or (outcomes[function] == BOUNDARY or is_c) and not is_called_by_full:
            place.append(parent)
            continue
        place.append(len(kept))
        kept.append((function, parent, flow, step, tuple(place[other] for other in others if place[other] >= 0)))
    return kept


class Comparison(e2e.EndToEnd):
    """Real programs, compared with what sys.setprofile reports of them, judged by its callers."""

    programs = [(name, []) for name in test_oracle.Comparison.programs] + [
        ("sleepers.py", [(INCLUDE, "asyncio.*"), (EXCLUDE, "asyncio.ev*")]),
        ("codec.py", [(INCLUDE, "json.encoder"), (EXCLUDE, "json.scanner")]),
        ("logs.py", [(INCLUDE, "logging")])]
    with_c_calls = test_oracle.CCalls.programs
    options, reported = [], []

    def compare(self, program, rules, has_c_calls):
        name, folder = os.path.basename(program), os.path.dirname(program)
        reported = [*self.reported, "c_calls"] if has_c_calls else self.reported
        expected_run, slices = test_oracle.from_oracle(program, self.path("oracle.json"), reported)
        with open(self.path("oracle.json")) as file:
            told = json.load(file)
        functions = [tuple(function) for function in told["functions"]]
        outcomes = {function: judge(function[0], function[1].rpartition(":")[0], folder, rules)
                    for function in functions}
        callers = [functions[number] if number >= 0 else None for number in told["callers"]]
        capture = self.path("run.pnr")
        shutil.rmtree(capture, ignore_errors=True)
        found_run = e2e.recorded(capture, [program], cwd=folder, options=[
            "-q", *self.options, "--mine", *(text for rule in rules for text in rule)])
        self.assertEqual(*(test_oracle.ADDRESS.sub("at ...", str(run)) for run in (found_run, expected_run)))
        trace = e2e.Trace(e2e.convert(capture))
        expected = test_oracle.Summary(kept_slices(slices, callers, outcomes), program)
        found = test_oracle.traced(trace, program)
        if not has_c_calls:
            found = kept_slices(found, [None] * len(found), {function: FULL for function, *_ in found})
        found = test_oracle.Summary(found, program)
        self.assertGreater(sum(expected.sure["entries of functions"].values()), 50)
        for what, counter in expected.without_unsure(found).items():
            self.assertSame(expected.sure[what], counter, f"{name} {rules}: {what}")
        self.assertFalse([one for one in trace.slices if one.flags & {"exit_missing", "begin_unknown"}][:5])
        self.assertEqual(trace.instants, [])


    def compare_random(self):
        """Functions, generators and coroutines of the program and of a library call each other, resume what the other
        has begun, throw, close, and leave it to be collected."""
        for seed in range(30 if e2e.LONG else 6):
            with self.subTest(seed=seed):
                source = f"import random\nrandom.seed({seed})\n" + RANDOM_PROGRAM
                self.write("site-packages/library.py", RANDOM_MODULE)
                self.compare(self.write("app.py", source + RANDOM_MODULE + RANDOM_END), [], True)


RANDOM_PROGRAM = """
import gc, sys, warnings
gc.disable()
warnings.simplefilter("ignore")        # of coroutines that were never awaited
sys.dont_write_bytecode = True
sys.path.insert(0, sys.path[0] + "/site-packages")
import library
"""

# Twice in each run: in the program, and as the library.
RANDOM_MODULE = """
import random
def call(actor, depth):
    try:
        random.choice(actor.functions)(actor, depth)
    except LookupError:
        pass
def plain(actor, depth):
    actor.act(depth)
def fails(actor, depth):
    actor.act(depth)
    raise LookupError
def sorts(actor, depth):
    sorted(range(3), key=lambda _: actor.act(depth + 3))
def steps(actor, depth):
    for _ in range(random.randrange(4)):
        try:
            yield actor.act(depth)
        except ValueError:
            actor.act(depth + 2)
def delegates(actor, depth):
    actor.act(depth)
    yield from random.choice(actor.generators)(actor, depth + 2)
    actor.act(depth)
class Suspends:
    def __await__(self):
        yield
async def awaits(actor, depth):
    await Suspends()
    actor.act(depth)
    await random.choice(actor.coroutines)(actor, depth + 2)
async def finishes(actor, depth):
    try:
        await Suspends()
    finally:
        actor.act(depth)
def make(actor, depth):
    actor.pool.append(random.choice(actor.generators + actor.coroutines)(actor, depth))
def move(actor, depth):
    one = actor.take()
    try:
        random.choice((one.send, one.send, one.send, one.throw))(None) if random.random() < 0.9 else one.close()
        actor.pool.append(one)
    except (StopIteration, LookupError, TypeError, ValueError, RuntimeError):
        pass
def throw(actor, depth):
    one = actor.take()
    try:
        one.throw(ValueError)
        actor.pool.append(one)
    except (StopIteration, LookupError, ValueError, RuntimeError):
        pass
def discard(actor, depth):
    actor.take()
functions = [plain, plain, fails, sorts, make, make, make, move, move, move, move, throw, discard]
generators = [steps, steps, delegates]
coroutines = [finishes, awaits]
"""

RANDOM_END = """
class Actor:
    def __init__(self):
        self.left, self.pool = 3000, []
        self.functions, self.generators, self.coroutines = (
            globals()[name] + getattr(library, name) for name in ("functions", "generators", "coroutines"))
    def act(self, depth):
        if depth < 12:
            for _ in range(random.randrange(4)):
                self.left -= 1
                if self.left > 0:
                    random.choice((call, library.call))(self, depth + 1)
        return 0
    def take(self):
        if not self.pool:
            return steps(self, 9)
        return self.pool.pop(random.randrange(len(self.pool)))
def main():
    actor = Actor()
    while actor.left > 0:
        actor.act(0)
    while actor.pool:
        actor.pool.pop()
main()
"""


class Oracle(Comparison):
    def test_random(self):
        self.compare_random()


@unittest.skipIf("monitoring" not in e2e.ENGINES, "there is no sys.monitoring")
class Monitoring(Comparison):
    options = ["--engine", "monitoring"]
    reported = ["monitored"]

    def test_random(self):
        self.compare_random()


def add_comparison(name, rules):
    for case in Oracle, Monitoring:
        setattr(case, f"test_{name[:-3]}{'_with_rules' if rules else ''}", 
                lambda self: self.compare(os.path.join(test_oracle.PROGRAMS, name), rules, name in self.with_c_calls))


for name, rules in Comparison.programs:
    add_comparison(name, rules)


if __name__ == "__main__":
    unittest.main()
