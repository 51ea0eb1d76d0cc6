"""The parts of the report about the run: beside the one before it, speed and size, how to repeat it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mb_jupyter.display import counted, details, elide, largest_difference, percent, table, text_table

from . import choices
from .comparison import Pair
from .files import is_figure, is_table, rows_of
from .sections import Section, Sheet, ends, of, paragraphs, said

if TYPE_CHECKING:
    from .evaluation import Report

FLIPS = {False: 8, True: 16}  # in the notebook, on the page
CHANGES = 12
MAIN = ("python", "torch", "onnxruntime")  # of the versions


def previous(sheet: Sheet) -> Section:
    """Return this run beside the one before it in its experiment."""
    title, before = "Compared with the previous run", sheet.report.previous
    if before is None:
        return said(title, "There is no earlier run of this experiment with an evaluation.")
    pair = Pair(before, sheet.report, ("the previous run", "this run"))
    sentence = f"The previous run is {before.name}. {pair.sentence[0].upper()}{pair.sentence[1:]}"
    text, page = compared(pair, sheet)
    return Section(title, f"{sentence}\n{text}", paragraphs(sentence) + page, gist=pair.outcome)


def compared(pair: Pair, sheet: Sheet) -> tuple[str, str]:
    """Return what changed and which images flipped, in words and as HTML."""
    columns = ("What changed", "Before", "After")
    rows = [tuple(elide(str(cell), 60) for cell in row) for row in pair.changes.itertuples(index=False)]
    text, page = "Nothing changed in configuration, data or versions.", ""
    if rows:
        text, page = text_table(columns, rows[:CHANGES]), table(columns, rows[:CHANGES])
        page += paragraphs(f"and {len(rows) - CHANGES:,} more: .changes" if len(rows) > CHANGES else "")
    else:
        page = paragraphs(text)
    flips = pair.flips
    if not flips.empty:
        strip = sheet.album.strip(
            [(r.ImageSource, f"{r.Label}: {r.Before} → {r.After}") for r in rows_of(flips)], FLIPS[sheet.whole]
        )
        names = [f"  {elide(r.ImageSource, 60)}: {r.Label}, {r.Before} → {r.After}" for r in rows_of(flips.head(8))]
        rest = [f"  and {len(flips) - 8:,} more"] if len(flips) > 8 else []
        title = f"{counted(len(flips), 'image is', 'images are')} right in only one of the two"
        text += "\n" + "\n".join([f"{title} (true class, before → after):", *names, *rest])
        page += details(f"{title} (true class: before → after)", strip, is_open=sheet.whole)
    return text, page


# -- the model -------------------------------------------------------------------------------------------


def speed(sheet: Sheet) -> Section:
    """Return size, speed and accuracy of the model's variants, and the proof of the export."""
    report = sheet.report
    variants = [one for one in report.record.get("variants") or [] if isinstance(one, dict)]
    proof = export_proof(report)
    if not variants:
        why = choices.variant(report.record)
        return said("Speed and size", "The run's report.json has no variants, so nothing was measured.", why, proof)
    columns = ("Variant", "Size", "Right", "95 % interval", "First answer", "Each image", "Same class")
    rows = [_variant(report, one) for one in variants if not one.get("reason")]
    where = f" ({report.record['measured_on']})" if report.record.get("measured_on") else ""
    sentences = [
        f"Measured where the model was trained{where}, from decoded images. First answer: with loading the model. "
        "Each image: the median, one at a time. Same class: as the float32 model's answer.",
        *(f"{one.get('name')} is missing: {one['reason']}" for one in variants if one.get("reason")),
        _recommended(report, variants),
        proof,
    ]
    figures = table(columns, rows, right=(1, 4, 5, 6))
    text = "\n".join([text_table(columns, rows, right=(1, 4, 5, 6)), *filter(None, sentences)])
    gist = f"{rows[0][1]}, {rows[0][5]} an image" if rows else ""
    return Section("Speed and size", text, figures + paragraphs(*sentences), gist=gist)


