"""The parts of the report that say how far it goes: suspect labels, calibration, thresholds, baselines."""

from __future__ import annotations

from typing import Any

from mb_jupyter.display import ROUND, counted, details, elide, image, near, percent, table, text_table, thousandths

from .confidence import TARGET
from .evaluation import Report
from .files import PATCH, is_figure, rows_of
from .paired import paired
from .pictures import framed
from .sections import Section, Sheet, decimals, ends, of, paragraphs, said
from .statistics import BINS, NEGLIGIBLE, at_thresholds, calibration_error_by_chance, tendency
from .suspects import reviewed_in

GOAL = f"{TARGET * 100:g} %"
SUSPECTS = {False: 10, True: 24}  # in the notebook, on the page
SUSPECT_COLUMNS = ("Label", "Suggested", "Score of the label", "Score of the suggested", "Part", "Image")


def suspects(sheet: Sheet) -> Section:
    """Return the labels that look wrong, and how to review them."""
    title, report = "Label issues", sheet.report
    frame = report.suspects
    looked = _looked(report)
    if frame.empty:
        return said(title, f"No label issue in {looked}.", _unexamined(report))
    sentence = (
        f"{counted(len(frame), 'label issue')} in {looked}: the label looks wrong to a model that was fitted without "
        "the image (confident learning). A suspicion is no proof: look at each."
    )
    patch = near(report.folder / PATCH) if report.folder else PATCH
    how = (
        "To correct them, write the right class into the column NewLabel of the list "
        f"({patch}; report.write_patch(PATH) writes it elsewhere), and train with `labels: {patch}`. Rows without "
        "NewLabel change nothing, and no file is moved."
    )
    how += _earlier(report)
    sentences = [sentence, _agreed(report), _tested(report), _unexamined(report)]
    shown = frame.head(SUSPECTS[sheet.whole])
    found = sheet.album.take(list(shown["ImageSource"]))
    rows = [
        (elide(r.Label, 30), elide(r.Suggested, 30), percent(r.LabelScore), percent(r.SuggestedScore), r.Split,
         elide(r.ImageSource, 60))
        for r in rows_of(shown)
    ]  # fmt: skip
    pictures = [framed(found.get(source), source) for source in shown["ImageSource"]]
    page = table(("", *SUSPECT_COLUMNS), [(p, *r) for p, r in zip(pictures, rows, strict=True)], right=(3, 4),
                 vertical="middle")  # fmt: skip
    rest = f"{len(frame) - len(shown):,} more are in report.suspects." if len(frame) > len(shown) else ""
    text = "\n".join(
        [*filter(None, sentences), text_table(SUSPECT_COLUMNS, rows[: SUSPECTS[False]], right=(2, 3)), how]
    )
    return Section(title, text, paragraphs(*sentences) + page + paragraphs(rest, how), gist=f"{len(frame):,}")


def _looked(report: Report) -> str:
    learned = report.out_of_fold
    tested = counted(report.pictures, "test image")
    return tested if learned is None else f"{len(learned):,} training and validation images and {tested}"


def _unexamined(report: Report) -> str:
    """Say that the labels of the training part were not examined, where nothing of them was kept."""
    if report.out_of_fold is not None:
        return ""
    return "The run has no out_of_fold.csv, so the labels of its training and validation images were not examined."


def _agreed(report: Report) -> str:
    """Say how good the models are that doubt the labels of the training part."""
    learned = report.out_of_fold
    if learned is None or "Prediction" not in learned.columns:
        return ""
    share = float((learned["Label"] == learned["Prediction"]).mean())
    return (
        f"The models agree with {percent(share)} of the training and validation labels; the lower this share, the more "
        "of the labels they doubt are correct."
    )


