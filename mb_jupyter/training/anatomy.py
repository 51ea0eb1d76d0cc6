"""Take a published classifier to pieces: stem and blocks in order, and what leads to the penultimate layer.

Every classifier of torchvision is a chain of blocks with a class layer at its end, but no two families keep the
chain in the same place. Here it is found, so that the rest of the program knows one kind of network only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.maxvit import MaxVit
from torchvision.models.regnet import AnyStage

from . import lite0

# what is not on the way from the picture to the penultimate layer
_ASIDE = {"avgpool", "dropout", "fc", "aux1", "aux2", "AuxLogits"}


@dataclass(frozen=True)
class Plan:
    """An unfilled network, with the statistics its weights were trained under."""

    model: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Anatomy:
    """The pieces: ``taps`` are indices of ``parts``, ``axes`` the two (or one) a part's output is pooled over."""

    parts: list[nn.Module]
    penultimate: nn.Module
    taps: list[int] = field(default_factory=list)
    axes: tuple[int, ...] = (2, 3)
    fixed_size: int | None = None


def names() -> list[str]:
    """Return every architecture that can be asked for by name."""
    return [lite0.NAME, *models.list_models(module=models)]


def build(name: str, tensors: Mapping[str, Tensor] | None = None) -> Plan:
    """Return the network with random numbers where its weights will be, in evaluation mode.

    ``tensors``: the weights to come; a vision transformer's picture size is read from them.
    """
    with torch.random.fork_rng(devices=[]):  # leave the run's own random numbers alone
        if name == lite0.NAME:
            return Plan(lite0.EfficientNetLite0().eval(), lite0.MEAN, lite0.STD)
        model = models.get_model(name, weights=None, **_options(name, tensors or {})).eval()
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    mean, std = tuple(transforms.mean), tuple(transforms.std)
    if name in {"googlenet", "inception_v3"}:
        mean = std = (0.5,) * 3  # their published weights undo the usual normalisation inside the network
    return Plan(model, mean, std)


def _options(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    if name in {"googlenet", "inception_v3"}:
        return {"aux_logits": False, "transform_input": False, "init_weights": False}
    positions = tensors.get("encoder.pos_embedding")
    if name.startswith("vit_") and positions is not None and positions.ndim == 3:
        cells = round((positions.shape[1] - 1) ** 0.5)
        return {"image_size": cells * int(name.rsplit("_", 1)[1])}
    return {}


def dissect(model: nn.Module) -> Anatomy:
    """Return the pieces of any network that :func:`build` makes; they share its weights."""
    if isinstance(model, lite0.EfficientNetLite0):
        parts = model.parts()
        penultimate = nn.Sequential(model.widening(), GlobalMean(), nn.Flatten(1))
        return Anatomy(parts, penultimate, _taps(parts))
    if isinstance(model, models.VisionTransformer):
        return _vision_transformer(model)
    parts = list(_group(_flat(_trunk(model))))
    swin = isinstance(model, models.SwinTransformer)
    neck = [] if swin else _neck(parts)
    parts = parts[: len(parts) - len(neck)]
    penultimate = nn.Sequential(*neck, *_ending(model))
    return Anatomy(
        parts,
        penultimate,
        _taps(parts),
        axes=(1, 2) if swin else (2, 3),  # Swin keeps its channels last
        fixed_size=224 if isinstance(model, MaxVit) else None,
    )


def _trunk(model: nn.Module) -> Iterable[nn.Module]:
    """Return the modules from the picture to the last block, nested as they are."""
    if isinstance(model, MaxVit):
        return [model.stem, *(layer for block in model.blocks for layer in block.layers)]
    for attribute in ("features", "layers"):  # nearly every family; MNASNet
        chain = getattr(model, attribute, None)
        if isinstance(chain, nn.Sequential):
            return chain
    return [module for name, module in model.named_children() if name not in _ASIDE]


def _flat(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for module in modules:
        if type(module) in (nn.Sequential, AnyStage):  # not its subclasses, which are blocks
            yield from _flat(module.children())
        else:
            yield module


def _group(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Keep blocks as they are and join single layers between them, up to a pooling."""
    group: list[nn.Module] = []
    for module in modules:
        is_block = any(True for _ in module.children())
        if group and is_block:
            yield nn.Sequential(*group)
            group = []
        if is_block:
            yield module
            continue
        group.append(module)
        if isinstance(module, nn.MaxPool2d):
            yield nn.Sequential(*group)
            group = []
    if group:
        yield nn.Sequential(*group)


def _neck(parts: list[nn.Module]) -> list[nn.Module]:
    """Return the last part where it is no block but the widening (or norm) before the global pooling."""
    has_blocks = any(type(part) is not nn.Sequential for part in parts)
    is_widening = isinstance(parts[-1], nn.Sequential)
    return parts[-1:] if has_blocks and is_widening else []


def _ending(model: nn.Module) -> Iterator[nn.Module]:
    """Yield what follows the last block: norms, global pooling, all of the classifier but its class layer."""
    if isinstance(model, models.DenseNet):
        yield nn.ReLU()
    if isinstance(model, models.SwinTransformer):
        yield from (model.norm, model.permute)
    classifier = getattr(model, "classifier", None)
    hidden: list[nn.Module] = []
    if isinstance(classifier, nn.Sequential) and isinstance(classifier[-1], nn.Linear):
        hidden = [layer for layer in classifier[:-1] if not isinstance(layer, nn.Dropout)]
    pools_itself = any(isinstance(layer, nn.AdaptiveAvgPool2d) for layer in hidden)
    if not pools_itself:
        average = getattr(model, "avgpool", None)
        if isinstance(average, nn.AdaptiveAvgPool2d) and average.output_size not in (1, (1, 1)):
            yield average  # VGG and AlexNet keep 7x7 or 6x6 cells
        else:
            yield GlobalMean()
    if not any(isinstance(layer, nn.Flatten) for layer in hidden):
        yield nn.Flatten(1)
    yield from hidden


def _taps(parts: list[nn.Module]) -> list[int]:
    """Return the parts that compute something, but for the stem."""
    return [index for index, part in enumerate(parts) if index and next(part.parameters(), None) is not None]


class GlobalMean(nn.Module):
    """AdaptiveAvgPool2d(1) in words that the ONNX exporter writes down as one node."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 1, 1)."""
        return x.mean((2, 3), keepdim=True)


class _Tokens(nn.Module):
    """A vision transformer's stem: (N, 3, S, S) to (N, 1 + patches, width) with class token and positions."""

    def __init__(self, model: models.VisionTransformer) -> None:
        super().__init__()
        self.patches = model.conv_proj
        self.class_token = model.class_token
        self.positions = model.encoder.pos_embedding

    def forward(self, x: Tensor) -> Tensor:
        """Cut into patches, put the class token first, add the positions."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        first = self.class_token.expand(x.shape[0], -1, -1)  # len(x) would be a constant to the exporter
        return torch.cat((first, tokens), 1) + self.positions


class _ClassToken(nn.Module):
    """The first token, which the transformer classifies by."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, width) to (N, width)."""
        return x[:, 0]


def _vision_transformer(model: models.VisionTransformer) -> Anatomy:
    parts = [_Tokens(model), *model.encoder.layers]
    penultimate = nn.Sequential(model.encoder.ln, _ClassToken())
    return Anatomy(parts, penultimate, _taps(parts), axes=(1,), fixed_size=model.image_size)
