"""The model in eight-bit integers: a quarter of the size, often faster, not quite the same answers.

Made by onnxruntime's static quantisation (quantise and dequantise nodes around the convolutions, a scale for each
channel of the weights, ranges from training pictures). The linear head stays in float32: its inputs come from all
depths and have no common range. How much it loses is measured, on held-out pictures, and so is what it gains.

Weights are reduced to -64..64: processors without VNNI (AVX2, AVX-512 of the first years) add the products of two
neighbours in 16 bits, which saturate above 32,767, and 2 x 255 x 64 is less. So every processor gives the same answers.
"""

from __future__ import annotations

import contextlib
import logging
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import evidence, export, processes
from .data import Sample, decode
from .graph import INPUT, OUTPUT, write_aside
from .parts import Parts
from .session import Session

Array = np.ndarray[Any, Any]

FILE = "bestModel-int8.onnx"
CALIBRATING = 32  # training pictures that the ranges are taken from
MOST_PICTURES = 500  # held-out pictures that both are asked about
TIMED = 20
QUANTISED = ["Conv", "Add", "Clip", "Relu", "ReduceMean", "ReduceMax", "MaxPool", "AveragePool", "GlobalAveragePool"]
FASTER = 1.2  # times as fast int8 has to be
MOST_LOST = 0.02  # of the pictures int8 may newly get wrong, at the upper end of the 95 % interval
RULE = (
    f"int8 is recommended where it is at least {FASTER:g} times as fast and where, at the upper end of the 95 % Wilson "
    f"interval, it gets at most {100 * MOST_LOST:g} % of the held-out pictures wrong that float32 gets right."
)
_Z = 1.959963984540054  # of the normal distribution, for 95 %


def variants(session: Session, parts: Parts) -> dict[str, Any]:
    """Measure the model, make and measure one in int8; return what ``report.json`` says of both.

    ``variants``, ``recommended_variant``, and why. That int8 cannot be made of a network is no failure of the run:
    then it has a ``reason`` in the place of its figures.
    """
    wanted, stopping = session.affords("int8"), session.stopping()  # one answer for all processes
    if processes.rank():
        return {}
    session.recorder.stage("int8", message="Measuring the model, and a variant in int8.")
    size, some = session.settings.image_size, _spread(parts.test, MOST_PICTURES)
    labels = np.array([sample.label for sample in some])
    machine = {"measured_on": f"{evidence.processor()}, one thread"}
    answers, facts = _measured(session.output / export.MODEL, some, size)
    counts = {"right": int((answers == labels).sum()), "pictures": len(labels)}
    whole = {"name": "float32", **facts, **counts, "agreement": 1.0 if len(labels) else None}
    early = "the run was stopped early" if stopping else "the time allowed was over"
    made = _in_int8(session, parts, some) if wanted else early
    if isinstance(made, str):
        (session.output / FILE).unlink(missing_ok=True)  # also that of an earlier attempt, which had another model
        session.recorder.say(f"There is no int8 variant: {made}.")
        absent = {"name": "int8", "file": FILE, "reason": f"{made}."}
        only = {"recommended_variant": "float32", "recommendation": "It is the only one."}
        return {"variants": [whole, absent], **only, **machine}
    in_int8, facts = made
    counts = {"right": int((in_int8 == labels).sum()), "pictures": len(labels)}
    small = {
        "name": "int8",
        **facts,
        **counts,
        "agreement": float((answers == in_int8).mean()) if len(labels) else None,
    }
    speed = whole["ms_per_picture"] / max(small["ms_per_picture"], 1e-9)
    choice, why = recommended(answers == labels, in_int8 == labels, speed)
    session.recorder.say(f"The {choice} model is recommended: {why}")
    chosen = {"recommended_variant": choice, "recommendation": f"{why} {RULE}"}
    return {"variants": [whole, small], **chosen, **machine}


