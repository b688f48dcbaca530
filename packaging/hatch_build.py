"""Builds the wheel by `scons install`, out of a checkout or a source distribution, with a C compiler and Python's headers
alone. Hatchling calls it (pyproject.toml). The environment may have:

- CC: the C compiler [gcc, else cc or clang].
- PANOPTICON_SCONS: more words for scons, such as `machine=aarch64` (scons -h).
- PANOPTICON_PLATFORM: the platform tag of the wheel [that of this machine, which only fits others that are alike].
"""

import glob
import importlib.metadata
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLE = os.path.join("build", "report", "bundle.js")
ZSTD = os.path.join("build", "zstd")            # zstd.c, zstd.h and LICENSE: in a source distribution, too
STAGE = os.path.join("build", "stage")          # where `scons install` installs


class Hook(BuildHookInterface):
    def dependencies(self):
        """Return what else a build needs. pip fetches zstd's source, which needs setuptools to name its own."""
        os.chdir(self.root)
        return [] if os.path.exists(f"{ZSTD}/zstd.c") else ["pip==26.2", "setuptools==84.2.1"]

    def initialize(self, version, build_data):
        os.chdir(self.root)
        if version == "editable":
            sys.exit("panopticon-rec has no editable mode: run scons, and put build/release on PYTHONPATH.")
        if not os.path.exists(f"{ZSTD}/zstd.c"):
            fetch_zstd()
        if not os.path.exists(BUNDLE) and shutil.which("npm"):
            bundle_report()
        if self.target_name == "wheel":
            refuse_interpreters()
            install(find_zlib())
            fill_wheel(build_data)


def refuse_interpreters():
    """End with one line if the recorder cannot be built for this interpreter."""
    if sys.platform != "linux":
        sys.exit(f"panopticon-rec records on Linux, and this is {platform.system()}.")
    if sys.implementation.name != "cpython":
        sys.exit(f"panopticon-rec records CPython, and this is {platform.python_implementation()}.")
    if sysconfig.get_config_var("Py_GIL_DISABLED") and sys.version_info[:2] != (3, 13):
        sys.exit("panopticon-rec supports no free-threaded Python but 3.13: use the usual build of the same version.")


def fetch_zstd():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--no-build-isolation", "--ignore-requires-python", "--no-binary=:all:", "--require-hashes",
                        "--requirement=packaging/zstd.txt", f"--dest={folder}"], check=True)
        os.makedirs(ZSTD, exist_ok=True)
        with tarfile.open(*glob.glob(f"{folder}/*.tar.gz")) as archive:
            for name in "LICENSE", "zstd.h", "zstd_errors.h", "zstd.c":     # the last one tells that all are there
                member, = (one for one in archive.getmembers() if one.name.endswith(f"/zstd/{name}"))
                with open(f"{ZSTD}/{name}", "wb") as file:
                    shutil.copyfileobj(archive.extractfile(member), file)


def bundle_report():
    """Make the libraries of the report's page. Without them all else works, and `panopticon report` says what is missing."""
    if run_scons({"python": sys.executable, "CC": find_compiler()}, "report"):
        sys.stderr.write("panopticon-rec is built without the page of `panopticon report`: npm could not fetch its parts.\n")


def find_zlib():
    """Return a folder with zlib's header and library; None: the system has them."""
    try:
        return str(importlib.metadata.distribution("cmeel-zlib").locate_file("cmeel.prefix"))
    except importlib.metadata.PackageNotFoundError:
        return None


def find_compiler():
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("gcc", "cc", "clang")), None)
    return compiler or sys.exit("panopticon-rec is built with a C compiler, and there is none: install gcc.")


def run_scons(variables, *words):
    """Return the exit status of scons."""
    command = [sys.executable, "-m", "SCons", "-Q", "-s", f"-j{os.cpu_count()}", *words]
    return subprocess.run([*command, *map("=".join, variables.items())]).returncode


def install(zlib):
    """Install into STAGE, as `scons install` does elsewhere."""
    shutil.rmtree(STAGE, ignore_errors=True)
    variables = {"variant": "package", "python": sys.executable, "CC": find_compiler(), "zstd": ZSTD,
                 "PREFIX": os.path.abspath(STAGE)}
    if zlib:
        variables["zlib"] = zlib
    variables.update(word.split("=", 1) for word in shlex.split(os.environ.get("PANOPTICON_SCONS", "")))
    if status := run_scons(variables, "install"):
        sys.exit(status)


def fill_wheel(build_data):
    """Put what was installed into the wheel."""
    packages, = glob.glob(f"{STAGE}/lib*/python*/site-packages")
    build_data["force_include"] = {f"{packages}/{name}": name for name in os.listdir(packages)}
    build_data["shared_scripts"] = {f"{STAGE}/bin/panopticon-convert": "panopticon-convert"}    # the other is made by pip
    build_data["shared_data"] = {path: os.path.relpath(path, STAGE) for path in glob.glob(f"{STAGE}/share/**", recursive=True)
                                 if os.path.isfile(path)}       # each, for pyproject.toml excludes what is in a folder
    build_data["pure_python"] = False
    build_data["infer_tag"] = True
    if "PANOPTICON_PLATFORM" in os.environ:
        python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
        build_data["tag"] = f"{python}-{python}-{os.environ['PANOPTICON_PLATFORM']}"
