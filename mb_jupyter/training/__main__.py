"""The training program: ``python -m training --config config.json --data DIR --output DIR``.

Exit code 0: a model was made, perhaps earlier than planned because of a stop. 2: refused; ``status.json`` holds
the cause and the fix. 1: a bug. Started again in the same folder, it goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from . import failures, index, processes
from .errors import ChangedError, TrainingError
from .record import Recorder
from .settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    given = _arguments(arguments)
    _keep_to_ourselves()
    try:
        recorder = Recorder(given.output)
    except TrainingError as error:
        sys.stderr.write(f"{error} {error.fix}\n")
        return 2
    # a machine that is taken away gives notice of a moment: enough to keep the best
    signal.signal(signal.SIGTERM, lambda *_: recorder.terminate())
    with recorder.clock.beating():
        try:
            recorder.stage("start", message="Reading the settings and loading torch.")
            train(Settings.read(given.config), given.data, given.output, recorder)
        except Exception as error:
            if isinstance(error, ChangedError):
                index.forget(given.data)
            expected = failures.expected(error)
            recorder.fail(expected or error)
            code = 2 if expected else 1
            processes.abandon(code)
            return code
    processes.leave()
    return 0


def train(settings: Settings, folder: Path, output: Path, recorder: Recorder) -> None:
    """From a folder of pictures to a proved model: the whole story."""
    with failures.loading():  # torch takes seconds; the first line is out before
        from . import baseline, network, parts, schedule, stages, variants
        from .finetune import finetune
        from .session import Session, choose_device

        device = choose_device()
    processes.start(cuda=device.type == "cuda")
    session = Session(settings, output, recorder, device)
    pictures = parts.find(settings, folder, output, recorder)
    choice = network.choose(settings.architecture, settings.weights, progress=recorder.downloaded)
    recorder.say(choice.reason)
    session.resume(choice.sha256, pictures.contents)
    classifier = network.Classifier(network.load(choice), pictures.classes, settings.image_size, settings.fit)
    classifier.to(device)
    recorder.ends_at_stop = "frozen" not in session.state
    stages.begin(session, choice, classifier, pictures)
    schedule.plan(session, choice, pictures)
    stages.frozen(session, classifier, pictures)
    outcome = finetune(
        session, classifier, stages.opener(session, classifier, pictures), reserve=schedule.reserve(session)
    )
    recorder.training_is_over()
    schedule.settle(session, outcome.epoch)
    choices = stages.calibrated(session, classifier, pictures, outcome)
    scores, pictures, result = stages.evaluated(session, classifier, pictures)
    result |= outcome.facts()
    stages.exported(session, classifier, pictures, result)
    proof = stages.verified(session, classifier, pictures, scores)
    baseline.scored(session, choice, pictures, result["best_phase"])
    measured = variants.variants(session, pictures)
    schedule.keep_paces(session, choice)
    stages.finished(session, choice, pictures, result | {"verification": proof}, variants=choices | measured)


def _keep_to_ourselves() -> None:
    """Keep the libraries from telling their makers of every run, before any of them is imported."""
    # before torch is loaded: the processor computes what torch cannot do on an Apple GPU
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    for name, value in (("ORT_DISABLE_TELEMETRY", "1"), ("MLFLOW_DISABLE_TELEMETRY", "true"), ("DO_NOT_TRACK", "true")):
        os.environ.setdefault(name, value)
    # OpenVINO has no other switch: it takes a stand-in when its telemetry cannot be imported
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train a classifier of pictures.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file of the settings")
    parser.add_argument("--data", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run; what is there goes on")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
