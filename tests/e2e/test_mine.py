"""--mine: own code in full, and of libraries what own code calls itself."""

import fnmatch
import json
import os
import re
import shutil
import sys
import textwrap
import unittest

import e2e
import test_filters
import test_oracle

FULL, BOUNDARY, EXCLUDED = range(3)
PYTHON = ("python", *e2e.CONTINUABLE)
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
            story = json.load(file)
        functions = [tuple(function) for function in story["functions"]]
        outcomes = {function: judge(function[0], function[1].rpartition(":")[0], folder, rules)
                    for function in functions}
        callers = [functions[number] if number >= 0 else None for number in story["callers"]]
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
        for seed in range(30 if e2e.LONG else 4):
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


# The outer function is called by own code, the inner one by the library.
LIBRARY = """
    import sys
    def outer(function, *arguments):
        return inner(function, *arguments)
    def inner(function, *arguments):
        return function(*arguments)
    def generate(function):
        yield inner(function)
        yield inner(function)
    async def wait(function):
        inner(function)
        await Once()
        inner(function)
    class Once:
        def __await__(self):
            yield
    def run(coroutine):
        try:
            while True:
                coroutine.send(None)
        except StopIteration as stop:
            return stop.value
    """
IMPORT_LIBRARY = """
            import sys
            sys.dont_write_bytecode = True
            sys.path.insert(0, sys.path[0] + "/site-packages")
            import library
            """


def outline(slices):
    """Lines of names by depth, without C functions and what imports."""
    kept = [one for one in slices if one.function.cat in PYTHON and not one.function.name.startswith("importlib.")]
    depths = {}         # by slice, outermost first: how many Python functions are around what it calls
    for one in slices:
        depths[id(one)] = (depths[id(one.parent)] if one.parent else 0) + (one.function.cat in PYTHON)
    return [f"{' ' * (depths[id(one)] - 1)}{one.function.name.removeprefix('__main__.')}" for one in kept]


