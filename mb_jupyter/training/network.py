"""The network: a pretrained backbone that shows all its depths, and a linear head on top.

Features come from every depth, after Evci et al., "Head2Toe", 2022 (arXiv:2201.03529): beside the penultimate
layer the mean and the maximum over the picture of every block's output.

What the fine-tuning needs to know::

    choice = choose("auto", None)                  # which network, which file, and why
    backbone = load(choice)
    classifier = Classifier(backbone, classes, size)
    classifier.head.set(fit)                       # head.Fit of the frozen features
    logits = classifier(images)                    # uint8 (N, size, size, 3)

    x = classifier.normalise(images)               # float (N, 3, size, size), channels-last in memory
    activation, pooled = backbone.prefix(x, cut)   # once per picture: parts[:cut], frozen
    features = backbone.suffix(activation, pooled, cut)
    logits = classifier.head(features)

``cut`` counts parts: 0 is the picture itself, ``len(backbone.parts)`` leaves only the penultimate layer to train.
``parts[0]`` is the stem. ``stages`` lists the cuts right behind a fall of the resolution: the activations there
are the smallest to keep (empty for a vision transformer, whose activations are all of one size).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .anatomy import Anatomy, build, dissect
from .errors import TrainingError
from .weights import Choice, choose, fill, read

if TYPE_CHECKING:
    from .head import Fit

__all__ = ["Backbone", "Choice", "Classifier", "Head", "choose", "load"]

# one ONNX file holds at most 2 GiB, and external data is never used
_LARGEST_BYTES = 2_000_000_000


class Backbone(nn.Module):
    """A pretrained network without its class layer.

    ``mean`` and ``std`` are RGB in 0..1, ``feature_size`` is D, ``late`` (D,) marks the features of the penultimate
    layer and of the last third of the blocks, ``fixed_size`` is the only picture size it takes, or None for any.
    """

    def __init__(
        self, name: str, anatomy: Anatomy, mean: Sequence[float], std: Sequence[float], *, sha256: str = ""
    ) -> None:
        super().__init__()
        self.name = name
        self.sha256 = sha256
        self.mean, self.std = tuple(mean), tuple(std)
        self.parts = nn.Sequential(*anatomy.parts)
        self.taps = frozenset(anatomy.taps)
        self.penultimate = anatomy.penultimate
        self.axes = anatomy.axes
        self.fixed_size = anatomy.fixed_size
        self.feature_size, self.stages, self.late = self._measure()

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised pictures (N, 3, size, size) to features (N, D).

        The D are: the penultimate layer, the mean of every tapped block, the maximum of every tapped block.
        """
        activation, pooled = self._through(x, 0, len(self.parts))
        return self._gather(activation, pooled)

    def prefix(self, x: Tensor, cut: int) -> tuple[Tensor, Tensor]:
        """Run ``parts[:cut]``: the activation there, and the pooled (N, 2, C) of the blocks passed on the way."""
        activation, pooled = self._through(x, 0, cut)
        if not pooled:
            return activation, activation.new_zeros((len(x), 2, 0), dtype=torch.float32)
        means, maxima = zip(*pooled, strict=True)
        return activation, torch.stack((torch.cat(means, 1), torch.cat(maxima, 1)), 1)

    def suffix(self, activation: Tensor, pooled: Tensor, cut: int) -> Tensor:
        """Run ``parts[cut:]`` from what :meth:`prefix` returned; ``suffix(*prefix(x, cut), cut) == forward(x)``."""
        activation, later = self._through(activation, cut, len(self.parts))
        return self._gather(activation, [(pooled[:, 0], pooled[:, 1]), *later])

    def check_size(self, size: int) -> None:
        """Raise TrainingError where the network cannot take pictures of ``size`` by ``size``."""
        if self.fixed_size not in (None, size):
            raise TrainingError(
                f"{self.name} takes pictures of {self.fixed_size}x{self.fixed_size} only, not {size}x{size}.",
                f"Set image_size: {self.fixed_size}.",
                "A convolutional network such as resnet50 takes any size.",
            )

    def _through(self, x: Tensor, start: int, stop: int) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        pooled = []
        for index in range(start, stop):
            x = self.parts[index](x)
            if index in self.taps:
                # float32, also under autocast: a mean over thousands of cells deserves its digits
                pooled.append((x.mean(self.axes, dtype=torch.float32), x.amax(self.axes).float()))
        return x, pooled

    def _gather(self, activation: Tensor, pooled: list[tuple[Tensor, Tensor]]) -> Tensor:
        last = self.penultimate(activation).float()
        return torch.cat((last, *(mean for mean, _ in pooled), *(maximum for _, maximum in pooled)), 1)

    @torch.no_grad()
    def _measure(self) -> tuple[int, list[int], np.ndarray[Any, np.dtype[np.bool_]]]:
        """Return D, the cuts right behind a fall of the resolution, and which features are late.

        All seen on one small grey picture.
        """
        was_training = self.training
        self.eval()
        x = torch.zeros(1, 3, *(self.fixed_size or 96,) * 2)
        last, pooled = self._through(x, 0, len(self.parts))
        first = len(pooled) - max(1, round(len(pooled) / 3))
        of_blocks = [np.full(mean.shape[1], index >= first) for index, (mean, _) in enumerate(pooled)]
        late = np.concatenate((np.ones(self.penultimate(last).shape[1], bool), *of_blocks, *of_blocks))
        stages, before = [], 0
        for cut, part in enumerate(self.parts, 1):
            x = part(x)
            length = x.shape[self.axes[0]]
            if length < before:
                stages.append(cut)
            before = length
        self.train(was_training)
        return len(late), stages, late


