"""A stand-in for the training program, and pictures and a kernel to use it with."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from PIL import Image

PROGRAM = Path(__file__).parent / "training"
USE = f"import pathlib, mb_jupyter.experiment; mb_jupyter.experiment.PROGRAM = pathlib.Path({str(PROGRAM)!r})"


def move_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder, with a workspace and a cache there, and train with the stand-in."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MB_WORKSPACE", str(folder / "kept"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr("mb_jupyter.experiment.PROGRAM", PROGRAM)


def write_pictures(folder: Path, classes: tuple[str, ...] = ("birch", "oak", "pine"), each: int = 10) -> Path:
    """Write noise into one folder for each class."""
    random = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            Image.fromarray(random.integers(0, 256, (24, 24, 3), np.uint8)).save(folder / name / f"{number}.png")
    return folder


class Cell:
    """A cell that was sent to a kernel: its outputs as a front end would keep them."""

    def __init__(self, client: BlockingKernelClient, code: str, allow_stdin: bool) -> None:
        self.client = client
        self.id = client.execute(code, allow_stdin=allow_stdin)
        self.outputs: list[dict[str, Any]] = []
        self.idle = False
        self.reply: dict[str, Any] | None = None

    def read(self, until: Callable[[Cell], object] | None = None, seconds: float = 120) -> Cell:
        """Take in messages until the cell has ended, or until something is true."""
        end = time.monotonic() + seconds
        while not (until(self) if until else self.idle):
            assert time.monotonic() < end and not (until and self.error), f"did not come; the cell shows:\n{self.text}"
            try:
                self._take(self.client.get_iopub_msg(timeout=0.2))
            except Empty:
                continue
        return self

    def _take(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        shown = content.get("transient", {}).get("display_id")
        if kind == "update_display_data":
            for output in self.outputs:
                if output["id"] == shown:
                    output["data"] = content["data"]
        elif message["parent_header"].get("msg_id") != self.id:
            return
        elif kind in ("display_data", "execute_result"):
            self.outputs.append({"id": shown, "data": content["data"]})
        elif kind == "stream":
            self.outputs.append({"id": None, "data": {"text/plain": content["text"]}})
        elif kind == "error":
            self.outputs.append(
                {"id": None, "error": content["ename"], "data": {"text/plain": "\n".join(content["traceback"])}}
            )
        elif kind == "status" and content["execution_state"] == "idle":
            self.idle = True

    @property
    def text(self) -> str:
        """All that the cell shows, as plain text."""
        return "\n".join(output["data"].get("text/plain", "") for output in self.outputs)

    @property
    def error(self) -> str:
        """The name of the error that failed it, or an empty text."""
        return next((output["error"] for output in self.outputs if "error" in output), "")
