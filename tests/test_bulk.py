"""Answers for many images: kept over a stop and a crash, continued by the same call, written as CSV or Parquet."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mb_jupyter
from mb_jupyter import bulk
from mb_jupyter.errors import PredictionError
from mb_jupyter.model import Model
from mb_jupyter.training import formats
from mb_jupyter.training.cells import records
from tests.magic_shell import open_shell, run
from tests.tiny_model import write_model, write_zip

IMAGES = 40
KEPT = "answers so far are kept in"


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return mb_jupyter.load(write_zip(tmp_path / "MLModel.zip"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of small images of different colours, one of them broken."""
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(3)
    for number in range(IMAGES):
        colour = tuple(random.integers(0, 256, 3).tolist())
        Image.new("RGB", (8, 8), colour).save(tmp_path / "photos" / f"{number:03d}.png")
    (tmp_path / "photos" / "007.png").write_bytes(b"\x89PNG and no more")
    return tmp_path / "photos"


def stop_at(number: int) -> Callable[[int, int | None], None]:
    def progress(done: int, total: int | None) -> None:
        if done == number:
            raise KeyboardInterrupt

    return progress


def stopped(model: Model, out: Path, *sources: object, at: int = 25) -> KeyboardInterrupt:
    """Stop a call when so many images are answered."""
    out.unlink(missing_ok=True)
    with pytest.raises(KeyboardInterrupt) as caught:
        model.predict_to(out, *sources, progress=stop_at(at))
    assert not out.exists()
    return caught.value


def whole(model: Model, *sources: object) -> bytes:
    """Return the file of a call that nothing stopped."""
    out = model.path.parent / "whole.csv"
    model.predict_to(out, *sources)
    return out.read_bytes()


def test_the_same_call_continues_after_a_stop(model, photos, tmp_path):
    out = tmp_path / "scores.csv"
    part = tmp_path / "scores.csv.part"
    error = stopped(model, out, photos)
    assert part.exists() and any(KEPT in note and str(part) in note for note in error.__notes__)
    stopped(model, out, photos, at=30)
    told: list[str] = []
    seen: list[tuple[int, int | None]] = []
    written = model.predict_to(out, photos, notify=told.append, progress=lambda done, total: seen.append((done, total)))
    assert told == [written.kept] == ["30 answers kept from before."]
    assert seen == [(number, IMAGES) for number in range(1, IMAGES + 1)]
    assert (written.pictures, written.failed) == (IMAGES, 1)
    assert told[0] in written._repr_mimebundle_()["text/plain"] and told[0] in written._repr_mimebundle_()["text/html"]
    assert out.read_bytes() == whole(model, photos)
    assert not part.exists()
    assert model.predict_to(out, photos).kept == ""


