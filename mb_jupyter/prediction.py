"""What a model answers, and how the answer looks: bars for one picture, cards or rows for several."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from .display import (
    ACCENT,
    BAD,
    FONT,
    TEXT,
    WARN,
    Markup,
    bar,
    card,
    elide,
    escape,
    image,
    pad,
    percent,
    table,
    text_bar,
)
from .display import text_table as as_text
from .seen import notes

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MOST_BARS = 10
MOST_CARDS = 24
THUMBNAIL = 240  # pixels of the longer side
ROW = "padding:1px 10px 1px 0;text-align:left;border:0;background:none"
LABEL = f"{ROW};max-width:150px;overflow:hidden;text-overflow:ellipsis;white-space:nowrap"


@dataclass(frozen=True, slots=True)
class ModelInput:
    """One picture for a model: its path, and its true class where that is known."""

    ImageSource: str
    Label: str | None = None


@dataclass(frozen=True)
class ModelOutput:
    """One answer: the class, and the probability of every class, the highest (``Prediction``'s) first.

    ``unsure`` says that the highest is below the threshold that the model carries (``unsure_below``); a model
    without one is never unsure. The scores are the same in any case. ``seen`` is the part of the run's data that the
    image was in: ``train``, ``validation`` or ``test``; None for any other image, and where the run's folder is not
    at hand. Scores of an image that was in the first two flatter.
    """

    Prediction: str
    Score: Mapping[str, float]
    unsure: bool = field(default=False, kw_only=True)
    seen: str | None = field(default=None, kw_only=True, compare=False)

    @property
    def outcome(self) -> str:
        """What to tell a person: the class, or ``unsure (daisy 0.41)``."""
        if not self.unsure:
            return self.Prediction
        return f"unsure ({self.Prediction} {self.Score[self.Prediction]:.2f})"


@dataclass(frozen=True, repr=False)
class Prediction(ModelOutput):
    """The answer for one picture; it shows itself as bars.

    ``source`` names the picture. Where one of several pictures could not be read, ``error`` says why,
    ``Prediction`` is empty and there are no scores. ``run`` says which run's model answered, where that is known.
    """

    source: str
    error: str = ""
    thumbnail: bytes = field(default=b"", compare=False)
    run: str = field(default="", kw_only=True, compare=False)

    @property
    def label(self) -> str:
        """The class with the highest probability."""
        return self.Prediction

    @property
    def scores(self) -> Mapping[str, float]:
        """The probability of every class, the highest first."""
        return self.Score

    @property
    def score(self) -> float:
        """The probability of ``label``; NaN where the picture could not be read."""
        return self.Score.get(self.Prediction, float("nan"))

    def png(self) -> bytes:
        """Return the bars as a PNG picture."""
        from .plots import score_bars

        return score_bars(list(self.Score), list(self.Score.values()), notes=self._notes())

    def __repr__(self) -> str:
        answer = self.error or f"{self.label!r}, {percent(self.score)}{', unsure' if self.unsure else ''}"
        return f"<Prediction for {self.source!r}: {answer}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": self._text(), "text/html": self._html()}
        if include and "image/png" in include and not self.error:
            bundle["image/png"] = self.png()
        return bundle

    def _notes(self) -> list[str]:
        """Return which run's model answered, and whether that flatters."""
        return notes(self.run, [self.seen], alone=True)

    def _headline(self) -> str:
        if self.error:
            return f"{elide(_short(self.source), 60)} could not be read: {self.error}."
        if self.unsure:
            return f"{elide(_short(self.source), 40)}: {elide(self.outcome, 50)}"
        return f"{elide(_short(self.source), 40)}: {elide(self.label, 40)}, {percent(self.score)}"

    def _bars(self) -> list[tuple[str, float]]:
        """Return the bars to draw: every class, or of many the first ten and the sum of the rest."""
        bars = list(self.Score.items())
        if len(bars) > MOST_BARS:
            rest = bars[MOST_BARS:]
            others = "1 other class" if len(rest) == 1 else f"{len(rest):,} other classes"
            bars = [*bars[:MOST_BARS], (others, sum(score for _, score in rest))]
        return bars

    def _text(self) -> str:
        bars = [(elide(label, 32), score) for label, score in self._bars()]
        rows = [(label, pad(text_bar(score), 20), percent(score)) for label, score in bars]
        lines = as_text(("", "", ""), rows, right=(2,)).splitlines()[1:] if rows else []
        return "\n".join([self._headline(), *(f"  {line}" for line in lines), *(self._notes() if bars else [])])

    def _html(self) -> str:
        if self.error:
            return card(self._headline(), "", colour=BAD)
        picture = image(self.thumbnail, f"The picture {self.source}", style=PICTURE) if self.thumbnail else ""
        rows = "".join(
            f'<tr style="background:none"><th scope="row" title="{escape(label)}" '
            f'style="{LABEL};font-weight:{600 if label == self.label else 400}">{escape(label)}</th>'
            f'<td style="{ROW}">{bar(score, width=120)}</td>'
            f'<td style="{ROW};text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums">'
            f"{escape(percent(score))}</td></tr>"
            for label, score in self._bars()
        )
        bars = (
            f'<table aria-label="Probability of every class" style="border-collapse:collapse;margin:0;{FONT}">'
            f"<tbody>{rows}</tbody></table>"
        )
        beside = '<div style="display:flex;flex-wrap:wrap;gap:8px 20px;align-items:center;margin-top:6px">'
        content = f"{beside}{picture}<div>{bars}</div></div>{_faint(self._notes())}"
        return card(self._headline(), content, colour=WARN if self.unsure else ACCENT)


PICTURE = "max-width:190px;max-height:200px;border-radius:4px"  # beside the bars within 600 pixels
SMALL = "width:100%;height:104px;object-fit:contain;display:block;border-radius:3px"


class Predictions(Sequence[Prediction]):
    """The answers for several pictures, in their order; they show themselves as cards or rows.

    A list of :class:`Prediction`, also as a table (``frame``). A picture that could not be read has its
    place and its reason. Holds 4 bytes a class and picture, and small pictures of the first few only.
    """

    def __init__(
        self,
        classes: Sequence[str],
        sources: Sequence[str],
        scores: np.ndarray[Any, Any],
        errors: Mapping[int, str],
        thumbnails: Mapping[int, bytes],
        *,
        unsure_below: float | None = None,
        seen: Mapping[int, str] | None = None,
        run: str = "",
    ) -> None:
        self.classes = tuple(classes)
        self.sources = list(sources)
        self._scores = scores
        self._errors = dict(errors)
        self._thumbnails = dict(thumbnails)
        self.unsure_below = unsure_below
        self._seen = dict(seen or {})
        self.run = run  # which run's model answered, in words

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> Predictions: ...
    def __getitem__(self, index: int | slice) -> Prediction | Predictions:
        chosen = range(len(self))[index]
        if isinstance(chosen, int):
            error = self._errors.get(chosen, "")
            scores = {} if error else ordered(self.classes, self._scores[chosen])
            label, thumbnail = next(iter(scores), ""), self._thumbnails.get(chosen, b"")
            unsure = bool(scores) and is_unsure(scores[label], self.unsure_below)
            return Prediction(
                label, scores, self.sources[chosen], error, thumbnail, unsure=unsure, seen=self._seen.get(chosen),
                run=self.run,
            )  # fmt: skip
        places = {old: new for new, old in enumerate(chosen)}
        return Predictions(
            self.classes,
            [self.sources[i] for i in chosen],
            self._scores[list(chosen)],
            {places[i]: error for i, error in self._errors.items() if i in places},
            {places[i]: thumbnail for i, thumbnail in self._thumbnails.items() if i in places},
            unsure_below=self.unsure_below,
            seen={places[i]: part for i, part in self._seen.items() if i in places},
            run=self.run,
        )

    def __repr__(self) -> str:
        return f"<Predictions: {self.summary}>"

    @property
    def labels(self) -> list[str]:
        """The predicted class of every picture; empty where a picture could not be read."""
        best = self._scores.argmax(axis=1).tolist()
        return ["" if i in self._errors else self.classes[b] for i, b in enumerate(best)]

    @property
    def unsure(self) -> list[bool]:
        """Whether the model says of each picture that it is unsure; never without a threshold."""
        highest = self._scores.max(axis=1).tolist()
        return [i not in self._errors and is_unsure(score, self.unsure_below) for i, score in enumerate(highest)]

    @property
    def seen(self) -> list[str | None]:
        """The part of the run's data that each picture was in; None for any other."""
        return [self._seen.get(i) for i in range(len(self))]

    @property
    def errors(self) -> dict[str, str]:
        """The pictures that could not be read, each with its reason."""
        return {self.sources[i]: error for i, error in self._errors.items()}

    @property
    def frame(self) -> pd.DataFrame:
        """One row a picture: ``ImageSource, Prediction, Score.<class> ..., Error``.

        Of a model with a threshold there is ``Unsure`` (true or false) as well.
        """
        import pandas as pd

        scores = {f"Score.{name}": self._scores[:, i] for i, name in enumerate(self.classes)}
        errors = [self._errors.get(i, "") for i in range(len(self))]
        frame = pd.DataFrame({"ImageSource": self.sources, "Prediction": self.labels, **scores, "Error": errors})
        return frame if self.unsure_below is None else frame.assign(Unsure=self.unsure)

    @property
    def summary(self) -> str:
        """One sentence: how many pictures, of which classes, and how many could not be read."""
        return summarise(Counter(label for label in self.labels if label), len(self._errors), sum(self.unsure))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": self._text(), "text/html": self._html()}

    def _notes(self) -> list[str]:
        return notes(self.run, self.seen)

    def _more(self) -> str:
        more = len(self) - MOST_CARDS
        if more <= 0:
            return ""
        return f"{more:,} more: .frame is the table of all of them, [24:] shows the next ones."

    def _rows(self, folder: str) -> Iterator[tuple[str, str, str]]:
        for one in self[:MOST_CARDS]:
            said = (one.outcome, percent(one.score)) if not one.error else (f"could not be read: {one.error}", "")
            yield elide(one.source[len(folder) :], 60), elide(said[0], 60), said[1]

    def _text(self) -> str:
        folder = _common_folder(self.sources[:MOST_CARDS])
        rows = as_text((f"Picture{_in(folder)}", "Prediction", "Score"), self._rows(folder), right=(2,))
        head = "\n".join([self.summary, *self._notes()])
        return "\n\n".join(part for part in (head, rows, self._more()) if part)

    def _html(self) -> str:
        shown = self[:MOST_CARDS]
        content = _grid(shown) if len(self) <= MOST_CARDS else _table(shown)
        more = f'<div style="opacity:.75">{escape(self._more())}</div>' if self._more() else ""
        return card(self.summary, _faint(self._notes()) + content + more)


def _faint(lines: Iterable[str]) -> str:
    return "".join(f'<div style="opacity:.75">{escape(line)}</div>' for line in lines)


def _short(source: str) -> str:
    """Return the picture's name and its folder's, which is enough to know it by."""
    return "/".join(source.replace("\\", "/").split("/")[-2:])


def _common_folder(sources: Sequence[str]) -> str:
    """Return the folder that all are in, with its slash, to be said once and not in every row."""
    # part by part and as they were given: what is cut off in every row has to be the text that is said once
    parts = [source.split("/")[:-1] for source in sources]
    levels = itertools.takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False))
    return "".join(f"{level[0]}/" for level in levels)


