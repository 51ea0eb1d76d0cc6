from __future__ import annotations

import csv
import io
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mb_jupyter
from mb_jupyter.errors import ModelError, PredictionError
from mb_jupyter.model import Model
from mb_jupyter.prediction import ModelInput, ModelOutput, Prediction, Predictions
from tests.tiny_model import COLOURS, write_model, write_zip

PIXELS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return mb_jupyter.load(write_zip(tmp_path_factory.mktemp("model") / "MLModel.zip"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with a picture of each colour and a broken one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, pixel in PIXELS.items():
        Image.new("RGB", (90, 60), pixel).save(folder / f"{name}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    return folder


def only(answer: Prediction | Predictions) -> Prediction:
    assert isinstance(answer, Prediction)
    return answer


def several(answer: Prediction | Predictions) -> Predictions:
    assert isinstance(answer, Predictions)
    return answer


def test_one_picture_has_a_label_a_score_and_every_class_in_order(model: Model, photos: Path) -> None:
    answer = only(model.predict(photos / "green.png"))
    assert isinstance(answer, ModelOutput)
    assert answer.label == answer.Prediction == "green"
    # softmax over 10, 0, 0: worked out by hand
    expected = math.exp(10) / (math.exp(10) + 2)
    assert answer.score == pytest.approx(expected, abs=1e-6)
    assert answer.scores is answer.Score
    assert sorted(answer.Score) == sorted(COLOURS)
    values = list(answer.Score.values())
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1, abs=1e-6)
    assert next(iter(answer.Score)) == answer.label
    assert answer.source == str(photos / "green.png")


def test_every_kind_of_source_gives_the_same_answer(model: Model, photos: Path) -> None:
    path = photos / "blue.png"
    image = Image.open(path)
    pixels = np.asarray(image)
    alpha = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    wanted = only(model.predict(path)).Score
    for source in (str(path), path.read_bytes(), image, pixels, alpha, ModelInput(str(path), "blue")):
        assert only(model.predict(source)).Score == wanted
    for many in ([path], np.stack([pixels]), pd.DataFrame({"ImageSource": [str(path)]}), str(photos / "bl*.png")):
        (answer,) = several(model.predict(many))
        assert answer.Score == wanted


def test_grey_pictures_too(model: Model) -> None:
    assert only(model.predict(np.full((40, 30), 128, np.uint8))).score == pytest.approx(1 / 3, abs=1e-6)


def test_several_go_past_a_broken_one(model: Model, photos: Path) -> None:
    answers = several(model.predict(photos))
    assert [Path(source).name for source in answers.sources] == ["blue.png", "broken.jpg", "green.png", "red.png"]
    assert answers.labels == [answer.label for answer in answers] == ["blue", "", "green", "red"]
    broken = answers[1]
    assert broken.error and broken.Score == {} and math.isnan(broken.score)
    assert answers.errors == {str(photos / "broken.jpg"): broken.error}
    assert "1 could not be read" in answers.summary


def test_the_frame_has_a_row_for_each(model: Model, photos: Path) -> None:
    frame = several(model.predict(photos)).frame
    assert list(frame.columns) == ["ImageSource", "Prediction", "Score.red", "Score.green", "Score.blue", "Error"]
    assert list(frame["Prediction"]) == ["blue", "", "green", "red"]
    scores = frame[["Score.red", "Score.green", "Score.blue"]]
    assert scores.iloc[1].isna().all()
    assert scores.drop(1).sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-6)
    assert frame["Error"][1] and not frame["Error"][0]


def test_predictions_are_a_list(model: Model, photos: Path) -> None:
    answers = several(model.predict(photos))
    assert len(answers) == 4
    assert answers[-1].label == "red"
    assert isinstance(answers[1:], Predictions)
    assert answers[1:][0].error == answers[1].error
    assert answers[::-1].labels == ["red", "green", "", "blue"]
    assert answers[::-1].frame["Prediction"].tolist() == ["red", "green", "", "blue"]
    with pytest.raises(IndexError):
        answers[4]


def test_a_single_broken_picture_is_an_error_that_names_it(model: Model, photos: Path) -> None:
    with pytest.raises(PredictionError, match=r"broken\.jpg cannot be scored"):
        model.predict(photos / "broken.jpg")
    with pytest.raises(PredictionError, match="picture 1 cannot be scored"):
        model.predict(b"no picture")
    with pytest.raises(PredictionError):
        model.predict(np.zeros((5, 5, 3), np.float32))


def test_nothing_and_missing_things_are_errors(model: Model, tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="No picture was given"):
        model.predict()
    with pytest.raises(PredictionError, match="no file and no folder"):
        model.predict(tmp_path / "none.jpg")
    with pytest.raises(PredictionError, match="no file and no folder"):
        model.predict_to(tmp_path / "out.csv", tmp_path / "none.jpg")
    assert not (tmp_path / "out.csv").exists()


def test_a_file_that_may_not_be_read(
    model: Model, photos: Path, ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    (photos / "red.png").chmod(0)
    with ordinary_user():
        assert "ermission" in several(model.predict([photos / "red.png"]))[0].error


def test_a_picture_has_the_same_answer_alone_and_among_others(model: Model, shared_data: Path) -> None:
    paths = sorted((shared_data / "flowers_small" / "roses").iterdir())
    together = several(model.predict(paths))
    for path, answer in zip(paths[:5], together[:5], strict=True):
        assert only(model.predict(path)).Score == answer.Score


def test_the_same_image_object_twice(model: Model, photos: Path) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((900, 700), 90).convert("RGB").save(buffer, "PNG")
    answers = several(model.predict([Image.open(io.BytesIO(buffer.getvalue()))] * 12))
    assert len({answer.score for answer in answers}) == 1


def test_predict_to_writes_the_same_figures(model: Model, photos: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    out = tmp_path / "answers with spaces.csv"
    written = model.predict_to(out, photos, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 4) for i in (1, 2, 3, 4)]
    assert (written.pictures, written.failed, written.path) == (4, 1, out)
    assert dict(written.counts) == {"red": 1, "green": 1, "blue": 1}
    frame = pd.read_csv(out, keep_default_na=False, dtype={"Error": str})
    wanted = several(model.predict(photos)).frame
    assert list(frame.columns) == list(wanted.columns)
    assert frame["ImageSource"].tolist() == wanted["ImageSource"].tolist()
    assert frame["Error"].tolist() == wanted["Error"].tolist()
    for name in COLOURS:
        read = [np.float32(value) if value != "" else np.float32("nan") for value in frame[f"Score.{name}"]]
        np.testing.assert_array_equal(read, wanted[f"Score.{name}"])
    assert "1 could not be read" in written._repr_mimebundle_()["text/plain"]
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_predict_to_takes_a_generator_of_unknown_length(model: Model, photos: Path, tmp_path: Path) -> None:
    totals: set[int | None] = set()
    pictures: Iterator[Path] = (photos / "red.png" for _ in range(50))
    written = model.predict_to(tmp_path / "o.csv", pictures, progress=lambda _, total: totals.add(total))
    assert written.pictures == 50
    assert totals == {None}


def test_predict_to_leaves_the_old_file_when_it_is_stopped(model: Model, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.csv"
    out.write_text("old")

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.predict_to(out, photos, progress=stop)
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.csv", "o.csv.part", "photos"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mb-predict")]


def test_predict_to_a_place_that_is_not_there(model: Model, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="cannot be written"):
        model.predict_to(tmp_path / "no" / "o.csv", photos)


def test_strange_names_come_through_the_csv(tmp_path: Path) -> None:
    classes = ('a, "quoted"', "<img src=x onerror=alert(1)>", "日本 🌹")
    model = mb_jupyter.load(write_zip(tmp_path / "m.zip", classes=classes))
    path = tmp_path / 'line\nbreak, "x".png'
    Image.new("RGB", (9, 9), "red").save(path)
    model.predict_to(tmp_path / "o.csv", [path])
    with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["ImageSource"] == str(path)
    assert row["Prediction"] == classes[0]
    assert {f"Score.{name}" for name in classes} <= set(row)


def test_the_card_tells_the_facts(model: Model) -> None:
    bundle = model._repr_mimebundle_()
    for fact in ("red, green, blue", "tiny", "88.9 %", "f00d", "local://colours", "32 x 32"):
        assert fact in bundle["text/plain"]
        assert fact in bundle["text/html"]
    assert "3 classes" in repr(model)


def test_a_first_prediction_drags_in_nothing_heavy(photos: Path, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.zip")
    code = f"""
import sys
import mb_jupyter
answer = mb_jupyter.load({str(path)!r}).predict({str(photos / "red.png")!r})
answer._repr_mimebundle_()
heavy = ("torch", "torchvision", "azure", "matplotlib", "pandas", "sklearn", "ipywidgets", "scipy")
print(answer.label, [name for name in heavy if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    label, heavy = run.stdout.split(maxsplit=1)
    assert label == "red"
    assert heavy.strip() == "[]"


class TestUnsure:
    """A threshold that the model carries names an outcome, and changes no score."""

    @pytest.fixture
    def careful(self, tmp_path: Path) -> Model:
        return mb_jupyter.load(write_model(tmp_path, unsure_below="0.6"))

    @pytest.fixture
    def doubtful(self, tmp_path: Path) -> Path:
        """Return a folder with a clear picture, one between two colours and a broken one."""
        folder = tmp_path / "mixed"
        folder.mkdir()
        Image.new("RGB", (40, 40), (255, 0, 0)).save(folder / "clear.png")
        Image.new("RGB", (40, 40), (130, 128, 0)).save(folder / "between.png")
        (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
        return folder

    def test_one_picture(self, careful: Model, model: Model, doubtful: Path) -> None:
        assert (careful.unsure_below, model.unsure_below) == (0.6, None)
        clear, between = (only(careful.predict(doubtful / name)) for name in ("clear.png", "between.png"))
        assert (clear.unsure, clear.outcome) == (False, "red")
        assert (between.unsure, between.label) == (True, "red")
        assert between.outcome == f"unsure (red {between.score:.2f})"
        plain = only(model.predict(doubtful / "between.png"))
        assert plain.Score == between.Score and (plain.unsure, plain.outcome) == (False, "red")
        bundle = between._repr_mimebundle_()
        assert all(f"between.png: {between.outcome}" in shown for shown in bundle.values())
        assert "unsure" not in "".join(plain._repr_mimebundle_().values())

    def test_several_pictures(self, careful: Model, model: Model, doubtful: Path) -> None:
        answers = several(careful.predict(doubtful))
        assert [Path(source).name for source in answers.sources] == ["between.png", "broken.jpg", "clear.png"]
        assert answers.unsure == [True, False, False] == [one.unsure for one in answers]
        assert answers[:1].unsure == [True]
        assert "; 1 of them unsure; 1 could not be read." in answers.summary
        for shown in (*answers._repr_mimebundle_().values(), answers[:1]._repr_mimebundle_()["text/html"]):
            assert answers[0].outcome in shown
        assert list(answers.frame.columns)[-2:] == ["Error", "Unsure"]
        plain = several(model.predict(doubtful))
        assert "Unsure" not in plain.frame.columns and plain.unsure == [False] * 3
        pd.testing.assert_frame_equal(plain.frame, answers.frame.drop(columns="Unsure"))

    def test_a_file_of_answers(self, careful: Model, doubtful: Path, tmp_path: Path) -> None:
        written = careful.predict_to(tmp_path / "answers.csv", doubtful)
        rows = pd.read_csv(tmp_path / "answers.csv")
        assert list(rows.columns) == [
            "ImageSource", "Prediction", "Score.red", "Score.green", "Score.blue", "Error", "Unsure"
        ]  # fmt: skip
        assert rows.Unsure.tolist() == [True, False, False]
        assert "1 of them unsure" in written._repr_mimebundle_()["text/plain"]

    @pytest.mark.parametrize("said", ["1.5", "0", '"0.6"', "x"])
    def test_a_threshold_that_is_none_is_damage(self, tmp_path: Path, said: str) -> None:
        with pytest.raises(ModelError, match="unsure_below in its metadata"):
            mb_jupyter.load(write_model(tmp_path, unsure_below=said))
