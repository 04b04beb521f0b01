"""A collector on loopback: it takes spans by OTLP over HTTP, or fails to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans


class Receiver:
    """The spans that came. While `silent` is set, it answers nothing; else with `status`."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.silent = False
        self.ends = threading.Event()
        self.came: list[ResourceSpans] = []

    def names(self) -> list[str]:
        """Return the names of all spans that came."""
        return [span.name for resource in self.came for scope in resource.scope_spans for span in scope.spans]

    def take(self, path: str, body: bytes) -> int:
        """Take a request's spans, and return the status of the answer."""
        if self.silent:
            self.ends.wait()
        if self.status == 200:
            assert path == "/v1/traces"
            self.came += ExportTraceServiceRequest.FromString(body).resource_spans
        return self.status


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Yield a collector that takes spans."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = receiver.take(self.path, self.rfile.read(int(self.headers["content-length"])))
            body = ExportTraceServiceResponse().SerializeToString()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.ends.set()
            server.shutdown()
            thread.join()
