"""How a report looks: in words, in the notebook, and as one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mb_jupyter.display import FONT, Shown, card, escape, near, table, text_table

from . import facts, learningview, parts, sections, trust
from .files import rows_of
from .pictures import Album
from .sections import Section, Sheet, paragraphs

if TYPE_CHECKING:
    from .comparison import Comparison
    from .evaluation import Report

PICTURES = {False: 60, True: 220}  # thumbnails, in the notebook and on the page
STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1060px; margin: 0 auto; padding: 16px 20px 60px }
h1 { font-size: 22px; margin: 12px 0 } h2 { font-size: 17px; margin: 32px 0 4px } nav a { margin-right: 14px }
a { color: #3b7dd8 } summary { cursor: pointer } th { font-weight: 600 }
@media (prefers-color-scheme: dark) { body { background: #16181c; color: #e4e6eb } }
@media print { details > * { display: block } nav { display: none } }
"""


def shown(report: Report) -> Shown:
    """Return what stays in the notebook: the essential parts open, the others folded."""
    made, sheet = _made(report, whole=False)
    kept = _kept(report)
    origin = f"Run: {report.origin}" if report.origin else ""
    head = f"{report.summary}\n{origin}".rstrip()
    text = "\n\n".join([head, *(f"{one.title}\n{one.text}" for one in made), *([kept] if kept else [])])
    parts = [_folded(one) for one in made]
    return Shown(text, card(report.summary, paragraphs(origin) + "".join(parts) + _lost(sheet) + paragraphs(kept)))


def advice(report: Report) -> str:
    """Return, as HTML, what to do next: where the rest of the report is further down."""
    return _folded(_next(Sheet(report, Album(report, 0), whole=False)))


def _kept(report: Report) -> str:
    """Leave the files in the run's folder, and say where they are."""
    try:
        files = report.write()
    except OSError as error:
        return f"The report could not be kept in {near(report.folder or '')}: {error.strerror or error}."
    names = [path.name for path in files]
    return f"In {near(files[0].parent)}: {', '.join(names)}." if files else ""


def _folded(one: Section) -> str:
    gist = f' · <span style="opacity:.75">{escape(one.gist)}</span>' if one.gist else ""
    return (
        f'<details{" open" if one.is_open else ""} style="margin:5px 0"><summary style="cursor:pointer">'
        f"<b>{escape(one.title)}</b>{gist}</summary>{one.html}</details>"
    )


def document(report: Report) -> str:
    """Return the page: everything open, with its own style for light and dark."""
    made, sheet = _made(report, whole=True)
    links = "".join(f'<a href="#s{number}">{escape(one.title)}</a>' for number, one in enumerate(made, 2))
    body = "".join(f'<h2 id="s{n}">{escape(one.title)}</h2>{one.html}' for n, one in enumerate(made, 2))
    title = f"Report of {report.name}"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1><p><b>{escape(report.summary)}</b></p>"
        f"{paragraphs(f'Run: {report.origin}' if report.origin else '')}<nav>{links}</nav>"
        f'<main style="{FONT}">{body}{_lost(sheet)}</main></body></html>\n'
    )


def comparison(compared: Comparison) -> Shown:
    """Return what ``%mb_compare`` leaves in the notebook."""
    columns = ("Run", "Right of its own test images", "95 % interval")
    rows = [
        (r.Run, sections.of(r.Right, r.Pictures), sections.ends(r.AccuracyLow, r.AccuracyHigh))
        for r in rows_of(compared.frame)
    ]
    text, page = [compared.title, text_table(columns, rows)], [table(columns, rows)]
    for pair in compared.pairs:
        sheet = Sheet(pair.after, Album(pair.after, PICTURES[False] // len(compared.pairs)), whole=False)
        words, html = facts.compared(pair, sheet)
        text += [f"{pair.sentence}\n{words}"]
        page += [paragraphs(pair.sentence), html]
    return Shown("\n\n".join(text), card(compared.title, "".join(page)))


def _made(report: Report, *, whole: bool) -> tuple[list[Section], Sheet]:
    sheet = Sheet(report, Album(report, PICTURES[whole]), whole)
    return list(_sections(sheet)), sheet


def _sections(sheet: Sheet) -> Iterator[Section]:
    """Yield the parts in reading order."""
    yield sections.classes(sheet)
    yield from filter(None, [parts.slices(sheet)])
    yield sections.confusions(sheet)
    yield parts.curves(sheet)
    yield sections.curves(sheet)
    yield from filter(None, [learningview.learning(sheet)])
    yield sections.mistakes(sheet)
    yield trust.suspects(sheet)
    yield trust.calibration(sheet)
    yield trust.thresholds(sheet)
    yield trust.baselines(sheet)
    yield facts.previous(sheet)
    yield facts.speed(sheet)
    yield facts.repeat(sheet)
    yield _next(sheet)


def _next(sheet: Sheet) -> Section:
    steps = sheet.report.next_steps
    if not steps:
        return sections.said("Next steps", "Nothing in these figures asks for more.", is_open=True)
    items = "".join(f'<li style="margin:3px 0">{sections.prose(step)}</li>' for step in steps)
    text = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
    return Section("Next steps", text, f'<ol style="margin:2px 0">{items}</ol>', True)


def _lost(sheet: Sheet) -> str:
    number = len(sheet.album.missing)
    if number < 2:
        one = "1 image could not be opened where the run found it; its name stands instead."
        return paragraphs(one if number else "")
    return paragraphs(f"{number:,} images could not be opened where the run found them; their names stand instead.")
