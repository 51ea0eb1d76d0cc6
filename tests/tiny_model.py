"""Small models of the right form, whose answers can be worked out by hand: they look at mean colours."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mb_jupyter.training.described import described

COLOURS = ("red", "green", "blue")


def metadata(classes: tuple[str, ...] = COLOURS, size: int = 32) -> dict[str, str]:
    """Return the metadata of a model as the contract has it."""
    return {
        "mb_format": "1",
        "classes": json.dumps(list(classes)),
        "preprocess": json.dumps(described(size)),
        "metrics": json.dumps({"test_accuracy": 0.889, "test_loss": 0.3}),
        "fingerprint": "f00d",
        "versions": json.dumps({"torch": "2"}),
        "architecture": "tiny",
        "run": "local://colours/20261123-101502-ab12",
    }


def network(
    classes: tuple[str, ...] = COLOURS, size: int = 32, changes: Mapping[str, str | None] | None = None
) -> onnx.ModelProto:
    """Return softmax(10 x mean colour), later classes looking less sharply; ``changes`` are of the metadata."""
    weights = np.zeros((3, len(classes)), np.float32)
    for i in range(len(classes)):
        weights[i % 3, i] = 10 / (1 + i // 3)
    constants = {"axes": np.array([1, 2], np.int64), "scale": np.float32(255), "weights": weights}
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "scale"], ["share"]),
        helper.make_node("MatMul", ["share", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", size, size, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(classes)])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    entries: dict[str, Any] = {**metadata(classes, size), **(changes or {})}
    helper.set_model_props(model, {key: value for key, value in entries.items() if value is not None})
    return model


def members(classes: tuple[str, ...] = COLOURS, size: int = 32) -> dict[str, bytes]:
    """Return the files of an ``MLModel.zip``."""
    said = metadata(classes, size)
    return {
        "bestModel.onnx": network(classes, size).SerializeToString(),
        "bestModelMap.json": said["classes"].encode(),
        "preprocess.json": said["preprocess"].encode(),
        "card.json": json.dumps({"note": "tiny"}).encode(),
    }


def write_model(folder: Path, **changes: str | None) -> Path:
    """Write ``bestModel.onnx`` with other metadata, such as ``unsure_below="0.6"``, and return its path."""
    path = folder / "bestModel.onnx"
    path.write_bytes(network(changes=changes).SerializeToString())
    return path


def write_zip(path: Path, files: dict[str, bytes] | None = None, **kind: Any) -> Path:
    """Write ``MLModel.zip`` and return its path."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (files or members(**kind)).items():
            archive.writestr(name, data)
    return path
