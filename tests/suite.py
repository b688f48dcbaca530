"""Runs unittest as `python3 -m unittest` does, in as many processes as there are processors:

    python3 tests/suite.py [-j N] discover [-v] -s tests/e2e    all tests of a folder; -v prints how long each took
    python3 tests/suite.py [-j N] [-v] test_x.Class ...         some of them

Each test runs in a process of its own, so that no test finds what another one left in memory. Tests that share a
setUpClass or setUpModule share a process. A test that disturbs others, or is disturbed by them, is marked with
@e2e.alone and runs when all others have ended. What a test prints is shown in one piece, after its traceback. The last
lines report how many tests ran, how many failed, and for each reason how many were skipped:

    Skipped, 3 tests: uvloop is not installed for this Python

Where a test failed while others ran, it runs again when all have ended, as CPython's regrtest --rerun has it. If it passes
then, it has passed, and is named with what it printed when it failed:

    Passed when run again: test_api.Record.test_stop

When more than MAX_AGAIN fail, none runs again.

When it is interrupted (SIGINT), the tests that run are ended, and remove what they have begun. Those that had ended by then
are reported as ever.

Programs inherit which signals are ignored: those of a shell's background job ignore SIGINT, those of nohup SIGHUP. The
tests expect neither, so both are handled here.
"""

import atexit
import collections
import ctypes
import io
import os
import pickle
import signal
import sys
import tempfile
import time
import unittest


MAX_AGAIN = 3


class Described(str):
    """Stands for a test that ran in another process, by its description."""

    def shortDescription(self):
        return None


def tests_of(suite):
    """Yields the tests in a suite."""
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            yield from tests_of(one)
        else:
            yield one


def runs_alone(test):
    method = getattr(test, getattr(test, "_testMethodName", ""), None)
    return getattr(test, "runs_alone", False) or getattr(method, "runs_alone", False)


def repeats(test):
    """How to repeat the random choices of a test that failed; "" if it made none."""
    seed = getattr(getattr(test, "test_case", test), "seed", None)
    return "" if seed is None else f"\nPANOPTICON_SEED={seed} makes the same random choices.\n"


