"""Catapult's trace viewer, the code behind chrome://tracing.

    viewer = catapult.Viewer(browser.shared())
    viewer.open("out.trace")
    shown = viewer.read()           # {"slices": [...], "arrows": [...], "threads": [...], "tasks": [...], ...}
    viewer.show(begin_ms, end_ms)   # for a screenshot

Debian has taken chrome://tracing out of its Chromium; the package golang-1.19-src ships the viewer as one page. It is
served, as its parts are loaded by requests that file: does not allow.
"""

import pathlib

FOLDER = pathlib.Path("/usr/share/go-1.19/src/cmd/trace/static")


class Viewer:
    def __init__(self, page):
        self._page = page
        page.files["/catapult/catapult.html"] = pathlib.Path(__file__).with_name("catapult.html")
        page.files["/catapult/"] = FOLDER

    def open(self, trace):
        """Loads a trace file. One that the viewer refuses raises ValueError."""
        self._page.files["/trace"] = pathlib.Path(trace)
        self._page.serve_file("/catapult/catapult.html")
        self._page.run("await open('/trace', given[0])", pathlib.Path(trace).name)

    def read(self):
        """What the viewer made of the trace; times are in milliseconds from the first event's."""
        return self._page.run("return read()")

    def show(self, begin, end):
        """Shows the milliseconds from begin to end, arrows included."""
        self._page.run("await show(...given)", begin, end)
