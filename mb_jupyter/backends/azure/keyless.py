"""The workspace's storage by HTTPS, as whoever submitted the job: for a node that cannot mount it.

Goes to Azure beside ``node.py``, and like it needs the standard library and Python 3.10 only. Where an organisation
forbids shared keys, a mount may be refused although the person's role is enough; the same person's token, which the
node's identity endpoint gives, opens the storage then.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import json
import os
import shutil
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

RESOURCE = "https://storage.azure.com/"
VERSION = "2023-11-03"  # of the storage's routes
TRIES, SLOWEST_SECONDS = 6, 30.0  # of a request; between two of them, at the most
PASSING = (408, 429, 500, 502, 503, 504)
FOLDER = "hdi_isfolder"  # what a mount writes on an empty blob for each folder
THREADS = 8
OWN = "stop"  # is written by the notebook, never by the node


def without_mounts(given: argparse.Namespace, place: Path) -> Folder:
    """Let folders on the disk stand for those of the storage; return the run's, and leave the data's in ``given``."""
    container = Container(given.storage)
    run = Folder(container, f"{given.output.as_posix()}/", place / "mounted")
    given.bring, given.send = run.bring, run.send
    if given.manifest:
        prefix, here = given.data.rstrip("/"), place / "packed"
        given.bring_packs = functools.partial(_bring_packs, container, prefix, given.manifest, here)
        given.remove_packs = functools.partial(shutil.rmtree, here)
        given.data = str(here)
    given.settings = given.output = run.here
    return run


def _bring_packs(container: Container, prefix: str, manifest: str, here: Path) -> None:
    """Bring a manifest and the packs that it names."""
    list_of_files = here / "manifests" / manifest
    container.get(f"{prefix}/manifests/{manifest}", list_of_files)
    rows = json.loads(gzip.decompress(list_of_files.read_bytes()))["files"]
    names = {str(row[3]).rpartition("/")[2] for row in rows} - {""}
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(lambda name: container.get(f"{prefix}/packs/{name}", here / "packs" / name), names):
            pass


class Container:
    """A container: blobs in, blobs out. ``address`` is ``https://ACCOUNT.blob.core.windows.net/CONTAINER``."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._token = ""

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the blobs below a prefix; the empty ones that mark folders are left out."""
        marker = ""
        while True:
            asked = {"restype": "container", "comp": "list", "prefix": prefix, "include": "metadata", "marker": marker}
            answer = self._ask("GET", f"?{urllib.parse.urlencode(asked)}", read=lambda answer: answer.read())
            page = ET.fromstring(answer)  # noqa: S314 - the storage's own
            for blob in page.iter("Blob"):
                marks = {each.tag.casefold() for each in blob.iterfind("Metadata/*")}
                if FOLDER not in marks:
                    yield blob.findtext("Name") or ""
            marker = page.findtext("NextMarker") or ""
            if not marker:
                return

    def get(self, name: str, target: Path) -> None:
        """Write a blob to a file."""

        def read(answer: Any) -> None:
            with target.open("wb") as file:
                shutil.copyfileobj(answer, file, 2**20)

        target.parent.mkdir(parents=True, exist_ok=True)
        self._ask("GET", _quoted(name), read=read)

    def put(self, source: Path, name: str) -> None:
        """Write a file to a blob; one that is there is replaced."""
        self._ask("PUT", _quoted(name), source=source)

    def has(self, name: str) -> bool:
        """Tell whether there is such a blob."""
        try:
            self._ask("HEAD", _quoted(name))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return False
            raise
        return True

    def _ask(
        self, method: str, path: str, *, source: Path | None = None, read: Callable[[Any], Any] = lambda answer: None
    ) -> Any:
        """Return what ``read`` makes of an answer; a request that may succeed soon is repeated."""
        for attempt in range(TRIES):
            try:
                return self._ask_once(method, path, source, read)
            except (OSError, ValueError) as error:
                status = getattr(error, "code", None)
                if status == 401:
                    self._token = ""
                if attempt == TRIES - 1 or (status is not None and status != 401 and status not in PASSING):
                    raise
                time.sleep(min(0.5 * 2**attempt, SLOWEST_SECONDS))
        raise AssertionError

    def _ask_once(self, method: str, path: str, source: Path | None, read: Callable[[Any], Any]) -> Any:
        self._token = self._token or token()
        headers = {"Authorization": f"Bearer {self._token}", "x-ms-version": VERSION}
        with contextlib.ExitStack() as stack:
            body = None
            if method == "PUT":
                body = stack.enter_context(source.open("rb")) if source else None
                size = str(os.fstat(body.fileno()).st_size if body else 0)
                headers |= {
                    "x-ms-blob-type": "BlockBlob", "Content-Length": size, "Content-Type": "application/octet-stream",
                }  # fmt: skip
            separator = "" if path.startswith("?") else "/"
            address = f"{self._address}{separator}{path}"
            request = urllib.request.Request(address, data=body, headers=headers, method=method)  # noqa: S310 - https
            return read(stack.enter_context(urllib.request.urlopen(request, timeout=300)))  # noqa: S310


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="/")


def token() -> str:
    """Return a token for the storage: of the person who submitted the job, else of the node's own identity."""
    variables = os.environ
    headers, asked = {"Metadata": "true"}, {"resource": RESOURCE}
    if variables.get("OBO_ENDPOINT"):  # on behalf of: the job has the identity of its user
        endpoint = variables["OBO_ENDPOINT"]
    elif variables.get("IDENTITY_ENDPOINT"):
        endpoint, headers = variables["IDENTITY_ENDPOINT"], {"X-IDENTITY-HEADER": variables.get("IDENTITY_HEADER", "")}
        asked["api-version"] = "2019-08-01"
    elif variables.get("MSI_ENDPOINT"):
        endpoint, headers = variables["MSI_ENDPOINT"], {"secret": variables.get("MSI_SECRET", "")}
        asked["api-version"] = "2017-09-01"
    else:
        raise LookupError("the node has no identity endpoint")
    request = urllib.request.Request(f"{endpoint}?{urllib.parse.urlencode(asked)}", headers=headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        told = json.load(answer)
    return str(told.get("access_token") or told["token"])


class Folder:
    """A folder of the node's disk that stands for one of the storage, where a mount would be.

    Brought down once, then kept up to date there by a thread of its own.
    """

    def __init__(self, container: Container, prefix: str, here: Path) -> None:
        self._container, self._prefix, self.here = container, prefix, here
        self._known: dict[str, tuple[int, int]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def bring(self) -> None:
        """Bring what is in the storage."""
        self.here.mkdir(parents=True, exist_ok=True)
        for name in self._container.names(self._prefix):
            self._container.get(name, self.here / name[len(self._prefix) :])
        self._known = dict(self._files())

    def start(self, seconds: float) -> None:
        """Begin to keep the storage up to date; look for the notebook's stop meanwhile."""
        self._seconds = seconds
        self._thread.start()

    def finish(self) -> None:
        """Bring all that is left to the storage; tried until it succeeds, or until the job's time is over."""
        self._over.set()
        self._thread.join()
        pause = self._seconds
        while True:
            try:
                return self.send()
            except (OSError, ValueError, LookupError) as error:
                print(f"the run's files could not be written to the storage, trying again: {error}", flush=True)  # noqa: T201
            time.sleep(pause)
            pause = min(2 * pause, SLOWEST_SECONDS)

    def send(self) -> None:
        """Send what has changed, in the order in which it was written."""
        for name, facts in sorted(self._files(), key=lambda found: found[1][0]):
            if self._known.get(name) != facts:
                self._container.put(self.here / name, self._prefix + name)
                self._known[name] = facts

    def _follow(self) -> None:
        while not self._over.wait(self._seconds):
            with contextlib.suppress(OSError, ValueError, LookupError):  # tried again the next time, and at the end
                self.send()
                if not (self.here / OWN).exists() and self._container.has(self._prefix + OWN):
                    (self.here / OWN).touch()

    def _files(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for folder, _, names in os.walk(self.here):
            for name in names:
                path = Path(folder) / name
                relative = path.relative_to(self.here).as_posix()
                if name.startswith(".") or relative == OWN:
                    continue
                with contextlib.suppress(OSError):
                    facts = path.stat()
                    yield relative, (facts.st_mtime_ns, facts.st_size)
