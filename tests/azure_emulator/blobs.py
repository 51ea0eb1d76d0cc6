"""Blob storage: Azurite as a child process, and ways to reach it."""

from __future__ import annotations

import base64
import http.client
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from .messages import Reply, Request

ACCOUNT = "mbstandin01"
MAIN = Path("azurite/dist/src/blob/main.js")
PASSED_BACK = {"connection", "keep-alive", "transfer-encoding", "server", "date"}


def find_azurite() -> Path | None:
    """Return Azurite's program: where MB_AZURITE says, beside the project, or where npm installs globally."""
    beside = [parent / "node_modules" for parent in Path(__file__).parents[2:5]]
    folders = [Path(os.environ["MB_AZURITE"]) / "node_modules"] if os.environ.get("MB_AZURITE") else beside
    if not os.environ.get("MB_AZURITE") and (npm := shutil.which("npm")):
        folders.append(Path(subprocess.run((npm, "root", "-g"), capture_output=True, text=True).stdout.strip()))
    return next((folder / MAIN for folder in folders if (folder / MAIN).is_file()), None)


class Azurite:
    """The child; it starts when first asked for, since many tests need no blob."""

    def __init__(self, folder: Path, cert: Path, key: Path, ca: Path) -> None:
        self.folder, self.cert, self.cert_key, self.ca = folder, cert, key, ca
        self.account, self.key = ACCOUNT, base64.b64encode(secrets.token_bytes(64)).decode()
        self.signatures: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._lock = threading.Lock()
        self._service: Any = None
        self._made: set[str] = set()  # containers that are there

    @property
    def port(self) -> int:
        """Where it listens; starts it."""
        with self._lock:
            if self._process is None:
                self._start()
        return self._port

    def _start(self) -> None:
        program, node = find_azurite(), shutil.which("node")
        assert program and node, "Azurite was there when the session began"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        command = (
            node, str(program), "--blobHost", "127.0.0.1", "--blobPort", str(self._port), "--skipApiVersionCheck",
            "--cert", str(self.cert), "--key", str(self.cert_key), "--oauth", "basic", "--disableTelemetry", "--silent",
            "-l", str(self.folder / "azurite"),
        )  # fmt: skip
        environment = {**os.environ, "AZURITE_ACCOUNTS": f"{self.account}:{self.key}"}
        environment["AZURITE_TELEMETRY_COLLECT"] = "false"
        with (self.folder / "azurite.log").open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        end = time.monotonic() + 300
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None and time.monotonic() < end, "Azurite did not start"
                time.sleep(0.05)

    @property
    def started(self) -> bool:
        """Whether anything was stored yet."""
        return self._process is not None

    @property
    def service(self) -> Any:
        """Microsoft's client, with the account's key, straight to Azurite."""
        from azure.storage.blob import BlobServiceClient

        if self._service is None:
            url = f"https://127.0.0.1:{self.port}/{self.account}"
            credential = {"account_name": self.account, "account_key": self.key}
            self._service = BlobServiceClient(
                url, credential=credential, connection_verify=str(self.ca), proxies={"https": ""}
            )
        return self._service

    def container(self, name: str) -> Any:
        """Return the client of a container, made if it is not there."""
        from azure.core.exceptions import ResourceExistsError

        client = self.service.get_container_client(name)
        if name not in self._made:
            with suppress(ResourceExistsError):
                client.create_container()
            self._made.add(name)
        return client

    def sas(self, container: str, permission: str = "rcwdl", seconds: float = 3600) -> str:
        """Return a signature for a container that ends after some time."""
        from azure.storage.blob import generate_container_sas

        self.container(container)
        expiry = datetime.now(UTC) + timedelta(seconds=seconds)
        sas = generate_container_sas(self.account, container, self.key, permission=permission, expiry=expiry)
        self.signatures.add(parse_qs(sas)["sig"][0])
        return sas

    def clear(self) -> None:
        """Delete everything that is stored."""
        self._made.clear()
        if self.started:
            for container in list(self.service.list_containers()):
                self.service.delete_container(container.name)

    def stop(self) -> None:
        """End the child."""
        if self._service is not None:
            self._service.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


class Forward:
    """A connection to Azurite that carries requests as they are: it sees the real host name."""

    def __init__(self, azurite: Azurite) -> None:
        context = ssl.create_default_context(cafile=str(azurite.ca))
        self._connection = http.client.HTTPSConnection("127.0.0.1", azurite.port, context=context, timeout=120)

    def ask(self, request: Request, body: bytes) -> Reply:
        """Return Azurite's answer."""
        headers = {name: value for name, value in request.headers.items() if name.lower() != "connection"}
        try:
            self._connection.request(request.method, request.target, body, headers)
        except (ConnectionError, http.client.HTTPException):  # it closed while idle
            self._connection.close()
            self._connection.request(request.method, request.target, body, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in PASSED_BACK}
        kept = {("Content-Length" if name.lower() == "content-length" else name): value for name, value in kept.items()}
        if answer.status == 204 or (request.method != "HEAD" and data):
            kept.pop("Content-Length", None)
        return Reply(answer.status, data, kept)

    def close(self) -> None:
        """Let go."""
        self._connection.close()
