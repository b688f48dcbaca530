"""Serves files to one page of the browser, each once.

    with Server(("127.0.0.1", 9001), "https://ui.perfetto.dev", {"/NAME": path}) as server:
        server.serve_until_fetched()

An answer allows that origin to read it (CORS), and no other. Requests of other origins are refused, and those for another
host, as a page does whose name has been rebound to this address.
"""

import http.server
import os
import shutil
import threading


class Server(http.server.ThreadingHTTPServer):
    """address: (host, port). origin: of the page. files: dict of the path in a URL to a path. Raises OSError when the port
    is taken."""

    daemon_threads = True               # a connection that the browser opens in advance asks for nothing
    block_on_close = False

    def __init__(self, address, origin, files):
        super().__init__(address, Handler)
        self.origin, self.files = origin, files
        self.hosts = {f"{host}:{self.server_port}" for host in (address[0], "localhost")}
        self._left, self._lock = set(files), threading.Lock()

    def serve_until_fetched(self):
        """Answer requests until each file has been sent to its end."""
        self.serve_forever(poll_interval=0.1)

    def note_fetched(self, path):
        with self._lock:
            self._left.discard(path)
            is_end = not self._left
        if is_end:
            threading.Thread(target=self.shutdown).start()          # it waits for serve_forever

    def handle_error(self, request, client_address):
        """The browser has closed the connection: it may ask again."""


class Handler(http.server.BaseHTTPRequestHandler):
    server_version, sys_version = "panopticon", ""
    timeout = 60                        # seconds without a byte

    def is_allowed(self):
        return self.headers.get("Host") in self.server.hosts and self.headers.get("Origin") == self.server.origin

    def do_GET(self):
        path = self.server.files.get(self.path)
        if not self.is_allowed():
            self.refuse(403)
        elif not path:
            self.refuse(404)
        else:
            self.send_file(path)

    def send_file(self, path):
        try:
            file = open(path, "rb")
        except OSError:
            return self.refuse(404)
        with file:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
            self.allow()
            shutil.copyfileobj(file, self.wfile, 1 << 20)
        self.wfile.flush()
        self.server.note_fetched(self.path)

    def do_OPTIONS(self):
        """The browser asks before a page of the internet reads from this machine."""
        if not self.is_allowed():
            return self.refuse(403)
        self.send_response(204)
        self.send_header("Access-Control-Allow-Methods", "GET")
        self.send_header("Access-Control-Allow-Private-Network", "true")
        self.allow()

    def do_POST(self):
        """Perfetto asks whether a trace processor listens here."""
        self.refuse(404 if self.is_allowed() else 403)

    def allow(self):
        """Complete the headers of an answer that the page may read."""
        self.send_header("Access-Control-Allow-Origin", self.server.origin)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()

    def refuse(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if self.is_allowed():
            self.allow()
        else:
            self.end_headers()

    def log_message(self, *args):
        """Print nothing: the terminal is the user's."""
