"""How a set of pictures shows itself: counts, thumbnails and split per class, and the findings."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .display import (
    BAD,
    FONT,
    GOOD,
    TEXT,
    WARN,
    Markup,
    bar,
    card,
    details,
    elide,
    escape,
    image,
    table,
    text_bar,
    text_table,
)
from .training.manifest import SPLITS, count, shown

if TYPE_CHECKING:
    from .training.manifest import Finding, Picture

COLUMNS = ("Train", "Validation", "Held out")
CLASSES_SHOWN = 30  # rows before the rest of the classes fold away
STRIPS_SHOWN = 30
STRIP_BYTES = 110_000  # of all thumbnails together; 150 kB as they stand in the notebook
THUMBNAILS = 6
THUMBNAIL = 64  # pixels as stored; shown smaller, so that they are sharp on fine screens
NAMES_SHOWN = 10
NAMES_KEPT = 500  # file names of one finding that go into the notebook; the object holds them all
WIDTH = 48  # of a name in a table
SPLIT_SENTENCE = (
    "The split is the one a training with seed 0 makes; copies and near copies stay in one part, "
    "and the held-out pictures are only used for the report."
)
_SEVERITIES = {"error": ("Errors", BAD), "warning": ("Warnings", WARN), "note": ("Notes", GOOD)}


def as_text(name: str, pictures: Sequence[Picture], findings: Sequence[Finding]) -> str:
    """Return the whole report as plain text."""
    counts = _counts(pictures)
    largest = max(sum(parts.values()) for parts in counts.values())
    shown_first = _largest(counts)
    rows = [
        (elide(shown(label), WIDTH), f"{n:,}", text_bar(n / largest), *(f"{parts[part]:,}" for part in SPLITS))
        for label, parts in shown_first
        for n in [sum(parts.values())]
    ]
    lines = [f"Data report of {shown(name)}", headline(pictures, findings), ""]
    lines += [text_table(("Class", "Pictures", "", *COLUMNS), rows, right=(1, 3, 4, 5))]
    if len(counts) > len(rows):
        lines += [f"... and {count(len(counts) - len(rows), 'smaller class', 'smaller classes')}"]
    lines += [SPLIT_SENTENCE]
    for severity, (title, _) in _SEVERITIES.items():
        those = [finding for finding in findings if finding.severity == severity]
        if those:
            lines += ["", f"{title} ({len(those)})"]
        for finding in those:
            lines += [f"- {finding.text}"]
            lines += [f"    {line}" for line in _names(finding)[:NAMES_SHOWN] if len(finding.files) > 3]
            if len(finding.files) > NAMES_SHOWN:
                lines += [f"    and {len(finding.files) - NAMES_SHOWN:,} more"]
    return "\n".join(lines)


def as_html(name: str, root: Path, pictures: Sequence[Picture], findings: Sequence[Finding]) -> str:
    """Return the report as HTML with thumbnails inside."""
    counts = _counts(pictures)
    strips = dict(_strips(root, pictures, [label for label, _ in _largest(counts)]))
    parts = [f"<div>{escape(headline(pictures, findings))}</div>"]
    parts += [_class_table(_largest(counts), counts, strips)]
    rest = sorted(set(counts) - {label for label, _ in _largest(counts)})
    if rest:
        folded = _class_table([(label, counts[label]) for label in rest], counts, {})
        parts += [details(count(len(rest), "smaller class", "smaller classes"), folded)]
    parts += [f'<div style="opacity:.75">{escape(SPLIT_SENTENCE)}</div>']
    parts += [_finding_list(severity, findings) for severity in _SEVERITIES]
    return card(f"Data report of {shown(name)}", "".join(parts))


def headline(pictures: Sequence[Picture], findings: Sequence[Finding]) -> str:
    """Return the data in a sentence or two: how many, which formats and sizes, what is left out."""
    formats = Counter(picture.format for picture in pictures).most_common()
    said = f"all {formats[0][0]}" if len(formats) == 1 else ", ".join(f"{n:,} {name}" for name, n in formats)
    small, large = (pick(pictures, key=lambda p: p.width * p.height) for pick in (min, max))
    sizes = f"{small.width} x {small.height}"
    if (small.width, small.height) != (large.width, large.height):
        sizes += f" to {large.width} x {large.height}"
    classes = len({picture.label for picture in pictures})
    # what is hidden was never meant as data
    out = len({name for f in findings if f.excluded and f.kind != "hidden" for name in f.files})
    unread = sum(len(f.files) for f in findings if f.kind == "unsupported")
    which = f" ({unread:,} in a format that cannot be read here)" if unread else ""
    left = f"{count(out, 'file is', 'files are')} left out{which}, named below." if out else "Nothing is left out."
    return f"{len(pictures):,} pictures in {classes:,} classes: {said}, {sizes} pixels. {left}"


def _counts(pictures: Sequence[Picture]) -> dict[str, Counter[str]]:
    """Return the pictures of every class, by name, and of every part."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for picture in pictures:
        counts[picture.label][picture.split] += 1
    return dict(sorted(counts.items()))


