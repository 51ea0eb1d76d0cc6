"""Frozen features: of every picture and its mirror image, kept on the disk, safe beside other trainings."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mb_jupyter.training import features
from mb_jupyter.training.data import Sample
from mb_jupyter.training.errors import TrainingError
from mb_jupyter.training.weights import sha256_of

from .conftest import SIZE


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    random, found = np.random.default_rng(0), []
    for number in range(21):
        path = tmp_path / f"{number}.png"
        Image.fromarray(random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(path)
        found.append(Sample(path.name, path, number % 3, sha256_of(path)))
    return found


@pytest.fixture
def extract(classifier, own_cache, tmp_path: Path):
    """Return extract() in torch's float32, with this test's folders."""
    engine = tmp_path / "engine.json"
    engine.write_text('{"engine": "torch float32"}')

    def run(samples: list[Sample], **options: Any) -> np.ndarray:
        found, name = features.extract(classifier, samples, engine_file=engine, cache=tmp_path / "kept", **options)
        assert name == "torch float32"
        assert features.precision(name) == "float32"
        return found

    return run


def pixels(samples: list[Sample]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(sample.path)) for sample in samples])


def test_a_picture_and_its_mirror_image(extract, classifier, samples) -> None:
    found = extract(samples)
    assert (found.shape, found.dtype) == ((21, 2, classifier.backbone.feature_size), np.float16)
    with torch.inference_mode():
        for side, images in enumerate((pixels(samples), pixels(samples)[:, :, ::-1].copy())):
            expected = classifier.features(torch.from_numpy(images)).numpy()
            np.testing.assert_allclose(found[:, side], expected, rtol=2e-3, atol=1e-3)


def test_a_second_training_of_the_same_pictures_reads_none(extract, samples) -> None:
    first = extract(samples)
    for sample in samples:
        sample.path.unlink()
    seen: list[int] = []
    assert np.array_equal(extract(samples[::-1], progress=seen.append), first[::-1])
    assert seen == [21]


def test_only_new_pictures_are_computed(extract, samples) -> None:
    extract(samples[:16])
    for sample in samples[:16]:
        sample.path.unlink()
    seen: list[int] = []
    assert np.isfinite(extract(samples, progress=seen.append)).all()
    assert seen[0], seen[-1] == (16, 21)


def test_the_same_picture_twice(extract, samples) -> None:
    found = extract([samples[0], samples[1], samples[0]])
    assert np.array_equal(found[0], found[2])
    assert np.array_equal(extract([samples[0], samples[0]])[1], found[0])


def test_other_weights_have_features_of_their_own(extract, classifier, samples) -> None:
    first = extract(samples)
    with torch.no_grad():
        classifier.backbone.parts[0][0].weight.mul_(2)
    assert not np.array_equal(extract(samples), first)


@pytest.mark.parametrize("damage", [b"", b"not numbers", None])
def test_damaged_files_are_computed_again(damage: bytes | None, extract, samples, tmp_path: Path) -> None:
    first = extract(samples)
    (file,) = (tmp_path / "kept").glob("*/*.npy")
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage)
    assert np.array_equal(extract(samples), first)
    assert np.array_equal(extract(samples), first)


def test_what_an_interrupted_extraction_finished_is_kept(extract, samples, monkeypatch) -> None:
    monkeypatch.setattr(features, "SHARD", 8)

    def stop(done: int) -> None:
        if done > 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(samples, progress=stop)
    seen: list[int] = []
    extract(samples, progress=seen.append)
    assert seen[0] == 21, "also what was computed since the last file"


def test_two_trainings_at_once(extract, samples) -> None:
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(extract(samples))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all(np.array_equal(each, found[0]) for each in found)
    assert np.array_equal(extract(samples), found[0])


def test_the_folder_is_bounded_and_the_oldest_go_first(extract, samples, tmp_path: Path, monkeypatch) -> None:
    extract(samples[:7])
    (old,) = (tmp_path / "kept").glob("*/*.npy")
    monkeypatch.setattr(features, "CACHE_BYTES", old.stat().st_size * 2.5)
    extract(samples[7:14])
    assert old.exists()
    extract(samples[14:])
    assert not old.exists()
    assert len(list((tmp_path / "kept").glob("*/*"))) == 4


def test_a_folder_that_cannot_be_written_costs_no_training(extract, samples, tmp_path: Path, ordinary_user) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept").chmod(0o500)
    with ordinary_user():
        assert np.isfinite(extract(samples)).all()
    assert not list((tmp_path / "kept").iterdir())


def test_a_shared_cache_that_may_only_be_read_is_used_and_left_alone(extract, samples, tmp_path, monkeypatch) -> None:
    first = extract(samples)
    files = sorted((tmp_path / "kept").glob("*/*"))

    def refuse(*_: object) -> None:
        raise PermissionError("somebody else's")

    monkeypatch.setattr(Path, "touch", refuse)
    for sample in samples:
        sample.path.unlink()
    assert np.array_equal(extract(samples), first)
    assert files == sorted((tmp_path / "kept").glob("*/*"))


def test_more_than_memory_should_hold(extract, samples, monkeypatch) -> None:
    first = extract(samples)
    monkeypatch.setattr(features, "IN_MEMORY_BYTES", 1000)
    there = extract(samples)
    assert isinstance(there, np.memmap)
    assert np.array_equal(there, first)


def test_more_than_the_disk_holds_is_an_error_before_anything_is_written(extract, samples, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(features, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left") as caught:
        extract(samples)
    assert Path(str(caught.value.filename)).parent == Path(tempfile.gettempdir()), "the folder to make room in"


def test_a_lost_picture_is_named(extract, samples) -> None:
    samples[3].path.unlink()
    with pytest.raises(TrainingError, match=r"3\.png can no longer be read"):
        extract(samples)
