from __future__ import annotations

import io
import math
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mb_jupyter import plots

STRANGE = [
    "roses 🌹",
    "日本",
    "$5 $note_{x}^",
    "<img src=x onerror=alert(1)>",
    "a" * 255,
    "line\nbreak",
    "",
    "_x",
    "é\u0301",
]


def picture(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png)).convert("RGB")
    assert len(image.getcolors(1 << 24) or []) > 20  # something is drawn
    assert image.getpixel((0, 0)) == (255, 255, 255)  # on white, whatever the theme
    return image


def epochs(number: int) -> list[dict[str, object]]:
    first = {"event": "epoch", "phase": "features", "epoch": 0, "train_loss": None, "train_accuracy": None,
             "validation_loss": 0.5, "validation_accuracy": 0.85, "best": True}  # fmt: skip
    later = [
        {"event": "epoch", "epoch": i, "train_loss": 1 / i, "train_accuracy": 0.9, "validation_loss": 0.5 / i,
         "validation_accuracy": 0.9, "best": i <= 3}
        for i in range(1, number)
    ]  # fmt: skip
    return [first, *later]


@pytest.mark.parametrize("number", [1, 2, 40])
def test_curves(number: int) -> None:
    records = epochs(number)
    assert plots.metric_curves(pd.DataFrame(records)) == plots.metric_curves(records)
    picture(plots.metric_curves(records))


def test_curves_before_the_first_epoch() -> None:
    picture(plots.metric_curves([{"event": "stage", "stage": "features"}]))
    assert "no epoch" in plots.metric_curves_alt([])


def test_curves_in_words() -> None:
    said = plots.metric_curves_alt(epochs(6))
    assert "6 epochs" in said
    assert "best was epoch 3: training loss 0.333, calibrated validation loss 0.167, validation accuracy 90.0 %" in said
    assert "accuracy 85.0 %" in plots.metric_curves_alt(epochs(1))


def test_an_epoch_told_twice_after_a_resume_counts_once() -> None:
    assert "6 epochs" in plots.metric_curves_alt([*epochs(4), *epochs(6)[2:]])


def test_figures_that_are_none_or_not_finite_are_left_out() -> None:
    records: list[dict[str, float]] = [{"epoch": 1, "train_loss": math.nan, "validation_loss": math.inf}, {"epoch": 2}]
    picture(plots.metric_curves(records))
    assert "no figures" in plots.metric_curves_alt(records)


def test_bars_of_strange_names() -> None:
    scores = np.linspace(1, 0.1, len(STRANGE))
    picture(plots.score_bars(STRANGE, scores / scores.sum()))


def test_bars_of_many_classes() -> None:
    names, scores = [f"c{i}" for i in range(300)], [1 / 300] * 300
    assert picture(plots.score_bars(names, scores)).height < 500
    assert "290 other classes 96.7 %" in plots.score_bars_alt(names, scores)
    assert plots.score_bars_alt(["b", "a"], [0.25, 0.75]) == "Probability of every class: a 75.0 %, b 25.0 %."


@pytest.mark.parametrize("number", [2, 9, 16, 40, 300])
def test_confusion_matrices_of_every_size(number: int) -> None:
    names = (STRANGE * 40)[:number]
    matrix = np.eye(number, dtype=int) * 7
    matrix[0, 1] = 3
    image = picture(plots.confusion_matrix(matrix, names))
    assert max(image.size) <= 800


def test_a_confusion_matrix_in_words() -> None:
    said = plots.confusion_matrix_alt(np.array([[5, 3], [0, 8]]), ["cat", "dog"])
    assert said == (
        "Confusion matrix of 2 classes: 13 of 16 pictures on the diagonal; "
        "the most frequent mistake is 3 of cat taken for dog."
    )
    assert "none beside it" in plots.confusion_matrix_alt(np.eye(2), ["a", "b"])
    picture(plots.confusion_matrix(np.zeros((2, 2)), ["a", "b"]))


