"""The part of the network that is fine-tuned, and what feeds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from . import loop
from .data import Pictures, Shelf, Step, loader
from .network import Classifier
from .prefix import Prefix


class Tail(nn.Module):
    """What is trained: the blocks from the cut on, and the head. BatchNorm keeps its statistics."""

    def __init__(self, classifier: Classifier, cut: int) -> None:
        super().__init__()
        self.classifier, self.cut = classifier, cut
        classifier.requires_grad_(False).eval()
        backbone = classifier.backbone
        for module in (*backbone.parts[cut:], backbone.penultimate, classifier.head):
            module.requires_grad_(True)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return logits of pictures (cut 0), or of the frozen blocks' output and its pooled features."""
        if self.cut == 0:
            return self.classifier(*inputs)
        activation, pooled = inputs
        features = self.classifier.backbone.suffix(activation, pooled, self.cut)
        return self.classifier.head(features)

    def trained(self) -> dict[str, torch.Tensor]:
        """Return the trained weights by name, each a copy."""
        named = ((name, weight) for name, weight in self.named_parameters() if weight.requires_grad)
        return {name: weight.detach().cpu().clone() for name, weight in named}

    @torch.no_grad()
    def carry(self, weights: dict[str, torch.Tensor]) -> None:
        """Take weights over that ``trained`` returned."""
        live = dict(self.named_parameters())
        for name, weight in weights.items():
            live[name].copy_(weight)


class Source:
    """Batches of one part of the split for the tail: pictures, or what the frozen blocks make of them.

    With ``variants`` so many different augmentations of a picture are computed and kept before they come again;
    0 computes every epoch's own and keeps none.
    """

    def __init__(
        self,
        pictures: Pictures,
        device: torch.device,
        *,
        prefix: Prefix | None = None,
        variants: int = 0,
        workers: int = 0,
    ) -> None:
        self.pictures, self.device, self.workers = pictures, device, workers
        self._prefix, self._variants = prefix, variants
        self._shelves: tuple[Shelf, ...] | None = None

    def batches(self, plan: Sequence[Step], epoch: int = 0) -> Iterator[loop.Batch]:
        """Yield the steps' batches on the device."""
        if self._prefix is not None:
            for step in plan:
                variant = epoch % self._variants if self._variants else epoch
                keys = [(variant, int(index)) for index in step.indices]
                yield self._frozen(keys), torch.from_numpy(self.pictures.labels[step.indices]), step.pictures
            return
        pinned = self.device.type == "cuda"
        read = loader(self.pictures, plan, epoch=epoch, workers=self.workers, pin=pinned)
        for step, (images, labels) in zip(plan, read, strict=True):
            on = (images.to(self.device, non_blocking=pinned),)
            yield on, labels.to(self.device, non_blocking=pinned), step.pictures

    def _frozen(self, keys: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the activation and the pooled features of pictures, from the shelf or computed now."""
        if not keys:  # more processes than pictures in a batch
            activation, pooled = self._frozen([(0, 0)])
            return activation[:0], pooled[:0]
        rows = [variant * len(self.pictures) + index for variant, index in keys]
        found = [self._get(row) for row in rows]
        missing = [place for place, values in enumerate(found) if values is None]
        if missing:
            assert self._prefix is not None
            images, _ = self.pictures.__getitems__([keys[place] for place in missing])
            # half precision, kept or not, so that the result does not depend on the room on the disk
            made = [np.clip(part, -65504, 65504).astype(np.float16) for part in self._prefix(images)]
            for number, place in enumerate(missing):
                found[place] = (made[0][number], made[1][number])
                self._put(rows[place], found[place])
        activation, pooled = (
            torch.from_numpy(np.stack([values[part] for values in found if values])) for part in (0, 1)
        )
        layout = torch.channels_last if activation.ndim == 4 else torch.contiguous_format
        return activation.float().contiguous(memory_format=layout), pooled.float()

    def _get(self, row: int) -> tuple[Any, Any] | None:
        if self._shelves is None:
            return None
        values = tuple(shelf.get(row) for shelf in self._shelves)
        return None if values[0] is None or values[1] is None else (values[0], values[1])

    def _put(self, row: int, values: Any) -> None:
        if not self._variants:
            return
        if self._shelves is None:
            self._shelves = tuple(
                Shelf(self._variants * len(self.pictures), value.shape, np.float16) for value in values
            )
        for shelf, value in zip(self._shelves, values, strict=True):
            shelf.put(row, value)
