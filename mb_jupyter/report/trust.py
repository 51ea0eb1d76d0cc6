"""The parts of the report that say how far it goes: suspect labels, calibration, thresholds, baselines."""

from __future__ import annotations

from mb_jupyter.display import ROUND, counted, details, elide, image, near, percent, table, text_table

from . import choices
from .confidence import TARGET
from .evaluation import Report
from .files import PATCH, is_figure, rows_of
from .paired import paired
from .pictures import framed
from .sections import Section, Sheet, decimals, ends, of, paragraphs, said
from .statistics import BINS, at_thresholds, calibration_error_by_chance, tendency
from .suspects import reviewed_in

GOAL = f"{TARGET * 100:g} %"
SUSPECTS = {False: 10, True: 24}  # in the notebook, on the page
SUSPECT_COLUMNS = ("Label", "Suggested", "Score of the label", "Score of the suggested", "Image")


def suspects(sheet: Sheet) -> Section:
    """Return the labels that look wrong, and how to review them."""
    title, report = "Labels that look wrong", sheet.report
    looked = report.out_of_fold
    if looked is None:
        return said(title, "The run has no out_of_fold.csv, so its labels were not examined.")
    frame = report.suspects
    if frame.empty:
        return said(title, f"None of {len(looked):,} labels of training and validation images looks wrong.")
    look = "looks" if len(frame) == 1 else "look"
    sentence = (
        f"{len(frame):,} of {len(looked):,} labels of training and validation images {look} wrong to models that "
        "were fitted without the image (confident learning, on frozen features). A suspicion is no proof: look at "
        "each."
    )
    patch = near(report.folder / PATCH) if report.folder else PATCH
    how = (
        "To correct them, write the right class into the column NewLabel of the list "
        f"({patch}; report.write_patch(PATH) writes it elsewhere), and train with `labels: {patch}`. Rows without "
        "NewLabel change nothing, and no file is moved."
    )
    how += _earlier(report)
    shown = frame.head(SUSPECTS[sheet.whole])
    found = sheet.album.take(list(shown["ImageSource"]))
    rows = [
        (elide(r.Label, 30), elide(r.Suggested, 30), percent(r.LabelScore), percent(r.SuggestedScore),
         elide(r.ImageSource, 60))
        for r in rows_of(shown)
    ]  # fmt: skip
    pictures = [framed(found.get(source), source) for source in shown["ImageSource"]]
    page = table(("", *SUSPECT_COLUMNS), [(p, *r) for p, r in zip(pictures, rows, strict=True)], right=(3, 4),
                 vertical="middle")  # fmt: skip
    rest = f"{len(frame) - len(shown):,} more are in report.suspects." if len(frame) > len(shown) else ""
    text = "\n".join([sentence, text_table(SUSPECT_COLUMNS, rows[: SUSPECTS[False]], right=(2, 3)), how])
    gist = f"{len(frame):,} of {len(looked):,}"
    return Section(title, text, paragraphs(sentence) + page + paragraphs(rest, how), gist=gist)


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
    bins, was = report.calibration, report.ece_before
    before = f", {was:.3f} before calibration" if was is not None else ""
    sentences = _calibrated(report)
    filled = bins[bins["Pictures"] > 0]
    rows = [
        (f"{r.Low * 100:.0f} to {r.High * 100:.0f} %", f"{r.Pictures:,}", percent(r.Score), of(r.Right, r.Pictures),
         ends(r.AccuracyLow, r.AccuracyHigh))
        for r in rows_of(filled)
    ]  # fmt: skip
    columns = ("Score", "Images", "Mean score", "Right", "95 % interval")
    drawn = report.drawn("reliability", lambda: reliability_diagram(bins, report.calibration_before))
    picture = image(drawn, reliability_diagram_alt(bins), style=ROUND)
    figures = details("The diagram as a table", table(columns, rows, right=(1, 2)))
    text = "\n".join([*sentences, text_table(columns, rows, right=(1, 2))])
    page = f"{paragraphs(*sentences)}<div>{picture}</div>{figures}"
    return Section("Calibration", text, page, gist=f"ECE {report.ece:.3f}{before}")


