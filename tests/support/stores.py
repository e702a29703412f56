"""An object store on this machine, and a proxy before it that misbehaves."""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from moto.server import ThreadedMotoServer

SECRET = "a-secret-that-must-stay-one"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}
OWN_HEADERS = ("transfer-encoding", "connection", "server", "content-length", "date")
CONDITIONS = ("if-match", "if-none-match")
LOST = 0
Fault = Callable[[str, str], int | None]
"""For a method and a path: a status to answer with, a negative number of bytes after
which to break off, LOST to do what is asked and not to answer, or None to pass the
request on."""


@contextmanager
def store() -> Iterator[str]:
    """Start an empty store with S3's interface, and yield its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def client(address: str):
    """Return a client of another library, to fill the store with."""
    return boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1",
        aws_access_key_id="tester", aws_secret_access_key=SECRET,
    )  # fmt: skip


@contextmanager
def faulty(
    address: str, fault: Fault = lambda method, path: None, conditions: bool = True
) -> Iterator[str]:
    """Start a proxy before a store, and yield its address.

    Without `conditions`, the store never hears of any.
    """
    target = address.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            wanted = fault(self.command, self.path)
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length) if length else None
            if wanted is not None and wanted > 0:
                self.send_response(wanted)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            connection = http.client.HTTPConnection(target)
            dropped = ("host", *(() if conditions else CONDITIONS))
            headers = {
                k: v for k, v in self.headers.items() if k.lower() not in dropped
            }
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            if wanted == LOST:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in OWN_HEADERS:
                    self.send_header(name, value)
            n = answer.getheader("Content-Length") or str(len(data))
            self.send_header("Content-Length", n)
            self.end_headers()
            if wanted is not None:
                self.wfile.write(data[:-wanted])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.wfile.write(data)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
