"""A server on 127.0.0.1 that can be told to misbehave."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from skhash.datasets._fetch import RemoteFile


class Server:
    """An HTTP server of one process; what it does wrong is set by attributes."""

    def __init__(self):
        self.files = {}
        self.supports_range = True
        self.bytes_before_hangup = None
        self.range_shift = 0
        self.extra_headers = {}
        self.requests = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def remote(self, name, content):
        """Publish a file and describe it."""
        self.files[f"/{name}"] = content
        return RemoteFile(name, f"{self.url}/{name}", hashlib.sha256(content).hexdigest())

    def close(self):
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _make_handler(server):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                wanted = self.headers.get("Range")
                server.requests.append(wanted)
                content = server.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.supports_range else 0
                if wanted and start >= len(content):
                    self.send_error(416)
                    return
                self.answer(content, start, partial=bool(wanted and server.supports_range))

            def answer(self, content, start, *, partial):
                start += server.range_shift if partial else 0
                self.send_response(206 if partial else 200)
                if partial:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                for header in server.extra_headers.items():
                    self.send_header(*header)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                self.wfile.write(content[start:][: server.bytes_before_hangup])

            def log_message(self, *args):
                pass

        return Handler


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    yield server
    server.close()
