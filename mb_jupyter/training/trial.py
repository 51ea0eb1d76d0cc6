"""Whether a training could end well here: a tiny network is exported, loaded and asked, before hours are spent.

``python -m training.trial`` ends with 0, or with the reason as the last line of its output. What a run needs only at
its end (the exporter, onnxruntime, the quantiser) belongs to an environment that somebody else has put together.
"""

from __future__ import annotations

import importlib

import numpy as np
import torch
from torch import nn

from . import export, graph
from .anatomy import Anatomy
from .network import Backbone, Classifier

SIZE = 32
LATE = ("imagehash", "onnxruntime.quantization", "scipy.optimize", "sklearn")


def main() -> None:
    """Export a tiny classifier, open it as a prediction does, and compare its answers with torch's."""
    for module in LATE:
        importlib.import_module(module)
    parts: list[nn.Module] = [nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 3)]
    pooling = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone = Backbone("trial", Anatomy(parts, pooling, [0, 1]), (0.5,) * 3, (0.5,) * 3)
    classifier = Classifier(backbone, ("a", "b"), SIZE).eval()
    weight, bias = classifier.head.folded()
    model = graph.with_head(graph.features_graph(backbone, SIZE), weight, bias, float(classifier.temperature))
    images = np.arange(2 * SIZE * SIZE * 3, dtype=np.uint8).reshape(2, SIZE, SIZE, 3)
    (answers,) = export.session_of(model.SerializeToString()).run([graph.OUTPUT], {graph.INPUT: images})
    with torch.no_grad():
        wanted = classifier.probabilities(torch.from_numpy(images)).numpy()
    difference = float(np.abs(answers - wanted).max())
    if not difference <= export.TOLERANCE:
        raise SystemExit(f"the exported model's probabilities differ from torch's by {difference:.2g}")


if __name__ == "__main__":
    main()