def _tested(report: Report) -> str:
    """Say what wrong labels in the test part do to the figures."""
    tested = report.suspects[report.suspects["Split"] == "test"]
    if tested.empty:
        return ""
    wrong, number = report.pictures - report.right, len(tested)
    return (
        f"{number:,} of {counted(wrong, 'mistake')} on test images {'is' if number == 1 else 'are'} among them: where "
        "the label is wrong, the figures above count it as a mistake. Labels that the model agrees with may be wrong "
        "too, so correcting only these makes the accuracy look a little better than it is."
    )


def _earlier(report: Report) -> str:
    """Say whether the list holds the corrections that the run was trained with too."""
    if report.corrections is None:
        return ""
    if reviewed_in(report.corrections) is not None:
        return " The corrections that this run was trained with are in the list too."
    return (
        f" The corrections that this run was trained with ({elide(str(report.corrections), 100)}) cannot be read now, "
        "so they may be missing in the list."
    )


# -- calibration -----------------------------------------------------------------------------------------


def calibration(sheet: Sheet) -> Section:
    """Return how far the scores can be taken for probabilities."""
    from mb_jupyter.plots import reliability_diagram, reliability_diagram_alt

    report = sheet.report
    bins = report.calibration
    before = f", {thousandths(report.ece_before)} before calibration" if report.is_calibrated else ""
    sentences = _calibrated(report)
    filled = bins[bins["Pictures"] > 0]
    rows = [
        (f"{r.Low * 100:.0f} to {r.High * 100:.0f} %", f"{r.Pictures:,}", percent(r.Score), of(r.Right, r.Pictures),
         ends(r.AccuracyLow, r.AccuracyHigh))
        for r in rows_of(filled)
    ]  # fmt: skip
    columns = ("Score", "Images", "Mean score", "Right", "95 % interval")
    was = report.calibration_before if report.is_calibrated else None
    drawn = report.drawn("reliability", lambda: reliability_diagram(bins, was))
    picture = image(drawn, reliability_diagram_alt(bins), style=ROUND)
    figures = details("The diagram as a table", table(columns, rows, right=(1, 2)))
    text = "\n".join([*sentences, text_table(columns, rows, right=(1, 2))])
    page = f"{paragraphs(*sentences)}<div>{picture}</div>{figures}"
    return Section("Calibration", text, page, gist=f"ECE {thousandths(report.ece)}{before}")


def _calibrated(report: Report) -> list[str]:
    """Say how far the scores are from what is true, and how far chance alone would put them."""
    mean, most = report.ece_by_chance
    before = ""
    if report.is_calibrated:
        before = f"; before calibration {thousandths(report.ece_before)} and {thousandths(report.log_loss_before)}"
    miss = (
        f"Over {counted(report.pictures, 'test image')} the scores miss the share that is right by "
        f"{thousandths(report.ece)} on average (ECE, {BINS} bins), and the log loss is "
        f"{thousandths(report.log_loss)}{before}."
    )
    leaning = tendency(report.confidence, report.true == report.given, report.groups)
    verdict = "so the scores are not well calibrated"
    if not report.is_miscalibrated and (leaning or report.calibration_hurts):
        verdict = "so the ECE alone shows no fault of these scores"
    elif not report.is_miscalibrated:
        verdict = "so nothing speaks against these scores"
        verdict += ", nor against those before calibration" if _faultless_before(report) else ""
    chance = (
        f"Scores without fault would miss it by {thousandths(mean)} on average, and by up to {thousandths(most)} in "
        f"95 % of cases, by chance alone, {verdict}."
    )
    word = {
        1: "surer than they are right, by more than chance explains",
        0: "as sure as they are right, as far as so many images can tell",
        -1: "right more often than they are sure, by more than chance explains",
    }[leaning]
    tends = (
        f"On the whole the answers are {word}: the mean score is {percent(float(report.confidence.mean()))}, and "
        f"{percent(report.accuracy)} are right."
    )
    return [*filter(None, [_kept(report), miss, _hurts(report)]), chance, tends]


