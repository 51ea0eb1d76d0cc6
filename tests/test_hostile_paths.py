"""Paths that no system can look at, through every door that takes one: an error of ours, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mb_jupyter
from mb_jupyter import Dataset, Workspace
from mb_jupyter.config import resolve
from mb_jupyter.errors import MBError
from mb_jupyter.experiment import look
from mb_jupyter.training import paths
from tests.finished_run import write_run
from tests.tiny_model import write_model

GREY = np.full((8, 8, 3), 127, np.uint8)


def config(path: str, **settings: str) -> object:
    return look(resolve({"data": path, **settings}).config)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path)
    write_run(tmp_path)
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "circle.csv").symlink_to("circle.csv")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "nowhere.csv").symlink_to("gone.csv")
    return tmp_path


READ: dict[str, Callable[[str], object]] = {
    "load": mb_jupyter.load,
    "predict": lambda path: mb_jupyter.load("bestModel.onnx").predict(path),
    "predict one of several": lambda path: mb_jupyter.load("bestModel.onnx").predict(GREY, [path]),
    "Dataset": Dataset,
    "a list": lambda path: Dataset(f"{path}.csv"),
    "data:": config,
    "labels:": lambda path: config("colours", labels=path),
    "weights:": lambda path: mb_jupyter.Experiment.local("x").start(
        resolve({"data": "colours", "weights": path}).config
    ),
    "-f": lambda path: resolve({}, "", path),
}
WRITTEN: dict[str, Callable[[str], object]] = {
    "predict_to": lambda path: mb_jupyter.load("bestModel.onnx").predict_to(f"{path}/x.csv", GREY),
    "export": lambda path: mb_jupyter.attach("hues").export(path),
    "workspace": lambda path: Workspace.local(path).new_run("x"),
}
LONG = {"one long name": "x" * 300, "one long path": "x/" * 3000 + "x"}


@pytest.mark.parametrize("path", LONG.values(), ids=LONG.keys())
@pytest.mark.parametrize("door", [*READ, *WRITTEN])
def test_a_path_that_is_too_long_is_said_to_be(here: Path, door: str, path: str) -> None:
    with pytest.raises(MBError, match=r"(?i)too long") as caught:
        {**READ, **WRITTEN}[door](path)
    assert caught.value.fix
    assert len(caught.value.cause) < 1000, "it is named by its begin"


@pytest.mark.parametrize(("path", "reason"), [("circle", "circle"), ("nowhere", "link to gone")])
@pytest.mark.parametrize("door", READ)
def test_a_link_that_leads_to_nothing_is_said_to_be_one(here: Path, door: str, path: str, reason: str) -> None:
    with pytest.raises(MBError, match=rf"\b{reason}|link.* {reason}") as caught:
        READ[door](path)
    assert "a link" in caught.value.cause


@pytest.mark.parametrize("path", ["a\0b", "~nobody/x", "\udc80"])
@pytest.mark.parametrize("door", READ)
def test_a_path_that_no_system_knows_is_an_error_of_ours(here: Path, door: str, path: str) -> None:
    with pytest.raises(MBError) as caught:
        READ[door](path)
    caught.value.why().encode()  # the notebook can save it


def test_a_table_takes_the_place_of_a_link_that_leads_to_nothing(here: Path) -> None:
    for name in ("circle.csv", "nowhere.csv"):
        mb_jupyter.load("bestModel.onnx").predict_to(name, GREY)
        assert Path(name).is_file() and not Path(name).is_symlink()


def test_on_windows_a_path_longer_than_it_takes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path.joinpath(*["x" * 50] * 5)
    assert paths.unreachable(long) == ""
    monkeypatch.setattr("platform.system", lambda: "Windows")
    assert paths.unreachable(tmp_path / "short") == ""
    assert "Windows takes 259" in paths.unreachable(long)
