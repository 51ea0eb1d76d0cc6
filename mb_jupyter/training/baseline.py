"""What the frozen features alone say of the test images: what the fine-tuning has to be better than."""

from __future__ import annotations

from . import export, network, processes
from .answers import Answers
from .disk import swap
from .graph import features_graph, with_head
from .network import Choice, Classifier
from .parts import Parts
from .session import Session

FILE = "baselines.csv"


def scored(session: Session, choice: Choice, parts: Parts, best_phase: str) -> None:
    """Write ``baselines.csv``, of the same form as ``predictions.csv``, and equal to it where fine-tuning lost."""
    if processes.rank() or not parts.test:
        return
    if best_phase == "features":
        swap(session.output / FILE, (session.output / "predictions.csv").read_bytes())
        return
    session.recorder.stage("baseline", len(parts.test), "Scoring the test images with the frozen features, to compare.")
    found, size = Answers(session, "baseline", of=0), session.settings.image_size
    for answer in export.answers(_model(session, choice, parts), parts.test[found.count :], size):
        found.add(answer[None])
        session.recorder.progress(found.count)
        if session.recorder.stop_requested():  # then there is nothing to compare with
            (session.output / FILE).unlink(missing_ok=True)
            return
    export.write_predictions(session.output / FILE, parts.test, parts.classes, found.whole().numpy())


def _model(session: Session, choice: Choice, parts: Parts) -> bytes:
    """Return the first usable model again: the published weights, and the head that the checkpoint holds."""
    frozen = Classifier(network.load(choice), parts.classes, session.settings.image_size, session.settings.fit)
    frozen.head.load_state_dict(session.state["head"])
    weight, bias = frozen.head.folded()
    graph = features_graph(frozen.backbone, frozen.size, keep=True)
    heat: float = session.state["frozen"]["temperature"]
    return bytes(with_head(graph, weight, bias, heat).SerializeToString())