def test_the_users_own_plots_are_left_alone() -> None:
    import matplotlib as mpl

    plain = plots.score_bars(["a"], [1.0])
    with mpl.rc_context({"axes.facecolor": "black", "text.color": "white", "axes.grid": True, "text.usetex": True}):
        before = dict(mpl.rcParams)
        assert plots.score_bars(["a"], [1.0]) == plain
        assert dict(mpl.rcParams) == before


MATRIX = np.array([[5, 3], [0, 8]])
BINS = pd.DataFrame({"Low": [0.0], "High": [1.0], "Pictures": [4], "Score": [0.8], "Accuracy": [0.75],
                     "AccuracyLow": [0.3], "AccuracyHigh": [0.95]})  # fmt: skip


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.metric_curves(epochs(3)),
        lambda: plots.score_bars(["a", "b"], [0.75, 0.25], notes=["Model: $x_{y}$ 日本, 29 Nov 10:31, 96.0 %"]),
        lambda: plots.confusion_matrix(MATRIX, ["a", "b"]),
        lambda: plots.reliability_diagram(BINS),
    ],
    ids=["curves", "bars", "matrix", "reliability"],
)
def test_no_style_and_no_filter_of_the_user_reaches_a_plot(draw: Any) -> None:
    import matplotlib as mpl

    theirs: Any = {"text.usetex": True, "font.size": 40.0, "figure.facecolor": "black", "font.family": ["no such font"]}
    with mpl.rc_context(theirs), warnings.catch_warnings():
        warnings.simplefilter("error")
        before = dict(mpl.rcParams)
        image = picture(draw())
        assert max(image.size) < 1600, "not of their size"
        assert dict(mpl.rcParams) == before


def test_threads_that_draw_at_once_leave_the_users_style_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib as mpl

    plain = plots.score_bars(["a"], [1.0])
    make, waits = plots.new_figure, iter((0.1, 0.5))

    def slowly(*size: float) -> Any:
        threading.Event().wait(next(waits))  # the second would begin during the first, and draw after it has ended
        return make(*size)

    monkeypatch.setattr(plots, "new_figure", slowly)
    with mpl.rc_context({"axes.facecolor": "black", "text.color": "white", "axes.grid": True}):
        before = dict(mpl.rcParams)
        with ThreadPoolExecutor(2) as pool:
            drawn = list(pool.map(lambda _: plots.score_bars(["a"], [1.0]), range(2)))
        assert set(drawn) == {plain}
        assert dict(mpl.rcParams) == before


def test_pyplot_is_never_loaded() -> None:
    code = "import sys; from mb_jupyter import plots; plots.score_bars(['a'], [1.0]); "
    code += "assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_reliability_diagram_in_a_picture_and_in_words() -> None:
    bins = pd.DataFrame({"Low": [0.0, 0.5], "High": [0.5, 1.0], "Pictures": [0, 4], "Score": [math.nan, 0.8],
                         "Accuracy": [math.nan, 0.75], "AccuracyLow": [math.nan, 0.3],
                         "AccuracyHigh": [math.nan, 0.95]})  # fmt: skip
    assert picture(plots.reliability_diagram(bins)).size != (0, 0)
    assert plots.reliability_diagram(bins, bins) != plots.reliability_diagram(bins)
    said = "Reliability diagram, the share that is right at each mean score: score 80.0 %: 75.0 % of 4."
    assert plots.reliability_diagram_alt(bins) == said


def test_a_colour_bar_has_no_bands_of_other_colours():
    figure = plots.new_figure(4, 3)
    axes = figure.add_subplot()
    figure.colorbar(axes.imshow(np.eye(9), cmap="Blues"), ax=axes)
    whole = io.BytesIO()
    figure.savefig(whole, format="png", facecolor="white")
    drawn, shown = (
        np.asarray(Image.open(file).convert("RGB"), int) for file in (whole, io.BytesIO(plots.to_png(figure)))
    )
    assert np.abs(drawn - shown).max() <= 12