def test_kept_answers_are_not_asked_for_again(model, photos, tmp_path):
    """The images that are answered already may be in the way of nothing: not even their content is read."""
    out = tmp_path / "scores.csv"
    expected = whole(model, photos)
    stopped(model, out, photos)
    facts = (photos / "003.png").stat()
    (photos / "003.png").write_bytes(bytes(facts.st_size))  # no image any more, and nothing tells so
    os.utime(photos / "003.png", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    model.predict_to(out, photos)
    assert out.read_bytes() == expected


CHILD = """
import itertools, sys, mb_jupyter
model = mb_jupyter.load(sys.argv[1])
def progress(done, total):
    if done == int(sys.argv[4]):
        print("here", flush=True)
        sys.stdin.read()
model.predict_to(sys.argv[2], itertools.islice(itertools.cycle([sys.argv[3]]), 3000), progress=progress)
"""


def test_a_killed_process_loses_two_seconds(model, photos, tmp_path):
    out, image = tmp_path / "scores.csv", photos / "001.png"
    arguments = [sys.executable, "-c", CHILD, str(model.path), str(out), str(image), "2500"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline().strip() == b"here"
        with pytest.raises(PredictionError, match="Another call is writing"):
            model.predict_to(out, image)
        child.kill()
    assert not out.exists()
    again = itertools.islice(itertools.cycle([str(image)]), 3000)
    written = model.predict_to(out, again)
    kept = int(written.kept.split()[0].replace(",", ""))
    assert 2000 < kept <= 2500, "what is in the memory of a process is a few thousand bytes"
    assert written.pictures == 3000 == len(pd.read_csv(out))


def test_another_model_starts_anew_and_says_so(model, photos, tmp_path):
    out = tmp_path / "scores.csv"
    stopped(model, out, photos)
    other = mb_jupyter.load(write_model(tmp_path, unsure_below="0.5"))
    written = other.predict_to(out, photos)
    assert written.kept == "What was kept from before is of another model and not used."
    assert out.read_bytes() == whole(other, photos)


@pytest.mark.parametrize("change", ["changed", "removed", "added", "others", "fewer"])
def test_other_images_are_answered_anew_from_the_first_that_differs(model, photos, tmp_path, change):
    out = tmp_path / "scores.csv"
    stopped(model, out, photos)
    source = photos
    if change == "changed":
        Image.new("RGB", (9, 9), "red").save(photos / "010.png")
    elif change == "removed":
        (photos / "010.png").unlink()
    elif change == "added":
        shutil.copy(photos / "001.png", photos / "0095.png")
    elif change == "others":
        source = photos.rename(tmp_path / "elsewhere")
    else:
        for path in sorted(photos.iterdir())[10:]:
            path.unlink()
    written = model.predict_to(out, source)
    if change == "others":
        assert written.kept == "What was kept from before is of other images and not used."
    else:
        assert written.kept.startswith("10 answers kept from before.")
        assert "of other images and not used" in written.kept
    assert out.read_bytes() == whole(model, source)


LINES = (
    b"", b"[]\n", b"{}\n", b"[" * 100_000 + b"\n", b'["a", "b", "c", "d", "e"]\n', b'["a", 5, "", "", null]\n',
    b"\x00" * 500, b'["a", "b", "AAAA", "", null]\n', b'["a"',
)  # fmt: skip


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_what_a_crash_has_torn_is_answered_anew(model, photos, tmp_path, line):
    out, part = tmp_path / "scores.csv", tmp_path / "scores.csv.part"
    stopped(model, out, photos)
    lines = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join([*lines[:11], line]))
    written = model.predict_to(out, photos)
    assert written.kept == "10 answers kept from before."
    assert out.read_bytes() == whole(model, photos)
    for first in (line, lines[0][:5]):
        part.write_bytes(first)
        model.predict_to(out, photos)
        assert out.read_bytes() == whole(model, photos)


def test_two_calls_never_write_one_file(model, photos, tmp_path):
    out = tmp_path / "scores.csv"
    refused: list[str] = []

    def progress(done: int, total: int | None) -> None:
        if done == 20:
            with pytest.raises(PredictionError, match="Another call is writing") as caught:
                model.predict_to(out, photos)
            refused.append(str(caught.value))

    assert model.predict_to(out, photos, progress=progress).kept == ""
    assert refused and out.read_bytes() == whole(model, photos)


def test_images_in_memory_are_known_by_their_content(model, photos, tmp_path):
    out = tmp_path / "scores.csv"
    arrays = [np.full((8, 8, 3), number * 6, np.uint8) for number in range(IMAGES)]
    for images in (arrays, [path.read_bytes() for path in sorted(photos.iterdir())]):
        stopped(model, out, iter(images))
        assert model.predict_to(out, iter(images)).kept == "25 answers kept from before."
        stopped(model, out, iter(images))
        assert "not used" in model.predict_to(out, images[::-1]).kept
    opened = [Image.fromarray(array) for array in arrays]  # not known again, and so answered anew
    stopped(model, out, opened)
    assert "not used" in model.predict_to(out, opened).kept


def test_a_stop_before_the_first_answer_leaves_nothing(model, photos, tmp_path):
    def images() -> Iterator[Path]:
        if photos.is_dir():
            raise KeyboardInterrupt
        yield photos

    with pytest.raises(KeyboardInterrupt):
        model.predict_to(tmp_path / "scores.csv", images())
    assert not list(tmp_path.glob("*.part"))


def test_a_full_disk_says_that_the_answers_are_kept(model, photos, tmp_path, monkeypatch):
    out = tmp_path / "scores.csv"
    (tmp_path / "taken.csv").mkdir()
    with pytest.raises(PredictionError, match="it is a folder"):
        model.predict_to(tmp_path / "taken.csv", photos)

    def progress(done: int, total: int | None) -> None:
        if done == IMAGES:
            out.mkdir()  # the table cannot take its place

    with pytest.raises(PredictionError, match=KEPT):
        model.predict_to(out, photos, progress=progress)
    out.rmdir()
    assert model.predict_to(out, photos).kept == f"{IMAGES} answers kept from before."


def test_the_command_continues_too(model, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stopped(model, Path("scores.csv"), "photos")
    with open_shell(tmp_path, monkeypatch) as shell:
        assert "25 answers kept from before." in run(shell, "%mb_predict photos --model MLModel.zip --to scores.csv")
    assert len(pd.read_csv("scores.csv")) == IMAGES


# -- kinds of tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scores.xlsx", "scores", "scores.csv.gz", ".csv", "scores.txt"])
def test_other_names_are_refused(model, photos, tmp_path, name):
    with pytest.raises(PredictionError, match=r"only these are written\. Call it \S+\.csv"):
        model.predict_to(tmp_path / name, photos)
    assert not list(tmp_path.glob("*.part"))


def test_without_pyarrow_the_command_to_install_it_is_given(model, photos, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        PredictionError, match=r'not installed\. %pip install "mb_jupyter\[parquet\]" Write scores\.csv'
    ):
        model.predict_to(tmp_path / "scores.parquet", photos)


def test_parquet_holds_what_csv_holds(model, photos, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(bulk, "CELLS", 3 * 9)  # several row groups
    careful = mb_jupyter.load(write_model(tmp_path, unsure_below="0.6"))
    for one in (model, careful):
        out = tmp_path / "scores.parquet"
        stopped(one, out, photos)
        written = one.predict_to(out, photos)
        assert (written.kept, written.pictures) == ("25 answers kept from before.", IMAGES)
        assert parquet.ParquetFile(out).num_row_groups == 5
        one.predict_to(tmp_path / "scores.csv", photos)
        table = parquet.read_table(out).to_pydict()
        with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
            rows = list(records(file))
        assert list(table) == list(rows[0])
        for name, column in table.items():
            if name.startswith("Score."):
                assert [None if row[name] == "" else np.float32(row[name]) for row in rows] == column
            else:
                assert [row[name] for row in rows] == [str(cell) for cell in column]


def test_hostile_names_are_neutral_in_csv_and_exact_in_parquet(tmp_path):
    classes = ("=cmd|' '!A0", "'=quoted", "+1;-2")
    model = mb_jupyter.load(write_zip(tmp_path / "m.zip", classes=classes))
    (tmp_path / "images").mkdir()
    for number, name in enumerate(("=1.png", "@a;=2.png", "\t-b.png", "'x.png")):
        Image.new("RGB", (9, 9), ("red", "lime", "blue", "red")[number]).save(tmp_path / "images" / name)
    images = [Path(name) for name in ("=1.png", "@a;=2.png", "\t-b.png", "'x.png")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "images")
        model.predict_to(tmp_path / "o.csv", images)
        answers: Any = model.predict(images)
        with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as file:
            cells = {cell for line in file for cell in line.strip().split(",")}
            file.seek(0)
            rows = list(records(file))
        assert not [cell for cell in cells if cell[:1] in {*"=+-@\t\r"}]
        assert [row["ImageSource"] for row in rows] == [str(path) for path in images]
        assert [row["Prediction"] for row in rows] == [one.label for one in answers]
        assert [name for name in rows[0] if name.startswith("Score.")] == [f"Score.{name}" for name in classes]
        parquet = pytest.importorskip("pyarrow.parquet")
        model.predict_to(tmp_path / "o.parquet", images)
        assert parquet.read_table(tmp_path / "o.parquet").to_pydict()["ImageSource"] == [str(path) for path in images]


# -- memory ------------------------------------------------------------------------------------------------


def peak(model: Model, out: Path, images: Iterator[str]) -> int:
    tracemalloc.start()
    try:
        model.predict_to(out, images)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_more_images_take_no_more_memory(model, photos, tmp_path):
    image = str(photos / "001.png")
    peak(model, tmp_path / "first.csv", iter([image]))
    few, many = (peak(model, tmp_path / f"{n}.csv", itertools.repeat(image, n)) for n in (200, 4000))
    assert many - few < 300_000, "4000 names alone would take as much"


def test_a_folder_is_listed_in_parts(tmp_path, monkeypatch):
    names = [f"{number}.png" for number in range(57)]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "30").mkdir()
    (tmp_path / "30" / "0.png").touch()
    expected = list(formats.below(tmp_path))
    for size in (1, 2, 19, 29, 58, 59):
        monkeypatch.setattr(formats, "MOST_NAMES", size)
        assert list(formats.below(tmp_path)) == expected
    assert [path.name for path, _ in expected] == [*sorted([*names, "30"])[:24], "0.png", *sorted([*names, "30"])[25:]]
