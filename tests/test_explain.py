"""What spoke for a class, on a model whose answers can be worked out by hand: softmax of ten times the mean colour."""

from __future__ import annotations

import io
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image

import mb_jupyter
from mb_jupyter.errors import PredictionError
from mb_jupyter.explain import CELLS, NINTHS
from mb_jupyter.model import Model
from tests.tiny_model import write_model, write_zip

HOSTILE = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return mb_jupyter.load(write_zip(tmp_path_factory.mktemp("model") / "MLModel.zip"))


@pytest.fixture
def corner(tmp_path: Path) -> Path:
    """Return a dark picture whose top left ninth is red and whose bottom right ninth is green."""
    pixels = np.full((96, 96, 3), 40, np.uint8)
    pixels[:32, :32] = (255, 0, 0)
    pixels[64:, 64:] = (0, 200, 0)
    path = tmp_path / HOSTILE
    Image.fromarray(pixels).save(path)
    return path


def by_hand(pixels: np.ndarray) -> np.ndarray:
    shares = np.exp(10 * pixels.reshape(-1, 3).mean(0) / 255)
    return shares / shares.sum()


def test_a_ninth_counts_as_much_as_by_hand(model: Model, corner: Path) -> None:
    found = model.explain(corner)
    pixels = np.asarray(Image.open(corner).resize((32, 32), Image.Resampling.BILINEAR), np.float64)
    assert found.output.Prediction == "red"
    assert found.output.Score["red"] == pytest.approx(by_hand(pixels)[0], abs=0.01)
    without = pixels.copy()
    without[:11, :11] = pixels.reshape(-1, 3).mean(0)
    assert found.ninths["top left"]["red"] == pytest.approx(by_hand(without)[0], abs=0.03)
    assert list(found.ninths) == list(NINTHS)
    assert found.frame.Part[0] == "top left" and found.frame["Change.red"][0] < -0.1
    assert found.turned["top left"] == "green" and found.turned["centre"] == "red"


def place(index: np.intp) -> tuple[int, int]:
    """Return row and column of a cell."""
    return int(index) // CELLS, int(index) % CELLS


def test_the_heat_is_where_the_colour_is(model: Model, corner: Path) -> None:
    heat = model.explain(corner).heat["red"]
    assert heat.shape == (CELLS, CELLS)
    assert max(place(heat.argmax())) <= 2
    assert heat[:2, :2].min() > 5 * np.abs(heat[3:5, 3:5]).max() > 0
    assert min(place(heat.argmin())) >= 5  # green there speaks against red


def test_another_class_beside_the_predicted_one(model: Model, corner: Path) -> None:
    found = model.explain(corner, label="green")
    assert found.labels == ("red", "green")
    assert found.ninths["bottom right"]["green"] < found.output.Score["green"] < found.ninths["top left"]["green"]
    assert model.explain(corner, label="red").labels == ("red",)


def test_it_says_the_same_in_words_pictures_and_figures(model: Model, corner: Path) -> None:
    bundle = model.explain(corner, label="green")._repr_mimebundle_(include={"image/png"})
    text, page = bundle["text/plain"], bundle["text/html"]
    for shown in (text, page):
        assert "the top left spoke most for it (without it the score is" in shown
        assert "the bottom right spoke most for it" in shown  # for green
        assert "mean colour" in shown
    assert page.count("<img ") == 3 == page.count("alt=")
    assert "The same picture, coloured where parts spoke for red." in page
    assert "<img src=x" not in page and "<script" not in page and "<style" not in page and "<svg" not in page
    assert len(text.splitlines()) == 5 + 1 + 1 + 9
    assert Image.open(io.BytesIO(bundle["image/png"])).height == 256 + 16, "a line below names the run"


def test_colours_only_where_something_counts(model: Model, corner: Path) -> None:
    found = model.explain(corner)
    overlay = np.asarray(Image.open(io.BytesIO(found.overlay("red"))), np.int64)
    assert (overlay[30, 30, 0] - overlay[30, 30, 2]) > 60  # orange
    assert (overlay[225, 225, 2] - overlay[225, 225, 0]) > 30  # blue
    assert np.ptp(overlay[128, 128]) < 12  # grey


def test_where_nothing_counts_it_says_so(model: Model) -> None:
    plain = model.explain(Image.new("RGB", (50, 50), (90, 60, 60)))
    assert "no single part counts" in plain._repr_mimebundle_()["text/plain"]
    assert np.abs(plain.heat["red"]).max() < 0.01


def test_an_unsure_answer_is_explained_as_one(tmp_path: Path, corner: Path) -> None:
    careful = mb_jupyter.load(write_model(tmp_path, unsure_below="0.9"))
    found = careful.explain(corner)
    assert found.output.unsure and found.output.outcome in found._repr_mimebundle_()["text/plain"]


def test_a_class_is_found_in_any_unicode_form(tmp_path: Path, corner: Path) -> None:
    """A Mac writes an accent as a character of its own."""
    together, apart = unicodedata.normalize("NFC", "gänse"), unicodedata.normalize("NFD", "gänse")
    for trained, asked in ((together, apart), (apart, together)):
        model = mb_jupyter.load(write_zip(tmp_path / "MLModel.zip", classes=("red", trained, "blue")))
        assert model.explain(corner, label=asked).labels == ("red", trained)


@pytest.mark.parametrize(
    ("label", "said", "fix"),
    [("gren", "There is no class 'gren' in this model.", "Did you mean 'green'?"),
     ("?", "There is no class '?' in this model.", "Its classes are red, green, blue.")],
)  # fmt: skip
def test_a_class_that_is_none(model: Model, corner: Path, label: str, said: str, fix: str) -> None:
    with pytest.raises(PredictionError) as refused:
        model.explain(corner, label=label)
    assert (refused.value.cause, refused.value.fix) == (said, fix)


def test_what_cannot_be_explained(model: Model, tmp_path: Path, corner: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    with pytest.raises(PredictionError, match=r"broken\.jpg cannot be explained: "):
        model.explain(tmp_path / "broken.jpg")
    with pytest.raises(PredictionError, match="More than one image"):
        model.explain([corner, corner])
    with pytest.raises(PredictionError):
        model.explain(tmp_path / "absent.jpg")


def test_torch_is_not_needed(model: Model, corner: Path) -> None:
    code = (
        "import sys, mb_jupyter; mb_jupyter.load(sys.argv[1]).explain(sys.argv[2])._repr_mimebundle_();"
        "print({name.split('.')[0] for name in sys.modules} & {'torch', 'matplotlib', 'azure'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(model.path), str(corner)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_the_command(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 40), (200, 0, 0)).save("my picture.png")
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "mb_jupyter")
    found = shell.run_line_magic("mb_explain", f"my picture.png -m {model.path} --class blue")
    assert found.labels == ("red", "blue") and found.source.endswith("my picture.png")
    shell.user_ns["drawn"] = Image.new("RGB", (40, 40), (0, 200, 0))
    assert shell.run_line_magic("mb_explain", f"{{{{drawn}}}} -m {model.path}").labels == ("green",)
