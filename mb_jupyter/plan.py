"""What a training would do (``--dry-run``): every value with its origin, the data, the split, the place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .backends import RunState
from .display import card, details, escape, near, table, text_table
from .naming import in_azure

if TYPE_CHECKING:
    from pathlib import Path

    from .cloud import Preflight
    from .config import Resolved
    from .dataset import Dataset
    from .run import Run

UNSET = {
    "weights": "those of the architecture", "max_minutes": "10 on a processor, no limit on a GPU",
    "batch_size": "chosen by the program", "learning_rate": "chosen by the program", "min_accuracy": "none",
    "processes": "1, in Azure one for each GPU", "unsure_below": "never unsure", "exclude": "nothing",
    "labels": "as the data have them", "max_cost": "no limit", "group": "the column Group, if there is one",
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What a training would do. ``dataset`` is None where the pictures are in Azure already."""

    folder: Path
    resolved: Resolved
    dataset: Dataset | None
    identical: Run | None
    preflight: Preflight | None = None

    @property
    def outlook(self) -> str:
        """What would happen, in a sentence."""
        if self.preflight is not None and not self.preflight.ok and self.identical is None:
            return "Nothing could be begun: the pre-flight below says why."
        if self.identical is None:
            return f"Would begin a new run in {near(self.folder)}."
        state = self.identical.state
        what = {
            RunState.FAILED: "it would go on from its checkpoint",
            RunState.STARTING: "it would be shown while it goes on",
            RunState.RUNNING: "it would be shown while it goes on",
        }.get(state, "its report would be shown")
        return f"The identical run {self.identical.handle} is {state.word}: {what}; --fresh would train anew."

    def _values(self) -> list[tuple[str, object, str]]:
        config, origins = self.resolved.config, self.resolved.origins
        values = [
            (key, UNSET[key] if value is None else value, origins[key])
            for key, value in config.shown().items()
            if key != "azure"
        ]
        there = in_azure(config.experiment)
        if config.backend == "azure" and not config.azure.experiment and there != config.experiment:
            values.append(("azure.experiment", there, "the experiment, in the letters that Azure takes"))
        return values + [
            (f"azure.{key}", value, origins.get(f"azure.{key}", ""))
            for key, value in config.shown().get("azure", {}).items()
        ]

    def _data(self) -> tuple[str, list[tuple[str, str]], list[tuple[str, str]]]:
        """Return a sentence about the data, the parts of the split and the findings."""
        config, dataset = self.resolved.config, self.dataset
        if dataset is None:
            return f"The pictures of {config.data} are in Azure; the node looks at them and splits them.", [], []
        parts = dataset.plan_split(config.seed, config.validation_fraction, config.test_fraction)
        split = [("held out" if part == "test" else part, f"{count:,}") for part, count in parts.items()]
        said = f"{sum(parts.values()):,} pictures in {len(dataset.classes)} classes under {near(dataset.root)}"
        return said, split, [(f.severity, f.text) for f in dataset.findings]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        title, said = f"Dry run of {self.resolved.config.experiment}", "Nothing was changed. " + self.outlook
        columns, values = ("Setting", "Value", "From"), self._values()
        data, split, findings = self._data()
        text = [title, said, "", text_table(columns, values), "", data]
        page = f"<div>{escape(said)}</div>{table(columns, values)}<div>{escape(data)}</div>"
        if split:
            text += [text_table(("Part", "Pictures"), split)]
            page += table(("Part", "Pictures"), split, right=[1])
        text += [f"{severity}: {message}" for severity, message in findings]
        if findings:
            page += details(f"{len(findings)} findings", table(("", "Finding"), findings), is_open=True)
        if self.preflight is not None:
            shown = self.preflight._repr_mimebundle_()
            text += ["", shown["text/plain"]]
            page += shown["text/html"]
        return {"text/plain": "\n".join(text), "text/html": card(title, page)}
