"""The stages of a run around the fine-tuning: each reads the session and leaves the classifier better, or a file."""

from __future__ import annotations

import dataclasses
import platform
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from . import (
    answers,
    calibrate,
    curve,
    data,
    disk,
    engines,
    evidence,
    export,
    features,
    finetune,
    folds,
    head,
    loop,
    neighbours,
    parallel,
    processes,
    schedule,
)
from .augment import Augmentation
from .data import Pictures
from .errors import StoppedError, TrainingError
from .network import Choice, Classifier
from .parts import Parts
from .plan import Opener
from .prefix import fastest
from .session import Session
from .tail import Source, Tail

CHUNK = 32  # pictures that an evaluation takes at a time
VARIANTS = 8  # augmentations of a picture whose frozen part is kept, when there are more epochs than that
MOST_WORKERS = 8
ENOUGH_SCORED = 256  # images that tell the accuracy to within a few points: a stop meanwhile leaves out the rest
ENOUGH = 512  # validation pictures to see whether the pictures have a top
NO_TOP = 1.25  # the loss on turned pictures over that on upright ones: 1.14 and 0.97 without a top, 1.48 with one
OUT_OF_FOLD, VALIDATION = "out_of_fold.csv", "validation.csv"  # scores of images that a model was not fitted on


class Scores(NamedTuple):
    """Logits (N, classes) and labels (N,) of a part of the split."""

    logits: torch.Tensor
    labels: torch.Tensor


def begin(session: Session, choice: Choice, classifier: Classifier, parts: Parts) -> None:
    """Record what is trained on what; refuse a disk on which it can only fail."""
    if not session.resumed and processes.rank() == 0:
        size = sum(weight.numel() * weight.element_size() for weight in classifier.backbone.parameters())
        disk.check_room(session.output, size, tuned=session.settings.recipe != "features")
    counts, where = parts.counts, session.device
    session.recorder.event(
        "start",
        architecture=choice.name,
        reason=choice.reason,
        device=_name(where),
        pictures=counts,
        classes=parts.classes,
        resumed=session.resumed,
    )
    total = sum(counts.values())
    session.recorder.say(f"{total} pictures of {len(parts.classes)} classes: {counts}.")


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple GPU (mps)" if device.type == "mps" else platform.processor() or "cpu"