class Head(nn.Module):
    """Standardise the features, then one linear layer: (N, D) to logits (N, classes).

    The standardisation stays apart while training, since an optimiser's step is of one length for all weights;
    :meth:`folded` gives the single layer that the exported model holds.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, feature_size: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_size))
        self.register_buffer("scale", torch.ones(feature_size))
        self.linear = nn.Linear(feature_size, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.linear((features - self.mean) * self.scale)
        return logits

    @torch.no_grad()
    def set(self, fit: Fit) -> None:
        """Take over what the logistic regression on frozen features found."""
        for target, value in (
            (self.mean, fit.mean),
            (self.scale, fit.scale),
            (self.linear.weight, fit.weight),
            (self.linear.bias, fit.bias),
        ):
            target.copy_(torch.from_numpy(np.ascontiguousarray(value)))

    @torch.no_grad()
    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight (classes, D) and bias of the same layer over raw features: W/std and b - W mean/std."""
        weight, bias, mean, scale = (
            value.cpu().double() for value in (self.linear.weight, self.linear.bias, self.mean, self.scale)
        )  # an Apple GPU knows no float64
        weight = weight * scale
        bias = bias - weight @ mean
        return weight.float(), bias.float()


class Classifier(nn.Module):
    """Images in, logits out: uint8 RGB (N, size, size, 3) to (N, classes). ``fit`` is how they became squares."""

    temperature: Tensor
    pixel_scale: Tensor
    pixel_shift: Tensor

    def __init__(self, backbone: Backbone, classes: Sequence[str], size: int, fit: str = "crop") -> None:
        super().__init__()
        backbone.check_size(size)
        self.backbone, self.classes, self.size, self.fit = backbone, tuple(classes), size, fit
        self.head = Head(backbone.feature_size, len(classes))
        self.register_buffer("temperature", torch.ones(()))
        std = torch.tensor(backbone.std)
        self.register_buffer("pixel_scale", _for_channels(1 / (255 * std)))
        self.register_buffer("pixel_shift", _for_channels(-torch.tensor(backbone.mean) / std))

    def normalise(self, images: Tensor) -> Tensor:
        """Return (N, 3, size, size) float with the mean and deviation of the pretraining."""
        return images.permute(0, 3, 1, 2).float() * self.pixel_scale + self.pixel_shift

    def features(self, images: Tensor) -> Tensor:
        """Return the backbone's features (N, D) of pictures."""
        features: Tensor = self.backbone(self.normalise(images))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, before the temperature."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the calibrated scores: softmax(logits / temperature)."""
        return (self(images) / self.temperature).softmax(1)


def _for_channels(values: Tensor) -> Tensor:
    """Return three values as they are applied to (N, 3, H, W); one number where they are equal, which costs less."""
    return values[0].clone() if bool((values == values[0]).all()) else values.view(1, 3, 1, 1)


def load(choice: Choice) -> Backbone:
    """Build the chosen network and fill it with its weights, in evaluation mode.

    TrainingError names the file and what did not fit: not a file of tensors, another network's names or shapes.
    """
    tensors = read(choice.file)
    plan = build(choice.name, tensors)
    fill(plan.model, tensors, choice)
    backbone = Backbone(choice.name, dissect(plan.model), plan.mean, plan.std, sha256=choice.sha256)
    held = sum(tensor.nbytes for tensor in backbone.state_dict().values())
    if held > _LARGEST_BYTES:
        raise TrainingError(
            f"{choice.name} holds {held / 1e9:.1f} GB of weights, and one ONNX file can hold 2 GB.",
            "Choose a smaller network of the same family.",
        )
    return backbone.eval()
