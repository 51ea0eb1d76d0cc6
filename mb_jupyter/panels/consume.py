"""Consume: the model as two projects, with their files and a few lines of code that run as they stand."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import Shown, card, escape, near

from . import parts
from .choosing import RunChoice
from .step import Step

if TYPE_CHECKING:
    from mb_jupyter.export import Export
    from mb_jupyter.run import Run

NOTHING = "No run has left a model yet. Train one: it can be exported soon after the frozen features."
FOLDER = "exported"


class Consume(Step):
    """A run's model, taken away."""

    name = "consume"
    title = "Consume"
    about = "The model as a Python package and a console program, which need onnxruntime, numpy and Pillow only."

    def __init__(self, state: Any) -> None:
        super().__init__(state)
        self.choice: RunChoice | None = None  # until build()
        self.run: Run | None = None
        self.export: Export | None = None

    def build(self) -> list[Any]:
        """Return the choice of the run, where the projects go, and what came of it."""
        self.to = parts.text("Folder", self.state.export or FOLDER, hint="The projects are written into this folder")
        self.called = parts.text("Name", placeholder="that of the experiment", hint="What the projects are called")
        self.api = parts.tick("A web service too", hint="A FastAPI service with its Dockerfile")
        self.start = self.on(parts.button("Export", "Write the projects", icon="download", style="primary"), self._ask)
        self.result = parts.html()
        self.choice = RunChoice(self, "model", self._show)
        for field in (self.to, self.called, self.api):
            self.observe(field, lambda value: self._changed())
        self.choice.refresh()
        return [self.choice.widget, self.to, self.called, self.api, parts.row(self.start), self.result]

    def refresh(self) -> None:
        """List the runs again."""
        if self.choice is not None:
            self.choice.refresh()

    def magic(self) -> str:
        """Return the cell that exports the same."""
        if self.run is None or self.choice is None:
            return ""
        words = ["%mb_export", self.run.handle, "--to", shlex.quote(self.to.value.strip() or FOLDER)]
        words += ["--name", shlex.quote(self.called.value.strip())] if self.called.value.strip() else []
        return " ".join([*words, *(["--with", "api"] if self.api.value else [])])

    def summary(self) -> Shown:
        """Return the files and how to use them, once there are some."""
        if self.export is not None:
            bundle = self.export._repr_mimebundle_()
            return Shown(bundle["text/plain"], bundle["text/html"])
        said = f"Exported to {near(Path(self.state.export))} before." if self.state.export else "Nothing exported yet."
        return Shown(f"{self.title}: {said}", card(self.title, f"<div>{escape(said)}</div>"))

    def _show(self, run: Run | None) -> None:
        if run is None or self.run is None or run.handle != self.run.handle:
            self.export = None
            self.result.value = "" if run else card(self.title, escape(NOTHING))
        self.run = run
        self._changed()

    def _changed(self) -> None:
        self.start.disabled = self.run is None or not self.to.value.strip()
        self.changed()

    def _ask(self) -> None:
        run, to, name, api = self.run, self.to.value.strip(), self.called.value.strip() or None, self.api.value
        assert run is not None  # the button is disabled without one
        self.start.disabled = True
        self.work(
            lambda: run.export(to, name=name, api=api), self._done, says="Writing the projects", failed=self._failed
        )

    def _done(self, export: Export) -> None:
        self.export = export
        self.state.export = str(export.root)
        self.result.value = export._repr_mimebundle_()["text/html"]
        self._changed()

    def _failed(self, error: Exception) -> None:
        self.start.disabled = False
