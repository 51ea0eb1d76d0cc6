"""Goes to Azure with the program and starts it there: ``python node.py --output DIR ... -- python -m training ...``.

Standard library only, and nothing of ours; Python 3.10 and later, because Azure's environments are older than the
notebook's. The program works on the node's own disk; the run's folder in the workspace's storage (a mount) is brought
up to date every few seconds and is where a preempted node goes on from.
``{data}`` and ``{output}`` in the command are the two folders on the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SYNC_SECONDS, SLOWEST_SECONDS = 2.0, 30.0  # between two updates of the mount; at its end, where it refuses them
WAIT_SECONDS = 6 * 3600.0  # for the first process of the node to unpack
STOP_FILE, STOP_TAG, STOP_SECONDS = "stop", "mb_stop", 3.0
SAME_START = 5.0  # seconds between the starts of a node's processes, at the most
CACHE, CACHE_SECONDS = "checkpoint/cache/", 60.0  # features: a pass that is over sooner is not worth the upload
ENDED = "ended.json"
LAST = (ENDED, "metrics.jsonl", "status.json")  # written after what they speak of
THREADS = 8
OLDEST = (3, 10)  # Python that the program runs on
STEPS = ("bring", "bring_packs", "remove_packs", "send")  # of a node without mounts


class RefusedError(SystemExit):
    """The program cannot be started here; ``cause`` and ``fix`` are what the failure card says."""

    def __init__(self, cause: str, fix: str) -> None:
        super().__init__(f"{cause} {fix}")
        self.cause, self.fix = cause, fix


def main() -> int:
    """Unpack, go on from what is there, run the program, keep the mount up to date; return its exit code."""
    given, command = _arguments()
    # Azure tells the number of all processes, not that of this node's
    os.environ.setdefault("LOCAL_WORLD_SIZE", str(given.processes))
    place = Path(tempfile.gettempdir()) / f"mb-{_name(given.output)}"
    output = place / "run"
    data = Path(given.data) if not given.manifest else place / "data"
    remote = _beside("keyless").without_mounts(given, place) if given.storage else None
    if _number("LOCAL_RANK") == 0:
        _prepare(given, place, data, output)
    else:
        _wait_for(place / "ready", place / "failed")
    _beside("equipment").put_first(place / "packages")
    words = [word.replace("{data}", str(data)).replace("{output}", str(output)) for word in command]
    if remote is not None and _number("RANK") == 0:
        remote.start(SYNC_SECONDS)
    code = run([sys.executable, *words[1:]], output, given.output)
    if remote is not None and _number("RANK") == 0:
        remote.finish()
    _leave(place)  # not before: until everything has arrived in the storage, this is the only copy
    return code


def run(command: list[str], output: Path, mount: Path) -> int:
    """Run the program to its end; the first process of all keeps the mount up to date meanwhile."""
    child = subprocess.Popen(command)
    # a node that is taken away gives notice of a moment: the program keeps the best
    for sort in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sort, lambda number, _: child.send_signal(number))
    mirror = Mirror(output, mount) if _number("RANK") == 0 else None
    if mirror is not None:
        with contextlib.suppress(OSError):  # of an attempt whose node was taken away at its end
            (mount / ENDED).unlink()
    if _number("LOCAL_RANK") == 0:
        threading.Thread(target=_watch_for_stop, args=(mount, output / STOP_FILE), daemon=True).start()
    while True:
        try:
            code = child.wait(SYNC_SECONDS)
            break
        except subprocess.TimeoutExpired:
            if mirror is not None:
                mirror.update()
    if mirror is not None:
        _bring_home(mirror, code)
    return code if code >= 0 else 128 - code


def _bring_home(mirror: Mirror, code: int) -> None:
    """Bring all that the program has left to the mount, then the word that it is there.

    Tried until it succeeds, or until the job's time is over and Azure ends this process.
    """
    if code == 0:
        shutil.rmtree(mirror.here / CACHE, ignore_errors=True)
    mirror.update_all()
    files = {name: [facts[0], _sha256(mirror.here / name)] for name, facts in mirror.files() if "/" not in name}
    ended = {"returncode": code, "ended": time.time(), "files": files}
    (mirror.here / ENDED).write_text(json.dumps(ended), encoding="utf-8")
    mirror.update_all()
    if code == 0:
        shutil.rmtree(mirror.there / CACHE, ignore_errors=True)


def _watch_for_stop(mount: Path, stop: Path) -> None:
    """Leave the file that the program looks for when the run gets the tag, or the mount the file."""
    while not stop.exists():
        if _is_there(mount / STOP_FILE) or _has_tag():
            say("was asked to stop and to keep the best")
            stop.touch()
        time.sleep(STOP_SECONDS)


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # a mount that fails for a while tells nothing
        return False


def _has_tag() -> bool:
    """Tell whether the run has the tag, by the workspace's MLflow routes; no answer is no."""
    address, token, run = (
        os.environ.get(name, "") for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_RUN_ID")
    )
    if not address.startswith(("azureml://", "https://")) or not run:
        return False
    base = address.replace("azureml://", "https://", 1).replace("/mlflow/v1.0/", "/mlflow/v2.0/", 1).partition("?")[0]
    request = urllib.request.Request(  # noqa: S310 - https, as seen above
        f"{base}/api/2.0/mlflow/runs/get?run_id={urllib.parse.quote(run)}", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            tags = json.load(answer)["run"]["data"].get("tags") or []
        return any(tag.get("key") == STOP_TAG for tag in tags)
    except (OSError, ValueError, LookupError):
        return False


class Mirror:
    """Copies what has changed in a folder to another one; a file there is either the old one or the new one."""

    def __init__(self, here: Path, there: Path) -> None:
        self.here, self.there = here, there
        self._seen: dict[str, tuple[int, ...]] = {}
        self._refused: set[str] = set()

    def update(self) -> bool:
        """Copy what has changed; tell whether all of it is there. What the mount refuses is tried the next time."""
        whole = True
        for name, facts in sorted(self.files(), key=lambda found: (found[0] in LAST, found[0])):
            if self._seen.get(name) == facts:
                continue
            if name.startswith(CACHE) and time.time() - facts[1] / 1e9 < CACHE_SECONDS:
                continue
            try:
                copy(self.here / name, self.there / name)
            except OSError as error:
                if not (self.here / name).exists():  # replaced while it was looked at
                    continue
                whole = False
                if name not in self._refused:
                    say(f"{name} could not be written to the workspace's storage, trying again: {error}")
                self._refused.add(name)
            else:
                self._seen[name] = facts
                self._refused.discard(name)
        return whole

    def update_all(self) -> None:
        """Copy what has changed, again and again until all of it is there."""
        pause = SYNC_SECONDS
        while not self.update():
            time.sleep(pause)
            pause = min(pause * 1.5, SLOWEST_SECONDS)

    def files(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return every file with what changes when it does; one that was renamed over another has a new inode."""
        found: list[tuple[str, tuple[int, ...]]] = []
        for folder, inside, names in os.walk(self.here):
            inside[:] = [name for name in inside if not name.startswith(".") and name != "__pycache__"]
            for name in names:
                path = Path(folder) / name
                relative = path.relative_to(self.here).as_posix()
                if name.startswith(".") or relative == STOP_FILE:
                    continue
                try:
                    facts = path.stat()
                except OSError:
                    continue
                found.append((relative, (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)))
        return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def copy(source: Path, target: Path) -> None:
    """Write a file aside and rename it; where a mount knows no renaming, write it directly."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.tmp")
    shutil.copyfile(source, aside)
    try:
        aside.replace(target)
    except OSError:
        shutil.copyfile(source, target)
        aside.unlink(missing_ok=True)


def unpack(packs: Path, manifest: Path, target: Path) -> int:
    """Put a folder together from its packs; every file is checked by its hash. Return how many there are."""
    rows: list[list[object]] = json.loads(gzip.decompress(manifest.read_bytes()))["files"]
    by_pack: dict[str, list[list[object]]] = {}
    for row in rows:
        _inside(target, str(row[0]))
        by_pack.setdefault(str(row[3]), []).append(row)
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(lambda each: _unpack_one(packs, each, target), by_pack.values()):
            pass
    return len(rows)


def _unpack_one(packs: Path, rows: list[list[object]], target: Path) -> None:
    name = str(rows[0][3])
    file = (packs / name.rpartition("/")[2]).open("rb") if name else None
    try:
        for path, size, sha256, _, offset in sorted(rows, key=lambda row: int(str(row[4]))):
            digest, rest = hashlib.sha256(), int(str(size))
            whole = _inside(target, str(path))
            whole.parent.mkdir(parents=True, exist_ok=True)
            with whole.open("wb") as out:
                if file is not None:
                    file.seek(int(str(offset)))
                while file is not None and rest and (piece := file.read(min(rest, 2**20))):
                    digest.update(piece)
                    out.write(piece)
                    rest -= len(piece)
            if rest or digest.hexdigest() != sha256:
                raise RefusedError(f"{path} did not arrive as it was sent.", "Run the cell again.")
    finally:
        if file is not None:
            file.close()


def _inside(target: Path, path: str) -> Path:
    parts = path.split("/")
    if not path or ".." in parts or "" in parts or "\\" in path:
        raise RefusedError(f"{path!r} leads out of the folder of pictures.", "It is not unpacked: rename it.")
    return target / path


def _beside(name: str) -> Any:
    """Return the module of a file that was sent along."""
    return importlib.import_module(name)


def _prepare(given: argparse.Namespace, place: Path, data: Path, output: Path) -> None:
    """Do once on each node what its processes share."""
    try:
        shutil.rmtree(place, ignore_errors=True)
        output.mkdir(parents=True)
        given.bring()
        _check_python()
        if refusal := _beside("equipment").equip(given.program, place / "packages", say):
            raise RefusedError(*refusal)
        if given.manifest:
            begun = time.monotonic()
            given.bring_packs()
            store = Path(given.data)
            count = unpack(store / "packs", store / "manifests" / given.manifest, data)
            given.remove_packs()
            say(f"unpacked {count:,} files in {time.monotonic() - begun:.0f} s")
        _restore(given.settings or given.output, output)
        (place / "ready").touch()
    except BaseException as error:
        place.mkdir(parents=True, exist_ok=True)
        (place / "failed").touch()
        if isinstance(error, RefusedError):
            told = {"state": "failed", "error": {"cause": error.cause, "fix": error.fix}}
            (given.output / "status.json").write_text(json.dumps(told), encoding="utf-8")
            given.send()
        raise


def _check_python() -> None:
    if sys.version_info[:2] < OLDEST:
        raise RefusedError(
            f"The environment has Python {sys.version.split()[0]}; the program needs {OLDEST[0]}.{OLDEST[1]} or later.",
            "Name a newer one, azure: {environment: azureml:NAME:VERSION}, or none.",
        )


def _leave(place: Path) -> None:
    """Remove what the processes of this node share when the last of them is done with it."""
    try:
        (place / f"done-{_number('LOCAL_RANK')}").touch()
    except OSError:
        return
    if len(list(place.glob("done-*"))) >= _number("LOCAL_WORLD_SIZE"):
        shutil.rmtree(place, ignore_errors=True)


def _restore(mount: Path, output: Path) -> None:
    """Take over what is in the run's folder: the settings and, after a preemption, the checkpoint.

    ``mount`` is a read-only input: a folder that is mounted for output need not show what was there before.
    """
    for folder, _, names in os.walk(mount):
        for name in names:
            path = Path(folder) / name
            relative = path.relative_to(mount)
            if not name.startswith(".") and relative.as_posix() not in (STOP_FILE, ENDED, "azure.json"):
                (output / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, output / relative)
    config = output / "config.json"
    if config.exists():  # files that were sent with the settings lie in the run's folder
        whole = json.dumps(str(output), ensure_ascii=False)[1:-1]
        config.write_text(config.read_text(encoding="utf-8").replace("{output}", whole), encoding="utf-8")
    if (output / "checkpoint").exists():
        say("found a checkpoint in the run's folder; the program goes on from it")


def _wait_for(ready: Path, failed: Path) -> None:
    until = time.monotonic() + WAIT_SECONDS
    begun = time.time()
    while not _is_new(ready, begun):
        if _is_new(failed, begun) or time.monotonic() > until:
            raise SystemExit("The first process of this node could not prepare it; its log says why.")
        time.sleep(0.1)


def _is_new(marker: Path, begun: float) -> bool:
    # one that an attempt before the preemption left is older, and the first process removes it when it starts
    try:
        return marker.stat().st_mtime >= begun or time.time() - begun > SAME_START
    except OSError:
        return False


def _number(name: str) -> int:
    return int(os.environ.get(name) or 0)


def _name(output: Path) -> str:
    run = os.environ.get("AZUREML_RUN_ID") or str(output)
    return hashlib.sha256(run.encode()).hexdigest()[:16]


def say(line: str) -> None:
    """Write a line into the log."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} node: {line}\n")
    sys.stdout.flush()


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    here = sys.argv.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--storage", default="", help="a container's address, where nothing can be mounted")
    parser.add_argument("--data", default="")
    parser.add_argument("--manifest", default="")
    parser.add_argument("--settings", type=Path, help="the run's folder, to be read")
    parser.add_argument("--output", type=Path, required=True, help="the run's folder, to be written")
    parser.add_argument("--processes", type=int, default=1, help="on each node")
    command = sys.argv[here + 1 :]
    # without mounts there is something to do at these moments
    parser.set_defaults(program=command[2], **dict.fromkeys(STEPS, lambda: None))
    return parser.parse_args(sys.argv[1:here]), command


def _end(code: int) -> None:
    """End the process without the interpreter's own end, in which a thread that asks for the tag may crash it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.path[:0] = [str(Path.cwd()), str(Path(__file__).parent)]  # what was sent, and what lies beside this file
    _end(main())
