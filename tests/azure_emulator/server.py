"""The TLS server: reads a request, applies a fault if one waits, asks the route, records the exchange."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import struct
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .blobs import Forward
from .faults import Fault
from .messages import Exchange, RefusalError, Reply, Request
from .routes import find

if TYPE_CHECKING:
    from .emulator import Azure

GONE = (ConnectionError, ssl.SSLError, TimeoutError, socket.timeout)


class Server(socketserver.ThreadingTCPServer):
    """A server on a free port of loopback that can also close the connections it holds."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, azure: Azure, handler: type[BaseHTTPRequestHandler], *, inside: bool, tls: bool) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.azure, self.inside, self.tls = azure, inside, tls
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Serve in a thread."""
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True, name=f"azure-{self.port}").start()

    def stop(self) -> None:
        """Stop listening and close what is open."""
        self.shutdown()
        self.server_close()
        self.drop()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; the handshake waits for the connection's own thread."""
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            connection = self.azure.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.add(connection)
        return connection, address

    def drop(self) -> None:
        """Close every connection that is open now."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection and close it."""
        with self._lock:
            self._open.discard(request)
        try:
            super().shutdown_request(request)
        except GONE:
            request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error; anything else fails the test."""
        import sys
        import traceback

        if not isinstance(sys.exception(), GONE):
            self.azure.broken.append(traceback.format_exc())


def reset(connection: socket.socket) -> None:
    """Close so that the other side sees a connection reset."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


KEYLESS = "KeyBasedAuthenticationNotPermitted"


class Handler(BaseHTTPRequestHandler):
    """One connection to the stand-in: any host, any method."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # answers go out in one packet
    server: Server
    forward: Forward | None = None

    def finish(self) -> None:
        """Let go of Azurite, too."""
        if self.forward:
            self.forward.close()
        with suppress(*GONE):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: exchanges are recorded."""

    def handle_one_request(self) -> None:
        """Read one request and answer it."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self.answer()
        self.wfile.flush()

    def answer(self) -> None:
        """Apply a fault or the route."""
        azure, target = self.server.azure, self.path
        if not target.startswith("/"):  # a plain request to the proxy
            parts = urlsplit(target)
            host, target = parts.hostname or "", target.split(parts.netloc, 1)[1] or "/"
        else:
            host = self.headers.get("Host", "").rsplit(":", 1)[0].lower()
        request = Request(self.command, host, target, self.headers, inside=self.server.inside)
        fault = azure.faults.take(request)
        if fault and fault.kind in ("reset", "cut", "stall"):
            self.spoil(request, fault)
            return
        if azure.is_blob_host(host) and self.is_refused(target):
            self.read_body()
            message = "Key based authentication is not permitted on this storage account."
            reply = RefusalError(403, KEYLESS, message).reply(request)
            self.record(request, reply, fault, bodies=False)
            self.send(reply, fault)
            return
        if azure.is_blob_host(host) and not (fault and fault.kind == "status"):
            self.pass_on(request, fault)
            return
        request.body = self.read_body()
        reply = fault.refusal().reply(request) if fault and fault.kind == "status" else self.routed(request)
        self.record(request, reply, fault)
        self.send(reply, fault)

    def is_refused(self, target: str) -> bool:
        """Tell whether the account refuses a request for a blob because it is signed with the account's key."""
        # code goes to a container of its own, with a signature that is not made with the key
        of_a_datastore = target.split("/")[1].startswith("azureml")
        by_key = not self.headers.get("Authorization", "").startswith("Bearer ")
        return self.server.azure.keys_refused and of_a_datastore and by_key

    def routed(self, request: Request) -> Reply:
        """Return what the route's function answers."""
        azure = self.server.azure
        try:
            function, request.at = find(request)
            with azure.lock:
                return function(azure, request)
        except RefusalError as refusal:
            return refusal.reply(request)
        except Exception:
            import traceback

            azure.broken.append(f"{request.method} {request.host}{request.path}\n{traceback.format_exc()}")
            return RefusalError(500, "StandInBroken", "The stand-in itself failed; see azure.broken").reply(request)

    def send(self, reply: Reply, fault: Fault | None) -> None:
        """Write the answer, or what a fault leaves of it."""
        body, kind = reply.encoded()
        if fault and fault.kind == "unparsable":
            body = body[: len(body) // 2]
        if fault and fault.kind == "lost":
            return self.hang_up()
        self.send_response_only(reply.status)
        headers = {"Content-Type": kind} if kind else {}
        headers |= reply.headers
        if reply.status not in (204, 304):
            headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            half = fault and fault.kind == "truncate"
            self.wfile.write(body[: len(body) // 2] if half else body)
            if half:
                self.wfile.flush()
                self.hang_up(gently=True)
        return None

    def spoil(self, request: Request, fault: Fault) -> None:
        """Break the connection before there is an answer."""
        if fault.kind == "cut":
            self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
        self.record(request, Reply(0), fault)
        if fault.kind == "stall":
            end = time.monotonic() + fault.seconds
            while time.monotonic() < end and not self.server.azure.closing.is_set() and fault.hits:
                time.sleep(0.02)
            self.hang_up(gently=True)
        else:
            self.hang_up()

    def hang_up(self, gently: bool = False) -> None:
        """End this connection."""
        self.close_connection = True
        if gently:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        else:
            reset(self.connection)

    def read_body(self) -> bytes:
        """Return the request's body, whichever way its length is told."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def pass_on(self, request: Request, fault: Fault | None) -> None:
        """Hand a request for a blob to Azurite."""
        self.forward = self.forward or Forward(self.server.azure.azurite)
        body = self.read_body()
        reply = self.forward.ask(request, body)
        self.record(request, reply, fault, bodies=False)
        length = reply.headers.pop("Content-Length", None)
        if self.command == "HEAD" and length:
            self.send_response_only(reply.status)
            for name, value in {**reply.headers, "Content-Length": length}.items():
                self.send_header(name, value)
            self.end_headers()
        else:
            self.send(reply, fault)

    def record(self, request: Request, reply: Reply, fault: Fault | None, bodies: bool = True) -> None:
        """Keep the exchange; of blobs not the bytes, of no request the credentials."""
        sent: Any = None
        if bodies and request.body:
            try:
                sent = request.json()
            except ValueError:
                sent = {name: "..." if "secret" in name else value for name, value in request.form().items()}
        answer = json.loads(json.dumps(reply.body)) if bodies and not isinstance(reply.body, bytes) else None
        self.server.azure.exchanges.append(
            Exchange(
                request.method, request.host, request.path, request.query, sent, reply.status, answer,
                request.inside, fault.kind if fault else "",
            )
        )  # fmt: skip
