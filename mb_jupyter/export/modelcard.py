"""The model card: what the run's record and its report say, and nothing else."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mb_jupyter import when
from mb_jupyter.display import counted, largest_difference, percent, thousandths
from mb_jupyter.records import REPORT, REPRODUCIBILITY, read_fields

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
    told = read_fields(run.folder, REPORT)
    sections = [
        ("The model", _facts(_model_facts(run, contents))),
        ("How good it is", _quality(report)),
        ("Its probabilities", _facts(_calibration(told, contents, report))),
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
    counts = read_fields(run.folder, REPRODUCIBILITY).get("counts") or contents.card.get("pictures") or {}
    yield "Classes", f"{len(contents.classes):,}: {', '.join(contents.classes)}"
    yield "Architecture", contents.card.get("architecture", "")
    yield "Takes", f"uint8 RGB pictures of {contents.size} x {contents.size} pixels"
    yield "Gives", "one probability for each class"
    yield "Model", run.standing.origin.text
    yield "Run", run.handle
    yield "Begun", when.minute(run.record.get("created"))
    yield "State", run.state.word
    yield "Pictures", ", ".join(f"{counts[part]:,} {part}" for part in counts)
    if left_out := run.record.get("left_out"):
        yield "Left out", f"{left_out:,} files that could not be used"
    yield "Fingerprint of the pictures", run.record.get("fingerprint", "") or contents.card.get("fingerprint", "")


def _quality(report: Report | None) -> str:
    if report is None:
        return "It was not evaluated: the run had no predictions on test images when it was exported."
    (low, high), by_group = report.interval, " by group" if report.grouped else ""
    said = (
        f"**{percent(report.accuracy)}** of {counted(report.pictures, 'test image')} "
        f"{'is' if report.right == 1 else 'are'} right ({report.right:,}; 95 % interval{by_group} {percent(low)} to "
        f"{percent(high)}). They were not used for training."
    )
    columns = ("Class", "Held out", "Precision", "Recall", "F1")
    rows = [
        (name, f"{int(row['Support']):,}", *(_share(row[key]) for key in columns[2:]))
        for name, row in report.per_class.iterrows()
    ]
    parts = [said, *report.caveats, table(columns, rows)]
    mixed = [f"- {text(pair)}" for pair in report.confusions[:MOST_CONFUSIONS]]
    if mixed:
        parts += ["The most frequent confusions:", "\n".join(mixed)]
    return "\n\n".join(parts)


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _calibration(told: dict[str, Any], contents: Contents, report: Report | None) -> Iterator[tuple[str, object]]:
    if report is not None:
        over = f"over {counted(report.pictures, 'test image')}, by chance alone up to {report.ece_by_chance[1]:.3f}"
        yield "Expected calibration error (15 bins)", f"{thousandths(report.ece)} {over}"
        yield "Log loss", thousandths(report.log_loss)
        if report.ece_before is not None:
            yield "The two without the temperature", f"{report.ece_before:.3f}, {report.log_loss_before:.3f}"
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
            f"the same class for {percent(proof['agreement'])} of {counted(proof['pictures'], 'test image')}; "
            f"{largest_difference(proof['largest_difference'])}",
        )


def _making(run: Run, contents: Contents) -> Iterator[tuple[str, object]]:
    made = read_fields(run.folder, REPRODUCIBILITY)
    settings = made.get("settings") or run.config
    yield "Recipe", settings.get("recipe")
    if settings.get("recipe") != "features":
        yield "Epochs of fine-tuning, at most", settings.get("epochs")
        yield "Minutes, at most", settings.get("max_minutes")
    yield "Seed", settings.get("seed")
    yield "Weights it began with (SHA-256)", made.get("weights_sha256")
    yield "Best", contents.card.get("metrics", {}).get("best_phase")
    hardware = made.get("hardware") or {}
    yield "Processor", hardware.get("processor")
    yield "GPUs", ", ".join(hardware.get("gpus") or [])
    versions = contents.card.get("versions") or {}
    yield "Versions", ", ".join(f"{name} {version}" for name, version in versions.items())
