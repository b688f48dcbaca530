"""The variable PANOPTICON records any interpreter of an environment in which the package is installed."""

import os
import re
import subprocess
import unittest

import e2e


@unittest.skipIf(e2e.IS_SANITIZED, "the interpreter of an environment would need the library of a sanitizer")
@unittest.skipIf(e2e.IS_INSTALLED, "it makes an environment of the build")
class Variable(e2e.EndToEnd):
    def setUp(self):
        super().setUp()
        environment = self.path("environment")
        subprocess.run([e2e.PYTHON, "-m", "venv", "--without-pip", environment], check=True, env=e2e.environment())
        self.python = os.path.join(environment, "bin", "python")
        packages = os.path.join(environment, "lib", "python{}.{}".format(*e2e.VERSION), "site-packages")
        for name in "panopticon_rec", "panopticon_rec.pth":
            os.symlink(os.path.join(e2e.BUILD, name), os.path.join(packages, name))

    def run_program(self, variable, *arguments, text="def f(): return 1\nprint(f())\n"):
        """Returns what came of a program with the variable; None: without it."""
        env = {key: value for key, value in e2e.environment().items() if key != "PYTHONPATH"}
        if variable is not None:
            env["PANOPTICON"] = variable
        path = self.write("app.py", text)
        done = subprocess.run([self.python, *(arguments or [path])], cwd=self.directory, env=env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)
        return e2e.Finished(done.returncode, done.stdout, done.stderr)

    def captures(self):
        return sorted(name for name in os.listdir(self.directory) if name.endswith(".pnr"))

    def test_recorded(self):
        self.assertEqual(self.run_program("-o run.pnr --exclude '* none'"), (0, "1\n", ""))
        self.assertEqual(self.trace().count()["__main__.f"], 1)

    def test_nothing_is_left_without(self):
        text = "import sys; print('PANOPTICON' in str(sys.argv), [name for name in sys.modules if 'panopticon' in name])"
        for variable in None, "", "  ":
            found = self.run_program(variable, "-c", text)
            self.assertEqual((found.status, found.err), (0, ""))
        self.assertEqual(self.run_program(None, "-c", text).out, "False []\n")
        self.assertEqual(self.captures(), [])

    def test_names(self):
        for arguments, pattern in (((), r"app-\d+-\d{8}-\d{6}-%\.pnr"), (("-m", "this"), r"this-\d+-\d{8}-\d{6}-%\.pnr"),
                                   (("-c", "pass"), r"python-\d+-\d{8}-\d{6}-%\.pnr")):
            self.assertEqual(self.run_program("-o %n-%p-%t-%%.pnr", *arguments)[::2], (0, ""))
            name, = self.captures()
            self.assertRegex(name, f"^{pattern}$")
            os.rename(self.path(name), self.path("done"))
            e2e.shutil.rmtree(self.path("done"))

    def test_mistakes(self):
        for variable, message in (("--unknown", r"unknown option --unknown"), ("--last x", "'x' is not a duration"),
                                  ("-o %q.pnr", "%q is none of %p"), ("-o 'a", "the quote ' is not closed"),
                                  ("app.py", "there is no program to be named here"), ("-o a.trace", "a capture is written"),
                                  ("-o no/folder/run.pnr", "No such file or directory"), ("--force", "no meaning here")):
            with self.subTest(variable=variable):
                found = self.run_program(variable)
                self.assertEqual(found[:2], (0, "1\n"))
                self.assertRegex(found.err, f"^panopticon: PANOPTICON: .*{re.escape(message)}.*\n$")
        self.assertEqual(self.captures(), [])

    def test_children_take_part(self):
        text = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'def child(): pass\\nchild()'], check=True)\n"
        self.assertEqual(self.run_program("-o run-%p.pnr", text=text), (0, "", ""))
        name, = self.captures()
        self.assertEqual(self.trace(name).count()["__main__.child"], 1)
        self.assertEqual(self.run_program("-o all-%p.pnr --follow none", text=text), (0, "", ""))
        self.assertEqual(len([name for name in self.captures() if name.startswith("all")]), 2)

    def test_who_is_not_recorded(self):
        for arguments in (["-I", "-c", "pass"], ["-E", "-c", "pass"], ["-S", "-c", "pass"],
                          ["-m", "panopticon_rec", "-q", "-o", "own.pnr", "-c", "pass"]):
            self.assertEqual(self.run_program("-o run-%p.pnr", *arguments), (0, "", ""))
        self.assertEqual(self.captures(), ["own.pnr"])


if __name__ == "__main__":
    unittest.main()
