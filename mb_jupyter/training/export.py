"""The model as files, and the proof that they answer as the trained network does.

``bestModel.onnx`` holds normalisation, network, temperature and softmax, and says in its metadata everything that a
reader needs; ``MLModel.zip`` is the same with the map, the preprocessing and the card beside it, in one file.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import described as preparation
from . import parallel
from .cells import to_csv
from .data import Sample, decode
from .disk import swap
from .errors import TrainingError
from .graph import INPUT, OUTPUT, features_graph, with_head
from .network import Classifier

Array = np.ndarray[Any, Any]

MODEL, MAP, ZIP = "bestModel.onnx", "bestModelMap.json", "MLModel.zip"
PREPROCESS, CARD = "preprocess.json", "card.json"
FORMAT = "1"
TOLERANCE = 1e-3  # by which a probability may differ from torch's; rounding gives about 1e-6


def write_model(folder: Path, classifier: Classifier, facts: dict[str, Any], *, published: bool = False) -> None:
    """Write the model, its map and the zip into ``folder``, each aside first.

    ``facts`` become the card, and metadata of the network: ``metrics`` and ``versions`` (mappings), ``fingerprint``,
    ``architecture`` and ``run`` (text), ``tests`` (how many test images there were), ``unsure_below`` (a score, or
    None). ``published`` says that the network's weights are as they were published: its graph is then kept for the
    next training.
    """
    import onnx

    graph = features_graph(classifier.backbone, classifier.size, keep=published)
    weight, bias = classifier.head.folded()
    model = with_head(graph, weight, bias, float(classifier.temperature))
    described = preparation.described(classifier.size, preparation.Preparation(classifier.fit))
    said = {"mb_format": FORMAT, "classes": _json(list(classifier.classes)), "preprocess": _json(described)}
    said |= {name: _json(facts.get(name, {})) for name in ("metrics", "versions")}
    said |= {name: str(facts.get(name, "")) for name in ("fingerprint", "architecture", "run", "tests")}
    if facts.get("unsure_below") is not None:
        said["unsure_below"] = repr(float(facts["unsure_below"]))
    onnx.helper.set_model_props(model, said)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    files = {
        MODEL: content,
        MAP: _json(list(classifier.classes)).encode(),
        PREPROCESS: _json(described).encode(),
        CARD: _json({**facts, "classes": list(classifier.classes)}).encode(),
    }
    for name, whole in ((MODEL, content), (MAP, files[MAP]), (ZIP, _zipped(files))):
        swap(folder / name, whole, durable=True)


def predictions(folder: Path, samples: Sequence[Sample], size: int) -> Iterator[Array]:
    """Yield the probabilities (classes,) that ``bestModel.onnx`` gives each picture, decoded as anybody would."""
    return answers(str(folder / MODEL), samples, size)


def session_of(model: str | bytes) -> Any:
    """Return the model, a file or its bytes, in onnxruntime as a prediction opens it: one thread for a picture."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def answers(model: str | bytes, samples: Sequence[Sample], size: int) -> Iterator[Array]:
    """Yield the probabilities (classes,) that a model, a file or its bytes, gives each picture.

    One picture at a time and one thread for each, as a prediction does it later: the same bits.
    """
    session = session_of(model)

    def answer(sample: Sample) -> Array:
        return np.asarray(session.run([OUTPUT], {INPUT: decode(sample, size)[None]})[0][0])

    return parallel.in_order(answer, samples)


def verify(answers: Array, trained: Array) -> dict[str, Any]:
    """Compare the model's probabilities (N, classes) with the trained network's; TrainingError if they disagree.

    A picture agrees when both name the same class, or when the trained network itself is torn between the two by
    less than the tolerance.
    """
    if not len(answers):
        return {"pictures": 0, "agreement": None, "largest_difference": None, "tolerance": TOLERANCE}
    rows = np.arange(len(answers))
    torn = trained.max(1) - trained[rows, answers.argmax(1)] <= TOLERANCE
    agreement = float(np.mean((answers.argmax(1) == trained.argmax(1)) | torn))
    difference = float(np.abs(answers - trained).max())
    if agreement < 1 or not difference <= TOLERANCE:  # a NaN is no agreement
        raise TrainingError(
            f"The exported model does not answer as the trained network: {agreement:.2%} of {len(answers)} test "
            f"images get the same class, and a probability differs by up to {difference:.2g}.",
            "Do not use it. Upgrade torch, onnx, onnxscript and onnxruntime together, then train again.",
            "Please report it with the log of this run and the versions in reproducibility.json.",
        )
    return {
        "pictures": len(answers), "agreement": agreement, "largest_difference": difference, "tolerance": TOLERANCE,
    }  # fmt: skip


def write_predictions(path: Path, samples: Sequence[Sample], classes: Sequence[str], answers: Array) -> None:
    """Write ``ImageSource,Label,Prediction,Score.<class>...`` of the test images."""
    write_table(path, samples, classes, answers, {})


def write_table(
    path: Path,
    samples: Sequence[Sample],
    classes: Sequence[str],
    answers: Array,
    facts: Mapping[str, Sequence[Any]],
) -> None:
    """Write what is known and what was answered of each picture; ``facts`` are columns behind the label."""
    rows: list[list[Any]] = [["ImageSource", "Label", *facts, "Prediction", *(f"Score.{name}" for name in classes)]]
    for row, (sample, scores) in enumerate(zip(samples, answers, strict=True)):
        known = [sample.source, classes[sample.label], *(column[row] for column in facts.values())]
        shares = (np.format_float_positional(score, trim="0") for score in scores)
        rows.append([*known, classes[int(scores.argmax())], *shares])
    swap(path, to_csv(rows).encode("utf-8", "surrogateescape"), durable=True)


def _zipped(files: dict[str, bytes]) -> bytes:
    """Return a zip of the files as they are: weights hardly shrink, and the same files give the same bytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o100644 << 16
            archive.writestr(member, content)
    return target.getvalue()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=isinstance(value, dict))