def _in(folder: str) -> str:
    return f" in {elide(folder.rstrip('/') or '/', 30)}" if folder else ""


def ordered(classes: Sequence[str], scores: np.ndarray[Any, Any]) -> dict[str, float]:
    """Return label to probability, the highest first; equal ones in the order of the classes."""
    order = (-scores).argsort(kind="stable").tolist()
    values = scores.tolist()
    return {classes[i]: values[i] for i in order}


def is_unsure(score: float, unsure_below: float | None) -> bool:
    """Return whether a highest score is below the threshold, if there is one."""
    return unsure_below is not None and score < unsure_below


def summarise(counts: Mapping[str, int], failed: int, unsure: int = 0) -> str:
    """Return ``42 pictures: 21 × roses, 19 × tulips; 3 of them unsure; 2 could not be read.``"""
    total = sum(counts.values()) + failed
    most = sorted(counts.items(), key=lambda item: -item[1])
    named = [f"{number:,} × {elide(label, 30)}" for label, number in most[:8]]
    if len(most) > 8:
        named.append(f"{sum(number for _, number in most[8:]):,} of {len(most) - 8:,} other classes")
    parts = [", ".join(named)] if named else []
    parts += [f"{unsure:,} of them unsure"] if unsure else []
    parts += [f"{failed:,} could not be read"] if failed else []
    return f"{total:,} picture{'' if total == 1 else 's'}{': ' if parts else ''}{'; '.join(parts)}."


