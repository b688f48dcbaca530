"""Free-threaded builds of CPython other than that of one version cannot be recorded: each way to record them ends in one
line, and none of them leaves a capture or changes a program. test_racing.py is about the one that can.

- PANOPTICON_FREE_THREADED: such an interpreter [the first of python3.14t and python3.15t on PATH].
"""

import os
import shutil
import subprocess
import tempfile
import unittest

import e2e

ROOT = os.path.realpath(os.path.join(e2e.HERE, "..", ".."))
SCONS = "/usr/bin/scons"                # as ./test does
FREE_THREADED = os.environ.get("PANOPTICON_FREE_THREADED") or \
    next(filter(None, map(shutil.which, ("python3.14t", "python3.15t"))), None)
REFUSAL = r"panopticon_rec records no free-threaded Python but 3\.13, and this is 3\.\S+ without a GIL: " \
          r"run the program with that, or with the usual build"

# Runs a part of the build's script for pip without what it imports from PyPI.
REFUSE_BY_PIP = """
import sys, types
for name in "hatchling", "hatchling.builders", "hatchling.builders.hooks", "hatchling.builders.hooks.plugin", \
            "hatchling.builders.hooks.plugin.interface":
    sys.modules[name] = types.ModuleType(name)
sys.modules["hatchling.builders.hooks.plugin.interface"].BuildHookInterface = object
sys.path.insert(0, "packaging")
import hatch_build
hatch_build.refuse_interpreters()
"""


@unittest.skipUnless(FREE_THREADED, "there is no free-threaded Python: name one by PANOPTICON_FREE_THREADED")
@unittest.skipIf(e2e.IS_INSTALLED, "the package is installed for another Python")
class FreeThreaded(e2e.EndToEnd):
    """PYTHON_GIL says whether the GIL is on: the build is refused in either case."""

    def run_free(self, *words, gil="0", **env):
        return e2e.run([FREE_THREADED, *words], cwd=self.directory, env={"PYTHON_GIL": gil, **env})

    def assertRefused(self, finished, line):
        self.assertEqual((finished.status, finished.out), (2, ""), finished.err)
        self.assertRegex(finished.err, rf"\A{line}\n\Z")
        self.assertEqual(os.listdir(self.directory), ["app.py"])

    def setUp(self):
        super().setUp()
        self.app = self.write("app.py", "print('ran')")

    def test_command_line(self):
        for gil in "0", "1":
            self.assertRefused(self.run_free("-m", "panopticon_rec", self.app, gil=gil), "panopticon: " + REFUSAL)

    def test_in_a_program(self):
        """What a program reports does nothing; to record raises; the GIL stays off."""
        finished = self.run_free("-c", e2e.textwrap.dedent("""
            import sys
            import panopticon_rec
            panopticon_rec.mark("here", value=1)
            panopticon_rec.counter("queue", depth=1)
            with panopticon_rec.span("part"), panopticon_rec.watch("section"):
                print(panopticon_rec.UNUSABLE, sys._is_gil_enabled())
            try:
                panopticon_rec.Recorder("run.pnr").start()
            except ImportError as error:
                print(error)
            """))
        self.assertEqual((finished.status, finished.err), (0, ""))
        self.assertRegex(finished.out, rf"\A{REFUSAL} False\n{REFUSAL}\n\Z")

    def test_variable(self):
        with open(os.path.join(ROOT, "recorder", "panopticon_rec.pth"), encoding="utf-8") as file:
            statement = file.read()
        finished = self.run_free("-c", f"{statement}\nprint('ran')", PANOPTICON="-o run.pnr")
        self.assertEqual((finished.status, finished.out), (0, "ran\n"))
        self.assertRegex(finished.err, rf"\Apanopticon: PANOPTICON: {REFUSAL}\n\Z")

    def test_child(self):
        """A recorded program starts one: it runs as it does otherwise, and the program's end reports it."""
        program = self.write("parent.py", "import subprocess, sys; subprocess.run(sys.argv[1:], check=True)")
        finished = e2e.recorded(self.path("run.pnr"), [program, FREE_THREADED, self.app], options=())
        self.assertEqual((finished.status, finished.out), (0, "ran\n"), finished.err)
        self.assertRegex(finished.err, rf"(?m)^panopticon: process \d+: not recorded: {REFUSAL}$")
        self.assertEqual(finished.err.count("not recorded"), 1)
        self.assertEqual(len(e2e.process_directories(self.path("run.pnr"))), 1)

    def test_command(self):
        """The command, which itself runs under another Python, is to record a script on PATH that names this one."""
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "tool"), "w", encoding="utf-8") as file:
                file.write(f"#!{FREE_THREADED}\nprint('ran')\n")
            os.chmod(file.name, 0o755)
            finished = e2e.run([e2e.PYTHON, e2e.COMMAND, "record", "tool"], cwd=self.directory,
                               env={"PATH": f"{folder}:/usr/bin:/bin"})
        self.assertRefused(finished, r"panopticon: .*which is a free-threaded CPython 3\.\S+t: that is not supported yet")

    def test_attach(self):
        """The process is not entered: it does not stop for a moment."""
        process = subprocess.Popen([FREE_THREADED, "-c", "print('ready', flush=True); input(); print('ran')"], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=e2e.environment())
        self.assertEqual(process.stdout.readline(), "ready\n")
        finished = e2e.run([e2e.PYTHON, e2e.COMMAND, "attach", str(process.pid)], cwd=self.directory)
        self.assertRefused(finished, rf"panopticon: process {process.pid} runs CPython 3\.\d+t, which is free-threaded: "
                                     "that is not supported yet")
        self.assertEqual((process.communicate("\n")[0], process.returncode), ("ran\n", 0))

    @unittest.skipUnless(os.access(SCONS, os.X_OK), f"there is no {SCONS}")
    def test_build(self):
        done = subprocess.run([SCONS, "-Q", "-n", f"python={FREE_THREADED}"], cwd=ROOT, capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stdout + done.stderr,
                         f"scons: {FREE_THREADED} is free-threaded, which the recorder supports with CPython 3.13 only\n")

    def test_pip(self):
        done = subprocess.run([FREE_THREADED, "-c", REFUSE_BY_PIP], cwd=ROOT, capture_output=True, text=True, check=False,
                              env=e2e.environment())
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (1, "", "panopticon-rec supports no free-threaded Python but 3.13: "
                                 "use the usual build of the same version.\n"))