def _largest(counts: dict[str, Counter[str]]) -> list[tuple[str, Counter[str]]]:
    """Return the classes that are always shown: all by name or, of very many, the largest."""
    if len(counts) <= CLASSES_SHOWN:
        return list(counts.items())
    return sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))[:CLASSES_SHOWN]


def _class_table(
    rows: Sequence[tuple[str, Counter[str]]], counts: dict[str, Counter[str]], strips: dict[str, str]
) -> str:
    largest = max(parts.total() for parts in counts.values())
    columns = ["Class", *(["Some of them"] if strips else []), "Pictures", "", *COLUMNS]
    cells = []
    for label, parts in rows:
        name = Markup(f'<span title="{escape(shown(label))}">{escape(elide(shown(label), WIDTH))}</span>')
        strip = [Markup(strips.get(label, ""))] if strips else []
        figures = [f"{parts[part]:,}" for part in SPLITS]
        cells.append((name, *strip, f"{parts.total():,}", bar(parts.total() / largest, width=110), *figures))
    first = 2 if strips else 1
    return table(columns, cells, right=(first, first + 2, first + 3, first + 4), vertical="middle")


def _strips(root: Path, pictures: Sequence[Picture], labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield a strip of thumbnails for every class, while there is room in the notebook."""
    chosen: dict[str, list[Picture]] = defaultdict(list)
    for picture in sorted(pictures, key=lambda p: p.sha256):  # as good as drawn by lot, and always the same
        others = chosen[picture.label]
        if len(others) < THUMBNAILS and picture.group not in {other.group for other in others}:
            others.append(picture)
    used = 0
    for label in labels[:STRIPS_SHOWN]:
        jpeg, number = _strip(root, chosen[label])
        used += len(jpeg)
        if used > STRIP_BYTES:
            return
        alt = f"{count(number, 'picture')} of the class {shown(label)}"
        style = "display:block;border-radius:3px;max-width:none"
        yield label, image(jpeg, alt, width=number * THUMBNAIL * 5 // 8, style=style)


def _strip(root: Path, pictures: Sequence[Picture]) -> tuple[bytes, int]:
    """Return the pictures side by side as one JPEG, and how many could still be opened."""
    import numpy as np
    from PIL import Image

    from .training.errors import PictureError
    from .training.preprocess import load

    squares = []
    for picture in pictures:
        try:
            squares.append(load(root / picture.path, THUMBNAIL))
        except PictureError:  # gone since the scan
            continue
    strip = np.concatenate(squares or [np.full((THUMBNAIL, THUMBNAIL, 3), 128, np.uint8)], axis=1)
    file = io.BytesIO()
    Image.fromarray(strip).save(file, "JPEG", quality=72, optimize=True)
    return file.getvalue(), max(1, len(squares))


def _finding_list(severity: str, findings: Sequence[Finding]) -> str:
    those = [finding for finding in findings if finding.severity == severity]
    if not those:
        return ""
    title, colour = _SEVERITIES[severity]
    items = "".join(f'<li style="margin:3px 0">{escape(f.message)}{_lines(f)}{_file_list(f)}</li>' for f in those)
    return (
        f'<div style="{FONT};margin-top:8px;font-weight:600;color:{TEXT[colour]}">{title} ({len(those)})</div>'
        f'<ul style="margin:0;padding-left:20px">{items}</ul>'
    )


def _lines(finding: Finding) -> str:
    """Return the settings that a finding proposes, each on a line of its own that can be copied."""
    style = "font-family:monospace;font-size:12px;white-space:pre-wrap;overflow-wrap:anywhere;margin:3px 0"
    return "".join(f'<div style="{style}">{escape(line)}</div>' for line in finding.lines)


def _file_list(finding: Finding) -> str:
    """Return the names of a finding's files: ten, and the rest folded; the sentence has the first three."""
    names = _names(finding)
    if len(names) <= 3:
        return ""
    style = "font-family:monospace;font-size:12px;overflow-wrap:anywhere;opacity:.85"
    lines = [f"<div>{escape(name)}</div>" for name in names[:NAMES_KEPT]]
    if len(names) > NAMES_KEPT:
        lines.append(f"<div>and {len(names) - NAMES_KEPT:,} more, in the findings of the Dataset</div>")
    if finding.severity == "note":
        return details(f"All {len(names):,} names", f'<div style="{style}">{"".join(lines)}</div>')
    first = f'<div style="{style}">{"".join(lines[:NAMES_SHOWN])}</div>'
    more = "".join(lines[NAMES_SHOWN:])
    rest = f"{len(names) - NAMES_SHOWN:,} more"
    return first + (details(rest, f'<div style="{style}">{more}</div>') if more else "")


def _names(finding: Finding) -> list[str]:
    reasons = finding.reasons or ("",) * len(finding.files)
    return [
        shown(name) + (f": {shown(reason)}" if reason else "")
        for name, reason in zip(finding.files, reasons, strict=True)
    ]