def _grid(answers: Iterable[Prediction]) -> str:
    return f'<div style="display:flex;flex-wrap:wrap;gap:10px;margin-top:6px">{"".join(map(_small, answers))}</div>'


def _small(one: Prediction) -> str:
    picture = image(one.thumbnail, f"The picture {one.source}", style=SMALL) if one.thumbnail else ""
    line = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
    if one.error:
        said = f'<div style="color:{TEXT[BAD]};margin-top:2px">could not be read: {escape(one.error)}</div>'
    else:
        (_, _), *others = one.Score.items()
        next_best = f"then {others[0][0]}, {percent(others[0][1])}"
        said = (
            f'<div title="{escape(one.outcome)}" style="{line};font-weight:600;margin-top:2px">'
            f"{escape(one.outcome)}</div>"
            f'<div style="display:flex;align-items:center;gap:6px;white-space:nowrap">{bar(one.score, width=70)}'
            f"{escape(percent(one.score))}</div>"
            f'<div title="{escape(next_best)}" style="{line};opacity:.75;font-size:11px">{escape(next_best)}</div>'
        )
    name = _short(one.source).rpartition("/")[2]
    return (
        f'<div style="width:132px;{FONT};line-height:1.35">{picture}{said}'
        f'<div title="{escape(one.source)}" style="{line};opacity:.75;font-size:11px">{escape(name)}</div></div>'
    )


def _table(answers: Predictions) -> str:
    folder = _common_folder(answers.sources)
    rows: list[tuple[object, ...]] = []
    for one in answers:
        style = "height:34px;width:44px;max-width:none;object-fit:contain;display:block;margin:0"
        picture = Markup(image(one.thumbnail, "", style=style)) if one.thumbnail else ""
        where = Markup(f'<span title="{escape(one.source)}">{escape(elide(one.source[len(folder) :], 28))}</span>')
        if one.error:
            rows.append((picture, where, f"could not be read: {one.error}", "", ""))
            continue
        label, next_best = elide(one.outcome, 28), elide(list(one.Score)[1], 14)
        rows.append(
            (picture, where, label, _nowrap(f"{bar(one.score, width=56)}&nbsp;{escape(percent(one.score))}"), next_best)
        )
    return table(("", f"Picture{_in(folder)}", "Prediction", "Score", "Next best"), rows, vertical="middle")


def _nowrap(markup: str) -> Markup:
    return Markup(f'<span style="white-space:nowrap">{markup}</span>')
