"""A proxy in front of a real S3 endpoint on loopback: it refuses, stalls or cuts the requests that a test chooses."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

CUT, STALL, HALF, FLIP = "cut", "stall", "half", "flip"
Refusal = tuple[int, str]
Fault = int | Refusal | str | None
"""What is done to a request: an HTTP status is answered, alone or with a code of S3; `CUT` closes the connection in
mid-body, `STALL` is silent; `HALF` answers half of the body as if it were all of it, `FLIP` the body with one bit
changed."""

_CODES = {403: "AccessDenied", 500: "InternalError", 503: "SlowDown"}


@dataclass
class FaultyS3:
    """The proxy's address, what it has seen, and what it does.

    Attributes
    ----------
    requests : list of str
        Method and path of every request, whatever became of it.
    fault : callable
        (method, path with query) -> what to do to the request.
    on_trailers : Fault
        What is done to an upload that ends with a checksum, before `fault` is asked.
    private : bool
        Whether a request without a signature is refused, as buckets do that are not open to everybody.
    page_keys : int, optional
        Number of names on a page of a listing, instead of those that the client asks for.
    """

    target: str
    endpoint: str = ""
    requests: list[str] = field(default_factory=list)
    fault: Callable[[str, str], Fault] = lambda method, path: None
    on_trailers: Fault = None
    closing: threading.Event = field(default_factory=threading.Event)
    private: bool = False
    page_keys: int | None = None

    def times(self, count: int, fault: Fault, method: str, part_of_path: str = "") -> None:
        """Do `fault` to the first `count` requests that have the method and the text in their path."""
        left = [count]

        def decide(found_method: str, path: str) -> Fault:
            if found_method != method or part_of_path not in path or left[0] == 0:
                return None
            left[0] -= 1
            return fault

        self.fault = decide


@contextmanager
def faulty(target: str) -> Iterator[FaultyS3]:
    """Run a proxy in front of `target`, an http:// endpoint."""
    proxy = FaultyS3(target)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    server.daemon_threads = True
    server.block_on_close = False
    proxy.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyS3

    def _serve(self) -> None:
        self.proxy.requests.append(f"{self.command} {self.path}")
        refused = 403 if self.proxy.private and "Authorization" not in self.headers else None
        on_trailers = self.proxy.on_trailers if "x-amz-trailer" in self.headers else None
        fault = refused or on_trailers or self.proxy.fault(self.command, self.path)
        if fault == CUT:
            self.rfile.read(1)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault == STALL:
            self.proxy.closing.wait(20)
            self.close_connection = True
        elif isinstance(fault, int | tuple):
            self._body()
            self._refuse(*(fault if isinstance(fault, tuple) else (fault, _CODES[fault])))
        else:
            self._forward(self._body(), fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - names of the standard library

    def _body(self) -> bytes:
        """The body as it came: in chunks, whose framing is kept, or of the length that was announced."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        raw = b""
        while True:
            size = self.rfile.readline()
            raw += size + self.rfile.read(int(size.split(b";")[0], 16))
            raw += self.rfile.readline()
            if int(size.split(b";")[0], 16) == 0:
                while not raw.endswith(b"\r\n\r\n"):  # trailers
                    raw += self.rfile.readline()
                return raw

    def _refuse(self, status: int, code: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>refused</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _forward(self, body: bytes, fault: Fault) -> None:
        url = urlsplit(self.proxy.target)
        upstream = http.client.HTTPConnection(url.hostname or "", url.port)
        try:
            path = re.sub(r"max-keys=\d+", f"max-keys={self.proxy.page_keys}", self.path)
            upstream.putrequest(
                self.command, path if self.proxy.page_keys else self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in ("expect", "connection"):
                    upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        if content and fault in (HALF, FLIP):
            middle = len(content) // 2
            content = content[:middle] + (
                b"" if fault == HALF else bytes([content[middle] ^ 1]) + content[middle + 1 :]
            )
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Tests print what they need."""
