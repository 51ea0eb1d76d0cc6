"""The container of a workspace's datastore: blobs in, blobs out, with a signature that is renewed in time.

The signature of a datastore lives an hour, an upload may take longer; so every request asks for the container
anew, and a refused signature is fetched again once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from . import arm
from .quiet import without_signatures
from .translate import translated

if TYPE_CHECKING:
    from . import Connection

VERSION = "2024-10-01-preview"  # of the datastores' routes; the SDK's own
RENEW_SECONDS = 45 * 60.0  # a signature lives an hour
CHUNK = 4 * 2**20
MOST_PAUSES = 5
KEYLESS = "KeyBasedAuthenticationNotPermitted"  # the account refuses its own keys: the person's role must do
FOLDER = "hdi_isfolder"  # what a mount (blobfuse) writes on an empty blob for each folder

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Blob:
    """A file in a container."""

    name: str
    size: int
    etag: str = ""
    modified: float = 0.0


class Store:
    """A datastore's container. Threads may share it; nothing is asked before it is used."""

    def __init__(self, connection: Connection, datastore: str = "workspaceblobstore") -> None:
        self.datastore = datastore
        self._connection = connection
        self._lock = threading.Lock()
        self._client: Any = None
        self._has_key = True
        self._takes_keys = True
        self._renew_at = 0.0

    def uri(self, path: str) -> str:
        """Return how a job names a folder of this datastore."""
        return f"azureml://datastores/{self.datastore}/paths/{path}"

    @property
    def address(self) -> str:
        """The container's address, without its signature."""
        return str(self._container().url).partition("?")[0]

    @property
    def by_identity(self) -> bool:
        """Tell whether no key is kept here: whoever opens it, on a node too, must have a role of their own."""
        self._container()
        return not self._has_key

    def names(self, prefix: str) -> Iterator[Blob]:
        """Yield the blobs whose names begin with ``prefix``; the empty ones that mark folders are left out."""

        def ask(container: Any) -> list[Any]:
            return list(container.list_blobs(name_starts_with=prefix, include=["metadata"]))

        with translated("listing the files in the workspace's storage"):
            for found in self._do(ask):
                if FOLDER not in {key.casefold() for key in found.metadata or ()}:
                    yield Blob(found.name, found.size or 0, found.etag or "", found.last_modified.timestamp())

    def find(self, name: str) -> Blob | None:
        """Return a blob's facts, None when there is none."""
        from azure.core.exceptions import ResourceNotFoundError

        with translated("looking at the workspace's storage"):
            try:
                found = self._do(lambda container: container.get_blob_client(name).get_blob_properties())
            except ResourceNotFoundError:
                return None
        return Blob(name, found.size or 0, found.etag or "", found.last_modified.timestamp())

    def put(self, name: str, content: bytes | BinaryIO, length: int | None = None) -> None:
        """Write a blob; one that is there is replaced."""

        def send(container: Any) -> None:
            if not isinstance(content, bytes):
                content.seek(0)
            container.upload_blob(name, content, length=length, overwrite=True)

        with translated("writing to the workspace's storage"):
            self._do(send)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes | None:
        """Return a blob or a part of it; None when there is no such blob, nothing where it has ended already."""
        from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

        def read(container: Any) -> bytes:
            client = container.get_blob_client(name)
            # without a length the client asks for pieces: a log grows between two of them
            return bytes(client.download_blob(offset=start, length=length).readall())

        with translated("reading from the workspace's storage"):
            try:
                return self._do(read)
            except ResourceNotFoundError:
                return None
            except HttpResponseError as error:
                if error.status_code == 416:  # no bytes from there on
                    return b""
                raise

    def pieces(self, name: str, start: int = 0) -> Iterator[bytes]:
        """Yield a blob from ``start`` in pieces of some MB; what a connection cuts off is not yielded."""
        size = self.find(name)
        end = size.size if size else 0
        while start < end:
            piece = self.get(name, start, min(CHUNK, end - start))
            if not piece:
                return
            start += len(piece)
            yield piece

    def delete(self, name: str) -> None:
        """Remove a blob; one that is not there is no mistake."""
        from azure.core.exceptions import ResourceNotFoundError

        with translated("removing a file from the workspace's storage"):
            try:
                self._do(lambda container: container.delete_blob(name))
            except ResourceNotFoundError:
                return

    def _do(self, work: Callable[[Any], Answer]) -> Answer:
        """Do something with the container: once more with a new signature, later when asked to slow down.

        Of the other troubles the client itself gets over (connections, 500 and above).
        """
        from azure.core.exceptions import HttpResponseError

        renewed, pauses = False, 0
        while True:
            container = self._container()
            try:
                return work(container)
            except HttpResponseError as error:
                if getattr(error, "error_code", None) == KEYLESS and self._takes_keys:
                    with self._lock:
                        self._takes_keys, self._client = False, None
                elif error.status_code in (401, 403) and not renewed:
                    renewed = True
                    with self._lock:
                        if self._client is container:
                            self._client = None
                elif error.status_code == 429 and pauses < MOST_PAUSES:
                    pauses += 1
                    time.sleep(_pause(error.response))
                else:
                    raise

    def _container(self) -> Any:
        with self._lock:
            if self._client is None or time.monotonic() > self._renew_at:
                self._client = self._open()
                self._renew_at = time.monotonic() + RENEW_SECONDS
            return self._client

    def _open(self) -> Any:
        connection = self._connection
        path = f"{connection.place.workspace_path}/datastores/{self.datastore}"
        facts = connection.arm.get(path, VERSION)["properties"]
        credential: Any = connection.credential
        has_key = (facts.get("credentials") or {}).get("credentialsType", "None") != "None"
        self._has_key = has_key and self._takes_keys
        if self._has_key:
            body = {"expirableSecret": True, "expireAfterHours": 1}
            secrets = connection.arm.send("POST", f"{path}/listSecrets", VERSION, body=body).json()
            credential = secrets.get("sasToken") or secrets.get("key") or credential
        account = f"https://{facts['accountName']}.blob.{facts.get('endpoint') or 'core.windows.net'}"
        return container_client(account, facts["containerName"], credential)


def _pause(response: Any) -> float:
    """Return how long the service asks to wait."""
    asked = str(response.headers.get("Retry-After", "")) if response is not None else ""
    return min(float(asked), 30.0) if asked.isdigit() and int(asked) else 2.0


def container_client(account: str, container: str, credential: Any) -> Any:
    """Return azure-storage-blob's client, with retries that begin after a second, not after fifteen."""
    from azure.storage.blob import ContainerClient, ExponentialRetry

    without_signatures()
    return ContainerClient(
        account,
        container,
        credential=credential,
        retry_policy=ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=5, random_jitter_range=1),
        connection_timeout=arm.CONNECT_SECONDS,
        read_timeout=arm.READ_SECONDS,
        max_single_put_size=16 * 2**20,
        max_block_size=CHUNK,
        max_single_get_size=CHUNK,
        max_chunk_get_size=CHUNK,
    )
