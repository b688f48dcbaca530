"""What is in the wheel $PANOPTICON_WHEEL, and that it works wherever pip puts it. Run in a virtual environment with pip,
by the interpreter that the wheel is for."""

import ast
import configparser
import email
import os
import shutil
import subprocess
import sys
import zipfile

import e2e

WHEEL = os.environ["PANOPTICON_WHEEL"]
BASE = os.path.realpath(sys._base_executable)       # that of the virtual environment


class Contents(e2e.EndToEnd):
    def setUp(self):
        super().setUp()
        self.wheel = zipfile.ZipFile(WHEEL)
        self.addCleanup(self.wheel.close)

    def read(self, end):
        name, = (name for name in self.wheel.namelist() if name.endswith(end))
        return self.wheel.read(name)

    def test_files(self):
        folders = {name.split("/")[0] for name in self.wheel.namelist()}
        version = email.message_from_bytes(self.read(".dist-info/METADATA"))["Version"]
        self.assertLessEqual({"panopticon_rec", f"panopticon_rec-{version}.data", f"panopticon_rec-{version}.dist-info"},
                             folders)
        self.assertLessEqual(folders, {"panopticon_rec", "panopticon", "panopticon_pytest.py", "panopticon_rec.pth",
                                       f"panopticon_rec-{version}.data", f"panopticon_rec-{version}.dist-info"})
        self.assertEqual(self.read("/scripts/panopticon-convert")[:4], b"\x7fELF")
        self.assertIn(b".TH", self.read("/share/man/man1/panopticon-convert.1"))
        for completion in ("bash-completion/completions/panopticon-convert", "zsh/site-functions/_panopticon-convert",
                           "fish/vendor_completions.d/panopticon-convert.fish"):
            self.read(f"/share/{completion}")

    def test_licenses(self):
        self.assertIn(b"Apache License", self.read("licenses/LICENSE"))
        self.assertIn(b"BSD License", self.read("zstd/LICENSE"))

    def test_metadata(self):
        found = email.message_from_bytes(self.read(".dist-info/METADATA"))
        source = ast.parse(self.read("panopticon_rec/__init__.py"))
        version, = (node.value.value for node in source.body if isinstance(node, ast.Assign)
                    and node.targets[0].id == "__version__")
        self.assertEqual((found["Name"], found["Version"], found["License-Expression"], found["Requires-Python"]),
                         ("panopticon-rec", version, "Apache-2.0", f"<3.{e2e.NEWEST + 1},>=3.{e2e.OLDEST}"))
        tag = email.message_from_bytes(self.read(".dist-info/WHEEL"))["Tag"]
        self.assertTrue(tag.startswith("cp{0}{1}-cp{0}{1}-".format(*sys.version_info)), tag)

    def test_entry_points(self):
        """The wheel has the modules of its commands and of its plugins."""
        points = configparser.ConfigParser()
        points.read_string(self.read(".dist-info/entry_points.txt").decode())
        found = {name: dict(points[name]) for name in points.sections()}
        self.assertEqual(found, {"console_scripts": {"panopticon": "panopticon_rec.command:main"},
                                 "pytest11": {"panopticon": "panopticon_pytest"}})
        self.assertLessEqual({"panopticon_rec/command/__init__.py", "panopticon_pytest.py"}, set(self.wheel.namelist()))

    def test_extensions(self):
        """Each exports one symbol: a program may have a zstd of its own."""
        if not shutil.which("nm"):
            self.skipTest("there is no nm")
        symbols = []
        for name in self.wheel.namelist():
            if name.endswith(".so"):
                path = self.wheel.extract(name, self.directory)
                found = subprocess.run(["nm", "-D", "--defined-only", path], check=True, capture_output=True,
                                       text=True).stdout
                symbols += [line.split()[-1] for line in found.splitlines()]
        self.assertEqual(sorted(symbols), ["PyInit__recorder", "PyInit__tables"])


class Places(e2e.EndToEnd):
    """pip installs into many kinds of folders, and the converter is found in each, also when it is not on PATH."""

    def install(self, python, *options, **environ):
        subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index",
                        "--disable-pip-version-check", "--no-warn-script-location", "--root-user-action=ignore", *options,
                        WHEEL], check=True, env={**os.environ, **environ})

    def check(self, python, **environ):
        app = self.write("app.py", "def f(): pass\nf()\n")
        trace = self.path("app.trace")
        env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        done = subprocess.run([python, "-m", "panopticon_rec", "-q", "-o", trace, app], cwd=self.directory,
                              env={**env, "PATH": "/nowhere", **environ}, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertEqual(e2e.Trace(trace).count()["__main__.f"], 1)

    def test_virtual_environment(self):
        folder = self.path("environment")
        subprocess.run([BASE, "-m", "venv", "--without-pip", folder], check=True)
        self.install(f"{folder}/bin/python")
        self.check(f"{folder}/bin/python")

        # As pipx does it: the commands are symbolic links elsewhere.
        os.mkdir(self.path("bin"))
        for name in "panopticon", "panopticon-convert":
            os.symlink(f"{folder}/bin/{name}", self.path(f"bin/{name}"))
        capture, app = self.path("run.pnr"), self.path("app.py")
        for words in (["panopticon", "record", "-q", "-o", capture, app], ["panopticon", "verify", capture],
                      ["panopticon-convert", "-q", capture]):
            done = subprocess.run([self.path(f"bin/{words[0]}"), *words[1:]], capture_output=True, text=True,
                                  env={"PATH": "/nowhere"})
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(e2e.Trace(self.path("run.trace")).count()["__main__.f"], 1)

    def test_user(self):
        folder = self.path("user")
        self.install(BASE, "--user", "--break-system-packages", PYTHONUSERBASE=folder)
        self.check(BASE, PYTHONUSERBASE=folder)

    def test_target(self):
        folder = self.path("packages")
        self.install(BASE, "--target", folder)
        self.check(BASE, PYTHONPATH=folder)

    def test_another_version(self):
        """A package that has no extension for this interpreter says so in one line."""
        folder = self.path("packages")
        self.install(BASE, "--target", folder)
        for name in os.listdir(f"{folder}/panopticon_rec"):
            if name.endswith(".so"):
                os.remove(f"{folder}/panopticon_rec/{name}")
        done = e2e.run([BASE, "-m", "panopticon_rec", "-c", ""], env={"PYTHONPATH": folder})
        self.assertEqual((done.status, done.out, done.err),
                         (2, "", f"panopticon: panopticon_rec is not built for this Python {sys.version.split()[0]}: "
                                 f"{BASE} -m pip install panopticon-rec\n"))
