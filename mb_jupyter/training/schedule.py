"""Which stages a run has and how much work each is: the plan behind its percent bar and the time left.

One line plans a stage: ``session.recorder.plan(name, units, seconds of one, seconds to begin)``. The seconds were
measured on two cores of a server with a network of EfficientNet-Lite0's size; the paces of earlier runs on this
machine and the stages of this run that are over scale them.
"""

from __future__ import annotations

import math
import platform
from pathlib import Path

from . import curve, evidence, folds, pace, parallel, processes, variants
from .graph import user_cache
from .head import PENALTIES
from .network import Choice
from .parts import Parts
from .session import Session

USUAL = 224  # the image size that the seconds below are for
FEATURES = {"cpu": 0.015, "mps": 0.008, "cuda": 0.002}  # seconds for an image and its mirror image
EVALUATION = {"cpu": 0.03, "mps": 0.01, "cuda": 0.002}  # seconds for an image, in torch
PROOF = 0.02  # seconds for an image and core, one by one through onnxruntime
MARGIN = 1.1  # of what must come after the fine-tuning


def plan(session: Session, choice: Choice, parts: Parts) -> None:
    """Plan every stage of the run, in their order, and take up the paces of earlier runs."""
    recorder, kind, settings = session.recorder, session.device.type, session.settings
    recorder.outlook.paces = pace.read(paces_file(session, choice))
    learned, validation, test = len(parts.train) + len(parts.validation), len(parts.validation), len(parts.test)
    begun, tunes = "frozen" in session.state, settings.recipe != "features" and validation > 0
    size = (settings.image_size / USUAL) ** 2
    recorder.plan("features", 0 if begun else learned, FEATURES[kind] * size, fixed=2)
    recorder.plan("head", 0 if begun else _head_work(learned, len(parts.classes)), 1.0, fixed=0.5)
    heads = 0 if begun else curve.plan(learned, len(parts.classes), range(folds.FOLDS)).heads
    recorder.plan(curve.STAGE, heads, _curve_work(learned, len(parts.classes)))
    recorder.plan("neighbours", 0 if begun else test, FEATURES[kind] * size / 2, fixed=0.2)
    recorder.plan("epoch", 0, 0)
    recorder.plan("calibrate", validation if tunes else 0, EVALUATION[kind] * size)
    recorder.plan("evaluate", test, EVALUATION[kind] * size, fixed=0.5)
    recorder.plan("export", 1, 12 if tunes else 1)
    recorder.plan("verify", test, _proof(session), fixed=0.2)
    recorder.plan("baseline", test if tunes else 0, _proof(session), fixed=1)
    recorder.plan("int8", variants.asked(parts), _proof(session), fixed=2)
    if tunes:  # until it is planned: it takes what is left, or, without a limit, nobody knows
        spare = session.left() - reserve(session)
        recorder.expect("epoch", max(0.0, spare) if math.isfinite(spare) else 0.0, known=False)


def features(session: Session, count: int) -> None:
    """Plan the features anew, of which so many are not kept from an earlier run; the engine is ready now.

    The first time on a machine several engines are tried out, which says nothing of the pace of what follows.
    """
    size = (session.settings.image_size / USUAL) ** 2
    session.recorder.plan("features", count * processes.world(), FEATURES[session.device.type] * size)
    clock, total = session.recorder.clock, session.recorder.status["total"] or 1
    session.recorder.outlook.prepared(clock.stage_seconds, 1 - count * processes.world() / total)


def settle(session: Session, best_epoch: int) -> None:
    """Plan anew what depends on whether the fine-tuned network is kept, which is to be exported then."""
    if not best_epoch:
        session.recorder.plan("calibrate", 0, 0)
        session.recorder.plan("export", 1, 1)
        session.recorder.plan("baseline", 0, 0)


def reserve(session: Session) -> float:
    """Return the seconds to keep for what comes after the fine-tuning; the same in every process."""
    return float(processes.tell(MARGIN * session.recorder.outlook.after("epoch")))


def keep_paces(session: Session, choice: Choice) -> None:
    """Leave this run's paces for the next one on this machine."""
    session.recorder.clock.close()
    if processes.rank() == 0:
        pace.add(paces_file(session, choice), session.recorder.outlook.found)


def paces_file(session: Session, choice: Choice) -> Path:
    """Return the file of the paces on this device of this network at this image size."""
    import torch

    where, settings = session.device, session.settings
    folder = Path(settings.cache) / "paces" if settings.cache else user_cache() / "paces"
    device = torch.cuda.get_device_name(where) if where.type == "cuda" else evidence.processor()
    machine = [device, platform.machine(), parallel.cores(), processes.world()]
    if where.type == "mps":
        machine.append(where.type)
    return pace.file_of(folder, *machine, choice.name, settings.image_size)


def _proof(session: Session) -> float:
    return PROOF * (session.settings.image_size / USUAL) ** 2 / parallel.cores()


def _head_work(images: int, classes: int) -> float:
    """Return about the seconds of fitting all heads: one for each penalty, one for each fold, and the last."""
    rows = 2 * images
    return len(PENALTIES) * rows * min(rows, 4096) * (classes + 20) * 2e-9


def _curve_work(images: int, classes: int) -> float:
    """Return about the seconds of fitting one head on a part of the images, a fourth of them on average."""
    rows = images / 2
    return 0.03 + rows * min(2 * images, 4096) * (classes + 20) * 2e-9
