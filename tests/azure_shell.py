"""The fixture ``azure_shell``, a real IPython shell with the magics before the stand-in for Azure; what runs in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from mb_jupyter import cloud
from mb_jupyter.backends import azure as backend
from mb_jupyter.errors import MBError
from tests.magic_shell import open_shell


@pytest.fixture
def azure_shell(azure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "kept"))
    cloud.sign_out()
    with open_shell(tmp_path, monkeypatch) as shell:
        yield shell
        end_followers()
    cloud.sign_out()


def end_followers() -> None:
    """End the threads that follow runs: they would go on asking during the next test."""
    for follower in backend._followers.values():
        follower.asked = float("-inf")
        follower.cancel()
    for follower in backend._followers.values():
        follower.join(120)
        assert not follower.is_alive()
    backend._followers.clear()


def run(shell: InteractiveShell, cell: str) -> str:
    """Run a cell that must succeed; return what it shows as text."""
    with capture_output() as captured:
        result = shell.run_cell(cell)
    result.raise_error()
    return captured.stdout + "".join(output.data.get("text/plain", "") for output in captured.outputs)


def fails(shell: InteractiveShell, cell: str, said: str, kind: type[MBError] = MBError) -> Any:
    """Run a cell that must fail with one card of a few lines; return its error."""
    with capture_output() as captured, pytest.raises(kind, match=said) as caught:
        shell.run_cell(cell).raise_error()
    assert "Traceback" not in captured.stdout, "a failure is a card of a few lines"
    assert len(caught.value.lines()) <= 6
    return caught.value
