from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import tempfile

import numpy as np
import pytest
from PIL import Image

from mb_jupyter.training import data, manifest, parts, preprocess
from mb_jupyter.training.augment import Augmentation
from mb_jupyter.training.errors import TrainingError
from mb_jupyter.training.record import Recorder
from mb_jupyter.training.settings import Settings
from tests.picture_files import folder_of


@pytest.fixture
def samples(tmp_path):
    random = np.random.default_rng(0)
    made = []
    for number in range(7):
        path = tmp_path / f"{number}.png"
        Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
        made.append(data.Sample(f"class/{path.name}", path, number % 2, hashlib.sha256(path.read_bytes()).hexdigest()))
    return made


def test_without_augmentation_pixels_are_those_of_prediction(samples):
    pictures = data.Pictures(samples, 32)
    images, labels = pictures.__getitems__([(0, 3), (5, 1), (0, 3)])
    assert images.dtype.is_floating_point is False and images.shape == (3, 32, 32, 3)
    for row, index in enumerate([3, 1, 3]):
        assert np.array_equal(images[row].numpy(), preprocess.load(samples[index].path, 32))
    assert labels.tolist() == [1, 1, 1]


def test_a_picture_is_decoded_once(samples):
    pictures = data.Pictures(samples, 32)
    first = pictures[0, 2].copy()
    samples[2].path.unlink()
    assert np.array_equal(pictures[1, 2], first)
    with pytest.raises(TrainingError, match=r"class/2\.png can no longer be read"):
        data.Pictures(samples, 32)[0, 2]


def test_a_changed_picture_is_named(samples):
    Image.new("RGB", (9, 9)).save(samples[4].path)
    with pytest.raises(TrainingError, match=r"class/4\.png changed after the images were checked"):
        data.Pictures(samples, 32)[0, 4]