def _kept(report: Report) -> str:
    """Say whether the scores are calibrated, and what decided it."""
    told, heat = report.record.get("calibration"), report.record.get("temperature")
    if not isinstance(told, dict) or not all(is_figure(told.get(f"log_loss_{when}")) for when in ("before", "after")):
        if isinstance(told, dict) and not told.get("kept"):
            return "The scores are not calibrated: there were no images to set a temperature with."
        return f"The scores are divided by the temperature {heat:.2f} (calibration)." if is_figure(heat) else ""
    before, after = thousandths(told["log_loss_before"]), thousandths(told["log_loss_after"])
    where = f"{counted(int(told['images']), 'image')} " if is_figure(told.get("images")) else ""
    where += f"of {told['source']}" if told.get("source") else "of the training"
    if told.get("kept"):
        at = f" (temperature {told['temperature']:.2f})" if is_figure(told.get("temperature")) else ""
        return f"The scores are calibrated{at}: on {where} that takes the log loss from {before} to {after}."
    lowers = told["log_loss_after"] < told["log_loss_before"]
    change = "would hardly lower the log loss" if lowers else "would not lower the log loss"
    return f"The scores are not calibrated: on {where} it {change} ({before}, with it {after})."


def _hurts(report: Report) -> str:
    return "On the test images the calibration made the log loss worse." if report.calibration_hurts else ""


def _faultless_before(report: Report) -> bool:
    """Tell whether nothing spoke against the scores before they were calibrated either."""
    was, scores = report.ece_before, report.scores_before
    if was is None or scores is None or not report.is_calibrated:
        return False
    confidence = scores[range(report.pictures), report.given]
    leaning = tendency(confidence, report.true == report.given, report.groups)
    return not leaning and was <= max(calibration_error_by_chance(confidence, report.groups)[1], NEGLIGIBLE)


# -- thresholds ------------------------------------------------------------------------------------------


def thresholds(sheet: Sheet) -> Section:
    """Return what is gained and lost when answers with a low score are ``unsure``."""
    report = sheet.report
    rows = [
        (decimals(r.Threshold, 2), of(r.Answered, report.pictures), of(r.Right, r.Answered),
         ends(r.PrecisionLow, r.PrecisionHigh))
        for r in rows_of(report.thresholds)
    ]  # fmt: skip
    columns = ("Threshold", "Answered", "Right of these", "95 % interval")
    intro = "When an answer whose score is below the threshold counts as unsure:"
    advice = _advice(sheet)
    text = "\n".join([intro, text_table(columns, rows), *advice])
    found = report.recommended_threshold()
    gist = f"unsure below {found} for {GOAL} right" if found else ""
    return Section("Thresholds", text, paragraphs(intro) + table(columns, rows) + paragraphs(*advice), gist=gist)


def _advice(sheet: Sheet) -> list[str]:
    report = sheet.report
    found, where = report.recommended_threshold(), _chosen_on(report)
    if found is None:
        sentence = f"No threshold makes {GOAL} of the answers right on {where}."
    elif found == 0:
        sentence = (
            f"For {GOAL} right no threshold is needed, judged on {where}: of the test images "
            f"{of(report.right, report.pictures)} are right without one (95 % interval {ends(*report.interval)})."
        )
    else:
        sentence = f"Recommended for {GOAL} right: unsure below {found}, chosen on {where}. {_effect(report, found)}"
    set_to = report.config.get("unsure_below")
    if is_figure(set_to):
        model = f"The model carries the threshold {set_to}: below it, it answers unsure."
    else:
        model = "The model carries no threshold; train with `unsure_below: NUMBER` to put one in."
    return [sentence, model]


def _chosen_on(report: Report) -> str:
    """Say on which images a threshold is chosen."""
    frame = report.choice_frame
    if frame is None:
        return "the test images themselves, so expect a little less on others"
    if report.choices_from == "validation.csv":
        return f"{counted(len(frame), 'validation image')}"
    return f"{len(frame):,} training and validation images, by models that never saw them ({report.choices_from})"