def opener(session: Session, classifier: Classifier, parts: Parts) -> Opener:
    """Return what opens the training and the validation pictures for a tail."""
    settings, where = session.settings, session.device
    apart = where.type == "cuda"  # only such a GPU is so fast that processes of their own have to decode
    threads = 1 if apart else parallel.cores()
    workers = 0 if not apart else max(1, min(MOST_WORKERS, parallel.cores() // processes.world()))
    augmentation = Augmentation(settings.image_size, settings.seed, any_way_up=session.state["frozen"]["any_way_up"])
    train = Pictures(parts.train, settings.image_size, augmentation, threads)
    validation = Pictures(parts.validation, settings.image_size, threads=threads)
    variants = VARIANTS if settings.epochs > VARIANTS else 0

    def open_sources(tail: Tail) -> tuple[Source, Source]:
        prefix = fastest(classifier, tail.cut) if tail.cut else None
        return (
            Source(train, where, prefix=prefix, variants=variants, workers=workers),
            Source(validation, where, prefix=prefix, variants=1, workers=workers),
        )

    return open_sources


def score(
    session: Session, classifier: Classifier, samples: list[data.Sample], stage: str
) -> tuple[Scores, list[data.Sample]]:
    """Return logits and labels of images as the exported model sees them, in float32, and which images these are.

    That is all of them, unless somebody asks to stop meanwhile. They are scored in random order: those that were are a
    fair sample then.
    """
    count, recorder, found = len(samples), session.recorder, answers.Answers(session, stage)
    order = np.arange(count)
    if count > ENOUGH_SCORED:
        order = np.random.default_rng([session.settings.seed, 0x7E57]).permutation(count)
    pictures = Pictures([samples[row] for row in order], session.settings.image_size, threads=parallel.cores())
    try:
        logits = answers.logits(
            found, classifier, Source(pictures, session.device), CHUNK,
            precision=loop.Precision(session.device.type, "float32"), progress=recorder.progress,
            stop=lambda: found.count >= ENOUGH_SCORED and recorder.hurries(),
        )  # fmt: skip
    except StoppedError:
        logits = found.whole()
    scored = order[: len(logits)]
    if len(scored) < count:
        recorder.message(f"Stopped: {len(scored):,} of {count:,} images, chosen at random, were scored.")
    some = [samples[row] for row in np.sort(scored)]
    return Scores(logits[np.argsort(scored)], torch.from_numpy(_labels(some))), some


def frozen(session: Session, classifier: Classifier, parts: Parts) -> None:
    """Fit the head on the features of the frozen network and export the first usable model: "epoch 0".

    The head goes into the checkpoint: after a restart nothing of this happens again.
    """
    if "frozen" not in session.state:
        recorder, began = session.recorder, time.monotonic()
        samples = [*parts.train, *parts.validation]
        recorder.stage("features", len(samples), "Extracting features with the pretrained network.")
        found, engine = features.extract(
            classifier,
            samples,
            engine_file=session.output / "checkpoint" / "engine.json",
            cache=Path(session.settings.cache) if session.settings.cache else None,
            progress=recorder.progress,
            say=recorder.say,
            missing=lambda count: schedule.features(session, count),
        )
        recorder.ends_at_stop = False  # a stop from now on asks for the first model
        precision = features.precision(engine)
        recorder.event("engine", engine=engine, precision=precision)
        recorder.stage("head", message="Fitting the first classifier on these features.")
        own = _fit(session, parts, samples, found, classifier.backbone.late) if processes.rank() == 0 else None
        fit = processes.tell(own and dataclasses.replace(own, points=None))  # coordinates may be 1 GiB
        classifier.head.set(fit)
        labels = torch.tensor([sample.label for sample in parts.validation])
        loss, accuracy = finetune.calibrated(torch.from_numpy(fit.validation_logits), labels)
        raw = fit.validation_loss if parts.validation else None
        # the validation images are few, and the penalty was chosen on them: a temperature from heads that were
        # fitted without the image has several times as many to go by, and flatters nothing
        assert fit.out_of_fold is not None
        found_heat = calibrate.cross_fitted(fit.out_of_fold, _labels(samples), _folds(session, samples))
        heat = found_heat.temperature
        recorder.say(found_heat.sentence())
        classifier.temperature.fill_(heat)
        seconds = time.monotonic() - began
        recorder.epoch({
            "phase": "features", "epoch": 0, "train_loss": fit.train_loss, "train_accuracy": fit.train_accuracy,
            "validation_loss": loss, "validation_accuracy": accuracy, "learning_rate": None, "seconds": seconds,
            "pictures_per_second": len(samples) / seconds, "best": True, "validation_loss_raw": raw,
        })  # fmt: skip
        if processes.rank() == 0:
            unseen = session.output / OUT_OF_FOLD
            folds.write(unseen, samples, parts.classes, _folds(session, samples), fit.out_of_fold / heat)
            metrics = {"validation_accuracy": accuracy, "validation_loss": loss}
            export.write_model(session.output, classifier, _facts(session, classifier, parts, metrics), published=True)
        recorder.event("model", phase="features", validation_accuracy=accuracy)
        curve.measured(session, parts.classes, samples, _folds(session, samples), own)
        free = processes.tell(_any_way_up(session, classifier, parts, fit) if processes.rank() == 0 else None)
        near = _neighbours(session, classifier, parts, found)
        session.save(
            # copies: the state goes into later checkpoints too, when the head has been trained on
            head={name: value.clone() for name, value in classifier.head.state_dict().items()},
            start={"weight": torch.from_numpy(fit.train_weight), "bias": torch.from_numpy(fit.train_bias)},
            frozen={
                "loss": loss,
                "accuracy": accuracy,
                "temperature": heat,
                "engine": engine,
                "any_way_up": free,
                "calibration": found_heat.facts(OUT_OF_FOLD),
                "neighbours": near,
            },
        )
        cache = session.settings.cache
        if cache and processes.rank() == 0 and Path(cache).is_relative_to(session.output):  # this run's own
            shutil.rmtree(cache, ignore_errors=True)
    classifier.head.load_state_dict(session.state["head"])
    classifier.temperature.fill_(session.state["frozen"]["temperature"])


def _any_way_up(session: Session, classifier: Classifier, parts: Parts, fit: head.Fit) -> bool:
    """Return whether the pictures have no top, as seen from above or through a microscope.

    Then a head that never saw a turned picture is nearly as good on them (photos of things: half as good again
    upright; satellite tiles and flowers: less than a fifth), and quarter turns are one more augmentation.
    """
    if session.settings.recipe == "features" or not parts.validation or session.recorder.stop_requested():
        return False
    engine = engines.fastest(classifier, session.output / "checkpoint" / "engine.json")
    some = parts.validation[:: -(-len(parts.validation) // ENOUGH)]  # of every class: they come in order
    pictures = Pictures(some, classifier.size, threads=parallel.cores())
    sums = np.zeros(4)
    for step in data.in_order(len(pictures), engine.batch):
        images, labels = pictures.__getitems__([(0, int(index)) for index in step.indices])
        if session.recorder.stop_requested():
            return False
        for turns in range(4):
            seen = engine.run(np.ascontiguousarray(np.rot90(images.numpy(), turns, (1, 2))))
            logits = torch.from_numpy((seen - fit.mean) * fit.scale @ fit.train_weight.T + fit.train_bias)
            sums[turns] += cross_entropy(logits.float(), labels, reduction="sum").item()
    return bool(sums[1:].mean() <= NO_TOP * sums[0])


def _neighbours(session: Session, classifier: Classifier, parts: Parts, found: Any) -> dict[str, Any] | None:
    """Compare the test images with those that were learned from; the report tells what leaks, and nothing is chosen."""
    session.recorder.stage("neighbours", len(parts.test), "Comparing the test images with the training images.")
    told = neighbours.find(
        classifier, parts, found,
        output=session.output, cache=Path(session.settings.cache) if session.settings.cache else None,
        progress=session.recorder.progress, stop=session.recorder.stop_requested,
    )  # fmt: skip
    return processes.tell(told)


def _fit(session: Session, parts: Parts, samples: list[data.Sample], found: Any, late: Any) -> head.Fit:
    count, progress = len(parts.train), session.recorder.progress
    labels = np.array([sample.label for sample in samples])
    indices = np.arange(len(samples))
    return head.fit_head(
        found,
        labels,
        indices[:count],
        indices[count:],
        len(parts.classes),
        late=late,
        folds=_folds(session, samples),
        seed=session.settings.seed,
        device="cpu" if session.device.type == "mps" else session.device,  # it knows no float64
        progress=progress,
        stop=session.recorder.stop_requested,
    )


def _folds(session: Session, samples: list[data.Sample]) -> Any:
    return folds.assign(samples, session.settings.seed)


def _labels(samples: list[data.Sample]) -> Any:
    return np.array([sample.label for sample in samples], np.int64)


def calibrated(session: Session, classifier: Classifier, parts: Parts, outcome: finetune.Outcome) -> dict[str, Any]:
    """Set the temperature of a fine-tuned network from the validation images; the frozen features have their own.

    Returns what ``report.json`` says of it, and the file of the scores on which choices are made: never test images.
    """
    session.recorder.stage("calibrate", len(parts.validation), "Setting the temperature of the scores.")
    if not outcome.epoch:
        (session.output / VALIDATION).unlink(missing_ok=True)  # of an earlier attempt, which had another model
        return {"calibration": session.state["frozen"]["calibration"], "choices_from": OUT_OF_FOLD}
    (logits, labels), some = score(session, classifier, parts.validation, "calibrate")
    found = calibrate.cross_fitted(logits.numpy(), labels.numpy(), _folds(session, some))
    session.recorder.say(found.sentence())
    classifier.temperature.fill_(found.temperature)
    if processes.rank() == 0:
        shares = (logits / found.temperature).softmax(1).numpy()
        export.write_predictions(session.output / VALIDATION, some, parts.classes, shares)
    return {"calibration": found.facts(VALIDATION), "choices_from": VALIDATION}


def evaluated(session: Session, classifier: Classifier, parts: Parts) -> tuple[Scores | None, Parts, dict[str, Any]]:
    """Return the scores of the test images, seen only now, the parts with those that were scored, and what they say."""
    session.recorder.stage("evaluate", len(parts.test), "Scoring the test images.")
    heat = float(classifier.temperature)
    if not parts.test:
        figures = ("test_accuracy", "test_loss", "ece_before", "ece_after")
        return None, parts, {**dict.fromkeys(figures), "temperature": heat}
    scores, some = score(session, classifier, parts.test, "evaluate")
    logits, labels = scores.logits.double(), scores.labels
    error = calibrate.expected_calibration_error
    left_out = {"test_images_left_out": len(parts.test) - len(some)} if len(some) < len(parts.test) else {}
    return (
        scores,
        dataclasses.replace(parts, test=some),
        left_out
        | {
            "test_accuracy": (logits.argmax(1) == labels).double().mean().item(),
            "test_loss": cross_entropy(logits / heat, labels).item(),
            "ece_before": error(logits.softmax(1).numpy(), labels.numpy()),
            "ece_after": error((logits / heat).softmax(1).numpy(), labels.numpy()),
            "temperature": heat,
        },
    )


def exported(session: Session, classifier: Classifier, parts: Parts, metrics: dict[str, Any]) -> None:
    """Write the model with everything it needs to know about itself."""
    session.recorder.stage("export", message="Writing bestModel.onnx, bestModelMap.json and MLModel.zip.")
    if processes.rank() == 0:
        facts = _facts(session, classifier, parts, metrics)
        export.write_model(session.output, classifier, facts, published=metrics["best_phase"] == "features")
    session.recorder.event("model", phase=metrics["best_phase"], test_accuracy=metrics["test_accuracy"])


def verified(session: Session, classifier: Classifier, parts: Parts, scores: Scores | None) -> dict[str, Any]:
    """Compare the files with the trained network on the test images, and keep their answers."""
    session.recorder.stage("verify", len(parts.test), "The exported model scores the test images again.")
    if processes.rank() or scores is None:
        return export.verify(np.empty((0, len(parts.classes))), np.empty((0, len(parts.classes))))
    found = answers.Answers(session, "verify")
    for answer in export.predictions(session.output, parts.test[found.count :], classifier.size):
        found.add(answer[None])
        session.recorder.progress(found.count)
    shares = found.whole().numpy()
    proof = export.verify(shares, (scores.logits / float(classifier.temperature)).softmax(1).numpy())
    session.recorder.say(
        f"onnxruntime and torch agree on {proof['agreement']:.2%} of {proof['pictures']} test images; "
        f"the largest difference of a probability is {proof['largest_difference']:.1g}."
    )
    export.write_predictions(session.output / "predictions.csv", parts.test, parts.classes, shares)
    return proof


def _facts(session: Session, classifier: Classifier, parts: Parts, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return what the model's card says."""
    settings = session.settings
    return {
        "metrics": metrics,
        "versions": evidence.versions(),
        "fingerprint": settings.fingerprint,
        "architecture": classifier.backbone.name,
        "run": settings.run,
        "tests": parts.counts["test"],
        "seed": settings.seed,
        "pictures": parts.counts,
        "unsure_below": settings.unsure_below,
    }


def finished(
    session: Session, choice: Choice, parts: Parts, result: dict[str, Any], *, variants: dict[str, Any]
) -> None:
    """Record the result, and refuse a model that is worse than was asked for."""
    processes.wait()  # for the first one: a refusal by another would end it before it has written this
    recorder, wanted = session.recorder, session.settings.min_accuracy
    proof = result.pop("verification")
    result = {**result, "agreement": proof["agreement"], "largest_difference": proof["largest_difference"]}
    report = {"architecture": choice.name, **result, "verification": proof, "counts": parts.counts, **variants}
    learned = {sample.group for sample in (*parts.train, *parts.validation)} - {""}
    report["leaked"] = sum(sample.group in learned for sample in parts.test)
    report["neighbours"] = session.state["frozen"].get("neighbours")  # a checkpoint of an earlier version has none
    evidence.write(session, "report.json", report)
    told = evidence.reproducibility(session, choice, parts, session.state["frozen"]["engine"])
    evidence.write(session, "reproducibility.json", told)
    recorder.event("result", **result, seconds=session.used())
    reached = result["test_accuracy"]
    if wanted is not None and (reached is None or reached < wanted):
        raise TrainingError(
            f"The accuracy on the test images is {reached:.3f}, below min_accuracy {wanted:g}."
            if reached is not None
            else "There are no test images to show that min_accuracy is reached.",
            "More images, more epochs or more minutes may help. %mb_evaluate RUN shows the report of this run.",
            "Lower min_accuracy to accept such a model.",
        )
    recorder.finish("stopped" if session.stopping() else "completed", "")
