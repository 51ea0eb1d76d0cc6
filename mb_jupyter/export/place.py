"""Put generated files in their place: whole or not at all, and never over what somebody has edited.

A project is written aside, beside its place, and moved when it is complete. ``.generated.json`` in it holds the
hash of every file as it was generated; a file with another hash is somebody's work, stays as it is, and the new
version is laid beside it with the ending ``.new``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mb_jupyter.errors import ExportError
from mb_jupyter.training import disk

MANIFEST = ".generated.json"


@dataclass(frozen=True)
class Placed:
    """What became of a project's files, as paths below its folder."""

    kept: tuple[str, ...] = ()  # edited, and left as they are
    laid_beside: tuple[str, ...] = ()  # the new versions of those that would have changed


@contextmanager
def aside(root: Path) -> Iterator[Path]:
    """Yield an empty folder in ``root`` to make the projects in; it is gone afterwards."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".export-", suffix=".part", dir=root))
    except OSError as error:
        raise _unwritable(root, error) from error
    try:
        yield folder
    except OSError as error:
        raise _unwritable(root, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check(place: Path) -> None:
    """Raise ``ExportError`` when a project cannot go there."""
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise ExportError(f"{place} is there already and is no folder.", "Choose another --name or another --to.")
    if place.is_dir() and any(place.iterdir()) and _manifest(place) is None:
        raise ExportError(
            f"{place} is there already and was not made by an export: it has no readable {MANIFEST}.",
            "Choose another --name or another --to, or move that folder away.",
        )


def put(made: Path, place: Path) -> Placed:
    """Move the complete project ``made`` to ``place``, past the files that were edited there."""
    hashes = {name: _hash(made / name) for name in _files(made)}
    if not place.exists():
        _write_manifest(made, {name: [found] for name, found in hashes.items()})
        disk.rename(made, place)  # fails if somebody made the place in between
        return Placed()
    before = _manifest(place) or {}
    moves, kept, beside = _plan(hashes, before, place)
    # while files are moved both hashes count as ours, so that the next export can finish what was killed here
    ours = {name: [*before.get(name, []), *([hashes[source]])] for name, source in moves.items()}
    _write_manifest(place, {**before, **ours})
    _move(made, place, moves, made.with_name(f"{made.name}.before"))
    stale = [name for name in before if name not in {**hashes, **moves} and _is_ours(place / name, before[name])]
    for name in stale:
        disk.remove(place / name)
    recorded = {name: [hashes[source]] for name, source in moves.items()}
    untouched = {name: before[name] for edited in kept for name in (edited, *_beside(edited, before)) if name in before}
    same = {name: [found] for name, found in hashes.items() if name not in kept}
    _write_manifest(place, {**untouched, **same, **recorded})
    return Placed(tuple(kept), tuple(beside))


def _plan(
    hashes: Mapping[str, str], before: Mapping[str, list[str]], place: Path
) -> tuple[dict[str, str], list[str], list[str]]:
    """Return which file goes where (target -> source), which are kept, and what is laid beside them."""
    moves: dict[str, str] = {}
    kept, beside = [], []
    for name, found in hashes.items():
        target = place / name
        if not os.path.lexists(target) or _is_ours(target, before.get(name, [])):
            moves[name] = name
        elif _is_ours(target, [found]):
            continue
        else:
            kept.append(name)
            if found in before.get(name, []):
                continue  # the edit was made on this very version: there is nothing new to look at
            if any(found in before[new] and not os.path.lexists(place / new) for new in _beside(name, before)):
                continue  # it was laid beside already, looked at, and taken away
            new = _free(name, before, place)
            moves[new] = name
            beside.append(new)
    return moves, kept, beside


def _beside(name: str, before: Mapping[str, list[str]]) -> list[str]:
    """Return what was ever laid beside a file."""
    return [other for other in before if re.fullmatch(re.escape(name) + r"\.new[0-9]*", other)]


def _free(name: str, before: Mapping[str, list[str]], place: Path) -> str:
    """Return a name beside an edited file that nobody uses, or that we used and nobody edited."""
    number = 1
    new = f"{name}.new"
    while os.path.lexists(place / new) and not _is_ours(place / new, before.get(new, [])):
        number += 1
        new = f"{name}.new{number}"
    return new


def _move(made: Path, place: Path, moves: Mapping[str, str], backup: Path) -> None:
    """Rename every file to its target; on an error those already moved are taken back."""
    done: list[str] = []
    try:
        for target, source in moves.items():
            old = backup / target
            if (place / target).exists():
                old.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(place / target, old)
            (place / target).parent.mkdir(parents=True, exist_ok=True)
            done.append(target)
            disk.rename(made / source, place / target)
    except BaseException:
        for target in done:
            if (backup / target).exists():
                disk.rename(backup / target, place / target)
            else:
                disk.remove(place / target)
        raise


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_ours(path: Path, hashes: list[str]) -> bool:
    return bool(hashes) and path.is_file() and not path.is_symlink() and _hash(path) in hashes


def _manifest(place: Path) -> dict[str, list[str]] | None:
    try:
        said = json.loads((place / MANIFEST).read_bytes())
        files = said["files"]
        if all(isinstance(name, str) and isinstance(found, list) for name, found in files.items()):
            return {name: found for name, found in files.items() if not _leaves(name)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


def _leaves(name: str) -> bool:
    """Tell whether a path from the manifest leads out of the project: it is only a file that anybody can write."""
    return Path(name).is_absolute() or ".." in Path(name).parts


def _write_manifest(place: Path, files: Mapping[str, list[str]]) -> None:
    about = "Hashes (SHA-256) of the generated files. A file with another hash was edited and is never overwritten."
    told = {"about": about, "files": dict(sorted(files.items()))}
    disk.swap(place / MANIFEST, json.dumps(told, indent=1).encode())


def _unwritable(root: Path, error: OSError) -> ExportError:
    return ExportError(
        f"The projects cannot be written to {root}: {error.strerror or error}.",
        "Choose another folder with --to, or make room there.",
    )
