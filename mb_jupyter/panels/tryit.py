"""Try it: a test image, a path or an upload, and its score bars at once."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import BAD, FONT, GOOD, TEXT, escape
from mb_jupyter.errors import PredictionError
from mb_jupyter.sources import is_single
from mb_jupyter.training.formats import SUFFIXES

from . import parts

if TYPE_CHECKING:
    from mb_jupyter.prediction import Prediction
    from mb_jupyter.report import Report
    from mb_jupyter.run import Run

    from .step import Step

OFFERED = 500  # test images of a class in the list


class TryIt:
    """Three ways to name a picture, and one place for its answer."""

    def __init__(self, step: Step, run: Run, report: Report) -> None:
        import ipywidgets as widgets

        self._step, self._run, self._report = step, run, report
        self._model: Any = None
        self._asked = 0
        counts = report.frame["Label"].value_counts()
        present = [name for name in report.classes if name in counts.index]
        self.true = parts.choice("True class", [(f"{name} ({counts[name]:,})", name) for name in present], None)
        self.held_out = parts.choice("Held-out picture", [], None)
        self.another = parts.button("Another picture", "A test image, drawn by lot", icon="random")
        self.path = parts.text("Path", step.state.picture, placeholder="a picture's path; press Enter")
        self.path.continuous_update = False
        self.upload = widgets.FileUpload(
            accept=",".join(SUFFIXES),
            multiple=False,
            description="Upload a picture",
            layout=widgets.Layout(width="auto"),
        )
        self.answer = parts.html(f'<div style="{FONT}">The answer stands here.</div>')
        step.observe(self.true, lambda _: self._list())
        step.observe(self.held_out, self._try_held_out)
        step.observe(self.path, self._try_path)
        step.observe(self.upload, self._try_upload)
        step.on(self.another, self._draw_lots)
        self._list()
        self.widget = parts.column(
            self.true, self.held_out, self.path, parts.row(self.another, self.upload), self.answer
        )

    def again(self) -> None:
        """Show the answer for the picture last tried, when there is one."""
        if self._step.state.picture:
            self._try_path(self._step.state.picture)

    def _list(self) -> None:
        sources = self._report.frame.loc[self._report.frame["Label"] == self.true.value, "ImageSource"]
        self.held_out.options = [("choose one", ""), *((s, s) for s in sources[:OFFERED])]

    def _draw_lots(self) -> None:
        row = self._report.frame.iloc[random.randrange(self._report.pictures)]  # noqa: S311 - no secret
        self.true.value = row["Label"]
        options = [value for _, value in self.held_out.options]
        if row["ImageSource"] in options:
            self.held_out.value = row["ImageSource"]
        else:
            self._try_held_out(row["ImageSource"])

    def _try_held_out(self, source: str) -> None:
        if source:
            true = self._report.frame.loc[self._report.frame["ImageSource"] == source, "Label"].iloc[0]
            path = str(self._report.path(source))
            self._ask(path, source, true)

    def _try_path(self, path: str) -> None:
        if path.strip():
            self._ask(path.strip(), path.strip())

    def _try_upload(self, files: Any) -> None:
        if files:
            self._ask(bytes(files[0].content), str(files[0].name))

    def _ask(self, source: str | bytes, name: str, true: str = "") -> None:
        self._asked += 1
        mine = self._asked
        if isinstance(source, str):
            self._step.state.picture = source

        def predict() -> Prediction:
            if not is_single(source):  # before a whole folder is scored
                raise PredictionError(f"{name} is not one picture.", "Use %mb_predict for a folder or a glob.")
            if self._model is None:
                self._model = self._run.model
            answer: Prediction = dataclasses.replace(self._model.predict(source), source=name)
            return answer

        def done(answer: Prediction) -> None:
            if mine == self._asked:  # else another picture was chosen in the meantime
                self.answer.value = answer._repr_mimebundle_()["text/html"] + verdict(answer.label, true)
                self._step.changed()

        says = "" if self._model is not None else "Opening the model"
        self._step.work(predict, done, says=says, failed=lambda _: setattr(self.answer, "value", ""))


def verdict(label: str, true: str) -> str:
    """Return whether the answer is right, where the truth is known."""
    if not true:
        return ""
    word = "Right" if label == true else "Wrong"
    colour = GOOD if label == true else BAD
    return (
        f'<div role="status" style="{FONT};margin:2px 0 0 15px;color:{TEXT[colour]}">{word}: '
        f"its true class is {escape(true)}.</div>"
    )
