"""The model card: what the run's record and its report say, and nothing else."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import percent

if TYPE_CHECKING:
    from mb_jupyter.archive import Contents
    from mb_jupyter.report import Report
    from mb_jupyter.run import Run

MOST_CONFUSIONS = 10


def text(value: object) -> str:
    """Return a text as one line of Markdown that says just that, whatever is in it."""
    line = "".join(c if c.isprintable() else " " for c in str(value))
    escaped = re.sub(r"([\\`*_\[\]|~])", r"\\\1", line)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; every column but the first holds figures."""
    lines = ["| " + " | ".join(columns) + " |", "|---" + "|---:" * (len(columns) - 1) + "|"]
    lines += ["| " + " | ".join(text(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def write(run: Run, contents: Contents, report: Report | None) -> str:
    """Return the body of ``MODEL_CARD.md``."""
    told = _read(run.folder / "report.json")
    sections = [
        ("The model", _facts(_model_facts(run, contents))),
        ("How good it is", _quality(report)),
        ("Its probabilities", _facts(_calibration(told, contents))),
        ("What was exported", _facts(_files(told, contents))),
        ("How a picture is prepared", _facts(contents.card.get("preprocess", {}).items())),
        ("How it was made", _facts(_making(run, contents))),
        (
            "What is not known",
            "Nothing was measured on pictures of another kind than those it was trained and evaluated on. It answers "
            "with one of its classes for any picture, also for one that shows none of them.",
        ),
    ]
    return "\n\n".join(f"## {title}\n\n{body}" for title, body in sections if body)


def _facts(facts: Iterable[tuple[str, object]]) -> str:
    rows = [f"| {text(name)} | {text(value)} |" for name, value in facts if value not in ("", None)]
    return "\n".join(["| | |", "|---|---|", *rows]) if rows else ""


def _model_facts(run: Run, contents: Contents) -> Iterator[tuple[str, object]]:
    counts = contents.card.get("pictures") or run.record.get("counts") or {}
    yield "Classes", f"{len(contents.classes):,}: {', '.join(contents.classes)}"
    yield "Architecture", contents.card.get("architecture", "")
    yield "Takes", f"uint8 RGB pictures of {contents.size} x {contents.size} pixels"
    yield "Gives", "one probability for each class"
    yield "Run", run.handle
    yield "Begun", str(run.record.get("created", ""))[:16].replace("T", " ")
    yield "State", str(run.state)
    if {"train", "test"} <= set(counts):
        yield "Pictures", ", ".join(f"{counts[part]:,} {part}" for part in counts)
    if left_out := run.record.get("left_out"):
        yield "Left out", f"{left_out:,} files that could not be used"
    yield "Fingerprint of the pictures", run.record.get("fingerprint", "") or contents.card.get("fingerprint", "")


def _quality(report: Report | None) -> str:
    if report is None:
        return "It was not evaluated: the run had no predictions on held-out pictures when it was exported."
    low, high = report.interval
    said = (
        f"**{percent(report.accuracy)}** of {report.pictures:,} held-out pictures are right ({report.right:,}; 95 % "
        f"interval {percent(low)} to {percent(high)}). They took no part in the training."
    )
    columns = ("Class", "Held out", "Precision", "Recall", "F1")
    rows = [
        (name, f"{int(row['Support']):,}", *(_share(row[key]) for key in columns[2:]))
        for name, row in report.per_class.iterrows()
    ]
    parts = [said, table(columns, rows)]
    mixed = [
        f"- {pair.count:,} of {pair.support:,} pictures of {text(pair.true)} were taken for {text(pair.predicted)}"
        for pair in report.confusions[:MOST_CONFUSIONS]
    ]
    if mixed:
        parts += ["The most frequent confusions:", "\n".join(mixed)]
    return "\n\n".join(parts)


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _calibration(told: dict[str, Any], contents: Contents) -> Iterator[tuple[str, object]]:
    for key, name in (("ece_before", "Expected calibration error before"), ("ece_after", "... and after scaling")):
        if isinstance(told.get(key), float):
            yield name, f"{told[key]:.3f}"
    if isinstance(told.get("temperature"), float):
        yield "Temperature, inside the network", f"{told['temperature']:.3f}"
    below = contents.unsure_below
    yield "Threshold", f"an answer below {below} is called unsure" if below is not None else "none: it always answers"


def _files(told: dict[str, Any], contents: Contents) -> Iterator[tuple[str, object]]:
    yield "bestModel.onnx", f"{len(contents.onnx):,} bytes"
    yield "SHA-256", hashlib.sha256(contents.onnx).hexdigest()
    proof = told.get("verification")
    if isinstance(proof, dict) and proof.get("pictures"):
        yield (
            "Compared with the trained network",
            f"the same class for {proof['agreement']:.1%} of {proof['pictures']:,} held-out pictures; the largest "
            f"difference of a probability is {proof['largest_difference']:.1g}",
        )


def _making(run: Run, contents: Contents) -> Iterator[tuple[str, object]]:
    made = _read(run.folder / "reproducibility.json")
    settings = made.get("settings") or run.config
    for key in ("recipe", "epochs", "max_minutes", "seed"):
        yield key.replace("_", " ").capitalize(), settings.get(key)
    yield "Weights it began with (SHA-256)", made.get("weights_sha256")
    yield "Best", contents.card.get("metrics", {}).get("best_phase")
    hardware = made.get("hardware") or {}
    yield "Processor", hardware.get("processor")
    yield "GPUs", ", ".join(hardware.get("gpus") or [])
    versions = contents.card.get("versions") or {}
    yield "Versions", ", ".join(f"{name} {version}" for name, version in versions.items())


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
