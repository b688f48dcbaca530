"""Catapult's trace viewer, the code behind chrome://tracing, in Debian's headless Chromium.

    with catapult.Viewer() as viewer:
        viewer.open("out.trace")
        shown = viewer.read()               # {"slices": [...], "arrows": [...], "threads": [...], "warnings": [...]}
        viewer.screenshot("out.png", begin_ms, end_ms)

Debian has taken chrome://tracing out of its Chromium; the package golang-1.19-src ships the viewer as one page. It is
served on the loopback interface, as its parts are loaded by requests that file: does not allow. One thread at a time.
"""

import contextlib
import http.server
import pathlib
import tempfile
import threading

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

VIEWER = pathlib.Path("/usr/share/go-1.19/src/cmd/trace/static")
FLAGS = ("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
         " --disable-component-update --disable-sync --hide-scrollbars --force-device-scale-factor=1").split()
SECONDS = 120


class Viewer:
    def __init__(self, width=1400, height=900):
        self._files = {"/": pathlib.Path(__file__).with_name("catapult.html")}
        self._files |= {f"/{name}": VIEWER / name for name in ("trace_viewer_full.html", "webcomponents.min.js")}
        self._size = f"--window-size={width},{height}"

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            profile = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            self._url = stack.enter_context(self._serve())
            options = webdriver.ChromeOptions()
            options.binary_location = "/usr/bin/chromium"
            for flag in [*FLAGS, self._size, f"--user-data-dir={profile}"]:
                options.add_argument(flag)
            self._browser = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
            stack.callback(self._browser.quit)
            self._browser.set_script_timeout(SECONDS)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def open(self, trace):
        """Loads a trace file into a fresh page. A trace that the viewer refuses raises JavascriptException."""
        self._files["/trace"] = pathlib.Path(trace)
        self._browser.get(self._url)
        self._run("await open('/trace')")

    def read(self):
        """What the viewer made of the trace; times are in milliseconds from the first event's."""
        return self._run("return read()")

    def screenshot(self, path, begin, end):
        """Writes a PNG of the milliseconds from begin to end, arrows included."""
        self._run(f"await show({begin}, {end})")
        self._browser.save_screenshot(str(path))

    def _run(self, script):
        answer = self._browser.execute_async_script(
            "const done = arguments[0];"
            f"(async () => {{ {script} }})().then(value => done([value]), error => done(String(error)))")
        if isinstance(answer, str):
            raise ValueError(f"the viewer says: {answer}")
        return answer[0]

    @contextlib.contextmanager
    def _serve(self):
        files = self._files

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path = files.get(self.path)
                self.send_response(200 if path else 404)
                self.send_header("Content-Type", "text/html" if path and path.suffix == ".html" else "text/plain")
                self.end_headers()
                if path:
                    self.wfile.write(path.read_bytes())

            def log_message(self, *args):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/"
            finally:
                server.shutdown()
