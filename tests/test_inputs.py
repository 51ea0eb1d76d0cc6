"""What may be given as an image: the same for ``Model.predict`` and for an exported package, and refused in words."""

from __future__ import annotations

import copy
import importlib
import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from mb_jupyter import Model, load
from mb_jupyter.errors import PredictionError
from mb_jupyter.prediction import ModelInput
from tests.finished_run import write_run

Ask = Callable[[Any], dict[str, float]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture(scope="module")
def model(place: Path) -> Model:
    return load(write_run(place, data=str(place / "colours")).folder)


@pytest.fixture(scope="module")
def exported(place: Path, model: Model) -> Iterator[Any]:
    """Return the exported package, imported."""
    from mb_jupyter.run import Run

    made = Run(model.path.parent).export(place / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(made.model / "src")
        yield importlib.import_module("hues_model")


@pytest.fixture(params=["Model.predict", "exported"])
def ask(request: pytest.FixtureRequest, model: Model) -> Ask:
    """Return what gives the scores of one image: both ways must agree, and refuse the same."""
    if request.param == "Model.predict":
        return lambda source: dict(model.predict(source).Score)  # type: ignore[union-attr]
    package = request.getfixturevalue("exported")
    return lambda source: dict(package.predict(source).Score)


@pytest.fixture(scope="module")
def path(place: Path) -> Path:
    """Return an image that is neither square nor of one colour."""
    pixels = np.random.default_rng(3).integers(0, 256, (37, 52, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place / "one.png")
    return place / "one.png"


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


class Stream(io.RawIOBase):
    """A file that cannot go back, as a socket gives it."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._data.readinto(buffer)


def read_on(path: Path) -> io.BytesIO:
    """Return a file that somebody has read to its end."""
    file = io.BytesIO(path.read_bytes())
    file.read()
    return file


GIVEN: dict[str, Callable[[Path], Any]] = {
    "text": str,
    "path": lambda path: path,
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "open file": lambda path: path.open("rb"),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "a file read to its end": read_on,
    "a stream": lambda path: Stream(path.read_bytes()),
    "Pillow": Image.open,
    "array": pixels_of,
    "array in another order": lambda path: np.asfortranarray(pixels_of(path)),
    "array with opacity": lambda path: np.dstack([pixels_of(path), np.full((37, 52), 255, np.uint8)]),
    "tensor like an array": lambda path: torch.from_numpy(pixels_of(path).copy()),
    "tensor": lambda path: torch.from_numpy(pixels_of(path).copy()).permute(2, 0, 1),
    "tensor of decimals": lambda path: torch.from_numpy(pixels_of(path).copy()).permute(2, 0, 1).float() / 255,
    "tensor that learns": lambda path: (
        torch.from_numpy(pixels_of(path).copy()).permute(2, 0, 1).double() / 255
    ).requires_grad_(),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_every_kind_gives_the_same_answer(ask: Ask, path: Path, kind: str) -> None:
    given = GIVEN[kind](path)
    try:
        assert ask(given) == ask(path)
    finally:
        if hasattr(given, "close"):
            given.close()


def test_bfloat16_keeps_what_it_holds(ask: Ask) -> None:
    white = torch.ones(3, 20, 30, dtype=torch.bfloat16)
    assert ask(white) == ask(np.full((20, 30, 3), 255, np.uint8))


def test_sixteen_bits_in_either_order_of_bytes(ask: Ask) -> None:
    grey = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    assert ask(grey) == ask(grey.astype(">u2")) == ask((grey >> 8).astype(np.uint8))
    assert ask(grey // 256) == ask((grey >> 8).astype(np.uint8)), "scaled by what it holds"


def closed(path: Path) -> io.BytesIO:
    file = io.BytesIO(path.read_bytes())
    file.close()
    return file


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an empty text": (lambda path: "", "an empty text was given"),
    "blanks": (lambda path: "  ", "an empty text was given"),
    "an address": (lambda path: "https://example.org/a.jpg", "internet"),
    "a text file": (lambda path: io.StringIO("abc"), "open(path, 'rb')"),
    "a closed file": (closed, "cannot be read"),
    "None": (lambda path: None, "None was given, which is no image; pass a path"),
    "a dict": (lambda path: {"image": 1}, "a value of type dict was given, which is no image; pass a path"),
    "a number": (lambda path: 7, "a value of type int was given"),
    "decimals": (lambda path: pixels_of(path) / 255, "an array of float64 has no fixed range; bring it to 0..255"),
    "whole numbers": (lambda path: torch.zeros(3, 8, 8, dtype=torch.int64), "use .to(torch.uint8)"),
    "a normalised tensor": (lambda path: torch.full((3, 8, 8), -1.5), "before it was normalised"),
    "NaN": (lambda path: torch.full((3, 8, 8), torch.nan), "not from 0 to 1"),
    "channels first": (lambda path: np.zeros((3, 8, 9), np.uint8), ".transpose(1, 2, 0)"),
    "another shape": (lambda path: torch.zeros(2, 8, 9), "a tensor of shape (2, 8, 9) is not an image"),
    "no pixels": (lambda path: np.zeros((0, 5, 3), np.uint8), "no pixels"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_anything_else_is_refused_with_what_it_is(ask: Ask, path: Path, kind: str) -> None:
    make, reason = REFUSED[kind]
    with pytest.raises(ValueError if "package" in ask.__code__.co_freevars else PredictionError) as caught:
        ask(make(path))
    assert reason.casefold() in str(caught.value).casefold()


def test_an_empty_text_in_a_list_is_not_everything_below_the_folder(
    model: Model, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    for given in ("", [""], [ModelInput("")]):
        with pytest.raises(PredictionError, match="names no file"):
            model.predict(given)


def test_an_open_file_has_the_name_of_its_file(model: Model, path: Path) -> None:
    with path.open("rb") as file:
        assert model.predict(file).source == str(path)  # type: ignore[union-attr]
        several = model.predict([file, file, path])
    assert len(several) == 3 and several[0].Score == several[2].Score  # type: ignore[arg-type,index]


def test_a_batch_of_tensors(model: Model, path: Path) -> None:
    one = torch.from_numpy(pixels_of(path).copy()).permute(2, 0, 1)
    several: Any = model.predict(torch.stack([one, one]))
    assert len(several) == 2 and several[1].Score == model.predict(path).Score  # type: ignore[union-attr]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_kind_is_upright(ask: Ask, tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 64, 3), dtype=np.uint8))
    image.save(tmp_path / "o.png", exif=exif)
    upright = ask(np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "o.png"))))
    for given in (tmp_path / "o.png", (tmp_path / "o.png").read_bytes(), Image.open(tmp_path / "o.png")):
        assert ask(given) == upright


def test_torch_is_not_imported(place: Path, model: Model, path: Path) -> None:
    code = "import sys, mb_jupyter; mb_jupyter.load(sys.argv[1]).predict(sys.argv[2]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, model.path, path], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# -- the model as a value --------------------------------------------------------------------------------


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("asked", [False, True])
def test_a_model_is_copied_and_pickled(model: Model, path: Path, twin: Callable[[Model], Model], asked: bool) -> None:
    original = load(model.path)
    if asked:
        original.predict(path)
    other = twin(original)
    assert other.classes == model.classes and other.predict(path).Score == model.predict(path).Score  # type: ignore[union-attr]
    assert "_session" not in other.__getstate__()


def test_scores_are_plain_numbers_the_highest_first(model: Model, path: Path) -> None:
    answer: Any = model.predict(path)
    scores = json.loads(json.dumps(answer.scores))
    assert sum(scores.values()) == pytest.approx(1, abs=1e-4)
    assert next(iter(scores)) == answer.Prediction == max(scores, key=scores.__getitem__)
