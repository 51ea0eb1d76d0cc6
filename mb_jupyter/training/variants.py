"""The model in float32 and in int8: which one is recommended, decided on validation images; both on the test images.

The head of a model on frozen features has been fitted on the validation images too, and knows them. There both variants
are judged with the head from before, which does not: the network below, all that int8 changes, is the same.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import evidence, export, processes
from .data import Sample, decode
from .disk import swap
from .errors import StoppedError
from .graph import INPUT, OUTPUT, with_another_head
from .parts import Parts
from .quantise import CALIBRATING, FILE, MOST_PICTURES, quantised, spread
from .session import Session

Array = np.ndarray[Any, Any]

TURNS, FEWEST_TURNS = 40, 10  # of timing one variant and then the other
TIMING_SECONDS = 4.0  # after which the fewest turns are enough
FEWEST_IMAGES = 20  # to decide on
FASTER = 1.2  # times as fast int8 has to be
MOST_LOST = 0.02  # by which the score of the true class may fall on average, at the upper end of the 95 % interval
STOPPED = "the run was stopped early"
_Z = 1.959963984540054  # of the normal distribution, for 95 %


def variants(session: Session, parts: Parts) -> dict[str, Any]:
    """Measure the model, make and measure one in int8; return what ``report.json`` says of both.

    ``variants``, ``recommended_variant``, and in ``variant_choice`` a code for the reason and the figures behind it.
    That int8 cannot be made of a network is no failure of the run: then it has a ``reason`` in the place of figures.
    """
    wanted, stopping = session.affords("int8"), session.stopping()  # one answer for all processes
    if processes.rank():
        return {}
    recorder, done = session.recorder, itertools.count(1)
    recorder.stage("int8", asked(parts), "Measuring the model, and a variant in int8.")

    def tick(*, heed: bool = True) -> None:
        recorder.progress(next(done))
        if heed:
            recorder.heed()

    some = spread(parts.test, MOST_PICTURES)
    whole = _Variant("float32", session.output / export.MODEL, session.settings.image_size)
    answers = whole.answers(some, functools.partial(tick, heed=False))
    machine = {"measured_on": f"{evidence.processor()}, one thread"}
    early = STOPPED if stopping else "the time allowed was over"
    small = _in_int8(session, parts, tick) if wanted else early
    if not isinstance(small, str):
        try:
            return _compared(session, parts, (whole, small), answers, tick) | machine
        except StoppedError:
            small = STOPPED
    (session.output / FILE).unlink(missing_ok=True)  # also that of an earlier attempt, which had another model
    recorder.say(f"There is no int8 variant: {small}.")
    absent = {"name": "int8", "file": FILE, "reason": f"{small}."}
    took = in_turns([whole.ask(parts.train[0])])
    alone = whole.facts(answers, _labels(some)) | {"ms_per_picture": _milliseconds(took)}
    only = {"recommended_variant": "float32", "variant_choice": {"code": "only"}}
    return {"variants": [alone, absent], **only, **machine}


def asked(parts: Parts) -> int:
    """Return how many images both variants are asked about, those included that the ranges are taken from."""
    return 2 * (min(len(parts.test), MOST_PICTURES) + min(len(parts.validation), MOST_PICTURES)) + CALIBRATING


def _compared(
    session: Session, parts: Parts, both: tuple[_Variant, _Variant], answers: Array, tick: Callable[[], None]
) -> dict[str, Any]:
    """Return what the report says of both; ``answers`` are those in float32 on the test images."""
    (whole, small), some = both, spread(parts.test, MOST_PICTURES)
    labels, in_int8 = _labels(some), small.answers(some, tick)
    took = in_turns([whole.ask(parts.train[0]), small.ask(parts.train[0])])
    described = [
        variant.facts(given, labels, answers) | {"ms_per_picture": _milliseconds(took[:, [number]])}
        for number, (variant, given) in enumerate(((whole, answers), (small, in_int8)))
    ]
    choice = _chosen(session, parts, took, tick)
    name = "int8" if choice["code"] == "int8" else "float32"
    session.recorder.say(f"The {name} model is recommended ({choice}).")
    return {"variants": described, "recommended_variant": name, "variant_choice": choice}


def _labels(samples: Sequence[Sample]) -> Array:
    return np.array([sample.label for sample in samples], np.int64)


def _ticking(answers: Iterable[Array], tick: Callable[[], None]) -> Iterator[Array]:
    for answer in answers:
        yield answer
        tick()


class _Variant:
    """A model file, opened as a prediction opens it: one thread."""

    def __init__(self, name: str, path: Path, size: int) -> None:
        self.name, self.path, self.size = name, path, size
        begun = time.perf_counter()
        self._session = export.session_of(str(path))
        self._session.run([OUTPUT], {INPUT: np.zeros((1, size, size, 3), np.uint8)})
        self._first = time.perf_counter() - begun

    def answers(self, samples: Sequence[Sample], tick: Callable[[], None]) -> Array:
        """Return the class of each image; ``tick`` is called after each."""
        found = _ticking(export.answers(str(self.path), samples, self.size), tick)
        return np.array([int(answer.argmax()) for answer in found], np.int64)

    def ask(self, sample: Sample) -> Callable[[], Any]:
        """Return what asks it about one image, decoded before."""
        pixels = decode(sample, self.size)[None]
        return lambda: self._session.run([OUTPUT], {INPUT: pixels})

    def facts(self, given: Array, labels: Array, reference: Array | None = None) -> dict[str, Any]:
        """Return size, first answer, and what it says of test images beside the ``reference`` (float32)."""
        reference = given if reference is None else reference
        right, before = given == labels, reference == labels
        return {
            "name": self.name,
            "file": self.path.name,
            "bytes": self.path.stat().st_size,
            "ms_first": round(1000 * self._first, 2),
            "right": int(right.sum()),
            "pictures": len(labels),
            "agreement": float((given == reference).mean()) if len(labels) else None,
            "lost": int((before & ~right).sum()),
            "gained": int((right & ~before).sum()),
        }


def _in_int8(session: Session, parts: Parts, tick: Callable[[], None]) -> _Variant | str:
    """Make the model in int8; return why there is none where onnxruntime cannot."""
    target, size = session.output / FILE, session.settings.image_size
    try:
        swap(target, quantised((session.output / export.MODEL).read_bytes(), parts.train, size, tick), durable=True)
        session.recorder.heed()
        return _Variant("int8", target, size)
    except StoppedError:
        return STOPPED
    except Exception as error:  # onnxruntime raises anything where a network has what it does not know
        return f"onnxruntime could not make it ({type(error).__name__}: {str(error)[:300]})"


# -- the choice --------------------------------------------------------------------------------------------


def _chosen(session: Session, parts: Parts, took: Array, tick: Callable[[], None]) -> dict[str, Any]:
    some, size = spread(parts.validation, MOST_PICTURES), session.settings.image_size
    labels = _labels(some)
    models = [_unseeing(session, (session.output / name).read_bytes()) for name in (export.MODEL, FILE)]
    scores = [list(_ticking(export.answers(model, some, size), tick)) for model in models]
    whole, small = (np.stack(given) if given else np.empty((0, len(parts.classes))) for given in scores)
    return choose(whole, small, labels, took)


def _unseeing(session: Session, model: bytes) -> bytes:
    """Return the model with a head that was not fitted on the validation images."""
    if session.state.get("finetune", {}).get("best"):
        return model  # fine-tuning starts from such a head
    head, start = session.state["head"], session.state["start"]
    weight = start["weight"] * head["scale"]
    return with_another_head(model, weight, start["bias"] - weight @ head["mean"])


def choose(whole: Array, small: Array, labels: Array, took: Array) -> dict[str, Any]:
    """Return the ``code`` of the choice and its figures.

    ``whole`` and ``small`` (N, classes) are the scores of both on images unknown to them, ``took`` (turns, 2) their
    seconds. What int8 loses is how far the score of the true class falls, paired by image: calibrated scores add up to
    the answers that are right, and far fewer images tell of scores than of answers. The codes: ``int8``, which is
    recommended; ``too_few`` images; ``loses`` more than ``MOST_LOST``, or perhaps; ``not_faster`` than ``FASTER``, or
    within the noise of the timing.
    """
    rows, count = np.arange(len(labels)), len(labels)
    speed, slow, fast = _ratio(took)
    facts: dict[str, Any] = {
        "images": count, "source": "validation", "speed": speed, "speed_low": slow, "speed_high": fast,
        "turns": len(took), "needed_speed": FASTER, "allowed_fall": MOST_LOST,
    }  # fmt: skip
    if count < FEWEST_IMAGES:
        return {"code": "too_few", **facts}
    before, right = whole.argmax(1) == labels, small.argmax(1) == labels
    low, fall, high = _mean(whole[rows, labels].astype(float) - small[rows, labels])
    facts |= {"lost": int((before & ~right).sum()), "gained": int((right & ~before).sum())}
    facts |= {"fall": fall, "fall_low": low, "fall_high": high}
    if high > MOST_LOST:
        return {"code": "loses", **facts}
    return {"code": "int8" if speed >= FASTER and slow > 1 else "not_faster", **facts}


def _mean(values: Array) -> tuple[float, float, float]:
    """Return the lower end of the 95 % interval of the mean (Student), the mean, and the upper end."""
    from scipy.stats import t

    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    reach = float(t.ppf(0.975, len(values) - 1)) * error
    return mean - reach, mean, mean + reach


# -- the speed ---------------------------------------------------------------------------------------------


def in_turns(calls: Sequence[Callable[[], Any]], clock: Callable[[], float] = time.perf_counter) -> Array:
    """Return the seconds (turns, calls) of each call, one after the other in every turn, in changing order.

    A machine that is busy for a while is so for all of them: only the seconds of one turn are to be compared.
    """
    took: list[list[float]] = []
    for call in calls:
        call()
    begun = clock()
    while len(took) < TURNS and (len(took) < FEWEST_TURNS or clock() - begun < TIMING_SECONDS):
        seconds = [0.0] * len(calls)
        order = range(len(calls))
        for number in order if len(took) % 2 else reversed(order):
            began = clock()
            calls[number]()
            seconds[number] = clock() - began
        took.append(seconds)
    return np.array(took)


def _ratio(took: Array) -> tuple[float, float, float]:
    """Return how many times as fast the second is: the median over the turns, and the 95 % interval of that median."""
    ratios = np.sort(took[:, 0] / np.maximum(took[:, 1], 1e-9))
    count = len(ratios)
    place = max(0, math.floor((count - _Z * math.sqrt(count)) / 2))
    return float(np.median(ratios)), float(ratios[place]), float(ratios[count - 1 - place])


def _milliseconds(took: Array) -> float:
    return round(1000 * float(np.median(took)), 3)
