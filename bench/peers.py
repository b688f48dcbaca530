"""Prepares the interpreter that is measured: a venv of its own below build/bench/, with the packages of
requirements.txt."""

import hashlib
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)

ABOUT_PYTHON = """
import json, platform, sys, sysconfig
print(json.dumps({"executable": sys.executable, "version": platform.python_version(),
                  "include": sysconfig.get_path("include"), "suffix": sysconfig.get_config_var("EXT_SUFFIX")}))
"""


def progress(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def last_line(text):
    return (text.strip().splitlines() or ["no message"])[-1]


def ask(python):
    """What an interpreter reports about itself."""
    return json.loads(subprocess.run([python, "-c", ABOUT_PYTHON], check=True, capture_output=True).stdout)


def home_of(about):
    key = hashlib.sha256(about["executable"].encode()).hexdigest()[:8]
    return os.path.join(ROOT, "build", "bench", f"{about['version']}-{key}")


def install(about, home):
    """Makes the venv, unless it is there and up to date. Reports packages that cannot be installed, and excludes
    them."""
    with open(os.path.join(HERE, "requirements.txt")) as file:
        wanted = file.read()
    done = os.path.join(home, "requirements.txt")
    if os.path.exists(done) and open(done).read() == wanted:
        return
    progress(f"installing into {home}")
    subprocess.run([about["executable"], "-m", "venv", "--clear", home], check=True)
    for line in wanted.splitlines():
        if line and not line.startswith("#"):
            pip = subprocess.run([os.path.join(home, "bin", "python"), "-m", "pip", "install",
                                  "--disable-pip-version-check", "-q", "--no-deps", line],
                                 capture_output=True, text=True)
            if pip.returncode:
                progress(f"{line} could not be installed: {last_line(pip.stderr)}")
    with open(done, "w") as file:
        file.write(wanted)
