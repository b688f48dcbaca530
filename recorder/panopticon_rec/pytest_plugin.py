"""Records a session of pytest: one capture, with a slice for each test that has the test's id as its name, and at the
end of it a slice with the outcome. panopticon_pytest.py imports this when it is wanted.

Workers of pytest-xdist are interpreters that the session starts: they join its capture by themselves, and have this
plugin only for the slices of their tests.
"""

import os
import shlex
import types

import pytest

import panopticon_rec
from panopticon_rec import _recorder, options

# What is shown of tests, whatever else the filters leave out: their slices, and where pytest sets up, calls and tears
# down.
TESTS = "include *::*", "include pytest.[[]*", "include _pytest.runner.pytest_runtest_*"


def register(config):
    """Record the session of a pytest.Config, if this process is not recorded yet. Raises pytest.UsageError."""
    manager = config.pluginmanager
    if config.option.panopticon and not hasattr(config, "workerinput"):
        manager.register(Session(config), "panopticon-session")
    if _recorder and _recorder.state() != "off":
        manager.register(Tests(), "panopticon-tests")


def parse_options(config):
    """Return the keywords of Recorder that the session's options ask for."""
    keywords = options.parse_words(shlex.split(config.option.panopticon_options))
    if keywords.get("filters") or keywords.get("mine"):
        keywords["filters"] = [*keywords.get("filters", []), *TESTS]
    return keywords


class Session:
    """The recording of a session, from its configuration to its end."""

    def __init__(self, config):
        path = config.option.panopticon
        if not path.endswith(".pnr"):
            raise pytest.UsageError(f"--panopticon takes the name of a capture, which ends in .pnr, and not {path}: "
                                    "put the option after the tests, or write --panopticon=NAME.pnr")
        if panopticon_rec.UNUSABLE:
            raise pytest.UsageError(panopticon_rec.UNUSABLE)
        self.recorder, self.report = None, f"this process is being recorded already: no {path} is made"
        if _recorder.state() != "off":
            return
        try:
            self.recorder = panopticon_rec.Recorder(path, **parse_options(config)).start()
        except (options.UsageError, ValueError) as error:
            raise pytest.UsageError(f"--panopticon-options: {error}") from None
        except OSError as error:
            raise pytest.UsageError(f"--panopticon: {error}") from None

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config):
        if self.recorder:
            path = os.path.relpath(self.recorder.path, config.invocation_params.dir)
            try:
                self.recorder.stop()
                self.report = f"{path} has the session: panopticon view {shlex.quote(path)}"
            except OSError as error:
                self.report = f"{path} is not complete: {error}"
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter:
            reporter.write_line(f"panopticon: {self.report}")


class Tests:
    """A slice for each test of this process.

    What the recorder calls a function is in its code object. So each test is run by a function of its own, which bears
    the test's id.
    """

    def __init__(self):
        self.outcome = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item, nextitem):
        """Call those who run the test, in the test's own function. The hook's wrappers are around both already."""
        name = "pytest_runtest_protocol"
        wrappers = [one.plugin for one in getattr(item.config.hook, name).get_hookimpls()
                    if one.hookwrapper or getattr(one, "wrapper", False)]       # the newer kind, not in old pluggy
        protocol = item.config.pluginmanager.subset_hook_caller(name, [self, *wrappers])
        module, dot, rest = item.nodeid.partition(".")
        run = make_function(run_test, *((module, rest) if dot else ("pytest", module)), item)
        return run(protocol, item, nextitem, self.outcome_function)

    def pytest_runtest_logreport(self, report):
        """Keep the worst of what the parts of a test have come to, or of the last try of a test that is repeated."""
        if report.when == "setup" or describe(report) != "passed":
            self.outcome = describe(report)

    def outcome_function(self):
        return OUTCOMES.get(self.outcome) or OUTCOMES.setdefault(self.outcome, make_outcome(self.outcome))


def describe(report):
    """Return what pytest calls the outcome in its summary."""
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    return "error" if report.failed and report.when in ("setup", "teardown") else report.outcome


# One line, as this is the only one of the test's file that a tool which measures coverage then sees in it.
run_test = lambda protocol, item, nextitem, end: (protocol(item=item, nextitem=nextitem), end()())[0]       # noqa: E731

OUTCOMES = {}


def make_outcome(outcome):
    """Return the function whose slice is an outcome."""
    code = (lambda: None).__code__.replace(co_qualname=f"[{outcome}]", co_filename="<pytest>", co_firstlineno=1)
    return types.FunctionType(code, {"__name__": "pytest"})


def make_function(template, module, name, item):
    """Return a copy of a function that the recorder names MODULE.NAME, and that is where the test is."""
    line = (item.location[1] or 0) + 1
    code = template.__code__.replace(co_qualname=name, co_filename=str(item.path), co_firstlineno=line)
    return types.FunctionType(code, {"__name__": module})
