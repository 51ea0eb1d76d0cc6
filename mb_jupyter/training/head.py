"""The head: multinomial logistic regression on frozen features, by L-BFGS, its penalty chosen on validation.

Features outnumber pictures by far, and a penalised regression never leaves the span of its pictures. So all is
computed there: with X the standardised features and X Xᵀ = L Lᵀ, the rows of L are the same pictures in as many
coordinates as there are pictures, and a regression on L is the regression on X, exactly. Where pictures are too
many for that, a seeded sample of them spans the space (Williams and Seeger, "Using the Nyström Method to Speed Up
Kernel Machines", 2001). L-BFGS after Liu and Nocedal, 1989, in torch's implementation.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import StoppedError

Array = NDArray[Any]

# from strong to weak; one unit is a penalty on weights over features of unit length, whatever their number
PENALTIES = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7)
_DEFAULT_PENALTY = 3e-5  # without validation pictures
_WORSE_IN_A_ROW = 2  # then a weaker penalty will not do better
_COLUMNS = 1024  # features worked on at a time
_SPAN, _SMALL_SPAN = 4096, 1024  # pictures that span the space: at most, and at least
_NUMBERS = 2**28  # of the coordinates held in memory, 1 GiB
_ITERATIONS, _GRADIENT, _CHANGE = 300, 3e-6, 1e-8  # L-BFGS ends at the first of these
_ENOUGH = 60  # iterations of a head that only has to say what it thinks of a fifth of the pictures
_SHARED_WORK = 2**25  # coordinates from which on a step is shared among the cores
_FEW_PICTURES = 1000  # up to so many, early blocks may harm more than they help
_MANY_ROWS = 60_000  # with so many, mirror images bring nothing new
_NUGGET = 1e-5  # on the diagonal, of 1: two equal pictures must not make the matrix singular


@dataclass(frozen=True)
class Fit:
    """The head found, over standardised features: logits = ((f - mean) * scale) @ weight.T + bias.

    ``weight`` is (classes, D) float32. Losses, accuracies and ``validation_logits`` (validation, classes) are those
    before the refit on training and validation pictures together, so that a fine-tuning can be judged by them;
    the pictures as they are, without their mirror images; ``train_weight`` and ``train_bias`` are that earlier
    head, from which a fine-tuning starts that validation can still judge. ``penalties`` holds (penalty, validation
    loss) as tried. ``out_of_fold`` (train and validation, classes) are logits of heads that were fitted without
    that picture's fold, if folds were given: what the temperature is set by. ``points`` (rows, k) are then the
    coordinates in which all this was computed: each image, followed by its mirror image where these count.
    """

    weight: Array
    bias: Array
    train_weight: Array
    train_bias: Array
    mean: Array
    scale: Array
    penalty: float
    penalties: list[tuple[float, float]]
    validation_logits: Array
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    out_of_fold: Array | None = None
    points: Tensor | None = None


def fit_head(
    features: Array,
    labels: Array,
    train: Array,
    validation: Array,
    classes: int,
    *,
    late: Array | None = None,
    folds: Array | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Fit:
    """Fit on ``train``, choose the penalty on ``validation``, fit again on both.

    ``features`` (N, 2, D): each picture and its mirror image, of any float type, also a memmap; ``labels`` (N,)
    integers; ``train`` and ``validation`` are indices into both. ``late`` (D,) marks the features of the last
    blocks: where pictures are few, validation also chooses between these alone and all. ``folds`` has a number for
    each picture of ``train`` and ``validation``, in this order. Once ``stop`` says so, no further penalty is tried and
    the fit that goes on ends with the best it has; the folds are fitted all the same. The same input gives the
    same bits on the same machine.
    """
    pictures = np.concatenate((train, validation)).astype(np.int64)
    sides = 2 if 2 * len(pictures) <= _MANY_ROWS else 1
    rows = len(train) * sides
    target = torch.from_numpy(np.asarray(labels)[pictures].astype(np.int64)).repeat_interleave(sides).to(device)
    masks = [None, late] if late is not None and len(validation) and len(pictures) <= _FEW_PICTURES else [None]
    count = len(np.unique(folds)) if folds is not None else 0
    steps = len(masks) * len(PENALTIES) + 1 + count
    tell = progress or (lambda done, total: None)

    def heard(before: int, done: int) -> None:
        tell(before + done, steps)

    trials: list[_Trial] = []
    for number, mask in enumerate(masks):
        if trials and stop():
            break
        space = _Space(features, pictures, sides, device=torch.device(device), seed=seed, mask=mask)
        before = number * len(PENALTIES)
        trials.append(_search(space, target, rows, classes, tell=functools.partial(heard, before), stop=stop))
    best = min(trials, key=lambda trial: trial.loss)
    fit = _conclude(best, target, rows, sides, classes, stop=stop)
    tell(steps - count, steps)
    if folds is not None:
        unseen = _out_of_fold(best, target, np.asarray(folds), classes, tell=functools.partial(heard, steps - count))
        fit = dataclasses.replace(fit, out_of_fold=unseen, points=best.space.points)
    return fit


@dataclass(frozen=True)
class _Trial:
    """The best head over one set of features: ``loss`` is that on validation."""

    space: _Space
    solution: _Solution
    tried: list[tuple[float, float]]
    loss: float


def _search(
    space: _Space, target: Tensor, rows: int, classes: int, *, tell: Callable[[int], None], stop: Callable[[], bool]
) -> _Trial:
    """Fit the first ``rows`` with weaker and weaker penalties, as long as the others are predicted better."""
    points, others = space.points[:rows], space.points[rows:]
    if not len(others):
        return _Trial(space, _minimise(points, target, classes, _DEFAULT_PENALTY, None), [], 0.0)
    tried: list[tuple[float, float]] = []
    solution = best = None
    for done, penalty in enumerate(PENALTIES, 1):
        solution = _minimise(points, target[:rows], classes, penalty, solution, stop=stop)
        loss, _ = _judge(solution.logits(others), target[rows:])
        if best is None or loss < min(earlier for _, earlier in tried):
            best = solution
        tried.append((penalty, loss))
        tell(done)
        if _has_turned([loss for _, loss in tried]) or stop():
            break
    assert best is not None
    return _Trial(space, best, tried, min(loss for _, loss in tried))


def _conclude(trial: _Trial, target: Tensor, rows: int, sides: int, classes: int, *, stop: Callable[[], bool]) -> Fit:
    """Judge the head by the pictures as they are, and fit it again on all of them."""
    space, best = trial.space, trial.solution
    upright = slice(None, None, sides)
    train_loss, train_accuracy = _judge(best.logits(space.points[:rows][upright]), target[:rows][upright])
    logits = best.logits(space.points[rows:][upright])
    validation_loss, validation_accuracy = _judge(logits, target[rows:][upright])
    final = _minimise(space.points, target, classes, best.penalty, best, stop=stop) if trial.tried else best
    return Fit(
        weight=space.unfold(final.weight).cpu().numpy(),
        bias=final.bias.cpu().numpy(),
        train_weight=space.unfold(best.weight).cpu().numpy(),
        train_bias=best.bias.cpu().numpy(),
        mean=space.mean.cpu().numpy(),
        scale=space.scale.cpu().numpy(),
        penalty=best.penalty,
        penalties=trial.tried,
        validation_logits=logits.cpu().numpy(),
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        validation_loss=validation_loss,
        validation_accuracy=validation_accuracy,
    )


def _out_of_fold(trial: _Trial, target: Tensor, folds: Array, classes: int, *, tell: Callable[[int], None]) -> Array:
    """Return the logits of the pictures as they are, each by a head fitted on the other folds alone.

    Penalty and features are those that were chosen; every head begins at nothing, so that none remembers a label.
    """
    points, sides = trial.space.points, len(trial.space.points) // len(folds)
    fold_of = torch.from_numpy(folds).to(points.device).repeat_interleave(sides)
    logits = torch.empty(len(folds), classes, device=points.device)
    for done, fold in enumerate(np.unique(folds).tolist(), 1):
        learned, unseen = fold_of != fold, torch.from_numpy(folds == fold).to(points.device)
        if not bool(learned.any()):  # nothing else to learn from: all classes alike
            logits[unseen] = 0.0
            continue
        found = fitted(points[learned], target[learned], classes, trial.solution.penalty)
        logits[unseen] = found.logits(points[::sides][unseen])
        tell(done)
    return np.asarray(logits.cpu().numpy())


def fitted(
    points: Tensor, target: Tensor, classes: int, penalty: float, stop: Callable[[], bool] = lambda: False
) -> _Solution:
    """Return a head on points (rows, k), found as those of the folds are; its ``logits`` answer for other points.

    Once ``stop`` says so, the head is the best so far.
    """
    return _minimise(points, target, classes, penalty, None, iterations=_ENOUGH, stop=stop)


class _Space:
    """The pictures as points of few coordinates, in which distances are those of their standardised features."""

    def __init__(
        self, features: Array, pictures: Array, sides: int, *, device: torch.device, seed: int, mask: Array | None
    ) -> None:
        self._features, self._pictures, self._sides, self._device = features, pictures, sides, device
        count, width = len(pictures) * sides, features.shape[2]
        self._width = width
        self.mean, self.scale = self._moments()
        if mask is not None:
            self.scale *= torch.from_numpy(mask).to(self.scale)
        self._used = int(mask.sum()) if mask is not None else width
        room = min(max(_NUMBERS // count, _SMALL_SPAN), _SPAN)
        self._span: Array | None = None
        self._factor: Tensor | None = None
        if width <= min(room, count):
            columns = [block for _, block in self._columns(pictures)]
            self.points = torch.cat(columns, 1) / self._used**0.5
            return
        self._span = pictures
        if count > room:
            chosen = np.random.default_rng(seed).choice(len(pictures), room // sides, replace=False)
            self._span = pictures[np.sort(chosen)]
        self.points, self._factor = self._project(count)

    def unfold(self, weight: Tensor) -> Tensor:
        """Return weights (classes, D) over standardised features of weights over coordinates."""
        if self._span is None or self._factor is None:
            return weight / self._used**0.5
        combination = torch.linalg.solve_triangular(self._factor, weight.double(), upper=False, left=False).float()
        return torch.cat([combination @ block for _, block in self._columns(self._span)], 1) / self._used

    def _project(self, count: int) -> tuple[Tensor, Tensor]:
        assert self._span is not None
        spanning = len(self._span) * self._sides
        everyone = spanning == count
        products = torch.zeros(count, spanning, device=self._device)
        inner = products if everyone else torch.zeros(spanning, spanning, device=self._device)
        for start, block in self._columns(self._pictures):
            if everyone:
                products.addmm_(block, block.T)
                continue
            few = next(self._columns(self._span, start))[1]
            products.addmm_(block, few.T)
            inner.addmm_(few, few.T)
        products /= self._used
        if not everyone:
            inner /= self._used
        exact = inner.double()
        exact.diagonal().add_(_NUGGET)
        factor = torch.linalg.cholesky(exact)
        del exact
        points = torch.linalg.solve_triangular(factor.float(), products.T, upper=False).T.contiguous()
        return points, factor

    def _columns(self, pictures: Array, first: int = 0) -> Iterator[tuple[int, Tensor]]:
        """Yield blocks of standardised features, all rows and some columns: (start, (rows, columns) float32)."""
        for start in range(first, self._width, _COLUMNS):
            stop = min(start + _COLUMNS, self._width)
            raw = self._raw(pictures, start, stop)
            yield start, raw.sub_(self.mean[start:stop]).mul_(self.scale[start:stop])

    def _raw(self, pictures: Array, start: int, stop: int) -> Tensor:
        block = self._features[pictures, : self._sides, start:stop]
        return torch.from_numpy(np.ascontiguousarray(block)).to(self._device).float().flatten(0, 1)

    def _moments(self) -> tuple[Tensor, Tensor]:
        """Return each feature's mean and one over its deviation; 0 for a feature that never changes."""
        means, scales = [], []
        for start in range(0, self._width, _COLUMNS):
            block = self._raw(self._pictures, start, min(start + _COLUMNS, self._width)).double()
            mean, deviation = block.mean(0), block.std(0, correction=0)
            constant = deviation <= 1e-6 * mean.abs() + 1e-12
            means.append(mean.float())
            scales.append(torch.where(constant, 0.0, 1 / deviation.clamp(min=1e-12)).float())
        return torch.cat(means), torch.cat(scales)


