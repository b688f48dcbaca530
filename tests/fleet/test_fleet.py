"""examples/fleet_spark.py, in a cluster of two workers on this machine, and the lines for Dask and Ray in docs/fleet.md, with
what their captures contain known."""

import collections
import importlib.util
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

import e2e

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests/format"), str(ROOT / "examples")]

from capture_writer import Capture, call, open_, return_  # noqa: E402  (where it is, is known only now)

try:
    import pyspark
    from pyspark.sql import SparkSession
    import fleet_spark
except ImportError:
    pyspark = None

N_CALLS = 6000
HOUR_NS = 3600 * 10**9


def duration(host, release, i):
    """How long the i-th call of f takes on a host, in nanoseconds."""
    return 1000 + 10 * i + 100_000 * host + (5000 if release == "v2" else 0)


class FleetCase(e2e.EndToEnd):
    def write_fleet(self, n_hosts):
        """Write a capture of each host and release. f is called once a millisecond; the last calls are in another hour."""
        for release in "v1", "v2":
            for host in range(n_hosts):
                path = Path(self.path("captures")) / "shop" / release / f"{host}.pnr"
                with Capture(path) as capture:
                    process = capture.process(7, command="app.py", host=f"web{host}")
                    main, f = process.function("__main__", "main"), process.function("shop", "f", "shop.py", 3)
                    thread, half = process.thread(1, 7, "MainThread"), N_CALLS // 2
                    thread.block([call(10, main)])
                    for begin, part in ((0, range(half)), (HOUR_NS, range(half, N_CALLS))):
                        records = [open_(main)]
                        for i in part:
                            at = begin + 10**6 * (i + 1)
                            records += [call(at, f), return_(at + duration(host, release, i), f)]
                        thread.block(records)
                    thread.block([open_(main), return_(2 * HOUR_NS, main)])
                    process.end(2 * HOUR_NS + 10)


class Documented(FleetCase):
    """What docs/fleet.md has for other engines answers its question."""

    def slowest(self, engine, expression):
        """The time of each function, by the lines for this engine. expression: a dict of what they have found."""
        if not importlib.util.find_spec(engine):
            self.skipTest(f"{engine} is not installed")
        self.write_fleet(2)
        page = (ROOT / "docs/fleet.md").read_text(encoding="utf-8")
        lines, = (block for block in re.findall(r"```python\n(.*?)```", page, re.S) if f"import {engine}" in block)
        done = subprocess.run(
            [sys.executable, "-c", f"{lines}\nimport json\nprint(json.dumps({expression}))"], cwd=self.directory,
            capture_output=True, text=True, timeout=900, env={
                **os.environ, "PYTHONPATH": e2e.BUILD, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_raylet_start_wait_time_s": "200"})
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(found["shop.f"], sum(duration(host, release, i) for host in range(2) for release in ("v1", "v2")
                                              for i in range(N_CALLS)))
        self.assertEqual(list(found), ["__main__.main", "shop.f"])

    def test_dask(self):
        self.slowest("dask", "slowest.to_dict()")

    def test_ray(self):
        self.slowest("ray", "dict(slowest.values.tolist())")


@unittest.skipUnless(pyspark and shutil.which("java"), "PySpark or Java is not installed")
class Fleet(FleetCase):
    @classmethod
    def setUpClass(cls):
        os.environ.update(SPARK_HOME=os.path.dirname(pyspark.__file__), SPARK_LOCAL_IP="127.0.0.1",
                          PYSPARK_PYTHON=sys.executable,
                          PYTHONPATH=os.pathsep.join([e2e.BUILD, str(ROOT / "examples")]))
        cls.spark = SparkSession.builder.master("local-cluster[2,1,700]").config("spark.executor.memory", "600m") \
            .config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", "2").getOrCreate()
        cls.spark.sparkContext.setLogLevel("ERROR")

    @classmethod
    def tearDownClass(cls):
        cls.spark.stop()

    def test_fleet(self):
        """The questions' answers, with a damaged capture, a file that is no capture, and a worker that is killed."""
        n_hosts = 6
        self.write_fleet(n_hosts)
        captures = Path(self.path("captures"))
        (captures / "shop/v1/broken.pnr").write_text("no capture")
        with open(captures / "shop/v2/3.pnr/process-7/segment-1/thread-1.zst", "r+b") as file:
            file.truncate(file.seek(0, os.SEEK_END) - 3)
        output, killed = self.path("slices.parquet"), []
        killer = threading.Thread(target=self.kill_worker, args=(killed, output))
        killer.start()
        fleet_spark.write_slices(self.spark, captures, output)
        killer.join()
        found = self.spark.read.parquet(output).cache()
        problems = {row.capture.split("/")[-2:][1]: row.problem for row in found.where("problem is not null").collect()}
        self.assertEqual(set(problems), {"broken.pnr", "3.pnr"})
        calls = collections.Counter({(row.release, row.host): row["count"] for row in found.where("function = 'shop.f'")
                                     .groupBy("release", "host").count().collect()})
        self.assertEqual(calls, {(release, f"web{host}"): N_CALLS for release in ("v1", "v2") for host in range(n_hosts)})
        rows = fleet_spark.slowest(found.where("host != 'web3'")).collect()
        self.assertEqual({(row.release, row.function): (row.calls, row.self_ns) for row in rows
                          if row.function == "shop.f"},
                         {(release, "shop.f"): (N_CALLS * (n_hosts - 1), sum(
                             duration(host, release, i) for host in range(n_hosts) if host != 3 for i in range(N_CALLS)))
                          for release in ("v1", "v2")})
        for row in fleet_spark.p99_by_host(found, "shop.f").collect():
            both = [duration(int(row.host[3:]), release, i) for release in ("v1", "v2") for i in range(N_CALLS)]
            self.assertAlmostEqual(row.p99_ns, statistics.quantiles(both, n=100)[98], delta=20)
        row, = fleet_spark.slower_since(found.where("function = 'shop.f'"), "v1", "v2").collect()
        means = [statistics.mean(duration(host, release, i) for host in range(n_hosts) for i in range(N_CALLS))
                 for release in ("v1", "v2")]
        self.assertAlmostEqual(row.ratio, means[1] / means[0])
        self.assertEqual({row.hour for row in found.where("function = 'shop.f'").select("hour").distinct().collect()},
                         {"2023-11-14T22", "2023-11-14T23"})
        self.assertTrue(killed)

    @staticmethod
    def kill_worker(killed, output):
        """Kill a process that reads captures, as soon as there is one."""
        end = time.monotonic() + 120
        while not killed and time.monotonic() < end:
            for entry in os.listdir("/proc"):
                try:
                    with open(f"/proc/{entry}/cmdline", "rb") as file:
                        words = file.read().split(b"\0")
                    with open(f"/proc/{entry}/environ", "rb") as file:
                        environment = file.read()
                except (OSError, ValueError):
                    continue
                is_worker = b"pyspark.daemon" in words and os.fsencode(str(ROOT / "examples")) in environment
                if is_worker and os.path.isdir(output):
                    os.kill(int(entry), signal.SIGKILL)
                    killed.append(int(entry))
                    break
            time.sleep(0.05)


if __name__ == "__main__":
    unittest.main()
