"""Fine-tuning from the frozen features' head: the epochs, and what they keep for a restart.

First the head alone, then the network below it ("LP-FT", Kumar et al. 2022, arXiv:2202.10054): the head is
already right, so the pretrained weights are not pulled out of shape by a random one. On a processor the early
blocks stay frozen: their outputs are computed in the fastest engine there is, and only the late blocks are
trained, in torch. On GPUs the whole network is.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from . import answers, calibrate, data, loop, memory, processes
from .errors import StoppedError
from .network import Classifier
from .plan import WAYS, Opener, Plan, make_plan
from .session import Session
from .tail import Tail

SMOOTHING = 0.05
WEIGHT_DECAY = 0.05
DECAY = 0.98  # of the moving average of the weights
WARM_UP = 0.1  # of all steps
HEAD_RATE = 0.02  # of the learning rate: thousands of inputs move a logit together
PERFECT = 0.01  # a validation loss below which nothing could be measured
TELLING = 0.2  # of an epoch, from which on its own pace counts
SLACK = 1.1  # an epoch may take this much longer than the one before


@dataclass(frozen=True, slots=True)
class Outcome:
    """Which weights the classifier carries now: epoch 0 are those of the frozen features."""

    epoch: int
    loss: float | None
    plan: Plan | None

    def facts(self) -> dict[str, Any]:
        """Return what the records say of it."""
        return {"best_phase": "finetune" if self.epoch else "features", "best_epoch": self.epoch}


def finetune(session: Session, classifier: Classifier, open_sources: Opener, *, reserve: float) -> Outcome:
    """Train as long as epochs, time and patience allow; leave the best weights in the classifier.

    ``reserve`` are the seconds that evaluation and export will need. What was begun before a restart goes on.
    """
    frozen = Outcome(0, session.state["frozen"]["loss"], None)
    code = _needless(session, frozen.loss)
    if "finetune" not in session.state and not code:
        session.recorder.stage("epoch", message="Estimating how many epochs fit.")
        plan = make_plan(session, classifier, open_sources, session.left() - reserve)
        session.state.pop("measured", None)
        session.save(finetune={"plan": plan.as_dict() if plan else None, "epoch": 0, "best": 0, "loss": frozen.loss})
    if not code and session.state["finetune"]["plan"] is None:
        code = "stop_asked" if session.stopping() else "no_time"
    if code:
        session.recorder.expect("epoch", 0)
        session.recorder.event("left out", stage="epoch", code=code)
        session.recorder.say(f"Fine-tuning is left out: {code.replace('_', ' ')}.")
        return frozen
    plan = Plan(**session.state["finetune"]["plan"])
    at_once = memory.at_once(plan.batch, session.device.type)
    session.recorder.event(
        "plan", batch_size=plan.batch, at_once=at_once, cut=plan.cut, epochs=plan.epochs,
        learning_rate=plan.learning_rate,
    )  # fmt: skip
    session.recorder.say(plan.sentence(len(classifier.backbone.parts)))
    with memory.named(plan.batch, session.device.type):
        return _Epochs(session, classifier, open_sources, plan).run(reserve)


def _needless(session: Session, loss: float | None) -> str:
    """Return the code of why there is no fine-tuning, or nothing; the views have the sentences."""
    if session.settings.recipe == "features":
        return "recipe_features"
    if loss is None:
        return "no_validation"
    if session.settings.recipe == "auto" and session.state["frozen"]["accuracy"] == 1.0 and loss < PERFECT:
        return "no_mistake"
    if "finetune" not in session.state and session.stopping():
        return "stop_asked"
    return ""


class _Epochs:
    """The epochs of one plan, with everything that a checkpoint has to keep between them."""

    def __init__(self, session: Session, classifier: Classifier, open_sources: Opener, plan: Plan) -> None:
        self.session, self.plan, device = session, plan, session.device
        self.tail = Tail(classifier, plan.cut)
        # the head that has not seen the validation pictures: they are to judge what becomes of it
        self.frozen_head = {name: value.clone() for name, value in classifier.head.state_dict().items()}
        classifier.head.linear.load_state_dict(session.state["start"])
        self.train, self.validation = open_sources(self.tail)
        self.precision = loop.Precision(device.type, plan.precision)
        self.optimizer = _optimizer(self.tail, plan.learning_rate)
        self.per_epoch = len(data.steps(len(self.train.pictures), plan.batch, seed=0, epoch=0))
        total = plan.epochs * self.per_epoch
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, loop.one_cycle(total, math.ceil(WARM_UP * total))
        )
        self.scaler = self.precision.scaler()
        self.average = loop.Average(self.tail, DECAY)
        self.model: nn.Module = self.tail
        if processes.world() > 1:
            where = [device] if device.type == "cuda" else None
            self.model = nn.parallel.DistributedDataParallel(self.tail, device_ids=where, broadcast_buffers=False)
        self.begin = self.best = self.tail.trained()
        self.state = dict(session.state["finetune"])
        self._resume()

    def run(self, reserve: float) -> Outcome:
        """Train epoch after epoch; the tail carries the best weights at the end."""
        session = self.session
        while not self._is_over(reserve):
            if session.stopping() or not self._one(self.state["epoch"] + 1):
                break
        session.save(finetune=self.state)
        self.tail.carry(self.best)
        if not self.state["best"]:
            self.tail.classifier.head.load_state_dict(self.frozen_head)
        return Outcome(self.state["best"], self.state["loss"], self.plan)

    def _is_over(self, reserve: float) -> bool:
        """Return whether epochs, patience or time are used up. It is not asked twice when the run is begun again."""
        state = self.state
        if not state["over"] and not state["begun"]:
            used_up = state["epoch"] >= self.plan.epochs or state["waited"] >= self.session.settings.patience
            state["over"] = used_up or self.session.left() - reserve < SLACK * state["seconds"]
        return bool(state["over"])

    def _one(self, epoch: int) -> bool:
        """Train and evaluate one epoch, or what is left of it, and record it; False when it was stopped on the way."""
        session, plan, recorder = self.session, self.plan, self.session.recorder
        begun = self.state["begun"] or {"steps": 0, "sums": None, "seconds": 0.0}
        tally = loop.Tally(begun["steps"], begun["sums"] if processes.rank() == 0 else None)
        began = time.monotonic() - begun["seconds"]
        recorder.stage("epoch", total=plan.epochs, message=f"epoch {epoch} of {plan.epochs}")
        recorder.progress(epoch - 1)
        self._expect(epoch, began, tally.steps)
        count, rank, world = len(self.train.pictures), processes.rank(), processes.world()
        steps = data.steps(count, plan.batch, seed=session.settings.seed, epoch=epoch, rank=rank, world=world)
        figures = loop.train_one_epoch(
            self.model,
            self.train.batches(steps[tally.steps :], epoch),
            self.optimizer,
            self.schedule,
            self.average,
            precision=self.precision,
            scaler=self.scaler,
            smoothing=SMOOTHING,
            stop=recorder.stop_requested,
            progress=lambda done: self._expect(epoch, began, done),
            tally=tally,
            keep=lambda: self._keep(tally, began),
        )
        self._note(tally, began)  # the validation writes checkpoints too, while the model carries other weights
        if figures is None:
            return False
        trained = time.monotonic() - began
        try:
            with self.average.in_place():
                loss, accuracy, raw, weights = self._best_of_the_way(epoch)
        except StoppedError:
            return False
        better = loss < self.state["loss"]
        if better:
            self.best = weights
        recorder.progress(epoch)
        # one clock for all processes: each asks it whether there is time for another epoch
        self._advance(epoch, loss, better, float(processes.tell(time.monotonic() - began)))
        recorder.epoch({
            "phase": "finetune", "epoch": epoch, "train_loss": figures["loss"], "train_accuracy": figures["accuracy"],
            "validation_loss": loss, "validation_accuracy": accuracy, "learning_rate": self.schedule.get_last_lr()[0],
            "seconds": time.monotonic() - began, "pictures_per_second": count / trained, "best": better,
            "validation_loss_raw": raw,
        })  # fmt: skip
        self.state.update(begun=None, best_weights=self.best)
        if session.due():
            session.save()
        return True

    def _expect(self, epoch: int, began: float, done: int) -> None:
        """Tell how long the epochs still take: as long as the last one, until this one shows that it takes longer."""
        spent, share = time.monotonic() - began, done / self.per_epoch
        each = self.state["seconds"] or 0.0
        if share >= TELLING:
            each = spent + (1 - share) * max(each, spent / share)
        recorder = self.session.recorder
        recorder.expect("epoch", (self.plan.epochs - epoch + 1) * each - spent, known=each > 0, most=True)
        if done:
            recorder.progress(epoch - 1)

    def _best_of_the_way(self, epoch: int) -> tuple[float, float, float, dict[str, torch.Tensor]]:
        """Return what ``_validate`` says of the best point between pretrained and trained, and its weights."""
        end, found = self.tail.trained(), []
        for way in WAYS:
            weights = {name: self.begin[name].lerp(weight, way) for name, weight in end.items()}
            self.tail.carry(weights)
            found.append((*self._validate(answers.Answers(self.session, f"validation at {way}", epoch)), weights))
        self.tail.carry(end)
        return min(found, key=lambda point: point[0])

    def _validate(self, found: answers.Answers) -> tuple[float, float, float]:
        """Return loss and accuracy on the validation images, the loss at its best temperature, and that at 1.

        The first is how the model may be exported, with what label smoothing does to the scores undone: it chooses.
        The last is of the same kind as the training loss: it is for comparing the two.
        """
        stop = self.session.recorder.stop_requested
        logits = answers.logits(found, self.tail, self.validation, self.plan.batch, precision=self.precision, stop=stop)
        labels = torch.from_numpy(self.validation.pictures.labels)
        loss, accuracy = calibrated(logits, labels)
        assert loss is not None and accuracy is not None  # without validation pictures there is no fine-tuning
        return loss, accuracy, cross_entropy(logits.double(), labels).item()

    def _advance(self, epoch: int, loss: float, better: bool, seconds: float) -> None:
        """Note how the epoch went. Patience counts from the lowest loss of the fine-tuning itself."""
        lowest = min(loss, self.state["lowest"])
        self.state.update(
            epoch=epoch, lowest=lowest, seconds=seconds, waited=0 if loss == lowest else self.state["waited"] + 1
        )
        if better:
            self.state.update(best=epoch, loss=loss)

    def _resume(self) -> None:
        state = self.state
        fresh = {"waited": 0, "lowest": math.inf, "seconds": self.plan.seconds, "begun": None, "over": False}
        state.update(fresh | state)
        if "weights" not in state:
            return
        self.tail.carry(state["weights"])
        self.best = state["best_weights"]
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])

    def _keep(self, tally: loop.Tally, began: float) -> None:
        if self.session.due():
            self._note(tally, began)
            self.session.save()

    def _note(self, tally: loop.Tally, began: float) -> None:
        """Put what the epoch goes on from into the session's state, of which every checkpoint holds all."""
        self.state.update(
            begun={"steps": tally.steps, "sums": tally.together(), "seconds": time.monotonic() - began},
            weights=self.tail.trained(),
            best_weights=self.best,
            average=self.average.state_dict(),
            optimizer=self.optimizer.state_dict(),
            schedule=self.schedule.state_dict(),
            scaler=self.scaler.state_dict(),
        )
        self.session.state["finetune"] = self.state


def calibrated(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float] | tuple[None, None]:
    """Return the loss at the best temperature, and the accuracy; of no pictures, nothing."""
    if not len(labels):
        return None, None
    heat = calibrate.temperature(logits.numpy(), labels.numpy())
    loss = cross_entropy(logits.double() / heat, labels).item()
    return loss, (logits.argmax(1) == labels).double().mean().item()


def _optimizer(tail: Tail, rate: float) -> torch.optim.Optimizer:
    """AdamW; biases, BatchNorm and the head, whose own penalty chose it, do not decay."""
    head = set(tail.classifier.head.parameters())
    body = [weight for weight in tail.parameters() if weight.requires_grad and weight not in head]
    return torch.optim.AdamW([
        {"params": [weight for weight in body if weight.ndim > 1], "weight_decay": WEIGHT_DECAY, "lr": rate},
        {"params": [weight for weight in body if weight.ndim <= 1], "weight_decay": 0.0, "lr": rate},
        {"params": list(head), "weight_decay": 0.0, "lr": HEAD_RATE * rate},
    ])  # fmt: skip
