"""Makes the captures that bench/fleet reads: those of server.py under load, as many services, releases and hosts had it.

    PYTHON bench/fleet_captures.py --captures 1000 --events 1000 FOLDER

Each capture is a process of its own, recorded while load.py sends it requests, in a UTS namespace with the name of its
host, and with a wall clock moved to its hour. Release v2 has a slower Order.discount. Those that FOLDER has already are
kept, so that what was interrupted goes on.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from peers import ROOT, progress

SERVICES, RELEASES = ("orders", "returns"), ("v1", "v2")
N_HOSTS, N_HOURS = 10, 4
EVENTS_OF_REQUEST = 215                     # or slightly more
SLOWED = "server.Order.discount"            # in release v2
LINES_OF_REQUEST = 8                        # how often it calls server.Line.__init__: what load.py orders

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import server
server.REQUESTS = int(sys.argv[2])
server.__file__ = sys.argv[3]               # beside which load.py is
server.once(1)
"""


class Plan:
    """Which captures there are. n_requests: of each."""

    def __init__(self, n_captures, n_events):
        self.n_captures = n_captures
        self.n_requests = max(round(n_events / n_captures / EVENTS_OF_REQUEST), 8)

    def captures(self):
        """Yield (service, release, host, hours ago, name) of each."""
        kinds = itertools.cycle(itertools.product(range(N_HOURS), range(N_HOSTS), RELEASES, SERVICES))
        for number, (hour, host, release, service) in zip(range(self.n_captures), kinds):
            yield service, release, f"web{host}", hour, f"{number:05}.pnr"


def make(plan, folder, build):
    """Make the captures that are not there. Raises RuntimeError where others are."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "plan.json"
    if made.exists() and json.loads(made.read_text()) != vars(plan):
        raise RuntimeError(f"{folder} has captures of another plan: {made.read_text()}")
    made.write_text(json.dumps(vars(plan)))
    for release in RELEASES:
        write_release(folder / "programs" / release, release)
    (folder / "program.py").write_text(PROGRAM)
    clock = folder / "wall_clock.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", os.path.join(ROOT, "bench/wall_clock.c"), "-o", clock], check=True)
    for n, (service, release, host, hour, name) in enumerate(plan.captures()):
        path = folder / "captures" / service / release / name
        if not path.exists():
            progress(f"recording {n + 1} of {plan.n_captures}")
            record(plan, folder, build, path, release, host, hour)


def write_release(folder, release):
    """Write the server of a release."""
    text = Path(ROOT, "bench/server.py").read_text(encoding="utf-8")
    if release == "v2":
        head = "    def discount(self):\n"
        assert head in text
        text = text.replace(head, f"{head}        sum(range(2000))\n")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "server.py").write_text(text, encoding="utf-8")


def record(plan, folder, build, path, release, host, hour):
    """Record one capture. It has its name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder / "unfinished.pnr"
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--uts", *as_root, "sh", "-c", 'hostname "$0" && exec "$@"', host,
               "env", f"LD_PRELOAD={folder.resolve() / 'wall_clock.so'}", f"WALL_CLOCK_SECONDS={-3600 * hour}",
               sys.executable, "-m", "panopticon_rec", "-q", "-o", unfinished, folder / "program.py",
               folder / "programs" / release, str(plan.n_requests), os.path.join(ROOT, "bench/server.py")]
    for tries_left in range(9, -1, -1):         # a busy machine may be too slow for load.py
        shutil.rmtree(unfinished, ignore_errors=True)
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(build)})
        if done.returncode == 0:
            break
        if not tries_left:
            raise RuntimeError(f"{path}: the server failed")
    os.rename(unfinished, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--captures", type=int, default=1000, help="[%(default)s]")
    parser.add_argument("--events", type=float, default=1000, help="millions [%(default)s]")
    parser.add_argument("--build", type=Path, default=Path(ROOT, "build/release"), help="[%(default)s]")
    args = parser.parse_args()
    make(Plan(args.captures, args.events * 1e6), args.folder, args.build.resolve())


if __name__ == "__main__":
    main()