class Mine(e2e.EndToEnd):
    """Small programs, each with a library."""

    def setUp(self):
        super().setUp()
        self.write("site-packages/library.py", LIBRARY)

    def outline_of(self, text, *options):
        _, trace = self.record(textwrap.dedent(IMPORT_LIBRARY) + textwrap.dedent(text),
                               options=["-q", "--mine", *options])
        self.assertFalse([one for one in trace.slices if one.flags - {"exception"}])
        return outline(trace.slices)

    def test_one_level(self):
        for engine in e2e.ENGINES:
            self.assertEqual(self.outline_of("""
                def own():
                    library.outer(leaf)
                def leaf():
                    pass
                own()
                library.outer(len, "text")
                """, "--engine", engine), ["<module>", " own", "  library.outer", "   leaf", " library.outer"])

    def test_exceptions(self):
        for engine in e2e.ENGINES:
            self.assertEqual(self.outline_of("""
                def fails():
                    raise LookupError
                def tries():
                    try:
                        library.outer(fails)
                    except LookupError:
                        library.outer(leaf)
                def leaf(): pass
                library.outer(tries)
                library.outer(tries)
                """, "--engine", engine).count("   library.outer"), 4)

    def test_flows(self):
        """A coroutine of the program and one of the library."""
        for engine in e2e.ENGINES:
            _, trace = self.record(textwrap.dedent(IMPORT_LIBRARY) + textwrap.dedent("""
                def leaf(): pass
                async def main():
                    await library.wait(leaf)
                    return await library.wait(leaf)
                library.run(main())
                for _ in library.generate(leaf): pass
                """), options=["-q", "--mine", "--engine", engine])
            flows = sorted((flow[0].function.name, len(flow)) for flow in trace.flows)
            self.assertEqual(flows, [("__main__.main", 3), ("library.generate", 3), ("library.wait", 2),
                                     ("library.wait", 2)])
            self.assertEqual(outline(trace.slices), [
                "<module>", " library.run", "  main", "   library.wait", "    leaf",
                "  main", "   library.wait", "    leaf", "   library.wait", "    leaf",
                "  main", "   library.wait", "    leaf",
                " library.generate", "  leaf", " library.generate", "  leaf", " library.generate"])

    def test_start_in_a_generator(self):
        """A run of a library's generator that is open at the start is of the same life as those after it."""
        for engine in e2e.ENGINES:
            self.script(textwrap.dedent(IMPORT_LIBRARY) + textwrap.dedent(f"""
                import panopticon_rec
                recorders = [panopticon_rec.Recorder("{engine}.pnr", mine=True, engine="{engine}")]
                begun = []
                def begin():
                    if not begun:
                        begun.append(recorders.pop())
                        begun[0].start()
                    leaf()
                def leaf(): pass
                def main():
                    for _ in library.generate(begin): pass
                    begun[0].stop()
                main()
                """))
            flows = [flow for flow in self.trace(f"{engine}.pnr").flows if flow[0].function.name == "library.generate"]
            self.assertEqual([len(flow) for flow in flows], [3], engine)

    def test_start_and_stop_in_callbacks(self):
        """What is open at the start is what would have been recorded."""
        for engine in e2e.ENGINES:
            self.script(textwrap.dedent(IMPORT_LIBRARY) + textwrap.dedent(f"""
                import panopticon_rec
                recorder = panopticon_rec.Recorder({engine + ".pnr"!r}, mine=True, engine={engine!r})
                def main():
                    library.outer(begins)
                    library.outer(leaf)
                    library.outer(ends)
                def begins():
                    library.inner(recorder.start)
                    library.outer(leaf)
                def ends():
                    library.outer(leaf)
                    library.outer(recorder.stop)
                    library.outer(leaf)
                def leaf(): pass
                main()
                """))
            trace = self.trace(f"{engine}.pnr")
            self.assertEqual(outline(trace.slices), [
                "<module>", " main", "  library.outer", "   begins", "    library.inner", "    library.outer",
                "     leaf", "  library.outer", "   leaf", "  library.outer", "   ends", "    library.outer", "     leaf",
                "    library.outer"])
            flags = {line.strip(): sorted(one.flags) for line, one in zip(outline(trace.slices), [
                one for one in trace.slices if one.function.cat in PYTHON])}
            self.assertEqual((flags["<module>"], flags["ends"]), (["begin_unknown", "unfinished"], ["unfinished"]))

    def test_deep(self):
        """Beyond the hook window nothing is recorded, and the program does not notice."""
        for limit in 1_000, 30_000:
            for options in [], *(["--engine", engine] for engine in e2e.ENGINES):
                self.record_as_plain(textwrap.dedent(IMPORT_LIBRARY) + textwrap.dedent(f"""
                    sys.setrecursionlimit({limit})
                    depth = 0
                    def dive():
                        global depth
                        depth += 1
                        library.outer(dive)
                    def generates():
                        global depth
                        depth += 1
                        yield from library.generate(lambda: next(generates()))
                    try:
                        dive()
                    except RecursionError:
                        print(round(depth / 100))
                    try:
                        {limit} < 2_000 and next(generates())       # next() may use up the C stack itself
                    except RecursionError:
                        pass
                    library.outer(print, "end")
                    """), "--mine", *options)
                names = outline(self.trace().slices)
                self.assertEqual({name.strip() for name in names if "library" in name},
                                 {"library.outer", *["library.generate"] * (limit < 2_000)})

    def test_fork(self):
        _, trace = self.record(textwrap.dedent(IMPORT_LIBRARY) + textwrap.dedent("""
            import os
            def own():
                pid = os.fork()
                library.outer(leaf)
                if pid:
                    os.waitpid(pid, 0)
            def leaf(): pass
            library.outer(own)
            """), options=["-q", "--mine"])
        names = [line.strip() for line in outline(trace.slices)]
        self.assertEqual((names.count("leaf"), names.count("library.outer"), names.count("library.inner")), (2, 4, 0))

    def test_started_interpreters_have_the_same_folder(self):
        self.write("other/tool.py", "import json\ndef tool(): json.dumps(1)\ntool()\n")
        self.write("tool.py", "import json, sys\nsys.dont_write_bytecode = True\ndef tool(): json.dumps(2)\ntool()\n"
                              "sys.path[:0] = [sys.path[0] + '/site-packages']\nimport library\nlibrary.outer(tool)\n")
        _, trace = self.record("""
            import subprocess, sys
            subprocess.run([sys.executable, "../tool.py"], cwd="other", check=True)
            """, options=["-q", "--mine"])
        names = [line.strip() for line in outline(trace.slices)]
        self.assertEqual((names.count("tool"), names.count("json.dumps"), names.count("library.outer")), (2, 2, 1))

    def test_rules(self):
        """The last one that matches decides; --mine is the first."""
        text = """
            import json, textwrap
            def own():
                json.dumps([1], indent=1)
                textwrap.dedent("")
            own()
            """
        def names(*options):
            return {line.strip() for line in self.outline_of(text, *options)}
        self.assertEqual(names(), {"<module>", "own", "json.dumps", "textwrap.dedent"})
        self.assertEqual(names("--exclude", "json*"), {"<module>", "own", "textwrap.dedent"})
        self.assertEqual(names("--no-stdlib"), {"<module>", "own"})
        self.assertEqual(names("--exclude", "*.own"), {"<module>"})
        self.assertLessEqual({"json.dumps", "json.encoder.JSONEncoder.encode", "textwrap.dedent"},
                             names("--include", "json*"))

    def test_what_is_mine(self):
        """By the real path of the folder, without installed packages; the program itself wherever it lies."""
        library = "def first(): second()\ndef second(): pass\n"
        for folder in ("pkg", "vendor/site-packages", "elsewhere/real", "sub/dist-packages"):
            self.write(f"work/{folder}/{folder.replace('/', '_').replace('-', '_')}.py", library)
        os.makedirs(self.path("outside"))
        self.write("outside/outside.py", library)
        os.symlink(self.path("work/elsewhere/real"), self.path("link"))
        os.symlink(self.path("outside"), self.path("work/link_out"))
        program = self.write("program/app.py", """
            import sys
            sys.dont_write_bytecode = True
            work = sys.argv[1]
            sys.path[:0] = [work + "/sub/../pkg", work + "/vendor/site-packages", work + "/../link",
                            work + "/sub/dist-packages", work + "/link_out"]
            import pkg, vendor_site_packages, elsewhere_real, sub_dist_packages, outside
            def call():
                for module in pkg, vendor_site_packages, elsewhere_real, sub_dist_packages, outside:
                    module.first()
            call()
            """)
        os.symlink(self.path("work"), self.path("alias"))
        found = e2e.recorded(self.path("run.pnr"), [program, self.path("work")], cwd=self.path("alias"),
                             options=["-q", "--mine"])
        self.assertEqual(found, e2e.Finished(0, "", ""))
        names = [line.strip() for line in outline(self.trace().slices) if line.endswith((".first", ".second", "call"))]
        self.assertEqual(names, ["call", "pkg.first", "pkg.second", "vendor_site_packages.first",
                                 "elsewhere_real.first", "elsewhere_real.second", "sub_dist_packages.first", "outside.first"])

    def test_virtual_environment(self):
        """One below the folder is a library's, with what is not in its site-packages, too. One that was made in the
        folder is own code, except its site-packages."""
        environments = {"project": "environment", "both": "."}
        for folder, environment in environments.items():
            packages = f"{environment}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
            python = self.path(f"{folder}/{environment}/bin/python")
            e2e.run([e2e.PYTHON, "-m", "venv", "--without-pip", self.path(f"{folder}/{environment}")])
            for place, name in ((packages, "installed"), (f"{environment}/share", "shared"), (".", "module")):
                self.write(f"{folder}/{place}/{name}.py", "def first(): second()\ndef second(): pass\n")
            self.write(f"{folder}/app.py", f"""
                import sys
                sys.dont_write_bytecode = True
                sys.path.append(sys.path[0] + "/{environment}/share")
                import installed, shared, module
                def main():
                    for one in installed, shared, module:
                        one.first()
                main()
                """)
            command = [python, "-m", "panopticon_rec", "-q", "--mine", "-o", self.path(f"{folder}.pnr"), "app.py"]
            finished = e2e.run(command, cwd=self.path(folder), env={"PYTHONPATH": e2e.BUILD})
            self.assertEqual(finished, e2e.Finished(0, "", ""))
        found = [[line.strip() for line in outline(self.trace(f"{folder}.pnr").slices)
                  if line.endswith((".first", ".second"))] for folder in environments]
        self.assertEqual(found, [["installed.first", "shared.first", "module.first", "module.second"],
                                 ["installed.first", "shared.first", "shared.second", "module.first", "module.second"]])

    def test_code_without_a_file(self):
        """That of -c and standard input is the program's; what exec() and dataclasses make is a library's."""
        command = "import textwrap\ndef own(): textwrap.dedent('')\nown()"
        for arguments, more in (["-c", command], {}), (["-"], {"stdin": command.encode()}):
            found = e2e.recorded(self.path("run.pnr"), arguments, options=["-q", "--force", "--mine"],
                                 cwd=self.directory, **more)
            self.assertEqual(found, e2e.Finished(0, "", ""))
            self.assertEqual(outline(self.trace().slices), ["<module>", " own", "  textwrap.dedent"])
        lines = self.outline_of("""
            import dataclasses
            @dataclasses.dataclass
            class Point:
                x: int
                def __post_init__(self): leaf()
            def leaf(): pass
            namespace = {"library": library, "__name__": "made"}
            exec("def made(): library.outer(print)", namespace)
            made = namespace["made"]
            def main():
                Point(1)
                library.outer(Point, 1)
            main()
            """)
        self.assertEqual([re.sub(r"\S*\.__init__", "__init__", line) for line in lines[-7:]], [
            " main", "  __init__", "   Point.__post_init__", "    leaf", "  library.outer", "   Point.__post_init__",
            "    leaf"])

    def test_c_calls(self):
        """Those that own code makes."""
        text = """
            import panopticon_rec
            def own():
                abs(1)
                library.outer(abs, 2)
                sorted([1], key=lambda _: abs(3))
            for name, more in ("a", {}), ("b", {"c_calls": False}):
                with panopticon_rec.record(f"{name}.pnr", mine=True, **more):
                    own()
            """
        self.script(textwrap.dedent(IMPORT_LIBRARY) + textwrap.dedent(text))
        counts = [self.trace(name).count() for name in ("a.pnr", "b.pnr")]
        names = "builtins.abs", "builtins.sorted", "library.outer"
        self.assertEqual([[count[name] for name in names] for count in counts], [[2, 1, 1], [0, 0, 1]])

    def test_min_duration(self):
        names = self.outline_of("""
            import time
            def own(seconds):
                library.outer(time.sleep, seconds)
            own(0)
            own(0.4)
            """, "--min-duration", "300ms")
        self.assertEqual(names[-2:], [" own", "  library.outer"])
        self.assertEqual(names.count(" own"), 1)

    def test_info(self):
        self.record("pass", options=["-q", "--exclude", "a", "--mine"])
        reported = e2e.run([e2e.CONVERT, self.path("run.pnr"), "--info"]).out
        self.assertIn(f"  filters     mine {self.directory}\n              exclude a\n", reported)

    @unittest.skipUnless(hasattr(sys, "activate_stack_trampoline"), "there is no stack trampoline")
    def test_engine_changes_in_a_callback(self):
        _, trace = self.record(textwrap.dedent(IMPORT_LIBRARY) + textwrap.dedent("""
            def leaf(): pass
            def begins():
                steps = library.generate(leaf)
                next(steps)
                sys.activate_stack_trampoline("perf")
                library.outer(goes_on, steps)
                sys.deactivate_stack_trampoline()
            def goes_on(steps):
                for _ in steps: pass
                library.outer(leaf)
            library.outer(begins)
            """), options=["-q", "--mine"])
        self.assertEqual(outline(trace.slices), [
            "<module>", " library.outer", "  begins", "   library.generate", "    leaf", "   library.outer",
            "    goes_on", "     library.generate", "      leaf", "     library.generate", "     library.outer", "      leaf"])
        self.assertEqual([len(flow) for flow in trace.flows], [3])

    def test_wrong(self):
        finished = self.script("""
            import os, panopticon_rec
            for filters in ["mine"], ["mine here"], ["mine /a\\nb"]:
                try:
                    panopticon_rec.Recorder(filters=filters)
                except ValueError as error:
                    print(len(str(error).splitlines()))
            os.mkdir("gone")
            os.chdir("gone")
            os.rmdir("../gone")
            try:
                panopticon_rec.Recorder(mine=True)
            except ValueError as error:
                print(error)
            """)
        self.assertEqual(finished.out.splitlines()[:3], ["1"] * 3)
        self.assertIn("the current directory cannot be found", finished.out)


if __name__ == "__main__":
    unittest.main()
