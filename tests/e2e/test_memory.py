"""A minute and a hundred million events: neither recorder nor converter grows with them."""

import re
import subprocess
import unittest

import e2e

SECONDS, CALLS_PER_SECOND, LIMIT_KB = 60, 900_000, 64 * 1024

# Two threads; each second has its share of the calls, so that the trace is no larger than it must be.
BUSY = """
    import sys, threading, time
    seconds, share = int(sys.argv[1]), int(sys.argv[2]) // 2
    begin = time.monotonic()
    def leaf(): pass
    def generator():
        for k in range(200):
            yield leaf()
    def work():
        n = 0
        for second in range(1, seconds + 1):
            while n < second * share:
                for _ in range(100):
                    leaf(); leaf(); leaf(); leaf(); leaf(); leaf(); leaf(); leaf(); leaf(); leaf()
                    n += 10
                for _ in generator():
                    n += 1
            time.sleep(max(0, begin + second - time.monotonic()))
        counted.append(n)
    counted = []
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    with open("/proc/self/status") as file:
        peak, = [line.split()[1] for line in file if line.startswith("VmHWM")]
    print(sum(counted), peak)
    """


@unittest.skipUnless(e2e.LONG, "takes minutes: PANOPTICON_LONG=1")
@e2e.alone
class Memory(e2e.EndToEnd):
    def test_a_minute(self):
        program, share = self.write("app.py", BUSY), str(CALLS_PER_SECOND)
        base = e2e.plain([program, "2", share], cwd=self.directory)
        found = e2e.recorded(self.path("run.pnr"), [program, str(SECONDS), share], cwd=self.directory, timeout=300,
                             options=())
        self.assertEqual(found.status, 0, found.err)
        counted, peak = map(int, found.out.split())
        self.assertGreater(2 * counted, 100_000_000)
        self.assertRegex(found.err, r"\b0 lost")
        self.assertLess(peak - int(base.out.split()[1]), LIMIT_KB, "kB that the recorder took")
        n_leaves, peak = self.convert_and_read()
        self.assertEqual(n_leaves, counted)
        self.assertLess(peak, LIMIT_KB, "kB that the converter took")

    def convert_and_read(self):
        """Reads the whole trace from a pipe; meanwhile, how large the converter is."""
        converter = subprocess.Popen([e2e.CONVERT, self.path("run.pnr"), "-q", "-o", "-"], stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL, encoding="utf-8")
        n_leaves = peak = 0
        for number, event in enumerate(e2e.events(converter.stdout)):
            n_leaves += event["ph"] == "X" and event["name"] == "__main__.leaf"
            if number % 100_000 == 0:
                with open(f"/proc/{converter.pid}/status") as status:
                    reported = re.search(r"VmHWM:\s+(\d+)", status.read())
                peak = max(peak, int(reported.group(1)) if reported else 0)
        self.assertEqual(converter.wait(), 0)
        converter.stdout.close()
        return n_leaves, peak


if __name__ == "__main__":
    unittest.main()
