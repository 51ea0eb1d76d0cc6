"""What to do next, ranked by what it may gain: rules that follow from the figures, each with its count.

A gain is a share of the test images, and at the most: what a step really brings is known after it. Steps
that make no answer better, but more certain, quicker or cheaper, come last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from mb_jupyter.display import counted, elide, near, percent

from .files import PATCH, is_figure
from .intervals import images_for
from .paired import paired
from .statistics import tendency

if TYPE_CHECKING:
    from .evaluation import Report

MOST = 7  # steps
SURE = 0.9  # the score from which a mistake makes one look at the label
WIDE = 0.1  # of an interval that says little
APART = 0.1  # accuracy on training images above that on validation images
UNTRIED = 0.3  # of the mistakes, reckoned for a step of which nothing is known before it has been tried


class Step(NamedTuple):
    """One thing to do and what share of the images it may put right."""

    gain: float
    sentence: str


def next_steps(report: Report) -> list[str]:
    """Return sentences, the largest expected gain first."""
    rules = (_leaking, _beats_nothing, _confused, _labels, _sure_mistakes, _small_classes, _training, _overfitted,
             _unsure, _calibrated, _absent, _too_few, _smaller)  # fmt: skip
    steps = sorted((step for rule in rules for step in rule(report)), key=lambda step: -step.gain)
    return [step.sentence for step in steps[:MOST]]


def _at_most(report: Report, count: int) -> str:
    points = f"{100 * count / report.pictures:.1f} points"
    return f"At most {count:,} more of {counted(report.pictures, 'image')} would be right ({points})."


def _leaking(report: Report) -> Iterator[Step]:
    if report.leaked:
        yield Step(
            1.0,
            f"First mend the split: {report.leaked:,} of {counted(report.pictures, 'test image')} "
            f"{'has a copy or near copy' if report.leaked == 1 else 'have copies or near copies'} in the training or "
            "validation part (the column Group of split.csv), so these figures flatter the model.",
        )


def _beats_nothing(report: Report) -> Iterator[Step]:
    name, hits = report.majority
    right = report.true == report.given
    test = paired((report.frame["Label"] == name).to_numpy(), right, report.groups)
    if (test.differ and test.second_only > test.first_only) or report.pictures < 20:
        return
    others = report.pictures - hits
    if test.too_few and report.right > hits and test.second_only >= others / 2:
        yield Step(
            1e-4,
            f"Hold out more images of the other classes than {elide(name, 40)}: the model has "
            f"{test.second_only:,} of their {others:,} right, too few for any test to tell it from always answering "
            f"{elide(name, 40)}.",
        )
        return
    yield Step(
        1.0,
        f"First look at the data: {report.right:,} of {report.pictures:,} right cannot be told from always "
        f"answering {elide(name, 40)} ({hits:,} right). See %mb_data, and whether the labels fit the images.",
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
                f"Give more images that show what tells {a} and {b} apart, or join the two classes if the difference "
                f"does not matter: {count:,} of the {counted(report.pictures - report.right, 'mistake')} take one for "
                f"the other. "
                f"{_at_most(report, count)}",
            )


def _labels(report: Report) -> Iterator[Step]:
    looked, count = report.out_of_fold, len(report.suspects)
    if looked is not None and count:
        patch = near(report.folder / PATCH) if report.folder else PATCH
        yield Step(
            count / len(looked),
            f"Review {counted(count, 'label')} of {len(looked):,} ({percent(count / len(looked))}) that "
            f"{'looks' if count == 1 else 'look'} wrong: fill in NewLabel in {patch} where the label is wrong, and "
            f"train with `labels: {patch}`.",
        )


def _sure_mistakes(report: Report) -> Iterator[Step]:
    count = int((report.mistakes["Score"] >= SURE).sum())
    if count:
        yield Step(
            count / report.pictures,
            f"Look at {count:,} of the {counted(len(report.mistakes), 'mistake')} with a score of {SURE:g} or more "
            "(report.mistakes): the label may be wrong, or images of this kind may be missing from the training. "
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
                f"Add images of {elide(str(name), 40)}: it has {has:,} to train, the median class has {median:g}, "
                f"and {missed:,} of its {counted(int(row['Support']), 'test image')} "
                f"{'is' if missed == 1 else 'are'} missed. "
                f"{_at_most(report, missed)}",
            )


def _are_wrong(report: Report) -> str:
    wrong = report.pictures - report.right
    return f"{wrong:,} of {counted(report.pictures, 'test image')} {'is' if wrong == 1 else 'are'} wrong"


# what to do when a run has no epoch of fine-tuning, by the reason that the training program gave for it
WITHOUT_TUNING = {
    "the recipe is features": "Train with `recipe: auto`: so far only the head was trained",
    "without validation pictures nothing would say whether it helps": (
        "Give images to validate with (more of each class, or a larger `validation_fraction`): without them "
        "nothing would say whether fine-tuning helps, so only the head was trained"
    ),
    "the frozen features make no mistake on the validation pictures": (
        "Train with `recipe: finetune`: fine-tuning was left out because the frozen features make no mistake on the "
        "validation images"
    ),
    "a stop was asked for": "Train again without a Stop: it came before an epoch of fine-tuning had ended",
    "the time allowed is too short for an epoch": (
        "Allow more time (max_minutes): it was too short for an epoch of fine-tuning"
    ),
}


def _without_tuning(report: Report) -> str:
    if report.not_tuned:
        return WITHOUT_TUNING.get(report.not_tuned, "")
    # planned, and ended within its first epoch
    ended = {"stopped": "a stop was asked for", "completed": "the time allowed is too short for an epoch"}
    return WITHOUT_TUNING.get(ended.get(report.state, ""), "")


def _training(report: Report) -> Iterator[Step]:
    wrong = report.pictures - report.right
    tuned = [record for record in report.epochs if record.get("phase") == "finetune"]
    if not wrong or not report.epochs:
        return
    gain = UNTRIED * wrong / report.pictures
    if not tuned:
        advice = _without_tuning(report)
        if advice:
            yield Step(
                gain,
                f"{advice}, and {_are_wrong(report)}. What fine-tuning gains is known only once it has been tried; it "
                f"is ranked as if it mended {UNTRIED * 100:.0f} % of them.",
            )
    elif tuned[-1].get("best") is True:
        yield Step(
            gain,
            f"Train longer: the last epoch ({tuned[-1].get('epoch')}) was still the best. Raise max_minutes or epochs; "
            f"{_are_wrong(report)} now.",
        )
    elif report.record.get("best_phase") == "features":
        yield Step(
            0.0,
            f"Save the time of fine-tuning (`recipe: features`), or give it more: in {counted(len(tuned), 'epoch')} it "
            "was never better than the frozen features on the validation images.",
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
            UNTRIED * min(known - new, wrong),
            f"Give more images, and more varied ones: {percent(known)} of {counts.get('train', 0):,} training "
            f"images are right and {percent(new)} of {counts.get('validation', 0):,} validation images, so the "
            "model knows much of the training by heart.",
        )


# -- what makes no answer better -------------------------------------------------------------------------


def _unsure(report: Report) -> Iterator[Step]:
    from .statistics import at_thresholds

    found = report.recommended_threshold()
    if found and not is_figure(report.config.get("unsure_below")):
        row: Any = at_thresholds(report.confidence, report.true == report.given, report.groups, [found]).iloc[0]
        answered, wrong = int(row["Answered"]), int(row["Answered"] - row["Right"])
        yield Step(
            1e-3,
            f"Where a wrong answer costs more than none, train with `unsure_below: {found}`: {answered:,} of these "
            f"{counted(report.pictures, 'image')} would be answered, {wrong:,} of them wrongly; now it is "
            f"{report.pictures - report.right:,} of {report.pictures:,}.",
        )


def _calibrated(report: Report) -> Iterator[Step]:
    most, leaning = report.ece_by_chance[1], tendency(report.confidence, report.true == report.given)
    if report.ece <= most and not leaning:
        return
    counts = report.reproducibility.get("counts") or {}
    number = counts.get("validation") if report.record.get("best_phase") == "finetune" else None
    few = f": {counted(number, 'validation image')} set them, and more would set them better" if number else ""
    found = (
        f"ECE {report.ece:.3f}, by chance up to {most:.3f} on {counted(report.pictures, 'image')}"
        if report.ece > most
        else f"mean score {percent(float(report.confidence.mean()))}, right {percent(report.accuracy)} of "
        f"{counted(report.pictures, 'image')}, too {'sure' if leaning > 0 else 'unsure'} for chance"
    )
    yield Step(1e-4, f"Take the scores with care ({found}){few}.")


def _absent(report: Report) -> Iterator[Step]:
    absent = int((report.per_class["Support"] == 0).sum())
    if absent:
        yield Step(
            1e-3,
            f"Give more images to {counted(absent, 'class', 'classes')} of {len(report.classes):,} without a "
            f"test image: nothing is known of how often {'it is' if absent == 1 else 'they are'} found.",
        )


def _too_few(report: Report) -> Iterator[Step]:
    low, high = report.interval
    if high - low <= WIDE:
        return
    yield Step(
        1e-5,
        f"Hold out more images to know more: {report.pictures:,} {'leaves' if report.pictures == 1 else 'leave'} the "
        f"accuracy between {percent(low)} and {percent(high)}; about {images_for(report.accuracy, WIDE):,} would "
        f"tell it to within {WIDE / 2 * 100:.0f} points.",
    )


def _smaller(report: Report) -> Iterator[Step]:
    name = report.record.get("recommended_variant")
    variants = {one.get("name"): one for one in report.record.get("variants") or [] if isinstance(one, dict)}
    full, small = variants.get("float32"), variants.get(name)
    if not full or not small or full is small or not all(is_figure(one.get("bytes")) for one in (full, small)):
        return
    yield Step(
        0.0,
        f"Where size or speed counts, use {small.get('file')}: {small['bytes'] / 1e6:.1f} MB instead of "
        f"{full['bytes'] / 1e6:.1f}, {small.get('right'):,} of {small.get('pictures'):,} right instead of "
        f"{full.get('right'):,}.",
    )
