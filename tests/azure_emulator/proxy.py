"""The CONNECT proxy: leads the hosts of Azure to the stand-in, refuses and records all others."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

from .messages import Reply
from .server import Handler, Server

if TYPE_CHECKING:
    from .emulator import Azure

#: hosts that exist; blob accounts are added by the name of the stand-in's account
HOSTS = ("management.azure.com", "login.microsoftonline.com", "login.windows.net")
REGIONAL = (".api.azureml.ms",)
METADATA = "169.254.169.254"  # where a virtual machine in Azure asks for its identity


class ProxyHandler(Handler):
    """One connection to the proxy."""

    def answer(self) -> None:
        """Tunnel a CONNECT; answer a plain request only for the metadata address."""
        azure = self.server.azure
        if azure.offline and not self.server.inside:
            return self.hang_up()
        if self.command != "CONNECT":
            host = self.path.split("://", 1)[-1].split("/")[0].split(":")[0]
            if host != METADATA:
                return self.refuse(host)
            # outside Azure nobody is there, and nobody phoned home
            is_there = azure.managed_identity or self.server.inside
            return super().answer() if is_there else self.hang_up()
        host = self.path.rsplit(":", 1)[0].lower()
        if azure.is_blob_host(host) and azure.direct_blobs:
            return self.tunnel(azure.azurite.port)
        if not (host in HOSTS or host.endswith(REGIONAL) or azure.is_blob_host(host)):
            return self.refuse(host)
        return self.tunnel((azure.inside_server if self.server.inside else azure.server).port)

    def refuse(self, host: str) -> None:
        """Say no, and remember who was asked for."""
        self.server.azure.denied.append(host)
        self.close_connection = True
        self.send(Reply(403, {"error": {"code": "HostDenied", "message": f"the stand-in does not know {host}"}}), None)

    def tunnel(self, port: int) -> None:
        """Carry bytes both ways until one side is done."""
        self.close_connection = True
        with socket.create_connection(("127.0.0.1", port)) as far:
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.send_response_only(200, "Connection established")
            self.end_headers()
            self.wfile.flush()
            near = self.connection
            while True:
                ready, _, _ = select.select([near, far], [], [])
                for one in ready:
                    data = one.recv(1 << 18)
                    if not data:
                        return
                    (far if one is near else near).sendall(data)


def start_proxy(azure: Azure, *, inside: bool) -> Server:
    """Start a proxy; the one inside is for the nodes, which stay connected when the client does not."""
    proxy = Server(azure, ProxyHandler, inside=inside, tls=False)
    proxy.start()
    return proxy