def _calibrated(report: Report) -> list[str]:
    """Say how far the scores are from what is true, and how far chance alone would put them."""
    heat, was = report.record.get("temperature"), report.ece_before
    mean, most = report.ece_by_chance
    before = f"; before calibration {was:.3f} and {report.log_loss_before:.3f}" if was is not None else ""
    at = f" (temperature {heat:.2f})" if is_figure(heat) else ""
    miss = (
        f"Over {counted(report.pictures, 'image')} the scores miss the share that is right by {report.ece:.3f} on "
        f"average (ECE, {BINS} bins), and the log loss is {report.log_loss:.3f}{before}{at}."
    )
    leaning = tendency(report.confidence, report.true == report.given)
    verdict = "so the scores are not quite right"
    if report.ece <= most and leaning:
        verdict = "so the ECE alone shows no fault of these scores"
    elif report.ece <= most:
        verdict = "so nothing speaks against these scores"
        verdict += ", nor against those before calibration" if _faultless_before(report) else ""
    chance = (
        f"Scores without fault would miss it by {mean:.3f} on average, and by up to {most:.3f} in 95 % of cases, by "
        f"chance alone, {verdict}."
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
    return [*filter(None, [choices.calibration(report.record)]), miss, chance, tends]


def _faultless_before(report: Report) -> bool:
    """Tell whether nothing spoke against the scores before they were calibrated either."""
    was, scores = report.ece_before, report.scores_before
    if was is None or scores is None:
        return False
    confidence = scores[range(report.pictures), report.given]
    leaning = tendency(confidence, report.true == report.given)
    return not leaning and was <= calibration_error_by_chance(confidence)[1]


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
    found = report.recommended_threshold()
    if found is None:
        sentence = f"No threshold makes {GOAL} of the answers right on these images."
    elif found == 0:
        sentence = (
            f"For {GOAL} right no threshold is needed on these images: {of(report.right, report.pictures)} are "
            f"right without one (95 % interval {ends(*report.interval)})."
        )
    else:
        row = at_thresholds(report.confidence, report.true == report.given, report.groups, [found]).iloc[0]
        unsure = report.pictures - int(row["Answered"])
        sentence = (
            f"Recommended for {GOAL} right: unsure below {found}. Then {of(row['Right'], row['Answered'])} of the "
            f"answers are right (95 % interval {ends(row['PrecisionLow'], row['PrecisionHigh'])}), and {unsure:,} of "
            f"{counted(report.pictures, 'image')} {'is' if unsure == 1 else 'are'} unsure. The threshold was chosen "
            "on these same images, so expect a little less on others."
        )
    set_to = report.config.get("unsure_below")
    if is_figure(set_to):
        model = f"The model carries the threshold {set_to}: below it, it answers unsure."
    else:
        model = "The model carries no threshold; train with `unsure_below: NUMBER` to put one in."
    return [sentence, model]


# -- baselines -------------------------------------------------------------------------------------------


def baselines(sheet: Sheet) -> Section:
    """Return what simpler models do on the same images."""
    report = sheet.report
    rows = [
        (elide(r.Model, 40), of(r.Right, r.Pictures), ends(r.AccuracyLow, r.AccuracyHigh))
        for r in rows_of(report.baselines)
    ]
    columns = ("Model", "Right", "95 % interval")
    sentences = [_beside_frozen(sheet), _beside_majority(sheet)]
    text = "\n".join([text_table(columns, rows), *sentences])
    gist = ", ".join(f"{row[0]} {row[1].partition(' (')[0]}" for row in rows[1:])
    return Section("Baselines", text, table(columns, rows) + paragraphs(*sentences), gist=gist)


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
        return f"Too few images are right with one alone to tell whether the model is better than {always}: {counts}."
    return f"Nothing shows that the model is better than {always}: {counts}."


def _where(report: Report) -> str:
    return "these images" if report.split is None else "the training images"
