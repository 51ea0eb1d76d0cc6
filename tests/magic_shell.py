"""A real IPython shell with the magics, as a test's own: no history, no trace of the user's profile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from mb_jupyter.errors import MBError


@contextmanager
def open_shell(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """Open the shell with its profile below ``folder``; close it at the end."""
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    monkeypatch.setattr(MBError, "latest", None)
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.run_line_magic("load_ext", "mb_jupyter")
    yield shell
    shell.run_line_magic("unload_ext", "mb_jupyter")
    InteractiveShell.clear_instance()


def run(shell: InteractiveShell, cell: str) -> str:
    """Run a cell that must succeed, and return what it shows."""
    with capture_output() as captured:
        result = shell.run_cell(cell, store_history=True)
    result.raise_error()
    return captured.stdout + "".join(output.data.get("text/plain", "") for output in captured.outputs)
