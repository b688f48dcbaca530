"""Runs Debian's headless Chromium, with files served on the loopback interface. One thread at a time.

    with browser.Browser() as page:
        page.files["/index.html"] = pathlib.Path("index.html")
        page.files["/viewer/"] = pathlib.Path("dist")       # a folder with its contents
        page.go("/index.html")
        answer = page.run("return document.title")          # the body of an async function; its arguments are `given`

All tests of a process use one: browser.shared().
"""

import atexit
import contextlib
import functools
import http.server
import pathlib
import tempfile
import threading
import urllib.parse

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.chrome.service import Service

# The second line gives WebGL without a graphics card. The last one keeps it from contacting other machines.
FLAGS = ("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
         " --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
         " --disable-component-update --disable-sync --hide-scrollbars --force-device-scale-factor=1").split()
RESOLVER = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm",
         ".json": "application/json"}
SECONDS = 120
UNTIL = """
    const until = async condition => {
        const end = Date.now() + %d;
        while (!condition()) {
            if (Date.now() > end)
                throw new Error('Not within %d seconds: ' + condition);
            await new Promise(done => setTimeout(done, 5));
        }
    };
    """ % (SECONDS / 2 * 1000, SECONDS / 2)


class Browser:
    """hosts: dict of a host's name to the port on this machine that plays it for https, with a certificate of any issuer."""

    def __init__(self, width=1400, height=900, hosts=None):
        self.files = {}
        self._at = None
        rules = ", ".join([*(f"MAP {host}:443 127.0.0.1:{port}" for host, port in (hosts or {}).items()), RESOLVER])
        self._flags = [*FLAGS, f"--window-size={width},{height}", f"--host-resolver-rules={rules}",
                       *["--ignore-certificate-errors"] * bool(hosts)]

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            profile = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            self._url = stack.enter_context(self._serve())
            options = webdriver.ChromeOptions()
            options.binary_location = "/usr/bin/chromium"
            for flag in [*self._flags, f"--user-data-dir={profile}"]:
                options.add_argument(flag)
            self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
            stack.callback(self.driver.quit)
            self.driver.set_script_timeout(SECONDS)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def go(self, path):
        self._at = path
        self.driver.get(path if "://" in path else urllib.parse.urljoin(self._url, path))

    def ensure_at(self, path):
        """Opens the page unless it is open."""
        if self._at != path:
            self.go(path)

    def run(self, script, *given):
        """Returns what the script returns, or raises what it throws as a ValueError. It may await `until(() =>
        condition)`."""
        answer = self.driver.execute_async_script(UNTIL + f"""
            const given = arguments[0], done = arguments[1];
            (async () => {{ {script} }})().then(value => done([value]), error => done(String(error)))""", given)
        if isinstance(answer, str):
            self._at = None             # the state of the page is not known
            raise ValueError(f"the viewer says: {answer}")
        return answer[0]

    def choose_file(self, path):
        """Passes the file to the page's file input, as a user does."""
        self.driver.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(path))

    def screenshot(self, path, selector=None):
        """Writes a PNG of the window, or of an element."""
        shown = self.driver.find_element(By.CSS_SELECTOR, selector) if selector else self.driver
        (shown.screenshot if selector else shown.save_screenshot)(str(path))

    def _find(self, path):
        """The file that is served as this path."""
        folder, _, rest = path[1:].partition("/")
        found = self.files.get(path) or f"/{folder}/" in self.files and self.files[f"/{folder}/"] / rest
        return pathlib.Path(found) if found and pathlib.Path(found).is_file() else None

    @contextlib.contextmanager
    def _serve(self):
        find = self._find

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path = find(urllib.parse.unquote(self.path.partition("?")[0]))
                self.send_response(200 if path else 404)
                self.send_header("Content-Type", TYPES.get(path.suffix, "text/plain") if path else "text/plain")
                self.send_header("Cache-Control", "no-store")
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


@functools.cache
def shared():
    """The browser of all tests of this process, closed at its end."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(Browser())
