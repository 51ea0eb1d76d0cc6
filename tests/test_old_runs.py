"""A run of version 0.1.0 stays readable: every command lists, shows, uses and repeats it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

import mb_jupyter
from tests.magic_shell import open_shell, run
from tests.standin import move_in

OLD = Path(__file__).parent / "data" / "run_0_1_0"
HANDLE = "local://hues/20261129-160512-5f63"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    move_in(tmp_path, monkeypatch)
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True, copy_function=shutil.copyfile)
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "kept"))
    with open_shell(tmp_path, monkeypatch) as shell:
        yield shell


def test_it_is_listed_with_its_state_and_its_figures(shell):
    said = run(shell, "%mb_runs")
    assert "20261129-160512-5f63" in said and "completed" in said and "100.0 %" in said
    assert "hues" in run(shell, "%mb_experiment")
    assert "completed" in run(shell, f"%mb_attach --no-wait {HANDLE}")
    assert "had already ended" in run(shell, f"%mb_stop {HANDLE}")
    old = mb_jupyter.attach(HANDLE)
    assert old.state.value == "completed" and len(old.metrics) == 1


def test_its_report_is_made_and_written(shell):
    said = run(shell, f"%mb_evaluate {HANDLE}")
    assert "6 of 6" in said and "100.0 %" in said
    report = mb_jupyter.attach(HANDLE).report
    assert report.classes == ("blue", "green", "red") and report.pictures == 6 and report.leaked == 0
    assert report.split is not None and len(report.split) == 30
    assert report.out_of_fold is not None and len(report.out_of_fold) == 24
    report.write()
    assert (mb_jupyter.attach(HANDLE).folder / "report.html").stat().st_size > 10_000


def test_its_model_answers(shell, tmp_path):
    assert "green" in run(shell, f"%mb_predict colours/green/00.png --run {HANDLE}").splitlines()[1]
    answers = mb_jupyter.attach(HANDLE).predict("colours")
    assert sum(answer.label in answer.source for answer in answers) > 20
    assert set(answers.seen) == {"train", "validation", "test"}
    assert "Written to scores.csv" in run(shell, f"%mb_predict colours --to scores.csv --run {HANDLE}")


def test_it_is_repeated_and_compared(shell):
    said = run(shell, f"%mb_rerun {HANDLE}")
    assert f"Repeats {HANDLE}" in said or HANDLE in said
    again = next(one for one in mb_jupyter.runs() if one.handle != HANDLE)
    said = run(shell, f"%mb_compare {HANDLE} {again.handle}")
    assert "6 test images" in said


def test_it_is_exported(shell, tmp_path):
    made = mb_jupyter.attach(HANDLE).export(tmp_path / "out", api=True)
    assert (made.model / "tests" / "recorded.json").is_file()
