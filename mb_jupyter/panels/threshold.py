"""The threshold of the Evaluate step: what the model would answer if it said `unsure` below a score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mb_jupyter.display import FONT, escape, percent

from . import parts
from .tables import Column, SortedTable

if TYPE_CHECKING:
    from mb_jupyter.report import Report

    from .step import Step

TARGETS = (0.9, 0.95, 0.98, 0.99)
USUAL = 0.95


def share(value: float) -> str:
    """Return a share for a table."""
    return percent(value)


class Threshold:
    """A slider, what it means in a sentence, and precision and recall of every class at that score."""

    def __init__(self, step: Step, report: Report) -> None:
        import ipywidgets as widgets

        self._step, self._report = step, report
        self.slider = widgets.FloatSlider(
            value=0.0, min=0.0, max=1.0, step=0.01, readout=False, description="Threshold",
            style={"description_width": parts.LABEL}, layout=widgets.Layout(width="100%", max_width=parts.WIDTH),
        )  # fmt: skip
        # the slider's handle has no name for a screen reader; this field has one, and says the value
        self.field = parts.figure("Unsure below", 0.0, 0.0, 1.0, step=0.01)
        widgets.link((self.slider, "value"), (self.field, "value"))
        self.target = parts.choice("Wanted precision", [(f"{t:.0%}", t) for t in TARGETS], USUAL)
        self.advise = parts.button("Use the recommended threshold", "The lowest score that keeps the wanted precision")
        self.said = parts.html()
        self.table = SortedTable(
            (
                Column("Class", width="minmax(110px,2fr)", figures=False),
                Column("Pictures", "{:,}".format),
                Column("Answered", "{:,}".format),
                Column("Precision", share),
                Column("Recall", share),
            ),
            caption="Precision and recall of every class at this threshold",
            least="470px",
        )
        step.observe(self.slider, lambda _: self.renew())
        step.on(self.advise, self.recommend)
        self.widget = parts.column(
            self.slider, self.field, parts.row(self.target, self.advise), self.said, self.table.widget
        )
        self.renew()

    def recommend(self) -> None:
        """Move to the lowest threshold that reaches the wanted precision."""
        found = self._report.recommended_threshold(self.target.value)
        if found is None:
            self.said.value = self._line(f"No threshold reaches a precision of {self.target.value:.0%} here.")
        else:
            self.slider.value = found

    def renew(self) -> None:
        """Say what the threshold does to the test images."""
        value, report = float(self.slider.value), self._report
        frame = report.at(value)
        answered = int(frame["Answered"].sum())
        unsure = report.pictures - answered
        first = f"Every one of the {report.pictures:,} test images is answered."
        if unsure:
            first = f"{unsure:,} of {report.pictures:,} test images would be called unsure, {answered:,} answered."
        scores = report.frame[[f"Score.{name}" for name in report.classes]].to_numpy().max(axis=1)
        right = int((report.frame["Label"] == report.frame["Prediction"])[scores >= value].sum())
        second = f"Of the answers {right:,} are right ({percent(right / answered)})." if answered else ""
        self.said.value = self._line(f"{first} {second}") + self._how(value)
        columns = zip(
            frame.index, frame["Support"], frame["Answered"], frame["Precision"], frame["Recall"], strict=True
        )
        self.table.fill([(str(name), int(s), int(a), float(p), float(r)) for name, s, a, p, r in columns])

    def _line(self, text: str) -> str:
        return f'<div role="status" style="{FONT};margin:4px 0">{escape(text)}</div>'

    def _how(self, value: float) -> str:
        if not 0 < value < 1:  # no model takes these
            return ""
        exact = round(value, 15)  # with every digit that counts, without what a browser's arithmetic adds
        how = f"To train a model that says so itself, add the line  unsure_below: {exact}  to the training's cell."
        return f'<div style="{FONT};opacity:.75">{escape(how)}</div>'