def groups_of(suite):
    """Returns the tests as lists; those in a list run in the same process. Those that run alone come last."""
    groups = collections.defaultdict(list)
    for number, test in enumerate(tests_of(suite)):
        module = sys.modules[type(test).__module__]
        if type(test).setUpClass.__func__ is not unittest.TestCase.setUpClass.__func__:
            groups[type(test)].append(test)
        elif hasattr(module, "setUpModule"):
            groups[module, number // 16].append(test)
        else:
            groups[number].append(test)
    return sorted(groups.values(), key=lambda group: any(map(runs_alone, group)))


class Stopped(BaseException):
    """Ends a test that runs, so that unittest cleans up after it."""


class Job:
    """A process that runs a group of tests."""

    def __init__(self, group, verbosity):
        self.group, self.begin = group, time.monotonic()
        self.output, self.outcome = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.work(verbosity)
            finally:
                os._exit(70)

    def work(self, verbosity):
        atexit._clear()                 # what the first process has registered is for its own end
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        for descriptor in 1, 2:
            os.dup2(self.output.fileno(), descriptor)
        log = io.StringIO()
        result = unittest.TextTestResult(unittest.runner._WritelnDecorator(log), False, verbosity)

        def stop(*_):
            for number in signal.SIGINT, signal.SIGTERM:        # a second one does not disturb the cleaning
                signal.signal(number, lambda *_: None)
            result.stop()
            raise Stopped

        for number in signal.SIGINT, signal.SIGTERM:
            signal.signal(number, stop)
        unittest.TestSuite(self.group)(result)
        texts = {kind: [(str(test), text) for test, text in getattr(result, kind)] for kind in ("skipped", "expectedFailures")}
        for kind in "failures", "errors":
            texts[kind] = [(str(test), text + repeats(test)) for test, text in getattr(result, kind)]
        texts["unexpectedSuccesses"] = [str(test) for test in result.unexpectedSuccesses]
        pickle.dump((result.testsRun, log.getvalue(), texts), self.outcome)
        for file in self.outcome, sys.stdout, sys.stderr:
            file.flush()
        atexit._run_exitfuncs()         # such as to close a browser
        os._exit(0)

    def end(self, status, result):
        """Adds what came of it to a unittest.TextTestResult. Returns the errors and failures: (test, text) each."""
        self.output.seek(0)
        output = self.output.read().decode(errors="backslashreplace")
        self.outcome.seek(0)
        try:
            n, log, texts = pickle.load(self.outcome)
        except EOFError:
            n, log = len(self.group), f"{self.group[0]} ... ERROR" if result.showAll else "E"
            texts = {"errors": [(str(self.group[0]), f"The process of this test ended with status {status}.\n")]}
        failed = texts.get("errors", []) + texts.get("failures", [])
        if output and failed:
            for kind in "errors", "failures":
                texts[kind] = [(name, text + f"\nIts output:\n{output}" if (name, text) == failed[-1] else text)
                               for name, text in texts.get(kind, [])]
        if result.showAll:
            log = f"{log.rstrip()} {time.monotonic() - self.begin:.2f} s\n"
        if output and not failed:
            log += f"\nOutput of {self.group[0]}:\n{output}"
        result.stream.write(log)
        result.stream.flush()
        result.testsRun += n
        for kind, found in texts.items():
            getattr(result, kind).extend(Described(one) if isinstance(one, str) else (Described(one[0]), one[1])
                                         for one in found)
        if failed and result.failfast:
            result.stop()
        self.close()
        return texts.get("errors", []) + texts.get("failures", [])

    def close(self):
        self.output.close()
        self.outcome.close()


class Parallel:
    """A suite whose tests run in several processes."""

    def __init__(self, suite, n_jobs):
        self.groups, self.n_jobs, self.running, self.is_interrupted = groups_of(suite), n_jobs, {}, False
        self.failed = []            # (group, its errors and failures) for each group in which something failed
        self.passed_again = []      # (test, text) for each of these that passed when it ran again

    def __call__(self, result):
        try:
            for group in self.groups:
                alone = any(map(runs_alone, group))
                while len(self.running) >= (1 if alone else self.n_jobs):
                    self.wait(result)
                if result.shouldStop:
                    break
                job = Job(group, 2 if result.showAll else 1 if result.dots else 0)
                self.running[job.pid] = job
            while self.running:
                self.wait(result)
            if not result.shouldStop and self.n_jobs > 1 and len(self.groups) > 1 and \
                    sum(len(failed) for _, failed in self.failed) <= MAX_AGAIN:
                self.run_again(result)
        except KeyboardInterrupt:
            self.is_interrupted = True
        finally:
            for pid in self.running:
                os.kill(pid, signal.SIGTERM)
            for pid, job in self.running.items():
                os.waitpid(pid, 0)
                job.close()
            if self.is_interrupted:
                kill_children()

    def wait(self, result):
        pid, status = os.wait()
        job = self.running.pop(pid)
        if failed := job.end(status, result):
            self.failed.append((job.group, failed))

    def run_again(self, result):
        """Runs the groups that failed, one after another. What failed in one that passes now is no longer a failure."""
        for group, failed in self.failed:
            job = Job(group, 0)
            self.running[job.pid] = job
            pid, status = os.wait()
            again = unittest.TextTestResult(unittest.runner._WritelnDecorator(io.StringIO()), False, 0)
            if not self.running.pop(pid).end(status, again):
                for kind in "errors", "failures":
                    getattr(result, kind)[:] = [one for one in getattr(result, kind) if one not in failed]
                self.passed_again += failed


def interrupt(*_):
    """Interrupts once: timeout(1) sends the signal twice, to its child and to its process group."""
    signal.signal(signal.SIGINT, lambda *_: None)
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)         # PR_SET_CHILD_SUBREAPER: programs that a test leaves become children
    raise KeyboardInterrupt


def kill_children():
    """Ends the programs that interrupted tests have left, and those that these leave."""
    def children():
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]

    while found := children():
        for pid in found:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def main():
    arguments, n_jobs = sys.argv[1:], len(os.sched_getaffinity(0))
    if arguments[:1] == ["-j"]:
        n_jobs, arguments = int(arguments[1]), arguments[2:]
    signal.signal(signal.SIGINT, interrupt)
    for number in signal.SIGHUP, signal.SIGQUIT:
        signal.signal(number, signal.SIG_DFL)

    class Runner(unittest.TextTestRunner):
        def run(self, suite):
            parallel = Parallel(suite, n_jobs)
            result = super().run(parallel)
            result.is_interrupted, result.passed_again = parallel.is_interrupted, parallel.passed_again
            return result

    result = unittest.main(module=None, argv=[sys.argv[0], *arguments], exit=False, testRunner=Runner).result
    for reason, n in collections.Counter(reason for _, reason in result.skipped).items():
        print(f"Skipped, {n} test{'s' if n > 1 else ''}: {reason}", file=sys.stderr)
    for name, text in result.passed_again:
        print(f"{text}\nPassed when run again: {name}", file=sys.stderr)
    if result.is_interrupted:
        print("Interrupted: the other tests were not run", file=sys.stderr)
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)        # a shell ends its own work, too, if this ends by the signal
        os.kill(os.getpid(), signal.SIGINT)
    return not result.wasSuccessful() or not result.testsRun


if __name__ == "__main__":
    sys.exit(main())
