"""The parts of the split as samples: read from the run's ``split.csv``, or scanned and split now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import manifest, parallel, processes
from .data import Sample, check
from .errors import TrainingError
from .record import Recorder
from .settings import Settings


@dataclass(frozen=True)
class Parts:
    """The classes in score order, and the samples of the three parts."""

    classes: tuple[str, ...]
    train: list[Sample]
    validation: list[Sample]
    test: list[Sample]

    @property
    def counts(self) -> dict[str, int]:
        """How many pictures each part has."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}

    @property
    def contents(self) -> list[tuple[str, int, str, str]]:
        """What the training depends on, for the checkpoint's key: content, class, part and group, not file names."""
        named = (("train", self.train), ("validation", self.validation), ("test", self.test))
        return [(part, sample.label, sample.sha256, sample.group) for part, samples in named for sample in samples]


def find(settings: Settings, folder: Path, output: Path, recorder: Recorder) -> Parts:
    """Return the parts that ``split.csv`` in the output folder says; without one, scan, split and write it."""
    path = output / "split.csv"
    if processes.rank() == 0 and not path.exists():
        _make(path, settings, folder, recorder)
    rows = processes.tell(manifest.read_split(path) if processes.rank() == 0 else None)
    classes = tuple(sorted({row.label for row in rows}))
    parts = Parts(classes, *(_samples(rows, part, classes, folder, settings.fit) for part in manifest.SPLITS))
    if len(classes) < 2:
        raise TrainingError(
            "The split holds fewer than two classes.", "Give pictures of at least two classes, then start a new run."
        )
    missing = [name for number, name in enumerate(classes) if all(s.label != number for s in parts.train)]
    if missing:
        raise TrainingError(
            f"The class {missing[0]!r} has no picture in the training part of the split.",
            "Add pictures of it, or leave the class out, then start a new run.",
        )
    if processes.rank() == 0:  # they are decoded last of all: what is wrong with them is to be known now
        for done, _ in enumerate(parallel.in_order(check, parts.test), 1):
            recorder.progress(done)
    return parts


def _make(path: Path, settings: Settings, folder: Path, recorder: Recorder) -> None:
    recorder.message("Scanning the pictures.")
    scan = manifest.scan(
        folder,
        exclude=settings.exclude or (),
        labels=Path(settings.labels) if settings.labels else None,
        group_by=settings.group,
        progress=recorder.progress,
    )
    for finding in scan.findings:
        recorder.say(f"{finding.severity}: {finding.text}")
    pictures = manifest.split(
        scan.pictures,
        seed=settings.seed,
        validation_fraction=settings.validation_fraction,
        test_fraction=settings.test_fraction,
    )
    manifest.write_split(path, pictures)


def _samples(
    rows: Sequence[manifest.SplitRow], part: str, classes: tuple[str, ...], folder: Path, fit: str
) -> list[Sample]:
    number = {name: index for index, name in enumerate(classes)}
    return [
        Sample(row.path, folder / row.path, number[row.label], row.sha256, row.group, fit)
        for row in rows
        if row.split == part
    ]