def _effect(report: Report, threshold: float) -> str:
    """Say what a threshold does to the test images."""
    row = at_thresholds(report.confidence, report.true == report.given, report.groups, [threshold]).iloc[0]
    if not row["Answered"]:
        return "No test image reaches it."
    unsure = report.pictures - int(row["Answered"])
    return (
        f"On the test images {of(row['Right'], row['Answered'])} of the answers are right then (95 % interval "
        f"{ends(row['PrecisionLow'], row['PrecisionHigh'])}), and {unsure:,} of "
        f"{counted(report.pictures, 'image')} {'is' if unsure == 1 else 'are'} unsure."
    )


# -- baselines -------------------------------------------------------------------------------------------


def baselines(sheet: Sheet) -> Section:
    """Return what simpler models do on the same images."""
    report = sheet.report
    ahead = {row.Baseline: _ahead(row) for row in rows_of(report.lift)}
    rows = [
        (elide(r.Model, 40), of(r.Right, r.Pictures), ends(r.AccuracyLow, r.AccuracyHigh), ahead.get(r.Model, "–"))
        for r in rows_of(report.baselines)
    ]
    columns = ("Model", "Right", "95 % interval", "This model is ahead by")
    sentences = [_beside_frozen(sheet), _beside_majority(sheet)]
    text = "\n".join([text_table(columns, rows), *sentences])
    gist = ", ".join(f"{row[0]} {row[1].partition(' (')[0]}" for row in rows[1:])
    return Section("Baselines", text, table(columns, rows) + paragraphs(*sentences), gist=gist)


def _ahead(row: Any) -> str:
    """Return a lift in points, with its interval."""
    return f"{100 * row.Lift:+.1f} points ({100 * row.Low:+.1f} to {100 * row.High:+.1f})"


def _beside_frozen(sheet: Sheet) -> str:
    report, frozen = sheet.report, sheet.report.frozen_features
    if frozen is None:
        return "The run has no baselines.csv, so the frozen features alone are not known on these images."
    if frozen is report:
        tuned = sum(record.get("phase") == "finetune" for record in report.epochs)
        better = "was not better on the validation images"
        why = f"the fine-tuning ({counted(tuned, 'epoch')}) {better}" if tuned else "it was not fine-tuned"
        return f"This model is that of the frozen features: {why}."
    if list(frozen.frame["ImageSource"]) != list(report.frame["ImageSource"]):
        return "baselines.csv is about other images than predictions.csv, so the two are not compared."
    test = paired(frozen.true == frozen.given, report.true == report.given, report.groups)
    counts = (
        f"{counted(test.second_only, 'image is', 'images are')} right only with fine-tuning, "
        f"{test.first_only:,} only without ({test.chance})"
    )
    if not test.differ:
        return f"Fine-tuning and frozen features are equal as far as these images can tell: {counts}."
    return f"Fine-tuning made the model {'better' if test.second_only > test.first_only else 'worse'}: {counts}."


def _beside_majority(sheet: Sheet) -> str:
    import numpy as np

    report = sheet.report
    name, right = report.majority
    test = paired(np.array(report.frame["Label"] == name), report.true == report.given, report.groups)
    always = f"always answering {elide(name, 40)}, a class that no other outnumbers in {_where(report)}"
    counts = f"{of(report.right, report.pictures)} against {of(right, report.pictures)}; {test.chance}"
    if test.differ and test.second_only > test.first_only:
        return f"The model is better than {always}: {counts}."
    if test.too_few and report.right > right:
        return f"Too few images to tell whether the model is better than {always}: {counts}."
    return f"Nothing shows that the model is better than {always}: {counts}."


def _where(report: Report) -> str:
    return "these images" if report.split is None else "the training images"
