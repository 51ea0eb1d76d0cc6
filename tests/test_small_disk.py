"""Disks with too little room, really mounted: each refusal says what is left and what is needed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mb_jupyter import Workspace, load, train
from mb_jupyter.errors import MBError, WorkspaceError
from tests.standin import move_in, write_pictures
from tests.tiny_model import write_model


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Return a function that mounts a disk of a size, as the place of the workspace."""
    move_in(tmp_path, monkeypatch)
    place = tmp_path / "kept"
    place.mkdir()

    def mount(size: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("this user cannot mount a disk")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("size", ["4k", "16k"])  # too small for the records, and for the program
def test_a_run_for_which_there_is_no_room_says_what_it_needs_and_leaves_nothing(
    small: Callable[[str], Path], size: str
) -> None:
    write_pictures(Path("trees"))
    place = small(size)
    with pytest.raises(WorkspaceError) as caught:
        train(data="trees")
    assert "MiB are left" in caught.value.fix and "a training needs up to 2 GiB" in caught.value.fix
    assert not [folder for folder in Workspace.local().runs() if (folder / "run.json").exists()]
    assert not list(place.rglob("*.part"))


def test_answers_for_which_there_is_no_room_leave_the_earlier_file_and_are_kept(small: Callable[[str], Path]) -> None:
    model = load(write_model(Path.cwd()))
    images = write_pictures(Path("trees"), ("birch",), 200)
    place = small("8k")
    (place / "a.csv").write_text("earlier")
    with pytest.raises(MBError, match="No space left") as caught:
        model.predict_to(place / "a.csv", images)
    assert (place / "a.csv").read_text() == "earlier"
    assert sorted(path.name for path in place.iterdir()) == ["a.csv", "a.csv.part"]
    assert f"kept in {place / 'a.csv.part'}" in caught.value.fix
