"""The model in eight-bit integers: a quarter of the size, often faster, not quite the same answers.

Made by onnxruntime's static quantisation (quantise and dequantise nodes around the convolutions, a scale for each
channel of the weights, ranges from training images). The linear head stays in float32: its inputs come from all
depths and have no common range. How much it loses and gains is measured in ``variants.py``.

Weights are reduced to -64..64: processors without VNNI (AVX2, AVX-512 of the first years) add the products of two
neighbours in 16 bits, which saturate above 32,767, and 2 x 255 x 64 is less. So every processor gives the same answers.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .data import Sample, decode
from .graph import INPUT

Array = np.ndarray[Any, Any]

FILE = "bestModel-int8.onnx"
CALIBRATING = 32  # training images that the ranges are taken from
MOST_PICTURES = 500  # of a part, that both are asked about
QUANTISED = ["Conv", "Add", "Clip", "Relu", "ReduceMean", "ReduceMax", "MaxPool", "AveragePool", "GlobalAveragePool"]


def quantised(model: bytes, samples: Sequence[Sample], size: int, tick: Callable[[], None] = lambda: None) -> bytes:
    """Return the model in int8, calibrated on some of the samples; its metadata says so and is else the same.

    ``tick`` is called before each of them.
    """
    import onnx
    from onnxruntime import quantization as ort

    pixels = ({INPUT: decode(sample, size)[None]} for sample in spread(samples, CALIBRATING))

    class Reader(ort.CalibrationDataReader):
        def get_next(self) -> dict[str, Array] | None:
            tick()
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


def spread(samples: Sequence[Sample], most: int) -> list[Sample]:
    """Return at most so many, evenly spread: they come in the order of the classes."""
    places = np.unique(np.linspace(0, len(samples) - 1, min(most, len(samples))).round().astype(int))
    return [samples[place] for place in places.tolist()]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime's advice to itself: it speaks to who wrote the call."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
