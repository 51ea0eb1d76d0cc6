"""Next steps that make no answer better, but more certain, quicker or cheaper."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import counted, elide, percent, thousandths

from .files import is_figure
from .intervals import images_for
from .statistics import at_thresholds, tendency
from .step import Order, Step

if TYPE_CHECKING:
    from .evaluation import Report

WIDE = 0.1  # of an interval that says little
IN_ALL_PARTS = 3  # groups that a class needs to be in training, validation and test
NAMED = 3


def _step(code: str, sentence: str) -> Step:
    return Step(code, 0, sentence, Order.SURER)


def _unsure(report: Report) -> Iterator[Step]:
    found = report.recommended_threshold()
    if found and not is_figure(report.config.get("unsure_below")):
        right = report.true == report.given
        row: Any = at_thresholds(report.confidence, right, report.groups, [found]).iloc[0]
        answered, wrong = int(row["Answered"]), int(row["Answered"] - row["Right"])
        if wrong == report.pictures - report.right:
            return  # it would leave out right answers only
        yield _step(
            "unsure_below",
            f"Where a wrong answer costs more than none, train with `unsure_below: {found}`: {answered:,} of "
            f"{counted(report.pictures, 'test image')} would be answered, {wrong:,} of them wrongly; now it is "
            f"{report.pictures - report.right:,} of {report.pictures:,}.",
        )


def _calibrated(report: Report) -> Iterator[Step]:
    most, leaning = report.ece_by_chance[1], tendency(report.confidence, report.true == report.given, report.groups)
    if not report.is_miscalibrated and not leaning:
        return
    counts = report.reproducibility.get("counts") or {}
    number = counts.get("validation") if report.record.get("best_phase") == "finetune" else None
    few = f": {counted(number, 'validation image')} set them, and more would set them better" if number else ""
    found = (
        f"ECE {thousandths(report.ece)}, by chance up to {thousandths(most)} on "
        f"{counted(report.pictures, 'test image')}"
        if report.is_miscalibrated
        else f"mean score {percent(float(report.confidence.mean()))}, right {percent(report.accuracy)} of "
        f"{counted(report.pictures, 'test image')}, too {'sure' if leaning > 0 else 'unsure'} for chance"
    )
    yield _step("scores_off", f"Take the scores with care ({found}){few}.")


def _absent(report: Report) -> Iterator[Step]:
    absent = [str(name) for name in report.per_class.index[report.per_class["Support"] == 0]]
    if not absent:
        return
    known = report.learned_from
    has = [
        f"{elide(name, 40)} ({counted(known[name].groups, 'group')})" if name in known else elide(name, 40)
        for name in absent[:NAMED]
    ]
    more = f" and {len(absent) - NAMED:,} more" if len(absent) > NAMED else ""
    enough = all(known[name].groups >= IN_ALL_PARTS if name in known else False for name in absent)
    yield _step(
        "class_not_tested",
        f"{'Hold out' if enough else 'Add'} images of {', '.join(has)}{more}: no test image shows "
        f"{'it' if len(absent) == 1 else 'them'}, so nothing is known of how often "
        f"{'it is' if len(absent) == 1 else 'they are'} found."
        + ("" if enough else f" A class needs at least {IN_ALL_PARTS} that are not copies of each other."),
    )


def _too_few(report: Report) -> Iterator[Step]:
    low, high = report.interval
    if high - low <= WIDE:
        return
    noun = "group" if report.grouped else "test image"
    has = report.group_count if report.grouped else report.pictures
    wanted = max(has + 1, round(images_for(report.accuracy, WIDE) / report.per_group))
    there = sum(one.groups for one in report.learned_from.values())
    # what is held out trains no longer: at most half of it is worth that
    spare = wanted - has <= there / 2
    what = "Hold out more images" if spare else "Add images"
    only = f"; there are only {there:,} more in all" if there and not spare else ""
    yield _step(
        "interval_wide",
        f"{what} to know more: {counted(has, noun)} {'leaves' if has == 1 else 'leave'} the accuracy between "
        f"{percent(low)} and {percent(high)}; about {wanted:,} would tell it to within {WIDE / 2 * 100:.0f} points"
        f"{only}.",
    )


def _smaller(report: Report) -> Iterator[Step]:
    name = report.record.get("recommended_variant")
    variants = {one.get("name"): one for one in report.record.get("variants") or [] if isinstance(one, dict)}
    full, small = variants.get("float32"), variants.get(name)
    if not full or not small or full is small or not all(is_figure(one.get("bytes")) for one in (full, small)):
        return
    yield _step(
        "smaller_variant",
        f"Where size or speed counts, use {small.get('file')}: {small['bytes'] / 1e6:.1f} MB instead of "
        f"{full['bytes'] / 1e6:.1f}, {small.get('right'):,} of {small.get('pictures'):,} right instead of "
        f"{full.get('right'):,}.",
    )


RULES = (_unsure, _calibrated, _absent, _too_few, _smaller)