def test_a_broken_picture_is_named(samples, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    sample = data.Sample("class/broken.jpg", broken, 0, hashlib.sha256(b"no picture").hexdigest())
    with pytest.raises(TrainingError, match=r"class/broken\.jpg cannot be used: it is not a JPEG"):
        data.Pictures([sample], 32)[0, 0]


def test_a_variant_follows_from_seed_epoch_and_index_alone(samples):
    def variant(seed=3, epoch=5, index=2):
        return data.Pictures(samples, 32, Augmentation(32, seed))[epoch, index]

    assert variant().shape == (32, 32, 3) and variant().dtype == np.uint8
    assert np.array_equal(variant(), variant())
    for other in (variant(seed=4), variant(epoch=6), variant(index=1)):
        assert not np.array_equal(variant(), other)


def test_every_operation_keeps_shape_and_type():
    pixels = np.random.default_rng(1).integers(0, 256, (36, 36, 3), np.uint8)
    augmentation = Augmentation(32, 0, any_way_up=True)
    variants = [augmentation(pixels, epoch, 0) for epoch in range(100)]
    assert {variant.shape for variant in variants} == {(32, 32, 3)}
    assert {variant.dtype for variant in variants} == {np.dtype(np.uint8)}
    assert len({variant.tobytes() for variant in variants}) == 100


@pytest.mark.parametrize("workers", [0, 2])
def test_the_order_is_the_same_for_any_number_of_workers(samples, workers):
    pictures = data.Pictures(samples, 32, Augmentation(32, 0))
    plan = data.steps(7, 3, seed=1, epoch=2)
    batches = list(data.loader(pictures, plan, epoch=2, workers=workers))
    assert [len(labels) for _, labels in batches] == [3, 2, 2]
    for (images, labels), step in zip(batches, plan, strict=True):
        for image, label, index in zip(images, labels, step.indices, strict=True):
            assert np.array_equal(image.numpy(), pictures[2, index])
            assert label == samples[index].label


def test_threads_change_nothing(samples):
    keys = [(1, index) for index in range(7)]
    alone, _ = data.Pictures(samples, 32, Augmentation(32, 0)).__getitems__(keys)
    together, _ = data.Pictures(samples, 32, Augmentation(32, 0), threads=4).__getitems__(keys)
    assert np.array_equal(alone.numpy(), together.numpy())


@pytest.mark.parametrize(("count", "batch"), [(1, 4), (4, 4), (5, 4), (130, 32), (1000, 1)])
def test_an_epoch_takes_every_picture_once_in_even_batches(count, batch):
    plan = data.steps(count, batch, seed=0, epoch=1)
    assert sorted(np.concatenate([step.indices for step in plan])) == list(range(count))
    sizes = [step.pictures for step in plan]
    assert max(sizes) <= batch and max(sizes) - min(sizes) <= 1


def test_epochs_and_seeds_have_orders_of_their_own():
    def order(**changes):
        return np.concatenate([s.indices for s in data.steps(50, 8, **{"seed": 0, "epoch": 0, **changes})]).tolist()

    assert order() == order()
    assert order() != order(epoch=1) and order() != order(seed=1)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_same_batches(world):
    alone = data.steps(50, 8, seed=0, epoch=3)
    shares = [data.steps(50, 8, seed=0, epoch=3, rank=rank, world=world) for rank in range(world)]
    for number, step in enumerate(alone):
        together = np.concatenate([share[number].indices for share in shares])
        assert sorted(together) == sorted(step.indices)
        assert {share[number].pictures for share in shares} == {len(step.indices)}


def test_an_evaluation_takes_every_picture_in_order():
    plan = data.in_order(10, 4)
    assert np.concatenate([step.indices for step in plan]).tolist() == list(range(10))
    assert data.in_order(0, 4) == [] == data.in_order(1, 4, rank=1, world=2)
    shares = [data.in_order(10, 4, rank=rank, world=3) for rank in range(3)]
    assert [[step.indices.tolist() for step in share] for share in shares] == [
        [[0, 3, 6, 9]], [[1, 4, 7]], [[2, 5, 8]]
    ]  # fmt: skip


def test_a_shelf_keeps_rows_outside_memory_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shelf = data.Shelf(3, (2, 2), np.float16)
    assert shelf.get(1) is None
    shelf.put(1, np.array([[1, 2], [3, 4]]))
    kept = shelf.get(1)
    assert kept is not None and kept.tolist() == [[1, 2], [3, 4]]
    assert shelf.get(0) is None and shelf.get(2) is None
    del shelf
    assert list(tmp_path.iterdir()) == []


def test_a_shelf_without_room_stays_empty(monkeypatch):
    monkeypatch.setattr(data, "LARGEST_SHELF", 10)
    shelf = data.Shelf(3, (2, 2), np.float32)
    shelf.put(0, np.ones((2, 2)))
    assert shelf.get(0) is None


def test_a_row_that_the_disk_took_in_part_is_not_read(monkeypatch):
    shelf = data.Shelf(3, (2, 2), np.float32)
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, row, at: whole(file, row[: max(1, len(row) // 2)], at))
    shelf.put(0, np.ones((2, 2)))
    assert shelf.get(0) is None


def test_a_spawned_worker_has_no_rows_but_the_same_pictures(samples):
    pictures = data.Pictures(samples, 32)
    expected = pictures[0, 1].copy()
    assert np.array_equal(pickle.loads(pickle.dumps(pictures))[0, 1], expected)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_training_sees_an_image_fitted_as_prediction_does(samples, fit):
    fitted = [dataclasses.replace(sample, fit=fit) for sample in samples]
    expected = preprocess.load(samples[0].path, 32, preprocess.Preparation(fit))
    assert np.array_equal(data.Pictures(fitted, 32)[0, 0], expected)
    varied = data.Pictures(fitted, 32, Augmentation(32, 0))
    assert varied[0, 0].shape == (32, 32, 3)
    (differs,) = {np.array_equal(expected, preprocess.load(samples[0].path, 32))}
    assert differs is (fit == "crop")


@pytest.fixture
def split_files(tmp_path):
    """Return a folder of images, and a run's folder with their split."""
    folder = folder_of(tmp_path / "set", {"a": 9, "b": 9})
    (tmp_path / "run").mkdir()
    manifest.write_split(
        tmp_path / "run" / "split.csv",
        manifest.split(manifest.scan(folder).pictures, seed=0, validation_fraction=0.2, test_fraction=0.3),
    )
    return folder, tmp_path / "run"


def found(split_files, **settings):
    folder, run = split_files
    return parts.find(Settings.from_dict(settings), folder, run, Recorder(run))


def test_every_sample_is_told_how_it_is_fitted(split_files):
    there = found(split_files, fit="pad")
    assert {sample.fit for part in (there.train, there.validation, there.test) for sample in part} == {"pad"}


def test_what_is_wrong_with_a_test_image_is_known_before_the_training(split_files):
    one, other = found(split_files).test[:2]
    content = one.path.read_bytes()
    one.path.unlink()
    with pytest.raises(TrainingError, match=f"{one.source} can no longer be read"):
        found(split_files)
    one.path.write_bytes(other.path.read_bytes())
    with pytest.raises(TrainingError, match=f"{one.source} changed after"):
        found(split_files)
    one.path.write_bytes(content)
    assert found(split_files).test[0].source == one.source
