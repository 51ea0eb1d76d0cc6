"""What to do next: rules that follow from the figures, each with its count and what the data allow.

A gain is a number of test images that the step may put right, at the most: what it really brings is known after it.
What makes no answer better, but more certain, quicker or cheaper, comes last (``surer``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mb_jupyter.display import counted, elide, near, percent

from . import surer
from .files import PATCH, is_figure, rows_of
from .paired import FEWEST, paired
from .reasons import NOT_TUNED
from .step import Order, Step

if TYPE_CHECKING:
    from .evaluation import Report

MOST = 7  # steps
SURE = 0.9  # the score from which a mistake makes one look at the label
APART = 0.1  # accuracy on training images above that on validation images
UNTRIED = 0.3  # of the mistakes, assumed for a step of which nothing is known before it has been tried
NAMED = 3


def next_steps(report: Report) -> list[Step]:
    """Return what to do, the most urgent and then the largest gain first."""
    rules = (_never_found, _leaking, _beats_nothing, _confused, _labels, _sure_mistakes, _small_classes, _training,
             _overfitted, _more_images, *surer.RULES)  # fmt: skip
    steps = sorted((step for rule in rules for step in rule(report)), key=lambda step: (step.order, -step.gain))
    return steps[:MOST]


def _at_most(report: Report, count: int) -> str:
    points = f"{100 * count / report.pictures:.1f} points"
    return f"At most {count:,} more of {counted(report.pictures, 'test image')} would be right ({points})."


def _never_found(report: Report) -> Iterator[Step]:
    lost = report.tested[report.tested["Right"] == 0].sort_values("Support", ascending=False, kind="stable")
    if lost.empty or report.right == 0:  # where nothing is right, it is no matter of one class
        return
    named = [_lost(report, row) for row in rows_of(lost[:NAMED])]
    more = f" and {counted(len(lost) - NAMED, 'more class', 'more classes')}" if len(lost) > NAMED else ""
    count = int(lost["Support"].sum())
    yield Step(
        "class_never_found",
        count,
        f"Look at {'; '.join(named)}{more}. Check the labels, and add images of different objects, in the "
        f"surroundings where the model is to be used. {_at_most(report, count)}",
        Order.FIRST,
    )


def _lost(report: Report, row: Any) -> str:
    has = report.learned_from.get(str(row.Index))
    taken = next((pair for pair in report.confusions if pair.true == row.Index), None)
    train = f", {counted(has.images, 'image')} to learn from" if has is not None else ""
    groups = f" ({counted(int(row.Groups), 'group')})" if row.Groups < row.Support else ""
    mostly = f", most taken for {elide(taken.predicted, 40)}" if taken and row.Support > 1 else ""
    return (
        f"{elide(str(row.Index), 40)}: none of its {counted(int(row.Support), 'test image')}{groups} is found{mostly}"
        f"{train}"
    )


def _leaking(report: Report) -> Iterator[Step]:
    if report.leaked:
        yield Step(
            "split_leaks",
            0,
            f"Mend the split: {report.leaked:,} of {counted(report.pictures, 'test image')} "
            f"{'has a copy or near copy' if report.leaked == 1 else 'have copies or near copies'} in the training or "
            "validation part (the column Group of split.csv), so these figures flatter the model.",
            Order.DATA,
        )


def _beats_nothing(report: Report) -> Iterator[Step]:
    name, hits = report.majority
    right = report.true == report.given
    test = paired((report.frame["Label"] == name).to_numpy(), right, report.groups)
    if (test.differ and test.second_only > test.first_only) or report.pictures < 20:
        return
    others = report.pictures - hits
    if test.too_few and report.right > hits and test.second_only >= others / 2:
        there = sum(one.groups for label, one in report.learned_from.items() if label != name)
        spare = there >= 2 * FEWEST  # what is held out trains no longer
        what = "Hold out more images" if spare else "Add images"
        only = f"; there are only {there:,} more in all" if report.learned_from and not spare else ""
        yield Step(
            "baseline_untold",
            0,
            f"{what} of the other classes than {elide(name, 40)}: the model has {test.second_only:,} of their "
            f"{others:,} right, too few for any test to tell it from always answering {elide(name, 40)}{only}.",
            Order.SURER,
        )
        return
    yield Step(
        "beats_nothing",
        0,
        f"Look at the data: {report.right:,} of {report.pictures:,} right cannot be told from always "
        f"answering {elide(name, 40)} ({hits:,} right). See %mb_data, and whether the labels fit the images.",
        Order.DATA,
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
                "classes_confused",
                count,
                f"Add images that show what tells {a} and {b} apart, or join the two classes if the difference "
                f"does not matter: {count:,} of the {counted(report.pictures - report.right, 'mistake')} take one for "
                f"the other. {_at_most(report, count)}",
            )


def _labels(report: Report) -> Iterator[Step]:
    issues, looked = report.suspects, report.out_of_fold
    tested = int((issues["Split"] == "test").sum())
    learned, patch = len(issues) - tested, near(report.folder / PATCH) if report.folder else PATCH
    if issues.empty:
        return
    wrong, told = report.pictures - report.right - tested, []
    gain = float(tested)
    if learned and looked is not None:
        rate = learned / len(looked)
        gain += UNTRIED * min(wrong, rate * report.pictures)
        told.append(f"{learned:,} of {len(looked):,} training and validation images ({percent(rate)})")
    if tested:
        told.append(f"{tested:,} of {report.pictures:,} test images, which count as mistakes now")
    yield Step(
        "label_issues",
        gain,
        f"Review {counted(len(issues), 'label issue')}: {' and '.join(told)}. Fill in NewLabel in {patch} where the "
        f"label is wrong, and train with `labels: {patch}`.",
    )


def _sure_mistakes(report: Report) -> Iterator[Step]:
    count = int((report.mistakes["Score"] >= SURE).sum())
    if count:
        yield Step(
            "sure_mistakes",
            count,
            f"Look at {count:,} of the {counted(len(report.mistakes), 'mistake')} with a score of {SURE:g} or more "
            "(report.mistakes): the label may be wrong, or images of this kind may be missing from the training. "
            f"{_at_most(report, count)}",
        )


def _small_classes(report: Report) -> Iterator[Step]:
    counts = {name: one.images for name, one in report.learned_from.items()}
    if not counts:
        return
    ordered = sorted(counts.values())
    median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    for name, row in report.per_class.iterrows():
        has, missed = counts.get(str(name), 0), int(row["Support"] - row["Right"])
        if has <= median / 2 and missed and 0 < row["Recall"] < report.accuracy:
            yield Step(
                "class_small",
                missed,
                f"Add images of {elide(str(name), 40)}: it has {has:,} to learn from, the median class has {median:g}, "
                f"and {missed:,} of its {counted(int(row['Support']), 'test image')} "
                f"{'is' if missed == 1 else 'are'} missed. {_at_most(report, missed)}",
            )


def _are_wrong(report: Report) -> str:
    wrong = report.pictures - report.right
    return f"{wrong:,} of {counted(report.pictures, 'test image')} {'is' if wrong == 1 else 'are'} wrong"


def _without_tuning(report: Report) -> str:
    """Return the code of why there is no epoch of fine-tuning: what the program recorded, or how it ended in one."""
    return report.not_tuned or {"stopped": "stop_asked", "completed": "no_time"}.get(report.state, "")


def _training(report: Report) -> Iterator[Step]:
    wrong = report.pictures - report.right
    tuned = [record for record in report.epochs if record.get("phase") == "finetune"]
    if not wrong or not report.epochs:
        return
    gain = UNTRIED * wrong
    if not tuned:
        code = _without_tuning(report)
        if code:
            yield Step(
                f"not_tuned_{code}",
                gain,
                f"{NOT_TUNED[code].advice}, and {_are_wrong(report)}. What fine-tuning gains is known only once it has "
                f"been tried; the order here assumes that it fixes {UNTRIED * 100:.0f} % of them.",
            )
    elif tuned[-1].get("best") is True:
        yield Step(
            "train_longer",
            gain,
            f"Train longer: the last epoch ({tuned[-1].get('epoch')}) was still the best. Raise max_minutes or epochs; "
            f"{_are_wrong(report)} now.",
        )
    elif report.record.get("best_phase") == "features":
        yield Step(
            "tuning_in_vain",
            0,
            f"Save the time of fine-tuning (`recipe: features`), or give it more: in {counted(len(tuned), 'epoch')} it "
            "was never better than the frozen features on the validation images.",
            Order.SURER,
        )


def _overfitted(report: Report) -> Iterator[Step]:
    best = [record for record in report.epochs if record.get("best") is True and record.get("phase") == "finetune"]
    counts = report.reproducibility.get("counts") or {}
    if not best or not counts:
        return
    known, new = (best[-1].get(f"{part}_accuracy") for part in ("train", "validation"))
    if is_figure(known) and is_figure(new) and known - new > APART:
        yield Step(
            "overfitted",
            UNTRIED * min((known - new) * report.pictures, report.pictures - report.right),
            f"Add images, and more varied ones: {percent(known)} of {counts.get('train', 0):,} training "
            f"images are right and {percent(new)} of {counts.get('validation', 0):,} validation images, so the "
            "model knows much of the training by heart.",
        )


def _more_images(report: Report) -> Iterator[Step]:
    """Advise to collect images where the curve says that it helps."""
    gain = report.more_images
    if gain is None or gain.code != "helps":
        return
    wrong, number = report.pictures - report.right, report.pictures
    count, low, high = (min(wrong, round(share * number)) for share in (gain.gain, gain.low, gain.high))
    if count < 1:
        return
    told = list(report.more_images_of_a_class.items())
    first = f", of {elide(told[0][0], 40)} first" if told else ""
    yield Step(
        "more_images",
        count,
        f"Collect more images{first}: twice as many of every class would put about {count:,} more of "
        f"{counted(number, 'test image')} right (95 % interval {low:,} to {high:,}; the learning curve).",
    )