@dataclass(frozen=True)
class _Solution:
    """``weight`` is (classes, coordinates): class by class, the products below run twice as fast."""

    weight: Tensor
    bias: Tensor
    penalty: float

    def logits(self, points: Tensor) -> Tensor:
        return (self.weight @ points.T).T + self.bias


def _minimise(
    points: Tensor,
    target: Tensor,
    classes: int,
    penalty: float,
    start: _Solution | None,
    *,
    iterations: int = _ITERATIONS,
    stop: Callable[[], bool] = lambda: False,
) -> _Solution:
    """Minimise the mean cross entropy + penalty / 2 x sum of squared weights; the bias goes free.

    ``stop`` is asked at every step; it ends the search with the best weights so far.
    """
    count, width = points.shape
    # the steps are in double precision, the products over all pictures in single
    flat = torch.zeros(classes, width + 1, dtype=torch.float64, device=points.device)
    if start is not None:
        flat[:, :width], flat[:, width] = start.weight, start.bias
    flat.requires_grad_(True)
    places = torch.arange(count, device=points.device)

    lowest, kept = float("inf"), flat.detach().clone()

    @torch.no_grad()
    def objective() -> Tensor:
        nonlocal lowest
        weight, bias = flat[:, :width], flat[:, width:]
        scores = torch.log_softmax((weight.float() @ points.T).add_(bias.float()), 0)
        loss = penalty / 2 * weight.square().sum() - scores[target, places].double().mean()
        wrong = scores.exp_()
        wrong[target, places] -= 1
        wrong /= count
        gradient = torch.cat((wrong @ points, wrong.sum(1, keepdim=True)), 1).double()
        gradient[:, :width] += penalty * weight
        flat.grad = gradient
        if float(loss) < lowest:
            lowest = float(loss)
            kept.copy_(flat)
        if stop():
            raise StoppedError
        return loss

    search = torch.optim.LBFGS(
        [flat],
        max_iter=iterations,
        tolerance_grad=_GRADIENT,
        tolerance_change=_CHANGE,
        history_size=20,
        line_search_fn="strong_wolfe",
    )
    found = flat.detach()
    with _few_threads(points):
        try:
            search.step(objective)
        except StoppedError:
            found = kept
    found = found.float()
    return _Solution(found[:, :width].contiguous(), found[:, width].clone(), penalty)


@contextlib.contextmanager
def _few_threads(points: Tensor) -> Iterator[None]:
    """Compute on one core where the work of a step is too small to be shared: waiting would cost more."""
    before = torch.get_num_threads()
    if points.device.type == "cpu" and points.numel() < _SHARED_WORK:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _judge(logits: Tensor, target: Tensor) -> tuple[float, float]:
    """Return mean cross entropy and accuracy; of no pictures, 0 and 0."""
    if not len(target):
        return 0.0, 0.0
    loss = torch.nn.functional.cross_entropy(logits.double(), target)
    return float(loss), float((logits.argmax(1) == target).double().mean())


def _has_turned(losses: Sequence[float]) -> bool:
    """Return whether the last few losses were each worse than the best before them."""
    recent, before = losses[-_WORSE_IN_A_ROW:], losses[:-_WORSE_IN_A_ROW]
    return bool(before) and min(recent) > min(before)
