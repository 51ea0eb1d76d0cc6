"""The files of a model, read as somebody else would read them."""

from __future__ import annotations

import csv
import json
import stat
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from PIL import Image

from mb_jupyter import load
from mb_jupyter.training import export
from mb_jupyter.training.data import Sample
from mb_jupyter.training.described import described
from mb_jupyter.training.errors import TrainingError
from mb_jupyter.training.weights import sha256_of

from .conftest import CLASSES, SIZE

FACTS = {
    "metrics": {"test_accuracy": 0.9},
    "versions": {"torch": "9"},
    "fingerprint": "abc",
    "tests": 12,
    "architecture": "squeezenet1_1",
    "run": "local://x/y",
}


@pytest.fixture
def folder(classifier, warm_cache, tmp_path: Path) -> Path:
    export.write_model(tmp_path, classifier, FACTS, published=True)
    warm_cache()
    return tmp_path


def test_the_model_says_all_about_itself(folder: Path) -> None:
    model = onnx.load(folder / "bestModel.onnx")
    onnx.checker.check_model(model, full_check=True)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["mb_format"] == "1"
    assert json.loads(said["classes"]) == list(CLASSES)
    assert json.loads(said["preprocess"]) == described(SIZE)
    assert json.loads(said["metrics"]) == FACTS["metrics"]
    assert json.loads(said["versions"]) == FACTS["versions"]
    assert (said["fingerprint"], said["architecture"], said["run"]) == ("abc", "squeezenet1_1", "local://x/y")
    assert said["tests"] == "12", "so that a file alone says how much its accuracy rests on"


def test_a_threshold_stands_in_the_metadata_and_the_card(folder: Path, classifier, tmp_path_factory) -> None:
    assert "unsure_below" not in {entry.key for entry in onnx.load(folder / "bestModel.onnx").metadata_props}
    other = tmp_path_factory.mktemp("careful")
    export.write_model(other, classifier, {**FACTS, "unsure_below": 0.7}, published=True)
    said = {entry.key: entry.value for entry in onnx.load(other / "bestModel.onnx").metadata_props}
    assert said["unsure_below"] == "0.7"
    with zipfile.ZipFile(other / "MLModel.zip") as archive:
        assert json.loads(archive.read("card.json"))["unsure_below"] == 0.7
    assert load(other / "MLModel.zip").unsure_below == load(other).unsure_below == 0.7


def test_pictures_in_and_probabilities_out(folder: Path, classifier, images) -> None:
    session = ort.InferenceSession(folder / "bestModel.onnx", providers=["CPUExecutionProvider"])
    (given,), (found,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == ("images", "tensor(uint8)", [SIZE, SIZE, 3])
    assert (found.name, found.type, found.shape[1:]) == ("probabilities", "tensor(float)", [3])
    scores = session.run(None, {"images": images})[0]
    with torch.inference_mode():
        np.testing.assert_allclose(scores, classifier.probabilities(torch.from_numpy(images)).numpy(), atol=1e-5)


def test_one_file_without_external_data(folder: Path) -> None:
    model = onnx.load(folder / "bestModel.onnx", load_external_data=False)
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)
    assert {path.name for path in folder.iterdir()} - {"xdg"} == {"bestModel.onnx", "bestModelMap.json", "MLModel.zip"}


def test_the_map_and_the_zip(folder: Path) -> None:
    assert json.loads((folder / "bestModelMap.json").read_text(encoding="utf-8")) == list(CLASSES)
    with zipfile.ZipFile(folder / "MLModel.zip") as archive:
        assert archive.namelist() == ["bestModel.onnx", "bestModelMap.json", "preprocess.json", "card.json"]
        for entry in archive.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            assert stat.S_ISREG(entry.external_attr >> 16)
        assert archive.read("bestModel.onnx") == (folder / "bestModel.onnx").read_bytes()
        assert json.loads(archive.read("preprocess.json"))["size"] == SIZE
        assert json.loads(archive.read("card.json"))["classes"] == list(CLASSES)


def test_the_same_model_gives_the_same_bytes(folder: Path, classifier, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("other")
    export.write_model(other, classifier, FACTS, published=True)
    for name in ("bestModel.onnx", "MLModel.zip"):
        assert (other / name).read_bytes() == (folder / name).read_bytes()


@pytest.fixture
def samples(tmp_path: Path, images) -> list[Sample]:
    found = []
    for number, image in enumerate(images):
        path = tmp_path / f"ü{number}.png"
        Image.fromarray(image).save(path)
        found.append(Sample(path.name, path, number % 3, sha256_of(path)))
    return found


def test_the_held_out_pictures_go_through_the_file(folder: Path, classifier, images, samples) -> None:
    answers = np.stack(list(export.predictions(folder, samples, SIZE)))
    with torch.inference_mode():
        trained = classifier.probabilities(torch.from_numpy(images)).numpy()
    proof = export.verify(answers, trained)
    assert proof["pictures"] == 5
    assert proof["agreement"] == 1
    assert proof["largest_difference"] < 1e-5
    export.write_predictions(folder / "predictions.csv", samples, CLASSES, answers)
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["ImageSource", "Label", "Prediction", "Score.ape", "Score.bee", "Score.cat"]
    for row, sample, scores in zip(rows, samples, answers, strict=True):
        assert (row["ImageSource"], row["Label"]) == (sample.source, CLASSES[sample.label])
        assert row["Prediction"] == CLASSES[scores.argmax()]
        assert [np.float32(row[f"Score.{name}"]) for name in CLASSES] == list(scores)


class TestVerify:
    scores = np.array([[0.7, 0.3], [0.2, 0.8]], np.float32)

    def test_another_class_fails_the_run(self) -> None:
        with pytest.raises(TrainingError, match=r"50\.00% of 2 test images") as error:
            export.verify(self.scores[:, ::-1].copy() * [[0], [1]] + self.scores * [[1], [0]], self.scores)
        assert "Do not use it" in error.value.fix

    def test_the_same_class_by_another_score_fails_too(self) -> None:
        with pytest.raises(TrainingError, match=r"up to 0\.1"):
            export.verify(self.scores + np.array([[0.1, -0.1], [0, 0]]), self.scores)

    def test_a_number_that_is_none_fails_too(self) -> None:
        with pytest.raises(TrainingError, match="does not answer as the trained network"):
            export.verify(self.scores * np.nan, self.scores)

    def test_a_tie_within_rounding_is_agreement(self) -> None:
        tie = np.array([[0.50001, 0.49999]])
        assert export.verify(tie[:, ::-1], tie)["agreement"] == 1

    def test_without_pictures_nothing_is_claimed(self) -> None:
        assert export.verify(np.empty((0, 2)), np.empty((0, 2)))["agreement"] is None
