"""What to do next, ranked by what it may gain: rules that follow from the figures, each with its count.

A gain is a share of the held-out pictures, and at the most: what a step really brings is known after it. Steps
that make no answer better, but more certain, quicker or cheaper, come last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from mb_jupyter.display import elide, percent

from .files import is_figure
from .statistics import calibration_error_by_chance, paired

if TYPE_CHECKING:
    from .evaluation import Report

MOST = 7  # steps
SURE = 0.9  # the score from which a mistake makes one look at the label
WIDE = 0.1  # of an interval that says little
AIM = 0.05  # half the width that is good enough
APART = 0.1  # accuracy on training pictures above that on validation pictures
UNTRIED = 0.3  # share of the mistakes that a step may mend of which nothing is known before it is tried
Z2 = 1.959964**2


class Step(NamedTuple):
    """One thing to do and what share of the pictures it may put right."""

    gain: float
    sentence: str


def next_steps(report: Report) -> list[str]:
    """Return sentences, the largest expected gain first."""
    rules = (_beats_nothing, _confused, _labels, _sure_mistakes, _small_classes, _training, _overfitted, _unsure,
             _calibrated, _absent, _too_few, _smaller)  # fmt: skip
    steps = sorted((step for rule in rules for step in rule(report)), key=lambda step: -step.gain)
    return [step.sentence for step in steps[:MOST]]


def _at_most(report: Report, count: int) -> str:
    return f"At most {count:,} of {report.pictures:,} more would be right ({100 * count / report.pictures:.1f} points)."


def _beats_nothing(report: Report) -> Iterator[Step]:
    name, hits = report.majority
    right = report.true == report.given
    test = paired((report.frame["Label"] == name).to_numpy(), right)
    if not (test.differ and test.second_only > test.first_only) and report.pictures >= 20:
        yield Step(
            1.0,
            f"First look at the data: {report.right:,} of {report.pictures:,} right cannot be told from always "
            f"answering {elide(name, 40)} ({hits:,} right). See %mb_data, and whether the labels fit the pictures.",
        )


def _confused(report: Report) -> Iterator[Step]:
    mixed: dict[tuple[str, ...], int] = {}
    for one in report.confusions:
        pair = tuple(sorted((one.true, one.predicted)))
        mixed[pair] = mixed.get(pair, 0) + one.count
    for (first, second), count in sorted(mixed.items(), key=lambda item: -item[1])[:2]:
        if count >= 2:
            a, b = elide(first, 40), elide(second, 40)
            yield Step(
                count / report.pictures,
                f"Give more pictures that show what parts {a} and {b}, or join the two if it does not matter: "
                f"{count:,} of all {report.pictures - report.right:,} mistakes take one for the other. "
                f"{_at_most(report, count)}",
            )


def _labels(report: Report) -> Iterator[Step]:
    looked, count = report.out_of_fold, len(report.suspects)
    if looked is not None and count:
        labels, look = ("label", "looks") if count == 1 else ("labels", "look")
        yield Step(
            count / len(looked),
            f"Review {count:,} {labels} of {len(looked):,} ({percent(count / len(looked))}) that {look} wrong: "
            "labels.patch.csv in the run's folder lists them, and `labels: labels.patch.csv` trains with what was "
            "corrected in it.",
        )


def _sure_mistakes(report: Report) -> Iterator[Step]:
    count = int((report.mistakes["Score"] >= SURE).sum())
    if count:
        yield Step(
            count / report.pictures / 2,
            f"Look at the {count:,} of {len(report.mistakes):,} mistakes with a score of {SURE:g} and more "
            "(report.mistakes): either the label is wrong, or pictures like these are missing from the training. "
            f"{_at_most(report, count)}",
        )


def _small_classes(report: Report) -> Iterator[Step]:
    if report.split is None:
        return
    counts = report.split["Label"][report.split["Split"] == "train"].value_counts()
    median = counts.median() if len(counts) else 0
    for name, row in report.per_class.iterrows():
        has, missed = int(counts.get(str(name), 0)), int(row["Support"] - row["Right"])
        if has <= median / 2 and missed and row["Recall"] < report.accuracy:
            yield Step(
                missed / report.pictures,
                f"Add pictures of {elide(str(name), 40)}: it has {has:,} to train, a class in the middle has "
                f"{median:g}, and {missed:,} of its {int(row['Support']):,} held-out ones are missed. "
                f"{_at_most(report, missed)}",
            )


def _training(report: Report) -> Iterator[Step]:
    wrong = report.pictures - report.right
    tuned = [record for record in report.epochs if record.get("phase") == "finetune"]
    if not wrong or not report.epochs:
        return
    gain = UNTRIED * wrong / report.pictures
    if not tuned and report.config.get("recipe") == "features":
        yield Step(
            gain,
            f"Train with `recipe: auto`: so far only the head was trained, and {wrong:,} of {report.pictures:,} are "
            "wrong. What fine-tuning gains is known only when it was tried.",
        )
    elif tuned and tuned[-1].get("best") is True:
        yield Step(
            gain,
            f"Train longer: the last epoch ({tuned[-1].get('epoch')}) was still the best. Raise max_minutes or epochs; "
            f"{wrong:,} of {report.pictures:,} are wrong now.",
        )
    elif tuned and report.record.get("best_phase") == "features":
        yield Step(
            0.0,
            f"Save the time of fine-tuning (`recipe: features`), or give it more: none of its {len(tuned):,} epochs "
            "was better than the frozen features.",
        )


def _overfitted(report: Report) -> Iterator[Step]:
    best = [record for record in report.epochs if record.get("best") is True and record.get("phase") == "finetune"]
    counts = report.reproducibility.get("counts") or {}
    if not best or not counts:
        return
    known, new = (best[-1].get(f"{part}_accuracy") for part in ("train", "validation"))
    if is_figure(known) and is_figure(new) and known - new > APART:
        wrong = (report.pictures - report.right) / report.pictures
        yield Step(
            min(known - new, wrong) / 2,
            f"Give more and more varied pictures: {percent(known)} of {counts.get('train', 0):,} training pictures are "
            f"right, of {counts.get('validation', 0):,} validation pictures {percent(new)}, so the model knows its "
            "pictures by heart.",
        )


# -- what makes no answer better -------------------------------------------------------------------------


def _unsure(report: Report) -> Iterator[Step]:
    from .statistics import at_thresholds

    found = report.recommended_threshold()
    if found and not is_figure(report.config.get("unsure_below")):
        row: Any = at_thresholds(report.confidence, report.true == report.given, [found]).iloc[0]
        answered, wrong = int(row["Answered"]), int(row["Answered"] - row["Right"])
        yield Step(
            1e-3,
            f"Where a wrong answer costs more than none, train with `unsure_below: {found:g}`: {answered:,} of "
            f"{report.pictures:,} pictures are answered then, {wrong:,} of them wrongly instead of "
            f"{report.pictures - report.right:,} of {report.pictures:,}.",
        )


def _calibrated(report: Report) -> Iterator[Step]:
    _, most = calibration_error_by_chance(report.confidence)
    counts = report.reproducibility.get("counts") or {}
    if report.ece > most and counts.get("validation"):
        yield Step(
            1e-4,
            f"Take the scores with care (ECE {report.ece:.3f}, by chance up to {most:.3f} on {report.pictures:,} "
            f"pictures): they were set on {counts['validation']:,} validation pictures; a larger validation_fraction "
            "sets them better.",
        )


def _absent(report: Report) -> Iterator[Step]:
    absent = int((report.per_class["Support"] == 0).sum())
    if absent:
        classes = "1 class" if absent == 1 else f"{absent:,} classes"
        yield Step(1e-3, f"Give pictures to {classes} of {len(report.classes):,} without a held-out one: nothing is "
                         "known of how often they are found.")  # fmt: skip


def _too_few(report: Report) -> Iterator[Step]:
    low, high = report.interval
    if high - low <= WIDE:
        return
    share = min(max(report.accuracy, 0.5), 0.95)  # of all right too: what is unknown may be wrong
    enough = Z2 * share * (1 - share) / AIM**2
    yield Step(
        1e-5,
        f"To know more: {report.pictures:,} held-out pictures leave the accuracy between {percent(low)} and "
        f"{percent(high)}; about {round(enough, -1):,.0f} would know it to {AIM * 100:.0f} points either way.",
    )


def _smaller(report: Report) -> Iterator[Step]:
    name = report.record.get("recommended_variant")
    variants = {one.get("name"): one for one in report.record.get("variants") or [] if isinstance(one, dict)}
    full, small = variants.get("float32"), variants.get(name)
    if not full or not small or full is small or not all(is_figure(one.get("bytes")) for one in (full, small)):
        return
    yield Step(
        0.0,
        f"Where size counts, use {small.get('file')}: {small['bytes'] / 1e6:.1f} MB instead of "
        f"{full['bytes'] / 1e6:.1f}, {small.get('right'):,} of {small.get('pictures'):,} right instead of "
        f"{full.get('right'):,}.",
    )