def _in_int8(session: Session, parts: Parts, some: Sequence[Sample]) -> tuple[Array, dict[str, Any]] | str:
    """Make the model in int8 and measure it; return why there is none where onnxruntime cannot."""
    target, size = session.output / FILE, session.settings.image_size
    try:
        write_aside(target, quantised((session.output / export.MODEL).read_bytes(), parts.train, size))
        return _measured(target, some, size)
    except Exception as error:  # onnxruntime raises anything where a network has what it does not know
        return f"onnxruntime could not make it ({type(error).__name__}: {str(error)[:300]})"


def quantised(model: bytes, samples: Sequence[Sample], size: int) -> bytes:
    """Return the model in int8, calibrated on some of the samples; its metadata says so and is else the same."""
    import onnx
    from onnxruntime import quantization as ort

    pixels = iter([{INPUT: decode(sample, size)[None]} for sample in _spread(samples, CALIBRATING)])

    class Reader(ort.CalibrationDataReader):
        def get_next(self) -> dict[str, Array] | None:
            return next(pixels, None)

    source = onnx.load_model_from_string(model)
    said = {entry.key: entry.value for entry in source.metadata_props}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        target = Path(folder) / FILE
        ort.quantize_static(
            source,
            target,
            Reader(),
            quant_format=ort.QuantFormat.QDQ,
            per_channel=True,
            activation_type=ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
            reduce_range=True,
            op_types_to_quantize=QUANTISED,
            nodes_to_exclude=_normalising(source),
        )
        made = onnx.load_model(target)
    made.producer_name = "mb_jupyter"
    onnx.helper.set_model_props(made, {**said, "variant": "int8"})
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString())


def _normalising(model: Any) -> list[str]:
    """Return the additions of a constant: the normalisation, which in int8 is slower than all that it leads to."""
    constants = {value.name for value in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "Add" and constants & set(node.input)]


def recommended(right: Array, right_in_int8: Array, speed: float) -> tuple[str, str]:
    """Return the variant to use and a sentence; ``speed`` is how many times as fast int8 is."""
    count = len(right)
    if not count:
        return "float32", "Without held-out pictures nothing is known of what int8 loses."
    lost = int((right & ~right_in_int8).sum())
    most = _upper(lost, count)
    facts = (
        f"int8 is {speed:.2f} times as fast; of {count:,} held-out picture{'' if count == 1 else 's'} it gets {lost:,} "
        f"wrong that float32 gets right, which may be up to {100 * most:.1f} % of all pictures (95 %)."
    )
    return ("int8" if speed >= FASTER and most <= MOST_LOST else "float32"), facts


def _measured(path: Path, samples: Sequence[Sample], size: int) -> tuple[Array, dict[str, Any]]:
    """Return the class a model gives each picture, and its size and speed: one picture at a time, one thread."""
    begun = time.perf_counter()
    session = export.session_of(str(path))
    blank = np.zeros((1, size, size, 3), np.uint8)
    session.run([OUTPUT], {INPUT: blank})
    first = time.perf_counter() - begun
    took = []
    for sample in _spread(samples, TIMED):
        pixels = decode(sample, size)[None]
        began = time.perf_counter()
        session.run([OUTPUT], {INPUT: pixels})
        took.append(time.perf_counter() - began)
    chosen = np.array([int(answer.argmax()) for answer in export.answers(str(path), samples, size)], np.int64)
    return chosen, {
        "file": path.name,
        "bytes": path.stat().st_size,
        "ms_first": round(1000 * first, 2),
        "ms_per_picture": round(1000 * statistics.median(took), 3) if took else 0.0,
    }


def _spread(samples: Sequence[Sample], most: int) -> list[Sample]:
    """Return at most so many, evenly spread: they come in the order of the classes."""
    places = np.unique(np.linspace(0, len(samples) - 1, min(most, len(samples))).round().astype(int))
    return [samples[place] for place in places.tolist()]


def _upper(hits: int, count: int) -> float:
    """Return the upper end of the 95 % Wilson interval of hits among count."""
    share, room = hits / count, _Z**2 / count
    spread = _Z * math.sqrt(share * (1 - share) / count + room / (4 * count))
    return float((share + room / 2 + spread) / (1 + room))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime's advice to itself: it speaks to who wrote the call."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
