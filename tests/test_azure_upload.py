"""Up with a folder of pictures and together again on the node: against Azurite, through the stand-in for Azure."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mb_jupyter.azureml import Connection, Place, connect, upload
from mb_jupyter.azureml.storage import Store
from mb_jupyter.azureml.upload import PACKS, CanceledError, Progress, Uploaded, upload_folder
from mb_jupyter.backends.azure import node
from mb_jupyter.errors import AzureError, DataError
from mb_jupyter.training.index import index_file
from tests.azure_emulator.emulator import Azure

ODD = ("ü ö/ein Bild.jpg", "a b/#1 %20&?.png", "写真/猫.jpg", "a b/empty.png", "same/one.jpg", "same/two.jpg")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "pictures"
    noise = random.Random(0)
    for name in (*ODD, *(f"many/{number:03}.jpg" for number in range(120))):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if "empty" in name else noise.randbytes(40 if "same" not in name else 0) or b"same")
    (root / "many/large.tif").write_bytes(noise.randbytes(300_000))
    return root


@pytest.fixture
def connection(azure: Azure) -> Connection:
    azure.make_workspace("ws", "rg")
    return connect("environment", Place(azure.subscription, "rg", "ws", "westeurope", azure.tenant))


@pytest.fixture
def store(connection: Connection) -> Store:
    return Store(connection)


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PACK_BYTES", 1_000)


def packs_of(store: Store) -> int:
    return len(list(store.names(PACKS)))


def rebuild(store: Store, uploaded: Uploaded, place: Path) -> dict[str, bytes]:
    """Do what the node does: open the mounted folder and unpack it."""
    mount, target = place / "mount", place / "data"
    for blob in store.names(upload.ROOT):
        path = mount / blob.name.removeprefix(upload.ROOT)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.get(blob.name) or b"")
    node.unpack(mount / "packs", mount / "manifests" / Path(uploaded.manifest).name, target)
    return contents(target)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_folder_goes_up_and_comes_together_again(store, folder, tmp_path):
    seen: list[Progress] = []
    done = upload_folder(store, folder, progress=seen.append)
    whole = contents(folder)
    assert rebuild(store, done, tmp_path) == whole
    assert done.files == len(whole) and done.bytes == sum(map(len, whole.values()))
    assert 3 < packs_of(store) < 10, "small files travel together, the large one alone"
    assert (seen[-1].done, seen[-1].total, seen[-1].files) == (done.bytes, done.bytes, done.files)
    assert [p.done for p in seen] == sorted(p.done for p in seen)


def test_only_the_named_files_travel(store, folder, tmp_path):
    done = upload_folder(store, folder, ["ü ö/ein Bild.jpg", "many/000.jpg"])
    assert set(rebuild(store, done, tmp_path)) == {"ü ö/ein Bild.jpg", "many/000.jpg"}


def test_an_unchanged_folder_costs_nothing(azure, store, folder):
    first = upload_folder(store, folder)
    azure.exchanges.clear()
    again = upload_folder(store, folder)
    assert again.manifest == first.manifest and again.sent == 0
    assert not azure.asked("PUT", "*")
    assert len(azure.asked("*", "*")) == 2, "one list of what is there, one look at the manifest"


def test_a_changed_file_costs_that_file(store, folder, tmp_path):
    upload_folder(store, folder)
    (folder / "many/007.jpg").write_bytes(b"another picture")
    (folder / "many/008.jpg").unlink()
    (folder / "many/009.jpg").rename(folder / "many/renamed.jpg")
    done = upload_folder(store, folder)
    assert done.sent == len(b"another picture")
    assert rebuild(store, done, tmp_path) == contents(folder)


def test_another_machine_sends_nothing_twice(store, folder, tmp_path, monkeypatch):
    upload_folder(store, folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert upload_folder(store, folder).sent == 0


def test_what_was_deleted_there_is_sent_again(store, folder, tmp_path):
    upload_folder(store, folder)
    for blob in store.names(upload.ROOT):
        store.delete(blob.name)
    done = upload_folder(store, folder)
    assert done.sent > 0
    assert rebuild(store, done, tmp_path) == contents(folder)


def test_a_cut_upload_goes_on(azure, store, folder, tmp_path):
    azure.fault("PUT", "*/data/packs/*", times=1_000, status=409, code="Cut", skip=3)
    with pytest.raises(AzureError):
        upload_folder(store, folder)
    azure.faults.clear()
    there = packs_of(store)
    assert there == 3
    done = upload_folder(store, folder)
    assert 0 < done.sent < done.bytes
    assert rebuild(store, done, tmp_path) == contents(folder)


def test_it_is_canceled_within_a_moment_and_goes_on_later(store, folder, tmp_path):
    told: list[Progress] = []
    with pytest.raises(CanceledError):
        upload_folder(store, folder, progress=told.append, canceled=lambda: len(told) > 2)
    done = upload_folder(store, folder)
    assert rebuild(store, done, tmp_path) == contents(folder)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
        {"kind": "reset"},
        {"kind": "lost"},
        {"kind": "cut"},
        {"kind": "status", "status": 403, "code": "AuthenticationFailed"},
    ],
    ids=str,
)
def test_trouble_on_the_way_is_got_over(azure, store, folder, tmp_path, fault):
    azure.fault("PUT", "*/data/packs/*", times=1, **fault)
    done = upload_folder(store, folder)
    assert rebuild(store, done, tmp_path) == contents(folder)


def test_an_old_signature_is_renewed(azure, store, folder, monkeypatch):
    from mb_jupyter.azureml import storage

    monkeypatch.setattr(storage, "RENEW_SECONDS", -1.0)
    upload_folder(store, folder)
    assert len(azure.asked("POST", "*/listSecrets")) > 3


@pytest.mark.parametrize("mode", ["Sas", "AccountKey", "None"])
def test_every_kind_of_datastore(azure, folder, tmp_path, mode):
    azure.datastore_credentials = mode
    azure.make_workspace("other", "rg")
    store = Store(connect("environment", Place(azure.subscription, "rg", "other", "westeurope", azure.tenant)))
    done = upload_folder(store, folder)
    assert rebuild(store, done, tmp_path) == contents(folder)


def test_what_lies_outside_is_not_sent(store, folder):
    for name in ("../secret", "/etc/passwd", "a//b"):
        with pytest.raises(DataError, match="lies outside"):
            upload_folder(store, folder, [name])


def test_a_file_that_goes_away_is_named(store, folder):
    with pytest.raises(AzureError, match=r"many/gone\.jpg could not be read"):
        upload_folder(store, folder, ["many/gone.jpg"])


def test_a_manifest_that_leads_out_is_refused(tmp_path):
    import gzip
    import json

    manifest = tmp_path / "m.json.gz"
    for evil in ("../evil", "/evil", "a/../../evil", ""):
        manifest.write_bytes(gzip.compress(json.dumps({"files": [[evil, 0, "", "", 0]]}).encode()))
        with pytest.raises(SystemExit, match="leads out"):
            node.unpack(tmp_path, manifest, tmp_path / "data")
    assert not (tmp_path / "evil").exists()


def test_a_damaged_pack_is_noticed(store, folder, tmp_path):
    done = upload_folder(store, folder, ["many/000.jpg", "many/001.jpg"])
    (pack,) = store.names(PACKS)
    store.put(pack.name, os.urandom(pack.size))
    with pytest.raises(SystemExit, match="did not arrive as it was sent"):
        rebuild(store, done, tmp_path)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [t for t in set(threading.enumerate()) - before if t.name.startswith("mb-upload")]
    assert not left


def test_a_change_that_keeps_size_and_time_is_sent(store, folder, tmp_path):
    upload_folder(store, folder)
    file = folder / "many/007.jpg"
    before = file.stat()
    file.write_bytes(bytes(reversed(file.read_bytes())))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    done = upload_folder(store, folder)
    assert done.sent == before.st_size
    assert rebuild(store, done, tmp_path) == contents(folder)


def test_what_was_just_written_is_read_again(store, folder, tmp_path):
    """Another change within the same tick of the clock would leave no trace."""
    upload_folder(store, folder)
    (memory,) = (tmp_path / "cache").rglob("uploads/*.jsonl")
    rows = {row[0]: row for row in map(json.loads, memory.read_text().splitlines())}
    one, other = rows["many/007.jpg"], rows["many/008.jpg"]
    one[6:], other[6:] = other[6:], one[6:]
    memory.write_text("".join(json.dumps(row) + "\n" for row in rows.values()))
    assert rebuild(store, upload_folder(store, folder), tmp_path) == contents(folder)


@pytest.mark.parametrize("name", ["many/007.jpg", "many/large.tif"])
def test_an_image_that_changed_after_the_check_stops_the_upload(store, folder, name):
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in contents(folder).items()}
    (folder / name).write_bytes(b"\1" * (folder / name).stat().st_size)
    remembered = index_file(folder, False)
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.write_text("{}")
    with pytest.raises(DataError, match=f"The image {name} changed after the images were checked"):
        upload_folder(store, folder, hashes)
    assert not remembered.exists(), "nothing that is remembered of these images is believed any more"
    again = {path: hashlib.sha256(content).hexdigest() for path, content in contents(folder).items()}
    assert upload_folder(store, folder, again).files == len(again)
