"""Down with what a run has left, checked by size and hash; a download that was cut off goes on."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mb_jupyter.errors import AzureError
from mb_jupyter.naming import alike, derived, in_azure, is_name, is_reserved
from mb_jupyter.records import read_fields, read_object
from mb_jupyter.training import disk

from .folder import FACTS, RunFolder, write_json

if TYPE_CHECKING:
    from mb_jupyter.azureml import Connection
    from mb_jupyter.azureml.storage import Blob, Store

ENDED = "ended.json"
NOT_FETCHED = (FACTS, "status.json", "log.txt", "run.json", "stop")
TRIES = 3  # of a file that arrives damaged
STAYS = ("checkpoint/",)  # for a run that goes on there; nobody needs it here
NAME = re.compile(r"[^\0/\\:*?\"<>|]{1,200}")


def fetch(folder: RunFolder, store: Store, progress: Callable[[int, int], None]) -> None:
    """Bring the run's files here; ``progress`` hears of bytes.

    Raises ``AzureError`` when one arrives damaged, or is missing of those that a training which ended well has left.
    """
    prefix = str(folder.facts["prefix"])
    ended = _ended(folder, store)
    sums: Mapping[str, Any] = ended.get("files") or {}
    found = [*store.names(prefix)]
    missing = sums.keys() - {blob.name[len(prefix) :] for blob in found} if ended.get("returncode") == 0 else ()
    if missing:
        raise AzureError(
            f"The training ended well, but {', '.join(sorted(missing))} of what it has left is not in the "
            "workspace's storage.",
            "Look at the storage account: somebody has removed it, or it is still on its way.",
        )
    blobs = [blob for blob in found if _wanted(blob.name[len(prefix) :])]
    total, done = sum(blob.size for blob in blobs), 0
    for blob in blobs:
        name = blob.name[len(prefix) :]
        target = inside(folder.path, name)
        wanted = sums.get(name)
        if not _is_here(target, blob, wanted):
            _download(store, blob, target, wanted, functools.partial(_told, progress, done, total))
        done += blob.size
        progress(done, total)


def _told(progress: Callable[[int, int], None], before: int, total: int, size: int) -> None:
    progress(before + size, total)


def _ended(folder: RunFolder, store: Store) -> Mapping[str, Any]:
    content = store.get(f"{folder.facts['prefix']}ended.json")
    if content is None:  # a node that went away has written none
        return {}
    (folder.path / ENDED).write_bytes(content)
    return read_fields(folder.path, ENDED)


def _wanted(name: str) -> bool:
    parts = name.split("/")
    hidden = any(part.startswith(".") for part in parts)
    return bool(name) and not hidden and name not in NOT_FETCHED and not f"{name}/".startswith(STAYS)


def inside(folder: Path, name: str) -> Path:
    """Return where a file of that name belongs; one that would leave the folder is refused."""
    parts = name.split("/")
    if not all(NAME.fullmatch(part) and part not in ("", ".", "..") for part in parts):
        raise AzureError(
            f"The run's folder in Azure holds a file called {name!r}, which could leave the folder here.",
            "It was not written by this program: look at the storage account before going on.",
        )
    return folder.joinpath(*parts)


def _is_here(target: Path, blob: Blob, wanted: Any) -> bool:
    if not target.is_file() or target.stat().st_size != blob.size:
        return False
    return not wanted or _sha256(target) == wanted[1]


def _download(store: Store, blob: Blob, target: Path, wanted: Any, progress: Callable[[int], None]) -> None:
    # the name carries the blob's version: what was begun of another one is begun again
    version = hashlib.sha256(blob.etag.encode()).hexdigest()[:12]
    part = target.with_name(f".{target.name}.{version}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(TRIES):
        start = part.stat().st_size if part.is_file() else 0
        with part.open("ab") as file:
            for piece in store.pieces(blob.name, start):
                file.write(piece)
                progress(file.tell())
        if part.stat().st_size == blob.size and (not wanted or _sha256(part) == wanted[1]):
            disk.rename(part, target)
            return
        part.unlink()
    raise AzureError(
        f"{target.name} is not in the workspace's storage as the training wrote it: {blob.size:,} bytes, other hash.",
        "Somebody has changed it there, or the storage is damaged: run the cell with --fresh to train anew.",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _experiment(record: bytes | None, there: str) -> str:
    """Return the name that the experiment has on its own machine; ``there`` is what Azure could take of it."""
    try:
        name = str(json.loads(record or b"{}")["experiment"])
    except (ValueError, LookupError, TypeError):
        return there
    return name if is_name(name) and in_azure(name) == there else there


def kept_as(experiment: str, root: Path) -> str:
    """Return the name under which an experiment of another machine is kept here, the same on every system.

    One that is here and differs only in capitals is taken for the same; a name that Windows reserves gets another.
    """
    if is_reserved(experiment):
        return derived(experiment)
    return alike(experiment, (path.name for path in root.glob("*") if path.is_dir())) or experiment


def adopt(connection: Connection, sign_in: str, job: str, root: Path) -> Path:
    """Return a folder for a run that another machine has begun, made from what that machine has left in Azure."""
    from dataclasses import asdict

    from mb_jupyter.azureml import jobs
    from mb_jupyter.azureml.storage import Store

    workspace = connection.place.workspace
    found = jobs.look(connection, job)
    if found is None:
        cause = jobs.gone(connection) or f"There is no job {job} in the workspace {workspace}."
        raise AzureError(cause, "List the runs with %mb_runs.")
    prefix = found.output.partition("/paths/")[2]
    store = Store(connection)
    kept = {name: store.get(f"{prefix}{name}") for name in ("run.json", "split.csv", FACTS)} if prefix else {}
    parts = prefix.strip("/").split("/")
    if not kept.get("run.json") or not kept.get(FACTS) or len(parts) < 2:
        raise AzureError(
            f"The job {job} of the workspace {workspace} was not begun by this program, or its files are gone.",
            "Look at it in the portal: " + found.url if found.url else "",
        )
    experiment = kept_as(_experiment(kept["run.json"], parts[-2]), root)
    folder = inside(root, f"{experiment}/{parts[-1]}")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder.parent / "experiment.json").exists():
        write_json(folder.parent / "experiment.json", {"name": experiment})
    for name, content in kept.items():
        if content:
            (folder / name).write_bytes(content)
    facts = read_object(folder / FACTS) or {}
    # a job that was begun again after a failure has another name than the handle
    write_json(
        folder / FACTS,
        {**facts, "place": asdict(connection.place), "sign_in": sign_in, "submitted": True, "seen": True, "stages": []},
    )
    return folder
