"""The network as an ONNX graph: written once for its features, then any head is put on top in no time."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from . import disk
from .network import Backbone, Classifier

if TYPE_CHECKING:
    import onnx

INPUT, FEATURES, OUTPUT = "images", "features", "probabilities"
_KEPT_FILES = 4  # graphs of pretrained networks in the user's cache, up to 100 MB each

_last: tuple[str, bytes] | None = None


def features_graph(backbone: Backbone, size: int, *, keep: bool = False) -> bytes:
    """Return the ONNX graph from "images" uint8 (batch, size, size, 3) to "features" float32 (batch, D).

    The export takes seconds, so the last one is remembered as long as no weight changes. ``keep`` also stores it
    in the user's cache folder: for networks as published, not for every epoch of a fine-tuning.
    """
    global _last  # noqa: PLW0603 - one export per set of weights, whoever asks
    key = _digest(backbone, size)
    if _last is not None and _last[0] == key:
        return _last[1]
    file = user_cache() / "graphs" / f"{backbone.name}-{size}-{key[:32]}.onnx"
    graph = _stored(file) if keep else None
    if graph is None:
        graph = _export(backbone, size)
        if keep:
            _store(file, graph)
    _last = (key, graph)
    return graph


def with_head(graph: bytes, weight: Tensor, bias: Tensor, temperature: float) -> onnx.ModelProto:
    """Return the graph continued to "probabilities" (batch, classes) by a linear layer, temperature and softmax."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_model_from_string(graph)
    body = model.graph
    values = {
        "head.weight": weight.detach().cpu().float().numpy(),
        "head.bias": bias.detach().cpu().float().numpy(),
        "head.temperature": torch.tensor(temperature, dtype=torch.float32).numpy(),
    }
    body.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    body.node.extend(
        (
            helper.make_node("Gemm", [FEATURES, "head.weight", "head.bias"], ["logits"], "head", transB=1),
            helper.make_node("Div", ["logits", "head.temperature"], ["calibrated"], "temperature"),
            helper.make_node("Softmax", ["calibrated"], [OUTPUT], "softmax", axis=1),
        )
    )
    shape = [body.input[0].type.tensor_type.shape.dim[0].dim_param, weight.shape[0]]
    # what was the output stays inside, with its shape
    body.value_info.append(body.output.pop())
    body.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape))
    return model


def with_another_head(model: bytes, weight: Tensor, bias: Tensor) -> bytes:
    """Return a model of ``with_head``, or one made of it, whose linear layer is another of the same classes."""
    import onnx
    from onnx import numpy_helper

    changed = onnx.load_model_from_string(model)
    values = {"head.weight": weight, "head.bias": bias}
    for place, value in enumerate(changed.graph.initializer):
        if value.name in values:
            fresh = values.pop(value.name).detach().cpu().float().numpy()
            changed.graph.initializer[place].CopyFrom(numpy_helper.from_array(fresh, value.name))
    if values:
        raise ValueError(f"the model has no {', '.join(values)}")
    return bytes(changed.SerializeToString())


def user_cache() -> Path:
    """Return the folder of this user in which things are kept that every run can make again."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("mb_jupyter", appauthor=False))


class _Features(nn.Module):
    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier.features(images)


def _export(backbone: Backbone, size: int) -> bytes:
    module = _Features(Classifier(copy.deepcopy(backbone).cpu().float(), ("",), size)).eval()
    module.requires_grad_(False)
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
            input_names=[INPUT],
            output_names=[FEATURES],
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_origins(model)
    return model.SerializeToString()


def _forget_origins(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes of the Python code: file names, stack traces. A model is given to others."""
    body = model.graph
    for thing in (model, body, *body.node, *body.input, *body.output, *body.value_info, *body.initializer):
        del thing.metadata_props[:]
        thing.doc_string = ""
    model.producer_name = "mb_jupyter"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks to itself: they speak to its authors."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _digest(backbone: Backbone, size: int) -> str:
    """Hash all that the graph depends on: the weights as they are now, the code, the exporter."""
    import onnx
    import onnxscript

    versions = f"{torch.__version__} {onnx.__version__} {onnxscript.__version__}"
    digest = hashlib.sha256(f"{backbone.name} {size} {backbone.mean} {backbone.std} {versions}".encode())
    for name in ("network", "anatomy", "lite0", "graph"):
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    digest.update(weights_digest(backbone).encode())
    return digest.hexdigest()


def weights_digest(backbone: Backbone) -> str:
    """Return the hash of all weights as they are now."""
    digest = hashlib.sha256()
    for name, tensor in backbone.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().reshape(-1).view("uint8").data)
    return digest.hexdigest()


def _stored(file: Path) -> bytes | None:
    """Return a kept graph if it is whole: its name ends in a hash of what went in, its last line of what came out."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    graph, check = content[:-32], content[-32:]
    if hashlib.sha256(graph).digest() != check:
        return None
    with contextlib.suppress(OSError):
        os.utime(file)  # the one used last is dropped last
    return graph


def _store(file: Path, graph: bytes) -> None:
    with contextlib.suppress(OSError):  # a full or read-only disk costs seconds next time, no more
        disk.store(file, graph + hashlib.sha256(graph).digest())
        kept = sorted(file.parent.glob("*.onnx"), key=lambda old: old.stat().st_mtime)
        for old in kept[:-_KEPT_FILES]:
            old.unlink(missing_ok=True)
