"""The doctor on this machine, on one with a broken pair, and without the weights."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from mb_jupyter import installation


@pytest.fixture(scope="module")
def here() -> installation.Doctor:
    return installation.doctor()


def _check(report: installation.Doctor, name: str) -> installation.Check:
    return next(check for check in report.checks if check.name == name)


def test_this_machine_can_train(here: installation.Doctor) -> None:
    assert here.ok
    assert "match" in _check(here, "torch and torchvision").message
    assert _check(here, "Weights of efficientnet_lite0").state == "ok"
    assert _check(here, "Launcher tile").state == "ok"


def test_it_shows_itself_as_text_and_html(here: installation.Doctor) -> None:
    bundle = here._repr_mimebundle_()
    assert bundle["text/plain"].startswith("Ready to train")
    assert "<table" in bundle["text/html"]
    assert "<script" not in bundle["text/html"]


def _doctor_with(packages: Path, env: dict[str, str] | None = None) -> str:
    """Run the doctor in a process where ``packages`` comes before what is installed."""
    code = "import mb_jupyter; d = mb_jupyter.doctor(); print(d.ok); print(d._repr_mimebundle_()['text/plain'])"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(packages), **(env or {})},
    )  # fmt: skip
    return done.stdout


def _distribution(folder: Path, name: str, version: str, *requires: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {line}" for line in requires)]
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines]) + "\n")


def test_a_pair_that_does_not_match_names_the_exact_fix(tmp_path: Path) -> None:
    _distribution(tmp_path, "torch", "2.99.0")
    _distribution(tmp_path, "torchvision", "0.55.0", "numpy", "torch==2.98.1")
    (tmp_path / "torch.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    told = _doctor_with(tmp_path)
    assert told.startswith("False\n1 of ")
    assert "operator torchvision::nms does not exist" in told
    assert "pip install torch==2.98.1" in told


def test_builds_of_the_same_release_for_different_platforms(tmp_path: Path) -> None:
    _distribution(tmp_path, "torch", "2.99.0+cpu")
    _distribution(tmp_path, "torchvision", "0.55.0", "torch==2.99.0")
    (tmp_path / "torch.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    assert "pip install --force-reinstall --no-cache-dir torch torchvision" in _doctor_with(tmp_path)


def test_a_torch_that_kills_its_process_is_reported(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(
        textwrap.dedent("""
        import os, sys
        sys.stderr.write("illegal instruction\\n")
        sys.stderr.flush()
        os._exit(132)
    """)
    )
    told = _doctor_with(tmp_path)
    assert told.startswith("False")
    assert "illegal instruction" in told


def test_weights_in_the_cache_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    assert "Not on this machine" in _doctor_with(tmp_path, {"TORCH_HOME": str(tmp_path)})
    (folder / "resnet50-11ad3fa6.pth").write_bytes(b"x" * 2_000_000)
    assert "(2 MB)" in _doctor_with(tmp_path, {"TORCH_HOME": str(tmp_path)})


def test_a_folder_without_write_permission(
    tmp_path: Path, ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    with ordinary_user():
        assert _check(installation.doctor(tmp_path / "locked"), "Disk").state == "error"
