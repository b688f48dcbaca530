"""What `scons install` installs, out of a checkout in which nothing has been built, records a program and those that it
starts, and finds the converter."""

import os
import re
import shutil
import subprocess
import unittest

import e2e

ROOT = os.path.join(e2e.HERE, "..", "..")
SCONS = "/usr/bin/scons"                # as ./test does
PROGRAM = """
    import subprocess, sys
    def parent(): subprocess.run([sys.executable, "-c", "def child(): pass\\nchild()"], check=True)
    parent()
    """


@unittest.skipIf(e2e.IS_SANITIZED, "it would be built without the sanitizer")
@unittest.skipUnless(os.access(SCONS, os.X_OK), f"there is no {SCONS}")
class Install(e2e.EndToEnd):
    def setUp(self):
        super().setUp()
        self.checkout = self.path("checkout")
        shutil.copytree(ROOT, self.checkout, ignore=shutil.ignore_patterns("build", ".git", "*.pnr", "__pycache__"))
        self.program = self.write("app.py", PROGRAM)

    def install(self, python, *variables):
        """Returns what was printed."""
        before = sorted(os.listdir(self.checkout))
        done = subprocess.run([SCONS, "-Q", "-s", f"python={python}", "install", *variables], cwd=self.checkout,
                              env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(sorted(os.listdir(self.checkout)), sorted({*before, "build"}))
        self.assertEqual(len(done.stdout.splitlines()), 1, done.stdout)
        return done.stdout

    @staticmethod
    def environment(**more):
        """Nothing of the build is found by it."""
        environ = e2e.environment(**more)
        if "PYTHONPATH" not in more:
            del environ["PYTHONPATH"]
        return environ

    def check(self, python, **environ):
        done = subprocess.run([python, "-m", "panopticon_rec", "-q", "--force", "-o", "run.trace", self.program],
                              cwd=self.directory, env=self.environment(**environ), capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        trace = e2e.Trace(self.path("run.trace"))
        self.assertEqual((trace.count()["__main__.parent"], trace.count()["__main__.child"]), (1, 1))
        os.remove(self.path("run.trace"))

    def test_from_a_fresh_checkout(self):
        prefix = self.path("prefix")
        packages = re.search(r"PYTHONPATH=(\S+) ", self.install(e2e.PYTHON, f"PREFIX={prefix}"))[1]
        self.assertEqual(packages, f"{prefix}/lib/python{'.'.join(map(str, e2e.VERSION))}/site-packages")
        self.check(e2e.PYTHON, PYTHONPATH=packages)
        installed = os.path.join(packages, "panopticon_rec")
        self.assertEqual({"__init__.py", "__main__.py", "options.py", "follow"} - set(os.listdir(installed)), set())
        for path in ("man/man1/panopticon.1", "bash-completion/completions/panopticon",
                     "fish/vendor_completions.d/panopticon.fish", "man/man1/panopticon-convert.1", "man/man1/panopticon_rec.1", "zsh/site-functions/_panopticon-convert",
                     "bash-completion/completions/panopticon-convert", "fish/vendor_completions.d/panopticon-convert.fish"):
            self.assertTrue(os.path.exists(f"{prefix}/share/{path}"), path)

        # Where an interpreter looks for packages itself, it needs no PYTHONPATH.
        environment = self.path("environment")
        subprocess.run([e2e.PYTHON, "-m", "venv", "--without-pip", environment], check=True, env=self.environment())
        python = os.path.join(environment, "bin", "python")
        self.assertNotIn("PYTHONPATH", self.install(python, f"PREFIX={environment}"))
        shutil.rmtree(prefix)
        self.check(python)

        # For a package: all is below DESTDIR, and where PREFIX has it.
        stage = self.path("stage")
        self.install(e2e.PYTHON, f"PREFIX={prefix}", f"DESTDIR={stage}")
        self.assertFalse(os.path.exists(prefix))
        os.rename(stage + prefix, prefix)
        self.check(e2e.PYTHON, PYTHONPATH=packages)


if __name__ == "__main__":
    unittest.main()
