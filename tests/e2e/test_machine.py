"""A capture says on which machine it was recorded."""

import os
import re
import subprocess
import sys
import unittest

import arrow_reader
import e2e

sys.path.append(os.path.join(os.path.dirname(e2e.HERE), "format"))

sys.path.append(e2e.BUILD)

import capture_reader  # noqa: E402  (where it is, is known only now)

if not e2e.IS_SANITIZED:        # it has a part that needs the sanitizer's runtime
    import panopticon_rec

CONTAINER = "0123456789abcdef" * 4
BOOT = "/proc/sys/kernel/random/boot_id"


def boot_id():
    with open(BOOT) as file:
        return file.read().strip()


class Machine(e2e.EndToEnd):
    def machines(self, capture="run.pnr"):
        """Host, boot and container of each process."""
        return [tuple(process.properties.get(key) for key in ("host", "boot_id", "container"))
                for process in capture_reader.read(self.path(capture)).processes]

    def test_host(self):
        """That of the process that was started, and those of its children."""
        self.record("""
            import os, subprocess, sys
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
                subprocess.run([sys.executable, "-c", "def f(): pass\\nf()"])
        """)
        with open("/proc/self/cgroup") as groups, open("/proc/self/mountinfo") as mounts:
            text = groups.read() + "".join(line for line in mounts if line.split()[4] == "/etc/hostname")
        found = re.search(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", text)
        container = found[0] if found else None
        self.assertEqual(self.machines(), [(os.uname().nodename, boot_id(), container)] * 3)
        if not e2e.IS_SANITIZED:
            table = panopticon_rec.open(self.path("run.pnr")).slices(columns=["host"])
            self.assertEqual({row["host"] for row in arrow_reader.rows_of(table)}, {os.uname().nodename})
        done = subprocess.run([e2e.CONVERT, "--info", self.path("run.pnr")], capture_output=True, text=True)
        self.assertEqual(done.stdout.count(f"  host        {os.uname().nodename}\n  boot        {boot_id()}\n"), 3)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_container(self):
        """In a mount namespace whose /etc/hostname lies in a folder of the container, as Docker and Podman have it."""
        hostname = self.write(f"{CONTAINER}/hostname", "box\n")
        script = self.write("app.py", "print(1)")
        command = " ".join(e2e.recorder(self.path("run.pnr"), [script]))
        done = subprocess.run(
            ["unshare", "--mount", "--uts", "sh", "-c",
             f"mount --bind {hostname} /etc/hostname && hostname box && exec {command}"],
            env=e2e.environment(), capture_output=True, text=True, cwd=self.directory)
        if done.stderr.startswith(("unshare:", "mount:")) or "not found" in done.stderr:
            self.skipTest(done.stderr)      # no rights, or in a chroot
        self.assertEqual((done.stdout, done.stderr), ("1\n", ""))
        self.assertEqual(self.machines(), [("box", boot_id(), CONTAINER)])


if __name__ == "__main__":
    unittest.main()
