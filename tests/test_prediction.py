from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mb_jupyter
from mb_jupyter.prediction import Prediction, Predictions
from tests.tiny_model import write_zip

HOSTILE = '<img src=x onerror=alert(1)> & "quotes"'


def answer(scores: dict[str, float], source: str = "photos/rose.jpg", error: str = "") -> Prediction:
    return Prediction(next(iter(scores), ""), scores, source, error)


def many(number: int) -> Predictions:
    scores = np.tile(np.array([0.2, 0.7, 0.1], np.float32), (number, 1))
    names = [f"/data/set/{'ab'[i % 2]}/picture {i}.jpg" for i in range(number)]
    return Predictions(("red", "green", "blue"), names, scores, {2: "it is cut short"}, {})


def test_text_says_everything_without_html() -> None:
    text = answer({"roses": 0.9731, "tulips": 0.0266, "daisy": 0.0003})._repr_mimebundle_()["text/plain"]
    lines = text.splitlines()
    assert lines[0] == "photos/rose.jpg: roses, 97.3 %"
    assert re.fullmatch(r"  roses   █+.? +97.3 %", lines[1])
    assert lines[3].endswith("<0.1 %")


def test_html_is_a_table_with_every_class_and_figure() -> None:
    html = answer({"roses": 0.9731, "tulips": 0.0269})._repr_mimebundle_()["text/html"]
    for said in ('<th scope="row"', "roses", "97.3 %", "tulips", "2.7 %", "<table"):
        assert said in html
    assert "<script" not in html and "<style" not in html and "<svg" not in html


def test_of_many_classes_the_first_ten_and_the_rest_together() -> None:
    scores = {f"class {i}": 2 ** -(i + 1) for i in range(300)}
    bundle = answer(scores)._repr_mimebundle_()
    for shown in bundle.values():
        assert "290 other classes" in shown
        assert "class 9" in shown and "class 10" not in shown
    assert "1 other class" in answer(dict(list(scores.items())[:11]))._repr_mimebundle_()["text/plain"]


def test_names_are_data() -> None:
    for shown in (answer({HOSTILE: 0.9, "b": 0.1}, HOSTILE), answer({}, HOSTILE, error=HOSTILE)):
        html = shown._repr_mimebundle_()["text/html"]
        assert "<img src=x" not in html
        assert "&lt;img src=x" in html
    names = Predictions((HOSTILE, "b"), [HOSTILE] * 40, np.full((40, 2), 0.5, np.float32), {1: HOSTILE}, {})
    for part in (names, names[:5]):
        assert "<img src=x" not in part._repr_mimebundle_()["text/html"]


def test_wide_and_long_names_stay_aligned() -> None:
    text = answer({"日本": 0.5, "x" * 200: 0.3, "line\nbreak": 0.2})._repr_mimebundle_()["text/plain"]
    assert len(text.splitlines()) == 4
    assert max(map(len, text.splitlines())) < 80


def test_a_png_only_on_demand() -> None:
    one = answer({"roses": 0.9, "tulips": 0.1})
    assert "image/png" not in one._repr_mimebundle_()
    png = one._repr_mimebundle_(include={"image/png"})["image/png"]
    assert Image.open(io.BytesIO(png)).format == "PNG"


def test_the_picture_is_shown_small_with_words(tmp_path: Path) -> None:
    model = mb_jupyter.load(write_zip(tmp_path / "m.zip", size=224))
    Image.effect_noise((3000, 2000), 50).save(tmp_path / "large.jpg")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "tiny.png")
    large, tiny = model.predict(tmp_path / "large.jpg"), model.predict(tmp_path / "tiny.png")
    assert isinstance(large, Prediction) and isinstance(tiny, Prediction)
    html = large._repr_mimebundle_()["text/html"]
    assert 'src="data:image/jpeg' in html and f'alt="The picture {tmp_path / "large.jpg"}"' in html
    assert len(html) < 40_000
    assert Image.open(io.BytesIO(tiny.thumbnail)).format == "PNG"
    assert max(Image.open(io.BytesIO(large.thumbnail)).size) == 240


def test_a_few_are_cards() -> None:
    bundle = many(5)._repr_mimebundle_()
    assert bundle["text/html"].count(">then red") == 4
    assert "5 pictures: 4 × green; 1 could not be read." in bundle["text/html"]
    assert bundle["text/plain"].count("70.0 %") == 4
    assert "could not be read: it is cut short" in bundle["text/plain"]


def test_very_many_are_a_table_that_says_how_many_more() -> None:
    bundle = many(1000)._repr_mimebundle_()
    for shown in bundle.values():
        assert "976 more" in shown and ".frame" in shown
        assert "in /data/set" in shown  # once, instead of in every row
    assert bundle["text/html"].count("<tr>") == 25
    assert "999 × green" in bundle["text/plain"]


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        (("./photos/a/1.jpg", "./photos/b/2.jpg"), ("a/1.jpg", "b/2.jpg")),
        (("photos//a/1.jpg", "photos/b/2.jpg"), ("/a/1.jpg", "b/2.jpg")),
        (("/a/1.jpg", "/b/2.jpg"), ("a/1.jpg", "b/2.jpg")),
        (("../a/1.jpg", "a/2.jpg", "/a/3.jpg"), ("../a/1.jpg", "a/2.jpg", "/a/3.jpg")),
    ],
)
def test_the_common_folder_is_cut_off_as_it_was_given(given: tuple[str, ...], rows: tuple[str, ...]) -> None:
    shown = Predictions(("a", "b"), list(given), np.full((len(given), 2), 0.5, np.float32), {}, {})
    lines = shown._repr_mimebundle_()["text/plain"].splitlines()[-len(given) :]
    assert [line.split()[0] for line in lines] == list(rows)


@pytest.mark.parametrize("number", [0, 1, 24, 25])
def test_every_number_can_be_shown(number: int) -> None:
    scores = np.full((number, 2), 0.5, np.float32)
    one = Predictions(("a", "b"), [f"{i}.png" for i in range(number)], scores, {}, {})
    assert f"{number} picture{'' if number == 1 else 's'}" in one._repr_mimebundle_()["text/plain"]
    assert len(one.frame) == len(one.labels) == number


def test_equal_scores_keep_the_order_of_the_classes() -> None:
    one = Predictions(("b", "a", "c"), ["x"], np.full((1, 3), 1 / 3, np.float32), {}, {})[0]
    assert list(one.Score) == ["b", "a", "c"]
    assert one.label == "b"