def _variant(report: Report, one: dict[str, Any]) -> tuple[str, ...]:
    right, number = one.get("right"), one.get("pictures")
    counts = (int(right), int(number)) if is_figure(right) and is_figure(number) and number else None
    agreement = one.get("agreement")
    return (
        f"{one.get('name')} ({one.get('file')})",
        f"{one['bytes'] / 1e6:.1f} MB" if is_figure(one.get("bytes")) else "–",
        of(*counts) if counts else "–",
        ends(*report.about(*counts)) if counts else "–",
        f"{one['ms_first']:.1f} ms" if is_figure(one.get("ms_first")) else "–",
        f"{one['ms_per_picture']:.1f} ms" if is_figure(one.get("ms_per_picture")) else "–",
        percent(agreement) if is_figure(agreement) else "–",
    )


def _recommended(report: Report, variants: list[dict[str, Any]]) -> str:
    name = report.record.get("recommended_variant")
    chosen = next((one for one in variants if one.get("name") == name), None)
    if chosen is None:
        return ""
    why = choices.variant(report.record)
    return f"Recommended: {name} ({chosen.get('file')}). {why}".rstrip()


def export_proof(report: Report) -> str:
    """Return the comparison of the exported model with the trained network."""
    proof = report.record.get("verification")
    proof = proof if isinstance(proof, dict) else report.record
    agreement: Any = proof.get("agreement")
    difference: Any = proof.get("largest_difference")
    if not (is_figure(agreement) and is_figure(difference)):
        return ""
    return (
        f"Export: bestModel.onnx and the trained network give the same class for {percent(agreement)} of "
        f"{proof.get('pictures', report.pictures):,} test images; {largest_difference(difference)}."
    )


# -- how to repeat it ------------------------------------------------------------------------------------


def repeat(sheet: Sheet) -> Section:
    """Return what is needed to make the run again."""
    title, report = "Reproduce this run", sheet.report
    record = report.reproducibility
    if not record:
        return said(title, "The run has no reproducibility.json, so what made it is not recorded.")
    rows = [(name, elide(value, 100)) for name, value in _facts(report, record) if value]
    notes = [str(note) for note in record.get("notes") or []]
    again = f"%mb_rerun {report.run['handle']} repeats the run and reports differences." if report.run else ""
    if is_table(report.config.get("data")):
        again = "The run was trained from a DataFrame, which is not kept: only a run from a CSV file can be repeated."
    text = "\n".join([text_table(("", ""), rows).strip("\n"), *notes, again]).strip()
    versions = record.get("versions") or {}
    page = table(("What", "Value"), rows)
    page += (
        details(counted(len(versions), "version"), table(("Package", "Version"), versions.items())) if versions else ""
    )
    return Section(title, text, page + paragraphs(*notes, again))


def _facts(report: Report, record: dict[str, Any]) -> list[tuple[str, str]]:
    counts = record.get("counts") or {}
    machine = record.get("hardware") or {}
    versions = record.get("versions") or {}
    return [
        ("Run", str(report.run.get("handle") or "")),
        ("Made by", _made_by(report)),
        ("Seed", str(record.get("seed", ""))),
        ("Network", str(record.get("architecture") or "")),
        ("Weights (SHA-256)", str(record.get("weights_sha256") or "")),
        ("Images", ", ".join(f"{name} {number:,}" for name, number in counts.items())),
        ("Data fingerprint", str(record.get("fingerprint") or "")),
        ("Split", "split.csv: every image with its part, hash and group" if report.has_hashes else ""),
        ("Machine", ", ".join(str(machine[key]) for key in ("processor", "system") if machine.get(key))),
        ("GPU", ", ".join(map(str, machine.get("gpus") or []))),
        (
            "Versions",
            ", ".join(f"{name} {versions[name]}" for name in MAIN if name in versions),
        ),
    ]


def _made_by(report: Report) -> str:
    version, program = report.run.get("mb_jupyter"), report.run.get("program")
    return f"mb_jupyter {version}, training program {program}" if version and program else ""
