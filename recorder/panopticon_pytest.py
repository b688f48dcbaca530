"""The plugin that pytest loads (entry point `pytest11`): its options, and no more until the session is recorded.

    pytest --panopticon [NAME.pnr]      # one capture of the session, with a slice for each test

panopticon_rec.pytest_plugin does the work. It is imported only for a session that is recorded: with this option, or by
`panopticon record pytest`, or in a worker of pytest-xdist that such a session has started.
"""

import sys

import pytest


def pytest_addoption(parser):
    group = parser.getgroup("panopticon", "recording of the session by Panopticon")
    group.addoption("--panopticon", nargs="?", const="pytest.pnr", metavar="NAME.pnr",
                    help="record the session into a capture with a slice for each test [pytest.pnr]")
    group.addoption("--panopticon-options", default="", metavar="OPTIONS",
                    help="options of the recorder, in one word: --panopticon-options='--mine --last 30s'")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if config.option.panopticon_options and not config.option.panopticon:
        raise pytest.UsageError("--panopticon-options are those of --panopticon, which is missing")
    recorder = sys.modules.get("panopticon_rec._recorder")
    if config.option.panopticon or recorder and recorder.state() != "off":
        from panopticon_rec import pytest_plugin
        pytest_plugin.register(config)
