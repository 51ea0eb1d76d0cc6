"""The frozen blocks before the cut, run in the fastest engine this machine has for them.

They are only ever run forward, where OpenVINO, in bfloat16 if the processor has it, is several times faster than
torch. What it computes differs from torch by rounding, far less than one augmentation from the next.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from .network import Classifier

Array = np.ndarray[Any, Any]
Prefix = Callable[[torch.Tensor], tuple[Array, Array]]


class _Frozen(nn.Module):
    def __init__(self, classifier: Classifier, cut: int) -> None:
        super().__init__()
        self.classifier, self.cut = classifier, cut

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.classifier.backbone.prefix(self.classifier.normalise(images), self.cut)


def fastest(classifier: Classifier, cut: int) -> Prefix:
    """Return what maps uint8 (N, size, size, 3) to the activation at the cut and the pooled features before it."""
    frozen = _Frozen(classifier, cut).eval()
    try:
        return _openvino(frozen, classifier.size)
    except ImportError:
        return _torch(frozen)


def _openvino(frozen: _Frozen, size: int) -> Prefix:
    import openvino

    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about padding that depends on the picture's size
        model = openvino.convert_model(frozen, example_input=example)
    model.reshape([-1, size, size, 3])
    # without a hint for the precision the engine takes the processor's best
    compiled = openvino.Core().compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()

    def run(images: torch.Tensor) -> tuple[Array, Array]:
        request.infer([images.numpy()])
        return tuple(np.array(request.get_output_tensor(number).data) for number in (0, 1))  # type: ignore[return-value]

    return run


def _torch(frozen: _Frozen) -> Prefix:
    def run(images: torch.Tensor) -> tuple[Array, Array]:
        with torch.inference_mode():
            activation, pooled = frozen(images)
        return activation.numpy(), pooled.numpy()

    return run
